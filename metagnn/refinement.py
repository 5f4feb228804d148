"""Refinement of a policy by local search, from its powers and multipliers.

At the optimum the powers maximise the Lagrangian of each sample, and the multipliers minimise the
dual function. Learned ones come close to both; the search starts there, and is told no more than
the policy: the sample at hand, and those to which it was adapted.
"""

from dataclasses import replace

import torch
from torch import Tensor

from metagnn.adaptation import Adapted, learned_rollout
from metagnn.adaptation_task import Problem
from metagnn.cutting_planes import refined_multipliers
from metagnn.duality_checks import check_multipliers, check_powers
from metagnn.graphs.checks import check_count
from metagnn.graphs.rates import rate
from metagnn.lagrangian import best_slack
from metagnn.tasks.power_control.coordinate_search import coordinate_search
from metagnn.tasks.power_control.wmmse import wmmse

# Samples before the scored ones on which multipliers are refined, and how often they are.
NUM_SAMPLES = 512
NUM_ROUNDS = 5
# Links of each sample from which alone, at the largest power, the search starts too.
NUM_ALONE = 8
# Share of the largest power from which a silent link starts: at none it would stay silent.
_LEAST_SHARE = 1e-4


@torch.no_grad()
def raise_lagrangian(
    power_w: Tensor, gain: Tensor, mu: Tensor, problem: Problem, num_alone: int = NUM_ALONE
) -> Tensor:
    r"""Powers whose Lagrangian :math:`\sum_k (1 + \mu_k) R_k(p, H)` is higher, sample by sample.

    The best of the powers given and of `local_optima`.

    Args:
        power_w: Powers to start from [W].
        gain: Channel power gains [1].
        mu: Multipliers.
        problem: Constants of the problem.
        num_alone: Links from which alone the search starts too.

    Shapes:
        power_w ``[S, K]``, gain ``[S, K, K]``, mu ``[K]``; returns ``[S, K]`` [W], in float64.

    Raises:
        ValueError: If powers do not lie in ``[0, power_max_w]``, a multiplier is negative or not
            finite, ``num_alone`` is negative, or a shape does not fit.
    """
    found = local_optima(power_w, gain, mu, problem, num_alone)
    powers = torch.cat([check_powers(power_w, gain, problem).unsqueeze(1), found], 1)
    rates = rate(gain.double().unsqueeze(1), powers, problem.noise_w)
    return _best(powers, rates, mu.to(powers))


@torch.no_grad()
def local_optima(
    power_w: Tensor, gain: Tensor, mu: Tensor, problem: Problem, num_alone: int = NUM_ALONE
) -> Tensor:
    """Local optima of the Lagrangian of each sample: `wmmse`, then `coordinate_search`.

    The search starts from the powers given and from single links at the largest power, those that
    would have the largest Lagrangian alone.

    Args and errors are those of `raise_lagrangian`.

    Shapes:
        power_w ``[S, K]``, gain ``[S, K, K]``, mu ``[K]``; returns ``[S, N, K]`` [W], in float64,
        with N one more than the links from which the search starts.
    """
    check_count("num_alone", num_alone, minimum=0)
    wide, power_w = gain.double(), check_powers(power_w, gain, problem)
    constants = (problem.power_max_w, problem.noise_w)
    weight = 1.0 + check_multipliers(mu, gain.shape[-1])
    snr = torch.diagonal(wide, dim1=-2, dim2=-1) * (problem.power_max_w / problem.noise_w)
    alone = (weight * torch.log2(1.0 + snr)).topk(min(num_alone, len(mu)), dim=-1).indices
    starts = [power_w]
    for link in alone.unbind(-1):
        full = torch.full_like(power_w[:, :1], problem.power_max_w)
        starts.append(torch.zeros_like(power_w).scatter_(1, link.unsqueeze(1), full))
    least = _LEAST_SHARE * problem.power_max_w
    found = []
    for start in starts:
        powers = wmmse(wide, *constants, weight, initial_power_w=start.clamp(min=least))
        found.append(coordinate_search(wide, *constants, weight, powers))
    return torch.stack(found, 1)


