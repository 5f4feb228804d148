import math
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import (
    ergodic_rate,
    full_power_rate,
    moving_average,
    proportional_fair_ratio,
    rate,
    sinr,
)


def _network(num_links: int, seed: int, num_samples: int = 3) -> tuple[Tensor, Tensor]:
    source = generator(seed, "rates", num_links)
    gain = torch.rand(num_samples, num_links, num_links, generator=source, dtype=torch.float64)
    power_w = torch.rand(num_samples, num_links, generator=source, dtype=torch.float64)
    return gain + 0.01, power_w


def test_sinr_by_hand() -> None:
    # transmitter 0 reaches receiver 1 with 3, transmitter 1 reaches receiver 0 with 0.5
    gain = torch.tensor([[8.0, 3.0], [0.5, 10.0]])
    power_w = torch.tensor([1.0, 2.0])
    assert sinr(gain, power_w, 1.0).tolist() == [8.0 / (1.0 + 1.0), 20.0 / (1.0 + 3.0)]
    assert rate(gain, power_w, 1.0).tolist() == pytest.approx([math.log2(5.0), math.log2(6.0)])


@pytest.mark.parametrize("num_links", [1, 2, 5])
def test_sinr_equals_a_plain_loop_on_asymmetric_gains(num_links: int) -> None:
    gain, power_w = _network(num_links, seed=3)
    expected = torch.zeros_like(power_w)
    for s in range(gain.shape[0]):
        for k in range(num_links):
            interference = 0.0
            for i in range(num_links):
                if i != k:
                    interference += (gain[s, i, k] * power_w[s, i]).item()
            expected[s, k] = gain[s, k, k] * power_w[s, k] / (0.1 + interference)
    torch.testing.assert_close(sinr(gain, power_w, 0.1), expected)
    torch.testing.assert_close(rate(gain, power_w, 0.1), torch.log2(1.0 + expected))


def test_one_power_for_all_samples_and_extra_leading_axes() -> None:
    gain, power_w = _network(4, seed=5)
    broadcast = sinr(gain, power_w[0], 0.1)
    torch.testing.assert_close(broadcast, sinr(gain, power_w[0].expand(3, 4), 0.1))
    stacked = sinr(gain.expand(2, 3, 4, 4), power_w.expand(2, 3, 4), 0.1)
    torch.testing.assert_close(stacked[1], sinr(gain, power_w, 0.1))


@given(st.integers(1, 7), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_renumbering_the_links_renumbers_the_rates(
    num_links: int, seed: int, random: Random
) -> None:
    gain, power_w = _network(num_links, seed)
    order = list(range(num_links))
    random.shuffle(order)
    shuffled = rate(gain[:, order][:, :, order], power_w[:, order], 0.1)
    torch.testing.assert_close(shuffled, rate(gain, power_w, 0.1)[:, order])


@given(st.integers(2, 6), st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_scaling_powers_and_noise_together_changes_nothing(
    num_links: int, seed: int, scale: float
) -> None:
    gain, power_w = _network(num_links, seed)
    torch.testing.assert_close(sinr(gain, power_w * scale, 0.1 * scale), sinr(gain, power_w, 0.1))


def test_gradients_against_finite_differences() -> None:
    gain, power_w = _network(3, seed=1, num_samples=2)
    inputs = (gain.requires_grad_(), power_w.requires_grad_())
    assert torch.autograd.gradcheck(lambda g, p: rate(g, p, 0.1), inputs)


def test_more_own_power_raises_the_own_rate_and_lowers_the_others() -> None:
    gain, power_w = _network(4, seed=2, num_samples=1)
    power_w.requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda p: rate(gain, p, 0.1)[0], power_w)
    slope = jacobian[:, 0]  # [rate k, power i]
    assert (slope.diagonal() > 0).all()
    assert (slope[~torch.eye(4, dtype=torch.bool)] < 0).all()


def test_extreme_range_in_float32_stays_finite() -> None:
    gain = torch.tensor([[1.0, 1e-20], [1e-3, 1e-14]], requires_grad=True)
    power_w = torch.tensor([0.01, 0.0], requires_grad=True)
    values = rate(gain, power_w, 4e-14)
    values.sum().backward()
    assert values.isfinite().all()
    assert values[1] == 0.0
    assert gain.grad is not None
    assert power_w.grad is not None
    assert gain.grad.isfinite().all()
    assert power_w.grad.isfinite().all()


def test_a_weak_signal_keeps_its_rate_in_float32() -> None:
    value = rate(torch.tensor([[1e-20]]), torch.tensor([0.01]), 4e-14).item()
    assert value == pytest.approx(0.01 * 1e-20 / 4e-14 / math.log(2.0), rel=1e-5)


def test_ergodic_rate_is_the_mean_over_samples_not_the_rate_of_the_mean() -> None:
    gain = torch.tensor([[[1.0]], [[3.0]]])
    power_w = torch.ones(2, 1)
    assert ergodic_rate(gain, power_w, 1.0).tolist() == [1.5]


def test_full_power_rate_by_hand() -> None:
    gain = torch.tensor([[8.0, 3.0], [0.5, 10.0]])
    assert full_power_rate(gain, 2.0, 1.0).tolist() == pytest.approx(
        [math.log2(1.0 + 16.0 / 2.0), math.log2(1.0 + 20.0 / 7.0)]
    )


def test_moving_average_and_proportional_fair_ratio() -> None:
    average = moving_average(torch.tensor([2.0]), torch.tensor([4.0]), 0.05)
    assert average.item() == pytest.approx(2.1)
    ratio = proportional_fair_ratio(torch.tensor([3.0, 3.0]), torch.tensor([2.0, 0.0]))
    assert ratio.tolist() == pytest.approx([1.5, 3e6])


def test_rejected() -> None:
    with pytest.raises(ValueError, match="`gain` must be square in its last two dimensions"):
        sinr(torch.ones(2, 3), torch.ones(3), 1.0)
    with pytest.raises(ValueError, match="`noise_w` must be finite and > 0, got 0"):
        sinr(torch.ones(2, 2), torch.ones(2), 0.0)
