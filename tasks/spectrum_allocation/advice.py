"""What nodes can reckon of a band from what they are told."""

from dataclasses import replace

import torch
from torch import Tensor

from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.search import (
    Contest,
    coordinate_search,
    levels_of_choices,
)
from metagnn.tasks.spectrum_allocation.transmission import State


def told(state: State, radio: Radio) -> State:
    """What nodes are told of a slot: gains between links without fading, and reports.

    In place of what incumbents send stands what receivers expect of them (`Heard.outside_w`).
    """
    sender = state.networks.transmitter[:, None, None].expand(-1, radio.num_bands, -1, -1)
    known = state.mean_gain.unsqueeze(1).expand_as(state.gain)
    known = known.scatter(2, sender, state.own_gain.mT.unsqueeze(2))
    return replace(state, gain=known, incumbent_w=state.heard.outside_w)


def told_worth(given: Contest) -> Tensor:
    """Worths of the choices of each node ``[B, M, 1 + 2 P]``, of `levels_of_choices`.

    They are weighted sums of bits over the largest of the band, while the other nodes do what three
    sweeps of coordinate search over the nodes find for all together.

    Args:
        given: A contest of what nodes are told (`told`).
    """
    choices = levels_of_choices(given.radio.num_levels, given.gain.device)
    best = coordinate_search(choices, sweeps=3)(given)
    batch, num_nodes = len(best), best.shape[1] // 2
    nodes = torch.arange(num_nodes, device=best.device)
    tried = best.view(batch, 1, 1, num_nodes, 2).repeat(1, num_nodes, len(choices), 1, 1)
    tried[:, nodes, :, nodes] = choices
    worth = given.value(tried.view(batch, -1, 2 * num_nodes)).view(batch, num_nodes, -1)
    largest = worth.amax((1, 2), keepdim=True)
    return torch.where(largest > 0, worth / largest, 0.0).float()
