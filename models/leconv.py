"""Local-extremum graph convolution (LEConv) on dense graphs, and stacks of it."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from metagnn.graphs.checks import require
from metagnn.graphs.sparse_interference import SparseProduct, SparseWeight


class DenseLEConv(nn.Module):
    r"""LEConv on dense graphs, with the parameters and names of PyG's sparse `LEConv`.

    .. math:: x'_k = \sum_i w_{ik} (L_1 x_i - L_2 x_k) + L_3 x_k

    with :math:`w_{ik}` the weight of edge i -> k; :math:`L_1` and :math:`L_3` have a bias,
    :math:`L_2` has none (ASAP, Ranjan et al., 2020, as PyG implements it).

    Args:
        in_channels: Features of a node at the input.
        out_channels: Features of a node at the output.

    Shapes:
        x ``[..., K, in_channels]``, edge_weight ``[..., K, K]`` source (row) to target (column);
        returns ``[..., K, out_channels]``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(in_channels, out_channels)
        self.lin2 = nn.Linear(in_channels, out_channels, bias=False)
        self.lin3 = nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor, edge_weight: Tensor) -> Tensor:
        """Convolve."""
        incoming = edge_weight.transpose(-1, -2)
        messages = incoming @ self.lin1(x) - incoming.sum(-1, keepdim=True) * self.lin2(x)
        convolved: Tensor = messages + self.lin3(x)
        return convolved


class DenseLEConvStack(nn.Module):
    """Layers of LEConv with LeakyReLU between them, and a linear read-out per node.

    With ``bidirectional`` every layer adds a second LEConv over the reversed graph, so that a
    link also hears the receivers it disturbs (paper A's graph lets it hear its own receiver only).

    Args:
        in_channels: Node features.
        hidden_channels: Width of the hidden layers.
        num_layers: Number of hidden layers.
        bidirectional: Also convolve over the reversed edges.

    Shapes:
        x ``[..., K, in_channels]``, edge_weight ``[..., K, K]``; returns ``[..., K]``.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, num_layers: int, bidirectional: bool = False
    ) -> None:
        super().__init__()
        pairs = list(pairwise([in_channels] + [hidden_channels] * num_layers))
        self.convs = nn.ModuleList(DenseLEConv(*pair) for pair in pairs)
        self.reverse_convs = nn.ModuleList(DenseLEConv(*pair) for pair in pairs if bidirectional)
        self.readout = nn.Linear(hidden_channels, 1)

    def forward(self, x: Tensor, edge_weight: Tensor | SparseWeight) -> Tensor:
        """Scores of the nodes, before the head's activation."""
        return FusedStack(dict(self.named_parameters()))(x, edge_weight)


class FusedStack:
    """A dense stack as a function of its named parameters, one matrix product per layer.

    The linear maps of a layer that read the same features stand under one another in one matrix,
    and both directions share the sum of their L3.

    Parameters with a leading axis are those of M stacks, which then work side by side.

    Args:
        parameters: Named parameters of a `DenseLEConvStack`, each with or without a leading M.

    Shapes:
        As those of `DenseLEConvStack`; with M stacks ``[M, ..., K, in_channels]``,
        ``[M, ..., K, K]`` to ``[M, ..., K]``.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._layers: list[tuple[Tensor, Tensor, Tensor, int]] = []
        layer = 0
        while f"convs.{layer}.lin1.weight" in parameters:
            self._layers.append(_fuse(parameters, layer))
            layer += 1
        self._readout = (parameters["readout.weight"], parameters["readout.bias"])

    def __call__(self, x: Tensor, edge_weight: Tensor | SparseWeight) -> Tensor:
        """Scores of the nodes; sparse samples are taken one at a time."""
        directions = self._layers[0][3]
        edges: Sequence[Tensor | SparseProduct]
        if isinstance(edge_weight, SparseWeight):
            if x.dim() > 2:
                rule = f"have the leading axes {tuple(x.shape[:-2])} of `x`"
                shape = tuple(edge_weight.own.shape[:-1])
                require(shape == tuple(x.shape[:-2]), "edge_weight", rule, shape)
                samples = range(len(edge_weight))
                return torch.stack([self(x[sample], edge_weight[sample]) for sample in samples])
            edges = edge_weight.products()[:directions]
            sums = (edge_weight.incoming_sum, edge_weight.outgoing_sum)[:directions]
            degrees = [total().unsqueeze(-1) for total in sums]
        else:
            edges = [edge_weight.transpose(-1, -2), edge_weight][:directions]
            degrees = [edge_weight.sum(axis).unsqueeze(-1) for axis in (-2, -1)][:directions]
        for weight, bias, message_bias, directions in self._layers:
            parts = _linear(x, weight).chunk(1 + 2 * directions, dim=-1)
            y = parts[0] + _beside(bias, x)
            for i, degree in enumerate(degrees):
                # sum_i w_ik (L1 x_i + b1) = sum_i w_ik L1 x_i + degree_k b1
                own = parts[2 + 2 * i] - _beside(message_bias[..., i, :], x)
                y = y + edges[i] @ parts[1 + 2 * i] - degree * own
            x = functional.leaky_relu(y)
        weight, bias = self._readout
        return (_linear(x, weight) + _beside(bias, x)).squeeze(-1)


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    """``x W^T``, with one weight for all or, stacked, one for each entry of the leading axis."""
    if weight.dim() == 2:
        return functional.linear(x, weight)
    product = torch.bmm(x.flatten(1, -2), weight.mT)
    return product.view(*x.shape[:-1], weight.shape[-2])


def _beside(bias: Tensor, x: Tensor) -> Tensor:
    """A bias ``[O]`` or ``[M, O]`` in a shape that broadcasts against ``[M, ..., O]``."""
    if bias.dim() == 1:
        return bias
    return bias.view(len(bias), *[1] * (x.dim() - 2), -1)


def _fuse(parameters: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor, Tensor, int]:
    stacks = [f"convs.{layer}", f"reverse_convs.{layer}"]
    stacks = [name for name in stacks if f"{name}.lin1.weight" in parameters]
    own = torch.stack([parameters[f"{name}.lin3.weight"] for name in stacks]).sum(0)
    bias = torch.stack([parameters[f"{name}.lin3.bias"] for name in stacks]).sum(0)
    rest = [parameters[f"{name}.{lin}.weight"] for name in stacks for lin in ("lin1", "lin2")]
    message_bias = torch.stack([parameters[f"{name}.lin1.bias"] for name in stacks], dim=-2)
    return torch.cat([own, *rest], dim=-2), bias, message_bias, len(stacks)
