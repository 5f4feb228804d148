"""Scenarios of integrated access and backhaul: places, incumbents and loads (paper C)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metagnn.graphs.checks import (
    check_count,
    check_finite,
    check_non_negative,
    check_positive,
    require,
)
from metagnn.graphs.iab import IabNetworks
from metagnn.graphs.iab_deployment import PARTS, Part, new_york_trees
from metagnn.graphs.iab_drop import choose_parents, drop_nodes
from metagnn.tasks.spectrum_allocation.terrain import TERRAINS, Terrain, gain_db

Network = Literal["random", "nycmesh"]
# Smallest and largest of numbers that are drawn uniformly.
Range = tuple[float, float]
# Positions of nodes and users, sides of the squares, and parents where the places have them.
Places = tuple[Tensor, Tensor, Tensor, Tensor | None]

# Nodes keep so much of the side of their square from each other.
MIN_DISTANCE_SHARE = 0.2
# Terrains of a city.
URBAN = ("urban_micro", "urban_macro")
# Users of real nodes are within so much of one.
REACH_M = 100.0


@dataclass(frozen=True)
class Scenarios:
    """B scenarios; all that stays the same from episode to episode.

    Attributes:
        networks: Trees, and where users begin.
        terrain: Place of each scenario in `TERRAINS` ``[B]``.
        area_m: Side of the square around the donor that users do not leave ``[B]`` [m].
        frequency_hz: Carrier of all bands [Hz].
        incumbent_m: Where other systems send, one on each band ``[B, N, 2]`` [m].
        incumbent_duty: Share of the slots in which they do ``[B, N]``, 0 where there is none.
        sight: Uniform numbers of the pairs of a sender, first the nodes, then the incumbents, and
            a receiver ``[B, M + N, L]``: there is a line of sight where its probability is above.
        shadowing: Shadowing of the pairs at the beginning, in standard deviations
            ``[B, M + N, L]``.
        load_bit_s: Mean load of each user ``[B, U]`` [bit/s].
        speed_m_s: Speed of each user ``[B, U]`` [m/s].
        failure: Probability that a node that works fails in a slot ``[B]``; a donor never does.
        attributes: What was drawn, by name, as small numbers ``[B]`` to split results by:
            ``terrain``; ``depth``, the hops to the farthest node; ``load``, 0 to 2 by thirds of
            the family's range; ``failures``, whether nodes fail; ``incumbents``, the bands that
            have one.
    """

    networks: IabNetworks
    terrain: Tensor
    area_m: Tensor
    frequency_hz: float
    incumbent_m: Tensor
    incumbent_duty: Tensor
    sight: Tensor
    shadowing: Tensor
    load_bit_s: Tensor
    speed_m_s: Tensor
    failure: Tensor
    attributes: dict[str, Tensor]

    def gain_db(self, user_m: Tensor, shadowing: Tensor) -> Tensor:
        """Gains without antennas from all senders to receivers ``[B, M + N, L]``.

        Args:
            user_m: Where users are ``[B, U, 2]`` [m].
            shadowing: Shadowing ``[B, M + N, L]`` [standard deviations].
        """
        node_m = self.networks.node_m
        sender_m = torch.cat([node_m, self.incumbent_m], dim=1)
        drawn = (self.terrain, self.sight, shadowing, self.frequency_hz)
        return gain_db(sender_m, node_m[:, 1:], user_m, *drawn)

    def of_terrain(self, value: Callable[[Terrain], float]) -> Tensor:
        """A number of each scenario's terrain ``[B]``."""
        values = [value(terrain) for terrain in TERRAINS]
        return torch.tensor(values, device=self.terrain.device)[self.terrain]


# Far beyond what all bands carry; numbers of packets stay whole.
MAX_LOAD_MBIT_S = 1e6


