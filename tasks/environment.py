"""What the batched environments have in common."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from metagnn.graphs.interference import DenseGraph

Info = TypeVar("Info")


@dataclass(frozen=True)
class Step(Generic[Info]):
    """What B copies of an environment answer to an action of their agents.

    Attributes:
        observation: What the agents see next: a graph of B copies. Where an episode has ended,
            still its own last observation.
        reward: Reward of every agent ``[B, number of agents]``.
        terminated: The episode has come to its own end ``[B]``: nothing of value follows.
        truncated: The episode was cut off ``[B]``: its value goes on.
        info: What else is known of the step.
    """

    observation: DenseGraph
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    info: Info
