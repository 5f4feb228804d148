"""Meta-training of channel assignment at the base station (paper B, Algorithm 1)."""

from collections.abc import Sequence
from typing import Any, Literal

from metagnn.assignment_module import AssignmentModule, Cell
from metagnn.graphs.checks import require
from metagnn.models.actor_critic import ActorCriticShape
from metagnn.ppo import PPOSettings


class MetaPPO(AssignmentModule):
    """Meta-training at the base station (paper B, Algorithm 1): one model for all tasks.

    Args:
        shape: See `AssignmentModule`, as for all that is not listed here.
        cell: Where episodes take place.
        ppo: Constants of the learning.
        num_users: Numbers of users I_k, one task each.
        learning_rate: Learning rate of Adam.
        schedule: ``constant`` or ``linear``.
        seed: Seed.
        num_validation_cells: Cells per validation.
    """

    def __init__(
        self,
        shape: ActorCriticShape,
        cell: Cell,
        ppo: PPOSettings,
        num_users: tuple[int, ...] = (2, 4, 8),
        learning_rate: float = 2e-3,
        schedule: Literal["constant", "linear"] = "linear",
        seed: int = 0,
        num_validation_cells: int = 100,
    ) -> None:
        super().__init__(shape, cell, ppo, learning_rate, schedule, seed, num_validation_cells)
        require(len(num_users) > 0, "num_users", "hold a number of users", num_users)
        distinct = len(set(num_users)) == len(num_users)
        require(distinct, "num_users", "hold each number once", num_users)
        for number in num_users:
            cell.environment(number)
        self.num_users = tuple(num_users)

    def facts(self) -> dict[str, Any]:
        """Further the tasks."""
        return {**super().facts(), "num_users": list(self.num_users)}

    def training_step(self, batch: int, batch_index: int) -> None:
        """One epoch of Algorithm 1: episodes of every task, then an update from all of them."""
        self._learn({number: self.episode(number) for number in self.num_users})

    def scored_num_users(self) -> Sequence[int]:
        """Those of training."""
        return self.num_users
