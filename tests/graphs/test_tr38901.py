"""TR 38.901 against sionna, and against numbers worked out from the standard's tables."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from metagnn.graphs.tr38901 import PROPAGATION, Site

DISTANCES_M = [3.0, 10.0, 17.0, 19.0, 60.0, 180.0, 240.0, 500.0, 900.0]
HEIGHTS_M = {"indoor_office": 5.0, "urban_micro": 10.0, "urban_macro": 25.0, "rural_macro": 35.0}


# Path loss [dB], probability of sight, standard deviation [dB] and distance [m] of the shadowing.
Column = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def reference() -> Callable[[str, bool, float], Column]:
    """What sionna says, of a name, sight and carrier."""
    from sionna.phy.channel.tr38901 import InH, PanelArray, RMa, UMa, UMi

    def compute(name: str, los: bool, frequency_hz: float) -> Column:
        array = PanelArray(
            num_rows_per_panel=1,
            num_cols_per_panel=1,
            polarization="single",
            polarization_type="V",
            antenna_pattern="omni",
            carrier_frequency=frequency_hz,
        )
        settings: dict[str, Any] = {
            "carrier_frequency": frequency_hz,
            "ut_array": array,
            "bs_array": array,
            "direction": "uplink",
            "precision": "double",
            "spec_version": "16.1",
        }
        kinds = {
            "indoor_office": (InH, {"indoor_scenario": "mixed"}),
            "urban_micro": (UMi, {"o2i_model": "low"}),
            "urban_macro": (UMa, {"o2i_model": "low"}),
            "rural_macro": (RMa, {}),
        }
        kind, more = kinds[name]
        model = kind(**settings, **more)
        count = len(DISTANCES_M)
        users = torch.tensor([[[d, 0.0, 1.5] for d in DISTANCES_M]], dtype=torch.float64)
        still = torch.zeros(1, count, 3, dtype=torch.float64)
        model.set_topology(
            users,
            torch.tensor([[[0.0, 0.0, HEIGHTS_M[name]]]], dtype=torch.float64),
            still,
            still[:, :1],
            still,
            torch.full((1, count), name == "indoor_office"),
            los=los,
        )
        scenario = model._scenario
        # The logarithms of large-scale parameters are decades; the fourth is the shadowing's.
        std_db = 10.0 * scenario.lsp_log_std[..., 3]
        distance_m = scenario.get_param("corrDistSF")
        found = (scenario.basic_pathloss, scenario.los_probability, std_db, distance_m)
        pathloss_db, probability, std_db, distance_m = (v.flatten().double() for v in found)
        return pathloss_db, probability, std_db, distance_m

    return compute


@pytest.mark.parametrize("frequency_hz", [2e9, 6e9])
@pytest.mark.parametrize("los", [True, False])
@pytest.mark.parametrize("name", list(HEIGHTS_M))
def test_path_loss_sight_and_shadowing_are_those_of_sionna(
    name: str,
    los: bool,
    frequency_hz: float,
    reference: Callable[[str, bool, float], Column],
) -> None:
    distance_m = torch.tensor(DISTANCES_M, dtype=torch.float64)
    wanted_db, probability, std_db, over_m = reference(name, los, frequency_hz)
    model, site = PROPAGATION[name], Site(HEIGHTS_M[name], 1.5, frequency_hz)
    found = (model.los_db if los else model.nlos_db)(distance_m, site)
    torch.testing.assert_close(found, wanted_db, atol=1e-2, rtol=0)
    torch.testing.assert_close(model.los_probability(distance_m), probability, atol=1e-5, rtol=0)
    found = torch.full_like(std_db, model.los_shadowing_db if los else model.nlos_shadowing_db)
    torch.testing.assert_close(found, std_db, atol=1e-6, rtol=0)
    found_m = model.los_shadowing_distance_m if los else model.nlos_shadowing_distance_m
    assert over_m.tolist() == [found_m] * len(DISTANCES_M)


@pytest.mark.parametrize(
    ("name", "los", "distance_m", "wanted_db"),
    [
        # 3-4-5 triangles make the distance between the antennas 10 or 50 m; 20 log10 6 = 15.563.
        ("indoor_office", True, math.sqrt(100 - 3.5**2), 32.4 + 17.3 + 15.563),
        ("indoor_office", False, math.sqrt(100 - 3.5**2), 38.3 + 17.3 + 19.376),
        ("indoor_office_optional", False, math.sqrt(100 - 3.5**2), 32.4 + 31.9 + 15.563),
        ("urban_micro", True, math.sqrt(2500 - 8.5**2), 32.4 + 21 * 1.69897 + 15.563),
        ("urban_micro", False, math.sqrt(2500 - 8.5**2), 22.4 + 35.3 * 1.69897 + 16.574),
        ("urban_micro_optional", False, math.sqrt(2500 - 8.5**2), 32.4 + 31.9 * 1.69897 + 15.563),
        ("urban_macro", True, math.sqrt(2500 - 23.5**2), 28.0 + 22 * 1.69897 + 15.563),
        ("urban_macro", False, math.sqrt(2500 - 23.5**2), 13.54 + 39.08 * 1.69897 + 15.563),
        ("urban_macro_optional", False, math.sqrt(2500 - 23.5**2), 32.4 + 30 * 1.69897 + 15.563),
    ],
)
def test_rows_of_the_table(name: str, los: bool, distance_m: float, wanted_db: float) -> None:
    base_m = HEIGHTS_M[name.removesuffix("_optional")]
    model = PROPAGATION[name]
    found = (model.los_db if los else model.nlos_db)(
        torch.tensor([distance_m], dtype=torch.float64), Site(base_m)
    )
    assert float(found) == pytest.approx(wanted_db, abs=2e-3)


def test_line_of_sight_beyond_the_breakpoint_falls_by_40_db_per_decade() -> None:
    distance_m = torch.tensor([2000.0, 20000.0], dtype=torch.float64)
    for name in ("urban_micro", "urban_macro"):
        site = Site(HEIGHTS_M[name])
        assert site.breakpoint_m() < 2000.0
        near, far = PROPAGATION[name].los_db(distance_m, site).tolist()
        assert far - near == pytest.approx(40.0, abs=0.01)


def test_the_street_models_are_continuous_at_the_breakpoint() -> None:
    for name in ("urban_micro", "urban_macro", "rural_macro"):
        site = Site(HEIGHTS_M[name])
        at = 2 * math.pi * 35.0 * 1.5 * 6e9 / 299_792_458.0
        at = site.breakpoint_m() if name != "rural_macro" else at
        around = torch.tensor([at * (1 - 1e-6), at * (1 + 1e-6)], dtype=torch.float64)
        before, after = PROPAGATION[name].los_db(around, site).tolist()
        assert after == pytest.approx(before, abs=0.01)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("base_height_m", 0.0), ("user_height_m", -1.0), ("frequency_hz", math.nan)],
)
def test_a_site_needs_positive_numbers(argument: str, value: float) -> None:
    settings = {"base_height_m": 10.0, argument: value}
    with pytest.raises(ValueError, match=f"`{argument}` must be finite and > 0, got {value}"):
        Site(**settings)


def test_antennas_must_stand_above_the_effective_ground() -> None:
    with pytest.raises(ValueError, match=r"`user_height_m` must be above .* 1.0 m, got 0.5"):
        Site(10.0, 0.5).breakpoint_m()
