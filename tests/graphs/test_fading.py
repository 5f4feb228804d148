import math

import pytest
import torch
from scipy import special, stats

from metagnn.graphs.fading import rayleigh_power, rayleigh_power_sequence, shadowing_db
from metagnn.graphs.randomness import generator


def test_shadowing_is_normal_with_the_given_deviation() -> None:
    draws = shadowing_db((400, 500), 7.0, generator(0, "shadowing"))
    assert draws.shape == (400, 500)
    # five standard errors of 200,000 draws
    assert abs(draws.mean().item()) < 5 * 7.0 / math.sqrt(2e5)
    assert draws.std().item() == pytest.approx(7.0, abs=5 * 7.0 / math.sqrt(4e5))
    assert stats.kstest(draws[:20].flatten().double().numpy() / 7.0, "norm").pvalue > 0.01


def test_shadowing_is_independent_per_pair_and_zero_without_deviation() -> None:
    draws = shadowing_db((2, 50_000), 7.0, generator(1, "shadowing"))
    assert torch.corrcoef(draws)[0, 1].abs() < 5 / math.sqrt(5e4)
    assert not shadowing_db((3, 3), 0.0, generator(0)).any()
    with pytest.raises(ValueError, match="`std_db` must be finite and >= 0, got -1"):
        shadowing_db((2, 2), -1.0, generator(0))


def test_rayleigh_power_is_exponential_with_unit_mean() -> None:
    power = rayleigh_power((100, 400), generator(0, "rayleigh"))
    assert power.mean().item() == pytest.approx(1.0, abs=5 / math.sqrt(4e4))
    assert power.var().item() == pytest.approx(1.0, abs=0.08)
    assert stats.kstest(power.flatten().double().numpy(), "expon").pvalue > 0.01
    assert power.min() > 0.0
    assert power.isfinite().all()


def test_sequence_has_unit_mean_and_an_exponential_law_at_every_step() -> None:
    power = rayleigh_power_sequence(3, (20_000,), 8.0, 0.01, generator(0, "wave"), 64)
    for step in power:
        assert step.mean().item() == pytest.approx(1.0, abs=5 / math.sqrt(2e4))
        assert stats.kstest(step.double().numpy(), "expon").pvalue > 1e-3


def test_autocovariance_of_the_power_is_the_square_of_bessel_j0() -> None:
    # With N waves the covariance of |h(t)|^2 and |h(t + tau)|^2 is (1 - 1/N) J0(2 pi f tau)^2.
    num_sinusoids, doppler_hz, step_s = 16, 8.0, 0.01
    power = rayleigh_power_sequence(
        9, (30_000,), doppler_hz, step_s, generator(2, "doppler"), num_sinusoids
    ).double()
    centred = power - 1.0
    for lag in range(9):
        covariance = (centred[0] * centred[lag]).mean().item()
        bessel = special.j0(2.0 * math.pi * doppler_hz * step_s * lag)
        assert covariance == pytest.approx((1 - 1 / num_sinusoids) * bessel**2, abs=0.04)


def test_sequence_without_doppler_stands_still() -> None:
    power = rayleigh_power_sequence(5, (2, 3), 0.0, 1e-3, generator(0))
    assert power.shape == (5, 2, 3)
    assert torch.equal(power, power[:1].expand(5, 2, 3))
    assert power[0].std() > 0.0


@pytest.mark.parametrize(
    ("arguments", "name"), [((-1.0, 1e-3), "doppler_hz"), ((8.0, math.nan), "step_s")]
)
def test_sequence_rejects(arguments: tuple[float, float], name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be finite and >= 0"):
        rayleigh_power_sequence(2, (1,), *arguments, generator(0))
