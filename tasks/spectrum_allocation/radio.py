"""The radio of integrated access and backhaul: bands, powers and what they carry (paper C)."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from metagnn.graphs.checks import (
    check_count,
    check_finite,
    check_non_negative,
    check_positive,
    require,
)
from metagnn.graphs.units import db_to_linear, dbm_to_w, thermal_noise_w


@dataclass(frozen=True)
class Radio:
    """The downlink, whose bands all links reuse.

    Bands, levels, floor, limit and coherence are those of the paper's public code; it has no
    bandwidth, noise or antennas in physical units.

    Attributes:
        num_bands: Number of bands N.
        bandwidth_hz: Bandwidth W of a band [Hz].
        power_levels_dbm: Transmit powers on a band that a node may choose from, rising [dBm].
        efficiency_max: Largest spectral efficiency [bit/s/Hz]: 256-QAM at code rate 948/1024 (3GPP
            TS 38.214, Table 5.2.2.1-3).
        sinr_min_db: Smallest SINR at which a transmission succeeds [dB].
        latency_limit: Oldest age of a bit that is no violation [slots].
        starvation_limit: Longest time for which something may wait for a link that is not
            served and is no violation [slots].
        slot_s: Length of a slot [s].
        coherence: Correlation of the fading's amplitude from slot to slot, in [0, 1).
        noise_density_dbm_hz: Noise power spectral density [dBm/Hz].
        noise_figure_db: Noise figure of all receivers [dB].
        node_antenna_gain_db: Antenna gain of a node, sending and receiving [dB].
        user_antenna_gain_db: Antenna gain of a user [dB].

    Raises:
        ValueError: If there is no band or level, the levels do not rise, or a number is out of
            range.
    """

    num_bands: int = 5
    bandwidth_hz: float = 4e6
    power_levels_dbm: tuple[float, ...] = (0.0, 23.0 / 3.0, 46.0 / 3.0, 23.0)
    efficiency_max: float = 7.4063
    sinr_min_db: float = 5.0
    latency_limit: int = 50
    starvation_limit: int = 20
    slot_s: float = 0.01
    coherence: float = 0.9
    noise_density_dbm_hz: float = -174.0
    noise_figure_db: float = 7.0
    node_antenna_gain_db: float = 8.0
    user_antenna_gain_db: float = 0.0

    def __post_init__(self) -> None:
        check_count("num_bands", self.num_bands)
        check_positive("bandwidth_hz", self.bandwidth_hz)
        levels = self.power_levels_dbm
        require(len(levels) > 0, "power_levels_dbm", "hold a level", levels)
        for level in levels:
            check_finite("power_levels_dbm", level)
        rising = all(low < high for low, high in pairwise(levels))
        require(rising, "power_levels_dbm", "rise", levels)
        check_positive("efficiency_max", self.efficiency_max)
        check_count("latency_limit", self.latency_limit)
        check_count("starvation_limit", self.starvation_limit)
        check_positive("slot_s", self.slot_s)
        require(0.0 <= self.coherence < 1.0, "coherence", "be in [0, 1)", self.coherence)
        check_non_negative("noise_figure_db", self.noise_figure_db)
        for name in (
            "sinr_min_db",
            "noise_density_dbm_hz",
            "node_antenna_gain_db",
            "user_antenna_gain_db",
        ):
            check_finite(name, getattr(self, name))

    @property
    def num_levels(self) -> int:
        """Number of powers P, without that of being off."""
        return len(self.power_levels_dbm)

    @property
    def power_max_w(self) -> float:
        """Largest power on a band [W]."""
        return dbm_to_w(self.power_levels_dbm[-1])

    @property
    def sinr_min(self) -> float:
        """Smallest SINR [1]."""
        return db_to_linear(self.sinr_min_db)

    @property
    def noise_w(self) -> float:
        """Noise power on a band [W]."""
        return thermal_noise_w(self.bandwidth_hz, self.noise_density_dbm_hz, self.noise_figure_db)

    @cached_property
    def _levels_w(self) -> tuple[float, ...]:
        return (0.0, *(dbm_to_w(dbm) for dbm in self.power_levels_dbm))

    def power_w(self, level: Tensor) -> Tensor:
        """Powers of levels 0 (off) to P [W], of any shape."""
        return torch.tensor(self._levels_w, device=level.device)[level]

    def bit(self, sinr: Tensor) -> Tensor:
        """Whole bits that a band carries in a slot at these SINRs, below the floor too."""
        rate_bit_s = self.bandwidth_hz * self.efficiency(sinr.double())
        return (self.slot_s * rate_bit_s).floor()

    def efficiency(self, sinr: Tensor) -> Tensor:
        """Spectral efficiencies at these SINRs [bit/s/Hz]."""
        return torch.log2(1.0 + sinr).clamp(max=self.efficiency_max)
