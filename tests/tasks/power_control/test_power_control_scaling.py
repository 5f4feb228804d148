"""Scaled problems keep the SINRs of the original, and bad input is named."""

import pytest
import torch
from torch import Tensor

from metagnn.graphs.rates import sinr
from metagnn.tasks.power_control.baselines import BASELINES
from metagnn.tasks.power_control.scaling import check_weight, scaled


def test_scaling_keeps_the_sinr() -> None:
    generator = torch.Generator().manual_seed(0)
    gain = 10 ** (-12 * torch.rand(2, 3, 4, 4, generator=generator, dtype=torch.float64))
    share = torch.rand(2, 3, 4, generator=generator, dtype=torch.float64)
    problem = scaled(gain, 0.01, 4e-14)
    flat = share.reshape(6, 4)
    disturbance = torch.einsum("bik,bi->bk", problem.crossed, flat) + problem.noise
    expected = sinr(gain, 0.01 * share, 4e-14).reshape(6, 4)
    torch.testing.assert_close(problem.direct * flat / disturbance, expected)
    assert problem.crossed.max() <= 1
    assert problem.direct.max() <= 1


def test_noise_far_out_of_range_is_kept_representable() -> None:
    gain = torch.tensor([[[1e-38]], [[1e38]]])
    noise = scaled(gain, 1e-30, 1.0).noise
    assert noise.flatten().tolist() == pytest.approx([1e12, 1e-8])
    assert scaled(gain, 1.0, 1e-30).noise.flatten().tolist() == pytest.approx([1e8, 1e-30])


def test_weights_are_relative_to_the_largest() -> None:
    gain = torch.ones(2, 3, 3)
    weight = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]])
    assert check_weight(weight, gain).tolist() == [[0.25, 0.5, 1.0], [0.0, 0.0, 0.0]]
    assert check_weight(weight[0], gain).tolist() == [[0.25, 0.5, 1.0]] * 2
    assert check_weight(None, gain).tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("name", sorted(BASELINES))
