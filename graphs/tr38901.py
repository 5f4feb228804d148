"""Path loss, line-of-sight probability and shadowing of 3GPP TR 38.901 (V16.1.0), Section 7.4."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metagnn.graphs.checks import check_positive, require

SPEED_OF_LIGHT_M_S = 299_792_458.0


@dataclass(frozen=True)
class Site:
    """Heights and carrier of a base station and its users.

    Attributes:
        base_height_m: Height of the base station's antenna [m].
        user_height_m: Height of the users' antennas [m].
        frequency_hz: Carrier [Hz].
    """

    base_height_m: float
    user_height_m: float = 1.5
    frequency_hz: float = 6e9

    def __post_init__(self) -> None:
        check_positive("base_height_m", self.base_height_m)
        check_positive("user_height_m", self.user_height_m)
        check_positive("frequency_hz", self.frequency_hz)

    def distance_3d_m(self, distance_2d_m: Tensor) -> Tensor:
        """Distance between the antennas [m] from that on the ground."""
        return torch.hypot(
            distance_2d_m, distance_2d_m.new_tensor(self.base_height_m - self.user_height_m)
        )

    @property
    def _frequency_db(self) -> float:
        """20 log10 of the carrier in GHz."""
        return 20.0 * math.log10(self.frequency_hz / 1e9)

    def breakpoint_m(self, ground_m: float = 1.0) -> float:
        """Breakpoint distance d'_BP [m] above a ground of effective height (Note 1: 1 m)."""
        for name in ("base_height_m", "user_height_m"):
            rule = f"be above the effective ground of {ground_m} m"
            require(getattr(self, name) > ground_m, name, rule, getattr(self, name))
        heights_m2 = (self.base_height_m - ground_m) * (self.user_height_m - ground_m)
        return 4.0 * heights_m2 * self.frequency_hz / SPEED_OF_LIGHT_M_S


def _indoor_office_los_db(distance_2d_m: Tensor, site: Site) -> Tensor:
    return 32.4 + 17.3 * site.distance_3d_m(distance_2d_m).log10() + site._frequency_db


def _indoor_office_nlos_db(distance_2d_m: Tensor, site: Site) -> Tensor:
    nlos = 38.3 * site.distance_3d_m(distance_2d_m).log10() + 17.30 + 1.245 * site._frequency_db
    return torch.maximum(_indoor_office_los_db(distance_2d_m, site), nlos)


def _two_slopes_db(
    distance_2d_m: Tensor, site: Site, at_1_m_db: float, slope: float, height_factor: float
) -> Tensor:
    """Line of sight in streets: ``slope`` dB per decade up to the breakpoint, 40 beyond it."""
    distance = site.distance_3d_m(distance_2d_m).log10()
    breakpoint_m = site.breakpoint_m()
    height_m = site.base_height_m - site.user_height_m
    near = at_1_m_db + slope * distance
    beyond = at_1_m_db - height_factor * math.log10(breakpoint_m**2 + height_m**2)
    far = beyond + 40.0 * distance
    return torch.where(distance_2d_m <= breakpoint_m, near, far) + site._frequency_db


def _urban_micro_los_db(distance_2d_m: Tensor, site: Site) -> Tensor:
    return _two_slopes_db(distance_2d_m, site, 32.4, 21.0, 9.5)


def _urban_micro_nlos_db(distance_2d_m: Tensor, site: Site) -> Tensor:
    nlos = 35.3 * site.distance_3d_m(distance_2d_m).log10() + 22.4 + 1.065 * site._frequency_db
    nlos = nlos - 0.3 * (site.user_height_m - 1.5)
    return torch.maximum(_urban_micro_los_db(distance_2d_m, site), nlos)


def _urban_macro_los_db(distance_2d_m: Tensor, site: Site) -> Tensor:
    return _two_slopes_db(distance_2d_m, site, 28.0, 22.0, 9.0)


def _urban_macro_nlos_db(distance_2d_m: Tensor, site: Site) -> Tensor:
    nlos = 13.54 + 39.08 * site.distance_3d_m(distance_2d_m).log10() + site._frequency_db
    nlos = nlos - 0.6 * (site.user_height_m - 1.5)
    return torch.maximum(_urban_macro_los_db(distance_2d_m, site), nlos)


# Average height of buildings and width of streets [m] in the rural model.
BUILDING_M, STREET_M = 5.0, 20.0


def _rural_macro_los_db(distance_2d_m: Tensor, site: Site) -> Tensor:
    breakpoint_m = (
        2.0 * math.pi * site.base_height_m * site.user_height_m * site.frequency_hz
    ) / SPEED_OF_LIGHT_M_S
    roughness = BUILDING_M**1.72
    at_1_m_db = 20.0 * math.log10(40.0 * math.pi / 3.0) + site._frequency_db
    at_1_m_db -= min(0.044 * roughness, 14.77)

    slope, per_m_db = 20.0 + min(0.03 * roughness, 10.0), 0.002 * math.log10(BUILDING_M)
    # The breakpoint lies on the ground, the distance is that between the antennas.
    distance_m = site.distance_3d_m(distance_2d_m)
    near = at_1_m_db + slope * distance_m.log10() + per_m_db * distance_m
    at_break_db = at_1_m_db + slope * math.log10(breakpoint_m) + per_m_db * breakpoint_m
    far = at_break_db + 40.0 * (distance_m / breakpoint_m).log10()
    return torch.where(distance_2d_m <= breakpoint_m, near, far)


