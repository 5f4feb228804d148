"""Graph actor-critic: an encoder of LEConv layers, an actor and a critic on what it finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from metagnn.graphs.checks import check_count, require
from metagnn.graphs.sparse_interference import Graph
from metagnn.models.action_heads import BoundedGaussian, Choice, HybridPolicy
from metagnn.models.encoder import Encoder, linear

Critic = Literal["node", "graph"]
HEADS = ("choice", "mean", "log_std")
# Range of the logarithm of the number's unbounded standard deviation.
LOG_STD = (-2.0, 0.5)


@dataclass(frozen=True)
class ActorCriticShape:
    """What an actor-critic looks like.

    Attributes:
        in_channels: Node features F.
        num_choices: Alternatives N of the choice.
        per_choice: Agents have features for each alternative, ``[..., I, N, F]``: one network
            scores all of them, and hears the mean over all in every layer.
        hidden_channels: Widths of the encoder's layers.
        critic_channels: Width of the critic's hidden layer.
        bidirectional: Also convolve over the reversed edges.
        number_per_choice: The number that goes with a choice has a law for each alternative.
        low: Lower bound of the number.
        high: Upper bound of the number.
        critic: Value per ``node``, or one per ``graph`` (the mean of what the nodes hold).
        num_claims: With ``per_choice``, so many features of every layer are shares over the
            alternatives (softmax): what agents tell each other is then also to which alternatives
            they lean.
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
    num_claims: int = 0

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
        check_count("num_claims", self.num_claims, minimum=0)
        most = min(self.hidden_channels) - 1 if self.per_choice else 0
        rule = f"be at most {most}, so that each layer has other features (0 without per_choice)"
        require(self.num_claims <= most, "num_claims", rule, self.num_claims)


class ActorCritic(Encoder):
    r"""Policy and value of the agents on the nodes of a graph, for any number of them.

    Without edges a layer is :math:`L_3 x`, and the network is one perceptron per agent: the
    two-branch network of paper B (Fig. 2) with widths 512 and 256, a critic of 128, one number for
    all choices and a graph that comes once.

    Every parameter may carry a leading axis of I: agent i then computes with the i-th, on its own
    features and on those that the others made with theirs, as separately trained users do. What
    they send each other carries a gradient unless it is ``detached``, as in differentiable
    inter-agent learning (Foerster et al., 2016), so that an agent also learns to say what the
    others need.

    Args:
        shape: What the network looks like.

    Shapes:
        graph with node ``[..., I, F]``, with ``per_choice`` ``[..., I, N, F]``, and edge_weight
        ``[..., I, I]`` or on neighbour lists; returns a policy over ``[..., I]`` and values
        ``[..., I]``.
    """

    def __init__(self, shape: ActorCriticShape) -> None:
        super().__init__(
            shape.in_channels,
            shape.hidden_channels,
            shape.per_choice,
            shape.bidirectional,
            shape.num_claims,
        )
        self.shape = shape
        width, outputs = shape.hidden_channels[-1], 1 if shape.per_choice else shape.num_choices
        numbers = outputs if shape.number_per_choice else 1
        self.choice = nn.Linear(width, outputs)
        self.mean = nn.Linear(width, numbers)
        self.log_std = nn.Linear(width, numbers)
        self.critic_hidden = nn.Linear(width, shape.critic_channels)
        self.value = nn.Linear(shape.critic_channels, 1)
        # The first policy is nearly uniform, its numbers alike for all observations.
        for name in HEADS:
            nn.init.normal_(self.get_parameter(f"{name}.weight"), 0.0, 0.01)
            nn.init.zeros_(self.get_parameter(f"{name}.bias"))

    def forward(
        self,
        graph: Graph,
        parameters: Mapping[str, Tensor] | None = None,
        detached: bool = False,
    ) -> tuple[HybridPolicy, Tensor]:
        """Policy and values.

        Args:
            graph: Graph of the agents.
            parameters: Parameters in place of the own ones.
            detached: What agents hear of each other carries no gradient.

        Raises:
            ValueError: If nodes and edges are not of the same graphs.
        """
        given = dict(self.named_parameters()) if parameters is None else parameters
        x = self.encode(graph, given, detached)
        logits, mean, log_std = (
            linear(given, name, x).flatten(-2).movedim(0, -2) for name in HEADS
        )
        if self.shape.per_choice:
            # The value is that of what will be chosen.
            share = logits.softmax(-1).detach().movedim(-2, 0).unsqueeze(-2)
            x = share @ x
        if self.shape.critic == "graph":
            others = x.detach() if detached else x
            x = others.mean(0, keepdim=True) + (x - others) / len(x)
        value = linear(given, "value", functional.leaky_relu(linear(given, "critic_hidden", x)))
        number = BoundedGaussian(mean, _bounded(log_std), self.shape.low, self.shape.high)
        return HybridPolicy(Choice(logits), number), value.flatten(-3).movedim(0, -1)


def _bounded(log_std: Tensor) -> Tensor:
    """Logarithms of standard deviations, kept where neither density nor noise takes over."""
    low, high = LOG_STD
    return low + (high - low) * torch.sigmoid(log_std)
