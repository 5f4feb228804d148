"""The primal and dual networks of the resilient power-control problem."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from metagnn.graphs.checks import check_count, check_positive, require
from metagnn.graphs.interference import (
    EDGE_KINDS,
    RATE_SCALE,
    EdgeKind,
    num_node_features,
)
from metagnn.graphs.sparse_interference import Graph, SparseWeight
from metagnn.models.leconv import DenseLEConvStack

Stack = Callable[[Tensor, Tensor | SparseWeight], Tensor]
HeadActivation = Literal["softplus", "relu"]


@dataclass(frozen=True)
class NetworkShape:
    """What the networks look like; the defaults are paper A's where it gives them.

    Attributes:
        edges: Edge weights of the interference graph.
        bidirectional: Also convolve over the reversed edges.
        hidden_channels: Width of the hidden layers.
        num_layers: Hidden layers of the power network; the others have two.
        config_hidden_channels: Width of the rate, slack and dual networks.
        head: Activation that keeps rates, slacks and multipliers non-negative (Eq. 26).
        head_mean: Mean of the read-out weights of those heads at the start (Eq. 27).
        head_std: Standard deviation of the same.
        num_networks: 5 (power, rate, slack, lambda, mu), 3 (power, slack, mu: rate eliminated,
            lambda = 1 + mu) or 2 (power, mu: slack eliminated too, s = mu / alpha).

    Raises:
        ValueError: If an attribute is out of range, or Eq. 27's ``head_mean > head_std**2 > 0``
            does not hold.
    """

    edges: EdgeKind = "normalised_log"
    bidirectional: bool = False
    hidden_channels: int = 128
    num_layers: int = 2
    config_hidden_channels: int = 128
    head: HeadActivation = "relu"
    head_mean: float = 0.1
    head_std: float = 0.03
    num_networks: int = 3

    def __post_init__(self) -> None:
        require(self.edges in EDGE_KINDS, "edges", f"be one of {list(EDGE_KINDS)}", self.edges)
        require(self.head in ("softplus", "relu"), "head", "be 'softplus' or 'relu'", self.head)
        require(self.num_networks in (2, 3, 5), "num_networks", "be 2, 3 or 5", self.num_networks)
        check_count("hidden_channels", self.hidden_channels)
        check_count("num_layers", self.num_layers)
        check_count("config_hidden_channels", self.config_hidden_channels)
        check_positive("head_std", self.head_std)
        rule = f"be finite and > head_std**2 = {self.head_std**2:g} (Eq. 27)"
        finite = self.head_mean < float("inf")
        require(finite and self.head_mean > self.head_std**2, "head_mean", rule, self.head_mean)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the networks."""
        if self.num_networks == 2:
            return ("power", "mu")
        three = ("power", "slack", "mu")
        return three if self.num_networks == 3 else (*three, "rate", "lam")


class PowerNet(nn.Module):
    r"""Transmit powers from an instantaneous graph and the PF ratios (paper A, Eq. 23 and 25).

    .. math:: p = P_{\max} \cdot \mathrm{sigmoid}(W_p^T x^{(L)})

    The paper's edges come with the PF ratio as the only node feature; with other edges its
    logarithm stands beside the features of the graph.

    Shapes:
        ratio ``[..., K]``, graph of the same leading axes; returns shares of the largest power
        ``[..., K]`` in [0, 1].
    """

    def __init__(self, shape: NetworkShape, stack: type[nn.Module] = DenseLEConvStack) -> None:
        super().__init__()
        self.log_ratio = shape.edges != "normalised_log"
        self.stack = stack(
            1 + num_node_features(shape.edges),
            shape.hidden_channels,
            shape.num_layers,
            shape.bidirectional,
        )

    def forward(self, ratio: Tensor, graph: Graph, stack: Stack | None = None) -> Tensor:
        """Shares of the largest transmit power, through the own stack or the one given."""
        feature = torch.log(ratio + 0.01) if self.log_ratio else ratio
        x = torch.cat([feature.unsqueeze(-1), graph.node], dim=-1)
        return torch.sigmoid((stack or self.stack)(x, graph.edge_weight))


class ConfigurationNet(nn.Module):
    r"""Non-negative value per link from the configuration (paper A, Eq. 26 and 27).

    .. math:: I(N) = \mathrm{ReLU}(W_I^T x^{(L)}), \quad
              W_{I,w} \sim \mathcal{N}(\mu_I, \sigma_I^2), \quad W_{I,b} = 0

    Shapes:
        initial_rate ``[..., K]`` [bit/s/Hz], graph of the large-scale gains; returns ``[..., K]``.
    """

    def __init__(self, shape: NetworkShape, stack: type[nn.Module] = DenseLEConvStack) -> None:
        super().__init__()
        self.head = shape.head
        self.scale = 1.0 if shape.edges == "normalised_log" else RATE_SCALE
        self.stack = stack(
            1 + num_node_features(shape.edges),
            shape.config_hidden_channels,
            2,
            shape.bidirectional,
        )
        readout = self.stack.readout
        assert isinstance(readout, nn.Linear)
        nn.init.normal_(readout.weight, shape.head_mean, shape.head_std)
        nn.init.zeros_(readout.bias)

    def forward(self, initial_rate: Tensor, graph: Graph, stack: Stack | None = None) -> Tensor:
        """Values of the links, through the own stack or the one given."""
        x = torch.cat([(initial_rate / self.scale).unsqueeze(-1), graph.node], dim=-1)
        score = (stack or self.stack)(x, graph.edge_weight)
        return functional.relu(score) if self.head == "relu" else functional.softplus(score)


class ErgodicRateNet(ConfigurationNet):
    """Ergodic rates r(N) of the links [bit/s/Hz]."""


class SlackNet(ConfigurationNet):
    """Slacks s(N) of the minimum-rate constraints [bit/s/Hz]."""


class DualNet(ConfigurationNet):
    """Multipliers of the links: lambda(N) of the rate, mu(N) of the minimum-rate constraints."""


class PrimalDualNetworks(nn.Module):
    """The two, three or five networks of one policy.

    Args:
        shape: What they look like.
        stack: Class of the convolution stack, dense or sparse.
    """

    def __init__(self, shape: NetworkShape, stack: type[nn.Module] = DenseLEConvStack) -> None:
        super().__init__()
        self.shape = shape
        self.power = PowerNet(shape, stack)
        if shape.num_networks > 2:
            self.slack = SlackNet(shape, stack)
        self.mu = DualNet(shape, stack)
        if shape.num_networks == 5:
            self.rate = ErgodicRateNet(shape, stack)
            self.lam = DualNet(shape, stack)

    def call(self, name: str, x: Tensor, graph: Graph) -> Tensor:
        """Output of the network called ``name``."""
        value: Tensor = getattr(self, name)(x, graph)
        return value