def _best(powers: Tensor, rates: Tensor, mu: Tensor) -> Tensor:
    """Those of the powers ``[S, N, K]`` of each sample with the largest Lagrangian ``[S, K]``."""
    place = torch.matmul(rates, 1.0 + mu).argmax(-1)
    return powers[torch.arange(len(place), device=place.device), place]


@torch.no_grad()
def refine_multipliers(
    power_w: Tensor,
    gain: Tensor,
    mu: Tensor,
    minimum_rate: float,
    problem: Problem,
    num_alone: int = NUM_ALONE,
) -> Tensor:
    """Multipliers that minimise the dual function over powers found by `local_optima`.

    Those from all starts are found once, at the first multipliers; then the best ones are raised
    at each that follow.

    Args:
        power_w: Powers to start from [W].
        gain: Channel power gains [1].
        mu: Multipliers to start from.
        minimum_rate: Minimum rate f_min [bit/s/Hz].
        problem: Constants of the problem.
        num_alone: Links from which alone the first search starts too.

    Shapes:
        power_w ``[S, K]``, gain ``[S, K, K]``, mu ``[K]``; returns ``[K]``, in float64.

    Raises:
        ValueError: As of `raise_lagrangian`.
    """
    wide, powers = gain.double(), check_powers(power_w, gain, problem).unsqueeze(1)
    mu = check_multipliers(mu, gain.shape[-1])
    rates = rate(wide.unsqueeze(1), powers, problem.noise_w)
    for number in range(NUM_ROUNDS):
        best = _best(powers, rates, mu)
        found = local_optima(best, wide, mu, problem, num_alone if number == 0 else 0)
        powers = torch.cat([powers, found], 1)
        rates = torch.cat([rates, rate(wide.unsqueeze(1), found, problem.noise_w)], 1)
        mu = refined_multipliers(rates, minimum_rate, problem.alpha, mu)
    return mu


def refine(
    adapted: Adapted, past_gain: Tensor, problem: Problem, num_alone: int = NUM_ALONE
) -> Adapted:
    """Adapted networks with multipliers and slacks refined on the last samples before.

    Args:
        adapted: Networks adapted to the configuration.
        past_gain: Samples to which they were adapted [1].
        problem: Constants of the problem.
        num_alone: Links from which alone the search starts too.

    Shapes:
        past_gain ``[S, K, K]``.
    """
    recent, before = past_gain[-NUM_SAMPLES:], past_gain[:-NUM_SAMPLES]
    run = learned_rollout(adapted.learner, before if len(before) else None, recent, problem)
    mu = refine_multipliers(
        run.power_w.squeeze(1), recent, adapted.mu, adapted.minimum_rate, problem, num_alone
    ).to(adapted.mu)
    return replace(adapted, mu=mu, slack=best_slack(mu, problem.alpha))


def refined_power(
    refined: Adapted,
    past_gain: Tensor | None,
    gain: Tensor,
    problem: Problem,
    num_alone: int = NUM_ALONE,
) -> Tensor:
    """Powers of the policy on the samples ahead, improved at its multipliers.

    With multipliers that are not refined they may be worth less than the policy's own: the closer
    powers are to a maximum of the Lagrangian, the more is owed to multipliers that favour the wrong
    links. There ``num_alone`` of 0 stays near the policy.

    Args:
        refined: Networks adapted to the configuration, and multipliers (`refine`).
        past_gain: Samples before ``[S, K, K]`` [1], or None.
        gain: Samples to decide on ``[T, K, K]`` [1].
        problem: Constants of the problem.
        num_alone: Links from which alone the search starts too.

    Returns:
        Powers ``[T, K]`` [W], in float64.
    """
    run = learned_rollout(refined.learner, past_gain, gain, problem)
    return raise_lagrangian(run.power_w.squeeze(1), gain, refined.mu, problem, num_alone)
