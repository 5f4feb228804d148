"""What bands are worth in a slot, and would be worth if one node chose otherwise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.search import (
    contest,
    differential_backlog_bit,
    levels_of_choices,
    side_by_side,
)
from metagnn.tasks.spectrum_allocation.transmission import Scheduler, State, Transmission


@dataclass(frozen=True)
class Prices:
    """What happens on the bands is worth so much.

    Attributes:
        bit: A bit that moves on each link ``[B, L]``.
        success: The first success of each link in a slot ``[B, L]``.
        failure: A transmission below the floor costs this.
    """

    bit: Tensor
    success: Tensor
    failure: float


def prices(state: State, radio: Radio, failure_weight: float, success_weight: float) -> Prices:
    r"""Prices in a slot.

    Bits are worth what backpressure maximises (Tassiulas and Ephremides, 1992), over the mean load
    D of all users in a slot: :math:`\Delta_l / (D \max_l \Delta_l)` with the differential backlog.
    A failure costs its weight over the number of links, as in the reward of all; the first success
    of a link in a slot is worth up to its own, the longer the link was not served.

    Args:
        state: What the slot begins with.
        radio: Limits.
        failure_weight: Weight of failures.
        success_weight: Weight of successes where nothing was served up to the limit.
    """
    backlog = differential_backlog_bit(state)
    largest = backlog.amax(-1, keepdim=True).clamp(min=1.0)
    load_bit = state.load_bit.double().sum(-1, keepdim=True)
    urgency = (state.unserved / radio.starvation_limit).clamp(max=1.0)
    links = state.networks.num_links
    bit, success = backlog / largest / load_bit, success_weight / links * urgency
    return Prices(bit, success, failure_weight / links)


def band_reward(state: State, sent: Transmission, price: Prices) -> Tensor:
    """What the bands were worth ``[B, N]``."""
    carried = torch.minimum(state.link_queue_bit.unsqueeze(-1), sent.capacity_bit.cumsum(-1))
    moved_bit = carried.diff(dim=-1, prepend=torch.zeros_like(carried[..., :1]))
    first = sent.served & (sent.served.cumsum(-1) == 1)
    gained = price.bit.unsqueeze(-1) * moved_bit + price.success.unsqueeze(-1) * first
    return (gained.sum(1) - price.failure * sent.failed.sum(1)).float()


def alternatives(state: State, radio: Radio, level: Tensor, price: Prices) -> Tensor:
    """What bands would be worth for each choice of each node, if all others do as they do.

    On earlier bands nodes do what they do; what a choice takes off what waits for later ones does
    not count. The incumbents and all gains are known.

    Args:
        state: What the slot begins with.
        radio: Bands and powers.
        level: What the nodes do ``[B, M, 2, N]``.
        price: What happens is worth so much.

    Returns:
        Worths ``[B, M, N, 1 + 2 P]``, of `levels_of_choices`.
    """
    batch, num_nodes, _, num_bands = level.shape
    nodes = torch.arange(num_nodes, device=level.device)
    choices = levels_of_choices(radio.num_levels, level.device)
    scheduler, left_bit = Scheduler(state, radio), state.link_queue_bit.double()
    success = price.success
    contests, successes = [], []
    for band in range(num_bands):
        link, chosen = scheduler.offer_on(band), level[..., band]
        index = link.clamp(min=0)
        given = contest(state, radio, band, link, left_bit, price.bit)
        contests.append(given)
        successes.append(success.gather(1, index))
        moved_bit, succeeds, _ = (x.squeeze(1) for x in given.outcome(chosen.reshape(batch, 1, -1)))
        left_bit = left_bit.scatter_add(1, index, -moved_bit)
        done = torch.zeros_like(success).scatter_add(1, index, succeeds.to(success))
        success = torch.where(done > 0, 0.0, success)
        scheduler.take(band, link, radio.power_w(chosen).flatten(1))
    # All bands at once: [N B, ...].
    given, of_success = side_by_side(contests), torch.cat(successes)
    # Levels [N B, M, C, M, 2], in which one node has its choices.
    tried = level.movedim(-1, 0).reshape(-1, 1, 1, num_nodes, 2)
    tried = tried.repeat(1, num_nodes, len(choices), 1, 1)
    tried[:, nodes, :, nodes] = choices
    moved_bit, succeeds, fails = given.outcome(tried.view(len(tried), -1, 2 * num_nodes))
    gained = given.weight.unsqueeze(1) * moved_bit + of_success.unsqueeze(1) * succeeds
    worth = gained.sum(-1) - price.failure * fails.sum(-1)
    return worth.view(num_bands, batch, num_nodes, -1).permute(1, 2, 0, 3).float()
