"""From the samples' problem to the channel's distribution: an interval with a confidence."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.adaptation_task import Problem
from metagnn.duality import dual_function, dual_value, primal_value
from metagnn.duality_checks import check_minimum_rates, check_multipliers, check_powers
from metagnn.graphs.checks import require
from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import rate

NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class ErgodicInterval:
    """Interval for the ergodic problem [bit/s/Hz].

    Attributes:
        low: Lower confidence bound of the policy's ergodic value.
        primal: The policy's value on the samples.
        dual: Certified bound on the samples, at the multipliers given.
        high: Upper confidence bound of the dual function of the distribution.
        confidence: Probability that ``low <= P_theta`` and ``P* <= high`` both hold.
    """

    low: float
    primal: float
    dual: float
    high: float
    confidence: float


@torch.no_grad()
def ergodic_interval(
    power_w: Tensor,
    gain: Tensor,
    problem: Problem,
    minimum_rate: Tensor | float,
    mu: Tensor,
    tolerance: float = 1e-3,
    max_boxes: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ErgodicInterval:
    r"""Interval of the distribution's problem from samples on which nothing was chosen.

    For fixed multipliers the dual function is an expectation of one number per sample, and its
    bound :math:`D(\mu) \ge P^*` holds for the distribution. So the mean over independent samples
    of the samples' bounds is an unbiased estimate of a valid bound, whatever the duality gap of
    the samples' own problem. Its upper, and the lower confidence bound of the policy's value, are
    percentiles of 2000 bootstrap resamples of whole samples, each at half the error allowed, so
    that both hold together.

    This assumes: multipliers, minimum rates and the policy's parameters were fixed without these
    samples (multipliers of `duality_interval` on *other* samples, such as those of adaptation);
    samples independent in time (no Doppler); enough of them for the bootstrap of a mean (it is
    not a finite-sample guarantee, which unbounded Rayleigh gains do not give without more
    assumptions). A policy fed by averaged rates makes its own rates weakly dependent in time,
    which the lower bound ignores.

    Args:
        power_w: Powers of the policy on the samples [W].
        gain: Channel power gains of the samples [1].
        problem: Constants of the problem.
        minimum_rate: Minimum rates [bit/s/Hz].
        mu: Multipliers of the minimum-rate constraints.
        tolerance: Relative gap at which the search of a sample ends.
        max_boxes: Boxes of one sample at which it ends at the latest, above four links.
        confidence: Probability that both bounds hold.
        seed: Seed of the resamples.

    Shapes:
        power_w ``[S, K]``, gain ``[S, K, K]``, mu ``[K]``, minimum_rate one number or ``[K]``.

    Raises:
        ValueError: If ``confidence`` does not lie between 0 and 1, there are fewer than 2 samples,
            or as `duality_interval`.
    """
    require(0.0 < confidence < 1.0, "confidence", "lie between 0 and 1", confidence)
    require(len(gain) >= 2, "gain", "hold at least 2 samples", len(gain))
    mu = check_multipliers(mu, gain.shape[-1]).to(gain.device)
    required = check_minimum_rates(minimum_rate, gain.shape[-1]).to(gain.device)
    power = check_powers(power_w, gain, problem)
    found = dual_function(gain, problem, required, mu, tolerance, max_boxes, power)
    got = rate(gain.double(), power, problem.noise_w)

    num_samples = len(gain)
    source = generator(seed, "ergodic interval")
    drawn = torch.randint(num_samples, (NUM_RESAMPLES, num_samples), generator=source)
    share = torch.zeros(NUM_RESAMPLES, num_samples, dtype=torch.float64)
    share = share.scatter_add_(1, drawn, torch.ones_like(share)) / num_samples
    share = share.to(gain.device)
    primal = primal_value(share @ got, required.expand(NUM_RESAMPLES, -1), problem.alpha)
    dual = dual_value(share @ found.bound.upper, mu, required, problem.alpha)
    tail = 0.5 * (1.0 - confidence)
    return ErgodicInterval(
        float(torch.quantile(primal, tail)),
        float(primal_value(got.mean(0), required, problem.alpha)),
        found.upper,
        float(torch.quantile(dual, 1.0 - tail)),
        confidence,
    )
