r"""The Lagrangian of resilient power control and the gradients of paper A, Eq. 5 and 15 to 21.

All functions take one value per link in the last axis (leading axes are configurations) and
return the sum over links. Where the paper holds a variable fixed in an update, it is detached.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


def best_slack(mu: Tensor, alpha: float) -> Tensor:
    r"""Slack that maximises the Lagrangian, :math:`s = \mu / \alpha` (stationarity of Eq. 19)."""
    return mu / alpha


@dataclass(frozen=True)
class Variables:
    """Values of the primal and dual variables at one point, each ``[..., K]``.

    Attributes:
        expected_rate: Empirical ergodic rates of the power policy [bit/s/Hz] (Eq. 16).
        mu: Multipliers of the minimum-rate constraints.
        slack: Slacks s of the minimum-rate constraints [bit/s/Hz], or None where s is eliminated
            (`best_slack`).
        rate: Ergodic-rate variable r [bit/s/Hz], or None where it is eliminated
            (r = expected rate).
        lam: Multipliers of the rate constraints, or None where r is eliminated (lambda = 1 + mu).
    """

    expected_rate: Tensor
    mu: Tensor
    slack: Tensor | None = None
    rate: Tensor | None = None
    lam: Tensor | None = None

    @property
    def r(self) -> Tensor:
        """The ergodic-rate variable, eliminated or not."""
        return self.expected_rate if self.rate is None else self.rate

    @property
    def weights(self) -> Tensor:
        """The multipliers lambda: stationarity in r gives 1 + mu where r is eliminated."""
        return 1.0 + self.mu if self.lam is None else self.lam

    def s(self, alpha: float) -> Tensor:
        """The slacks, eliminated or not."""
        return best_slack(self.mu, alpha) if self.slack is None else self.slack

    def detach(self) -> "Variables":
        """The same values without their history."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{k: v.detach() for k, v in values.items() if v is not None})


def lagrangian(v: Variables, minimum_rate: Tensor, alpha: float) -> Tensor:
    r"""Empirical Lagrangian (Eq. 15; with r eliminated the lambda term vanishes).

    .. math:: L = 1^T r - \tfrac{\alpha}{2} \|s\|^2 - \lambda^T (r - \hat E f)
              - \mu^T (f_{\min} - s - r)
    """
    s = v.s(alpha)
    value = v.r - 0.5 * alpha * s.square() - v.mu * (minimum_rate - s - v.r)
    if v.rate is not None:
        value = value - v.weights * (v.rate - v.expected_rate)
    return value.sum(-1)


def indicators(v: Variables, minimum_rate: Tensor, alpha: float) -> dict[str, Tensor]:
    """How a run goes, per configuration: what training logs.

    Returns:
        ``num_links``, ``lagrangian`` per link, ``mean_rate`` and ``min_rate`` over links
        [bit/s/Hz], ``mean_slack`` [bit/s/Hz] and ``mean_mu``; of the shape ``[...]`` each,
        detached.
    """
    v = v.detach()
    value = lagrangian(v, minimum_rate, alpha)
    return {
        "num_links": torch.full_like(value, v.mu.shape[-1]),
        "lagrangian": value / v.mu.shape[-1],
        "mean_rate": v.expected_rate.mean(-1),
        "min_rate": v.expected_rate.amin(-1),
        "mean_slack": v.s(alpha).mean(-1),
        "mean_mu": v.mu.mean(-1),
    }


def power_objective(v: Variables) -> Tensor:
    r"""What the power network ascends: :math:`\lambda^T \hat E f` (Eq. 17)."""
    return (v.weights.detach() * v.expected_rate).sum(-1)


def rate_objective(v: Variables) -> Tensor:
    r"""What the ergodic-rate network ascends: :math:`r^T (1 + \mu - \lambda)` (Eq. 18)."""
    return (v.r * (1.0 + v.mu - v.weights).detach()).sum(-1)


def slack_objective(v: Variables, alpha: float, as_printed: bool = False) -> Tensor:
    r"""What the slack network ascends: :math:`\mu^T s - \tfrac{\alpha}{2} \|s\|^2` (Eq. 19).

    Eq. 19 as printed ascends :math:`1^T (\mu - \alpha s)`, which is the derivative of that
    objective and not the objective: it drives the slack to zero whatever the multiplier.
    """
    s = v.s(alpha)
    if as_printed:
        return (v.mu.detach() - alpha * s).sum(-1)
    return (v.mu.detach() * s - 0.5 * alpha * s.square()).sum(-1)


def lambda_objective(v: Variables) -> Tensor:
    r"""What the lambda network descends: :math:`-\lambda^T (r - \hat E f)` (Eq. 20)."""
    return -(v.weights * (v.r - v.expected_rate).detach()).sum(-1)


def mu_objective(v: Variables, minimum_rate: Tensor, alpha: float) -> Tensor:
    r"""What the mu network descends: :math:`-\mu^T (f_{\min} - s - r)` (Eq. 21).

    With s eliminated that is :math:`\|\mu\|^2 / (2 \alpha) - \mu^T (f_{\min} - r)`, of the same
    gradient at :math:`s = \mu / \alpha`.
    """
    if v.slack is None:
        gap = (minimum_rate - v.r).detach()
        return (0.5 * v.mu.square() / alpha - v.mu * gap).sum(-1)
    return -(v.mu * (minimum_rate - v.slack - v.r).detach()).sum(-1)


def descent_loss(
    v: Variables,
    minimum_rate: Tensor,
    alpha: float,
    reduction: str = "mean",
    slack_as_printed: bool = False,
) -> Tensor:
    """Loss whose gradient in each network's parameters is that network's update direction.

    Descending it ascends Eq. 17 to 19 in the primal networks and descends Eq. 20 and 21 in the
    dual ones: each variable stands attached in its own objective only.

    Args:
        v: The variables, ``[..., K]``.
        minimum_rate: f_min [bit/s/Hz], broadcast to ``[..., K]``.
        alpha: Weight of the slack's norm.
        reduction: ``mean`` over links, or the paper's ``sum``; one loss per configuration stays.
        slack_as_printed: Use Eq. 19 as printed.

    Raises:
        ValueError: If ``reduction`` is neither ``mean`` nor ``sum``.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"`reduction` must be 'mean' or 'sum', got {reduction!r}")
    loss = mu_objective(v, minimum_rate, alpha) - power_objective(v)
    if v.slack is not None:
        loss = loss - slack_objective(v, alpha, slack_as_printed)
    if v.rate is not None:
        loss = loss - rate_objective(v) + lambda_objective(v)
    return loss / v.mu.shape[-1] if reduction == "mean" else loss
