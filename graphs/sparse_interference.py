"""The interference graph of a large network: an edge per neighbour, LEConv as sparse products."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from metagnn.graphs.checks import check_positive, require
from metagnn.graphs.interference import (
    DenseGraph,
    EdgeKind,
    interference_graph,
    log_ratio,
    node_features,
    rate_loss,
)
from metagnn.graphs.neighbours import Gain, NeighbourGain, Neighbours
from metagnn.graphs.rates import full_power_rate


@dataclass(frozen=True, eq=False)
class SparseWeight:
    """Edge weights of one sample or several, in place of ``[..., K, K]``.

    Attributes:
        neighbours: Edges i -> k between different links.
        crossed: Their weights ``[..., E]``.
        own: Weights of the self-loops ``[..., K]``.
    """

    neighbours: Neighbours
    crossed: Tensor
    own: Tensor

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.own)

    def __getitem__(self, index: int | slice) -> "SparseWeight":
        """Weights at ``index`` of the leading axis."""
        return replace(self, crossed=self.crossed[index], own=self.own[index])

    def incoming_sum(self) -> Tensor:
        """Sum of the weights of the edges into each node ``[..., K]``."""
        return self.own + self.neighbours.into_targets(self.crossed)

    def outgoing_sum(self) -> Tensor:
        """Sum of the weights of the edges out of each node ``[..., K]``."""
        return self.own + self.neighbours.into_sources(self.crossed)

    def products(self, num_directions: int = 2) -> "tuple[SparseProduct, ...]":
        """Sums over incoming and, as the second, over outgoing edges of one sample, as matrices.

        Raises:
            ValueError: If the weights require a gradient, which the matrices do not carry.
        """
        wanted = self.crossed.requires_grad and torch.is_grad_enabled()
        require(
            not wanted, "edge_weight", "require no gradient on neighbour lists", "one that does"
        )
        pairs, size = self.neighbours, (self.neighbours.num_links,) * 2
        incoming = _csr(pairs.target, pairs.source, self.crossed, size)
        if num_directions == 1 and not torch.is_grad_enabled():
            return (SparseProduct(incoming, None, self.own),)
        order = pairs.by_source
        outgoing = _csr(pairs.source[order], pairs.target[order], self.crossed[order], size)
        both = (
            SparseProduct(incoming, outgoing, self.own),
            SparseProduct(outgoing, incoming, self.own),
        )
        return both[:num_directions]


@dataclass(frozen=True, eq=False)
class SparseProduct:
    """Matrix of neighbours and self-loops that multiplies features ``[K, F]`` from the left.

    Its transpose is that of the gradient; without one it is None.
    """

    matrix: Tensor
    transposed: Tensor | None
    own: Tensor

    def __matmul__(self, x: Tensor) -> Tensor:
        same = x.to(self.own.dtype)
        product: Tensor = _Product.apply(same, self.matrix, self.transposed)  # type: ignore[no-untyped-call]
        return product + self.own.unsqueeze(-1) * x


class _Product(torch.autograd.Function):
    """Product with a constant CSR matrix; its own backward needs the transpose as CSR.

    Never in bfloat16, which CSR products do not know.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, transposed: Tensor | None) -> Tensor:
        ctx.transposed = transposed
        with torch.autocast(x.device.type, enabled=False):
            return matrix @ x

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        with torch.autocast(slopes[0].device.type, enabled=False):
            return ctx.transposed @ slopes[0].contiguous(), None, None


def _csr(row: Tensor, column: Tensor, value: Tensor, size: tuple[int, int]) -> Tensor:
    start = torch.searchsorted(row, torch.arange(size[0] + 1, device=row.device))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(start, column, value, size, check_invariants=False)


@dataclass(frozen=True, eq=False)
class SparseGraph:
    """Interference graphs on neighbour lists; what `DenseGraph` is for ``[..., K, K]``.

    Attributes:
        node: Features of each link that follow from the gains ``[..., K, F]``.
        edge_weight: Weights of the edges.
    """

    node: Tensor
    edge_weight: SparseWeight

    def __getitem__(self, index: int | slice) -> "SparseGraph":
        """Graphs at ``index`` of the leading axis."""
        return SparseGraph(self.node[index], self.edge_weight[index])


Graph = DenseGraph | SparseGraph


def graph_of(
    gain: Gain, power_max_w: float, noise_w: float, edges: EdgeKind = "rate_loss"
) -> Graph:
    """Interference graph of gains, on neighbour lists where they are; see `interference_graph`."""
    if isinstance(gain, NeighbourGain):
        return sparse_interference_graph(gain, power_max_w, noise_w, edges)
    return interference_graph(gain, power_max_w, noise_w, edges)


def sparse_interference_graph(
    gain: NeighbourGain, power_max_w: float, noise_w: float, edges: EdgeKind = "rate_loss"
) -> SparseGraph:
    """Interference graph on neighbour lists; pairs left out count as gains of 0.

    Weights, features and arguments are those of `interference_graph`; Eq. 24's logarithm of a
    missing gain counts as 0, its norm is over the pairs that are kept.

    Shapes:
        gain of ``[..., K]`` direct and ``[..., E]`` crossed gains.
    """
    check_positive("power_max_w", power_max_w)
    check_positive("noise_w", noise_w)
    pairs, scale = gain.neighbours, power_max_w / noise_w
    snr, inr = gain.direct * scale, gain.crossed * scale
    if edges == "normalised_log":
        crossed, own = log_ratio(inr), log_ratio(snr)
        square = torch.cat([crossed, own], dim=-1).square().sum(-1, keepdim=True)
        norm = square.clamp(min=torch.finfo(square.dtype).tiny).sqrt()
        node = snr.new_empty((*snr.shape, 0))
        return SparseGraph(node, SparseWeight(pairs, crossed / norm, own / norm))
    loss = rate_loss(snr[..., pairs.target], inr)
    suffered, caused = 1.0 + pairs.into_targets(loss), 1.0 + pairs.into_sources(loss)
    weight = SparseWeight(
        pairs,
        loss / (caused[..., pairs.source] * suffered[..., pairs.target]).sqrt(),
        1.0 / (caused * suffered).sqrt(),
    )
    at_full_power = full_power_rate(gain, power_max_w, noise_w)
    return SparseGraph(node_features(snr, at_full_power, suffered, caused), weight)
