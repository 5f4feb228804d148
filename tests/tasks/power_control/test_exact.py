"""Exact power control against finer brute force over the whole box."""

import itertools

import pytest
import torch
from torch import Tensor

from metagnn.graphs.rates import rate
from metagnn.tasks.power_control import exact as exact_module
from metagnn.tasks.power_control.exact import exact
from metagnn.tasks.power_control.wmmse import wmmse


def _instances(num_samples: int, num_links: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_samples, num_links, num_links)
    gain = 10 ** (4 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1.5)
    weight = 10 ** (2 * torch.rand(shape[:-1], generator=generator, dtype=torch.float64))
    return gain, weight


def _value(gain: Tensor, weight: Tensor, power_w: Tensor) -> Tensor:
    return (weight * rate(gain, power_w, 1.0)).sum(-1)


def _brute_force(gain: Tensor, weight: Tensor, levels: Tensor) -> Tensor:
    """Best weighted sum rate of each sample over all combinations of levels of all links."""
    grid = torch.cartesian_prod(*[levels] * gain.shape[-1])
    best = [
        _value(g.expand(len(grid), -1, -1), w, grid).max()
        for g, w in zip(gain, weight, strict=True)
    ]
    return torch.stack(best)


@pytest.mark.parametrize(("num_links", "num_levels"), [(2, 400), (3, 44)])
def test_nothing_on_a_finer_grid_over_the_whole_box_is_better(
    num_links: int, num_levels: int
) -> None:
    gain, weight = _instances(400, num_links, seed=num_links)
    # Half of the samples have an optimum that is not on/off.
    power_w = exact(gain, 1.0, 1.0, weight)
    interior = ((power_w > 1e-6) & (power_w < 1 - 1e-6)).any(-1)
    chosen = torch.cat([interior.nonzero()[:12, 0], (~interior).nonzero()[:12, 0]])
    assert len(chosen) == 24
    gain, weight, power_w = gain[chosen], weight[chosen], power_w[chosen]
    # From -60 dB to the largest in equal ratios, and evenly: no use is made of the faces.
    levels = torch.cat(
        [
            torch.zeros(1),
            torch.logspace(-6, 0, num_levels // 2),
            torch.linspace(0, 1, num_levels // 2),
        ]
    ).double()
    brute = _brute_force(gain, weight, levels)
    value = _value(gain, weight, power_w)
    assert (value >= brute * (1 - 1e-12)).all()
    # And not by much, so that the brute force bounds what is claimed.
    assert (value <= brute * 1.05).all()
    assert (power_w.amax(-1) == 1.0).all()
    assert (power_w >= 0).all()


def test_two_unweighted_links_are_on_or_off() -> None:
    gain, _ = _instances(50, 2, seed=4)
    corners = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]).double()
    ones = torch.ones(50, 2).double()
    best = torch.stack([_value(gain, ones, c.expand(50, 2)) for c in corners]).amax(0)
    torch.testing.assert_close(_value(gain, ones, exact(gain, 1.0, 1.0)), best)


def test_four_links_are_never_worse_than_schedules_and_local_optima() -> None:
    gain, weight = _instances(12, 4, seed=5)
    value = _value(gain, weight, exact(gain, 1.0, 1.0, weight, num_levels=8))
    for schedule in itertools.product([0.0, 1.0], repeat=4):
        power_w = torch.tensor(schedule).double().expand(12, 4)
        assert (value >= _value(gain, weight, power_w) * (1 - 1e-12)).all()
    generator = torch.Generator().manual_seed(6)
    for _ in range(5):
        start = torch.rand(12, 4, generator=generator)
        local = wmmse(gain, 1.0, 1.0, weight, 200, start)
        assert (value >= _value(gain, weight, local) * (1 - 1e-9)).all()


def test_portions_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    gain, weight = _instances(7, 3, seed=7)
    expected = exact(gain, 1.0, 1.0, weight, num_levels=6)
    monkeypatch.setattr(exact_module, "_VALUES_AT_ONCE", 2 * 6**2 * 3)  # two samples at once
    torch.testing.assert_close(exact(gain, 1.0, 1.0, weight, num_levels=6), expected)


def test_links_without_weight_are_off() -> None:
    gain, _ = _instances(5, 3, seed=8)
    power_w = exact(gain, 0.5, 1.0, torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(power_w, torch.tensor([[0.0, 0.5, 0.0]]).double().expand(5, 3))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"`gain` must have at most 4 links \(`weighted_bound` .*\), got 5"
    ):
        exact(torch.ones(2, 5, 5), 1.0, 1.0)
    with pytest.raises(ValueError, match="`num_levels` must be an integer >= 1, got 0"):
        exact(torch.ones(2, 2), 1.0, 1.0, num_levels=0)
    with pytest.raises(ValueError, match="`num_levels` must be <= 100, got 101"):
        exact(torch.ones(2, 2), 1.0, 1.0, num_levels=101)
