"""What the Lightning modules of learning agents share: how a run goes on, and which it is."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from metagnn.graphs.checks import check_count, require


class AgentModule(pl.LightningModule):
    """A learner whose Lightning epochs are episodes, each with updates of its own.

    A checkpoint holds what its run is, and is refused by any other.

    Args:
        seed: Seed of the run.

    Attributes:
        num_done: Epochs that have ended.

    Raises:
        ValueError: If ``seed`` is negative.
    """

    num_done: Tensor

    def __init__(self, seed: int) -> None:
        super().__init__()
        check_count("seed", seed, minimum=0)
        self.seed = seed
        self.automatic_optimization = False
        self.register_buffer("num_done", torch.zeros((), dtype=torch.int64))

    def facts(self) -> dict[str, Any]:
        """What the run is, but for its length, as plain values."""
        raise NotImplementedError

    def expected(self) -> dict[str, Any]:
        """What a checkpoint must be of, so that this run can go on from it."""
        return {**self.facts(), "num_episodes": self.trainer.max_epochs}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the run is and how far it has come."""
        length = {"num_episodes": self.trainer.max_epochs, "num_done": int(self.num_done)}
        checkpoint["run"] = {**self.facts(), **length}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is of this run.

        Raises:
            ValueError: If something of it differs.
        """
        found = checkpoint.get("run", {})
        for name, value in self.expected().items():
            wanted, had = differing(value, found.get(name))
            require(had == wanted, "ckpt_path", f"be of a run with {name} = {wanted}", had)

    def train_dataloader(self) -> DataLoader[int]:
        """One item: every epoch is one step."""
        return DataLoader([0], batch_size=None)  # type: ignore[arg-type]

    val_dataloader = test_dataloader = train_dataloader

    def progress(self) -> float:
        """Share of the run that is done."""
        total = self.trainer.max_epochs
        return int(self.num_done) / total if total is not None and total > 0 else 0.0

    def left(self) -> float:
        """Share of the run that is still to come."""
        return 1.0 - self.progress()


def differing(one: Any, other: Any) -> tuple[Any, Any]:
    """Two facts; of those that hold others by name only what differs, where a missing one is None.

    What is returned is equal where nothing differs.
    """
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return one, other
    pairs = {name: (one.get(name), other.get(name)) for name in one | other}
    parts = {name: differing(*pair) for name, pair in pairs.items() if pair[0] != pair[1]}
    return {name: a for name, (a, _) in parts.items()}, {name: b for name, (_, b) in parts.items()}
