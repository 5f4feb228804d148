"""The sites as agents: actors and critics, of graph networks or of the paper's perceptrons."""

import copy
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from metagnn.graphs.checks import check_count, check_non_negative, require
from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.randomness import generator
from metagnn.models.offloading import JointAction, OffloadingActor, OffloadingCritic, Wishes
from metagnn.models.offloading_perceptron import (
    TASK,
    PerceptronActor,
    PerceptronCritic,
    flat_action,
    flat_state,
)
from metagnn.tasks.offloading.construction import members
from metagnn.tasks.offloading.environment import HELD, INR, NUM_FEATURES, SNR
from metagnn.tasks.offloading.scenario import Radio

Kind = Literal["graph", "perceptron"]
# Parts of a user's reward: its deadline was met, its lateness [s], its energies [J].
PARTS = ("met", "late_s", "transmission_j", "computing_j")
# Orders of magnitude of the last three: what the critic says at first.
_FIRST = (-3.0, -5.0, -3.0)


@dataclass(frozen=True)
class AgentShape:
    """What the agents look like.

    Attributes:
        kind: ``graph`` networks for any number of users, channels and cells, or the paper's
            ``perceptron`` for as many as it was made for.
        shared: All sites have one model, or each has its own.
        hidden_channels: Widths of the actor's layers; of a perceptron the one.
        critic_channels: Widths of the critic's layers; of a perceptron the one.
        num_claims: See `OffloadingActor`; 0 for perceptrons.
        bidirectional: See `OffloadingActor`; false for perceptrons.
        prior: What the actor says of a channel is added to so many times the decades of the SINR
            that the largest power would have in the interference measured there, a decade more
            on the channel that a user has: who holds it makes true what others measured, which no
            site gains from by itself. So sites first choose about as the heuristic does, which
            weighs by the sizes of tasks too; 0 for perceptrons.

    Raises:
        ValueError: If a width is not positive, the prior is negative or not finite, or the kind is
            unknown or lacks what is asked.
    """

    kind: Kind = "graph"
    shared: bool = True
    hidden_channels: tuple[int, ...] = (24, 24)
    critic_channels: tuple[int, ...] = (64, 64)
    num_claims: int = 8
    bidirectional: bool = False
    prior: float = 4.0

    def __post_init__(self) -> None:
        require(
            self.kind in ("graph", "perceptron"), "kind", "be 'graph' or 'perceptron'", self.kind
        )
        for name in ("hidden_channels", "critic_channels"):
            widths = getattr(self, name)
            require(len(widths) > 0, name, "hold a layer", widths)
            for width in widths:
                check_count(name, width)
            if self.kind == "perceptron":
                require(len(widths) == 1, name, "hold one layer of a perceptron", widths)
        if self.kind == "perceptron":
            require(self.num_claims == 0, "num_claims", "be 0 for perceptrons", self.num_claims)
            rule = "be false for perceptrons"
            require(not self.bidirectional, "bidirectional", rule, self.bidirectional)
            require(self.prior == 0.0, "prior", "be 0 for perceptrons", self.prior)
        check_non_negative("prior", self.prior)


