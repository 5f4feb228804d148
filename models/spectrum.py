"""Policies of spectrum allocation: graph networks, without memory, recurrent, or with attention."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from metagnn.graphs.checks import check_count, require
from metagnn.graphs.interference import DenseGraph
from metagnn.models.action_heads import Choice
from metagnn.models.attention import HistoryAttention
from metagnn.models.encoder import Encoder, linear
from metagnn.models.recurrent import Recurrent

MemoryKind = Literal["none", "recurrent", "attention"]
MEMORIES: tuple[MemoryKind, ...] = ("none", "recurrent", "attention")
# The reward and the end of an episode, which policies with memory also see (RL^2).
NUM_FEEDBACK = 2
# Layers over the agents that meet on a band.
NUM_CONTESTS = 2
# Score of what is left out; a number, so that entropies are.
NEVER = -1e9
# Worths, which are at most 1, count so many times what a policy trusts them.
TRUST = 10.0


@dataclass(frozen=True)
class Seen:
    """What the nodes of networks see, axes ``[...]`` of networks and, where wanted, times.

    Attributes:
        graph: Node ``[..., L, N, F]`` of L links on N bands, and edge_weight ``[..., L, L]``.
        offer: Link that each of the A = 2 M agents serves on each band if it is on, -1 for none
            ``[..., A, N]``; agent 2 m serves the users of node m, agent 2 m + 1 its child nodes.
        left: What earlier bands leave of what waits for that link, as a share ``[..., A, N]``.
        sender: Agent of each link ``[..., L]``.
        feedback: The last reward, and whether an episode has just begun ``[..., 2]``.
        worth: What nodes reckon from what they are told that their choices are worth on each band,
            0 before they come to it ``[..., M, N, 1 + 2 P]``.
    """

    graph: DenseGraph
    offer: Tensor
    left: Tensor
    sender: Tensor
    feedback: Tensor
    worth: Tensor

    def __getitem__(self, index: object) -> "Seen":
        """Some of the networks or times."""
        graph = DenseGraph(self.graph.node[index], self.graph.edge_weight[index])  # type: ignore[index]
        rest = (self.offer, self.left, self.sender, self.feedback, self.worth)
        return Seen(graph, *(value[index] for value in rest))  # type: ignore[index]


@dataclass(frozen=True)
class Memory:
    """What a policy remembers of each network.

    Attributes:
        state: Recurrent states, networks first.
        history: Keys and values of the times before, times last but one.
    """

    state: Tensor
    history: Tensor

    def detach(self) -> "Memory":
        """The same without gradients."""
        return Memory(self.state.detach(), self.history.detach())

    def __getitem__(self, index: object) -> "Memory":
        """That of some networks."""
        return Memory(self.state[index], self.history[index])  # type: ignore[index]


@dataclass(frozen=True)
class PolicyShape:
    """What a policy looks like.

    Attributes:
        kind: ``graph`` for any number of links and bands, or the paper's ``flat`` network for
            those it was made for.
        memory: ``none``; ``recurrent``; or ``attention``, recurrent with attention to its history.
        hidden_channels: Widths of the layers; the memory has that of the last.
        num_heads: Heads of the attention.
        window: Times that the attention remembers.
        num_claims: See `Encoder`; 0 for ``flat``.

    Raises:
        ValueError: If a number is not positive or a word unknown.
    """

    kind: Literal["graph", "flat"] = "graph"
    memory: MemoryKind = "none"
    hidden_channels: tuple[int, ...] = (24, 24, 24)
    num_heads: int = 4
    window: int = 256
    num_claims: int = 0

    def __post_init__(self) -> None:
        require(self.kind in ("graph", "flat"), "kind", "be 'graph' or 'flat'", self.kind)
        require(self.memory in MEMORIES, "memory", f"be one of {MEMORIES}", self.memory)
        require(len(self.hidden_channels) > 0, "hidden_channels", "hold a layer", ())
        for width in self.hidden_channels:
            check_count("hidden_channels", width)
        for name in ("num_heads", "window"):
            check_count(name, getattr(self, name))
        check_count("num_claims", self.num_claims, minimum=0)
        most = min(self.hidden_channels) - 1 if self.kind == "graph" else 0
        rule = f"be at most {most}, so that each layer has other features (0 for 'flat')"
        require(self.num_claims <= most, "num_claims", rule, self.num_claims)


class PolicyOverTime(nn.Module, ABC):
    """What policies make of one time, or of many, from what they see, remember and decide."""

    @abstractmethod
    def _features(self, seen: Seen, given: Mapping[str, Tensor]) -> Tensor:
        """What is made of what is seen."""

    @abstractmethod
    def _remember(
        self, x: Tensor, memory: Memory, given: Mapping[str, Tensor]
    ) -> tuple[Tensor, Memory]:
        """What is known after times ``[T, B, ...]``, and the memory after the last."""

    @abstractmethod
    def decide(
        self,
        x: Tensor,
        seen: Seen,
        bands: slice = slice(None),
        parameters: Mapping[str, Tensor] | None = None,
    ) -> tuple[Choice, Tensor]:
        """What nodes do on some of the bands, and its values, from what is known (`think`)."""

    def forward(
        self, seen: Seen, memory: Memory, parameters: Mapping[str, Tensor] | None = None
    ) -> tuple[Choice, Tensor, Memory]:
        """Policy and value of networks at one time, and what they remember after it."""
        x, memory = self.think(seen, memory, parameters)
        return *self.decide(x, seen, parameters=parameters), memory

    def think(
        self, seen: Seen, memory: Memory, parameters: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Memory]:
        """What is known at one time, and remembered after it.

        Of a `GraphPolicy` links know ``[B, L, N, C]``, a flat policy ``[B, 1, C]``.
        """
        given = dict(self.named_parameters()) if parameters is None else parameters
        x, memory = self._remember(self._features(seen, given).unsqueeze(0), memory, given)
        return x.squeeze(0), memory

    def sequence(
        self, seen: Seen, memory: Memory, parameters: Mapping[str, Tensor] | None = None
    ) -> tuple[Choice, Tensor]:
        """Policies and values of networks at times ``[T, B, ...]``."""
        given = dict(self.named_parameters()) if parameters is None else parameters
        x, _ = self._remember(self._features(seen, given), memory, given)
        return self.decide(x, seen, parameters=given)


class GraphPolicy(PolicyOverTime, Encoder):
    """What every node does on every band, and what that is worth, for networks of any size.

    A node is off, or serves its users or its child nodes with one of P powers: 1 + 2 P choices, of
    which those are left out for which nothing waits. Links see themselves and hear over the
    edges; every link remembers for itself, band by band, what it adds to what it sees, and recalls
    by attention what the mean over the links of its band was. A node decides band by band, by the
    links that it would serve there, what all links know of the band in the mean, and what earlier
    bands leave of what waits; to its scores it adds what its choices are worth by what it is told,
    as much as it trusts that, at first not at all. Parameters may carry a leading axis, of networks
    that come first.

    Args:
        shape: What it looks like.
        in_channels: Node features F.
        num_powers: Powers P.

    Shapes:
        `sequence` takes networks at times ``[T, B]``, or ``[B, T]`` where each has parameters of
        its own; `forward` takes ``[B]``. Logits ``[..., M, N, 1 + 2 P]``, values ``[..., M, N]``.
    """

    def __init__(self, shape: PolicyShape, in_channels: int, num_powers: int) -> None:
        feedback = 0 if shape.memory == "none" else NUM_FEEDBACK
        super().__init__(
            in_channels + feedback, shape.hidden_channels, True, True, shape.num_claims
        )
        self.shape = shape
        width = shape.hidden_channels[-1]
        self.recurrent = Recurrent(width, width) if shape.memory != "none" else None
        with_history = shape.memory == "attention"
        self.attention = (
            HistoryAttention(width, shape.num_heads, shape.window) if with_history else None
        )
        self.agent = nn.Linear(2 * width + 1, width)
        self.itself, self.disturbed, self.disturbs = (
            nn.ModuleList(nn.Linear(width, width, bias=own) for _ in range(NUM_CONTESTS))
            for own in (True, False, False)
        )
        self.powers = nn.Linear(width, num_powers)
        self.off = nn.Linear(width, 1)
        self.trust = nn.Linear(width, 1)
        self.value_hidden = nn.Linear(width, width)
        self.value = nn.Linear(width, 1)
        # The first policy is nearly uniform, trusts nothing, and values are nearly 0.
        for head in (self.powers, self.off, self.trust, self.value):
            nn.init.normal_(head.weight, 0.0, 0.01)
            nn.init.zeros_(head.bias)

    def _features(self, seen: Seen, given: Mapping[str, Tensor]) -> Tensor:
        """What the links make of what they see ``[..., L, N, C]``."""
        graph = seen.graph
        if self.recurrent is not None:
            feedback = seen.feedback[..., None, None, :].expand(*graph.node.shape[:-1], -1)
            graph = DenseGraph(torch.cat([graph.node, feedback], dim=-1), graph.edge_weight)
        return self.encode(graph, given, agents_first=False)

    def start(self, seen: Seen) -> Memory:
        """Memory of networks ``[B]`` that have seen nothing yet."""
        width = self.shape.hidden_channels[-1]
        batch = seen.graph.node.shape[0]
        shape = seen.graph.node.shape[:-1] if self.recurrent is not None else (batch, 0)
        columns = 2 * width if self.attention is not None else 0
        new = seen.graph.node.new_zeros
        bands = seen.graph.node.shape[2]
        return Memory(new(*shape, width), new(batch, bands, 0, columns))

    def _remember(
        self, x: Tensor, memory: Memory, given: Mapping[str, Tensor]
    ) -> tuple[Tensor, Memory]:
        """What the links know after times ``[T, B, ...]``, and the memory after the last."""
        if self.recurrent is None:
            return x, memory
        states, state = [], memory.state
        for gates in self.recurrent.gates(x, given, "recurrent"):
            state = self.recurrent(gates, state, given, "recurrent")
            states.append(state)
        found, history = torch.stack(states), memory.history
        if self.attention is not None:
            # Times of each band [B, N, T, C].
            times = found.mean(-3).permute(1, 2, 0, 3)
            recalled, history = self.attention(times, history, given, "attention")
            found = found + recalled.permute(2, 0, 1, 3).unsqueeze(-3)
        return x + found, Memory(state, history)

    def decide(
        self,
        x: Tensor,
        seen: Seen,
        bands: slice = slice(None),
        parameters: Mapping[str, Tensor] | None = None,
    ) -> tuple[Choice, Tensor]:
        """What nodes do on some of the bands, and its values, from what links know (`think`)."""
        given = dict(self.named_parameters()) if parameters is None else parameters
        x, offer, left = x[..., bands, :], seen.offer[..., bands], seen.left[..., bands]
        served = torch.take_along_dim(x, offer.clamp(min=0).unsqueeze(-1), dim=-3)
        of_band = x.mean(-3, keepdim=True)
        parts = (served, of_band.expand_as(served), left.unsqueeze(-1))
        served = torch.cat(parts, dim=-1) * (offer >= 0).unsqueeze(-1)
        hidden = functional.leaky_relu(linear(given, "agent", served))
        hidden = self._contest(hidden, seen.graph, offer, given)
        of_node = hidden.unflatten(-3, (-1, 2)).sum(-3)
        powers, off = linear(given, "powers", hidden), linear(given, "off", of_node)
        of_value = linear(given, "value_hidden", of_node + of_band)
        value = linear(given, "value", functional.leaky_relu(of_value))
        found = choices(off, powers, offer)
        trust = TRUST * linear(given, "trust", of_node)
        worth = seen.worth[..., bands, :]
        return Choice(found.logits + trust * worth), value.squeeze(-1)

    def _contest(
        self, hidden: Tensor, graph: DenseGraph, offer: Tensor, given: Mapping[str, Tensor]
    ) -> Tensor:
        """What agents ``[..., A, N, C]`` make of those whom they meet on the bands."""
        weight = between_agents(graph, offer)
        for number in range(NUM_CONTESTS):
            by_band = hidden.transpose(-3, -2)
            heard = (weight.mT @ by_band).transpose(-3, -2)
            felt = (weight @ by_band).transpose(-3, -2)
            mixed = linear(given, f"itself.{number}", hidden)
            mixed = mixed + linear(given, f"disturbed.{number}", heard)
            mixed = mixed + linear(given, f"disturbs.{number}", felt)
            hidden = functional.leaky_relu(mixed)
        return hidden


def between_agents(graph: DenseGraph, offer: Tensor) -> Tensor:
    """Weights of the edges between the links that agents would serve ``[..., N, A, A]``, i -> k."""
    index = offer.clamp(min=0).transpose(-1, -2)
    links = graph.edge_weight.shape[-1]
    weight = graph.edge_weight.unsqueeze(-3).expand(*index.shape[:-1], links, links)
    weight = weight.gather(-2, index.unsqueeze(-1).expand(*index.shape, links))
    weight = weight.gather(-1, index.unsqueeze(-2).expand(*index.shape, index.shape[-1]))
    has = (offer >= 0).transpose(-1, -2)
    return weight * (has.unsqueeze(-1) & has.unsqueeze(-2))


def choices(off: Tensor, powers: Tensor, offer: Tensor) -> Choice:
    """Choices of the nodes; what an agent without a link to serve could do is left out.

    Args:
        off: Scores of being off ``[..., M, N, 1]``.
        powers: Scores of the agents' powers ``[..., 2 M, N, P]``.
        offer: Links that the agents would serve, -1 for none ``[..., 2 M, N]``.
    """
    powers = powers.masked_fill((offer < 0).unsqueeze(-1), NEVER)
    access, backhaul = powers.unflatten(-3, (-1, 2)).unbind(-3)
    return Choice(torch.cat([off, access, backhaul], dim=-1))
