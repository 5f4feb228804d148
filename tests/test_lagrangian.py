import math
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from metagnn.lagrangian import (
    Variables,
    best_slack,
    descent_loss,
    indicators,
    lagrangian,
    lambda_objective,
    mu_objective,
    power_objective,
    rate_objective,
    slack_objective,
)

MINIMUM = torch.tensor(2.0, dtype=torch.float64)
ALPHA = 4.0
PRIMAL, DUAL = ("expected_rate", "slack", "rate"), ("mu", "lam")


def _five() -> Variables:
    """The point of the golden values, two links, every variable a leaf."""
    return Variables(
        expected_rate=_leaf(1.0, 2.5),
        slack=_leaf(0.5, 1.0),
        mu=_leaf(1.0, 2.0),
        rate=_leaf(2.0, 3.0),
        lam=_leaf(0.5, 4.0),
    )


def _three() -> Variables:
    return replace(_five(), rate=None, lam=None)


def _leaf(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def _gradients(value: Tensor, v: Variables) -> dict[str, list[float]]:
    """Gradients of ``value`` in every variable, zeros where there is none."""
    leaves = {f.name: getattr(v, f.name) for f in fields(v) if getattr(v, f.name) is not None}
    slopes = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    return {
        name: [0.0, 0.0] if slope is None else slope.tolist()
        for name, slope in zip(leaves, slopes, strict=True)
    }


def test_lagrangian_of_five_variables_by_hand() -> None:
    # 5 - 2 (0.25 + 1) - (0.5 * 1 + 4 * 0.5) - (1 * (2 - 0.5 - 2) + 2 * (2 - 1 - 3))
    assert lagrangian(_five(), MINIMUM, ALPHA).item() == 5.0 - 2.5 - 2.5 + 4.5


def test_lagrangian_of_three_variables_by_hand() -> None:
    # 3.5 - 2 (0.25 + 1) - (1 * (2 - 0.5 - 1) + 2 * (2 - 1 - 2.5))
    assert lagrangian(_three(), MINIMUM, ALPHA).item() == 3.5 - 2.5 + 2.5


def test_eliminating_the_rate_is_the_five_form_at_its_stationary_point() -> None:
    three = _three()
    five = replace(three, rate=three.expected_rate, lam=1.0 + three.mu)
    assert torch.equal(lagrangian(three, MINIMUM, ALPHA), lagrangian(five, MINIMUM, ALPHA))
    assert torch.equal(power_objective(three), power_objective(five))
    # stationary in r: nothing moves the rate, and nothing moves lambda
    zero = [0.0, 0.0]
    assert _gradients(rate_objective(replace(five, rate=_leaf(1.0, 2.5))), five)["rate"] == zero
    apart = replace(five, rate=_leaf(1.0, 2.5), lam=_leaf(2.0, 3.0))
    assert _gradients(rate_objective(apart), apart)["rate"] == zero
    assert _gradients(lambda_objective(apart), apart)["lam"] == zero


@pytest.mark.parametrize(
    ("objective", "value", "name", "slope"),
    [
        (power_objective, 0.5 * 1.0 + 4.0 * 2.5, "expected_rate", [0.5, 4.0]),
        (rate_objective, 2.0 * 1.5 + 3.0 * -1.0, "rate", [1.5, -1.0]),
        (lambda v: slack_objective(v, ALPHA), 2.5 - 2.5, "slack", [-1.0, -2.0]),
        (lambda v: slack_objective(v, ALPHA, True), -1.0 - 2.0, "slack", [-4.0, -4.0]),
        (lambda_objective, -0.5 * 1.0 - 4.0 * 0.5, "lam", [-1.0, -0.5]),
        (lambda v: mu_objective(v, MINIMUM, ALPHA), 1.0 * 0.5 + 2.0 * 2.0, "mu", [0.5, 2.0]),
    ],
)
def test_each_objective_moves_its_own_variable_only(
    objective: Callable[[Variables], Tensor], value: float, name: str, slope: list[float]
) -> None:
    v = _five()
    assert objective(v).item() == value
    slopes = _gradients(objective(v), v)
    assert slopes.pop(name) == slope
    assert set(map(tuple, slopes.values())) == {(0.0, 0.0)}


def test_objectives_of_the_eliminated_form() -> None:
    v = _three()
    assert _gradients(power_objective(v), v) == {
        "expected_rate": [2.0, 3.0],  # 1 + mu
        "slack": [0.0, 0.0],
        "mu": [0.0, 0.0],
    }
    # f_min - s - E f = 0.5 and -1.5
    assert _gradients(mu_objective(v, MINIMUM, ALPHA), v)["mu"] == [-0.5, 1.5]


@pytest.mark.parametrize("make", [_three, _five])
def test_descent_loss_has_the_lagrangians_own_gradient(make: Callable[[], Variables]) -> None:
    """Primal up, dual down: the detaches change no gradient, they only choose its sign."""
    v = make()
    wanted = _gradients(lagrangian(v, MINIMUM, ALPHA), v)
    found = _gradients(descent_loss(v, MINIMUM, ALPHA, "sum"), v)
    assert set(found) == {f.name for f in fields(v) if getattr(v, f.name) is not None}
    for name, slope in found.items():
        sign = -1.0 if name in PRIMAL else 1.0
        assert slope == [sign * x for x in wanted[name]], name
        assert slope != [0.0, 0.0]


def test_one_step_raises_the_lagrangian_in_the_primal_and_lowers_it_in_the_dual_variables() -> None:
    v = _five()
    slopes = _gradients(descent_loss(v, MINIMUM, ALPHA), v)
    before = lagrangian(v, MINIMUM, ALPHA).item()
    for name in (*PRIMAL, *DUAL):
        moved = getattr(v, name) - 1e-3 * torch.tensor(slopes[name], dtype=torch.float64)
        after = lagrangian(replace(v, **{name: moved}), MINIMUM, ALPHA).item()
        assert after > before if name in PRIMAL else after < before, name


def test_multipliers_rise_where_their_constraint_is_violated() -> None:
    v = replace(_five(), rate=_leaf(0.5, 3.0), expected_rate=_leaf(1.0, 2.0))
    slopes = _gradients(descent_loss(v, MINIMUM, ALPHA), v)
    # Link 0: 2 - 0.5 - 0.5 > 0 violates the minimum rate; link 1 has 2 - 1 - 3 < 0 to spare.
    assert slopes["mu"][0] < 0.0 < slopes["mu"][1]
    # Link 0 claims less than it gets (0.5 <= 1); link 1 claims more (3 > 2).
    assert slopes["lam"][1] < 0.0 < slopes["lam"][0]


def test_the_best_slack_is_where_the_slack_objective_stands_still() -> None:
    v = _three()
    slack = best_slack(v.mu, ALPHA).requires_grad_()
    (slope,) = torch.autograd.grad(slack_objective(replace(v, slack=slack), ALPHA), slack)
    assert slope.tolist() == [0.0, 0.0]


def test_without_a_slack_mu_descends_the_lagrangian_at_its_best_slack() -> None:
    v = replace(_three(), slack=None)
    held = replace(_three(), slack=best_slack(v.mu, ALPHA).detach())
    found = _gradients(mu_objective(v, MINIMUM, ALPHA), v)
    assert found["mu"] == pytest.approx(
        torch.autograd.grad(mu_objective(held, MINIMUM, ALPHA), held.mu)[0].tolist()
    )
    assert found["mu"] == pytest.approx(_gradients(lagrangian(v, MINIMUM, ALPHA), v)["mu"])
    assert found["expected_rate"] == [0.0, 0.0]
    # The best slack is the best: a plain search over slacks finds no larger Lagrangian.
    at_best = lagrangian(v, MINIMUM, ALPHA).item()
    for slack in torch.cartesian_prod(*[torch.linspace(0.0, 2.0, 41)] * 2).double():
        assert lagrangian(replace(v, slack=slack), MINIMUM, ALPHA).item() <= at_best + 1e-12


def test_without_a_slack_mu_rests_at_alpha_times_the_missing_rate() -> None:
    v = _three()
    mu = (ALPHA * (MINIMUM - v.r.detach())).requires_grad_()
    (slope,) = torch.autograd.grad(mu_objective(Variables(v.r, mu), MINIMUM, ALPHA), mu)
    assert slope.tolist() == pytest.approx([0.0, 0.0])


def test_without_a_slack_each_variable_moves_along_its_own_objective() -> None:
    v = replace(_three(), slack=None)
    found = _gradients(descent_loss(v, MINIMUM, ALPHA, "sum"), v)
    assert found["expected_rate"] == [-(1.0 + mu) for mu in v.mu.tolist()]
    assert found["mu"] == _gradients(mu_objective(v, MINIMUM, ALPHA), v)["mu"]


def test_indicators_by_hand() -> None:
    found = indicators(_three(), MINIMUM, ALPHA)
    wanted = {
        "num_links": 2.0,
        "lagrangian": lagrangian(_three(), MINIMUM, ALPHA).item() / 2,
        "mean_rate": 1.75,
        "min_rate": 1.0,
        "mean_slack": 0.75,
        "mean_mu": 1.5,
    }
    assert {name: value.item() for name, value in found.items()} == wanted
    assert not any(value.requires_grad for value in found.values())


def test_slack_as_printed_has_another_gradient() -> None:
    v = _three()
    printed = _gradients(descent_loss(v, MINIMUM, ALPHA, "sum", slack_as_printed=True), v)
    derived = _gradients(descent_loss(v, MINIMUM, ALPHA, "sum"), v)
    assert printed["slack"] == [4.0, 4.0]  # down, whatever mu is
    assert derived["slack"] == [1.0, 2.0]
    assert printed["mu"] == derived["mu"]


@pytest.mark.parametrize("make", [_three, _five])
def test_mean_is_sum_over_the_number_of_links(make: Callable[[], Variables]) -> None:
    v = make()
    total = descent_loss(v, MINIMUM, ALPHA, "sum")
    torch.testing.assert_close(descent_loss(v, MINIMUM, ALPHA, "mean"), total / 2)


def test_leading_axes_are_configurations() -> None:
    first = _five()
    second = replace(first, expected_rate=_leaf(7.0, 0.5), mu=_leaf(0.0, 3.0))
    stacked = Variables(
        *(torch.stack([getattr(first, f.name), getattr(second, f.name)]) for f in fields(first))
    )
    minimum = torch.tensor([[2.0], [3.0]], dtype=torch.float64)
    each = [(first, minimum[0]), (second, minimum[1])]
    value = lagrangian(stacked, minimum, ALPHA)
    torch.testing.assert_close(value, torch.stack([lagrangian(v, m, ALPHA) for v, m in each]))
    for reduction in ("sum", "mean"):
        wanted = torch.stack([descent_loss(v, m, ALPHA, reduction) for v, m in each])
        torch.testing.assert_close(descent_loss(stacked, minimum, ALPHA, reduction), wanted)


def test_reduction_is_checked() -> None:
    with pytest.raises(ValueError, match="`reduction` must be 'mean' or 'sum', got 'max'"):
        descent_loss(_five(), MINIMUM, ALPHA, "max")


@pytest.mark.parametrize("num_variables", [2, 3, 5])
def test_updates_converge_to_the_exact_solution(num_variables: int) -> None:
    r"""Two links share a resource, r = (2 ln(1 + p), ln(2 - p)); f_min = ln 1.5 + 1/4, alpha = 4.

    Stationarity in p: 2 (1 + mu_0) / (1 + p) = (1 + mu_1) / (2 - p). With link 0 content mu_0 = 0,
    and p = 1/2 gives mu_1 = 1, s_1 = mu_1 / alpha = 1/4, r_1 = ln 1.5 = f_min - s_1; link 0 has
    r_0 = 2 ln 1.5 > f_min.
    """
    minimum = torch.tensor(math.log(1.5) + 0.25, dtype=torch.float64)
    p = _leaf(0.9)
    mu = _leaf(0.5, 0.5)
    others = {"slack": _leaf(0.1, 0.1), "rate": _leaf(0.3, 0.3), "lam": _leaf(1.0, 1.0)}
    others = {name: others[name] for name in list(others)[: num_variables - 2]}
    moving = [p, mu, *others.values()]
    optimizer = torch.optim.SGD(moving, lr=0.05)
    for _ in range(2500):
        expected = torch.cat([2.0 * torch.log(1.0 + p), torch.log(2.0 - p)])
        v = Variables(expected, mu, **others)
        optimizer.zero_grad()
        descent_loss(v, minimum, ALPHA, "sum").backward()
        optimizer.step()
        with torch.no_grad():
            p.clamp_(0.0, 1.0)
            for variable in moving[1:]:
                variable.clamp_(min=0.0)
    assert p.item() == pytest.approx(0.5, abs=1e-3)
    assert mu.tolist() == pytest.approx([0.0, 1.0], abs=1e-3)
    assert v.s(ALPHA).tolist() == pytest.approx([0.0, 0.25], abs=1e-3)
    rates = [2.0 * math.log(1.5), math.log(1.5)]
    assert v.r.tolist() == pytest.approx(rates, abs=1e-3)
    assert v.weights.tolist() == pytest.approx([1.0, 2.0], abs=1e-3)
    # strong duality: the Lagrangian is the optimum of the problem
    value = lagrangian(v, minimum, ALPHA).item()
    assert value == pytest.approx(sum(rates) - 2.0 * 0.25**2, abs=1e-3)