class OffloadingAgents(nn.Module):
    """Actors and critics of M sites, which all begin with the same parameters.

    Args:
        shape: What they look like.
        cell: Site that serves each user ``[I]``.
        num_cells: Number of sites M.
        radio: Channels and powers.
        central: Critics know what all sites do; else each what its own does. Those of graphs value
            a user by what it sees itself and by the mean interference of what all others do, those
            of perceptrons by what all see and do.
        seed: Seed of the initial parameters.

    Raises:
        ValueError: If the cells do not fit the shape: perceptrons need cells of equal size.
    """

    cell: Tensor
    table: Tensor

    def __init__(
        self,
        shape: AgentShape,
        cell: Tensor,
        num_cells: int,
        radio: Radio,
        central: bool,
        seed: int,
    ) -> None:
        super().__init__()
        self.shape, self.num_cells, self.central = shape, num_cells, central
        self.register_buffer("cell", cell.clone(), persistent=False)
        table = members(cell, num_cells)
        self.equal = bool((table >= 0).all())
        sizes = (table >= 0).sum(-1).tolist()
        fits = self.equal or shape.kind == "graph"
        require(fits, "cells", "be of equal sizes for perceptrons", sizes)
        self.register_buffer("table", table, persistent=False)
        num_models = 1 if shape.shared else num_cells
        # A critic of the joint graph values all users at once: its sites need but one.
        num_critics = 1 if central and shape.kind == "graph" else num_models
        users = table.shape[1]
        with torch.random.fork_rng():
            torch.manual_seed(generator(seed, "agents").initial_seed() % 2**63)
            self.actors = alike(self._new_actor(users, radio.num_channels), num_models)
            self.critics = alike(self._new_critic(users, radio), num_critics)

    def _new_actor(self, users: int, channels: int) -> nn.Module:
        shape = self.shape
        if shape.kind == "perceptron":
            return PerceptronActor(users, channels, NUM_FEATURES, shape.hidden_channels[0])
        return OffloadingActor(
            NUM_FEATURES, shape.hidden_channels, shape.bidirectional, shape.num_claims
        )

    def _new_critic(self, users: int, radio: Radio) -> nn.Module:
        shape, channels = self.shape, radio.num_channels
        if shape.kind == "graph":
            span_db = radio.power_max_dbm - radio.power_min_dbm
            return OffloadingCritic(NUM_FEATURES, _FIRST, shape.critic_channels, span_db)
        state = users * channels + channels + users * (NUM_FEATURES - TASK)
        action = users * (channels + 3)
        sites = self.num_cells if self.central else 1
        return PerceptronCritic(sites * (state + action), shape.critic_channels[0])

    def wishes(self, graph: DenseGraph) -> Wishes:
        """Wishes of all users for observations ``[B, I, K, F]``, each by its own site's actor.

        Scores are what the actor says and the `AgentShape.prior`.
        """
        found, seen = self._said(graph), graph.node
        known = seen[..., SNR] - seen[..., INR] + seen[..., HELD]
        return replace(found, score=found.score + self.shape.prior * known)

    def _said(self, graph: DenseGraph) -> Wishes:
        """What the actors say."""
        if not self.shape.shared:
            mine = zip(self.actors, self._sites(), strict=True)
            found = [actor(_of_users(graph, users)) for actor, users in mine]
            names = [field.name for field in fields(Wishes)]
            return Wishes(*(self._in_order([getattr(one, n) for one in found]) for n in names))
        if not self.equal:
            whole: Wishes = self.actors[0](graph)
            return whole
        cells = self._cells(graph)
        one = DenseGraph(cells.node.flatten(0, 1), cells.edge_weight.flatten(0, 1))
        answers = self.actors[0](one)
        shape = (len(graph.node), self.num_cells)
        columns = [getattr(answers, field.name).unflatten(0, shape) for field in fields(Wishes)]
        return Wishes(*(self._in_order(list(column.unbind(1))) for column in columns))

    def parts(self, graph: DenseGraph, edges: Tensor, action: JointAction) -> Tensor:
        """Parts of every user's value per slot ``[B, I, P]``, by the graph's critics.

        Args:
            graph: Observations.
            edges: Weights of the edges between cells ``[B, I, I]`` (see `interference_edges`).
            action: What all users do.
        """
        if self.central or self.shape.shared:
            seen = edges if self.central else torch.zeros_like(edges)
            found: Tensor = self.critics[0](DenseGraph(graph.node, seen), action)
            return found
        own = []
        for critic, users in zip(self.critics, self._sites(), strict=True):
            mine = JointAction(*(getattr(action, field.name)[:, users] for field in fields(action)))
            alone = DenseGraph(graph.node, torch.zeros_like(edges))
            own.append(critic(_of_users(alone, users), mine))
        return self._in_order(own)

    def _sites(self) -> list[Tensor]:
        """Users of each site."""
        return [row if self.equal else row[row >= 0] for row in self.table]

    def site_values(self, graph: DenseGraph, action: JointAction) -> Tensor:
        """Values of the sites ``[B, M]`` by the perceptrons' critics."""
        cells = self._cells(graph)
        states, actions = [], []
        for number in range(self.num_cells):
            users = self.table[number]
            states.append(
                flat_state(DenseGraph(cells.node[:, number], cells.edge_weight[:, number]))
            )
            mine = (getattr(action, field.name)[:, users] for field in fields(action))
            actions.append(flat_action(JointAction(*mine)))
        inputs = [torch.cat(pair, dim=-1) for pair in zip(states, actions, strict=True)]
        if self.central:
            inputs = [torch.cat(inputs, dim=-1)] * self.num_cells
        critics = list(self.critics) * (self.num_cells if self.shape.shared else 1)
        return torch.cat([critic(x) for critic, x in zip(critics, inputs, strict=True)], dim=-1)

    def _cells(self, graph: DenseGraph) -> DenseGraph:
        """The graph cell by cell: node ``[B, M, U, K, F]``, edge_weight ``[B, M, U, U]``."""
        table = self.table
        rows = table.unsqueeze(-1)
        return DenseGraph(graph.node[:, table], graph.edge_weight[:, rows, table.unsqueeze(-2)])

    def _in_order(self, by_site: list[Tensor]) -> Tensor:
        """Values of each site's users ``[B, U, ...]`` in the order of the users ``[B, I, ...]``."""
        order = torch.cat(self._sites()).argsort()
        return torch.cat(by_site, dim=1)[:, order]


def alike(model: nn.Module, number: int) -> nn.ModuleList:
    """So many models that begin alike: means of others would be of no use (Eq. 26)."""
    return nn.ModuleList(copy.deepcopy(model) for _ in range(number))


def _of_users(graph: DenseGraph, users: Tensor) -> DenseGraph:
    """The graph of some of the users."""
    return DenseGraph(graph.node[:, users], graph.edge_weight[:, users.unsqueeze(-1), users])


def interference_edges(large_scale_gain: Tensor, cell: Tensor, radio: Radio) -> Tensor:
    """Mean gains from users to the sites of users of other cells, over the noise at full power.

    Shapes:
        large_scale_gain ``[B, I, M]``, cell ``[I]``; returns ``[B, I, I]``, i -> k.
    """
    to_sites = large_scale_gain * (radio.power_max_w / radio.noise_w)
    other = cell.unsqueeze(-1) != cell
    return to_sites[:, :, cell] * other


def worth(parts: Tensor, revenue: float) -> Tensor:
    """Reward of users ``[...]`` by its parts ``[..., P]`` (paper D, Eq. 12 and 13)."""
    return revenue * parts[..., 0] - parts[..., 1:].sum(-1)


def met_error(value: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of shares of met deadlines, of the shape of both."""
    # A share that rounds to 0 or 1 still learns: torch bounds the logarithm, not the gradient.
    return functional.binary_cross_entropy(value, target.clamp(0.0, 1.0), reduction="none")
