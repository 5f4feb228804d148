"""Local-extremum graph convolution (LEConv) on dense graphs, and stacks of it."""

from itertools import pairwise

from torch import Tensor, nn

from metagnn.graphs.sparse_interference import SparseWeight
from metagnn.models.fused_stack import FusedStack


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
