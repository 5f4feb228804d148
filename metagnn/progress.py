"""Progress bar over epochs, for runs in which an epoch is one outer loop."""

import lightning.pytorch as pl
from tqdm import tqdm


class EpochProgress(pl.Callback):
    """Shows epochs done, time left and the newest logged metrics."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the epoch at which the run starts or resumes."""
        self._bar = tqdm(
            total=trainer.max_epochs,
            initial=trainer.current_epoch,
            unit="epoch",
            smoothing=0.1,
            disable=not trainer.is_global_zero,
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move on by one epoch."""
        if self._bar is not None:
            metrics = {k: f"{float(v):.3f}" for k, v in trainer.progress_bar_metrics.items()}
            self._bar.set_postfix(metrics, refresh=False)
            self._bar.update()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
