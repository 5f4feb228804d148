import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from metagnn import duality
from metagnn.adaptation_task import Problem
from metagnn.duality import (
    Interval,
    adapted_interval,
    dual_function,
    dual_value,
    duality_interval,
    primal_value,
)
from metagnn.graphs.rates import rate
from metagnn.tasks.power_control.itlinq import itlinq
from metagnn.tasks.power_control.wmmse import wmmse

PROBLEM = Problem(power_max_w=1.0, noise_w=1.0, alpha=0.7)


def _gain(num_samples: int, num_links: int, seed: int) -> Tensor:
    """Strong direct links, interference of about the same strength down to none."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_samples, num_links, num_links)
    gain = 10 ** (4 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)
    return gain + torch.diag_embed(torch.full(shape[:-1], 30.0).double())


def _value(gain: Tensor, power_w: Tensor, minimum_rate: float) -> float:
    rates = rate(gain, power_w, 1.0).mean(0)
    return float(primal_value(rates, minimum_rate, PROBLEM.alpha))


def test_primal_value_by_hand() -> None:
    # 2 + 5 - 0.35 * 1 ** 2
    value = primal_value(torch.tensor([2.0, 5.0]), torch.tensor([3.0, 3.0]), 0.7)
    assert float(value) == pytest.approx(6.65)


def test_without_interference_the_interval_is_a_point_known_in_closed_form() -> None:
    direct = torch.tensor([[3.0, 15.0, 0.5], [7.0, 255.0, 0.1]]).double()
    gain, full = torch.diag_embed(direct), torch.ones(2, 3).double()
    rates = torch.log2(1 + direct).mean(0)
    slack = (4.0 - rates).clamp(min=0.0)
    optimum = float(rates.sum() - 0.35 * slack.square().sum())
    # The dual optimum by one-dimensional searches: D is a sum over links here.
    grid = torch.linspace(0, 4, 40001).double().unsqueeze(-1)
    parts = (1 + grid) * rates - 4.0 * grid + grid.square() / 1.4
    assert float(parts.amin(0).sum()) == pytest.approx(optimum, abs=1e-6)
    found = duality_interval(full, gain, PROBLEM, 4.0, tolerance=1e-6)
    assert found.primal == pytest.approx(optimum, abs=1e-9)
    assert found.best_known == pytest.approx(found.primal)
    assert found.primal <= found.dual <= optimum + 1e-4
    assert found.name == "exact"
    torch.testing.assert_close(found.slack, slack)
    torch.testing.assert_close(found.mu, 0.7 * slack, atol=1e-3, rtol=0.0)


def test_convex_toy_of_two_links_that_must_take_turns() -> None:
    # Interference is so strong that one link at a time is best; by symmetry each has half of the
    # samples, r = c / 2, and with s = f - r, mu = alpha s: D = c - alpha s^2 = P*, without a gap.
    gain = torch.tensor([[63.0, 1e6], [1e6, 63.0]]).double().expand(8, 2, 2)
    turns = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double().repeat(4, 1)
    optimum = 6.0 - 0.7 * (4.5 - 3.0) ** 2
    found = duality_interval(turns, gain, PROBLEM, 4.5)
    assert found.primal == pytest.approx(optimum)
    assert found.primal <= found.dual <= optimum + 2e-3 * 6.0 * (1 + 0.7 * 1.5)
    torch.testing.assert_close(found.mu, torch.full((2,), 0.7 * 1.5).double(), atol=2e-2, rtol=0.0)
    # The first link always: r = (6, 0), whose slack costs more.
    first = torch.tensor([1.0, 0.0]).double().expand(8, 2)
    poor = duality_interval(first, gain, PROBLEM, 4.5)
    assert poor.primal == pytest.approx(6.0 - 0.35 * 4.5**2)
    assert poor.primal < poor.best_known <= poor.dual
    assert poor.dual == pytest.approx(found.dual, abs=0.05)


def test_two_links_by_grid() -> None:
    gain = _gain(20, 2, seed=1)
    levels = torch.cat([torch.zeros(1), torch.logspace(-4, 0, 40)]).double()
    grid = torch.cartesian_prod(levels, levels)
    rates = rate(gain.unsqueeze(1), grid, 1.0)  # [S, G, 2]
    mus = torch.cartesian_prod(*[torch.linspace(0, 4, 41).double()] * 2)
    inner = torch.stack([(rates @ (1 + mu)).amax(-1).mean() for mu in mus])
    by_grid = dual_value(inner, mus, 6.0, PROBLEM.alpha)
    found = duality_interval(torch.ones(20, 2).double(), gain, PROBLEM, 6.0)
    # Grids of powers bound the dual function from below, grids of multipliers from above.
    assert float(by_grid.min()) - 0.05 <= found.dual <= float(by_grid.min()) * 1.01
    for mu in (mus[7], mus[100], mus[1000]):
        here = dual_function(gain, PROBLEM, 6.0, mu)
        at = float(dual_value((rates @ (1 + mu)).amax(-1).mean(), mu, 6.0, PROBLEM.alpha))
        assert at <= here.upper <= at + 0.02 * float((1 + mu).sum())
        assert here.lower <= here.upper


def test_no_policy_exceeds_the_bound_at_any_multipliers() -> None:
    gain = _gain(8, 3, seed=2)
    generator = torch.Generator().manual_seed(3)
    policies = [
        torch.ones(8, 3).double(),
        wmmse(gain, 1.0, 1.0),
        itlinq(gain, 1.0, 1.0),
        *(torch.rand(8, 3, generator=generator, dtype=torch.float64) for _ in range(20)),
        *(
            (torch.rand(8, 3, generator=generator) < 0.5).double()  # schedules
            for _ in range(20)
        ),
    ]
    values = [_value(gain, power_w, 5.0) for power_w in policies]
    for _ in range(6):
        mu = 5 * torch.rand(3, generator=generator, dtype=torch.float64) ** 2
        assert dual_function(gain, PROBLEM, 5.0, mu).upper >= max(values)
    found = [duality_interval(policy, gain, PROBLEM, 5.0) for policy in policies[:2]]
    for interval, value in zip(found, values, strict=False):
        assert interval.primal == pytest.approx(value)
        assert max(values) <= interval.dual
        assert interval.best_known <= interval.dual


def test_refinement_tightens_and_never_crosses() -> None:
    gain, full = _gain(16, 3, seed=4), torch.ones(16, 3).double()
    start = torch.tensor([4.0, 0.0, 2.0]).double()
    duals, knowns = [], []
    for number in (0, 1, 5):
        found = duality_interval(full, gain, PROBLEM, 6.0, start, num_refinements=number)
        duals.append(found.dual)
        knowns.append(found.best_known)
    assert duals[0] > duals[1] > duals[2] >= max(knowns)
    assert (duals[2] - knowns[2]) < 0.05 * knowns[2]
    assert dual_function(gain, PROBLEM, 6.0, start).upper == pytest.approx(duals[0])


@pytest.mark.parametrize("noise_w", [1e-35, 1e-200, 1e12, 1e17, 1e200])
def test_the_bound_holds_at_any_level_of_noise(noise_w: float) -> None:
    gain = torch.tensor([[1.0, 1e-3], [1e-5, 0.1]]).double().expand(3, 2, 2)
    problem = Problem(power_max_w=1.0, noise_w=noise_w, alpha=0.7)
    alone = torch.tensor([1.0, 0.0]).double().expand(3, 2)
    found = duality_interval(alone, gain, problem, 1.0)
    optimum = math.log1p(1.0 / noise_w) / math.log(2.0)  # of the first link, without interference
    assert found.primal == pytest.approx(optimum - 0.35 * (1.0 if noise_w < 1.0 else 2.0))
    assert found.primal <= found.best_known <= found.dual
    # Where slacks cost more than rates are worth, nothing of these is left.
    free = duality_interval(alone, gain, problem, 0.0)
    assert free.primal == pytest.approx(optimum, rel=1e-6)
    assert free.primal <= free.best_known <= free.dual <= 1.2 * free.primal


def test_noise_that_no_number_holds_is_refused() -> None:
    gain, full = torch.ones(3, 2, 2).double(), torch.ones(3, 2).double()
    rule = "`gain` must sum up to less than 1e300 times the noise over"
    for noise_w in (1.9e-300, 1e-308):  # a sum, and what none holds
        with pytest.raises(ValueError, match=rule):
            duality_interval(full, gain, replace(PROBLEM, noise_w=noise_w), 1.0)
    found = duality_interval(full, gain, replace(PROBLEM, noise_w=2.1e-300), 1.0)
    assert found.primal <= found.dual < math.inf


def test_multipliers_and_minimum_rates_go_where_the_gains_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def bound(gain: Tensor, *_: object) -> Any:
        return SimpleNamespace(upper=gain.sum((-2, -1)), value=gain.sum((-2, -1)))

    def value(*tensors: Any) -> float:
        seen.extend(each.device.type for each in tensors[:3])
        return 0.0

    monkeypatch.setattr(duality, "tightest_bound", bound)
    monkeypatch.setattr(duality, "dual_value", value)
    dual_function(torch.ones(3, 2, 2, device="meta"), PROBLEM, 1.0, torch.ones(2))
    assert seen == 6 * ["meta"]


def test_exact_means_the_tolerance_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    gain, full = _gain(8, 3, seed=2), torch.ones(8, 3).double()
    # Up to four links the search goes on where boxes are too few.
    few = duality_interval(full, gain, PROBLEM, 5.0, max_boxes=3)
    many = duality_interval(full, gain, PROBLEM, 5.0)
    assert few.name == many.name == "exact"
    for found in (few, many):
        # A tolerance of weighted rates.
        assert 0.0 <= found.undecided <= 1e-3 * found.weighted_upper
        assert found.lower <= found.dual
        upper = dual_function(gain, PROBLEM, 5.0, found.mu)
        assert upper.lower - 1e-9 <= found.dual
        assert found.lower <= upper.upper + 1e-9
    one = torch.full((4, 1, 1), 1023.0).double()
    point = duality_interval(torch.ones(4, 1), one, PROBLEM, 1.0)
    assert (point.name, point.primal) == ("exact", pytest.approx(10.0))
    assert point.undecided <= 1e-7
    loose = _gain(4, 6, seed=5)
    rough = duality_interval(wmmse(loose, 1.0, 1.0), loose, PROBLEM, 3.0, max_boxes=400)
    assert rough.undecided > 1e-3 * rough.weighted_upper
    assert rough.name != "exact"
    # Where multipliers only become worse the first bound is the smallest, of a search to 1 %.
    monkeypatch.setattr(duality, "refined_multipliers", lambda *arguments: arguments[-1] + 2.0)
    first = duality_interval(full, gain, PROBLEM, 5.0, many.mu, tolerance=1e-5)
    assert torch.equal(first.mu, many.mu)
    assert 1e-5 * first.weighted_upper < first.undecided <= 1e-2 * first.weighted_upper
    assert first.name == "branch_and_bound"


def test_many_links_have_an_interval_too() -> None:
    gain = _gain(4, 9, seed=5)
    power_w = wmmse(gain, 1.0, 1.0)
    found = duality_interval(power_w, gain, PROBLEM, 1.0, max_boxes=101, num_refinements=2)
    assert found.name != "exact"
    assert found.primal <= found.best_known <= found.dual
    assert found.relative_gap == pytest.approx(found.dual / found.primal - 1)
    assert found.relative_to_rate == pytest.approx(found.width / float(found.rate.sum()))


def test_loose_bounds_are_smallest_at_smaller_multipliers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gain = _gain(4, 9, seed=5)
    arguments = (wmmse(gain, 1.0, 1.0), gain, PROBLEM, 3.0)
    found = duality_interval(*arguments, max_boxes=200, num_refinements=2)
    monkeypatch.setattr(duality, "_SHARES", ())
    without = duality_interval(*arguments, max_boxes=200, num_refinements=2)
    assert found.primal == without.primal
    assert found.best_known <= found.dual < without.dual
    assert float(found.mu.sum()) < float(without.mu.sum())


def test_relative_gap_has_no_meaning_for_values_that_are_not_positive() -> None:
    nothing = torch.zeros(2).double()
    found = Interval(-1.0, 0.5, 2.0, "exact", nothing + 1, nothing, nothing, 2.0, 1.5)
    assert (found.width, found.undecided) == (3.0, 0.5)
    assert math.isinf(found.relative_gap)
    assert math.isinf(found.relative_to_rate)


def test_single_precision_powers_may_round_above_the_largest() -> None:
    problem = Problem(power_max_w=0.01, noise_w=1e-13)
    gain = torch.diag_embed(torch.full((2, 2), 1e-9))
    found = duality_interval(torch.full((2, 2), 0.01), gain, problem, 1.0, num_refinements=0)
    assert found.primal == pytest.approx(2 * math.log2(101.0), rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"power_w": torch.full((3, 2), 1.1)}, r"`power_w` must lie in \[0, 1.0\], got 1.1"),
        ({"power_w": torch.full((3, 2), math.nan)}, "`power_w` must lie in"),
        ({"power_w": torch.ones(3, 1)}, r"`power_w` must have the shape \(3, 2\), got \(3, 1\)"),
        ({"gain": torch.ones(2, 2)}, r"`gain` must have the shape \[S, K, K\] with S >= 1"),
        ({"gain": [1.0]}, "`gain` must be dense"),
        ({"mu": torch.tensor([1.0, -1.0])}, "`mu` must be finite and >= 0 everywhere"),
        ({"mu": torch.ones(3)}, r"`mu` must have the shape \(2,\), got \(3,\)"),
        ({"minimum_rate": torch.ones(3)}, "`minimum_rate` must be one number or have the shape"),
        ({"minimum_rate": -1.0}, "`minimum_rate` must be finite and >= 0, got -1.0"),
        ({"num_refinements": -1}, "`num_refinements` must be an integer >= 0, got -1"),
        ({"tolerance": 2.0}, "`tolerance` must lie in"),
    ],
)
def test_errors_name_argument_rule_and_value(changes: dict[str, Any], match: str) -> None:
    arguments = {
        "power_w": torch.ones(3, 2),
        "gain": torch.ones(3, 2, 2),
        "problem": PROBLEM,
        "minimum_rate": 1.0,
        **changes,
    }
    with pytest.raises(ValueError, match=match):
        duality_interval(**arguments)


def test_networks_without_multipliers_are_refused() -> None:
    learner = SimpleNamespace(shape=SimpleNamespace(names=("power",)))
    adapted: Any = SimpleNamespace(learner=learner)
    rule = r"`adapted` must hold multipliers \(a network `mu`\), got \('power',\)"
    with pytest.raises(ValueError, match=rule):
        adapted_interval(adapted, None, torch.ones(3, 2, 2), PROBLEM)
