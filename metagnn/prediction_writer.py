"""Writes the powers that `metagnn predict` decides."""

from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from metagnn.files import write_npz
from metagnn.graphs.dataset import NetworkSamples
from metagnn.graphs.neighbours import NeighbourGain
from metagnn.policy_module import PolicyModule


class PowerWriter(BasePredictionWriter):
    """One ``power_N.npz`` per test network, beside the run's log.

    It holds ``power_w [S_test, K]`` [W], and on neighbour lists ``neglected_inr [K]`` [1]: the mean
    interference at each receiver of links that are no neighbours, over noise, at full power.
    """

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
        batch: NetworkSamples,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the powers of one network."""
        self._folder.mkdir(parents=True, exist_ok=True)
        number = batch_idx * trainer.world_size + trainer.global_rank
        arrays = {"power_w": prediction.cpu().numpy()}
        gain = batch.configuration.large_scale_gain
        if isinstance(gain, NeighbourGain):
            assert isinstance(pl_module, PolicyModule)
            problem = pl_module.problem
            share = gain.neglected_share(problem.power_max_w, problem.noise_w)
            arrays["neglected_inr"] = share.cpu().numpy()
        write_npz(self._folder / f"power_{number}.npz", **arrays)
