"""How well policies offload: deadlines and energies against the relaxation, per network."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from tqdm import tqdm

from metagnn.graphs.randomness import generator
from metagnn.offloading_action import as_decision, joint_action
from metagnn.offloading_agents import OffloadingAgents
from metagnn.tasks.offloading.baselines import Policy
from metagnn.tasks.offloading.bound import relaxation
from metagnn.tasks.offloading.cost import Decision, Slot
from metagnn.tasks.offloading.environment import Offloading, observe
from metagnn.tasks.offloading.scenario import Radio


@dataclass(frozen=True)
class OffloadingScore:
    """Means over users and slots, for each of C networks ``[C]``.

    Attributes:
        met: Share of deadlines that were met (latency guaranteed percentage / 100).
        energy_j: Energy per user and slot [J].
        local_j: Its part of local computing [J].
        transmission_j: Its part of transmission [J].
        edge_j: Its part of edge computing [J].
        reward: Reward per user and slot (Eq. 12) [J].
        allowed: Share of deadlines that the relaxation can meet.
        bound_j: Energy of the relaxation per user and slot [J].
    """

    met: Tensor
    energy_j: Tensor
    local_j: Tensor
    transmission_j: Tensor
    edge_j: Tensor
    reward: Tensor
    allowed: Tensor
    bound_j: Tensor


def score_offloading(
    policies: Mapping[str, Policy],
    environment: Offloading,
    num_networks: int,
    seed: int,
    split: str,
    with_bound: bool = True,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> dict[str, OffloadingScore]:
    """Run policies for one episode each on the same networks, tasks and channels.

    What interferes in a slot depends on the policy, and with it what sites measure; all else is
    the same for all. The first slot, before which nobody measured anything, does not count.

    Args:
        policies: Policies by name.
        environment: Of which networks are drawn; its ``num_steps`` count.
        num_networks: Number of networks C.
        seed: Seed of the networks.
        split: ``validation`` or ``test``: other draws of networks that are random, of tasks and of
            fading.
        with_bound: Whether the relaxation is wanted, which takes longer than most policies; else
            all deadlines count as allowed and the bound is 0.
        device: Where the networks are.
        progress: Show a bar.
    """
    found = {}
    bounds: list[Tensor] = []
    shown = tqdm(policies.items(), unit="policy", leave=False, disable=not progress)
    for name, policy in shown:
        environment.reset(num_networks, generator(seed, "offloading", split, device=device))
        source = generator(seed, "offloading actions", split, name, device=device)
        rows = []
        for number in range(environment.num_steps + 1):
            slot, radio = environment.slot, environment.radio
            if number > 0 and len(bounds) < environment.num_steps:
                bounds.append(_bound(slot, radio, with_bound))
            outcome = environment.step(policy(slot, radio, source)).info
            if number > 0:
                of_users = outcome.cost
                columns = (
                    of_users.met,
                    of_users.energy_j,
                    of_users.local_j,
                    of_users.transmission_j,
                    of_users.edge_j,
                    outcome.value,
                )
                rows.append(torch.stack([value.double().mean(-1) for value in columns]))
        means = [*torch.stack(rows).mean(0), *torch.stack(bounds).mean(0)]
        found[name] = OffloadingScore(*means)
    return found


def _bound(slot: Slot, radio: Radio, wanted: bool) -> Tensor:
    """Shares of allowed deadlines and energies ``[2, C]``."""
    if not wanted:
        batch = len(slot.gain)
        return torch.tensor([[1.0], [0.0]], device=slot.gain.device).double().expand(2, batch)
    bound = relaxation(slot, radio)
    return torch.stack([value.double().mean(-1) for value in (bound.allowed, bound.energy_j)])


def trained_policy(agents: OffloadingAgents) -> Policy:
    """The policy of agents, without exploration."""

    @torch.no_grad()
    def decide(slot: Slot, radio: Radio, source: torch.Generator) -> Decision:
        wishes = agents.wishes(observe(slot, radio))
        return as_decision(joint_action(wishes, slot.cell, slot.gain.shape[-1]), radio)

    return decide


def summary(score: OffloadingScore) -> dict[str, float]:
    """Means over the networks."""
    return {field.name: float(getattr(score, field.name).mean()) for field in fields(score)}
