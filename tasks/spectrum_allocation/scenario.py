"""Scenarios of integrated access and backhaul: where nodes and users are and what they ask for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, check_non_negative, check_positive, require
from metagnn.graphs.iab import IabNetworks
from metagnn.graphs.iab_deployment import cut_trees, new_york_mesh
from metagnn.graphs.iab_drop import choose_parents, drop_nodes
from metagnn.graphs.tr38901 import PROPAGATION, Propagation, Site

Network = Literal["random", "nycmesh"]
# Smallest and largest of numbers that are drawn uniformly.
Range = tuple[float, float]

# Nothing is received from nearer than this, whatever the coordinates say.
NEAREST_M = 10.0
# Where nodes receive from nodes; where a node's own antenna is lower, it is the height.
BACKHAUL_HEIGHT_M = 10.0
# Nodes keep so much of the side of their square from each other.
MIN_DISTANCE_SHARE = 0.2
# Users of real nodes are within so much of one.
REACH_M = 100.0


@dataclass(frozen=True)
class Terrain:
    """One kind of place.

    Attributes:
        propagation: Name of a column of TR 38.901 in `tr38901.PROPAGATION`.
        area_m: Side of the square on which random nodes and users are [m].
        base_height_m: Height of the nodes' antennas [m].
    """

    propagation: str
    area_m: float
    base_height_m: float

    @property
    def model(self) -> Propagation:
        """Path loss, line of sight and shadowing."""
        return PROPAGATION[self.propagation]

    def sites(self, frequency_hz: float) -> tuple[Site, Site]:
        """Heights where nodes receive, and where users do."""
        relay_m = min(BACKHAUL_HEIGHT_M, self.base_height_m)
        return (
            Site(self.base_height_m, relay_m, frequency_hz),
            Site(self.base_height_m, frequency_hz=frequency_hz),
        )


# Heights of TR 38.901, Section 7.2; with these sides most links are usable and all interfere.
TERRAINS = (
    Terrain("urban_micro", 500.0, 10.0),
    Terrain("urban_macro", 800.0, 25.0),
    Terrain("rural_macro", 2500.0, 35.0),
)


@dataclass(frozen=True)
class Scenarios:
    """B scenarios; all that stays the same from episode to episode.

    Attributes:
        networks: Trees, and where users begin.
        terrain: Place of each scenario in `TERRAINS` ``[B]``.
        area_m: Side of the square around the donor that users do not leave ``[B]`` [m].
        frequency_hz: Carrier of all bands [Hz].
        sight: Uniform numbers of node-receiver pairs ``[B, M, L]``: there is a line of sight
            where its probability is above.
        shadowing: Shadowing of the pairs at the beginning, in standard deviations ``[B, M, L]``.
        load_bit_s: Mean load of each user ``[B, U]`` [bit/s].
        speed_m_s: Speed of each user ``[B, U]`` [m/s].
        failure: Probability that a node that works fails in a slot ``[B]``; a donor never does.
        attributes: What was drawn, by name, as small numbers ``[B]`` to split results by:
            ``terrain``; ``depth``, the hops to the farthest node; ``load``, 0 to 2 by thirds of
            the family's range; ``failures``, whether nodes fail.
    """

    networks: IabNetworks
    terrain: Tensor
    area_m: Tensor
    frequency_hz: float
    sight: Tensor
    shadowing: Tensor
    load_bit_s: Tensor
    speed_m_s: Tensor
    failure: Tensor
    attributes: dict[str, Tensor]

    def gain_db(self, user_m: Tensor, shadowing: Tensor) -> Tensor:
        """Gains without antennas from nodes to receivers, path loss and shadowing: ``[B, M, L]``.

        Args:
            user_m: Where users are ``[B, U, 2]`` [m].
            shadowing: Shadowing ``[B, M, L]`` [standard deviations].
        """
        return _gain_db(
            self.networks.node_m, user_m, self.terrain, self.sight, shadowing, self.frequency_hz
        )

    def of_terrain(self, value: Callable[[Terrain], float]) -> Tensor:
        """A number of each scenario's terrain ``[B]``."""
        values = [value(terrain) for terrain in TERRAINS]
        return torch.tensor(values, device=self.terrain.device)[self.terrain]


def _gain_db(
    node_m: Tensor,
    user_m: Tensor,
    terrain: Tensor,
    sight: Tensor,
    shadowing: Tensor,
    frequency_hz: float,
) -> Tensor:
    num_relays = node_m.shape[1] - 1
    receiver_m = torch.cat([node_m[:, 1:], user_m], dim=1)
    distance_m = (node_m.unsqueeze(2) - receiver_m.unsqueeze(1)).norm(dim=-1)
    distance_m = distance_m.clamp(min=NEAREST_M)
    found = torch.zeros_like(distance_m)
    for index, kind in enumerate(TERRAINS):
        model, parts = kind.model, []
        between = distance_m.split([num_relays, user_m.shape[1]], dim=2)
        for site, part_m in zip(kind.sites(frequency_hz), between, strict=True):
            losses = (model.los_db(part_m, site), model.nlos_db(part_m, site))
            parts.append(torch.stack(losses))
        los_db, nlos_db = torch.cat(parts, dim=-1)
        seen = sight < model.los_probability(distance_m)
        loss_db = torch.where(
            seen,
            los_db + model.los_shadowing_db * shadowing,
            nlos_db + model.nlos_shadowing_db * shadowing,
        )
        found = torch.where((terrain == index).view(-1, 1, 1), -loss_db, found)
    return found


