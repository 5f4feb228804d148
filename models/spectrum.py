"""Policies of spectrum allocation: graph networks, without memory, recurrent, or with attention."""

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


@dataclass(frozen=True)
class Seen:
    """What the nodes of networks see, axes ``[...]`` of networks and, where wanted, times.

    Attributes:
        graph: Node ``[..., L, N, F]`` of L links on N bands, and edge_weight ``[..., L, L]``.
        pool: Shares of the links in what an agent knows ``[..., A, L]``: the mean over its own.
        feedback: The last reward, and whether an episode has just begun ``[..., 2]``.
    """

    graph: DenseGraph
    pool: Tensor
    feedback: Tensor

    def __getitem__(self, index: object) -> "Seen":
        """Some of the networks or times."""
        graph = DenseGraph(self.graph.node[index], self.graph.edge_weight[index])  # type: ignore[index]
        return Seen(graph, self.pool[index], self.feedback[index])  # type: ignore[index]


@dataclass(frozen=True)
class Memory:
    """What a policy remembers of each network.

    Attributes:
        state: Recurrent states, networks first.
        history: Keys and values of the times before ``[B, S, 2 C]``.
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


class GraphPolicy(Encoder):
    """Levels of all agents on all bands, and the value of a network, for networks of any size.

    Links see themselves and hear over the edges; every link remembers for itself, band by band.
    What a network recalls by attention is one vector for all its links. An agent knows the mean
    over its links. Parameters may carry a leading axis, of networks that come first.

    Args:
        shape: What it looks like.
        in_channels: Node features F.
        num_levels: Levels of a power, ``off`` among them.

    Shapes:
        `sequence` takes networks at times ``[T, B]``, or ``[B, T]`` where each has parameters of
        its own; `forward` takes ``[B]``. Logits ``[..., A, N, num_levels]``, values ``[...]``.
    """

    def __init__(self, shape: PolicyShape, in_channels: int, num_levels: int) -> None:
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
        self.agent = nn.Linear(width, width)
        self.levels = nn.Linear(width, num_levels)
        self.value_hidden = nn.Linear(width, width)
        self.value = nn.Linear(width, 1)
        # The first policy is nearly uniform.
        nn.init.normal_(self.levels.weight, 0.0, 0.01)
        nn.init.zeros_(self.levels.bias)

    def _features(self, seen: Seen, given: Mapping[str, Tensor]) -> Tensor:
        """What the links make of what they see ``[..., L, N, C]``, ready to be remembered."""
        graph = seen.graph
        if self.recurrent is not None:
            feedback = seen.feedback[..., None, None, :].expand(*graph.node.shape[:-1], -1)
            graph = DenseGraph(torch.cat([graph.node, feedback], dim=-1), graph.edge_weight)
        x = self.encode(graph, given, agents_first=False)
        return x if self.recurrent is None else self.recurrent.gates(x, given, "recurrent")

    def start(self, seen: Seen) -> Memory:
        """Memory of networks ``[B]`` that have seen nothing yet."""
        width = self.shape.hidden_channels[-1]
        batch = seen.graph.node.shape[0]
        shape = seen.graph.node.shape[:-1] if self.recurrent is not None else (batch, 0)
        columns = 2 * width if self.attention is not None else 0
        new = seen.graph.node.new_zeros
        return Memory(new(*shape, width), new(batch, 0, columns))

    def _remember(
        self, x: Tensor, memory: Memory, given: Mapping[str, Tensor]
    ) -> tuple[Tensor, Memory]:
        """What the links know after times ``[T, B, ...]``, and the memory after the last."""
        if self.recurrent is None:
            return x, memory
        states, state = [], memory.state
        for gates in x:
            state = self.recurrent(gates, state, given, "recurrent")
            states.append(state)
        found, history = torch.stack(states), memory.history
        if self.attention is not None:
            times = found.mean((-3, -2)).transpose(0, 1)
            recalled, history = self.attention(times, history, given, "attention")
            found = found + recalled.transpose(0, 1)[..., None, None, :]
        return found, Memory(state, history)

    def _decide(
        self, x: Tensor, pool: Tensor, given: Mapping[str, Tensor]
    ) -> tuple[Choice, Tensor]:
        """Levels of the agents and value of the network."""
        of_agents = (pool @ x.flatten(-2)).unflatten(-1, x.shape[-2:])
        hidden = functional.leaky_relu(linear(given, "agent", of_agents))
        of_network = linear(given, "value_hidden", x.mean((-3, -2)).unsqueeze(-2))
        value = linear(given, "value", functional.leaky_relu(of_network))
        return Choice(linear(given, "levels", hidden)), value.flatten(-3)

    def forward(
        self, seen: Seen, memory: Memory, parameters: Mapping[str, Tensor] | None = None
    ) -> tuple[Choice, Tensor, Memory]:
        """Policy and value of networks at one time, and what they remember after it."""
        given = dict(self.named_parameters()) if parameters is None else parameters
        x, memory = self._remember(self._features(seen, given).unsqueeze(0), memory, given)
        levels, value = self._decide(x.squeeze(0), seen.pool, given)
        return levels, value, memory

    def sequence(
        self, seen: Seen, memory: Memory, parameters: Mapping[str, Tensor] | None = None
    ) -> tuple[Choice, Tensor]:
        """Policies and values of networks at times ``[T, B, ...]``."""
        given = dict(self.named_parameters()) if parameters is None else parameters
        x, _ = self._remember(self._features(seen, given), memory, given)
        return self._decide(x, seen.pool, given)
