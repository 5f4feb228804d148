"""How well a policy assigns channels: energy efficiency against the optimum, per cell."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.ppo import Network
from metagnn.tasks.channel_assignment.environment import (
    Action,
    ChannelAssignment,
    transmit,
)
from metagnn.tasks.channel_assignment.optimum import optimum

Decide = Callable[[ChannelAssignment, torch.Generator], Action]


@dataclass(frozen=True)
class AssignmentScore:
    """Averages over the steps of an episode, for each of C cells.

    Attributes:
        efficiency: Sums of the users' energy efficiencies ``[C]`` [bit/J].
        optimum: The same of the optimum on the same channels ``[C]`` [bit/J].
        success_rate: Shares of users that had their subchannel for themselves ``[C]``.
        snr_rate: Shares of users that were alone and above the smallest SNR ``[C]``.
    """

    efficiency: Tensor
    optimum: Tensor
    success_rate: Tensor
    snr_rate: Tensor

    @property
    def share(self) -> float:
        """Share of the optimum's sum energy efficiency, over all cells."""
        return float(self.efficiency.sum() / self.optimum.sum())


def score_assignment(
    decide: Decide,
    environment: ChannelAssignment,
    num_cells: int,
    seed: int,
    split: str,
) -> AssignmentScore:
    """Run a policy for one episode of ``num_steps`` steps of the environment.

    Args:
        decide: Actions for the environment's present state.
        environment: Of which cells are drawn.
        num_cells: Number of cells C.
        seed: Seed of the cells.
        split: ``validation`` or ``test``, which never share a cell.
    """
    source = generator(seed, "assignment", split)
    actions = generator(seed, "assignment actions", split)
    environment.reset(num_cells, source)
    rows = []
    for _ in range(environment.num_steps):
        best = Action(*optimum(environment.gain_to_noise, environment.uplink))
        of_best = transmit(best, environment.gain_to_noise, environment.uplink)
        found = environment.step(decide(environment, actions)).info
        efficiencies = (found.energy_efficiency, of_best.energy_efficiency)
        shares = (found.alone, found.snr_met)
        rows.append(
            [value.double().sum(-1) for value in efficiencies]
            + [value.double().mean(-1) for value in shares]
        )
    return AssignmentScore(*(torch.stack(column).mean(0) for column in zip(*rows, strict=True)))


def deterministic(network: Network) -> Decide:
    """The likeliest actions of a network."""

    @torch.no_grad()
    def decide(environment: ChannelAssignment, generator: torch.Generator) -> Action:
        policy, _ = network(environment.observation())
        action = policy.mode()
        return Action(action.choice, dbm_to_w(policy.bounded(action)))

    return decide


def dbm_to_w(power_dbm: Tensor) -> Tensor:
    """Powers [W] of levels in dBm."""
    return 10.0 ** ((power_dbm - 30.0) / 10.0)
