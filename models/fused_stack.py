"""LEConv stacks as functions of their parameters: one matrix product per layer."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from metagnn.graphs.checks import require
from metagnn.graphs.sparse_interference import SparseProduct, SparseWeight

# Nodes whose layer is evaluated at a time, so that what lies between its steps stays in the cache.
NODES_AT_ONCE = 2048


class FusedStack:
    r"""A dense stack as a function of its named parameters, one matrix product per layer.

    With :math:`d_k = \sum_i w_{ik}`, and the same of the reversed graph beside it, a layer is

    .. math:: x' = [x, W^T x, d x, 1, d] [L_3, L_1, -L_2, b_3, b_1]^T

    Parameters with a leading axis are those of M stacks, which then work side by side.

    Args:
        parameters: Named parameters of a `DenseLEConvStack`, each with or without a leading M.

    Shapes:
        As those of `DenseLEConvStack`; with M stacks ``[M, ..., K, in_channels]``,
        ``[M, ..., K, K]`` to ``[M, ..., K]``.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        layers: list[Tensor] = []
        while f"convs.{len(layers)}.lin1.weight" in parameters:
            layers.append(fuse(parameters, len(layers)))
        self._directions = 2 if "reverse_convs.0.lin1.weight" in parameters else 1
        self._layers = layers
        self._readout = parameters["readout.weight"].mT
        self._bias = parameters["readout.bias"].unsqueeze(-2)

    def __call__(self, x: Tensor, edge_weight: Tensor | SparseWeight) -> Tensor:
        """Scores of the nodes; sparse samples are taken one at a time."""
        edges: Sequence[Tensor | SparseProduct]
        if isinstance(edge_weight, SparseWeight):
            rule = f"have the leading axes {tuple(x.shape[:-2])} of `x`"
            shape = tuple(edge_weight.own.shape[:-1])
            require(shape == tuple(x.shape[:-2]), "edge_weight", rule, shape)
            if x.dim() > 2:
                samples = range(len(edge_weight))
                return torch.stack([self(x[sample], edge_weight[sample]) for sample in samples])
            edges = edge_weight.products(self._directions)
            degrees = [edge_weight.incoming_sum(), edge_weight.outgoing_sum()]
        else:
            edges = [edge_weight.mT, edge_weight]
            degrees = [edge_weight.sum(-2), edge_weight.sum(-1)]
        edges, degrees = edges[: self._directions], degrees[: self._directions]
        of_bias = torch.stack([torch.ones_like(degrees[0]), *degrees], dim=-1)
        nodes = torch.broadcast_shapes(x.shape[:-1], of_bias.shape[:-1])
        x, of_bias = x.expand(*nodes, -1), of_bias.expand(*nodes, -1)
        for weight in self._layers:
            x = _layer(x, of_bias, edges, weight)
        score = _rows(x, self._readout) @ self._readout
        # Under autocast products are in bfloat16, which ends here.
        score = score.to(of_bias.dtype) + self._bias
        return score.view(nodes)


def _layer(
    x: Tensor, of_bias: Tensor, edges: Sequence[Tensor | SparseProduct], weight: Tensor
) -> Tensor:
    """Outputs of one layer; without gradients a block of nodes at a time."""
    own, of_own = _rows(x, weight), _rows(of_bias, weight)
    heard = [_rows(edge @ x, weight) for edge in edges]
    num_rows = own.shape[-2]
    at_once = num_rows if torch.is_grad_enabled() else NODES_AT_ONCE
    outputs = []
    for first in range(0, max(1, num_rows), max(1, at_once)):
        block = slice(first, first + at_once)
        of_block, pieces = of_own[..., block, :], [own[..., block, :]]
        for number, of_others in enumerate(heard, start=1):
            pieces += [of_others[..., block, :], of_block[..., number, None] * pieces[0]]
        product = torch.cat([*pieces, of_block], dim=-1) @ weight
        outputs.append(functional.leaky_relu_(product))
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-2)
    return joined.view(*x.shape[:-1], weight.shape[-1])


def _rows(x: Tensor, weight: Tensor) -> Tensor:
    """Nodes ``[(M,) ..., C]`` as rows ``[(M,) R, C]`` that one weight multiplies."""
    return x.flatten(weight.dim() - 2, -2)


def fuse(parameters: Mapping[str, Tensor], layer: int) -> Tensor:
    """Weights and biases of a layer as a matrix to the right of its inputs (see `FusedStack`)."""
    stacks = [f"convs.{layer}", f"reverse_convs.{layer}"]
    stacks = [name for name in stacks if f"{name}.lin1.weight" in parameters]
    own = torch.stack([parameters[f"{name}.lin3.weight"] for name in stacks]).sum(0)
    own_bias = torch.stack([parameters[f"{name}.lin3.bias"] for name in stacks]).sum(0)
    weights, biases = [own], [own_bias]
    for name in stacks:
        weights += [parameters[f"{name}.lin1.weight"], -parameters[f"{name}.lin2.weight"]]
        biases.append(parameters[f"{name}.lin1.bias"])
    return torch.cat([*weights, *(bias.unsqueeze(-1) for bias in biases)], dim=-1).mT
