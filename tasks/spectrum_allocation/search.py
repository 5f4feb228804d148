"""Powers that are chosen band after band for a weighted sum of bits, by search over the agents."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.transmission import Scheduler, State


@dataclass(frozen=True)
class Contest:
    """What the agents can gain on one band, given what earlier bands took.

    Attributes:
        radio: Powers, noise and floor.
        active: Whether an agent has a link to serve ``[B, A]``.
        gain: Gains from agents (their nodes) to the receivers of the agents' links
            ``[B, A, A]`` [1].
        deaf: Whether the first agent's node is the receiver of the second's link ``[B, A, A]``.
        noise_w: Noise, and what the links' receivers hear from outside ``[B, A]`` [W].
        left_bit: What waits for the agents' links ``[B, A]`` [bit].
        weight: What a bit of them is worth ``[B, A]``.
    """

    radio: Radio
    active: Tensor
    gain: Tensor
    deaf: Tensor
    noise_w: Tensor
    left_bit: Tensor
    weight: Tensor

    def outcome(self, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bits that move, and who succeeds and who fails, for C choices; all ``[B, C, A]``."""
        power_w = self.radio.power_w(level) * self.active.unsqueeze(1)
        heard_w = self.noise_w.unsqueeze(1) + torch.matmul(power_w, self._crossed)
        sinr = power_w * self._own / heard_w
        sends = power_w > 0
        deaf = torch.matmul(power_w, self.deaf.to(power_w)) > 0
        succeeds = sends & ~deaf & (sinr >= self.radio.sinr_min)
        bit = torch.minimum(self.radio.bit(sinr), self.left_bit.unsqueeze(1))
        return torch.where(succeeds, bit, 0.0), succeeds, sends & ~succeeds

    @cached_property
    def _own(self) -> Tensor:
        """Gains of the agents' links ``[B, 1, A]``."""
        return torch.diagonal(self.gain, dim1=-2, dim2=-1).unsqueeze(1)

    @cached_property
    def _crossed(self) -> Tensor:
        """Gains with 0 in place of those."""
        return self.gain - torch.diag_embed(self._own.squeeze(1))

    def value(self, level: Tensor) -> Tensor:
        """Weighted sums of the bits that move: levels ``[B, C, A]`` of C choices to ``[B, C]``."""
        return (self.weight.unsqueeze(1) * self.outcome(level)[0]).sum(-1)


def contest(
    state: State, radio: Radio, band: int, link: Tensor, left_bit: Tensor, weight: Tensor
) -> Contest:
    """The agents' contest on a band for the links ``[B, A]`` that they would serve.

    Args:
        state: What the slot begins with; its gains and incumbents count as known.
        radio: Powers, noise and floor.
        band: Which band.
        link: Link of each agent, -1 for none.
        left_bit: What is left for each link ``[B, L]`` [bit].
        weight: What a bit on each link is worth ``[B, L]``.
    """
    index = link.clamp(min=0)
    num_agents = link.shape[-1]
    node = torch.arange(num_agents, device=link.device) // 2
    by_node = state.gain[:, band].gather(2, index.unsqueeze(1).expand(-1, num_agents // 2, -1))
    receiver = state.networks.receiver[index]
    return Contest(
        radio,
        link >= 0,
        by_node[:, node],
        node.view(1, -1, 1) == receiver.unsqueeze(1),
        radio.noise_w + state.incumbent_w[..., band].gather(1, index),
        left_bit.gather(1, index),
        weight.gather(1, index),
    )


def side_by_side(contests: Sequence[Contest]) -> Contest:
    """Contests of one radio as one, whose copies come one after the other."""
    names = [field.name for field in fields(Contest) if field.name != "radio"]
    columns = {name: torch.cat([getattr(one, name) for one in contests]) for name in names}
    return Contest(contests[0].radio, **columns)


# Levels [B, A] of a contest.
Search = Callable[[Contest], Tensor]


def by_band(state: State, radio: Radio, weight: Tensor, search: Search) -> Tensor:
    """Levels ``[B, M, 2, N]`` by a search on each band in turn, as the schedulers go.

    Args:
        state: What the slot begins with.
        radio: Bands and powers.
        weight: What a bit on each link is worth ``[B, L]``.
        search: Chooses the levels of a band.
    """
    scheduler, levels = Scheduler(state, radio), []
    for band in range(radio.num_bands):
        link = scheduler.offer_on(band)
        level = search(contest(state, radio, band, link, scheduler.left_bit, weight))
        scheduler.take(band, link, radio.power_w(level))
        levels.append(level)
    return torch.stack(levels, dim=-1).view_as(state.level)


def coordinate_search(choices: Tensor, sweeps: int) -> Search:
    """Search that begins with all off; agents in turn take their best of ``choices``.

    With one sweep it is greedy. Of equal choices the first is taken.

    Args:
        choices: Levels ``[C, G]`` of G agents that choose together, one after the other in the
            order of agents: 1 for agents, 2 for nodes.
        sweeps: Most sweeps; the search ends with one that changes nothing.
    """
    together = choices.shape[-1]

    def search(given: Contest) -> Tensor:
        chosen = torch.zeros_like(given.left_bit, dtype=torch.long)
        for _ in range(sweeps):
            before = chosen
            for first in range(0, chosen.shape[-1], together):
                tried = chosen.unsqueeze(1).repeat(1, len(choices), 1)
                tried[..., first : first + together] = choices
                best = given.value(tried).argmax(-1)
                chosen = torch.take_along_dim(tried, best[:, None, None], dim=1).squeeze(1)
            if torch.equal(before, chosen):
                break
        return chosen

    return search


def levels_of_choices(num_levels: int, device: torch.device | None = None) -> Tensor:
    """Levels of both roles for each choice of a node, of P powers ``[1 + 2 P, 2]``.

    A node is off, or serves its users with one of P powers, or its child nodes.
    """
    power = torch.arange(1, num_levels + 1, device=device)
    off = torch.zeros_like(power)
    one_role = torch.stack([power, off], dim=-1)
    return torch.cat([one_role.new_zeros(1, 2), one_role, one_role.flip(-1)])


def differential_backlog_bit(state: State) -> Tensor:
    """Weights of backpressure ``[B, L]`` [bit], at least 0.

    How much more of a user's bits wait at the transmitter than at the receiver, where a delivered
    bit waits nowhere; over the users behind a link, weighted with their shares of what waits for
    it, in which it drains them.
    """
    networks = state.networks
    sender = networks.transmitter.unsqueeze(-1).expand(-1, -1, networks.num_users)
    at_sender = state.queue_bit.gather(1, sender) * networks.users_behind
    at_receiver = state.queue_bit[:, networks.receiver.clamp(min=0)]
    at_receiver = at_receiver * (networks.receiver >= 0).unsqueeze(-1)
    share = at_sender / state.link_queue_bit.clamp(min=1.0).unsqueeze(-1)
    return (share * (at_sender - at_receiver)).sum(-1).clamp(min=0.0)
