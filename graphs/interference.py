"""The interference graph: a node per link, an edge per gain, dense or as PyG data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from metagnn.graphs.checks import check_positive, check_square
from metagnn.graphs.rates import full_power_rate

if TYPE_CHECKING:
    from torch_geometric.data import Data

EdgeKind = Literal["normalised_log", "rate_loss"]
EDGE_KINDS: tuple[EdgeKind, ...] = ("normalised_log", "rate_loss")

# Features in bit/s/Hz are divided by this, to lie near 1 at the SNRs of short links.
RATE_SCALE = 10.0

# Sharpens the loss of rate into an edge weight; chosen on validation networks.
LOSS_EXPONENT = 5


@dataclass(frozen=True)
class DenseGraph:
    """Interference graphs of equal size.

    Attributes:
        node: Features of each link that follow from the gains ``[..., K, F]`` (F may be 0).
        edge_weight: Weight of edge i -> k ``[..., K, K]``; the diagonal is the direct links.
    """

    node: Tensor
    edge_weight: Tensor

    def __getitem__(self, index: int | slice) -> "DenseGraph":
        """Graphs at ``index`` of the leading axis."""
        return DenseGraph(self.node[index], self.edge_weight[index])


def num_node_features(edges: EdgeKind) -> int:
    """Number of features per link that `interference_graph` derives from the gains."""
    return 0 if edges == "normalised_log" else 4


def interference_graph(
    gain: Tensor, power_max_w: float, noise_w: float, edges: EdgeKind = "rate_loss"
) -> DenseGraph:
    r"""Interference graph of channel gains.

    ``normalised_log`` is paper A's Eq. 24, over the Frobenius norm of each sample's own matrix:

    .. math:: w_{ik} = \frac{\ln(P_{\max} g_{ik} / \sigma^2)}
              {\sqrt{\sum_{i'k'} \ln(P_{\max} g_{i'k'} / \sigma^2)^2}}

    ``rate_loss`` rests on the share of its interference-free rate that link k loses when
    transmitter i alone disturbs it, which is bounded and vanishes with the interference. Its
    fifth power leaves few neighbours, those worth switching off for; dividing by both ends'
    degrees keeps sums over them of order one, however many links there are:

    .. math:: l_{ik} = \left(1 - \frac{\log(1 + \mathrm{SNR}_k / (1 + \mathrm{INR}_{ik}))}
              {\log(1 + \mathrm{SNR}_k)}\right)^5, \quad l_{kk} = 1, \qquad
              w_{ik} = \frac{l_{ik}}{\sqrt{\sum_j l_{ij} \sum_j l_{jk}}}

    The nodes then carry the interference-free rate and the rate at full power (in 10 bit/s/Hz),
    and the logarithms of the degrees :math:`\sum_j l_{jk}` (what k suffers) and
    :math:`\sum_j l_{kj}` (what k causes).

    Args:
        gain: Channel power gains [1], transmitter (row) to receiver (column).
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W].
        edges: Which edge weight.

    Shapes:
        gain ``[..., K, K]``; the graph's node ``[..., K, F]``, edge_weight ``[..., K, K]``.

    Raises:
        ValueError: If a power is not positive, ``gain`` is not square or ``edges`` is unknown.
    """
    check_square("gain", gain)
    check_positive("power_max_w", power_max_w)
    check_positive("noise_w", noise_w)
    inr = gain * (power_max_w / noise_w)
    if edges == "normalised_log":
        return DenseGraph(gain.new_empty((*gain.shape[:-1], 0)), _normalised_log(inr))
    if edges not in EDGE_KINDS:
        raise ValueError(f"`edges` must be one of {list(EDGE_KINDS)}, got {edges!r}")
    snr = torch.diagonal(inr, dim1=-2, dim2=-1)
    loss = rate_loss(snr.unsqueeze(-2), inr)
    own = torch.eye(gain.shape[-1], dtype=torch.bool, device=gain.device)
    loss = loss.masked_fill(own, 1.0)
    suffered, caused = loss.sum(-2), loss.sum(-1)
    weight = loss / (caused.unsqueeze(-1) * suffered.unsqueeze(-2)).sqrt()
    at_full_power = full_power_rate(gain, power_max_w, noise_w)
    return DenseGraph(node_features(snr, at_full_power, suffered, caused), weight)


def rate_loss(snr: Tensor, inr: Tensor) -> Tensor:
    """Share of its rate that a link of ``snr`` loses by an interferer of ``inr``, sharpened [1]."""
    # A link without a gain of its own loses what it would with one that tends to 0.
    snr = snr.clamp(min=torch.finfo(inr.dtype).tiny ** 0.5)
    return (1.0 - torch.log1p(snr / (1.0 + inr)) / torch.log1p(snr)) ** LOSS_EXPONENT


def node_features(snr: Tensor, at_full_power: Tensor, suffered: Tensor, caused: Tensor) -> Tensor:
    """Features of ``rate_loss`` graphs: all arguments ``[..., K]``, to ``[..., K, 4]``."""
    rates = [torch.log2(1.0 + snr) / RATE_SCALE, at_full_power / RATE_SCALE]
    return torch.stack([*rates, suffered.log(), caused.log()], dim=-1)


def log_ratio(inr: Tensor) -> Tensor:
    """Logarithm of ratios to the noise; that of a missing link (gain 0) counts as 0."""
    return torch.where(inr > 0, torch.log(inr.clamp(min=torch.finfo(inr.dtype).tiny)), 0.0)


def _normalised_log(inr: Tensor) -> Tensor:
    weight = log_ratio(inr)
    square = weight.square().sum(dim=(-2, -1), keepdim=True)
    return weight / square.clamp(min=torch.finfo(inr.dtype).tiny).sqrt()


def to_data(graph: DenseGraph, x: Tensor | None = None) -> "Data":
    """PyG ``Data`` of one graph: node features, an edge i -> k per non-zero weight, self-loops.

    Args:
        graph: One graph, no leading axes.
        x: Further node features ``[K, F']`` put before the graph's own, e.g. the PF ratio.

    Returns:
        Data with ``x [K, F' + F]``, ``edge_index [2, E]`` and ``edge_weight [E]``.
    """
    from torch_geometric.data import Data

    keep = graph.edge_weight != 0
    keep.fill_diagonal_(True)
    edge_index = keep.nonzero().T.contiguous()
    node = graph.node if x is None else torch.cat([x, graph.node], dim=-1)
    weight = graph.edge_weight[edge_index[0], edge_index[1]]
    return Data(x=node, edge_index=edge_index, edge_weight=weight)
