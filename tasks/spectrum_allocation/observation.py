"""What the nodes see: a graph of links, with features for each link and band."""

import math
from typing import Literal

import torch
from torch import Tensor

from metagnn.graphs.iab import IabNetworks
from metagnn.tasks.spectrum_allocation.listening import FREE_SLOTS
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.transmission import Scheduler, State

Edges = Literal["topology", "interference", "none"]
EDGES: tuple[Edges, ...] = ("topology", "interference", "none")

NUM_FEATURES = 24
# Of these so many differ between bands, and come first.
NUM_PER_BAND = 14
# Turns of the circle that tell bands apart.
TURNS = (1, 2)

# Interference over noise at which an edge has half its weight, and what halves or doubles its odds.
MIDDLE_DB, SLOPE_DB = 10.0, 10.0


def features(state: State, radio: Radio, edges: Edges) -> Tensor:
    """Features of all links on all bands ``[B, L, N, 24]``, of order one.

    Of each link and band: the SNR at the largest power in decades; that minus its mean over the
    bands; whether the link was sent on there in the slot before; if so, interference over noise
    that its receiver reported, in decades, and whether it received above the floor; the level
    of the link's agent there in the slot before, over P; the link's weight in the scheduler over
    the largest of its agent (the link with 1 is served, if no earlier band takes what waits for
    it); the cosine and sine of one and two turns of the circle shared out among the
    bands, by which what is learned in a scenario can be of a band. Over edges of interference
    (else 0) further: how much of what its receiver reported the nodes explain, in decades over
    noise; what it heard of the band's incumbent when it last did, in decades too; and for how long
    the band still counts as free, over the longest (`listening`). What others hear of an agent
    nobody tells; what else happened before the last slot policies have to remember.

    Of each link: the logarithm of one plus what waits for it over the mean load of a slot of the
    users behind it; the same of what waits at its receiver for them (0 if that is a user); age
    of its oldest bit and of the oldest bit behind it or on it over the limit; whether it is a
    backhaul link; hops from the donor to its transmitter; share of the users behind it; the
    logarithm of one plus what it carried in the slot before over their mean load; the slots for
    which it was not served over the limit, at most 2; and whether both its ends work.
    """
    networks = state.networks
    behind = networks.users_behind.double()
    # A relay of no users has a link that nobody waits for.
    load_bit = torch.einsum("blu,bu->bl", behind, state.load_bit.double()).clamp(min=1.0)
    at_receiver = state.queue_bit[:, networks.receiver.clamp(min=0)]
    at_receiver = at_receiver * (networks.receiver >= 0).unsqueeze(-1)
    further_bit = (at_receiver * behind).sum(-1)
    sender = networks.transmitter.unsqueeze(-1).expand(-1, -1, networks.num_users)
    age = (state.age.gather(1, sender) * behind).amax(-1)
    oldest = (state.age.amax(1).unsqueeze(1) * behind).amax(-1)

    snr = torch.log10(state.snr(radio).clamp(min=1e-30))
    inr = decades(state.reported_w, radio)
    agents = networks.agent.unsqueeze(-1).expand_as(snr)
    level = state.level.flatten(1, 2).gather(1, agents) / radio.num_levels
    exchanged = float(edges == "interference")
    bands = torch.arange(radio.num_bands, device=snr.device)
    angles = [2.0 * math.pi * turn * bands / radio.num_bands for turn in TURNS]
    per_band = (
        snr,
        snr - snr.mean(-1, keepdim=True),
        state.sent,
        inr,
        state.served,
        level,
        _wish(state, radio),
        *(code(angle).expand_as(snr) for angle in angles for code in (torch.cos, torch.sin)),
        exchanged * decades(state.explained_w, radio),
        exchanged * decades(state.heard.level_w, radio),
        exchanged * (state.heard.free_slots / FREE_SLOTS).unsqueeze(1).expand_as(snr),
    )
    per_link = (
        torch.log1p(state.link_queue_bit / load_bit),
        torch.log1p(further_bit / load_bit),
        age / radio.latency_limit,
        oldest / radio.latency_limit,
        (networks.receiver >= 0).expand_as(age),
        networks.depth.gather(1, networks.transmitter),
        behind.mean(-1),
        torch.log1p(state.moved_bit / load_bit),
        (state.unserved / radio.starvation_limit).clamp(max=2.0),
        state.usable,
    )
    repeated = (value.unsqueeze(-1).expand_as(snr) for value in per_link)
    return torch.stack([value.float() for value in (*per_band, *repeated)], dim=-1)


def decades(heard_w: Tensor, radio: Radio) -> Tensor:
    """Interference and noise over noise, in decades, of interference of any shape [W]."""
    return torch.log10(1.0 + heard_w / radio.noise_w)


def _wish(state: State, radio: Radio) -> Tensor:
    wish = Scheduler(state, radio).wish()
    agents = state.networks.agent.unsqueeze(-1).expand_as(wish)
    largest = wish.new_zeros(len(wish), 2 * state.networks.num_nodes, radio.num_bands)
    largest = largest.scatter_reduce(1, agents, wish, "amax").gather(1, agents)
    return torch.where(largest > 0, wish / largest, 0.0)


def edge_weight(networks: IabNetworks, mean_gain: Tensor, radio: Radio, edges: Edges) -> Tensor:
    r"""Weights of the edges between links ``[B, L, L]``, 0 from a link to itself.

    With ``topology`` the weight of i -> k is 1/4 if both have one transmitter, or the receiver of
    one is the transmitter of the other: what is heard over these edges is known at one node, so
    no cross gain has to be. With ``interference`` it is
    :math:`\sigma((\mathrm{INR}_{ik} - 10\,\mathrm{dB}) / 10\,\mathrm{dB}) / 4`, of the mean INR
    that i's transmitter with the largest power makes at k's receiver, and 1/4 if that is the
    transmitter itself, which cannot receive. With ``none`` all are 0. The quarter keeps sums
    over many links of order one.

    Args:
        networks: The trees.
        mean_gain: Gains without fading ``[B, M, L]`` [1].
        radio: Powers and noise.
        edges: Which.
    """
    sender, receiver = networks.transmitter, networks.receiver
    feeds = receiver.view(1, -1, 1) == sender.unsqueeze(1)
    if edges == "topology":
        joined = (sender.unsqueeze(2) == sender.unsqueeze(1)) | feeds | feeds.mT
        weight = 0.25 * joined.float()
    elif edges == "interference":
        index = sender.unsqueeze(-1).expand(-1, -1, networks.num_links)
        gain = mean_gain.gather(1, index)
        inr_db = 10.0 * torch.log10(radio.power_max_w / radio.noise_w * gain.clamp(min=1e-30))
        weight = 0.25 * torch.sigmoid((inr_db - MIDDLE_DB) / SLOPE_DB)
        weight = torch.where(feeds.mT, 0.25, weight)
    else:
        weight = torch.zeros_like(mean_gain[:, :1]).expand(-1, networks.num_links, -1)
    own = torch.eye(networks.num_links, dtype=torch.bool, device=sender.device)
    return weight.masked_fill(own, 0.0)
