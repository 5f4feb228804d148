"""What paper D's small cells may do and what it costs: radio and computing (Section V-A)."""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from metagnn.graphs.checks import (
    check_count,
    check_finite,
    check_pair,
    check_positive,
    require,
)
from metagnn.graphs.units import dbm_to_w, thermal_noise_w
from metagnn.tasks.offloading.cost import Devices, Tasks

# Smallest and largest of numbers that are drawn uniformly.
Range = tuple[float, float]


@dataclass(frozen=True)
class Radio:
    """The uplink, which all cells reuse.

    Attributes:
        num_channels: Number of orthogonal channels K.
        bandwidth_hz: Bandwidth B of a channel [Hz].
        power_max_dbm: Largest transmit power [dBm].
        power_min_dbm: Smallest transmit power of a user that offloads [dBm]; the paper has none,
            and at -30 dBm a second costs a microjoule.
        noise_density_dbm_hz: Noise power spectral density N_0 [dBm/Hz].

    Raises:
        ValueError: If an attribute is out of range or the powers cross.
    """

    num_channels: int = 16
    bandwidth_hz: float = 10e6
    power_max_dbm: float = 23.0
    power_min_dbm: float = -30.0
    noise_density_dbm_hz: float = -174.0

    def __post_init__(self) -> None:
        check_count("num_channels", self.num_channels)
        check_positive("bandwidth_hz", self.bandwidth_hz)
        for name in ("power_max_dbm", "power_min_dbm", "noise_density_dbm_hz"):
            check_finite(name, getattr(self, name))
        rule = f"be < power_max_dbm = {self.power_max_dbm}"
        require(self.power_min_dbm < self.power_max_dbm, "power_min_dbm", rule, self.power_min_dbm)

    @property
    def power_max_w(self) -> float:
        """Largest transmit power [W]."""
        return dbm_to_w(self.power_max_dbm)

    @property
    def power_min_w(self) -> float:
        """Smallest transmit power of a user that offloads [W]."""
        return dbm_to_w(self.power_min_dbm)

    @property
    def noise_w(self) -> float:
        """Noise power on a channel [W]."""
        return thermal_noise_w(self.bandwidth_hz, self.noise_density_dbm_hz)


@dataclass(frozen=True)
class Computing:
    """Tasks and processors; each range is drawn from uniformly, per task, user or server.

    A kilobyte has 1000 bytes of 8 bits. A task's cycles are its bits times its cycles per bit, and
    its deadline a share of the time that its user would need for all of it.

    Attributes:
        size_bit: Sizes d of tasks [bit]: 200 to 300 KB.
        cycles_per_bit: Cycles per bit of tasks.
        deadline_share: Deadline over the time of local computing [1].
        user_hz: Speeds C of users [cycle/s].
        server_hz: Speeds of servers [cycle/s].
        user_j_per_cycle: Energies of users [J/cycle]: 1 J/Gcycle.
        server_j_per_cycle: Energies of servers [J/cycle]: 10 mJ/Gcycle.

    Raises:
        ValueError: If a number is not positive (a task of no size, a deadline of no time, a
            negative energy), or a range is not two numbers or its ends cross.
    """

    size_bit: Range = (200e3 * 8.0, 300e3 * 8.0)
    cycles_per_bit: Range = (500.0, 1000.0)
    deadline_share: float = 0.9
    user_hz: Range = (1e9, 1e9)
    server_hz: Range = (50e9, 50e9)
    user_j_per_cycle: Range = (1e-9, 1e-9)
    server_j_per_cycle: Range = (1e-11, 1e-11)

    def __post_init__(self) -> None:
        check_positive("deadline_share", self.deadline_share)
        for field in fields(self):
            if field.name == "deadline_share":
                continue
            limits, rule = getattr(self, field.name), "be a range (smallest, largest)"
            check_pair(field.name, limits, rule)
            low, high = limits
            check_positive(field.name, low)
            require(low <= high < math.inf, field.name, rule, limits)

    def tasks(self, user_hz: Tensor, generator: torch.Generator) -> Tasks:
        """A new task for every user, whose speeds are ``user_hz [B, I]``."""
        shape = tuple(user_hz.shape)
        size_bit = _uniform(self.size_bit, shape, generator)
        cycles = size_bit * _uniform(self.cycles_per_bit, shape, generator)
        return Tasks(size_bit, cycles, self.deadline_share * cycles / user_hz)

    def devices(
        self, batch: int, num_users: int, num_cells: int, generator: torch.Generator
    ) -> Devices:
        """Processors of B networks."""
        users, servers = (batch, num_users), (batch, num_cells)
        return Devices(
            _uniform(self.user_hz, users, generator),
            _uniform(self.user_j_per_cycle, users, generator),
            _uniform(self.server_hz, servers, generator),
            _uniform(self.server_j_per_cycle, servers, generator),
        )


def _uniform(limits: Range, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    low, high = limits
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)
