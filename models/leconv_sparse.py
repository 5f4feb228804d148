"""The LEConv stack through PyG's own sparse LEConv: same parameters as the dense one."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import LEConv


class SparseLEConvStack(nn.Module):
    """`DenseLEConvStack` over edge lists; both load each other's ``state_dict``.

    Args:
        in_channels: Node features.
        hidden_channels: Width of the hidden layers.
        num_layers: Number of hidden layers.
        bidirectional: Also convolve over the reversed edges.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, num_layers: int, bidirectional: bool = False
    ) -> None:
        super().__init__()
        widths = [in_channels] + [hidden_channels] * num_layers
        pairs = list(pairwise(widths))
        self.convs = nn.ModuleList(LEConv(*pair) for pair in pairs)
        self.reverse_convs = nn.ModuleList(LEConv(*pair) for pair in pairs if bidirectional)
        self.readout = nn.Linear(hidden_channels, 1)

    def convolve(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """Scores of the nodes of one graph or a PyG batch.

        Shapes:
            x ``[K, in_channels]``, edge_index ``[2, E]`` source to target, edge_weight ``[E]``;
            returns ``[K]``.
        """
        for layer, conv in enumerate(self.convs):
            y = conv(x, edge_index, edge_weight)
            if self.reverse_convs:
                y = y + self.reverse_convs[layer](x, edge_index.flip(0), edge_weight)
            x = functional.leaky_relu(y)
        score: Tensor = self.readout(x).squeeze(-1)
        return score

    def forward(self, x: Tensor, edge_weight: Tensor) -> Tensor:
        """Scores on dense graphs, laid side by side as one sparse graph; shapes as there."""
        num_links = x.shape[-2]
        matrices = edge_weight.expand(*x.shape[:-1], num_links).reshape(-1, num_links, num_links)
        sample, source, target = torch.ones_like(matrices, dtype=torch.bool).nonzero(as_tuple=True)
        edge_index = torch.stack([source, target]) + num_links * sample
        score = self.convolve(x.reshape(-1, x.shape[-1]), edge_index, matrices.flatten())
        return score.reshape(x.shape[:-1])
