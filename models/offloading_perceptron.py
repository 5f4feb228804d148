"""Paper D's perceptrons of one site: fixed numbers of users and channels (Section V-A)."""

import torch
from torch import Tensor, nn

from metagnn.graphs.checks import check_count, require
from metagnn.graphs.interference import DenseGraph
from metagnn.models.offloading import JointAction, Wishes

# Features that are the paper's state: a user's gain on a channel, its site's interference there,
# and, from the last number on, its task.
GAIN, INTERFERENCE, TASK = 0, 2, 4


def flat_state(graph: DenseGraph) -> Tensor:
    """State s of the paper for nodes ``[B, U, K, F]``: gains, interference and tasks ``[B, S]``.

    The interference is that of the first user's site; joint states of several sites are put side
    by side by the caller.
    """
    node = graph.node
    pieces = (node[..., GAIN], node[:, :1, :, INTERFERENCE], node[:, :, 0, TASK:])
    return torch.cat([piece.flatten(1) for piece in pieces], dim=-1)


def flat_action(action: JointAction) -> Tensor:
    """Action a of the paper: ratios, channels, powers and shares ``[B, A]``."""
    level = (action.place * action.level).sum(-1)
    pieces = (action.ratio, action.place.flatten(1), level, action.share)
    return torch.cat(pieces, dim=-1)


class PerceptronActor(nn.Module):
    """A site's actor: one hidden layer over the state of all its users.

    Args:
        num_users: Users U of the cell.
        num_channels: Number of channels K.
        in_channels: Node features F.
        hidden_channels: Width of the hidden layer.
    """

    def __init__(
        self, num_users: int, num_channels: int, in_channels: int, hidden_channels: int = 64
    ) -> None:
        super().__init__()
        check_count("hidden_channels", hidden_channels)
        self.shape = (num_users, num_channels)
        self.sizes = (num_users, num_users * num_channels, num_users, num_users)
        state = num_users * num_channels + num_channels + num_users * (in_channels - TASK)
        self.hidden = nn.Linear(state, hidden_channels)
        self.out = nn.Linear(hidden_channels, sum(self.sizes))

    def forward(self, graph: DenseGraph) -> Wishes:
        """Wishes of a cell's users, for node ``[B, U, K, F]``; one level for all channels.

        Raises:
            ValueError: If the cell has other numbers of users or channels.
        """
        found, rule = tuple(graph.node.shape[1:3]), f"be of {self.shape} (users, channels)"
        require(found == self.shape, "graph", rule, found)
        out = self.out(self.hidden(flat_state(graph)).relu())
        ratio, score, level, need = out.split(self.sizes, dim=-1)
        score = score.view(graph.node.shape[:-1])
        return Wishes(ratio, score, level.unsqueeze(-1).expand_as(score), need)


class PerceptronCritic(nn.Module):
    """A site's critic: one hidden layer over flat states and actions ``[B, S + A]``."""

    def __init__(self, in_channels: int, hidden_channels: int = 64) -> None:
        super().__init__()
        check_count("hidden_channels", hidden_channels)
        self.hidden = nn.Linear(in_channels, hidden_channels)
        self.out = nn.Linear(hidden_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Values ``[B, 1]``."""
        value: Tensor = self.out(self.hidden(x).relu())
        return value
