"""Writes the powers that `metagnn predict` decides."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from metagnn.files import write_npz


class PowerWriter(BasePredictionWriter):
    """One ``power_N.npz`` per test network, ``power_w [S_test, K]``, beside the run's log."""

    def __init__(self) -> None:
        super().__init__(write_interval="batch")

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Agree on the folder, once for all processes."""
        self._folder = Path(trainer.log_dir or trainer.default_root_dir) / "predictions"

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: Tensor,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the powers of one network."""
        self._folder.mkdir(parents=True, exist_ok=True)
        number = batch_idx * trainer.world_size + trainer.global_rank
        write_npz(self._folder / f"power_{number}.npz", power_w=prediction.cpu().numpy())
