"""Certified duality gaps: how far a power-control policy is from the optimum of its samples."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from metagnn.adaptation import Adapted, learned_rollout
from metagnn.adaptation_task import Problem
from metagnn.cutting_planes import best_selection, refined_multipliers
from metagnn.duality_checks import check_minimum_rates, check_multipliers, check_powers
from metagnn.graphs.checks import check_count, require
from metagnn.graphs.neighbours import Gain
from metagnn.graphs.rates import rate
from metagnn.tasks.power_control.problem import resilient_objective, smallest_slack
from metagnn.tasks.power_control.relaxation import EXACT, TightestBound, tightest_bound
from metagnn.tasks.power_control.weighted_bound import is_reached, weighted_bound

# Effort for powers and a bound between two refinements of the multipliers.
_ROUGH_TOLERANCE = 1e-2
_ROUGH_BOXES = 200
# Shares of the refined multipliers that are tried too where the bound is loose by more than this,
# on average over samples: the looser, the smaller are the multipliers at which it is smallest.
_SHARES = (0.25, 0.5, 0.75)
_LOOSE = 0.1


@dataclass(frozen=True)
class Interval:
    r"""What holds the optimum of the samples' problem: ``primal <= P* <= dual`` [bit/s/Hz].

    Attributes:
        primal: Value :math:`P_\theta` of the policy with the smallest slack.
        best_known: Value of the best powers known, at least ``primal``: those found on the way
            (`best_selection`), in a comparison of all policies too. What of the width lies below
            it is owed to the policy, or to what no policy can know: these powers were chosen with
            all samples at hand. Only what lies above it can be owed to the bound.
        dual: Certified upper bound D of the optimum.
        name: Relaxation behind the bound; ``exact`` where it lies within the tolerance of what was
            found on each sample. That is one of weighted rates: `undecided` says what it is here.
        minimum_rate: Minimum rates ``[K]`` [bit/s/Hz].
        rate: Ergodic rates of the policy ``[K]`` [bit/s/Hz].
        mu: Multipliers at which the bound was computed ``[K]``.
        weighted_upper: Mean over samples of the bound of :math:`\max_p \sum_k (1 + \mu_k) R_k`.
        lower: The Lagrangian at ``mu`` and the best powers that the search found there. The dual
            function at ``mu`` lies between it and ``dual``.
    """

    primal: float
    best_known: float
    dual: float
    name: str
    minimum_rate: Tensor
    rate: Tensor
    mu: Tensor
    weighted_upper: float
    lower: float

    @property
    def undecided(self) -> float:
        """By how much the search of powers can have left the bound too high [bit/s/Hz].

        Its tolerance, and more where boxes ran out.
        """
        return max(0.0, self.dual - self.lower)

    @property
    def slack(self) -> Tensor:
        """Smallest slack of the policy ``[K]`` [bit/s/Hz]."""
        return smallest_slack(self.rate, self.minimum_rate)

    @property
    def width(self) -> float:
        """Width of the interval, the certified gap of the policy [bit/s/Hz]."""
        return self.dual - self.primal

    @property
    def relative_gap(self) -> float:
        """Width over the policy's value; infinite where the value is not positive."""
        return self.width / self.primal if self.primal > 0 else float("inf")

    @property
    def relative_to_rate(self) -> float:
        """Width over the policy's sum rate, which stays positive where its value does not."""
        return self.width / float(self.rate.sum()) if bool(self.rate.any()) else float("inf")


@dataclass(frozen=True)
class DualFunction:
    """The dual function at given multipliers, from above and from below [bit/s/Hz].

    Attributes:
        upper: Certified upper bound of D(mu), hence of the optimum.
        lower: The Lagrangian at the best powers found, at most D(mu).
        bound: Bounds of the weighted sum rates of the samples.
    """

    upper: float
    lower: float
    bound: TightestBound


def primal_value(rate: Tensor, minimum_rate: Tensor | float, alpha: float) -> Tensor:
    r"""Value of ergodic rates with the smallest slack that makes them feasible (Eq. 4).

    .. math:: P = \sum_k r_k - \tfrac{\alpha}{2} \sum_k \max(f_{\min,k} - r_k, 0)^2

    Shapes:
        rate ``[..., K]``; returns ``[...]``.

    Raises:
        ValueError: If ``alpha`` is not positive or shapes do not fit.
    """
    return resilient_objective(rate, smallest_slack(rate, minimum_rate), alpha)


