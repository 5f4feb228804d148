"""Baselines of offloading, each a function of a slot, with the signature of a policy."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from metagnn.graphs.units import db_to_linear, dbm_to_w
from metagnn.tasks.offloading.construction import construct, divide_server, match_channels
from metagnn.tasks.offloading.cost import NO_CHANNEL, Decision, Slot, received_w
from metagnn.tasks.offloading.least_energy import least_energy
from metagnn.tasks.offloading.scenario import Radio

# What a baseline is, and a trained policy can be.
Policy = Callable[[Slot, Radio, torch.Generator], Decision]

# The heuristic expects so much more noise and interference than was measured [dB], because it
# knows the interference of the slot before only, and prefers the channel that a user has by so
# much [dB]. The pair with the largest reward on validation networks
# (`notebooks/offloading_heuristic.py choose`).
MARGIN_DB = 10.0
HOLD_DB = 10.0
_ROUNDS, _GROUPS = 5, 6
_POWER_STEPS = 20


def local_computing(slot: Slot, radio: Radio, generator: torch.Generator) -> Decision:
    """Every user computes its task itself (paper D, Section V)."""
    nothing = torch.zeros_like(slot.tasks.size_bit)
    channel = torch.full(nothing.shape, NO_CHANNEL, device=nothing.device)
    return Decision(nothing, channel, nothing, nothing)


def full_offloading(slot: Slot, radio: Radio, generator: torch.Generator) -> Decision:
    """All tasks are offloaded on random channels at full power, with equal shares (Section V).

    Channels of a cell differ (C5). Where there are more users than channels, random ones wait.
    """
    scores = _uniform((*slot.tasks.size_bit.shape, radio.num_channels), generator)
    whole = torch.ones_like(slot.tasks.size_bit)
    power_w = torch.full_like(scores, radio.power_max_w)
    return construct(
        whole, scores, power_w, torch.zeros_like(whole), slot.cell, slot.gain.shape[-1]
    )


def random_decision(slot: Slot, radio: Radio, generator: torch.Generator) -> Decision:
    """Ratios and needs are uniform, channels random, powers uniform in dBm."""
    shape = tuple(slot.tasks.size_bit.shape)
    ratio, need = _uniform(shape, generator), _uniform(shape, generator)
    scores = _uniform((*shape, radio.num_channels), generator)
    span_db = radio.power_max_dbm - radio.power_min_dbm
    power_dbm = radio.power_min_dbm + span_db * _uniform((*shape, 1), generator)
    power_w = dbm_to_w(power_dbm)
    need = need.clamp(min=1e-2).log()
    return construct(ratio, scores, power_w, need, slot.cell, slot.gain.shape[-1])


def heuristic(
    slot: Slot,
    radio: Radio,
    generator: torch.Generator,
    margin_db: float = MARGIN_DB,
    hold_db: float = HOLD_DB,
) -> Decision:
    """Channels, shares and powers one after another, from what each site can measure.

    1. In every cell the channels with the least sum of (noise + interference) x size / gain, to
       which energies of slow transmissions are proportional, by the Hungarian method. The channel
       that a user has counts ``hold_db`` less, so that what others measured stays true.
    2. Shares of the server in proportion to cycles over deadline.
    3. Ratio and power of the least energy that meets the deadline (`least_energy`), if noise and
       interference are ``margin_db`` above those of the slot before. That a transmission may be
       given up is not foreseen.
    """
    disturbance_w = db_to_linear(margin_db) * (radio.noise_w + slot.interference_at_own)
    channels = torch.arange(radio.num_channels, device=slot.held.device)
    kept = slot.held.unsqueeze(-1) == channels
    price_w = disturbance_w / slot.own_gain * torch.where(kept, db_to_linear(-hold_db), 1.0)
    price = price_w * slot.tasks.size_bit.unsqueeze(-1)
    channel = match_channels(-price, slot.cell, slot.gain.shape[-1])
    return _with_least_energy(channel, disturbance_w, slot, radio)


def coordinated_heuristic(slot: Slot, radio: Radio, generator: torch.Generator) -> Decision:
    """The heuristic with all gains of the slot known, which no site can measure.

    Cells take turns, every sixth at a time, to choose their best answer to the interference of the
    others. At the end ratios and powers of all follow what interferes, step by step, as in power
    control by a standard interference function (Yates, 1995).
    """
    decision = local_computing(slot, radio, generator)
    for turn in range(_ROUNDS * _GROUPS):
        now = replace(slot, interference_w=received_w(slot, decision))
        answer = heuristic(now, radio, generator, margin_db=0.0, hold_db=0.0)
        mine = slot.cell % _GROUPS == turn % _GROUPS
        decision = _mix(mine, answer, decision)
    channel = decision.channel
    for _ in range(_POWER_STEPS):
        now = replace(slot, interference_w=received_w(slot, decision))
        disturbance_w = radio.noise_w + now.interference_at_own
        decision = _with_least_energy(channel, disturbance_w, slot, radio)
    return decision


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _mix(mine: Tensor, answer: Decision, old: Decision) -> Decision:
    """The answer for some users ``[I]``, the old decision for the others."""
    return Decision(
        torch.where(mine, answer.ratio, old.ratio),
        torch.where(mine, answer.channel, old.channel),
        torch.where(mine, answer.power_w, old.power_w),
        torch.where(mine, answer.share, old.share),
    )


def _with_least_energy(
    channel: Tensor, disturbance_w: Tensor, slot: Slot, radio: Radio
) -> Decision:
    """Shares by need, ratios and powers of the least energy, on given channels ``[B, I]``."""
    tasks, devices = slot.tasks, slot.devices
    index = channel.clamp(min=0).unsqueeze(-1)
    noise_to_gain_w = (disturbance_w / slot.own_gain).gather(-1, index).squeeze(-1)
    log_need = tasks.cycles.log() - tasks.deadline_s.log()
    log_need = log_need - log_need.mean(-1, keepdim=True)
    has_channel = channel != NO_CHANNEL
    share = divide_server(log_need, has_channel, slot.cell, slot.gain.shape[-1])
    _, ratio, power_w, _ = least_energy(
        tasks.size_bit,
        tasks.cycles,
        tasks.deadline_s,
        devices.user_hz,
        devices.user_j_per_cycle,
        share.clamp(min=1e-9) * slot.server_hz,
        slot.server_j_per_cycle,
        noise_to_gain_w,
        radio,
    )
    offloads = has_channel & (ratio > 0.0)
    return Decision(
        torch.where(offloads, ratio, 0.0),
        torch.where(offloads, channel, NO_CHANNEL),
        torch.where(offloads, power_w, 0.0),
        torch.where(offloads, share, 0.0),
    )


BASELINES: dict[str, Policy] = {
    "coordinated": coordinated_heuristic,
    "heuristic": heuristic,
    "full offloading": full_offloading,
    "local computing": local_computing,
    "random": random_decision,
}
