import pytest
import torch

from metagnn.adaptation_task import Problem
from metagnn.duality import dual_value, primal_value
from metagnn.graphs.rates import rate
from metagnn.kkt import kkt_residuals, theorem_1

ALPHA = 0.7


def test_the_three_parts_add_up_to_the_gap_for_any_feasible_point() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        rates, mu, extra = 5 * torch.rand(3, 4, generator=generator, dtype=torch.float64)
        slack = (3.0 - rates).clamp(min=0.0)
        upper = float(((1 + mu) * rates).sum()) + float(extra[0])
        found = kkt_residuals(rates, slack, mu, 3.0, ALPHA, upper)
        dual = dual_value(torch.tensor(upper), mu, 3.0, ALPHA)
        gap = float(dual - primal_value(rates, 3.0, ALPHA))
        assert found.gap == pytest.approx(gap)
        assert found.inner_gap == pytest.approx(float(extra[0]))
        assert min(found.complementary_part, found.slack_part) >= 0
        assert found.primal_infeasibility == 0


def test_all_residuals_vanish_at_an_optimum() -> None:
    rates = torch.tensor([2.0, 5.0])  # no interference: the only efficient rates
    slack = torch.tensor([1.5, 0.0])
    mu = ALPHA * slack
    found = kkt_residuals(rates, slack, mu, 3.5, ALPHA, float(((1 + mu) * rates).sum()))
    for value in vars(found).values():
        assert value == pytest.approx(0.0, abs=1e-6)


def test_each_violation_shows_in_its_own_residual() -> None:
    rates, zero = torch.tensor([2.0, 5.0]), torch.zeros(2)
    # f_min = 3: the first link lacks 1; mu = (0, 0.7) stands where there is room of 2.
    mu = torch.tensor([0.0, 0.7])
    found = kkt_residuals(rates, zero, mu, 3.0, ALPHA, 20.0)
    assert found.primal_infeasibility == pytest.approx(1.0)
    assert found.complementary_slackness == pytest.approx(1.4)
    assert found.slack_stationarity == pytest.approx(1.0)
    assert found.inner_gap == pytest.approx(20.0 - 2.0 - 1.7 * 5.0)
    negative = kkt_residuals(rates, torch.tensor([1.0, -0.25]), mu, 3.0, ALPHA, 20.0)
    assert negative.primal_infeasibility == pytest.approx(0.25)


def test_terms_of_theorem_1_by_hand_and_the_lipschitz_constant_by_trial() -> None:
    generator = torch.Generator().manual_seed(1)
    problem = Problem(power_max_w=1.0, noise_w=0.5, alpha=ALPHA)
    gain = 10 ** (2 * torch.rand(50, 3, 3, generator=generator, dtype=torch.float64) - 1)
    mu = torch.tensor([0.0, 1.0, 2.5])
    found = theorem_1(gain, problem, 2.0, mu)
    assert found.multiplier_norm == pytest.approx(3 + 2 * 3.5)
    assert found.rate_factor == pytest.approx(13.0)
    assert found.slack_factor == pytest.approx(0.7 * 3 * 2 + 10)
    expected = 1e-3 * found.lipschitz * 10.0 + 0.1 * 13.0 + 0.2 * 14.2
    assert found.bound(1e-3, 0.1, 0.2) == pytest.approx(expected)
    assert found.bound(found.power_error_w(0.5)) == pytest.approx(0.5)
    for scale in (1.0, 1e-3):
        first = torch.rand(50, 3, generator=generator, dtype=torch.float64) ** 4
        step = scale * (torch.rand(50, 3, generator=generator, dtype=torch.float64) - 0.5)
        second = (first + step).clamp(0.0, 1.0)
        change = (rate(gain, first, 0.5) - rate(gain, second, 0.5)).abs().amax(-1).mean()
        assert change <= found.lipschitz * (first - second).abs().amax(-1).mean()


def test_errors() -> None:
    two = torch.ones(2)
    with pytest.raises(ValueError, match=r"`alpha` must be finite and > 0, got 0.0"):
        kkt_residuals(two, two, two, 1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"`slack` must have the shape \(2,\), got \(3,\)"):
        kkt_residuals(two, torch.ones(3), two, 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"`mu` must be finite and >= 0 everywhere"):
        kkt_residuals(two, two, -two, 1.0, 1.0, 1.0)
    found = theorem_1(torch.ones(1, 2, 2), Problem(), 1.0, two)
    with pytest.raises(ValueError, match=r"`rate_error` must be finite and >= 0, got -1.0"):
        found.bound(0.0, -1.0)
    with pytest.raises(ValueError, match=r"`gap` must be finite and >= 0, got -1.0"):
        found.power_error_w(-1.0)
