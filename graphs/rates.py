"""SINR, rate, ergodic rate and the proportional-fair ratio."""

import math

import torch
from torch import Tensor

from metagnn.graphs.checks import check_positive, check_square
from metagnn.graphs.neighbours import NeighbourGain


def sinr(gain: Tensor | NeighbourGain, power_w: Tensor, noise_w: float) -> Tensor:
    r"""Signal-to-interference-plus-noise ratio of every link (paper A, Eq. 1).

    .. math:: \mathrm{SINR}_k = \frac{g_{kk} p_k}{\sigma^2 + \sum_{i \ne k} g_{ik} p_i}

    Args:
        gain: Channel power gains [1], transmitter (row) to receiver (column), or neighbour lists.
        power_w: Transmit powers [W].
        noise_w: Noise power over the band [W].

    Shapes:
        gain ``[..., K, K]``, power_w ``[..., K]``; returns ``[..., K]`` [1].

    Raises:
        ValueError: If ``gain`` is not square in its last two dimensions, or ``noise_w`` is not
            positive.
    """
    check_positive("noise_w", noise_w)
    if isinstance(gain, NeighbourGain):
        return gain.direct * power_w / (noise_w + gain.received(power_w))
    check_square("gain", gain)
    direct = torch.diagonal(gain, dim1=-2, dim2=-1)
    crossed = gain - torch.diag_embed(direct)
    # Not in bfloat16 where networks are: sums over transmitters span many orders of magnitude.
    with torch.autocast(gain.device.type, enabled=False):
        interference = torch.matmul(power_w.unsqueeze(-2), crossed).squeeze(-2)
    return direct * power_w / (noise_w + interference)


def rate(gain: Tensor | NeighbourGain, power_w: Tensor, noise_w: float) -> Tensor:
    """Rate ``log2(1 + SINR)`` of every link [bit/s/Hz] (paper A, Eq. 2); shapes as `sinr`."""
    return torch.log1p(sinr(gain, power_w, noise_w)) / math.log(2.0)


def ergodic_rate(gain: Tensor, power_w: Tensor, noise_w: float) -> Tensor:
    r"""Mean rate of each link over the samples of one configuration (paper A, Eq. 16).

    .. math:: r_k = \frac1S \sum_s \log_2(1 + \mathrm{SINR}_{k,s})

    Shapes:
        gain ``[S, K, K]``, power_w ``[S, K]``; returns ``[K]`` [bit/s/Hz].
    """
    return rate(gain, power_w, noise_w).mean(dim=0)


def full_power_rate(gain: Tensor | NeighbourGain, power_max_w: float, noise_w: float) -> Tensor:
    """Rate of each link when all transmit with ``power_max_w``: ``[..., K, K]`` to ``[..., K]``."""
    one_per_link = gain.direct if isinstance(gain, NeighbourGain) else gain[..., 0]
    return rate(gain, torch.full_like(one_per_link, power_max_w), noise_w)


def moving_average(average: Tensor, value: Tensor, window: float) -> Tensor:
    """Exponential moving average ``(1 - beta) average + beta value`` (paper A, below Eq. 25)."""
    return (1.0 - window) * average + window * value


def proportional_fair_ratio(estimated_rate: Tensor, average_rate: Tensor) -> Tensor:
    """Ratio of the rate at full power to the averaged rate (paper A, Eq. 25), same shapes [1].

    An average below 1e-6 bit/s/Hz counts as that, so that a link that never got a rate has a
    large and finite ratio.
    """
    return estimated_rate / average_rate.clamp(min=1e-6)