def dual_value(
    weighted_rate: Tensor, mu: Tensor, minimum_rate: Tensor | float, alpha: float
) -> Tensor:
    r"""The dual function, given the largest weighted sum rate (Eq. 5 and 6).

    With r eliminated (:math:`\lambda = 1 + \mu`) and :math:`s = \mu / \alpha`, its maximiser,

    .. math:: D(\mu) = E\left[\max_p \sum_k (1 + \mu_k) R_k(p, H)\right]
              - \sum_k \mu_k f_{\min,k} + \frac{\|\mu\|^2}{2 \alpha}

    :math:`D(\mu) \ge P^*` for every :math:`\mu \ge 0`: whatever is feasible loses nothing by the
    constraint's term, as :math:`\mu_k (r_k - f_{\min,k} + s_k) \ge 0`. An upper bound in place of
    the expectation keeps that.

    Args:
        weighted_rate: The expectation, or an upper bound of it [bit/s/Hz].
        mu: Multipliers of the minimum-rate constraints.
        minimum_rate: Minimum rates [bit/s/Hz].
        alpha: Weight of the slack's norm.

    Shapes:
        weighted_rate ``[...]``, mu ``[..., K]``; returns ``[...]``.
    """
    return weighted_rate + (0.5 * mu.square() / alpha - mu * minimum_rate).sum(-1)


@torch.no_grad()
def dual_function(
    gain: Tensor,
    problem: Problem,
    minimum_rate: Tensor | float,
    mu: Tensor,
    tolerance: float = 1e-3,
    max_boxes: int = 2000,
    initial_power_w: Tensor | None = None,
) -> DualFunction:
    """The dual function of the samples' problem at given multipliers, bounded from both sides.

    Args:
        gain: Channel power gains of the samples [1].
        problem: Constants of the problem.
        minimum_rate: Minimum rates [bit/s/Hz].
        mu: Multipliers of the minimum-rate constraints.
        tolerance: Relative gap at which the search of a sample ends.
        max_boxes: Boxes of one sample at which it ends at the latest, above four links.
        initial_power_w: Powers to start the search from [W].

    Shapes:
        gain ``[S, K, K]``, mu ``[K]``, minimum_rate one number or ``[K]``.

    Raises:
        ValueError: If a multiplier is negative or not finite, or an argument is out of range or
            has a shape that does not fit.
    """
    _check_gain(gain)
    num_links = gain.shape[-1]
    mu = check_multipliers(mu, num_links).to(gain.device)
    required = check_minimum_rates(minimum_rate, num_links).to(gain.device)
    weight = (1.0 + mu).expand(len(gain), num_links)
    bound = tightest_bound(
        gain, problem.power_max_w, problem.noise_w, weight, tolerance, max_boxes, initial_power_w
    )
    upper = dual_value(bound.upper.mean(), mu, required, problem.alpha)
    lower = dual_value(bound.value.mean(), mu, required, problem.alpha)
    return DualFunction(float(upper), float(lower), bound)


