"""Delays and energies of offloading (paper D, Eq. 1 to 11, and 13)."""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from metagnn.graphs.checks import check_each, require

# Channel of a user that has none.
NO_CHANNEL = -1


@dataclass(frozen=True)
class Tasks:
    """What is to be computed, all ``[B, I]``.

    Attributes:
        size_bit: Sizes d [bit].
        cycles: Cycles omega.
        deadline_s: Largest latencies [s].

    Raises:
        ValueError: If a number is not finite and positive.
    """

    size_bit: Tensor
    cycles: Tensor
    deadline_s: Tensor

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            check_each(field.name, value, (value > 0.0) & value.isfinite(), "be finite and > 0")


@dataclass(frozen=True)
class Devices:
    """Processors.

    Attributes:
        user_hz: Speeds C of the users ``[B, I]`` [cycle/s].
        user_j_per_cycle: Their energies ``[B, I]`` [J/cycle].
        server_hz: Speeds of the servers ``[B, M]`` [cycle/s].
        server_j_per_cycle: Their energies ``[B, M]`` [J/cycle].

    Raises:
        ValueError: If a number is not finite, a speed not positive or an energy negative.
    """

    user_hz: Tensor
    user_j_per_cycle: Tensor
    server_hz: Tensor
    server_j_per_cycle: Tensor

    def __post_init__(self) -> None:
        for name in ("user_hz", "server_hz"):
            value = getattr(self, name)
            check_each(name, value, (value > 0.0) & value.isfinite(), "be finite and > 0")
        for name in ("user_j_per_cycle", "server_j_per_cycle"):
            value = getattr(self, name)
            check_each(name, value, (value >= 0.0) & value.isfinite(), "be finite and >= 0")


@dataclass(frozen=True)
class Slot:
    """B networks in a time slot.

    Attributes:
        gain: Power gains on K channels from users to sites ``[B, K, I, M]`` [1].
        cell: Site that serves each user ``[I]``.
        tasks: The users' tasks.
        devices: Processors.
        interference_w: Interference that each site received on each channel in the slot before
            ``[B, K, M]`` [W].
        held: Channels that the users had in the slot before ``[B, I]``, -1 for none.
    """

    gain: Tensor
    cell: Tensor
    tasks: Tasks
    devices: Devices
    interference_w: Tensor
    held: Tensor

    @property
    def own_gain(self) -> Tensor:
        """Gains to the own sites ``[B, I, K]`` [1]."""
        index = self.cell.view(1, 1, -1, 1).expand(*self.gain.shape[:-1], 1)
        return self.gain.gather(-1, index).squeeze(-1).mT

    @property
    def interference_at_own(self) -> Tensor:
        """Interference measured at the own sites ``[B, I, K]`` [W]."""
        return self.interference_w.mT[:, self.cell]

    @property
    def server_hz(self) -> Tensor:
        """Speeds of the users' servers ``[B, I]`` [cycle/s]."""
        return self.devices.server_hz[:, self.cell]

    @property
    def server_j_per_cycle(self) -> Tensor:
        """Energies of the users' servers ``[B, I]`` [J/cycle]."""
        return self.devices.server_j_per_cycle[:, self.cell]


@dataclass(frozen=True)
class Decision:
    """What the sites decide for their users, all ``[B, I]``.

    A user that computes locally has ratio, power and share 0 and no channel.

    Attributes:
        ratio: Offloading ratios alpha in [0, 1].
        channel: Channels b, 0 to K - 1, or -1 for none.
        power_w: Transmit powers p [W].
        share: Shares f of the server.
    """

    ratio: Tensor
    channel: Tensor
    power_w: Tensor
    share: Tensor

    @property
    def offloads(self) -> Tensor:
        """Who offloads ``[B, I]``."""
        return self.channel != NO_CHANNEL


