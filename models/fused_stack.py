"""LEConv stacks as functions of their parameters: one matrix product per layer, fast to descend."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from metagnn.graphs.checks import require
from metagnn.graphs.sparse_interference import SparseProduct, SparseWeight

_SLOPE = 0.01  # of LeakyReLU, torch's default

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
            layers.append(_fuse(parameters, len(layers)))
        self._directions = 2 if "reverse_convs.0.lin1.weight" in parameters else 1
        self._bias = parameters["readout.bias"]
        self._parameters = [*layers, parameters["readout.weight"].mT]

    def __call__(self, x: Tensor, edge_weight: Tensor | SparseWeight) -> Tensor:
        """Scores of the nodes; sparse samples are taken one at a time."""
        edges: Sequence[Tensor | SparseProduct]
        by_hand = False
        if isinstance(edge_weight, SparseWeight):
            if x.dim() > 2:
                rule = f"have the leading axes {tuple(x.shape[:-2])} of `x`"
                shape = tuple(edge_weight.own.shape[:-1])
                require(shape == tuple(x.shape[:-2]), "edge_weight", rule, shape)
                samples = range(len(edge_weight))
                return torch.stack([self(x[sample], edge_weight[sample]) for sample in samples])
            edges = edge_weight.products(self._directions)
            degrees = [edge_weight.incoming_sum(), edge_weight.outgoing_sum()]
        else:
            edges = [edge_weight.mT, edge_weight]
            degrees = [edge_weight.sum(-2), edge_weight.sum(-1)]
            by_hand = not (edge_weight.requires_grad or _is_autocast(x.device.type))
        edges, degrees = edges[: self._directions], degrees[: self._directions]
        of_bias = torch.stack([torch.ones_like(degrees[0]), *degrees], dim=-1)
        nodes = torch.broadcast_shapes(x.shape[:-1], of_bias.shape[:-1])
        x, of_bias = x.expand(*nodes, -1), of_bias.expand(*nodes, -1)
        is_stacked = self._parameters[0].dim() > 2
        if not torch.is_grad_enabled() and not is_stacked:
            score = _evaluated(x, of_bias, edges, self._parameters)
        elif by_hand:
            score = _Scores.apply(x, of_bias, len(edges), *edges, *self._parameters)  # type: ignore[no-untyped-call]
        else:
            score = _scores(x, of_bias, edges, self._parameters)[0]
        bias = self._bias
        if bias.dim() > 1:
            bias = bias.view(-1, *[1] * (score.dim() - 1))
        # Under autocast products are in bfloat16, which ends here.
        return score.to(of_bias.dtype) + bias


def _is_autocast(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _scores(
    x: Tensor,
    of_bias: Tensor,
    edges: Sequence[Tensor | SparseProduct],
    parameters: Sequence[Tensor],
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Scores ``[..., K]`` without the last bias, and the inputs and outputs of all layers."""
    *weights, readout = parameters
    inputs, outputs = [], []
    for weight in weights:
        pieces = [x]
        for number, edge in enumerate(edges, start=1):
            pieces += [edge @ x, of_bias[..., number, None] * x]
        inputs.append(torch.cat([*pieces, of_bias], dim=-1))
        product = _rows(inputs[-1], weight) @ weight
        x = functional.leaky_relu_(product, _SLOPE).view(*x.shape[:-1], -1)
        outputs.append(x)
    score = _rows(x, readout) @ readout
    return score.view(x.shape[:-1]), inputs, outputs


def _evaluated(
    x: Tensor,
    of_bias: Tensor,
    edges: Sequence[Tensor | SparseProduct],
    parameters: Sequence[Tensor],
) -> Tensor:
    """Scores of `_scores` without what a gradient needs, and for a block of nodes at a time."""
    *weights, readout = parameters
    nodes = x.shape[:-1]
    for weight in weights:
        heard = [(edge @ x).flatten(0, -2) for edge in edges]
        rows, of_rows = x.flatten(0, -2), of_bias.flatten(0, -2)
        blocks = []
        for first in range(0, len(rows), NODES_AT_ONCE):
            block = slice(first, first + NODES_AT_ONCE)
            own, of_own = rows[block], of_rows[block]
            pieces = [own]
            for number, of_others in enumerate(heard, start=1):
                pieces += [of_others[block], of_own[:, number, None] * own]
            product = torch.cat([*pieces, of_own], dim=-1) @ weight
            blocks.append(functional.leaky_relu_(product, _SLOPE))
        x = torch.cat(blocks).view(*nodes, -1)
    return (x @ readout).squeeze(-1)


