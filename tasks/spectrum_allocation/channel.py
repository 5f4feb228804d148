"""Gains of scenarios in time: users move, shadowing follows, fading drifts."""

import math

import torch
from torch import Tensor

from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.scenario import Scenarios

# Path gains follow the positions every so many slots.
SLOTS_PER_MOVE = 10


class Channel:
    """Power gains from every node to every receiver on every band, slot by slot.

    Users move on straight lines, reflected at the border of their square; every 10 slots path loss
    and line of sight follow, and shadowing with TR 38.901's correlation over the distance moved
    (Section 7.4.4). Amplitudes of the fading are complex normal numbers of unit power, independent
    between bands and pairs, which correlate by ``radio.coherence`` from slot to slot.

    Left out: reciprocity of the fading between two nodes (path loss and shadowing have it), and
    correlation of the shadowing between pairs. A node does not receive itself: that gain is 0.

    Args:
        scenarios: Where nodes and users are.
        radio: Bands and antennas.
        generator: Source of all randomness; it is on the scenarios' device.

    Attributes:
        user_m: Where users are ``[B, U, 2]`` [m].
        mean_gain: Gains without fading ``[B, M, L]`` [1].
        gain: Gains ``[B, N, M, L]`` [1], from nodes to receivers.
        incumbent_gain: Gains of what the incumbents radiate, without fading ``[B, L, N]`` [1].
    """

    def __init__(self, scenarios: Scenarios, radio: Radio, generator: torch.Generator) -> None:
        self.scenarios, self.radio, self.generator = scenarios, radio, generator
        networks = scenarios.networks
        device = networks.parent.device
        batch, num_links = len(networks.parent), networks.num_links
        receives = networks.receiver >= 0
        node_db, user_db = radio.node_antenna_gain_db, radio.user_antenna_gain_db
        self._antennas_db = node_db + torch.where(receives, node_db, user_db)
        nodes = torch.arange(networks.num_nodes, device=device)
        self._itself = nodes.unsqueeze(1) == networks.receiver
        correlation_m = scenarios.of_terrain(lambda kind: kind.model.nlos_shadowing_distance_m)
        moved_m = radio.slot_s * SLOTS_PER_MOVE * scenarios.speed_m_s
        kept = torch.exp(-moved_m / correlation_m.unsqueeze(-1))
        standing = torch.ones(batch, networks.num_nodes - 1, device=device)
        self._kept = torch.cat([standing, kept], dim=1).unsqueeze(1)

        self.user_m, self._shadowing = networks.user_m, scenarios.shadowing
        angle = 2.0 * math.pi * torch.rand(self._kept.shape, generator=generator, device=device)
        angle = angle[:, 0, networks.num_nodes - 1 :]
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        self._velocity_m_s = scenarios.speed_m_s.unsqueeze(-1) * direction
        self._follow()
        shape = (2, batch, radio.num_bands, networks.num_nodes, num_links)
        self._amplitude = self._normal(*shape) * math.sqrt(0.5)
        self._slots = 0
        self.gain = self._with_fading()

    def advance(self) -> None:
        """Go on to the next slot."""
        self._slots += 1
        if self._slots % SLOTS_PER_MOVE == 0:
            self._move()
        coherence = self.radio.coherence
        fresh = math.sqrt(0.5 * (1.0 - coherence**2)) * self._normal(*self._amplitude.shape)
        self._amplitude = coherence * self._amplitude + fresh
        self.gain = self._with_fading()

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.generator.device)

    def _with_fading(self) -> Tensor:
        return self.mean_gain.unsqueeze(1) * self._amplitude.square().sum(0)

    def _follow(self) -> None:
        """Gains without fading, of where users are."""
        gain_db = self.scenarios.gain_db(self.user_m, self._shadowing) + self._antennas_db
        gain = 10.0 ** (gain_db / 10.0)
        nodes = self.scenarios.networks.num_nodes
        self.mean_gain = gain[:, :nodes].masked_fill(self._itself, 0.0)
        # Their own antennas are in what they radiate.
        of_antenna = 10.0 ** (self.radio.node_antenna_gain_db / 10.0)
        self.incumbent_gain = gain[:, nodes:].mT / of_antenna

    def _move(self) -> None:
        moved_m = self.radio.slot_s * SLOTS_PER_MOVE * self._velocity_m_s
        position_m, border_m = self.user_m + moved_m, 0.5 * self.scenarios.area_m.view(-1, 1, 1)
        outside = position_m.abs() > border_m
        self._velocity_m_s = torch.where(outside, -self._velocity_m_s, self._velocity_m_s)
        mirrored_m = position_m.sign() * 2.0 * border_m - position_m
        self.user_m = torch.where(outside, mirrored_m, position_m)
        fresh = self._normal(*self._shadowing.shape)
        self._shadowing = self._kept * self._shadowing + (1.0 - self._kept.square()).sqrt() * fresh
        self._follow()
