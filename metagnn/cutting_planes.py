"""The resilient problem on powers already found: its best multipliers and its best selection."""

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count
from metagnn.tasks.power_control.problem import resilient_objective, smallest_slack

_NUM_STEPS = 300
_NUM_SWEEPS = 5


@torch.no_grad()
def refined_multipliers(
    rate: Tensor,
    minimum_rate: Tensor | float,
    alpha: float,
    mu: Tensor,
    num_steps: int = _NUM_STEPS,
) -> Tensor:
    r"""Multipliers that minimise the dual function over powers found so far.

    With J candidates for each sample the dual function is

    .. math:: \frac1S \sum_s \max_j \sum_k (1 + \mu_k) R_{sjk} - \mu^T f_{\min}
              + \frac{\|\mu\|^2}{2 \alpha}

    a cutting-plane model of D from below with cuts for every sample. It is strongly convex with
    modulus :math:`1 / \alpha`: projected subgradient steps of :math:`2 \alpha / (t + 1)` along
    :math:`\bar R - f_{\min} + \mu / \alpha` and averages weighted by t are within O(1/t) of its
    minimum (Lacoste-Julien, Schmidt and Bach 2012).

    Args:
        rate: Rates of the candidates [bit/s/Hz].
        minimum_rate: Minimum rates [bit/s/Hz].
        alpha: Weight of the slack's norm.
        mu: Multipliers to begin with.
        num_steps: Subgradient steps.

    Shapes:
        rate ``[S, J, K]``, minimum_rate one number or ``[K]``, mu ``[K]``; returns ``[K]``.

    Raises:
        ValueError: If ``num_steps`` is not positive.
    """
    check_count("num_steps", num_steps)
    every = torch.arange(len(rate), device=rate.device)
    average = mu = mu.to(rate)
    for step in range(1, num_steps + 1):
        best = torch.matmul(rate, 1.0 + mu).argmax(-1)
        slope = rate[every, best].mean(0) - minimum_rate + mu / alpha
        mu = (mu - 2.0 * alpha / (step + 1) * slope).clamp(min=0.0)
        average = average + 2.0 / (step + 2) * (mu - average)
    return average


@torch.no_grad()
def best_selection(
    rate: Tensor, minimum_rate: Tensor | float, alpha: float, choice: Tensor
) -> Tensor:
    """One candidate for each sample so that the primal value of the mean rates is high.

    Samples are visited in turn, five times at most; each takes the candidate that raises the value
    most, so that the value never falls. Together the samples are convex to within O(K / S): the
    best selection comes that close to the least of the dual function over the same candidates.
    Taking turns need not find it.

    Args:
        rate: Rates of the candidates [bit/s/Hz].
        minimum_rate: Minimum rates [bit/s/Hz].
        alpha: Weight of the slack's norm.
        choice: Candidates to begin with.

    Shapes:
        rate ``[S, J, K]``, minimum_rate one number or ``[K]``, choice ``[S]``; returns ``[S]``.
    """
    num_samples = len(rate)
    share, choice = rate / num_samples, choice.clone()
    every = torch.arange(num_samples, device=rate.device)
    for _ in range(_NUM_SWEEPS):
        before = choice.clone()
        total = share[every, choice].sum(0)
        for sample, candidates in enumerate(share):
            rest = total - candidates[choice[sample]]
            with_each = rest + candidates
            required = torch.as_tensor(minimum_rate).to(rate).expand(with_each.shape)
            slack = smallest_slack(with_each, required)
            value = resilient_objective(with_each, slack, alpha)
            best = value.argmax()
            if value[best] > value[choice[sample]]:
                choice[sample] = best
            total = rest + candidates[choice[sample]]
        if bool((before == choice).all()):
            break
    return choice
