"""The baselines by name, and the two that need no algorithm."""

import torch

from metagnn.graphs.rates import rate
from metagnn.tasks.power_control.baselines import BASELINES, full_power, random_power


def test_names() -> None:
    assert list(BASELINES) == ["wmmse", "itlinq", "fplinq", "full_power", "random", "exact"]


def test_full_power() -> None:
    assert full_power(torch.ones(2, 3, 3), 0.25, 1.0).tolist() == [[0.25] * 3] * 2


def test_random_powers_are_uniform_and_follow_the_generator() -> None:
    gain = torch.ones(2000, 4, 4)
    power_w = random_power(gain, 2.0, 1.0, torch.Generator().manual_seed(1))
    assert power_w.min() >= 0
    assert power_w.max() <= 2.0
    # Mean 1 and variance 1/3 of a uniform law on [0, 2], over 8000 draws.
    assert abs(power_w.mean() - 1.0) < 0.03
    assert abs(power_w.var() - 1 / 3) < 0.02
    again = random_power(gain, 2.0, 1.0, torch.Generator().manual_seed(1))
    assert torch.equal(again, power_w)
    other = random_power(gain, 2.0, 1.0, torch.Generator().manual_seed(2))
    assert not torch.equal(other, power_w)
    assert torch.equal(random_power(gain, 2.0, 1.0), random_power(gain, 2.0, 1.0))
    generator = torch.Generator().manual_seed(1)
    first, second = (random_power(gain, 2.0, 1.0, generator) for _ in range(2))
    assert not torch.equal(first, second)


def test_sum_rates_are_in_the_order_that_theory_gives() -> None:
    generator = torch.Generator().manual_seed(3)
    gain = 10 ** (5 * torch.rand(64, 4, 4, generator=generator, dtype=torch.float64) - 2)
    sums = {
        name: rate(gain, baseline(gain, 1.0, 1.0), 1.0).sum(-1)
        for name, baseline in BASELINES.items()
    }
    for value in sums.values():
        assert (sums["exact"] >= value * (1 - 1e-9)).all()
    assert sums["wmmse"].mean() > 1.1 * sums["full_power"].mean()
    assert sums["fplinq"].mean() > 1.1 * sums["full_power"].mean()
