"""How well an episode of spectrum allocation went, copy by copy."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.graphs.checks import check_positive, require
from metagnn.tasks.environment import Step
from metagnn.tasks.spectrum_allocation.environment import Outcome


@dataclass(frozen=True)
class Metrics:
    """Averages of an episode; all are ``[B]``.

    Attributes:
        throughput_mbit_s: Bits that all users got, over the time [Mbit/s].
        sinr_violation: Mean over links and slots of violations of the SINR: what failed, or 1
            where a link is starved.
        failed: Mean over links and slots of the share of a link's transmissions that were below
            the floor, 0 where there were none.
        starved: Share of links and slots in which something waited for too long.
        latency_violation: Share of users and slots in violation of the latency.
        jain: Jain's index of the users' shares of their bits that they got, 1 if all are equal; 0
            if nobody got anything. Users for whom nothing came do not count.
        dropped: Share of all bits that found a full buffer.
        reward: Mean reward of a slot.
    """

    throughput_mbit_s: Tensor
    sinr_violation: Tensor
    failed: Tensor
    starved: Tensor
    latency_violation: Tensor
    jain: Tensor
    dropped: Tensor
    reward: Tensor


def episode_metrics(steps: Sequence[Step[Outcome]], slot_s: float) -> Metrics:
    """Metrics of an episode.

    Args:
        steps: What the environment answered in each slot.
        slot_s: Length of a slot [s].

    Raises:
        ValueError: If there is no step or ``slot_s`` is not positive.
    """
    require(len(steps) > 0, "steps", "hold a step", len(steps))
    check_positive("slot_s", slot_s)
    outcomes = [step.info for step in steps]

    def mean(values: list[Tensor]) -> Tensor:
        return torch.stack([value.float().mean(-1) for value in values]).mean(0)

    delivered, offered, dropped = (
        torch.stack([getattr(one, name) for one in outcomes]).sum(0)
        for name in ("delivered_bit", "offered_bit", "dropped_bit")
    )
    seconds = slot_s * len(steps)
    return Metrics(
        (delivered.sum(-1) / (1e6 * seconds)).float(),
        mean([one.sinr_violation for one in outcomes]),
        mean([one.failed for one in outcomes]),
        mean([one.starved for one in outcomes]),
        mean([one.latency_violation for one in outcomes]),
        jain_index(delivered / offered.clamp(min=1.0), offered > 0).float(),
        (dropped.sum(-1) / offered.sum(-1).clamp(min=1.0)).float(),
        mean([step.reward for step in steps]),
    )


def jain_index(value: Tensor, counts: Tensor) -> Tensor:
    r"""Jain's index :math:`(\sum x)^2 / (n \sum x^2)` of what counts: ``[B, U]`` to ``[B]``."""
    value = torch.where(counts, value, 0.0)
    squares = counts.sum(-1) * value.square().sum(-1)
    return torch.where(squares > 0, value.sum(-1).square() / squares.clamp(min=1e-30), 0.0)
