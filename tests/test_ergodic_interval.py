import pytest
import torch

from metagnn.adaptation_task import Problem
from metagnn.duality import duality_interval
from metagnn.ergodic_interval import ergodic_interval

PROBLEM = Problem(power_max_w=1.0, noise_w=1.0, alpha=0.7)


def _gain(num_samples: int, seed: int) -> torch.Tensor:
    """Rayleigh fading of two links with weak interference."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.tensor([[50.0, 2.0], [5.0, 20.0]]).double()
    uniform = torch.rand(num_samples, 2, 2, generator=generator, dtype=torch.float64)
    return -mean * torch.log1p(-uniform)


def test_interval_of_other_samples_holds_what_many_samples_show() -> None:
    past, gain = _gain(60, seed=0), _gain(60, seed=1)
    full = torch.ones(60, 2).double()
    mu = duality_interval(full, past, PROBLEM, 4.0).mu
    found = ergodic_interval(full, gain, PROBLEM, 4.0, mu)
    assert found.low < found.primal < found.dual < found.high
    many = _gain(600, seed=2)
    truth = ergodic_interval(torch.ones(600, 2).double(), many, PROBLEM, 4.0, mu)
    assert found.low <= truth.primal
    assert truth.dual <= found.high
    # Ten times the samples narrow both tails, by about the root of ten.
    assert truth.high - truth.dual < 0.6 * (found.high - found.dual)
    surer = ergodic_interval(full, gain, PROBLEM, 4.0, mu, confidence=0.999)
    assert surer.low < found.low
    assert surer.high > found.high


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    mu = torch.tensor([0.3, 1.0]).double()
    many = ergodic_interval(torch.ones(4000, 2).double(), _gain(4000, 99), PROBLEM, 4.0, mu, 1e-2)
    full, covered = torch.ones(32, 2).double(), {0.95: 0, 0.4: 0}
    for seed in range(40):
        for confidence in covered:
            gain = _gain(32, 100 + seed)
            found = ergodic_interval(full, gain, PROBLEM, 4.0, mu, 1e-2, confidence=confidence)
            covered[confidence] += found.low <= many.primal and many.dual <= found.high
    # Four standard deviations of a count below, for the bootstrap of 32 samples is not exact.
    assert covered[0.95] >= 32
    assert 4 <= covered[0.4] <= 28


def test_errors() -> None:
    full, gain, mu = torch.ones(3, 2), _gain(3, seed=0), torch.zeros(2)
    with pytest.raises(ValueError, match=r"`confidence` must lie between 0 and 1, got 1.0"):
        ergodic_interval(full, gain, PROBLEM, 4.0, mu, confidence=1.0)
    with pytest.raises(ValueError, match="`gain` must hold at least 2 samples, got 1"):
        ergodic_interval(full[:1], gain[:1], PROBLEM, 4.0, mu)
    with pytest.raises(ValueError, match=r"`mu` must be finite and >= 0 everywhere"):
        ergodic_interval(full, gain, PROBLEM, 4.0, mu - 1.0)
    with pytest.raises(ValueError, match=r"`power_w` must lie in \[0, 1.0\], got 1000.0"):
        ergodic_interval(1000.0 * full, gain, PROBLEM, 4.0, mu)
    with pytest.raises(ValueError, match=r"`power_w` must lie in \[0, 1.0\], got -1.0"):
        ergodic_interval(-full, gain, PROBLEM, 4.0, mu)
    with pytest.raises(ValueError, match=r"`power_w` must have the shape \(3, 2\), got \(2,\)"):
        ergodic_interval(full[0], gain, PROBLEM, 4.0, mu)
    with pytest.raises(ValueError, match=r"`minimum_rate` must be finite and >= 0, got -4.0"):
        ergodic_interval(full, gain, PROBLEM, -4.0, mu)
