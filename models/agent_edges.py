"""What agents hear over the edges of their graph, dense or on neighbour lists."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from metagnn.graphs.sparse_interference import SparseProduct, SparseWeight


@dataclass(frozen=True)
class AgentEdges:
    """The edges of one direction. Agents come first in all that they carry.

    Attributes:
        hear: Sums of features over the edges, ``[I, ..., C, F]`` to the same.
        degree: Sums of the edges' weights ``[I, ..., 1, 1]``.
    """

    hear: Callable[[Tensor], Tensor]
    degree: Tensor


def agent_edges(edge_weight: Tensor | SparseWeight, bidirectional: bool) -> list[AgentEdges]:
    """Edges into agents and, with ``bidirectional``, out of them; none if all weights are 0.

    Args:
        edge_weight: Weights of edges i -> k ``[..., I, I]``, or on neighbour lists.
        bidirectional: Whether both directions are wanted.
    """
    num_directions = 1 + bidirectional
    if isinstance(edge_weight, SparseWeight):
        if not (bool(edge_weight.crossed.any()) or bool(edge_weight.own.any())):
            return []
        degrees = [edge_weight.incoming_sum(), edge_weight.outgoing_sum()][:num_directions]
        # CSR products know no leading axes: samples are taken one at a time.
        crossed, own = (w.reshape(-1, w.shape[-1]) for w in (edge_weight.crossed, edge_weight.own))
        samples = replace(edge_weight, crossed=crossed, own=own)
        products = [samples[number].products(num_directions) for number in range(len(samples))]
        hear = [partial(_sparse, direction) for direction in zip(*products, strict=True)]
    else:
        if not bool(edge_weight.any()):
            return []
        degrees = [edge_weight.sum(-2), edge_weight.sum(-1)][:num_directions]
        matrices = [edge_weight.mT, edge_weight][:num_directions]
        hear = [partial(_dense, matrix.reshape(-1, *matrix.shape[-2:])) for matrix in matrices]
    columns = (degree.movedim(-1, 0)[..., None, None] for degree in degrees)
    return [AgentEdges(*pair) for pair in zip(hear, columns, strict=True)]


def _dense(matrices: Tensor, x: Tensor) -> Tensor:
    """Sums over the edges ``[B, I, I]`` of samples side by side."""
    samples = x.view(len(x), len(matrices), -1).transpose(0, 1)
    return torch.bmm(matrices, samples).transpose(0, 1).reshape(x.shape)


def _sparse(products: tuple[SparseProduct, ...], x: Tensor) -> Tensor:
    """Sums over the edges of each sample, in order of the leading axes."""
    samples = x.reshape(len(x), len(products), -1).unbind(1)
    heard = [product @ sample for product, sample in zip(products, samples, strict=True)]
    return torch.stack(heard, dim=1).view(x.shape)
