import math

import pytest
import torch

from metagnn.graphs.units import (
    db_to_linear,
    dbm_to_w,
    linear_to_db,
    thermal_noise_w,
    w_to_dbm,
)


def test_decibels() -> None:
    assert db_to_linear(0.0) == 1.0
    assert db_to_linear(30.0) == pytest.approx(1000.0)
    assert db_to_linear(-3.0103) == pytest.approx(0.5, rel=1e-5)
    assert linear_to_db(0.01) == pytest.approx(-20.0)


def test_dbm_and_watts() -> None:
    assert dbm_to_w(10.0) == pytest.approx(0.01)
    assert dbm_to_w(30.0) == pytest.approx(1.0)
    assert w_to_dbm(0.2) == pytest.approx(23.0103, abs=1e-4)
    assert w_to_dbm(dbm_to_w(-104.0)) == pytest.approx(-104.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_and_numbers_are_one_function(dtype: torch.dtype) -> None:
    levels = torch.tensor([[-104.0, 0.0, 10.0], [23.0, 24.0, 30.0]], dtype=dtype)
    for function in (dbm_to_w, db_to_linear):
        found = function(levels)
        wanted = [[function(level) for level in row] for row in levels.tolist()]
        assert found.dtype == dtype
        torch.testing.assert_close(found, torch.tensor(wanted, dtype=dtype))
        assert all(isinstance(value, float) for row in wanted for value in row)
    powers = dbm_to_w(levels)
    assert float(powers[0, 2]) == pytest.approx(0.01)
    level = levels.clone().requires_grad_()
    (slope,) = torch.autograd.grad(dbm_to_w(level).sum(), level)
    torch.testing.assert_close(slope, powers * math.log(10.0) / 10.0)


def test_thermal_noise_over_ten_megahertz_is_minus_104_dbm() -> None:
    noise_w = thermal_noise_w(10e6)
    assert w_to_dbm(noise_w) == pytest.approx(-104.0)
    assert noise_w == pytest.approx(3.981e-14, rel=1e-4)


def test_noise_figure_and_density_add_in_decibels() -> None:
    assert w_to_dbm(thermal_noise_w(5e6, -169.0, 6.0)) == pytest.approx(
        -163.0 + 10.0 * math.log10(5e6)
    )


def test_rejected() -> None:
    with pytest.raises(ValueError, match="`bandwidth_hz` must be finite and > 0, got 0"):
        thermal_noise_w(0.0)
    with pytest.raises(ValueError, match="`noise_figure_db` must be finite and >= 0, got -1"):
        thermal_noise_w(1e6, noise_figure_db=-1.0)
    with pytest.raises(ValueError, match="`value` must be finite and > 0"):
        linear_to_db(0.0)
    with pytest.raises(ValueError, match="must be finite and > 0"):
        w_to_dbm(-1.0)
