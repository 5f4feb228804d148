import math

import pytest
import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import full_power_rate
from metagnn.rollout import Policy, Rollout, in_sequences, rollout

POWER_MAX_W, NOISE_W, WINDOW = 2.0, 0.3, 0.25


def _gain(num_steps: int = 6, num_sequences: int = 3, num_links: int = 4) -> Tensor:
    source = generator(0, "rollout")
    shape = (num_steps, num_sequences, num_links, num_links)
    return torch.rand(shape, generator=source, dtype=torch.float64) + 0.05


def _average(num_sequences: int = 3, num_links: int = 4) -> Tensor:
    source = generator(1, "rollout")
    return torch.rand(num_sequences, num_links, generator=source, dtype=torch.float64) + 0.1


def _policy(gain: Tensor, ratio: Tensor, step: int) -> Tensor:
    """Powers that depend on everything a policy sees."""
    return POWER_MAX_W * torch.sigmoid(ratio - gain.sum(-1) + 0.1 * step)


def _run(gain: Tensor, average: Tensor) -> Rollout:
    return _rollout(_policy, gain, average, WINDOW)


def _rollout(policy: Policy, gain: Tensor, average: Tensor, window: float) -> Rollout:
    at_full_power = full_power_rate(gain, POWER_MAX_W, NOISE_W)
    return rollout(policy, gain, at_full_power, average, NOISE_W, window)


def _rate(gain: Tensor, power: Tensor, k: int) -> float:
    interference = sum(float(gain[i, k] * power[i]) for i in range(len(power)) if i != k)
    return math.log2(1.0 + float(gain[k, k] * power[k]) / (NOISE_W + interference))


def test_rollout_equals_a_plain_loop() -> None:
    gain, average = _gain(), _average()
    run = _run(gain, average)
    full = torch.full((4,), POWER_MAX_W, dtype=torch.float64)
    for b in range(3):
        past = average[b].tolist()
        for t in range(6):
            ratio = [_rate(gain[t, b], full, k) / past[k] for k in range(4)]
            assert run.ratio[t, b].tolist() == pytest.approx(ratio)
            power = _policy(gain[t, b], torch.tensor(ratio, dtype=torch.float64), t)
            assert run.power_w[t, b].tolist() == pytest.approx(power.tolist())
            got = [_rate(gain[t, b], power, k) for k in range(4)]
            assert run.rate[t, b].tolist() == pytest.approx(got)
            past = [0.75 * old + 0.25 * new for old, new in zip(past, got, strict=True)]
        assert run.average_rate[b].tolist() == pytest.approx(past)


@pytest.mark.parametrize("step", [0, 3, 5])
def test_powers_depend_on_the_present_and_the_past_only(step: int) -> None:
    gain = _gain()
    run = _run(gain, _average())
    changed = gain.clone()
    changed[step] *= torch.linspace(0.1, 3.0, 4, dtype=torch.float64)
    other = _run(changed, _average())
    for name in ("ratio", "power_w", "rate"):
        before, after = getattr(run, name), getattr(other, name)
        assert torch.equal(before[:step], after[:step])
        assert (before[step] != after[step]).all()
        if name != "rate":
            assert (before[step + 1 :] != after[step + 1 :]).all()


def test_sequences_do_not_touch_one_another() -> None:
    gain, average = _gain(), _average()
    together, alone = _run(gain, average), _run(gain[:, 1:2], average[1:2])
    torch.testing.assert_close(together.power_w[:, 1:2], alone.power_w)
    torch.testing.assert_close(together.average_rate[1:2], alone.average_rate)


def test_rates_carry_a_gradient_and_averages_do_not() -> None:
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)

    def policy(gain: Tensor, ratio: Tensor, step: int) -> Tensor:
        return scale * _policy(gain, ratio, step)

    run = _rollout(policy, _gain(), _average(), WINDOW)
    assert run.power_w.requires_grad
    assert run.rate.requires_grad
    assert not run.ratio.requires_grad
    assert not run.average_rate.requires_grad


def test_windows_zero_and_one() -> None:
    gain, average = _gain(), _average()
    still = _rollout(_policy, gain, average, 0.0)
    torch.testing.assert_close(still.average_rate, average)
    last = _rollout(_policy, gain, average, 1.0)
    torch.testing.assert_close(last.average_rate, last.rate[-1])


def test_sequences_hold_consecutive_samples() -> None:
    gain = torch.arange(11.0).reshape(11, 1, 1)
    sequences = in_sequences(gain, 3)
    assert sequences.shape == (3, 3, 1, 1)
    # time runs down, sequences stand side by side; the last two samples are left out
    assert sequences[..., 0, 0].tolist() == [[0.0, 3.0, 6.0], [1.0, 4.0, 7.0], [2.0, 5.0, 8.0]]
    assert in_sequences(gain, 1)[:, 0, 0, 0].tolist() == gain.flatten().tolist()
    assert in_sequences(gain, 11).shape == (1, 11, 1, 1)