@dataclass(frozen=True)
class ScenarioFamily:
    """A distribution of scenarios, all of the same numbers of nodes and users.

    Random networks have the donor in the middle of a square, nodes that keep a fifth of its side
    from each other, and users anywhere; a node is fed by the strongest of those nearer to the
    donor, a user served by the strongest of all. Networks of ``nycmesh`` are trees of real
    links of New York's community network, which are lines of sight, with users around the nodes.
    On some bands another system sends most of the time, from anywhere on the square.

    Attributes:
        num_nodes: Number of nodes M, the donor included.
        num_users: Number of users U.
        network: ``random`` or ``nycmesh``.
        part: Part of New York from which trees are: ``all``, ``west`` or ``east``.
        terrains: Names of the propagation, each as likely. None: all three, in New York the urban
            two.
        frequency_hz: Carrier [Hz].
        load_mbit_s: Mean load per user of a network; a user's own is half to one and a half times
            that [Mbit/s].
        speed_max_m_s: Largest speed of a user; speeds are uniform up to it [m/s].
        load_swing: Users are in one of two states, with loads 1 - swing and 1 + swing times the
            mean, in [0, 1].
        load_switch: Probability that a user's state changes in a slot.
        failure_share: Share of scenarios in which nodes fail.
        failure_max: Largest probability that a node fails in a slot; uniform up to it.
        failure_slots: Fewest and most slots that a failure lasts.
        incumbent_share: Probability that a band has an incumbent.
        incumbent_duty: Share of the slots in which one sends, uniform in this range.
        incumbent_slots: Time in which it is forgotten whether one sends, at least 1 [slots].
        incumbent_dbm: Power with which incumbents radiate [dBm].
        packet_bit: Bits of a packet, whole [bit].
        buffer_bit: What a node holds for a user, whole [bit].

    Raises:
        ValueError: If an attribute is out of range.
    """

    num_nodes: int = 3
    num_users: int = 10
    network: Network = "random"
    part: Part = "west"
    terrains: tuple[str, ...] | None = None
    frequency_hz: float = 3.5e9
    load_mbit_s: Range = (4.0, 16.0)
    speed_max_m_s: float = 15.0
    load_swing: float = 0.5
    load_switch: float = 0.02
    failure_share: float = 0.5
    failure_max: float = 0.004
    failure_slots: tuple[int, int] = (10, 30)
    incumbent_share: float = 0.6
    incumbent_duty: Range = (0.8, 1.0)
    incumbent_slots: float = 20.0
    incumbent_dbm: float = 46.0
    packet_bit: int = 12_000
    buffer_bit: int = 2_400_000

    def __post_init__(self) -> None:
        check_count("num_nodes", self.num_nodes)
        check_count("num_users", self.num_users)
        networks = ("random", "nycmesh")
        require(self.network in networks, "network", f"be one of {networks}", self.network)
        require(self.part in PARTS, "part", f"be one of {PARTS}", self.part)
        known = [terrain.propagation for terrain in TERRAINS]
        if self.terrains is not None:
            fits = len(self.terrains) > 0 and set(self.terrains) <= set(known)
            require(fits, "terrains", f"be some of {known}", self.terrains)
        check_positive("frequency_hz", self.frequency_hz)
        low, high = self.load_mbit_s
        check_positive("load_mbit_s", low)
        check_positive("load_mbit_s", high)
        require(low <= high, "load_mbit_s", "be a range (smallest, largest)", self.load_mbit_s)
        rule = f"be at most {MAX_LOAD_MBIT_S:g} Mbit/s"
        require(high <= MAX_LOAD_MBIT_S, "load_mbit_s", rule, high)
        check_non_negative("speed_max_m_s", self.speed_max_m_s)
        shares = ("load_swing", "load_switch", "failure_share", "failure_max", "incumbent_share")
        for name in shares:
            value = getattr(self, name)
            require(0.0 <= value <= 1.0, name, "be in [0, 1]", value)
        rarest, busiest = self.incumbent_duty
        fits = 0.0 < rarest <= busiest <= 1.0
        require(fits, "incumbent_duty", "be a range in (0, 1]", self.incumbent_duty)
        check_finite("incumbent_slots", self.incumbent_slots)
        require(self.incumbent_slots >= 1.0, "incumbent_slots", "be >= 1", self.incumbent_slots)
        check_finite("incumbent_dbm", self.incumbent_dbm)
        fewest, most = self.failure_slots
        check_count("failure_slots", fewest)
        check_count("failure_slots", most)
        rule = "be a range (fewest, most)"
        require(fewest <= most, "failure_slots", rule, self.failure_slots)
        check_count("packet_bit", self.packet_bit)
        check_count("buffer_bit", self.buffer_bit)

    def draw(self, batch: int, num_bands: int, generator: torch.Generator) -> Scenarios:
        """Draw ``batch`` scenarios with ``num_bands`` bands, on the device of ``generator``."""
        check_count("batch", batch)
        check_count("num_bands", num_bands)
        device = generator.device

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=device)

        allowed = self._terrains()
        drawn = torch.randint(len(allowed), (batch,), generator=generator, device=device)
        terrain = torch.tensor(allowed, device=device)[drawn]
        places = self._random if self.network == "random" else self._real
        node_m, user_m, area_m, parent = places(terrain, generator)
        incumbent_m = area_m.view(-1, 1, 1) * (uniform(batch, num_bands, 2) - 0.5)
        rarest, busiest = self.incumbent_duty
        duty = rarest + (busiest - rarest) * uniform(batch, num_bands)
        incumbent_duty = duty * (uniform(batch, num_bands) < self.incumbent_share)
        shape = (batch, self.num_nodes + num_bands, self.num_nodes + self.num_users)
        sight = self._pairs(uniform(*shape))
        shadowing = self._pairs(torch.randn(shape, generator=generator, device=device))
        if parent is not None:
            nodes = torch.arange(self.num_nodes, device=device).view(1, -1, 1)
            fed = nodes == parent.unsqueeze(1)
            linked = (fed | fed.mT)[:, :, 1:]
            sight[:, : self.num_nodes, : self.num_nodes - 1].masked_fill_(linked, 0.0)
        of_nodes = (sight[:, : self.num_nodes], shadowing[:, : self.num_nodes])
        places_m = (node_m, node_m[:, 1:], user_m)
        gains_db = gain_db(*places_m, terrain, *of_nodes, self.frequency_hz)
        to_nodes, to_users = gains_db.split([self.num_nodes - 1, self.num_users], dim=2)
        if parent is None:
            to_donor = torch.zeros_like(to_users[:, :, :1])
            parent = choose_parents(node_m, torch.cat([to_donor, to_nodes], dim=2))
        networks = IabNetworks(parent, to_users.argmax(1), node_m, user_m)

        low, high = self.load_mbit_s
        share = uniform(batch)
        mean_bit_s = 1e6 * (low + (high - low) * share)
        load_bit_s = mean_bit_s.unsqueeze(-1) * (0.5 + uniform(batch, self.num_users))
        failing = uniform(batch) < self.failure_share
        return Scenarios(
            networks,
            terrain,
            area_m,
            self.frequency_hz,
            incumbent_m,
            incumbent_duty,
            sight,
            shadowing,
            load_bit_s,
            self.speed_max_m_s * uniform(batch, self.num_users),
            self.failure_max * uniform(batch) * failing,
            {
                "terrain": terrain,
                "depth": networks.depth.amax(-1),
                "load": (3.0 * share).long().clamp(max=2),
                "failures": failing.long(),
                "incumbents": (incumbent_duty > 0).sum(-1),
            },
        )

    def _terrains(self) -> list[int]:
        """Places in `TERRAINS` of those that occur."""
        wanted = self.terrains
        if wanted is None and self.network == "nycmesh":
            wanted = URBAN
        return [
            i for i, kind in enumerate(TERRAINS) if wanted is None or kind.propagation in wanted
        ]

    def _random(self, terrain: Tensor, generator: torch.Generator) -> Places:
        """Nodes and users anywhere on the squares."""
        areas = [kind.area_m for kind in TERRAINS]
        area_m = torch.tensor(areas, device=terrain.device)[terrain]
        shape = (len(terrain), self.num_users, 2)
        uniform = torch.rand(shape, generator=generator, device=terrain.device)
        user_m = area_m.view(-1, 1, 1) * (uniform - 0.5)
        node_m = drop_nodes(self.num_nodes, area_m, MIN_DISTANCE_SHARE * area_m, generator)
        return node_m, user_m, area_m, None

    def _real(self, terrain: Tensor, generator: torch.Generator) -> Places:
        """Trees of real links, users around their nodes, and squares around all."""
        batch, device = len(terrain), terrain.device
        trees = new_york_trees(self.num_nodes, self.part)
        root = torch.randint(len(trees.node), (batch,), generator=generator, device=device)
        node_m, parent = trees.node_m.to(device)[root], trees.parent.to(device)[root]
        shape = (batch, self.num_users, 1)
        near = torch.randint(self.num_nodes, shape, generator=generator, device=device)
        shape = (batch, self.num_users, 2)
        uniform = torch.rand(shape, generator=generator, device=device)
        user_m = node_m.gather(1, near.expand(shape)) + 2.0 * REACH_M * (uniform - 0.5)
        area_m = 2.0 * (node_m.abs().amax((1, 2)) + REACH_M)
        return node_m, user_m, area_m, parent

    def _pairs(self, drawn: Tensor) -> Tensor:
        """Numbers of sender-receiver pairs ``[B, S, L]``, equal in both directions of two nodes."""
        between, to_users = drawn.split([self.num_nodes, self.num_users], dim=2)
        upper = between[:, : self.num_nodes].triu(1)
        between = torch.cat([upper + upper.mT, between[:, self.num_nodes :]], dim=1)
        return torch.cat([between[:, :, 1:], to_users], dim=2)
