"""Baselines of channel assignment, with the signature of a policy on gains over noise."""

from collections.abc import Callable

import torch
from torch import Tensor

from metagnn.graphs.units import dbm_to_w
from metagnn.tasks.channel_assignment.environment import Action
from metagnn.tasks.channel_assignment.optimum import best_efficiency, optimum
from metagnn.tasks.channel_assignment.scenario import Uplink

# Actions for gains over noise [B, I, N]: what a baseline is, and a network can be.
Decision = Callable[[Tensor, Uplink, torch.Generator], Action]


def random_action(gain_to_noise: Tensor, uplink: Uplink, generator: torch.Generator) -> Action:
    """Uniform subchannels, powers uniform in dBm.

    Shapes:
        gain_to_noise ``[B, I, N]`` [1/W]; so it is for all baselines.
    """
    shape = tuple(gain_to_noise.shape[:-1])
    channel = torch.randint(
        uplink.num_channels, shape, generator=generator, device=generator.device
    )
    span_db = uplink.power_max_dbm - uplink.power_min_dbm
    power_dbm = uplink.power_min_dbm + span_db * torch.rand(
        shape, generator=generator, device=generator.device
    )
    return Action(channel, dbm_to_w(power_dbm))


def selfish_action(gain_to_noise: Tensor, uplink: Uplink, generator: torch.Generator) -> Action:
    """Every user takes the subchannel and power that would be best for it alone."""
    efficiency, power_w = best_efficiency(gain_to_noise, uplink)
    return _with_power(efficiency.argmax(-1), power_w)


def greedy_action(gain_to_noise: Tensor, uplink: Uplink, generator: torch.Generator) -> Action:
    """Users take the best free subchannel in turn, that of the largest mean gain in dB first."""
    efficiency, power_w = best_efficiency(gain_to_noise, uplink)
    order = gain_to_noise.log().mean(-1).argsort(-1, descending=True)
    copies = torch.arange(len(efficiency), device=order.device)
    free = torch.ones_like(efficiency[:, 0], dtype=torch.bool)
    channel = torch.empty_like(order)
    for user in order.T:
        chosen = efficiency[copies, user].masked_fill(~free, -1.0).argmax(-1)
        channel[copies, user] = chosen
        free[copies, chosen] = False
    return _with_power(channel, power_w)


def optimal_action(gain_to_noise: Tensor, uplink: Uplink, generator: torch.Generator) -> Action:
    """The optimum of P0, by the Hungarian method."""
    return Action(*optimum(gain_to_noise, uplink))


def _with_power(channel: Tensor, power_w: Tensor) -> Action:
    return Action(channel, power_w.gather(-1, channel.unsqueeze(-1)).squeeze(-1))


BASELINES: dict[str, Decision] = {
    "optimum": optimal_action,
    "greedy": greedy_action,
    "selfish": selfish_action,
    "random": random_action,
}
