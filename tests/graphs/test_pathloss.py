import pytest
import torch

from metagnn.graphs.pathloss import dual_slope_db, free_space_db, short_range_itu_db


def test_dual_slope_at_decades() -> None:
    loss_db = dual_slope_db(torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    assert loss_db.tolist() == pytest.approx([39.0, 59.0, 79.0, 119.0], abs=1e-4)


def test_dual_slope_is_continuous_at_the_break_and_increases() -> None:
    below, above = dual_slope_db(torch.tensor([99.99, 100.01], dtype=torch.float64)).tolist()
    assert below == pytest.approx(above, abs=6e-3)
    assert above > below
    loss_db = dual_slope_db(torch.linspace(1.0, 500.0, 2000))
    assert (loss_db.diff() > 0).all()


def test_free_space() -> None:
    distance_m = torch.tensor([100.0, 1000.0], dtype=torch.float64)
    frequency_hz = torch.tensor([2.4e9, 5.5e9], dtype=torch.float64)
    # 32.45 + 20 log10(f / MHz) + 20 log10(d / km)
    assert free_space_db(distance_m, frequency_hz).tolist() == pytest.approx(
        [80.05, 107.26], abs=6e-3
    )


def test_free_space_broadcasts_frequency_over_receivers() -> None:
    distance_m = torch.full((2, 2), 100.0)
    loss_db = free_space_db(distance_m, torch.tensor([2.4e9, 4.8e9]))
    assert (loss_db[:, 1] - loss_db[:, 0]).tolist() == pytest.approx([6.0206] * 2, abs=1e-3)


def test_short_range_itu_at_and_around_the_break_point() -> None:
    # wavelength 0.12491 m, so the break is at 4 * 1.5^2 / 0.12491 = 72.05 m, the loss there
    # |20 log10(0.12491^2 / (8 pi 1.5^2))| + 6 = 71.18 + 6 dB
    break_m = 4.0 * 1.5**2 * 2.4e9 / 299_792_458.0
    distance_m = torch.tensor([break_m / 10.0, break_m, break_m * 10.0], dtype=torch.float64)
    loss_db = short_range_itu_db(distance_m)
    assert loss_db.tolist() == pytest.approx([57.18, 77.18, 117.18], abs=6e-3)
    assert break_m == pytest.approx(72.05, abs=5e-3)
