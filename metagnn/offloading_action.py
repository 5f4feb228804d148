"""Actors' wishes as decisions, and as joint actions through which a critic's gradients pass."""

import torch
from torch import Tensor
from torch.nn import functional

from metagnn.graphs.units import dbm_to_w
from metagnn.models.offloading import JointAction, Wishes
from metagnn.models.straight_through import straight_through, unit
from metagnn.tasks.offloading.construction import divide_server, match_channels
from metagnn.tasks.offloading.cost import NO_CHANNEL, Decision
from metagnn.tasks.offloading.scenario import Radio

# A user with a channel offloads at least this: at 0 no gradient would tell it to offload more.
LEAST_RATIO = 1e-3


def joint_action(wishes: Wishes, cell: Tensor, num_cells: int) -> JointAction:
    """What comes of the users' wishes, with C4, C5 and C7 of paper D's P0 by construction.

    Ratios and levels are moved into [0, 1] from a start in the middle. Channels are matched by
    their scores, cell by cell, and servers divided by the needs of those who have a channel.
    Backwards a choice of a channel is the softmax of the user's scores (straight-through), and
    bounds let gradients through that lead inwards.

    Raises:
        ValueError: If a score is not finite.
    """
    score = wishes.score
    channel = match_channels(score, cell, num_cells)
    offloads = (channel != NO_CHANNEL).unsqueeze(-1)
    chosen = functional.one_hot(channel.clamp(min=0), score.shape[-1]).to(score) * offloads
    place = straight_through(chosen, score.softmax(-1) * offloads)
    ratio = LEAST_RATIO + (1.0 - LEAST_RATIO) * unit(0.5 + wishes.ratio)
    return JointAction(
        place if score.requires_grad else chosen,
        ratio * offloads.squeeze(-1),
        unit(0.5 + wishes.level),
        divide_server(wishes.need, offloads.squeeze(-1), cell, num_cells),
    )


def as_decision(action: JointAction, radio: Radio) -> Decision:
    """The decision that a joint action is: powers between the smallest and the largest, in dB."""
    place = action.place.detach()
    offloads = place.sum(-1) > 0.5
    level = (place * action.level.detach()).sum(-1)
    span_db = radio.power_max_dbm - radio.power_min_dbm
    power_w = dbm_to_w(radio.power_min_dbm + span_db * level)
    return Decision(
        action.ratio.detach(),
        torch.where(offloads, place.argmax(-1), NO_CHANNEL),
        torch.where(offloads, power_w.clamp(max=radio.power_max_w), 0.0),
        action.share.detach(),
    )
