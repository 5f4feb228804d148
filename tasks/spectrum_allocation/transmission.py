"""One slot on the air: which links the nodes' schedulers serve, and at which SINR."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from metagnn.graphs.iab import IabNetworks
from metagnn.tasks.spectrum_allocation.listening import Heard
from metagnn.tasks.spectrum_allocation.radio import Radio


@dataclass(frozen=True)
class Past:
    """What is known of the slots before.

    Attributes:
        reported_w: What receivers reported of the slot before: all that they heard but their own
            agent, on bands on which it sent to them; else 0 ``[B, L, N]`` [W].
        explained_w: That of it which nodes sent, if there was no fading ``[B, L, N]`` [W].
        level: Levels of the agents in the slot before ``[B, M, 2, N]``.
        sent: Where links were sent on in the slot before ``[B, L, N]``.
        served: Where that was received at or above the floor ``[B, L, N]``.
        heard: What is known of incumbents from all reports.
        moved_bit: What links carried in the slot before ``[B, L]`` [bit].
        average_bit: Moving average of that ``[B, L]`` [bit/slot].
    """

    reported_w: Tensor
    explained_w: Tensor
    level: Tensor
    sent: Tensor
    served: Tensor
    heard: Heard
    moved_bit: Tensor
    average_bit: Tensor


@dataclass(frozen=True)
class State(Past):
    """What a slot begins with; an agent is a node in one role: ``2 * node + role``.

    Attributes:
        networks: The trees.
        gain: Power gains ``[B, N, M, L]`` [1] from node m to the receiver of link l.
        mean_gain: The same without fading ``[B, M, L]`` [1].
        queue_bit: What nodes hold for users ``[B, M, U]`` [bit].
        link_queue_bit: What waits for each link ``[B, L]`` [bit].
        age: Ages of the oldest bits of users at nodes ``[B, M, U]`` [slots].
        alive: Whether a node works ``[B, M]``.
        load_bit: Mean load of each user ``[B, U]`` [bit/slot].
        unserved: Slots for which something has waited for a link, and none of it was received
            ``[B, L]``.
        incumbent_w: What receivers hear of incumbents in this slot ``[B, L, N]`` [W], which
            nobody is told.
        slot: Number of the slot in its episode.
    """

    networks: IabNetworks
    gain: Tensor
    mean_gain: Tensor
    queue_bit: Tensor
    link_queue_bit: Tensor
    age: Tensor
    alive: Tensor
    load_bit: Tensor
    unserved: Tensor
    incumbent_w: Tensor
    slot: int

    @cached_property
    def usable(self) -> Tensor:
        """Whether both ends of a link work ``[B, L]``."""
        networks = self.networks
        works = self.alive.gather(1, networks.transmitter)
        return works & (self.alive[:, networks.receiver.clamp(min=0)] | (networks.receiver < 0))

    @cached_property
    def own_gain(self) -> Tensor:
        """Gains of the links from their own transmitters ``[B, L, N]`` [1]."""
        sender = self.networks.transmitter[:, None, None]
        sender = sender.expand(-1, self.gain.shape[1], -1, -1)
        return self.gain.gather(2, sender).squeeze(2).mT

    def snr(self, radio: Radio) -> Tensor:
        """SNRs at the largest power ``[B, L, N]`` [1]."""
        return radio.power_max_w / radio.noise_w * self.own_gain


class Scheduler:
    """The nodes' own schedulers in one slot, which go through the bands in their order.

    On a band that is on, an agent serves the one of its links that has the largest product of what
    still waits for it and the rate at its SNR with the largest power (max-weight), of those whose
    SNR is not below the floor; none if nothing waits. It takes what it would send on a band
    without interference off what waits before it comes to the next, so bands do not all go to one
    link. Links with an end that has failed are passed over.

    Args:
        state: What the slot begins with.
        radio: Bands and powers.
    """

    def __init__(self, state: State, radio: Radio) -> None:
        self.radio = radio
        self.left_bit = state.link_queue_bit * state.usable
        self._snr = state.snr(radio)
        reaches = self._snr >= radio.sinr_min
        self._rate = torch.where(reaches, radio.efficiency(self._snr), 0.0)
        self._links = state.networks.agent_links

    def wish(self, bands: slice = slice(None)) -> Tensor:
        """Weights of the links on bands ``[B, L, N]``: what still waits times the rate."""
        return self.left_bit.unsqueeze(-1) * self._rate[..., bands]

    def offer(self, bands: slice = slice(None)) -> Tensor:
        """Link that each agent would serve on bands ``[B, 2 M, N]``, -1 where it has none."""
        wish = torch.where(self._links.unsqueeze(-1), self.wish(bands).unsqueeze(1), 0.0)
        most, link = wish.max(-2)
        return torch.where(most > 0, link, -1)

    def offer_on(self, band: int) -> Tensor:
        """The same on one band ``[B, 2 M]``."""
        return self.offer(slice(band, band + 1)).squeeze(-1)

    def take(self, band: int, link: Tensor, power_w: Tensor) -> None:
        """Agents serve these links on a band with these powers ``[B, 2 M]`` (0 if off)."""
        on = (link >= 0) & (power_w > 0)
        index = link.clamp(min=0)
        snr = self._snr[..., band].gather(1, index) * power_w / self.radio.power_max_w
        bit = torch.where(on, self.radio.bit(snr), 0.0)
        taken = torch.zeros_like(self.left_bit).scatter_add_(1, index, bit)
        self.left_bit = (self.left_bit - taken).clamp(min=0.0)


@dataclass(frozen=True)
class Transmission:
    """What was sent in a slot and how it was received.

    Attributes:
        power_w: Powers with which links were served ``[B, L, N]`` [W].
        sinr: SINRs of links that were served ``[B, L, N]`` [1], 0 where they were not or their
            receiver was sending itself.
        served: Whether the SINR reached the floor ``[B, L, N]``.
        capacity_bit: What links could carry on each band ``[B, L, N]`` [bit].
        interference_w: What their receivers heard of all but their own agent ``[B, L, N]`` [W].
        explained_w: That of it which nodes sent, if there was no fading ``[B, L, N]`` [W].
        deaf: Where receivers were sending themselves ``[B, L, N]``.
    """

    power_w: Tensor
    sinr: Tensor
    served: Tensor
    capacity_bit: Tensor
    interference_w: Tensor
    explained_w: Tensor
    deaf: Tensor

    @property
    def failed(self) -> Tensor:
        """Where links were sent on and the SINR was below the floor ``[B, L, N]``."""
        return (self.power_w > 0) & ~self.served


def transmit(state: State, radio: Radio, level: Tensor) -> Transmission:
    r"""Serve links at the agents' levels ``[B, M, 2, N]``.

    A transmission carries :math:`W \log_2(1 + \mathrm{SINR})` if its SINR reaches the floor, else
    nothing. All that is sent on its band disturbs it, that of the other role of its own
    node and of incumbents included; a node that sends on a band cannot receive there.
    """
    networks, power_w = state.networks, radio.power_w(level).flatten(1, 2)
    batch, num_links = len(level), networks.num_links
    sent = power_w.new_zeros(batch, num_links + 1, radio.num_bands)
    scheduler = Scheduler(state, radio)
    for band in range(radio.num_bands):
        link = scheduler.offer_on(band)
        scheduler.take(band, link, power_w[..., band])
        # The last row takes the powers of agents that have nothing to send.
        row = torch.where(link >= 0, link, num_links)
        sent[..., band].scatter_(1, row, power_w[..., band])
    return receive(state, radio, sent[:, :num_links])


def receive(state: State, radio: Radio, power_w: Tensor) -> Transmission:
    """How transmissions with powers ``[B, L, N]`` are received; see `transmit`."""
    networks = state.networks
    batch, _, num_bands = power_w.shape
    agents = networks.agent.unsqueeze(-1).expand_as(power_w)
    by_agent = power_w.new_zeros(batch, 2 * networks.num_nodes, num_bands)
    by_agent.scatter_add_(1, agents, power_w)
    by_node = by_agent.view(batch, networks.num_nodes, 2, num_bands).sum(2)
    nodes = torch.arange(networks.num_nodes, device=power_w.device).unsqueeze(-1)
    own = (nodes == networks.transmitter.unsqueeze(1)).unsqueeze(1)
    other_role_w = by_agent.gather(1, agents ^ 1)

    def of_nodes_w(gain: Tensor, own_gain: Tensor) -> Tensor:
        others_w = torch.einsum("bmn,bnml->bln", by_node, gain.masked_fill(own, 0.0))
        return others_w + other_role_w * own_gain

    interference_w = of_nodes_w(state.gain, state.own_gain) + state.incumbent_w
    own_mean_gain = state.mean_gain.gather(1, networks.transmitter.unsqueeze(1)).mT
    explained_w = of_nodes_w(state.mean_gain.unsqueeze(1).expand_as(state.gain), own_mean_gain)
    sinr = power_w * state.own_gain / (radio.noise_w + interference_w)
    sends = (by_node > 0)[:, networks.receiver.clamp(min=0)]
    deaf = sends & (networks.receiver >= 0).unsqueeze(-1)
    sinr = sinr.masked_fill(deaf, 0.0)
    served = (power_w > 0) & (sinr >= radio.sinr_min)
    capacity_bit = torch.where(served, radio.bit(sinr), 0.0)
    heard_w = (interference_w, explained_w)
    return Transmission(power_w, sinr, served, capacity_bit, *heard_w, deaf)
