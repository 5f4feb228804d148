"""WMMSE against the textbook's loop, and its monotone objective."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import rate
from metagnn.tasks.power_control.wmmse import wmmse, wmmse_iterates

POWER_MAX_W = 0.01
NOISE_W = 3.98e-14


def paper_like_gain(shape: tuple[int, ...], num_links: int, seed: int) -> Tensor:
    """Asymmetric gains in float64: direct links of -50 to -90 dB, others of -60 to -130 dB."""
    generator = torch.Generator().manual_seed(seed)
    crossed = (
        torch.rand(*shape, num_links, num_links, generator=generator, dtype=torch.float64)
        .mul(-7)
        .sub(6)
    )
    direct = torch.rand(*shape, num_links, generator=generator, dtype=torch.float64).mul(-4).sub(5)
    exponent = crossed - torch.diag_embed(torch.diagonal(crossed, dim1=-2, dim2=-1) - direct)
    return 10**exponent


def plain_wmmse(
    gain: NDArray[np.float64], power_max_w: float, noise_w: float, alpha: NDArray[np.float64]
) -> NDArray[np.float64]:
    """100 iterations of Shi et al., Table I, for one sample, link by link."""
    num_links = len(gain)
    h = np.sqrt(gain)
    v = np.full(num_links, np.sqrt(power_max_w) / 2)
    for _ in range(100):
        u, w = np.zeros(num_links), np.zeros(num_links)
        for k in range(num_links):
            received = noise_w + sum(h[i, k] ** 2 * v[i] ** 2 for i in range(num_links))
            u[k] = h[k, k] * v[k] / received
            others = sum(h[i, k] ** 2 * v[i] ** 2 for i in range(num_links) if i != k)
            w[k] = 1 + h[k, k] ** 2 * v[k] ** 2 / (noise_w + others)
        for k in range(num_links):
            harm = sum(alpha[j] * w[j] * u[j] ** 2 * h[k, j] ** 2 for j in range(num_links))
            v[k] = min(alpha[k] * w[k] * u[k] * h[k, k] / harm, np.sqrt(power_max_w))
    return np.asarray(v**2)


@pytest.mark.parametrize("num_links", [2, 5, 9])
def test_equals_the_plain_loop(num_links: int) -> None:
    gain = paper_like_gain((4,), num_links, seed=1)
    alpha = 0.2 + torch.rand(4, num_links, generator=torch.Generator().manual_seed(2)).double()
    got = wmmse(gain, POWER_MAX_W, NOISE_W, alpha)
    for sample in range(4):
        expected = plain_wmmse(gain[sample].numpy(), POWER_MAX_W, NOISE_W, alpha[sample].numpy())
        np.testing.assert_allclose(got[sample], expected, rtol=1e-6, atol=1e-9 * POWER_MAX_W)
    unweighted = plain_wmmse(gain[0].numpy(), POWER_MAX_W, NOISE_W, np.ones(num_links))
    np.testing.assert_allclose(wmmse(gain[0], POWER_MAX_W, NOISE_W), unweighted, rtol=1e-6)


@given(seed=st.integers(0, 10_000), num_links=st.integers(1, 8), weighted=st.booleans())
def test_objective_never_falls(seed: int, num_links: int, weighted: bool) -> None:
    gain = paper_like_gain((6,), num_links, seed)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand(6, num_links, generator=generator).double() if weighted else None
    start = POWER_MAX_W * torch.rand(6, num_links, generator=generator).double()
    alpha = torch.ones(6, num_links) if weight is None else weight
    values = [
        (alpha * rate(gain, power_w, NOISE_W)).sum(-1)
        for power_w in wmmse_iterates(gain, POWER_MAX_W, NOISE_W, weight, 25, start)
    ]
    for before, after in itertools.pairwise(values):
        assert (after >= before * (1 - 1e-12)).all()
    if num_links > 1:
        assert (values[-1] > values[0] * 1.001).any()


def test_float32_agrees_with_float64_and_does_not_fall() -> None:
    gain = paper_like_gain((50,), 8, seed=4)
    single = list(wmmse_iterates(gain.float(), POWER_MAX_W, NOISE_W))
    values = [rate(gain, power_w.double(), NOISE_W).sum(-1) for power_w in single]
    for before, after in itertools.pairwise(values):
        assert (after >= before * (1 - 1e-5)).all()
    double = rate(gain, wmmse(gain, POWER_MAX_W, NOISE_W), NOISE_W).sum(-1)
    torch.testing.assert_close(values[-1].mean(), double.mean(), rtol=2e-3, atol=0)


def test_strong_links_in_float32_give_the_right_powers() -> None:
    # SNR 1e12 on both: 1 / (1 - u h v) divides by zero in float32 here.
    # Without interference powers stay at the start, and no link does better than the other.
    decoupled = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert wmmse(decoupled, 1.0, 1e-12).tolist() == [0.25, 0.25]
    assert wmmse(decoupled, 1.0, 1e-12, initial_power_w=torch.ones(2)).tolist() == [1.0, 1.0]
    # Both hear the other about as loud as themselves: one must yield, and the rate of the other
    # comes near log2(1 + 1e12) = 39.9, less the 2 bits of a start at a quarter of the power.
    coupled = torch.tensor([[1.0, 0.9], [1.0, 1.0]])
    values = [rate(coupled, p, 1e-12).sum() for p in wmmse_iterates(coupled, 1.0, 1e-12)]
    assert torch.stack(values).isfinite().all()
    assert values[-1] > 37.8


def test_an_isolated_link_gains_by_one_plus_one_over_snr() -> None:
    # v = 1/2 and SNR 4 * 1/4 = 1: T / (g v) = 2 / 2 = 1 after one step, all it may.
    assert wmmse(torch.tensor([[4.0]]), 1.0, 1.0, num_iterations=1).item() == 1.0
    # SNR 16 * 1/4 = 4: v grows by 1 + 1/4.
    power_w = wmmse(torch.tensor([[16.0]]), 1.0, 1.0, num_iterations=1)
    assert power_w.item() == pytest.approx((0.5 * 1.25) ** 2)
    assert wmmse(torch.tensor([[16.0]]), 1.0, 1.0).item() == 1.0


def test_start_and_number_of_iterates() -> None:
    gain = paper_like_gain((3,), 4, seed=5)
    iterates = list(wmmse_iterates(gain, POWER_MAX_W, NOISE_W, num_iterations=7))
    assert len(iterates) == 8
    assert (iterates[0] == POWER_MAX_W / 4).all()  # v = sqrt(P_max) / 2
    assert torch.equal(iterates[-1], wmmse(gain, POWER_MAX_W, NOISE_W, num_iterations=7))
    start = torch.full((3, 4), POWER_MAX_W)
    given_start = wmmse_iterates(gain, POWER_MAX_W, NOISE_W, initial_power_w=start)
    torch.testing.assert_close(next(given_start), start.double(), rtol=1e-6, atol=0)


def test_links_without_weight_gain_or_power_are_off() -> None:
    gain = 1e-4 * paper_like_gain((6,), 2, seed=6)
    power_w = wmmse(gain, POWER_MAX_W, NOISE_W, torch.tensor([1.0, 0.0]), 1000)
    torch.testing.assert_close(power_w, torch.tensor([[POWER_MAX_W, 0.0]]).double().expand(6, 2))
    dead = gain.clone()
    dead[:, 1, 1] = 0.0
    torch.testing.assert_close(wmmse(dead, POWER_MAX_W, NOISE_W, None, 1000), power_w)
    start = torch.tensor([POWER_MAX_W / 2, 0.0])
    torch.testing.assert_close(wmmse(gain, POWER_MAX_W, NOISE_W, None, 1000, start), power_w)


def test_scale_of_weights_is_without_influence() -> None:
    gain = paper_like_gain((6,), 4, seed=7).float()
    weight = 0.1 + torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    expected = wmmse(gain, POWER_MAX_W, NOISE_W, weight)
    for scale in (2.0**-60, 2.0**60):
        assert torch.equal(wmmse(gain, POWER_MAX_W, NOISE_W, weight * scale), expected)


def test_bad_arguments_are_named() -> None:
    gain = torch.ones(2, 2)
    for count in (0, 2.5, True):
        with pytest.raises(ValueError, match="`num_iterations` must be an integer >= 1"):
            wmmse(gain, 1.0, 1.0, num_iterations=count)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`initial_power_w` must lie in \[0, 1.0\], got 1.5"):
        wmmse(gain, 1.0, 1.0, initial_power_w=torch.tensor([0.5, 1.5]))
    with pytest.raises(ValueError, match=r"`initial_power_w` must lie in \[0, 1.0\], got -0.5"):
        wmmse(gain, 1.0, 1.0, initial_power_w=torch.tensor([-0.5, 0.5]))
    with pytest.raises(ValueError, match="`initial_power_w` must hold no NaN"):
        wmmse(gain, 1.0, 1.0, initial_power_w=torch.tensor([torch.nan, 0.5]))
    with pytest.raises(ValueError, match=r"`initial_power_w` must have the shape \(2,\)"):
        wmmse(gain, 1.0, 1.0, initial_power_w=torch.ones(3))
    with pytest.raises(ValueError, match="`noise_w`"):
        wmmse_iterates(gain, 1.0, 0.0)  # at the call, before the first iterate is asked for


@pytest.mark.parametrize("num_links", [6, 30])
def test_powers_are_contiguous_and_the_same_under_autocast(num_links: int) -> None:
    configuration = ChannelFamily().configuration(num_links, 0, "test", 0)
    gain = configuration.sample(3, generator(0))
    assert isinstance(gain, torch.Tensor)
    power_w = wmmse(gain, 0.01, 4e-14, num_iterations=5)
    assert power_w.is_contiguous()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(wmmse(gain, 0.01, 4e-14, num_iterations=5), power_w)
    first, *_, last = wmmse_iterates(gain, 0.01, 4e-14, num_iterations=5)
    torch.testing.assert_close(first, torch.full_like(first, 0.0025))
    assert torch.equal(last, power_w)
