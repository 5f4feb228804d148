"""The power-control problem and its resilient form (paper A, Eq. 3 and 4) on ergodic rates."""

import torch
from torch import Tensor

from metagnn.graphs.checks import check_non_negative, check_positive, require


def minimum_rate(initial_rate: Tensor, threshold: float) -> Tensor:
    r"""Minimum rate of all links of a configuration (paper A, Eq. 34).

    .. math::
        f_{\min} = \begin{cases}
            \mathrm{round}(\max_k \tilde r_k(0)) & \max_k \tilde r_k(0) \le \varsigma \\
            \varsigma & \text{otherwise}
        \end{cases}

    Rounding is the conventional one: halves go up (2.5 to 3), not to the even neighbour. As
    printed, a rounded rate may exceed the threshold (1.6 to 2 where the threshold is 1.7) and
    may be 0.

    Args:
        initial_rate: Long-term average rates at the start, r~(0) [bit/s/Hz].
        threshold: Threshold varsigma of the minimum rate [bit/s/Hz].

    Shapes:
        initial_rate ``[..., K]``; returns ``[...]`` [bit/s/Hz].

    Raises:
        ValueError: If ``initial_rate`` holds no link, or ``threshold`` is not positive.
    """
    check_positive("threshold", threshold)
    _check_links("initial_rate", initial_rate)
    best = initial_rate.amax(-1)
    whole = best.floor()
    rounded = whole + (best - whole >= 0.5).to(best.dtype)
    return torch.where(best <= threshold, rounded, best.new_tensor(threshold))


def resilient_objective(ergodic_rate: Tensor, slack: Tensor, alpha: float) -> Tensor:
    r"""Objective of the resilient problem (paper A, Eq. 4a); without slack that of Eq. 3a.

    .. math:: r^T 1 - \tfrac{\alpha}{2} \|s\|_2^2

    Args:
        ergodic_rate: Ergodic rates r [bit/s/Hz].
        slack: Slacks s of the minimum-rate constraints [bit/s/Hz].
        alpha: Weight of the slack's norm.

    Shapes:
        ergodic_rate and slack ``[..., K]``; returns ``[...]``.

    Raises:
        ValueError: If ``alpha`` is not positive, or the shapes differ.
    """
    check_positive("alpha", alpha)
    _check_links("ergodic_rate", ergodic_rate)
    _check_same_shape("slack", slack, ergodic_rate)
    return ergodic_rate.sum(-1) - 0.5 * alpha * slack.square().sum(-1)


def smallest_slack(ergodic_rate: Tensor, minimum_rate: Tensor | float) -> Tensor:
    r"""Smallest slack with which rates are feasible, :math:`\max(f_{\min} - r, 0)` (Eq. 4c, 4d).

    Args:
        ergodic_rate: Ergodic rates r [bit/s/Hz].
        minimum_rate: Minimum rates [bit/s/Hz].

    Shapes:
        ergodic_rate ``[..., K]``; minimum_rate one number, ``[...]`` (one per configuration) or
        ``[..., K]``; returns ``[..., K]`` [bit/s/Hz].

    Raises:
        ValueError: If the shape of ``minimum_rate`` is none of these.
    """
    _check_links("ergodic_rate", ergodic_rate)
    return (_per_link(minimum_rate, ergodic_rate) - ergodic_rate).clamp(min=0.0)


def is_feasible(
    ergodic_rate: Tensor,
    minimum_rate: Tensor | float,
    slack: Tensor | None = None,
    tolerance: float = 0.0,
) -> Tensor:
    r"""Whether all links of a configuration meet :math:`r \ge f_{\min} - s`, :math:`s \ge 0`.

    Eq. 3c without ``slack``, Eq. 4c and 4d with it.

    Args:
        ergodic_rate: Ergodic rates r [bit/s/Hz].
        minimum_rate: Minimum rates [bit/s/Hz].
        slack: Slacks s [bit/s/Hz]; none counts as 0.
        tolerance: Violation that is let pass [bit/s/Hz].

    Shapes:
        ergodic_rate and slack ``[..., K]``, minimum_rate as in `smallest_slack`; returns ``[...]``
        (bool).

    Raises:
        ValueError: If shapes do not fit, or ``tolerance`` is negative.
    """
    check_non_negative("tolerance", tolerance)
    needed = smallest_slack(ergodic_rate, minimum_rate)
    if slack is None:
        slack = torch.zeros_like(ergodic_rate)
    _check_same_shape("slack", slack, ergodic_rate)
    return ((needed <= slack.clamp(min=0.0) + tolerance) & (slack >= -tolerance)).all(-1)


def _check_links(name: str, value: Tensor) -> None:
    require(value.dim() >= 1 and value.shape[-1] >= 1, name, "hold a link", tuple(value.shape))


def _check_same_shape(name: str, value: Tensor, like: Tensor) -> None:
    require(
        value.shape == like.shape, name, f"have the shape {tuple(like.shape)}", tuple(value.shape)
    )


def _per_link(minimum_rate: Tensor | float, rate: Tensor) -> Tensor:
    """Minimum rates in a shape that broadcasts against ``rate``."""
    value = torch.as_tensor(minimum_rate, dtype=rate.dtype, device=rate.device)
    require(
        value.dim() == 0 or value.shape in (rate.shape, rate.shape[:-1]),
        "minimum_rate",
        f"be one number or have the shape {tuple(rate.shape[:-1])} or {tuple(rate.shape)}",
        tuple(value.shape),
    )
    one_per_configuration = 0 < value.dim() < rate.dim()
    return value.unsqueeze(-1) if one_per_configuration else value
