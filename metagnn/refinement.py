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
from metagnn.duality import check_multipliers, check_powers
from metagnn.graphs.rates import rate
from metagnn.lagrangian import best_slack
from metagnn.tasks.power_control.coordinate_search import coordinate_search
from metagnn.tasks.power_control.wmmse import wmmse

# Samples before the scored ones on which multipliers are refined, and how often they are.
NUM_SAMPLES = 512
NUM_ROUNDS = 5
# Share of the largest power from which a silent link starts: at none it would stay silent.
_LEAST_SHARE = 1e-4


@torch.no_grad()
def raise_lagrangian(power_w: Tensor, gain: Tensor, mu: Tensor, problem: Problem) -> Tensor:
    r"""Powers whose Lagrangian :math:`\sum_k (1 + \mu_k) R_k(p, H)` is higher, sample by sample.

    `wmmse` from the powers given, then `coordinate_search`; where that is no better, the powers
    given.

    Args:
        power_w: Powers to start from [W].
        gain: Channel power gains [1].
        mu: Multipliers.
        problem: Constants of the problem.

    Shapes:
        power_w ``[S, K]``, gain ``[S, K, K]``, mu ``[K]``; returns ``[S, K]`` [W], in float64.

    Raises:
        ValueError: If powers do not lie in ``[0, power_max_w]``, a multiplier is negative or not
            finite, or a shape does not fit.
    """
    wide, power_w = gain.double(), check_powers(power_w, gain, problem)
    constants = (problem.power_max_w, problem.noise_w)
    weight = 1.0 + check_multipliers(mu, gain.shape[-1])
    start = power_w.clamp(min=_LEAST_SHARE * problem.power_max_w)
    found = wmmse(wide, *constants, weight, initial_power_w=start)
    found = coordinate_search(wide, *constants, weight, found)
    before, after = (
        torch.matmul(rate(wide, powers, problem.noise_w), weight) for powers in (power_w, found)
    )
    return torch.where((after > before).unsqueeze(-1), found, power_w)


@torch.no_grad()
def refine_multipliers(
    power_w: Tensor, gain: Tensor, mu: Tensor, minimum_rate: float, problem: Problem
) -> Tensor:
    """Multipliers that minimise the dual function over powers found by `raise_lagrangian`.

    Args:
        power_w: Powers to start from [W].
        gain: Channel power gains [1].
        mu: Multipliers to start from.
        minimum_rate: Minimum rate f_min [bit/s/Hz].
        problem: Constants of the problem.

    Shapes:
        power_w ``[S, K]``, gain ``[S, K, K]``, mu ``[K]``; returns ``[K]``, in float64.

    Raises:
        ValueError: As of `raise_lagrangian`.
    """
    wide, powers = gain.double(), check_powers(power_w, gain, problem).unsqueeze(1)
    rates = rate(wide, powers.squeeze(1), problem.noise_w).unsqueeze(1)
    mu, every = check_multipliers(mu, gain.shape[-1]), torch.arange(len(wide), device=wide.device)
    for _ in range(NUM_ROUNDS):
        best = powers[every, torch.matmul(rates, 1.0 + mu).argmax(-1)]
        found = raise_lagrangian(best, wide, mu, problem)
        powers = torch.cat([powers, found.unsqueeze(1)], 1)
        rates = torch.cat([rates, rate(wide, found, problem.noise_w).unsqueeze(1)], 1)
        mu = refined_multipliers(rates, minimum_rate, problem.alpha, mu)
    return mu


def refine(adapted: Adapted, past_gain: Tensor, problem: Problem) -> Adapted:
    """Adapted networks with multipliers and slacks refined on the last samples before.

    Args:
        adapted: Networks adapted to the configuration.
        past_gain: Samples to which they were adapted [1].
        problem: Constants of the problem.

    Shapes:
        past_gain ``[S, K, K]``.
    """
    recent, before = past_gain[-NUM_SAMPLES:], past_gain[:-NUM_SAMPLES]
    run = learned_rollout(adapted.learner, before if len(before) else None, recent, problem)
    mu = refine_multipliers(
        run.power_w.squeeze(1), recent, adapted.mu, adapted.minimum_rate, problem
    ).to(adapted.mu)
    return replace(adapted, mu=mu, slack=best_slack(mu, problem.alpha))


def refined_power(
    refined: Adapted, past_gain: Tensor | None, gain: Tensor, problem: Problem
) -> Tensor:
    """Powers of the policy on the samples ahead, improved at its multipliers.

    Args:
        refined: Networks adapted to the configuration, and multipliers (`refine`).
        past_gain: Samples before ``[S, K, K]`` [1], or None.
        gain: Samples to decide on ``[T, K, K]`` [1].
        problem: Constants of the problem.

    Returns:
        Powers ``[T, K]`` [W], in float64.
    """
    run = learned_rollout(refined.learner, past_gain, gain, problem)
    return raise_lagrangian(run.power_w.squeeze(1), gain, refined.mu, problem)
