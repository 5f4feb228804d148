"""Checks of what bounds and refinements are given: multipliers, powers, minimum rates."""

import torch
from torch import Tensor

from metagnn.adaptation_task import Problem
from metagnn.graphs.checks import require


def check_multipliers(mu: Tensor, num_links: int) -> Tensor:
    """Multipliers ``[K]`` in float64, without history.

    Raises:
        ValueError: If there is not one per link, or one is negative or not finite.
    """
    mu = mu.detach().double()
    require(mu.shape == (num_links,), "mu", f"have the shape ({num_links},)", tuple(mu.shape))
    valid = (mu >= 0) & mu.isfinite()
    require(bool(valid.all()), "mu", "be finite and >= 0 everywhere", mu.tolist())
    return mu


def check_powers(power_w: Tensor, gain: Tensor, problem: Problem) -> Tensor:
    """Powers ``[S, K]`` [W] in float64, without history.

    Raises:
        ValueError: If the shape is not that of the gains, or one is not in ``[0, power_max_w]``.
    """
    shape = tuple(gain.shape[:-1])
    require(power_w.shape == shape, "power_w", f"have the shape {shape}", tuple(power_w.shape))
    power = power_w.detach().to(gain.device, torch.float64)
    # Powers of float32 networks may round to just above the largest.
    inside = (power >= 0) & (power <= problem.power_max_w * (1.0 + 1e-6))
    if not bool(inside.all()):
        rule = f"lie in [0, {problem.power_max_w}]"
        require(False, "power_w", rule, float(power[~inside][0]))
    return power.clamp(max=problem.power_max_w)


def check_minimum_rates(minimum_rate: Tensor | float, num_links: int) -> Tensor:
    """Minimum rates ``[K]`` [bit/s/Hz] in float64, without history.

    Raises:
        ValueError: If there is neither one nor one per link, or one is negative or not finite.
    """
    value = torch.as_tensor(minimum_rate, dtype=torch.float64).detach()
    fits = value.dim() == 0 or value.shape in ((1,), (num_links,))
    rule = f"be one number or have the shape ({num_links},)"
    require(fits, "minimum_rate", rule, tuple(value.shape))
    valid = bool((value >= 0).all()) and bool(value.isfinite().all())
    require(valid, "minimum_rate", "be finite and >= 0", value.tolist())
    return value.expand(num_links)
