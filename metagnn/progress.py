"""Progress bars: over epochs, where one is an outer loop, and over networks to score."""

from typing import Any

import lightning.pytorch as pl
from tqdm import tqdm


class EpochProgress(pl.Callback):
    """Shows what is done, the time left and, in training, the newest logged metrics."""

    def __init__(self) -> None:
        self._epochs: tqdm | None = None
        self._networks: tqdm | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the epoch at which the run starts or resumes."""
        self._epochs = tqdm(
            total=trainer.max_epochs,
            initial=trainer.current_epoch,
            unit="epoch",
            smoothing=0.1,
            disable=not trainer.is_global_zero,
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move on by one epoch."""
        if self._epochs is not None:
            metrics = {k: f"{float(v):.3f}" for k, v in trainer.progress_bar_metrics.items()}
            self._epochs.set_postfix(metrics, refresh=False)
            self._epochs.update()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        if self._epochs is not None:
            self._epochs.close()

    def _open(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        batches = {
            "validate": trainer.num_val_batches,
            "test": trainer.num_test_batches,
            "predict": trainer.num_predict_batches,
        }.get(str(trainer.state.stage), [])
        self._networks = tqdm(
            total=int(sum(batches)) or None,
            unit="network",
            leave=False,
            disable=not trainer.is_global_zero,
        )

    def _step(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._networks is not None:
            self._networks.update()

    def _close(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._networks is not None:
            self._networks.close()

    on_validation_start = on_test_start = on_predict_start = _open
    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = _step
    on_validation_end = on_test_end = on_predict_end = _close
