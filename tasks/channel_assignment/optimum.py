"""The optimum of paper B's problem P0: users assigned to subchannels with their best powers."""

from itertools import permutations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from metagnn.tasks.channel_assignment.energy_efficiency import best_power, energy_efficiency
from metagnn.tasks.channel_assignment.scenario import Uplink


def best_efficiency(gain_to_noise: Tensor, uplink: Uplink) -> tuple[Tensor, Tensor]:
    """Largest energy efficiency of every user on every subchannel, were it alone there.

    Shapes:
        gain_to_noise ``[..., I, N]`` [1/W]; returns efficiencies [bit/J] and powers [W] of the
        same shape, both 0 where the SNR cannot be reached.
    """
    power_w = best_power(gain_to_noise, uplink)
    bandwidth_hz = power_w.new_tensor(uplink.bandwidth_hz)
    return energy_efficiency(power_w, gain_to_noise, bandwidth_hz, uplink.circuit_power_w), power_w


def optimum(gain_to_noise: Tensor, uplink: Uplink) -> tuple[Tensor, Tensor]:
    """Subchannels and powers that solve P0 (paper B, Eq. 5), by the Hungarian method.

    A user that reaches the SNR on no free subchannel counts nothing, as in Eq. 7.

    Shapes:
        gain_to_noise ``[..., I, N]`` [1/W] with I <= N; returns channels ``[..., I]`` and powers
        ``[..., I]`` [W].
    """
    efficiency, power_w = best_efficiency(gain_to_noise, uplink)
    flat = efficiency.double().cpu().numpy().reshape(-1, *efficiency.shape[-2:])
    columns = np.stack([linear_sum_assignment(one, maximize=True)[1] for one in flat])
    channel = torch.from_numpy(columns).to(gain_to_noise.device).view(gain_to_noise.shape[:-1])
    return channel, power_w.gather(-1, channel.unsqueeze(-1)).squeeze(-1)


def exhaustive(efficiency: Tensor) -> tuple[Tensor, Tensor]:
    """Best assignment by trying all: efficiencies ``[I, N]`` to channels ``[I]`` and their sum."""
    num_users, num_channels = efficiency.shape
    users = torch.arange(num_users)
    tried = torch.tensor(list(permutations(range(num_channels), num_users)))
    sums = efficiency[users, tried].sum(-1)
    return tried[sums.argmax()], sums.max()
