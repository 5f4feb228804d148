"""Cells of paper B: four propagation scenarios and the constants of its Table I."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.graphs.checks import check_finite, check_non_negative, check_positive, require
from metagnn.graphs.tr38901 import PROPAGATION, Propagation, Site
from metagnn.graphs.units import db_to_linear, dbm_to_w, thermal_noise_w

# Section IV: 1, 2, 4 and 8 resource blocks of 12 subcarriers of 15 kHz each.
BANDWIDTH_HZ = tuple(blocks * 12 * 15e3 for blocks in (1, 1, 2, 2, 2, 4, 4, 4, 8, 8))


@dataclass(frozen=True)
class Uplink:
    """What a user may do and what it costs (paper B, Table I).

    Attributes:
        bandwidth_hz: Bandwidths W_n of the subchannels [Hz].
        power_min_dbm: Smallest transmit power [dBm].
        power_max_dbm: Largest transmit power [dBm].
        circuit_power_dbm: Static and circuit power p^c [dBm].
        snr_min_db: Smallest SNR [dB].

    Raises:
        ValueError: If there is no subchannel, a bandwidth is not positive or the powers cross.
    """

    bandwidth_hz: tuple[float, ...] = BANDWIDTH_HZ
    power_min_dbm: float = 0.0
    power_max_dbm: float = 24.0
    circuit_power_dbm: float = 18.0
    snr_min_db: float = 5.0

    def __post_init__(self) -> None:
        require(len(self.bandwidth_hz) > 0, "bandwidth_hz", "hold a subchannel", self.bandwidth_hz)
        for bandwidth in self.bandwidth_hz:
            check_positive("bandwidth_hz", bandwidth)
        for name in ("power_min_dbm", "power_max_dbm", "circuit_power_dbm", "snr_min_db"):
            check_finite(name, getattr(self, name))
        rule = f"be < power_max_dbm = {self.power_max_dbm}"
        require(self.power_min_dbm < self.power_max_dbm, "power_min_dbm", rule, self.power_min_dbm)

    @property
    def num_channels(self) -> int:
        """Number of subchannels N."""
        return len(self.bandwidth_hz)

    @property
    def power_min_w(self) -> float:
        """Smallest transmit power [W]."""
        return dbm_to_w(self.power_min_dbm)

    @property
    def power_max_w(self) -> float:
        """Largest transmit power [W]."""
        return dbm_to_w(self.power_max_dbm)

    @property
    def circuit_power_w(self) -> float:
        """Static and circuit power [W]."""
        return dbm_to_w(self.circuit_power_dbm)

    @property
    def snr_min(self) -> float:
        """Smallest SNR [1]."""
        return db_to_linear(self.snr_min_db)


@dataclass(frozen=True)
class Scenario:
    """A square cell with its base station in the centre (paper B, Section IV).

    The receiver is the base station, so the noise is the scenario's density times the *base
    station's* noise figure; the users' noise figure of Table I has no part in the uplink. Both
    antenna gains multiply the channel gain.

    Attributes:
        area_m: Side of the square [m].
        base_height_m: Height of the base station's antenna [m].
        noise_density_dbm_hz: Noise power spectral density [dBm/Hz].
        propagation: Name of a column of TR 38.901 in `tr38901.PROPAGATION`.
        line_of_sight: Draw lines of sight with their probability; the paper has none (Section II).
        user_height_m: Height of the users' antennas [m].
        frequency_hz: Carrier of every subchannel [Hz].
        base_antenna_gain_db: Antenna gain of the base station [dB].
        user_antenna_gain_db: Antenna gain of the users [dB].
        base_noise_figure_db: Noise figure of the base station [dB].
        speed_max_m_s: Largest speed of the users [m/s].

    Raises:
        ValueError: If a length is not positive or the propagation is unknown.
    """

    area_m: float
    base_height_m: float
    noise_density_dbm_hz: float
    propagation: str
    line_of_sight: bool = False
    user_height_m: float = 1.5
    frequency_hz: float = 6e9
    base_antenna_gain_db: float = 8.0
    user_antenna_gain_db: float = 3.0
    base_noise_figure_db: float = 5.0
    speed_max_m_s: float = 1.0

    def __post_init__(self) -> None:
        check_positive("area_m", self.area_m)
        known = list(PROPAGATION)
        require(self.propagation in known, "propagation", f"be one of {known}", self.propagation)
        check_non_negative("speed_max_m_s", self.speed_max_m_s)
        check_non_negative("base_noise_figure_db", self.base_noise_figure_db)
        for name in ("noise_density_dbm_hz", "base_antenna_gain_db", "user_antenna_gain_db"):
            check_finite(name, getattr(self, name))
        _ = self.site

    @property
    def site(self) -> Site:
        """Heights and carrier."""
        return Site(self.base_height_m, self.user_height_m, self.frequency_hz)

    @property
    def model(self) -> Propagation:
        """Path loss, line of sight and shadowing."""
        return PROPAGATION[self.propagation]

    @property
    def antenna_gain_db(self) -> float:
        """Gain of both antennas [dB]."""
        return self.base_antenna_gain_db + self.user_antenna_gain_db

    def noise_w(self, bandwidth_hz: tuple[float, ...]) -> Tensor:
        """Noise powers of subchannels ``[N]`` [W] (below Eq. 3)."""
        density, figure_db = self.noise_density_dbm_hz, self.base_noise_figure_db
        return torch.tensor(
            [thermal_noise_w(w, density, figure_db) for w in bandwidth_hz], device="cpu"
        )


# The shadowing factors of Section IV (8.29, 7.82, 7.8, 8 dB) and its Eq. 1 belong to the optional
# NLOS models of indoor office and urban macro, and to the main ones of the other two.
SCENARIOS = {
    "indoor": Scenario(25.0, 5.0, -160.0, "indoor_office_optional"),
    "urban_micro": Scenario(100.0, 10.0, -170.0, "urban_micro"),
    "urban_macro": Scenario(500.0, 25.0, -180.0, "urban_macro_optional"),
    "rural_macro": Scenario(1000.0, 35.0, -185.0, "rural_macro"),
}


def scenario(name: str) -> Scenario:
    """Scenario of the paper by its name.

    Raises:
        ValueError: If there is none of that name.
    """
    require(name in SCENARIOS, "scenario", f"be one of {list(SCENARIOS)}", name)
    return SCENARIOS[name]
