"""What the learners of offloading keep in their replay (paper D), small and without graphs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.graphs.interference import DenseGraph
from metagnn.maddpg import Transitions
from metagnn.models.offloading import JointAction
from metagnn.offloading_agents import PARTS, interference_edges
from metagnn.tasks.offloading.cost import NO_CHANNEL, Cost, Slot
from metagnn.tasks.offloading.environment import NUM_FEATURES, NUM_PER_CHANNEL, graph_of
from metagnn.tasks.offloading.scenario import Radio


@dataclass(frozen=True)
class Seen:
    """What the learners keep of an observation.

    Attributes:
        graph: What the sites saw.
        edges: Weights of the edges between cells, which central critics know.
    """

    graph: DenseGraph
    edges: Tensor


def parts_of(cost: Cost, slot: Slot) -> Tensor:
    """Parts of the users' rewards ``[B, I, P]`` (see `offloading_agents.PARTS`)."""
    late_s = torch.where(cost.met, 0.0, cost.latency_s - slot.tasks.deadline_s)
    columns = (cost.met.float(), late_s, cost.transmission_j, cost.local_j + cost.edge_j)
    return torch.stack(columns, dim=-1)


def entries(users: int, cells: int, channels: int, looks_ahead: bool) -> dict[str, tuple[int, ...]]:
    """Shapes of what a replay keeps of each transition, with the next observation or without."""
    by_user = (users, NUM_FEATURES - NUM_PER_CHANNEL)
    by_channel = (users, channels, NUM_PER_CHANNEL)
    found: dict[str, tuple[int, ...]] = {
        "per_channel": by_channel,
        "per_user": by_user,
        "gain": (users, cells),
        "channel": (users,),
        "ratio": (users,),
        "level": (users,),
        "share": (users,),
        "parts": (users, len(PARTS)),
    }
    if looks_ahead:
        found |= {"next_per_channel": by_channel, "next_per_user": by_user}
    return found


def as_entry(
    gain: Tensor, before: DenseGraph, action: JointAction, parts: Tensor, after: DenseGraph | None
) -> dict[str, Tensor]:
    """Transitions of N networks as a replay keeps them.

    Args:
        gain: Mean gains of the users to the sites ``[N, I, M]``.
        before: What the sites saw.
        action: What they did.
        parts: Parts of the users' rewards ``[N, I, P]``.
        after: What they saw next, unless that does not count.
    """
    offloads = action.place.sum(-1) > 0.5
    kept = {
        "gain": gain,
        "channel": torch.where(offloads, action.place.argmax(-1), NO_CHANNEL),
        "ratio": action.ratio,
        "level": (action.place * action.level).sum(-1),
        "share": action.share,
        "parts": parts,
        "per_channel": before.node[..., :NUM_PER_CHANNEL],
        "per_user": before.node[:, :, 0, NUM_PER_CHANNEL:],
    }
    if after is not None:
        kept["next_per_channel"] = after.node[..., :NUM_PER_CHANNEL]
        kept["next_per_user"] = after.node[:, :, 0, NUM_PER_CHANNEL:]
    return kept


def as_transitions(
    kept: dict[str, Tensor], cell: Tensor, radio: Radio
) -> Transitions[Seen, JointAction]:
    """The transitions again, with the parts of the users' rewards as their reward.

    Args:
        kept: What `as_entry` made, axes ``[N, ...]``.
        cell: Site that serves each user ``[I]``.
        radio: Channels and powers.
    """
    edges = interference_edges(kept["gain"], cell, radio)
    channels = torch.arange(radio.num_channels, device=cell.device)
    place = (kept["channel"].unsqueeze(-1) == channels).float()
    level = kept["level"].unsqueeze(-1).expand_as(place)
    action = JointAction(place, kept["ratio"], level, kept["share"])
    before = Seen(graph_of(kept["per_channel"], kept["per_user"], cell), edges)
    after = None
    if "next_per_user" in kept:
        graph = graph_of(kept["next_per_channel"], kept["next_per_user"], cell)
        after = Seen(graph, edges)
    return Transitions(before, action, kept["parts"], after)
