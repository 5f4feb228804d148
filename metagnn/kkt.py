"""Where a duality gap comes from: KKT residuals, and what can be measured of Theorem 1's bound."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.adaptation_task import Problem
from metagnn.duality_checks import check_multipliers
from metagnn.graphs.checks import check_non_negative, check_positive, require


@dataclass(frozen=True)
class KktResiduals:
    r"""How far rates, slacks and multipliers are from satisfying the conditions of Eq. 4's optimum.

    At an optimum without duality gap all are 0. The last three parts are never negative where the
    point is feasible, and add up to the gap: :math:`D(\mu) - P(r, s)` = ``inner_gap`` +
    ``complementary_part`` + ``slack_part``.

    Attributes:
        slack_stationarity: :math:`\max_k |s_k - \mu_k / \alpha|` [bit/s/Hz].
        primal_infeasibility: :math:`\max_k \max(f_{\min,k} - s_k - r_k, -s_k, 0)` [bit/s/Hz].
        complementary_slackness: :math:`\max_k |\mu_k (r_k - f_{\min,k} + s_k)|` [bit/s/Hz].
        inner_gap: Suboptimality of the powers at these multipliers, bounded from above:
            :math:`\max_p E[\sum_k (1 + \mu_k) R_k] - \sum_k (1 + \mu_k) r_k` [bit/s/Hz].
        complementary_part: :math:`\sum_k \mu_k (r_k - f_{\min,k} + s_k)` [bit/s/Hz].
        slack_part: :math:`\|\mu - \alpha s\|^2 / 2 \alpha` [bit/s/Hz].
    """

    slack_stationarity: float
    primal_infeasibility: float
    complementary_slackness: float
    inner_gap: float
    complementary_part: float
    slack_part: float

    @property
    def gap(self) -> float:
        """The sum of the three parts [bit/s/Hz]."""
        return self.inner_gap + self.complementary_part + self.slack_part


def kkt_residuals(
    rate: Tensor,
    slack: Tensor,
    mu: Tensor,
    minimum_rate: Tensor | float,
    alpha: float,
    weighted_upper: float,
) -> KktResiduals:
    """KKT residuals of a point of the resilient problem.

    Args:
        rate: Ergodic rates r of the powers [bit/s/Hz].
        slack: Slacks s, the smallest or those of a slack network [bit/s/Hz].
        mu: Multipliers of the minimum-rate constraints.
        minimum_rate: Minimum rates [bit/s/Hz].
        alpha: Weight of the slack's norm.
        weighted_upper: Upper bound of the largest expected weighted sum rate with weights
            ``1 + mu``, such as ``DualFunction.bound.upper.mean()`` [bit/s/Hz].

    Shapes:
        rate, slack and mu ``[K]``, minimum_rate one number or ``[K]``.

    Raises:
        ValueError: If ``alpha`` is not positive, shapes do not fit, or a multiplier is negative.
    """
    check_positive("alpha", alpha)
    rate, slack = rate.detach().double(), slack.detach().double()
    mu = check_multipliers(mu, len(rate))
    rule = f"have the shape {tuple(rate.shape)}"
    require(slack.shape == rate.shape, "slack", rule, tuple(slack.shape))
    room = rate - minimum_rate + slack
    weighted = float(((1.0 + mu) * rate).sum())
    return KktResiduals(
        slack_stationarity=float((slack - mu / alpha).abs().max()),
        primal_infeasibility=float(torch.maximum(-room, -slack).clamp(min=0.0).max()),
        complementary_slackness=float((mu * room).abs().max()),
        inner_gap=weighted_upper - weighted,
        complementary_part=float((mu * room).sum()),
        slack_part=float((mu - alpha * slack).square().sum() / (2.0 * alpha)),
    )


@dataclass(frozen=True)
class Theorem1:
    r"""Measurable terms of paper A's Theorem 1 on the samples of one configuration.

    .. math:: 0 \le P^* - D^*_\theta \le \epsilon_p L_f \|\gamma^*\|_1
              + (K + \|\gamma^*\|_1) \epsilon_r + (\alpha K f_{\min} + \|\gamma^*\|_1) \epsilon_s

    Measured are K, alpha, f_min, the norm at the multipliers given (optimal only as far as these
    are), and a Lipschitz constant on the samples given. Not measurable are the epsilons: they are
    distances of the *best* parameters to *any* function, over all parameters, where only one
    policy is at hand. Where r and s are eliminated, as in the shipped networks, the terms of
    :math:`\epsilon_r` and :math:`\epsilon_s` vanish. Nor has :math:`L_f` a finite value over
    Rayleigh fading, whose gains are unbounded: the constant grows with the samples.

    Attributes:
        multiplier_norm: :math:`\|\gamma\|_1 = \sum_k (\lambda_k + \mu_k)`, lambda = 1 + mu.
        lipschitz: An :math:`L_f` of Assumption 3 on these samples [bit/s/Hz/W].
        rate_factor: :math:`K + \|\gamma\|_1`.
        slack_factor: :math:`\alpha K f_{\min} + \|\gamma\|_1`, with the largest minimum rate.
    """

    multiplier_norm: float
    lipschitz: float
    rate_factor: float
    slack_factor: float

    def bound(
        self, power_error_w: float, rate_error: float = 0.0, slack_error: float = 0.0
    ) -> float:
        """The theorem's bound for given epsilons ([W], twice [bit/s/Hz]).

        Raises:
            ValueError: If an epsilon is negative or not finite.
        """
        for name in ("power_error_w", "rate_error", "slack_error"):
            check_non_negative(name, locals()[name])
        return (
            power_error_w * self.lipschitz * self.multiplier_norm
            + self.rate_factor * rate_error
            + self.slack_factor * slack_error
        )

    def power_error_w(self, gap: float) -> float:
        r"""The :math:`\epsilon_p` [W] at which the theorem's bound is as large as a certified gap.

        The two are of different gaps, of the dual problem's (:math:`P^* - D_\theta^*`) and of a
        policy's (:math:`D - P_\theta`): this is a scale, of how close a parameterisation has to
        come to every power function (where r and s are eliminated) for the theorem to matter.
        """
        check_non_negative("gap", gap)
        return gap / (self.lipschitz * self.multiplier_norm)


@torch.no_grad()
def theorem_1(gain: Tensor, problem: Problem, minimum_rate: Tensor | float, mu: Tensor) -> Theorem1:
    r"""Measurable terms of Theorem 1.

    The Lipschitz constant comes from :math:`\partial R_k / \partial p_k \le g_{kk} / (\sigma^2 \ln
    2)` and :math:`-\partial R_k / \partial p_i \le g_{ik} S / ((\sigma^2 + g_{ik} p_i)
    (\sigma^2 + S) \ln 2) \le g_{ik} / (\sigma^2 \ln 2)`, so that in the maximum norm
    :math:`L_f = \max_{s,k} \sum_i g_{ik} / (\sigma^2 \ln 2)` serves for all powers.

    Shapes:
        gain ``[S, K, K]``, mu ``[K]``, minimum_rate one number or ``[K]``.

    Raises:
        ValueError: If multipliers are invalid as in `duality_interval`.
    """
    num_links = gain.shape[-1]
    mu = check_multipliers(mu, num_links)
    norm = float((1.0 + 2.0 * mu).sum())
    steepest = float(gain.double().sum(-2).max()) / (problem.noise_w * math.log(2.0))
    largest = float(torch.as_tensor(minimum_rate).max())
    return Theorem1(norm, steepest, num_links + norm, problem.alpha * num_links * largest + norm)
