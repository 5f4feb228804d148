"""Energy efficiency, its best power in closed form, and the optimum against exhaustive search."""

import math

import pytest
import torch

from metagnn.graphs.randomness import generator
from metagnn.tasks.channel_assignment.energy_efficiency import (
    best_power,
    energy_efficiency,
    permitted_power,
)
from metagnn.tasks.channel_assignment.environment import Action, transmit
from metagnn.tasks.channel_assignment.optimum import best_efficiency, exhaustive, optimum
from metagnn.tasks.channel_assignment.scenario import SCENARIOS, Scenario, Uplink, scenario

UPLINK = Uplink()


def _gain_to_noise(*shape: int) -> torch.Tensor:
    """From hopeless (below the SNR at full power) to 80 dB at full power."""
    decades = -1.0 + 9.0 * torch.rand(*shape, generator=generator(0, "gains"), dtype=torch.float64)
    return 10.0**decades / UPLINK.power_max_w


def test_efficiency_by_hand() -> None:
    # 0.1 W at h / N = 70 gives SNR 7: 3 bit/s/Hz of 2 Hz for 0.1 + 0.05 W.
    found = energy_efficiency(torch.tensor(0.1), torch.tensor(70.0), torch.tensor(2.0), 0.05)
    assert float(found) == pytest.approx(40.0)


def test_best_power_beats_a_fine_grid() -> None:
    ratio = _gain_to_noise(200)
    power_w = best_power(ratio, UPLINK)
    grid_w = 10.0 ** torch.linspace(-3.0, math.log10(UPLINK.power_max_w), 20001).double()
    value = energy_efficiency(grid_w, ratio.unsqueeze(-1), torch.tensor(1.0), 0.0631)
    allowed = grid_w * ratio.unsqueeze(-1) >= UPLINK.snr_min
    best = value.masked_fill(~allowed, -1.0).amax(-1)
    possible = allowed.any(-1)
    assert 0 < int(possible.sum()) < 200
    found = energy_efficiency(power_w, ratio, torch.tensor(1.0), 0.0631)
    assert bool((power_w[~possible] == 0).all())
    assert bool((found[possible] >= best[possible] * (1 - 1e-6)).all())
    torch.testing.assert_close(found[possible], best[possible], rtol=1e-3, atol=0)
    snr = (power_w * ratio)[possible]
    assert bool((snr >= UPLINK.snr_min * (1 - 1e-9)).all())
    assert bool((power_w[possible] >= UPLINK.power_min_w).all())
    assert bool((power_w <= UPLINK.power_max_w).all())


def test_derivative_vanishes_at_an_inner_best_power() -> None:
    ratio = torch.tensor([1e4], dtype=torch.float64)
    power_w = best_power(ratio, UPLINK)
    assert UPLINK.power_min_w < float(power_w) < UPLINK.power_max_w
    power_w.requires_grad_()
    value = energy_efficiency(power_w, ratio, torch.tensor(1.0), UPLINK.circuit_power_w).sum()
    (slope,) = torch.autograd.grad(value, power_w)
    assert abs(float(slope * power_w.detach() / value.detach())) < 1e-6


def test_too_small_a_power_becomes_the_largest_and_a_hopeless_one_zero() -> None:
    # SNR floor 10**0.5 = 3.16; largest power 0.2512 W.
    ratio = torch.tensor([100.0, 100.0, 1.0])
    found = permitted_power(torch.tensor([0.1, 0.01, 0.2]), ratio, UPLINK)
    torch.testing.assert_close(found, torch.tensor([0.1, UPLINK.power_max_w, 0.0]))


@pytest.mark.parametrize("num_users", [1, 2, 4])
def test_the_hungarian_optimum_is_that_of_exhaustive_search(num_users: int) -> None:
    uplink = Uplink(bandwidth_hz=(1.8e5, 1.8e5, 3.6e5, 7.2e5, 1.44e6))
    ratio = _gain_to_noise(20, num_users, 5)
    channel, power_w = optimum(ratio, uplink)
    outcome = transmit(Action(channel, power_w), ratio, uplink)
    assert bool(outcome.alone.all())
    efficiency, _ = best_efficiency(ratio, uplink)
    for cell in range(20):
        _, wanted = exhaustive(efficiency[cell])
        found = outcome.energy_efficiency[cell].sum()
        assert float(found) == pytest.approx(float(wanted), rel=1e-5)


def test_noise_is_density_times_figure_of_the_base_station() -> None:
    # Urban micro: -170 dBm/Hz + 5 dB over 180 kHz.
    found = SCENARIOS["urban_micro"].noise_w(UPLINK.bandwidth_hz)
    wanted = 10 ** ((-170 + 5 - 30) / 10) * 180e3
    assert float(found[0]) == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(found[-1] / found[0], torch.tensor(8.0))


def test_bandwidths_are_those_of_the_paper() -> None:
    wanted = [0.18, 0.18, 0.36, 0.36, 0.36, 0.72, 0.72, 0.72, 1.44, 1.44]
    assert [w / 1e6 for w in UPLINK.bandwidth_hz] == pytest.approx(wanted)


def test_the_papers_shadowing_factors_and_its_equation_1() -> None:
    std_db = [scenario(name).model.nlos_shadowing_db for name in SCENARIOS]
    assert std_db == [8.29, 7.82, 7.8, 8.0]
    macro = scenario("urban_macro")
    ground_m = torch.tensor([math.sqrt(200.0**2 - 23.5**2)], dtype=torch.float64)
    wanted = 32.4 + 20 * math.log10(6.0) + 30 * math.log10(200.0)
    assert float(macro.model.nlos_db(ground_m, macro.site)) == pytest.approx(wanted)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"`scenario` must be one of .*'indoor'.* got 'moon'"):
        scenario("moon")
    with pytest.raises(ValueError, match=r"`propagation` must be one of .*, got 'x'"):
        Scenario(1.0, 5.0, -160.0, "x")
    with pytest.raises(ValueError, match=r"`area_m` must be finite and > 0, got 0.0"):
        Scenario(0.0, 5.0, -160.0, "urban_micro")
    with pytest.raises(ValueError, match=r"`bandwidth_hz` must hold a subchannel, got \(\)"):
        Uplink(bandwidth_hz=())
    with pytest.raises(ValueError, match=r"`bandwidth_hz` must be finite and > 0, got -1.0"):
        Uplink(bandwidth_hz=(1.0, -1.0))
    with pytest.raises(ValueError, match=r"`power_min_dbm` must be < power_max_dbm = 24.0, got 30"):
        Uplink(power_min_dbm=30.0)
    with pytest.raises(ValueError, match=r"`snr_min_db` must be finite, got nan"):
        Uplink(snr_min_db=math.nan)
    with pytest.raises(ValueError, match=r"`speed_max_m_s` must be finite and >= 0, got -3.0"):
        Scenario(1.0, 5.0, -160.0, "urban_micro", speed_max_m_s=-3.0)
