"""Kinds of places in which nodes and users are, and the path gains there."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.graphs.tr38901 import PROPAGATION, Propagation, Site

# Nothing is received from nearer than this, whatever the coordinates say.
NEAREST_M = 10.0
# Where nodes receive from nodes; where a node's own antenna is lower, it is the height.
BACKHAUL_HEIGHT_M = 10.0


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


def gain_db(
    sender_m: Tensor,
    relay_m: Tensor,
    user_m: Tensor,
    terrain: Tensor,
    sight: Tensor,
    shadowing: Tensor,
    frequency_hz: float,
) -> Tensor:
    """Path gains without antennas from senders to receivers, with shadowing: ``[B, S, L]`` [dB].

    Distances below 10 m count as 10 m.

    Args:
        sender_m: Positions of S senders, at the height of nodes ``[B, S, 2]`` [m].
        relay_m: Positions of the nodes that receive ``[B, M - 1, 2]`` [m].
        user_m: Positions of the users ``[B, U, 2]`` [m].
        terrain: Places in `TERRAINS` ``[B]``.
        sight: Uniform numbers ``[B, S, L]``; there is a line of sight where its probability is
            above.
        shadowing: Shadowing ``[B, S, L]`` [standard deviations].
        frequency_hz: Carrier [Hz].
    """
    num_relays = relay_m.shape[1]
    receiver_m = torch.cat([relay_m, user_m], dim=1)
    distance_m = (sender_m.unsqueeze(2) - receiver_m.unsqueeze(1)).norm(dim=-1)
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
