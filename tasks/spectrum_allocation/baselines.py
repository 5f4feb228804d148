"""Baselines of spectrum allocation, from what a slot begins with to an action."""

from collections.abc import Callable

import torch
from torch import Tensor

from metagnn.tasks.spectrum_allocation.advice import told
from metagnn.tasks.spectrum_allocation.environment import Action
from metagnn.tasks.spectrum_allocation.exhaustive import exhaustive_level
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.search import (
    by_band,
    coordinate_search,
    differential_backlog_bit,
    levels_of_choices,
)
from metagnn.tasks.spectrum_allocation.transmission import State

Baseline = Callable[[State, Radio, torch.Generator], Action]

# Agents conflict if the receivers of one hear the other with less than this below their own.
CONFLICT_DB = 15.0


def random_action(state: State, radio: Radio, generator: torch.Generator) -> Action:
    """Uniform levels, off included."""
    shape, device = tuple(state.level.shape), generator.device
    return Action(torch.randint(radio.num_levels + 1, shape, generator=generator, device=device))


def full_reuse(state: State, radio: Radio, generator: torch.Generator) -> Action:
    """Every node sends on all bands with the largest power, in the role for which more waits."""
    by_role = _waiting(state).view(state.level.shape[:-1])
    role = by_role.argmax(-1, keepdim=True)
    return _on_bands(torch.zeros_like(by_role).scatter_(2, role, 1.0).flatten(1), state, radio)


def orthogonal(state: State, radio: Radio, generator: torch.Generator) -> Action:
    """Agents with links take bands in turn, none together, shifted by one from slot to slot."""
    has_links = state.networks.agent_links.any(-1)
    return _in_turn(has_links.long().cumsum(-1) - 1, has_links, state, radio)


def greedy_colouring(state: State, radio: Radio, generator: torch.Generator) -> Action:
    """Agents that conflict get different colours, colours take bands in turn.

    Two agents conflict if they are of one node, one's node receives from the other, or the signals
    of one are, in the mean over its links of gains without fading in dB, less than 15 dB above the
    other's. Agents are coloured in the order of their numbers of conflicts, each with the first
    colour that is free.
    """
    conflict = _conflicts(state, radio)
    has_links = state.networks.agent_links.any(-1)
    order = conflict.sum(-1).argsort(dim=-1, descending=True, stable=True)
    copies = torch.arange(len(order), device=order.device)
    colours = torch.arange(order.shape[-1], device=order.device)
    colour = torch.full_like(order, -1)
    for agent in order.T:
        beside = torch.where(conflict[copies, agent], colour, -1)
        taken = (beside.unsqueeze(-1) == colours).any(1)
        colour[copies, agent] = taken.int().argmin(-1)
        colour = torch.where(has_links, colour, -1)
    return _in_turn(colour, has_links, state, radio)


def proportional_fair(state: State, radio: Radio, generator: torch.Generator) -> Action:
    """Agents join a band with the largest power, one after another, if that raises the sum.

    It is that of bits over what their links carried on average, for each user behind the link. All
    gains are known, and who of the incumbents sends.
    """
    users = state.networks.users_behind.sum(-1)
    least_bit = 0.01 * state.load_bit.double().mean(-1, keepdim=True)
    weight = users / torch.maximum(state.average_bit, least_bit)
    on_or_off = torch.tensor([[0], [radio.num_levels]], device=weight.device)
    search = coordinate_search(on_or_off, sweeps=1)
    return Action(by_band(state, radio, weight, search))


def max_weight(state: State, radio: Radio, generator: torch.Generator) -> Action:
    """Backpressure: differential backlog times bits, by three sweeps over the nodes' choices.

    All gains are known, and who of the incumbents sends.
    """
    return Action(_backpressure(state, radio, differential_backlog_bit(state)))


def reported_max_weight(state: State, radio: Radio, generator: torch.Generator) -> Action:
    """Backpressure from what nodes are told and remember.

    It knows the gains of links on all bands and, without fading, those between them. What receivers
    reported tells where incumbents send (`listening`): it leaves bands to them, and takes them
    while they are silent.
    """
    return Action(_backpressure(told(state, radio), radio, differential_backlog_bit(state)))


def _backpressure(state: State, radio: Radio, weight: Tensor) -> Tensor:
    choices = levels_of_choices(radio.num_levels, weight.device)
    return by_band(state, radio, weight, coordinate_search(choices, sweeps=3))


def exhaustive(state: State, radio: Radio, generator: torch.Generator) -> Action:
    """Backpressure with the best levels of all; see `exhaustive_level`."""
    return Action(exhaustive_level(state, radio))


def _waiting(state: State) -> Tensor:
    """What waits for the links of each agent that work ``[B, 2 M]`` [bit]."""
    waiting = state.link_queue_bit * state.usable
    return (state.networks.agent_links * waiting.unsqueeze(1)).sum(-1)


def _on_bands(on: Tensor, state: State, radio: Radio) -> Action:
    """The largest power where agents are on ``[B, 2 M]`` or ``[B, 2 M, N]``."""
    level = radio.num_levels * (on.unsqueeze(-1) if on.dim() == 2 else on).long()
    return Action(level.expand(-1, -1, radio.num_bands).reshape(state.level.shape))


def _in_turn(group: Tensor, member: Tensor, state: State, radio: Radio) -> Action:
    """Groups of agents ``[B, 2 M]`` share the bands, so that each band has one of them."""
    bands = torch.arange(radio.num_bands, device=group.device) + state.slot
    num_groups = 1 + torch.where(member, group, 0).amax(-1)
    of_band = bands % num_groups.unsqueeze(-1)
    return _on_bands(
        (group.unsqueeze(-1) == of_band.unsqueeze(1)) & member.unsqueeze(-1), state, radio
    )


def _conflicts(state: State, radio: Radio) -> Tensor:
    """Whether agents conflict ``[B, 2 M, 2 M]``; see `greedy_colouring`."""
    networks, links = state.networks, state.networks.agent_links
    gain_db = 10.0 * torch.log10(state.mean_gain.clamp(min=1e-30))
    own_db = gain_db.gather(1, networks.transmitter.unsqueeze(1))
    # Mean over the links of agent a of its own signal over that of node i ``[B, i, a]``.
    count = links.sum(-1).clamp(min=1)
    above_db = torch.einsum("bil,bal->bia", own_db - gain_db, links.float()) / count.unsqueeze(1)
    nodes = torch.arange(networks.num_nodes, device=links.device).unsqueeze(-1)
    feeds = ((nodes == networks.receiver).unsqueeze(1) & links.unsqueeze(1)).any(-1)
    by_node = (above_db < CONFLICT_DB) | feeds
    by_agent = by_node.repeat_interleave(2, dim=1)
    node = torch.arange(links.shape[1], device=links.device) // 2
    itself = torch.eye(len(node), dtype=torch.bool, device=links.device)
    both = by_agent | by_agent.mT | (node.unsqueeze(1) == node)
    has_links = links.any(-1)
    return both & ~itself & has_links.unsqueeze(1) & has_links.unsqueeze(2)


BASELINES: dict[str, Baseline] = {
    "exhaustive": exhaustive,
    "max weight": max_weight,
    "reported max weight": reported_max_weight,
    "proportional fair": proportional_fair,
    "greedy colouring": greedy_colouring,
    "orthogonal": orthogonal,
    "full reuse": full_reuse,
    "random": random_action,
}
