"""A lower bound on the energy of meeting all deadlines: no interference, a server for each user."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from metagnn.tasks.offloading.construction import members
from metagnn.tasks.offloading.cost import Slot, uplink_rate
from metagnn.tasks.offloading.least_energy import least_energy
from metagnn.tasks.offloading.scenario import Radio


@dataclass(frozen=True)
class Bound:
    """What no decision that meets all deadlines that are allowed can be better than, ``[B, I]``.

    A decision that misses some may take less energy.

    Attributes:
        energy_j: Energies of the relaxation [J]; their sum over the users of a cell is at most
            that of any decision that meets all deadlines that are allowed.
        allowed: Whether the deadline can be met; the sum over a cell is at least the number that
            any decision meets.
    """

    energy_j: Tensor
    allowed: Tensor


def relaxation(slot: Slot, radio: Radio) -> Bound:
    """Least energies without interference and with a whole server each, channels by matching.

    Both leave every user no worse than in any decision on the same channel: interference only
    lowers rates, and a share of a server only slows it. So the best assignment of a cell's
    channels under them bounds P0 (paper D, Eq. 11) from below. Meeting as many deadlines as
    possible comes first, energy second. A user that cannot meet its deadline counts with the least
    energy at all, which is never that of a transmission that was given up: it takes more than
    local computing.
    """
    tasks, devices = slot.tasks, slot.devices

    def per_channel(value: Tensor) -> Tensor:
        return value.unsqueeze(-1)

    noise_to_gain_w = radio.noise_w / slot.own_gain
    energy_j, _, _, possible = least_energy(
        per_channel(tasks.size_bit),
        per_channel(tasks.cycles),
        per_channel(tasks.deadline_s),
        per_channel(devices.user_hz),
        per_channel(devices.user_j_per_cycle),
        per_channel(slot.server_hz),
        per_channel(slot.server_j_per_cycle),
        noise_to_gain_w,
        radio,
    )
    local_j = tasks.cycles * devices.user_j_per_cycle
    rate = uplink_rate(
        torch.full_like(slot.own_gain, radio.power_min_w),
        slot.own_gain,
        torch.zeros_like(slot.own_gain),
        radio.bandwidth_hz,
        radio.noise_w,
    )
    slow_j = radio.power_min_w * per_channel(tasks.size_bit) / rate
    slow_j = slow_j + per_channel(tasks.cycles * slot.server_j_per_cycle)
    slow_j = torch.minimum(slow_j, per_channel(local_j))
    energy_j = torch.where(possible, energy_j, slow_j)
    local_met = tasks.cycles / devices.user_hz <= tasks.deadline_s
    at_best, allowed = _matched(energy_j, possible, local_j, local_met, slot)
    return Bound(at_best, allowed)


def _matched(
    energy_j: Tensor, possible: Tensor, local_j: Tensor, local_met: Tensor, slot: Slot
) -> tuple[Tensor, Tensor]:
    """Energies and deadlines of the best assignment, where users may also do without a channel."""
    table = members(slot.cell, slot.gain.shape[-1]).cpu().numpy()
    energy, met = energy_j.double().cpu().numpy(), possible.cpu().numpy()
    local, local_fits = local_j.double().cpu().numpy(), local_met.cpu().numpy()
    # Users may do without: a channel of its own for each of them, at which it computes locally.
    found, allowed = np.empty(local.shape), np.empty(local.shape, dtype=bool)
    worst = 2.0 * (local.sum(-1).max() + energy.sum((-2, -1)).max())
    for copy in range(len(energy)):
        for row in table:
            users = row[row >= 0]
            size = len(users)
            values = np.concatenate(
                [energy[copy, users], np.repeat(local[copy, users, None], size, 1)], axis=1
            )
            fits = np.concatenate(
                [met[copy, users], np.repeat(local_fits[copy, users, None], size, 1)], axis=1
            )
            rows, columns = linear_sum_assignment(values + worst * ~fits)
            found[copy, users[rows]] = values[rows, columns]
            allowed[copy, users[rows]] = fits[rows, columns]
    device = energy_j.device
    return torch.from_numpy(found).to(energy_j), torch.from_numpy(allowed).to(device)
