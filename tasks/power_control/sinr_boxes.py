"""Boxes of powers and SINRs in logarithms, and a concave bound of the weighted sum rate on them."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

# Fixed-point steps towards the maximum of a box's concave bound; any number gives a valid bound.
_NUM_STEPS = 8
_NUM_TIGHTENINGS = 2
_SPLITS = 24

# Outward margins: boxes are not narrower than this in log-SINR, so that slopes of chords lose no
# more than 1e-10 to cancellation; a box is empty only beyond the second; a bound is raised by the
# third times what it would be without interference.
_NARROWEST = 1e-4
_EMPTY = 1e-9
MARGIN = 1e-9


@dataclass(frozen=True)
class WeightedProblem:
    """Weighted sum rates of A samples, with noise 1 and largest powers 1.

    Attributes:
        log_snr: Logarithm of the SNR at the largest power ``[A, 1, K]``.
        crossed: Interference at the largest power over noise ``[A, K, K]``, 0 on the diagonal.
        weight: Weights of the links ``[A, 1, K]``, 0 where the direct gain is 0.
    """

    log_snr: Tensor
    crossed: Tensor
    weight: Tensor

    def __getitem__(self, index: Tensor) -> "WeightedProblem":
        return WeightedProblem(self.log_snr[index], self.crossed[index], self.weight[index])

    def log_disturbance(self, power: Tensor) -> Tensor:
        """Logarithm of noise and interference at powers ``[A, N, K]``."""
        return torch.matmul(power, self.crossed).log1p_()

    def log_sinr(self, log_power: Tensor) -> Tensor:
        """Logarithm of the SINRs ``[A, N, K]``."""
        return log_power + self.log_snr - self.log_disturbance(log_power.exp())

    def value(self, log_power: Tensor) -> Tensor:
        """Weighted sum rate [nat/s/Hz] of powers ``[A, N, K]``: ``[A, N]``."""
        return (self.weight * softplus(self.log_sinr(log_power))).sum(-1)


@dataclass(frozen=True)
class Boxes:
    """N boxes of each of A samples; all fields ``[A, N, K]``, natural logarithms.

    Attributes:
        power_low: Least powers.
        power_high: Largest powers.
        sinr_low: Least SINRs.
        sinr_high: Largest SINRs.
        power: Powers at which the bound was evaluated, in the box.
    """

    power_low: Tensor
    power_high: Tensor
    sinr_low: Tensor
    sinr_high: Tensor
    power: Tensor

    def stacked(self) -> Tensor:
        """All fields in one tensor ``[5, A, N, K]``."""
        return torch.stack([getattr(self, field.name) for field in fields(self)])


def softplus(x: Tensor) -> Tensor:
    """Rate [nat/s/Hz] of a log-SINR, ``log(1 + exp(x))``, precise at both ends."""
    return torch.logaddexp(x, torch.zeros_like(x))


def tightened(problem: WeightedProblem, boxes: Boxes) -> tuple[Boxes, Tensor]:
    r"""Boxes without powers and SINRs that no point of them has, and which are not empty.

    With :math:`y = \log p` and :math:`x = y + \log g - \log(1 + \sum_i g_{ik} e^{y_i})`, least
    interference at the others' least powers bounds x from above, most interference from below,
    and the same equation read backwards bounds y. A box is also empty of optima where all powers
    stay below the largest: scaling them up would raise every SINR.

    Shapes:
        boxes ``[A, N, K]``; returns boxes and ``[A, N]`` (bool).
    """
    low, high = boxes.power_low, boxes.power_high
    sinr_low, sinr_high = boxes.sinr_low, boxes.sinr_high
    for _ in range(_NUM_TIGHTENINGS):
        most = problem.log_disturbance(high.exp()) - problem.log_snr
        least = problem.log_disturbance(low.exp()) - problem.log_snr
        sinr_high = torch.minimum(sinr_high, high - least)
        sinr_low = torch.maximum(sinr_low, low - most)
        high = torch.minimum(high, sinr_high + most)
        low = torch.maximum(low, sinr_low + least)
    holds = (low <= high + _EMPTY).all(-1) & (sinr_low <= sinr_high + _EMPTY).all(-1)
    holds &= high.amax(-1) >= -_EMPTY
    high = torch.maximum(high, low)
    sinr_high = torch.maximum(sinr_high, sinr_low + _NARROWEST)
    return Boxes(low, high, sinr_low, sinr_high, boxes.power.clamp(low, high)), holds


def chord_bound(problem: WeightedProblem, boxes: Boxes) -> tuple[Tensor, Boxes, Tensor]:
    r"""Upper bound of the weighted sum rate on boxes.

    The rate :math:`\log(1 + e^x)` is convex in the log-SINR x, so that on :math:`[\underline x,
    \overline x]` it lies below its chord :math:`b + a x`. As x is concave in the log-powers y,

    .. math:: h(y) = \sum_k w_k \left(b_k + a_k x_k(y)\right)

    is concave and nowhere below the weighted sum rate. The fixed point of :math:`e^{y_i} = w_i a_i
    / \sum_{k \ne i} w_k a_k g_{ik} / D_k(y)`, clipped to the box, maximises it (the iteration of
    SCALE, Papandriopoulos and Evans 2009). What is returned rests on no convergence: at any y the
    tangent :math:`h(y) + \nabla h(y)^T (y' - y)` bounds h from above, and over a box its maximum
    is known. Above ``sinr_high`` and below ``sinr_low`` the chord is no bound, but no point of
    the box lies there.

    Returns:
        Bounds [nat/s/Hz] ``[A, N]``, boxes with the powers at which they were evaluated, and by
        how much each link's chord exceeds its rate at most, times its weight ``[A, N, K]``.
    """
    weight, low, high = problem.weight, boxes.sinr_low, boxes.sinr_high
    at_low, at_high = softplus(low), softplus(high)
    slope = ((at_high - at_low) / (high - low)).clamp(0.0, 1.0)
    pull = weight * slope
    tiny = torch.finfo(pull.dtype).tiny
    caused_by = problem.crossed.mT.contiguous()
    least, most = boxes.power_low.exp(), boxes.power_high.exp()
    power = boxes.power.exp()
    for _ in range(_NUM_STEPS):
        disturbance = torch.matmul(power, problem.crossed).add_(1.0)
        price = torch.matmul(pull / disturbance, caused_by)
        power = (pull / price.clamp(min=tiny)).clamp(least, most)
    disturbance = torch.matmul(power, problem.crossed).add_(1.0)
    gradient = pull - power * torch.matmul(pull / disturbance, caused_by)
    log_power = power.log().clamp(boxes.power_low, boxes.power_high)
    sinr = log_power + problem.log_snr - disturbance.log()
    chord = at_low + slope * (sinr - low)
    rise = gradient.clamp(min=0.0) * (boxes.power_high - log_power)
    rise += (-gradient).clamp(min=0.0) * (log_power - boxes.power_low)
    free = (weight * at_high).sum(-1)
    bound = torch.minimum((weight * chord + rise).sum(-1), free) + MARGIN * free
    evaluated = Boxes(boxes.power_low, boxes.power_high, low, high, log_power)
    return bound, evaluated, weight * _greatest_excess(low, high, at_low, slope)


def split_point(low: Tensor, high: Tensor) -> Tensor:
    """Log-SINRs at which to cut intervals so that the larger chord error of both parts is least.

    Shapes:
        low and high ``[...]``; returns ``[...]``, found among 24 points in between.
    """
    share = torch.linspace(0.02, 0.98, _SPLITS, dtype=low.dtype, device=low.device)
    low, high = low.unsqueeze(-1), high.unsqueeze(-1)
    cut = low + (high - low) * share
    error = torch.maximum(_chord_error(low, cut), _chord_error(cut, high))
    return cut.gather(-1, error.argmin(-1, keepdim=True)).squeeze(-1)


def _chord_error(low: Tensor, high: Tensor) -> Tensor:
    """Greatest excess of the chord of ``softplus`` over it."""
    low, high = torch.broadcast_tensors(low, high)
    at_low = softplus(low)
    return _greatest_excess(low, high, at_low, (softplus(high) - at_low) / (high - low))


def _greatest_excess(low: Tensor, high: Tensor, at_low: Tensor, slope: Tensor) -> Tensor:
    """The same, given the value at ``low`` and the slope; it is where slopes are equal."""
    slope = slope.clamp(1e-300, 1.0 - 1e-15)
    where = torch.logit(slope).clamp(low, high)
    return at_low + slope * (where - low) - softplus(where)