def _rows(x: Tensor, weight: Tensor) -> Tensor:
    """Nodes ``[(M,) ..., C]`` as rows ``[(M,) R, C]`` that one weight multiplies."""
    return x.flatten(weight.dim() - 2, -2)


class _Scores(torch.autograd.Function):
    """`_scores` with its gradient written out, in a fraction of autograd's calls."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, of_bias: Tensor, num_edges: int, *rest: Tensor) -> Tensor:
        edges, parameters = rest[:num_edges], rest[num_edges:]
        score, inputs, outputs = _scores(x, of_bias, edges, parameters)
        ctx.save_for_backward(x, of_bias, *rest, *inputs, *outputs)
        ctx.num_edges = num_edges
        return score

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        x, of_bias, *rest = ctx.saved_tensors
        edges, rest = rest[: ctx.num_edges], rest[ctx.num_edges :]
        depth = len(rest) // 3
        parameters, inputs, outputs = rest[: depth + 1], rest[depth + 1 : -depth], rest[-depth:]
        of_parameters: Sequence[Tensor | None]
        if torch.is_grad_enabled():
            # The gradient is to be differentiated in turn: autograd shall write it.
            score = _scores(x, of_bias, edges, parameters)[0]
            wanted = [value for value in (x, *parameters) if value.requires_grad]
            found = iter(torch.autograd.grad(score, wanted, slopes[0], create_graph=True))
            of_x, *of_parameters = (
                next(found) if value.requires_grad else None for value in (x, *parameters)
            )
        else:
            of_x, of_parameters = _slopes(
                slopes[0], of_bias, edges, parameters, inputs, outputs, ctx.needs_input_grad[0]
            )
        return of_x, None, None, *[None] * len(edges), *of_parameters


def _slopes(
    of_score: Tensor,
    of_bias: Tensor,
    edges: Sequence[Tensor],
    parameters: Sequence[Tensor],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    is_x_wanted: bool,
) -> tuple[Tensor | None, list[Tensor]]:
    """Gradients in x, or None, and in the parameters, given that in the scores ``[..., K]``."""
    *weights, readout = parameters
    nodes = of_score.shape
    slope = _rows(of_score.unsqueeze(-1), readout)
    found = [(slope.mT @ _rows(outputs[-1], readout)).mT]
    slope = slope * readout.mT
    for layer in reversed(range(len(weights))):
        weight = weights[layer]
        output = _rows(outputs[layer], weight)
        slope = torch.ops.aten.leaky_relu_backward(slope, output, _SLOPE, True)
        found.append(_rows(inputs[layer], weight).mT @ slope)
        if layer == 0 and not is_x_wanted:
            return None, found[::-1]
        of_nodes = weight[..., : -of_bias.shape[-1], :]
        pieces = (slope @ of_nodes.mT).view(*nodes, -1).chunk(1 + 2 * len(edges), dim=-1)
        total = pieces[0]
        for number, edge in enumerate(edges, start=1):
            total = total + edge.mT @ pieces[2 * number - 1]
            total.addcmul_(of_bias[..., number, None], pieces[2 * number])
        slope = _rows(total, weight)
    return total, found[::-1]


def _fuse(parameters: Mapping[str, Tensor], layer: int) -> Tensor:
    """Weights and biases of a layer as a matrix that stands to the right of its inputs."""
    stacks = [f"convs.{layer}", f"reverse_convs.{layer}"]
    stacks = [name for name in stacks if f"{name}.lin1.weight" in parameters]
    own = torch.stack([parameters[f"{name}.lin3.weight"] for name in stacks]).sum(0)
    own_bias = torch.stack([parameters[f"{name}.lin3.bias"] for name in stacks]).sum(0)
    weights, biases = [own], [own_bias]
    for name in stacks:
        weights += [parameters[f"{name}.lin1.weight"], -parameters[f"{name}.lin2.weight"]]
        biases.append(parameters[f"{name}.lin1.bias"])
    return torch.cat([*weights, *(bias.unsqueeze(-1) for bias in biases)], dim=-1).mT
