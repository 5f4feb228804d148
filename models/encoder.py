"""Encoder of agents on a graph: LEConv layers, over alternatives side by side where wanted."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from metagnn.graphs.checks import require
from metagnn.graphs.sparse_interference import Graph, SparseWeight
from metagnn.models.agent_edges import AgentEdges, agent_edges
from metagnn.models.leconv import DenseLEConv

# A claim on one alternative alone; edges of a quarter then carry it as a feature of order one.
WHOLE_CLAIM = 4.0


class Encoder(nn.Module):
    """Layers of LEConv over the edges and, with ``bidirectional``, over the reversed ones.

    Without edges a layer is :math:`L_3 x`: a perceptron per agent. Every parameter may carry a
    leading axis of I: agent i then computes with the i-th; or one of graphs side by side.

    Args:
        in_channels: Node features F.
        hidden_channels: Widths of the layers.
        per_choice: Agents have features for each of N alternatives: one network encodes all of
            them, and hears the mean over all in every layer.
        bidirectional: Also convolve over the reversed edges.
        num_claims: So many features of every layer are shares over the alternatives (softmax).
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: Sequence[int],
        per_choice: bool,
        bidirectional: bool,
        num_claims: int,
    ) -> None:
        super().__init__()
        self.per_choice, self.bidirectional, self.num_claims = per_choice, bidirectional, num_claims
        pairs = list(pairwise([in_channels, *hidden_channels]))
        self.convs = nn.ModuleList(DenseLEConv(*pair) for pair in pairs)
        self.reverse_convs = nn.ModuleList(DenseLEConv(*pair) for pair in pairs if bidirectional)
        self.mixes = nn.ModuleList(
            nn.Linear(outgoing, outgoing, bias=False) for _, outgoing in pairs if per_choice
        )

    def encode(
        self,
        graph: Graph,
        given: Mapping[str, Tensor],
        detached: bool = False,
        agents_first: bool = True,
    ) -> Tensor:
        """Features of the agents.

        Args:
            graph: Graph of the agents.
            given: Parameters by name.
            detached: What agents hear of each other carries no gradient.
            agents_first: Agents become the first axis, so that parameters with a leading axis are
                the agents' own. Else these are the own ones of what comes first in the graph.

        Shapes:
            graph with node ``[..., I, F]``, with ``per_choice`` ``[..., I, N, F]``; returns
            ``[I, ..., C, F']``, or ``[..., I, C, F']`` without ``agents_first``, where C is N or,
            for a graph that comes once, 1.

        Raises:
            ValueError: If nodes and edges are not of the same graphs.
        """
        x = graph.node if self.per_choice else graph.node.unsqueeze(-2)
        nodes, weight = tuple(x.shape[:-2]), graph.edge_weight
        of_edges = tuple(
            weight.own.shape if isinstance(weight, SparseWeight) else weight.shape[:-1]
        )
        require(of_edges == nodes, "edge_weight", f"be of the agents {nodes} of `node`", of_edges)
        x = x.movedim(-3, 0) if agents_first else x
        edges = agent_edges(weight, self.bidirectional, agents_first)
        for layer in range(len(self.convs)):
            x = functional.leaky_relu(self._convolve(x, edges, given, layer, detached))
            if self.per_choice:
                x = x + linear(given, f"mixes.{layer}", x.mean(-2, keepdim=True))
            if self.num_claims > 0:
                x, lean = x.tensor_split([x.shape[-1] - self.num_claims], dim=-1)
                x = torch.cat([x, WHOLE_CLAIM * lean.softmax(-2)], dim=-1)
        return x

    def _convolve(
        self,
        x: Tensor,
        edges: Sequence[AgentEdges],
        given: Mapping[str, Tensor],
        layer: int,
        detached: bool,
    ) -> Tensor:
        r"""Sum of :math:`L_3 x + L_1 W^T x + d (b_1 - L_2 x)` over the directions."""
        names = [f"convs.{layer}", f"reverse_convs.{layer}"][: 1 + self.bidirectional]
        own, bias = (
            torch.stack([given[f"{name}.lin3.{part}"] for name in names]).sum(0)
            for part in ("weight", "bias")
        )
        # Added up in place, which needs neither memory nor copies: no backward pass reads y.
        y = product(rows(x, own), own.mT, bias)
        for name, edge in zip(names, edges, strict=False):
            heard = edge.hear(x.detach() if detached else x)
            lin1, lin2 = (given[f"{name}.{part}.weight"].mT for part in ("lin1", "lin2"))
            add_product = y.addmm_ if own.dim() == 2 else y.baddbmm_
            add_product(rows(heard, own), lin1)
            of_degree = product(rows(x, own), -lin2, given[f"{name}.lin1.bias"])
            y.addcmul_(rows(edge.degree.expand(*x.shape[:-1], 1), own), of_degree)
        return y.view(*x.shape[:-1], y.shape[-1])


def linear(given: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Linear layer of a name on features ``[I, ..., F]``, one for all agents or one for each."""
    weight = given[f"{name}.weight"]
    found = product(rows(x, weight), weight.mT, given.get(f"{name}.bias"))
    return found.view(*x.shape[:-1], found.shape[-1])


def rows(x: Tensor, weight: Tensor) -> Tensor:
    """Features ``[I, ..., F]`` as rows that a weight multiplies, with its leading axis if any."""
    return x.flatten(weight.dim() - 2, -2)


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Rows ``[(I,) R, F]`` times a weight ``[(I,) F, H]``, plus a bias ``[(I,) H]``."""
    if bias is None:
        return x @ weight
    if weight.dim() == 2:
        return torch.addmm(bias, x, weight)
    return torch.baddbmm(bias.unsqueeze(-2), x, weight)