@pytest.mark.parametrize(
    ("gain", "power_max_w", "noise_w", "message"),
    [
        (torch.ones(2, 3), 1.0, 1.0, r"`gain` must be square .* got \(2, 3\)"),
        (torch.ones(3), 1.0, 1.0, "`gain` must be square"),
        (torch.ones(2, 0, 0), 1.0, 1.0, "`gain` must hold at least one link"),
        (torch.ones(2, 2).int(), 1.0, 1.0, "`gain` must be float32 or float64, got torch.int32"),
        (-torch.ones(2, 2), 1.0, 1.0, "`gain` must be finite and >= 0 everywhere, got -1.0"),
        (torch.full((2, 2), torch.nan), 1.0, 1.0, "`gain` must be finite .* got nan"),
        (torch.full((2, 2), torch.inf), 1.0, 1.0, "`gain` must be finite .* got inf"),
        (torch.ones(2, 2), 0.0, 1.0, "`power_max_w` must be finite and > 0, got 0.0"),
        (torch.ones(2, 2), torch.inf, 1.0, "`power_max_w` must be finite and > 0, got inf"),
        (torch.ones(2, 2), 1.0, -1.0, "`noise_w` must be finite and > 0, got -1.0"),
        (torch.ones(2, 2), 1.0, torch.nan, "`noise_w` must be finite and > 0, got nan"),
    ],
)
def test_every_baseline_names_bad_input(
    name: str, gain: Tensor, power_max_w: float, noise_w: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        BASELINES[name](gain, power_max_w, noise_w)


@pytest.mark.parametrize("name", ["wmmse", "fplinq", "exact"])
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.ones(3), r"`weight` must have the shape \(4, 2\) or broadcast to it, got \(3,\)"),
        (torch.ones(5, 4, 2), "`weight` must have the shape"),
        (torch.ones(4, 1), "`weight` must have the shape"),
        (torch.tensor(1.0), "`weight` must have the shape"),
        (torch.tensor([1.0, -2.0]), "`weight` must be finite and >= 0 everywhere, got -2.0"),
        (torch.tensor([1.0, torch.nan]), "`weight` must be finite and >= 0 everywhere, got nan"),
    ],
)
def test_weighted_baselines_name_bad_weights(name: str, weight: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BASELINES[name](torch.ones(4, 2, 2), 1.0, 1.0, weight=weight)


@pytest.mark.parametrize("name", ["wmmse", "fplinq", "exact"])
def test_rows_transmit_and_columns_receive(name: str) -> None:
    # Transmitter 0 disturbs both other receivers and hears nobody, so it yields. In the reversed
    # network link 0 is the only victim, and all three transmit.
    gain = torch.tensor([[10.0, 5.0, 5.0], [0.1, 10.0, 0.1], [0.1, 0.1, 10.0]])
    power_w = BASELINES[name](gain, 1.0, 1.0)
    torch.testing.assert_close(power_w, torch.tensor([0.0, 1.0, 1.0]), atol=0.01, rtol=0)
    reversed_power_w = BASELINES[name](gain.mT.contiguous(), 1.0, 1.0)
    torch.testing.assert_close(reversed_power_w, torch.ones(3), atol=0.01, rtol=0)


@pytest.mark.parametrize("name", ["wmmse", "fplinq", "exact", "itlinq", "full_power"])
def test_relabelling_links_relabels_powers(name: str) -> None:
    generator = torch.Generator().manual_seed(7)
    gain = 10 ** (5 * torch.rand(40, 4, 4, generator=generator, dtype=torch.float64) - 2)
    order = torch.tensor([2, 0, 3, 1])
    power_w = BASELINES[name](gain, 1.0, 1.0)
    relabelled = BASELINES[name](gain[:, order][:, :, order], 1.0, 1.0)
    torch.testing.assert_close(relabelled, power_w[:, order], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_leading_axes_are_independent_samples(name: str) -> None:
    generator = torch.Generator().manual_seed(8)
    gain = 10 ** (5 * torch.rand(2, 3, 4, 4, generator=generator) - 2)
    power_w = BASELINES[name](gain, 1.0, 1.0)
    assert power_w.shape == (2, 3, 4)
    assert power_w.dtype == gain.dtype
    if name != "random":
        one = BASELINES[name](gain[1, 2], 1.0, 1.0)
        torch.testing.assert_close(one, power_w[1, 2], atol=1e-5, rtol=0)
    assert BASELINES[name](gain[:0], 1.0, 1.0).shape == (0, 3, 4)


@pytest.mark.parametrize("name", sorted(BASELINES))
@pytest.mark.parametrize("offset_db", [-370.0, -200.0, 0.0, 200.0, 370.0])
@pytest.mark.parametrize("ratio_db", [-250.0, 0.0, 114.0, 250.0])
def test_extreme_dynamic_range_stays_finite(name: str, offset_db: float, ratio_db: float) -> None:
    generator = torch.Generator().manual_seed(9)
    spread = 10 ** (12 * torch.rand(32, 4, 4, generator=generator, dtype=torch.float64) - 12)
    gain = (spread * 10 ** (offset_db / 10)).float()
    gain[0] = torch.eye(4) * gain[0]  # no interference at all
    gain[1] = 0.0  # nothing at all
    gain[2, :, 0] = 0.0  # one dead receiver
    power_w = BASELINES[name](gain, 10 ** (ratio_db / 10), 1.0)
    assert power_w.isfinite().all()
    assert (power_w >= 0).all()
    assert (power_w <= gain.new_tensor(10 ** (ratio_db / 10))).all()


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"random"}))
@pytest.mark.parametrize("gain", [1e-30, 1e-12, 1.0, 1e30])
def test_a_single_link_transmits_all_it_may(name: str, gain: float) -> None:
    full = torch.full((5, 1), 0.01)
    # WMMSE leaves an isolated strong link where it starts.
    options = {"initial_power_w": full} if name == "wmmse" else {}
    power_w = BASELINES[name](torch.full((5, 1, 1), gain), 0.01, 4e-14, **options)
    torch.testing.assert_close(power_w, full)
