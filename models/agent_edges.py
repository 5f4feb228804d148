"""What agents hear over the edges of their graph, dense or on neighbour lists."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from metagnn.graphs.sparse_interference import SparseProduct, SparseWeight


@dataclass(frozen=True)
class AgentEdges:
    """The edges of one direction.

    Attributes:
        hear: Sums of features ``[I, ..., C, F]`` over the edges, or of ``[..., I, C, F]``.
        degree: Sums of the edges' weights ``[I, ..., 1, 1]``, or ``[..., I, 1, 1]``.
    """

    hear: Callable[[Tensor], Tensor]
    degree: Tensor


def agent_edges(
    edge_weight: Tensor | SparseWeight, bidirectional: bool, agents_first: bool = True
) -> list[AgentEdges]:
    """Edges into agents and, with ``bidirectional``, out of them; none if all weights are 0.

    Args:
        edge_weight: Weights of edges i -> k ``[..., I, I]``, or on neighbour lists.
        bidirectional: Whether both directions are wanted.
        agents_first: Agents are the first axis of the features, else the last but two.
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
        hear = [
            partial(_sparse, direction, agents_first) for direction in zip(*products, strict=True)
        ]
    else:
        if not bool(edge_weight.any()):
            return []
        degrees = [edge_weight.sum(-2), edge_weight.sum(-1)][:num_directions]
        matrices = [edge_weight.mT, edge_weight][:num_directions]
        hear = [
            partial(_dense, matrix.reshape(-1, *matrix.shape[-2:]), agents_first)
            for matrix in matrices
        ]
    ordered = (degree.movedim(-1, 0) if agents_first else degree for degree in degrees)
    columns = (degree[..., None, None] for degree in ordered)
    return [AgentEdges(*pair) for pair in zip(hear, columns, strict=True)]


def _dense(matrices: Tensor, agents_first: bool, x: Tensor) -> Tensor:
    """Sums over the edges ``[B, I, I]`` of samples side by side."""
    if not agents_first:
        return torch.bmm(matrices, x.reshape(*matrices.shape[:2], -1)).view(x.shape)
    samples = x.view(len(x), len(matrices), -1).transpose(0, 1)
    return torch.bmm(matrices, samples).transpose(0, 1).reshape(x.shape)


def _sparse(products: tuple[SparseProduct, ...], agents_first: bool, x: Tensor) -> Tensor:
    """Sums over the edges of each sample, in order of the leading axes."""
    if not agents_first:
        return _sparse(products, True, x.movedim(-3, 0).contiguous()).movedim(0, -3)
    samples = x.reshape(len(x), len(products), -1).unbind(1)
    heard = [product @ sample for product, sample in zip(products, samples, strict=True)]
    return torch.stack(heard, dim=1).view(x.shape)