@dataclass(frozen=True)
class ScenarioFamily:
    """A distribution of scenarios, all of the same numbers of nodes and users.

    Random networks have the donor in the middle of a square, nodes that keep a fifth of its side
    from each other, and users anywhere; a node is fed by the strongest of those nearer to the
    donor, a user served by the strongest of all. Networks of ``nycmesh`` are trees of real
    links of New York's community network, which are lines of sight, with users within 100 m of
    the nodes.

    Attributes:
        num_nodes: Number of nodes M, the donor included.
        num_users: Number of users U.
        network: ``random`` or ``nycmesh``.
        terrains: Names of the propagation, each as likely.
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
        packet_bit: Bits of a packet, whole [bit].
        buffer_bit: What a node holds for a user, whole [bit].

    Raises:
        ValueError: If an attribute is out of range.
    """

    num_nodes: int = 3
    num_users: int = 10
    network: Network = "random"
    terrains: tuple[str, ...] = ("urban_micro", "urban_macro", "rural_macro")
    frequency_hz: float = 3.5e9
    load_mbit_s: Range = (2.0, 8.0)
    speed_max_m_s: float = 15.0
    load_swing: float = 0.5
    load_switch: float = 0.02
    failure_share: float = 0.5
    failure_max: float = 0.004
    failure_slots: tuple[int, int] = (10, 30)
    packet_bit: int = 12_000
    buffer_bit: int = 2_400_000

    def __post_init__(self) -> None:
        check_count("num_nodes", self.num_nodes)
        check_count("num_users", self.num_users)
        networks = ("random", "nycmesh")
        require(self.network in networks, "network", f"be one of {networks}", self.network)
        known = [terrain.propagation for terrain in TERRAINS]
        fits = len(self.terrains) > 0 and set(self.terrains) <= set(known)
        require(fits, "terrains", f"be some of {known}", self.terrains)
        check_positive("frequency_hz", self.frequency_hz)
        low, high = self.load_mbit_s
        check_positive("load_mbit_s", low)
        check_positive("load_mbit_s", high)
        require(low <= high, "load_mbit_s", "be a range (smallest, largest)", self.load_mbit_s)
        check_non_negative("speed_max_m_s", self.speed_max_m_s)
        for name in ("load_swing", "load_switch", "failure_share", "failure_max"):
            value = getattr(self, name)
            require(0.0 <= value <= 1.0, name, "be in [0, 1]", value)
        fewest, most = self.failure_slots
        check_count("failure_slots", fewest)
        check_count("failure_slots", most)
        rule = "be a range (fewest, most)"
        require(fewest <= most, "failure_slots", rule, self.failure_slots)
        check_count("packet_bit", self.packet_bit)
        check_count("buffer_bit", self.buffer_bit)

    def draw(self, batch: int, generator: torch.Generator) -> Scenarios:
        """Draw ``batch`` scenarios, on the device of ``generator``."""
        check_count("batch", batch)
        device = generator.device

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=device)

        allowed = [i for i, kind in enumerate(TERRAINS) if kind.propagation in self.terrains]
        drawn = torch.randint(len(allowed), (batch,), generator=generator, device=device)
        terrain = torch.tensor(allowed, device=device)[drawn]
        if self.network == "random":
            areas = torch.tensor([kind.area_m for kind in TERRAINS], device=device)
            area_m = areas[terrain]
            user_m = area_m.view(-1, 1, 1) * (uniform(batch, self.num_users, 2) - 0.5)
            node_m = drop_nodes(self.num_nodes, area_m, MIN_DISTANCE_SHARE * area_m, generator)
            parent = None
        else:
            trees = cut_trees(new_york_mesh(), self.num_nodes)
            root = torch.randint(len(trees.node), (batch,), generator=generator, device=device)
            node_m, parent = trees.node_m.to(device)[root], trees.parent.to(device)[root]
            area_m = 2.0 * (node_m.abs().amax((1, 2)) + REACH_M)
            near = torch.randint(
                self.num_nodes, (batch, self.num_users, 1), generator=generator, device=device
            )
            offset_m = 2.0 * REACH_M * (uniform(batch, self.num_users, 2) - 0.5)
            user_m = node_m.gather(1, near.expand(-1, -1, 2)) + offset_m
        sight = self._pairs(uniform(batch, self.num_nodes, self.num_nodes + self.num_users))
        normal = torch.randn(
            (batch, self.num_nodes, self.num_nodes + self.num_users),
            generator=generator,
            device=device,
        )
        shadowing = self._pairs(normal)
        if parent is not None:
            fed = torch.arange(self.num_nodes, device=device).view(1, -1, 1) == parent.unsqueeze(1)
            sight[:, :, : self.num_nodes - 1].masked_fill_(fed[:, :, 1:], 0.0)
        gain_db = _gain_db(node_m, user_m, terrain, sight, shadowing, self.frequency_hz)
        to_nodes, to_users = gain_db.split([self.num_nodes - 1, self.num_users], dim=2)
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
            },
        )

    def _pairs(self, drawn: Tensor) -> Tensor:
        """Numbers of node-receiver pairs ``[B, M, L]``, equal in both directions of two nodes."""
        between, to_users = drawn.split([self.num_nodes, self.num_users], dim=2)
        upper = between.triu(1)
        return torch.cat([(upper + upper.mT)[:, :, 1:], to_users], dim=2)
