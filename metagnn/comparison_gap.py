"""What holds the optimum of a compared network, and where all policies stand in there."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from metagnn.adaptation import Adapted
from metagnn.adaptation_task import Problem
from metagnn.duality import Interval, duality_interval, primal_value
from metagnn.ergodic_interval import ErgodicInterval, ergodic_interval
from metagnn.graphs.checks import require
from metagnn.graphs.neighbours import Gain

# Scored samples from which on a bootstrap of their mean has about the confidence that it says.
MIN_SAMPLES = 32
# Rates in float32 may round to just above a bound that is met.
_ROUNDING = 1e-5


def brackets(
    power_w: Tensor,
    past_gain: Gain | None,
    gain: Tensor,
    adapted: Adapted,
    refined: Callable[[Adapted], Adapted],
    problem: Problem,
    max_boxes: int,
) -> tuple[Interval, ErgodicInterval | None]:
    """Intervals of the samples and, where multipliers of others are at hand, of the distribution.

    Args:
        power_w: Powers of the policy [W].
        past_gain: Samples before the scored ones ``[S', K, K]`` [1], or None.
        gain: Scored samples [1].
        adapted: Networks adapted to the samples before.
        refined: Refines their multipliers on the same samples.
        problem: Constants of the problem.
        max_boxes: Boxes of one sample at which a search ends at the latest, above four links.

    Shapes:
        power_w ``[S, K]``, gain ``[S, K, K]``.
    """
    mu = None  # of no scored sample
    if isinstance(past_gain, Tensor) and len(gain) >= MIN_SAMPLES and not _shared(past_gain, gain):
        mu = refined(adapted).mu
    with torch.autocast(gain.device.type, enabled=False):
        policy = (power_w, gain, problem, adapted.minimum_rate)
        interval = duality_interval(*policy, adapted.mu, max_boxes=max_boxes)
        if mu is None:
            return interval, None
        return interval, ergodic_interval(*policy, mu, max_boxes=max_boxes)


def _shared(past: Tensor, gain: Tensor) -> bool:
    """Whether the first scored sample is among those before."""
    return bool((past == gain[0]).all(-1).all(-1).any())


def values_in(
    interval: Interval, policy: str, rates: Mapping[str, Tensor], alpha: float
) -> tuple[dict[str, float], Interval]:
    """Values of all policies on one network, and its interval, which knows the best of them.

    Args:
        interval: Interval of one of the policies.
        policy: Which one.
        rates: Ergodic rates of all ``[K]`` [bit/s/Hz].
        alpha: Weight of the slack's norm.

    Raises:
        ValueError: If one has a value above the certified bound.
    """
    values = {
        name: float(primal_value(one.double(), interval.minimum_rate, alpha))
        for name, one in rates.items()
    }
    values[policy] = interval.primal  # to the last digit
    largest, dual = max(values.values()), interval.dual
    rule = f"have no value above the certified bound {dual}"
    require(largest <= dual + _ROUNDING * abs(dual), "policies", rule, values)
    return values, replace(interval, best_known=max(interval.best_known, min(largest, dual)))