@torch.no_grad()
def duality_interval(
    power_w: Tensor,
    gain: Tensor,
    problem: Problem,
    minimum_rate: Tensor | float,
    mu: Tensor | None = None,
    tolerance: float = 1e-3,
    max_boxes: int = 2000,
    num_refinements: int = 5,
) -> Interval:
    r"""Interval that holds the optimum of one configuration's samples, for any policy's powers.

    On S samples the problem of Eq. 4 has S K powers and K slacks. The policy's powers, whatever
    they were computed from, are one feasible point (`primal_value`); every multiplier gives an
    upper bound (`dual_value`, `tightest_bound`). The bounds are computed at the multipliers given,
    then at those that `refined_multipliers` finds on all powers met so far, ``num_refinements``
    times with few boxes and at last with all. Where that is loose (by 10 % of the weighted rates),
    so are shares of them with few boxes, and the best share with all; the smallest bound counts.
    With S samples the optimum
    itself lies up to O(K / S) below the smallest bound, as the problem is convex only in the
    limit (Assumption 1).

    Args:
        power_w: Powers of the policy on the samples [W].
        gain: Channel power gains of the samples [1].
        problem: Constants of the problem.
        minimum_rate: Minimum rates [bit/s/Hz].
        mu: Multipliers to begin with; without them alpha times the policy's smallest slack.
        tolerance: Relative gap at which the last search of a sample ends.
        max_boxes: Boxes of one sample at which it ends at the latest, above four links.
        num_refinements: How often the multipliers are refined.

    Shapes:
        power_w ``[S, K]``, gain ``[S, K, K]``, mu ``[K]``, minimum_rate one number or ``[K]``.

    Raises:
        ValueError: If powers do not lie in ``[0, power_max_w]``, a multiplier is negative or not
            finite, or an argument is out of range or has a shape that does not fit.
    """
    _check_gain(gain)
    check_count("num_refinements", num_refinements, minimum=0)
    num_links = gain.shape[-1]
    wide, power = gain.double(), check_powers(power_w, gain, problem)
    required = check_minimum_rates(minimum_rate, num_links).to(gain.device)
    rates = rate(wide, power, problem.noise_w).unsqueeze(1)
    powers = power.unsqueeze(1)
    of_policy = rates.mean((0, 1))
    primal = float(primal_value(of_policy, required, problem.alpha))
    if mu is None:
        mu = problem.alpha * smallest_slack(of_policy, required)
    mu = check_multipliers(mu, num_links).to(gain.device)

    constants = (problem.power_max_w, problem.noise_w)
    every = torch.arange(len(wide), device=wide.device)
    rough = (max(tolerance, _ROUGH_TOLERANCE), min(max_boxes, _ROUGH_BOXES))
    all_ = (tolerance, max_boxes)
    bounds: list[_Bound] = []

    def add(mu: Tensor, effort: tuple[float, int], is_last: bool) -> _Bound:
        """Bound at some multipliers, whose powers are kept."""
        nonlocal powers, rates
        start = powers[every, torch.matmul(rates, 1.0 + mu).argmax(-1)]
        weight = (1.0 + mu).expand_as(power)
        search = tightest_bound if is_last else weighted_bound
        found = search(wide, *constants, weight, *effort, start)
        name = found.name if isinstance(found, TightestBound) else "branch_and_bound"
        if is_reached(found, tolerance):
            name = EXACT
        elif name == EXACT:  # of a smaller effort
            name = "branch_and_bound"
        mean = found.upper.mean()
        upper, lower = (
            float(dual_value(each, mu, required, problem.alpha))
            for each in (mean, found.value.mean())
        )
        bounds.append(_Bound(upper, lower, name, float(mean), mu, float(found.gap.mean())))
        powers = torch.cat([powers, found.power_w.unsqueeze(1)], 1)
        here = rate(wide, found.power_w, problem.noise_w)
        rates = torch.cat([rates, here.unsqueeze(1)], 1)
        return bounds[-1]

    for left in range(num_refinements, -1, -1):
        if bounds:
            mu = refined_multipliers(rates, required, problem.alpha, mu)
        add(mu, all_ if left == 0 else rough, is_last=left == 0)
    if bounds[-1].gap > _LOOSE:
        tried = [add(share * mu, rough, is_last=True) for share in (*_SHARES, 1.0)]
        best = min(tried, key=lambda each: each.upper)
        if best is not tried[-1]:
            add(best.mu, all_, is_last=True)
    smallest = min(bounds, key=lambda each: each.upper)
    choice = torch.matmul(rates, 1.0 + smallest.mu).argmax(-1)
    choice = best_selection(rates, required, problem.alpha, choice)
    selected = float(primal_value(rates[every, choice].mean(0), required, problem.alpha))
    best_known = max(primal, selected)
    return Interval(
        primal,
        best_known,
        smallest.upper,
        smallest.name,
        required.cpu(),
        of_policy.cpu(),
        smallest.mu.cpu(),
        smallest.weighted_upper,
        smallest.lower,
    )


class _Bound(NamedTuple):
    """A bound at some multipliers, as in `Interval`, and the mean gap of its samples' searches."""

    upper: float
    lower: float
    name: str
    weighted_upper: float
    mu: Tensor
    gap: float


def adapted_interval(
    adapted: Adapted,
    past_gain: Gain | None,
    gain: Tensor,
    problem: Problem,
    tolerance: float = 1e-3,
    max_boxes: int = 2000,
) -> Interval:
    """`duality_interval` of adapted networks on consecutive samples, from their multipliers.

    Args:
        adapted: Networks adapted to the configuration (`metagnn.adaptation.adapt`).
        past_gain: Samples before, over which the averaged rates settle ``[S', K, K]`` [1].
        gain: Scored samples ``[S, K, K]`` [1].
        problem: Constants of the problem.
        tolerance: Relative gap at which the last search of a sample ends.
        max_boxes: Boxes of one sample at which it ends at the latest, above four links.

    Raises:
        ValueError: If the networks hold no multipliers, or as `duality_interval`.
    """
    names = adapted.learner.shape.names
    require("mu" in names, "adapted", "hold multipliers (a network `mu`)", names)
    run = learned_rollout(adapted.learner, past_gain, gain, problem)
    power_w = run.power_w.squeeze(1)
    minimum_rate, mu = adapted.minimum_rate, adapted.mu
    return duality_interval(power_w, gain, problem, minimum_rate, mu, tolerance, max_boxes)


def _check_gain(gain: Gain) -> None:
    require(isinstance(gain, Tensor), "gain", "be dense, without neighbour lists", type(gain))
    fits = len(gain.shape) == 3 and len(gain) > 0
    require(fits, "gain", "have the shape [S, K, K] with S >= 1", tuple(gain.shape))