@dataclass(frozen=True)
class Cost:
    """What came of a decision, all ``[B, I]``.

    Attributes:
        local_s: When local computing ends [s] (Eq. 3), that of an offloaded share whose
            transmission was given up included.
        edge_s: Delays of transmission and edge computing [s] (Eq. 9), or when the transmission was
            given up.
        local_j: Energies of local computing [J] (Eq. 4), that of shares given up included.
        transmission_j: Energies of transmission [J] (Eq. 6), until it was given up.
        edge_j: Energies of edge computing [J] (Eq. 8).
        met: Whether the deadline was met (C1).
    """

    local_s: Tensor
    edge_s: Tensor
    local_j: Tensor
    transmission_j: Tensor
    edge_j: Tensor
    met: Tensor

    @property
    def latency_s(self) -> Tensor:
        """The longer of both delays [s]."""
        return torch.maximum(self.local_s, self.edge_s)

    @property
    def energy_j(self) -> Tensor:
        """Energy of all three [J]."""
        return self.local_j + self.transmission_j + self.edge_j


def received_w(slot: Slot, decision: Decision) -> Tensor:
    r"""Interference at every site on every channel (paper D, below Eq. 1).

    .. math:: I_k^{(m)} = \sum_{m' \ne m} \sum_{n' \in N_{m'}} b_{n',k} p_{n'} g_{n',k}^{(m)}

    Shapes:
        Returns ``[B, K, M]`` [W].
    """
    batch, num_channels, num_users, num_cells = slot.gain.shape
    channel = decision.channel.clamp(min=0)
    index = channel.view(batch, 1, num_users, 1).expand(-1, 1, -1, num_cells)
    heard = slot.gain.gather(1, index).squeeze(1) * decision.power_w.unsqueeze(-1)
    own = slot.cell.unsqueeze(-1) == torch.arange(num_cells, device=slot.cell.device)
    heard = heard.masked_fill(own | ~decision.offloads.unsqueeze(-1), 0.0)
    total = heard.new_zeros(batch, num_channels, num_cells)
    return total.scatter_add(1, channel.unsqueeze(-1).expand_as(heard), heard)


def uplink_rate(
    power_w: Tensor, gain: Tensor, interference_w: Tensor, bandwidth_hz: float, noise_w: float
) -> Tensor:
    r"""Achievable rate on a channel [bit/s] (paper D, Eq. 1).

    .. math:: r = B \log_2\left(1 + \frac{p h}{N_0 B + I}\right)

    Shapes:
        power_w, gain and interference_w broadcast to the shape of the result.
    """
    sinr = power_w * gain / (noise_w + interference_w)
    return bandwidth_hz * torch.log1p(sinr) / math.log(2.0)


def cost(
    slot: Slot,
    decision: Decision,
    bandwidth_hz: float,
    noise_w: float,
    patience: float = math.inf,
) -> Cost:
    r"""Delays and energies of a decision (paper D, Eq. 2 to 10), and whether C1 holds.

    Under strong interference a transmission of Eq. 5 may last for days and take megajoules. One
    that would last longer than ``patience`` deadlines is given up at that time :math:`\pi T`, and
    the server computes nothing. Then the user computes the offloaded share itself, once it is done
    with its own:

    .. math:: T^{loc} = \max\left((1 - \alpha) \omega / C, \pi T\right) + \alpha \omega / C, \quad
              E = \omega \varepsilon + p \pi T

    So what is given up takes more time and energy than local computing from the start.

    Args:
        slot: Channels, tasks and processors.
        decision: Who offloads what, where and how.
        bandwidth_hz: Bandwidth B of a channel [Hz].
        noise_w: Noise power on a channel [W].
        patience: Deadlines after which a transmission is given up [1]; infinite in the paper.
    """
    at_channel = decision.channel.clamp(min=0).unsqueeze(-1)
    interference_w = received_w(slot, decision).mT[:, slot.cell].gather(-1, at_channel).squeeze(-1)
    own_gain = slot.own_gain.gather(-1, at_channel).squeeze(-1)
    rate = uplink_rate(decision.power_w, own_gain, interference_w, bandwidth_hz, noise_w)
    tasks, devices, ratio = slot.tasks, slot.devices, decision.ratio

    def where_offloaded(value: Tensor) -> Tensor:
        return torch.where(decision.offloads, value, 0.0)

    transmission_s = where_offloaded(ratio * tasks.size_bit / rate)
    longest_s = patience * tasks.deadline_s
    given_up = transmission_s > longest_s
    transmission_s = torch.minimum(transmission_s, longest_s)
    served = torch.where(given_up, 0.0, ratio) * tasks.cycles
    local_s = (1.0 - ratio) * tasks.cycles / devices.user_hz
    afterwards_s = torch.maximum(local_s, transmission_s) + ratio * tasks.cycles / devices.user_hz
    local_s = torch.where(given_up, afterwards_s, local_s)
    edge_s = transmission_s + where_offloaded(served / (decision.share * slot.server_hz))
    # A power or share chosen to meet the deadline exactly may miss it by rounding.
    latest_s = tasks.deadline_s * (1.0 + 1e-5)
    return Cost(
        local_s,
        edge_s,
        local_j=(tasks.cycles - served) * devices.user_j_per_cycle,
        transmission_j=decision.power_w * transmission_s,
        edge_j=served * slot.server_j_per_cycle,
        met=~given_up & (torch.maximum(local_s, edge_s) <= latest_s),
    )


