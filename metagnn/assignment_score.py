"""How well policies assign channels: energy efficiency against the optimum, per cell."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.graphs.checks import require
from metagnn.graphs.randomness import generator
from metagnn.graphs.units import dbm_to_w
from metagnn.ppo import Network
from metagnn.tasks.channel_assignment.baselines import Decision
from metagnn.tasks.channel_assignment.environment import (
    Action,
    ChannelAssignment,
    check_action,
    transmit,
)
from metagnn.tasks.channel_assignment.observation import Edges, Layout, observe
from metagnn.tasks.channel_assignment.optimum import optimum
from metagnn.tasks.channel_assignment.scenario import Uplink


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
    policies: Mapping[str, Decision],
    environment: ChannelAssignment,
    num_cells: int,
    seed: int,
    split: str,
    device: str | torch.device = "cpu",
) -> dict[str, AssignmentScore]:
    """Run policies for one episode on the same channels, which do not depend on what they do.

    Args:
        policies: Policies by name.
        environment: Of which cells are drawn; its ``num_steps`` are run.
        num_cells: Number of cells C.
        seed: Seed of the cells.
        split: ``validation`` or ``test``, which never share a cell.
        device: Where the cells are.
    """
    environment.reset(num_cells, generator(seed, "assignment", split, device=device))
    # Each policy draws from its own, so that none changes another's numbers.
    actions = {
        name: generator(seed, "assignment actions", split, name, device=device) for name in policies
    }
    rows: dict[str, list[list[Tensor]]] = {name: [] for name in policies}
    met = False
    for _ in range(environment.num_steps):
        gain_to_noise, uplink = environment.gain_to_noise, environment.uplink
        best = Action(*optimum(gain_to_noise, uplink))
        of_best = transmit(best, gain_to_noise, uplink).energy_efficiency
        met = met or bool((of_best > 0).any())
        for name, decide in policies.items():
            action = decide(gain_to_noise, uplink, actions[name])
            check_action(action, gain_to_noise, uplink)
            found = transmit(action, gain_to_noise, uplink)
            sums = [v.double().sum(-1) for v in (found.energy_efficiency, of_best)]
            shares = [v.double().mean(-1) for v in (found.alone, found.snr_met)]
            rows[name].append([*sums, *shares])
        environment.step(best)
    rule = "be met by a user at some time, so that there is an optimum"
    require(met, "snr_min_db", rule, environment.uplink.snr_min_db)
    return {
        name: AssignmentScore(*(torch.stack(column).mean(0) for column in zip(*steps, strict=True)))
        for name, steps in rows.items()
    }


def deterministic(network: Network, layout: Layout, edges: Edges, progress: float) -> Decision:
    """The likeliest actions of a network, ``progress`` being the observations' fingerprint."""

    @torch.no_grad()
    def decide(gain_to_noise: Tensor, uplink: Uplink, generator: torch.Generator) -> Action:
        policy, _ = network(observe(gain_to_noise, uplink, layout, edges, progress))
        action = policy.mode()
        return Action(action.choice, dbm_to_w(policy.bounded(action)))

    return decide
