import math
from typing import Any

import pytest
import torch
from torch import Tensor

import metagnn.tasks.power_control.weighted_bound as weighted_bound_module
from metagnn.graphs.rates import rate
from metagnn.tasks.power_control.exact import exact
from metagnn.tasks.power_control.sinr_boxes import WeightedProblem
from metagnn.tasks.power_control.weighted_bound import WeightedBound, weighted_bound


def _instances(num_samples: int, num_links: int, seed: int) -> tuple[Tensor, Tensor]:
    """Asymmetric gains over 60 dB around the noise and weights over 30 dB."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_samples, num_links, num_links)
    gain = 10 ** (6 * torch.rand(shape, generator=generator, dtype=torch.float64) - 2)
    weight = 10 ** (3 * torch.rand(shape[:-1], generator=generator, dtype=torch.float64))
    return gain, weight


def _value(gain: Tensor, weight: Tensor, power_w: Tensor) -> Tensor:
    return (weight * rate(gain, power_w, 1.0)).sum(-1)


@pytest.mark.parametrize(("num_links", "num_levels", "num_samples"), [(2, 50, 300), (3, 14, 100)])
def test_no_point_of_a_fine_grid_exceeds_the_bound(
    num_links: int, num_levels: int, num_samples: int
) -> None:
    gain, weight = _instances(num_samples, num_links, seed=num_links)
    found = weighted_bound(gain, 1.0, 1.0, weight)
    levels = torch.cat([torch.zeros(1), torch.logspace(-5, 0, num_levels - 1)]).double()
    grid = torch.cartesian_prod(*[levels] * num_links)
    brute = torch.stack(
        [
            _value(g.expand(len(grid), -1, -1), w, grid).max()
            for g, w in zip(gain, weight, strict=True)
        ]
    )
    assert (found.upper >= brute).all()
    # Powers that were found do not cover up for a bound that is too low.
    assert (found.proven >= brute * (1.0 - 1e-9)).all()
    # Not by much, so that neither a bound of infinity nor powers above the largest pass.
    assert (found.upper <= brute * 1.05).all()
    assert (found.value >= brute * (1 - 1e-3)).all()
    assert (found.gap <= 1e-3).all()
    assert ((found.power_w >= 0) & (found.power_w <= 1)).all()


@pytest.mark.parametrize("num_links", [2, 3, 4])
def test_upper_bound_and_powers_enclose_the_optimum(num_links: int) -> None:
    gain, weight = _instances(20, num_links, seed=10 + num_links)
    optimum = _value(gain, weight, exact(gain, 1.0, 1.0, weight, num_levels=8))
    found = weighted_bound(gain, 1.0, 1.0, weight, tolerance=1e-4)
    assert (found.upper >= optimum).all()
    assert (found.value >= optimum * (1 - 1e-4)).all()
    assert (found.gap <= 1.01e-4).all()
    torch.testing.assert_close(found.value, _value(gain, weight, found.power_w))
    assert (found.power_w >= 0).all()
    assert (found.power_w <= 1).all()


def test_without_interference_all_transmit_with_the_largest_power() -> None:
    gain = torch.diag_embed(torch.tensor([[0.5, 3.0, 70.0, 9.0, 1e-3, 2.0]]).double())
    weight = torch.tensor([[1.0, 2.0, 0.5, 0.0, 4.0, 1.0]]).double()
    found = weighted_bound(gain, 2.0, 0.5, weight)
    snr = torch.diagonal(gain, dim1=-2, dim2=-1) * 4.0
    expected = (weight * torch.log2(1 + snr)).sum(-1)
    torch.testing.assert_close(found.value, expected)
    assert (found.upper >= expected).all()
    assert (found.upper <= expected * (1 + 1e-3)).all()


def test_more_boxes_never_loosen_the_bound_nor_cross_the_optimum() -> None:
    gain, weight = _instances(15, 4, seed=3)
    optimum = _value(gain, weight, exact(gain, 1.0, 1.0, weight, num_levels=8))
    before = torch.full_like(optimum, torch.inf)
    for max_boxes in (1, 9, 51, 301, 3001):
        found = weighted_bound(gain, 1.0, 1.0, weight, 1e-3, max_boxes)
        assert (found.num_boxes <= max_boxes).all()
        assert (found.upper >= optimum).all()
        assert (found.upper <= before).all()
        before = found.upper
    assert (found.gap <= 1e-3).all()


def test_portions_of_samples_and_how_many_boxes_are_split_change_no_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gain, weight = _instances(5, 10, seed=8)
    sizes: list[int] = []

    class Search(weighted_bound_module._Search):
        def __init__(self, problem: WeightedProblem, *rest: Any) -> None:
            sizes.append(len(problem.weight))
            super().__init__(problem, *rest)

    monkeypatch.setattr(weighted_bound_module, "_Search", Search)
    whole = weighted_bound(gain, 1.0, 1.0, weight, 1e-5, 80)
    # Two samples fit: 6 numbers for each link of each of 40 boxes.
    monkeypatch.setattr(weighted_bound_module, "_VALUES_AT_MOST", 2 * 6 * 10 * 40)
    pairs = weighted_bound(gain, 1.0, 1.0, weight, 1e-5, 80)
    assert sizes == [5, 2, 2, 1]
    monkeypatch.setattr(weighted_bound_module, "_VALUES_AT_MOST", 1)
    torch.testing.assert_close(pairs.upper, whole.upper)
    alone = weighted_bound(gain, 1.0, 1.0, weight, 1e-5, 80)
    for name in vars(whole):
        torch.testing.assert_close(getattr(alone, name), getattr(whole, name))
    # One at a time is strictly best first; 24 of the 80 are what the share then says.
    monkeypatch.setattr(weighted_bound_module, "_SPLIT_AT_ONCE", 1)
    monkeypatch.setattr(weighted_bound_module, "_SPLIT_SHARE", 0.0)
    narrow = weighted_bound(gain, 1.0, 1.0, weight, 1e-5, 80)
    assert (narrow.upper < whole.upper).any()
    assert (narrow.upper >= whole.value).all()
    monkeypatch.setattr(weighted_bound_module, "_SPLIT_SHARE", 0.3)
    wide = weighted_bound(gain, 1.0, 1.0, weight, 1e-5, 80)
    assert torch.equal(wide.upper, alone.upper)


def test_eight_links_are_never_better_than_their_bound() -> None:
    gain, weight = _instances(12, 8, seed=4)
    found = weighted_bound(gain, 1.0, 1.0, weight, 1e-2, 60)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        on = torch.rand(12, 8, generator=generator) < 0.5
        power_w = torch.rand(12, 8, generator=generator, dtype=torch.float64) ** 3
        power_w = torch.where(on, power_w / power_w.amax(-1, keepdim=True), 0.0)
        assert (_value(gain, weight, power_w) <= found.upper).all()
    assert (found.power_w <= 1).all()
    torch.testing.assert_close(found.value, _value(gain, weight, found.power_w))


def test_samples_do_not_depend_on_each_other_nor_on_the_order_of_links() -> None:
    gain, weight = _instances(6, 3, seed=5)
    found = weighted_bound(gain, 1.0, 1.0, weight)
    for sample in range(6):
        alone = weighted_bound(gain[sample], 1.0, 1.0, weight[sample])
        torch.testing.assert_close(alone.upper, found.upper[sample])
        assert alone.power_w.shape == (3,)
    order = torch.tensor([2, 0, 1])
    moved = weighted_bound(gain[:, order][:, :, order], 1.0, 1.0, weight[:, order])
    torch.testing.assert_close(moved.upper, found.upper, rtol=1e-3, atol=0.0)


def test_units_of_gains_powers_and_weights_do_not_matter() -> None:
    gain, weight = _instances(5, 3, seed=6)
    found = weighted_bound(gain, 1.0, 1.0, weight)
    moved = weighted_bound(gain * 1e-13, 0.01, 1e-15, weight * 1e6)
    torch.testing.assert_close(moved.upper, found.upper * 1e6)
    torch.testing.assert_close(moved.power_w, found.power_w * 0.01)


@pytest.mark.parametrize("decibels", [150.0, 250.0])
def test_extreme_ranges_stay_finite_and_valid(decibels: float) -> None:
    generator = torch.Generator().manual_seed(7)
    exponent = decibels / 10 * torch.rand(20, 3, 3, generator=generator, dtype=torch.float64)
    gain = 10 ** (exponent - decibels / 20)
    weight = 10 ** (6 * torch.rand(20, 3, generator=generator, dtype=torch.float64) - 3)
    found = weighted_bound(gain, 1.0, 1.0, weight)
    value = _value(gain, weight, exact(gain, 1.0, 1.0, weight))
    assert found.upper.isfinite().all()
    assert (found.upper >= value * (1 - 1e-12)).all()
    assert (found.gap <= 1e-3).all()


def test_dead_links_and_weightless_samples() -> None:
    gain = torch.tensor([[[4.0, 1.0], [9.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]]).double()
    weight = torch.tensor([[1.0, 1e9], [1.0, 1.0]]).double()
    found = weighted_bound(gain, 1.0, 1.0, weight)
    assert float(found.upper[0]) == pytest.approx(math.log2(5.0), rel=1e-3)
    assert float(found.upper[1]) == 0.0
    assert float(found.gap[1]) == 0.0
    nothing = weighted_bound(gain[:1], 1.0, 1.0, torch.zeros(1, 2))
    assert float(nothing.upper) == 0.0


def test_single_precision_and_one_link() -> None:
    gain, weight = _instances(4, 3, seed=8)
    double = weighted_bound(gain, 1.0, 1.0, weight)
    single = weighted_bound(gain.float(), 1.0, 1.0, weight.float())
    torch.testing.assert_close(single.upper, double.upper, rtol=1e-5, atol=0.0)
    one = weighted_bound(torch.tensor([[3.0]]).double(), 1.0, 1.0)
    assert 2.0 <= float(one.upper) <= 2.002


def test_powers_to_start_from_are_not_lost() -> None:
    gain, weight = _instances(10, 4, seed=9)
    best = exact(gain, 1.0, 1.0, weight, num_levels=8)
    found = weighted_bound(gain, 1.0, 1.0, weight, max_boxes=1, initial_power_w=best)
    assert (found.value >= _value(gain, weight, best) * (1 - 1e-12)).all()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tolerance": 0.0}, r"`tolerance` must lie in \[1e-6, 1\], got 0.0"),
        ({"tolerance": math.nan}, "`tolerance` must lie"),
        ({"max_boxes": 0}, "`max_boxes` must be an integer >= 1, got 0"),
        ({"noise_w": 0.0}, "`noise_w` must be finite and > 0, got 0.0"),
        ({"power_max_w": -1.0}, "`power_max_w` must be finite and > 0, got -1.0"),
        ({"gain": torch.ones(2, 3)}, "`gain` must be square"),
        ({"gain": -torch.ones(2, 2)}, "`gain` must be finite and >= 0 everywhere, got -1.0"),
        ({"weight": torch.tensor([1.0, -2.0])}, "`weight` must be finite and >= 0 everywhere"),
        ({"weight": torch.ones(3)}, "`weight` must have the shape"),
        ({"initial_power_w": torch.ones(3)}, "`initial_power_w` must have the shape"),
    ],
)
def test_errors_name_argument_rule_and_value(changes: dict[str, object], match: str) -> None:
    arguments = {"gain": torch.eye(2), "power_max_w": 1.0, "noise_w": 1.0, **changes}
    with pytest.raises(ValueError, match=match):
        weighted_bound(**arguments)  # type: ignore[arg-type]


def test_gap_is_relative() -> None:
    two, one = torch.tensor([2.0]), torch.tensor([1.0])
    assert float(WeightedBound(two, one, one, one, two).gap) == 1.0


def test_boxes_prove_the_bound_without_the_powers() -> None:
    gain, weight = _instances(50, 4, seed=0)
    best = weighted_bound(gain, 1.0, 1.0, weight, tolerance=1e-4).value
    for max_boxes in (1, 20, 400):
        found = weighted_bound(gain, 1.0, 1.0, weight, tolerance=0.05, max_boxes=max_boxes)
        assert (found.proven >= best * (1.0 - 1e-9)).all()
        assert torch.equal(found.upper, torch.maximum(found.proven, found.value))
