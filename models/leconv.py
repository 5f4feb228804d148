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
    r"""A dense stack as a function of its named parameters, one matrix product per layer.

    With :math:`d_k = \sum_i w_{ik}`, and the same of the reversed graph beside it, a layer is

    .. math:: x' = [x, W^T x, d x] [L_3, L_1, -L_2]^T + b_3 + d b_1

    Parameters with a leading axis are those of M stacks, which then work side by side.

    Args:
        parameters: Named parameters of a `DenseLEConvStack`, each with or without a leading M.

    Shapes:
        As those of `DenseLEConvStack`; with M stacks ``[M, ..., K, in_channels]``,
        ``[M, ..., K, K]`` to ``[M, ..., K]``.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._layers: list[tuple[Tensor, Tensor]] = []
        while f"convs.{len(self._layers)}.lin1.weight" in parameters:
            self._layers.append(_fuse(parameters, len(self._layers)))
        self._directions = 2 if "reverse_convs.0.lin1.weight" in parameters else 1
        self._readout = parameters["readout.weight"].mT, parameters["readout.bias"].unsqueeze(-2)

    def __call__(self, x: Tensor, edge_weight: Tensor | SparseWeight) -> Tensor:
        """Scores of the nodes; sparse samples are taken one at a time."""
        edges: Sequence[Tensor | SparseProduct]
        if isinstance(edge_weight, SparseWeight):
            if x.dim() > 2:
                rule = f"have the leading axes {tuple(x.shape[:-2])} of `x`"
                shape = tuple(edge_weight.own.shape[:-1])
                require(shape == tuple(x.shape[:-2]), "edge_weight", rule, shape)
                samples = range(len(edge_weight))
                return torch.stack([self(x[sample], edge_weight[sample]) for sample in samples])
            edges = edge_weight.products()
            degrees = [edge_weight.incoming_sum(), edge_weight.outgoing_sum()]
        else:
            edges = [edge_weight.mT, edge_weight]
            degrees = [edge_weight.sum(-2), edge_weight.sum(-1)]
        edges, degrees = edges[: self._directions], degrees[: self._directions]
        of_bias = torch.stack([torch.ones_like(degrees[0]), *degrees], dim=-1)
        nodes = torch.broadcast_shapes(x.shape[:-1], of_bias.shape[:-1])
        x, of_bias = x.expand(*nodes, -1), of_bias.expand(*nodes, -1)
        for weight, bias in self._layers:
            inputs = [x]
            for w, d in zip(edges, degrees, strict=True):
                inputs += [w @ x, d.unsqueeze(-1) * x]
            x = functional.leaky_relu(_affine(torch.cat(inputs, dim=-1), weight, of_bias, bias))
        weight, bias = self._readout
        # Under autocast products are in bfloat16, which ends here.
        return _affine(x, weight, of_bias[..., :1], bias).squeeze(-1).to(of_bias.dtype)


def _affine(x: Tensor, weight: Tensor, of_bias: Tensor, bias: Tensor) -> Tensor:
    """``x weight + of_bias bias``; stacked, each weight for one entry of the leading axis."""
    if weight.dim() == 2:
        y = torch.addmm(of_bias.flatten(0, -2) @ bias, x.flatten(0, -2), weight)
    else:
        y = torch.baddbmm(torch.bmm(of_bias.flatten(1, -2), bias), x.flatten(1, -2), weight)
    return y.view(*x.shape[:-1], -1)


def _fuse(parameters: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
    """Weights and biases of a layer as matrices that stand to the right of its inputs."""
    stacks = [f"convs.{layer}", f"reverse_convs.{layer}"]
    stacks = [name for name in stacks if f"{name}.lin1.weight" in parameters]
    own = torch.stack([parameters[f"{name}.lin3.weight"] for name in stacks]).sum(0)
    own_bias = torch.stack([parameters[f"{name}.lin3.bias"] for name in stacks]).sum(0)
    weights, biases = [own], [own_bias]
    for name in stacks:
        weights += [parameters[f"{name}.lin1.weight"], -parameters[f"{name}.lin2.weight"]]
        biases.append(parameters[f"{name}.lin1.bias"])
    return torch.cat(weights, dim=-1).mT, torch.stack(biases, dim=-2)
