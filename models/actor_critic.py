"""Graph actor-critic: an encoder of LEConv layers, an actor and a critic on what it finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from metagnn.graphs.checks import check_count, require
from metagnn.graphs.interference import DenseGraph
from metagnn.models.action_heads import BoundedGaussian, Choice, HybridPolicy
from metagnn.models.leconv import DenseLEConv, leconv

Critic = Literal["node", "graph"]
# Range of the logarithm of the number's unbounded standard deviation.
LOG_STD = (-2.0, 0.5)


@dataclass(frozen=True)
class ActorCriticShape:
    """What an actor-critic looks like.

    Attributes:
        in_channels: Node features F.
        num_choices: Alternatives N of the choice.
        per_choice: The graph comes once per alternative, ``[..., N, I, F]``: one network scores
            each alternative on its own graph, and hears the mean over the others in every layer.
        hidden_channels: Widths of the encoder's layers.
        critic_channels: Width of the critic's hidden layer.
        bidirectional: Also convolve over the reversed edges.
        number_per_choice: The number that goes with a choice has a law for each alternative.
        low: Lower bound of the number.
        high: Upper bound of the number.
        critic: Value per ``node``, or one per ``graph`` (the mean of what the nodes hold).
    """

    in_channels: int
    num_choices: int
    per_choice: bool = True
    hidden_channels: tuple[int, ...] = (32, 32, 32)
    critic_channels: int = 32
    bidirectional: bool = True
    number_per_choice: bool = True
    low: float = 0.0
    high: float = 24.0
    critic: Critic = "node"

    def __post_init__(self) -> None:
        check_count("in_channels", self.in_channels)
        check_count("num_choices", self.num_choices)
        require(len(self.hidden_channels) > 0, "hidden_channels", "hold a layer", ())
        for width in self.hidden_channels:
            check_count("hidden_channels", width)
        check_count("critic_channels", self.critic_channels)
        require(self.low < self.high, "low", f"be < high = {self.high}", self.low)
        require(self.critic in ("node", "graph"), "critic", "be 'node' or 'graph'", self.critic)
        if self.per_choice:
            require(self.number_per_choice, "number_per_choice", "be true with per_choice", False)


class ActorCritic(nn.Module):
    r"""Policy and value of the agents on the nodes of a graph, for any number of them.

    Without edges a layer is :math:`L_3 x`, and the network is one perceptron per agent: the
    two-branch network of paper B (Fig. 2) with widths 512 and 256, a critic of 128, one number for
    all choices and a graph that comes once.

    Every parameter may carry a leading axis of I: agent i then computes with the i-th, for itself
    and for the messages it sends (:math:`L_1 x_i`), as separately trained users do.

    Args:
        shape: What the network looks like.

    Shapes:
        graph with node ``[B, I, F]`` and edge_weight ``[B, I, I]``, with ``per_choice`` node
        ``[B, N, I, F]`` and edge_weight ``[B, 1, I, I]``; returns a policy over ``[B, I]`` and
        values ``[B, I]``.
    """

    def __init__(self, shape: ActorCriticShape) -> None:
        super().__init__()
        self.shape = shape
        pairs = list(pairwise([shape.in_channels, *shape.hidden_channels]))
        width, outputs = shape.hidden_channels[-1], 1 if shape.per_choice else shape.num_choices
        numbers = outputs if shape.number_per_choice else 1
        self.convs = nn.ModuleList(DenseLEConv(*pair) for pair in pairs)
        self.reverse_convs = nn.ModuleList(
            DenseLEConv(*pair) for pair in pairs if shape.bidirectional
        )
        self.mixes = nn.ModuleList(
            nn.Linear(outgoing, outgoing, bias=False) for _, outgoing in pairs if shape.per_choice
        )
        self.choice = nn.Linear(width, outputs)
        self.mean = nn.Linear(width, numbers)
        self.log_std = nn.Linear(width, numbers)
        self.critic_hidden = nn.Linear(width, shape.critic_channels)
        self.value = nn.Linear(shape.critic_channels, 1)
        # The first policy is nearly uniform, its numbers alike for all observations.
        for head in (self.choice, self.mean, self.log_std):
            nn.init.normal_(head.weight, 0.0, 0.01)
            nn.init.zeros_(head.bias)

    def forward(
        self, graph: DenseGraph, parameters: Mapping[str, Tensor] | None = None
    ) -> tuple[HybridPolicy, Tensor]:
        """Policy and values, with the own parameters or with those given."""
        given = dict(self.named_parameters()) if parameters is None else parameters

        def linear(name: str, x: Tensor) -> Tensor:
            return _linear(x, given[f"{name}.weight"], given.get(f"{name}.bias"))

        def convolved(name: str, x: Tensor, edge_weight: Tensor) -> Tensor:
            lin1_x, lin2_x, lin3_x = (linear(f"{name}.lin{number}", x) for number in (1, 2, 3))
            return leconv(lin1_x, lin2_x, lin3_x, edge_weight)

        x, edge_weight = graph.node, graph.edge_weight
        for layer in range(len(self.convs)):
            y = convolved(f"convs.{layer}", x, edge_weight)
            if self.shape.bidirectional:
                y = y + convolved(f"reverse_convs.{layer}", x, edge_weight.mT)
            if self.shape.per_choice:
                x = functional.leaky_relu(y)
                x = x + linear(f"mixes.{layer}", x.mean(-3, keepdim=True))
            else:
                x = functional.leaky_relu(y)
        logits, mean, log_std = (linear(name, x) for name in ("choice", "mean", "log_std"))
        if self.shape.per_choice:
            logits, mean, log_std = (v.squeeze(-1).mT for v in (logits, mean, log_std))
            x = x.mean(-3)
        if self.shape.critic == "graph":
            x = x.mean(-2, keepdim=True).expand(x.shape)
        value = linear("value", functional.leaky_relu(linear("critic_hidden", x))).squeeze(-1)
        number = BoundedGaussian(mean, _bounded(log_std), self.shape.low, self.shape.high)
        return HybridPolicy(Choice(logits), number), value


def _bounded(log_std: Tensor) -> Tensor:
    """Logarithms of standard deviations, kept where neither density nor noise takes over."""
    low, high = LOG_STD
    return low + (high - low) * torch.sigmoid(log_std)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``[..., I, F]`` to ``[..., I, H]``, by a weight ``[H, F]`` or one a node, ``[I, H, F]``."""
    if weight.dim() == 2:
        return functional.linear(x, weight, bias)
    rows = x.movedim(-2, 0).flatten(1, -2)
    if bias is None:
        product = torch.bmm(rows, weight.mT)
    else:
        product = torch.baddbmm(bias.unsqueeze(-2), rows, weight.mT)
    nodes: Tensor = product.unflatten(1, x.movedim(-2, 0).shape[1:-1]).movedim(0, -2)
    return nodes
