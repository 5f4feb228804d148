"""Checkpoint callback whose ``last.ckpt`` holds the end of training."""

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint


class EndCheckpoint(ModelCheckpoint):
    """`ModelCheckpoint` that also saves where training ends between two of its epochs.

    Lightning's own leaves ``last.ckpt`` at the last multiple of ``every_n_epochs``. Not for
    ``save_last="link"``, which links to a checkpoint of one of those.
    """

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save ``last.ckpt`` unless the last epoch is in it."""
        # Lightning takes a run of agents without a single update for one that is saved.
        never = not self.last_model_path and not trainer.fast_dev_run  # type: ignore[attr-defined]
        if never or not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