def _rural_macro_nlos_db(distance_2d_m: Tensor, site: Site) -> Tensor:
    base_m, user_m = site.base_height_m, site.user_height_m
    nlos = (
        161.04
        - 7.1 * math.log10(STREET_M)
        + 7.5 * math.log10(BUILDING_M)
        - (24.37 - 3.7 * (BUILDING_M / base_m) ** 2) * math.log10(base_m)
        + (43.42 - 3.1 * math.log10(base_m)) * (site.distance_3d_m(distance_2d_m).log10() - 3.0)
        + site._frequency_db
        - (3.2 * math.log10(11.75 * user_m) ** 2 - 4.97)
    )
    return torch.maximum(_rural_macro_los_db(distance_2d_m, site), nlos)


def _indoor_office_probability(distance_2d_m: Tensor) -> Tensor:
    """Mixed office."""
    near = torch.exp(-(distance_2d_m - 1.2).clamp(min=0.0) / 4.7)
    far = 0.32 * torch.exp(-(distance_2d_m - 6.5) / 32.6)
    return torch.where(distance_2d_m < 6.5, near, far)


def _street_probability(reach_m: float) -> Callable[[Tensor], Tensor]:
    """Urban micro and, for users below 13 m, urban macro."""

    def probability(distance_2d_m: Tensor) -> Tensor:
        distance_m = distance_2d_m.clamp(min=18.0)
        return 18.0 / distance_m + torch.exp(-distance_m / reach_m) * (1.0 - 18.0 / distance_m)

    return probability


def _rural_probability(distance_2d_m: Tensor) -> Tensor:
    return torch.exp(-(distance_2d_m - 10.0).clamp(min=0.0) / 1000.0)


PathLoss = Callable[[Tensor, Site], Tensor]


@dataclass(frozen=True)
class Propagation:
    """One column of TR 38.901: Table 7.4.1-1 (path loss), 7.4.2-1 (line of sight), 7.5-6.

    Left out: users above 13 m in urban macro (their line of sight is likelier and their effective
    ground random), losses into buildings, and the ranges of the formulas, which are evaluated at
    any distance.

    Attributes:
        los_probability: Probability of a line of sight, of distances on the ground [m].
        los_db: Path loss with a line of sight [dB], of distances on the ground [m] and the site.
        nlos_db: The same without.
        los_shadowing_db: Standard deviation of the shadowing with a line of sight [dB].
        nlos_shadowing_db: The same without.
        los_shadowing_distance_m: Distance over which shadowing with a line of sight decorrelates by
            1/e [m].
        nlos_shadowing_distance_m: The same without.
    """

    los_probability: Callable[[Tensor], Tensor]
    los_db: PathLoss
    nlos_db: PathLoss
    los_shadowing_db: float
    nlos_shadowing_db: float
    los_shadowing_distance_m: float
    nlos_shadowing_distance_m: float


_INDOOR_OFFICE = Propagation(
    _indoor_office_probability,
    _indoor_office_los_db,
    _indoor_office_nlos_db,
    los_shadowing_db=3.0,
    nlos_shadowing_db=8.03,
    los_shadowing_distance_m=10.0,
    nlos_shadowing_distance_m=6.0,
)
_URBAN_MICRO = Propagation(
    _street_probability(36.0),
    _urban_micro_los_db,
    _urban_micro_nlos_db,
    los_shadowing_db=4.0,
    nlos_shadowing_db=7.82,
    los_shadowing_distance_m=10.0,
    nlos_shadowing_distance_m=13.0,
)
_URBAN_MACRO = Propagation(
    _street_probability(63.0),
    _urban_macro_los_db,
    _urban_macro_nlos_db,
    los_shadowing_db=4.0,
    nlos_shadowing_db=6.0,
    los_shadowing_distance_m=37.0,
    nlos_shadowing_distance_m=50.0,
)
# Beyond the breakpoint, kilometres away at 6 GHz, the shadowing with a line of sight is 6 dB.
_RURAL_MACRO = Propagation(
    _rural_probability,
    _rural_macro_los_db,
    _rural_macro_nlos_db,
    los_shadowing_db=4.0,
    nlos_shadowing_db=8.0,
    los_shadowing_distance_m=37.0,
    nlos_shadowing_distance_m=120.0,
)


def _optional(main: Propagation, slope: float, nlos_shadowing_db: float) -> Propagation:
    """The column with its *optional* NLOS model, ``32.4 + 20 log10 f_GHz + slope log10 d_3D``."""

    def nlos_db(distance_2d_m: Tensor, site: Site) -> Tensor:
        return 32.4 + slope * site.distance_3d_m(distance_2d_m).log10() + site._frequency_db

    return replace(main, nlos_db=nlos_db, nlos_shadowing_db=nlos_shadowing_db)


PROPAGATION = {
    "indoor_office": _INDOOR_OFFICE,
    "indoor_office_optional": _optional(_INDOOR_OFFICE, 31.9, 8.29),
    "urban_micro": _URBAN_MICRO,
    "urban_micro_optional": _optional(_URBAN_MICRO, 31.9, 8.2),
    "urban_macro": _URBAN_MACRO,
    "urban_macro_optional": _optional(_URBAN_MACRO, 30.0, 7.8),
    "rural_macro": _RURAL_MACRO,
}