def latency_value(cost: Cost, deadline_s: Tensor, revenue: float) -> Tensor:
    r"""What the latency is worth (paper D, Eq. 13): ``revenue`` in time, else minus the lateness.

    Shapes:
        ``[B, I]``.
    """
    return torch.where(cost.met, revenue, deadline_s - cost.latency_s)


def check_decision(decision: Decision, slot: Slot, power_min_w: float, power_max_w: float) -> None:
    """Require C2 to C7 of paper D's problem P0.

    Raises:
        ValueError: If a shape is wrong, a number is not finite or out of range, two users of a
            cell share a channel, a cell's shares exceed 1, or a user that computes locally
            transmits.
    """
    batch, num_channels, num_users, num_cells = slot.gain.shape
    for name in ("ratio", "channel", "power_w", "share"):
        value = getattr(decision, name)
        found = tuple(value.shape)
        rule = f"have the shape {(batch, num_users)}"
        require(found == (batch, num_users), name, rule, found)
        low, high = (bound.item() for bound in value.aminmax())
        most = {"channel": num_channels - 1, "power_w": power_max_w * (1.0 + 1e-5)}.get(name, 1.0)
        least = NO_CHANNEL if name == "channel" else 0.0
        rule = f"lie in [{least:g}, {most:g}]"
        # A comparison with a number that is none is false.
        require(low >= least and high <= most, name, rule, (low, high))
    whole = decision.channel.dtype == torch.long
    require(whole, "channel", "hold integers (torch.long)", str(decision.channel.dtype))
    offloads = decision.offloads
    for name in ("ratio", "power_w", "share"):
        value = getattr(decision, name)
        fits = bool(((value > 0.0) == offloads).all())
        rule = "be > 0 for users with a channel and 0 for those without"
        require(fits, name, rule, value[(value > 0.0) != offloads][:3].tolist())
    weakest_w = float(decision.power_w.masked_fill(~offloads, power_max_w).min())
    fits = weakest_w >= power_min_w * (1.0 - 1e-5)
    require(fits, "power_w", f"be at least {power_min_w:g} W", weakest_w)
    key = slot.cell * num_channels + decision.channel
    users = torch.zeros(batch, num_cells * num_channels, dtype=torch.long, device=key.device)
    users.scatter_add_(1, key.clamp(min=0).masked_fill(~offloads, 0), offloads.long())
    most_users = int(users.max())
    require(most_users <= 1, "channel", "be given to at most one user of a cell", most_users)
    total = decision.share.new_zeros(batch, num_cells)
    total.index_add_(1, slot.cell, decision.share)
    rule = "sum to at most 1 in every cell"
    require(float(total.max()) <= 1.0 + 1e-5, "share", rule, float(total.max()))
