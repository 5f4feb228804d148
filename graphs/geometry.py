"""Drops of transmitter-receiver pairs on a square, with minimum distances."""

import math

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, check_non_negative, check_positive, require

_MAX_TRIES = 20_000


def drop_links(
    num_links: int,
    generator: torch.Generator,
    area_m: float = 500.0,
    min_link_m: float = 10.0,
    max_link_m: float = 50.0,
    min_transmitter_spacing_m: float = 35.0,
    min_cross_m: float = 10.0,
) -> tuple[Tensor, Tensor]:
    """Positions of links dropped one after another; a link too near to earlier ones is redrawn.

    Transmitters are uniform on the square; each receiver lies at a uniform angle and a uniform
    distance in ``[min_link_m, max_link_m]`` (paper A, Section V). Spacing of transmitters and
    the minimum distance of crossed pairs are those of the channel family's earlier papers.

    Args:
        num_links: Number of links K.
        generator: Source of randomness.
        area_m: Side of the square [m].
        min_link_m: Shortest direct link [m].
        max_link_m: Longest direct link [m].
        min_transmitter_spacing_m: Smallest distance between transmitters [m], 0 for none.
        min_cross_m: Smallest distance from a transmitter to another link's receiver [m].

    Shapes:
        Returns transmitters ``[K, 2]`` and receivers ``[K, 2]`` [m].

    Raises:
        ValueError: If an argument is out of range, or the links do not fit on the square.
    """
    check_drop(num_links, area_m, min_link_m, max_link_m, min_transmitter_spacing_m, min_cross_m)
    transmitters = torch.empty(num_links, 2)
    receivers = torch.empty(num_links, 2)
    placed = 0
    for _ in range(_MAX_TRIES):
        u = torch.rand(4, generator=generator)
        transmitter, receiver = place_link(u, area_m, min_link_m, max_link_m)
        others_tx, others_rx = transmitters[:placed], receivers[:placed]
        fits = (
            ((others_tx - transmitter).norm(dim=1) >= min_transmitter_spacing_m).all()
            and ((others_rx - transmitter).norm(dim=1) >= min_cross_m).all()
            and ((others_tx - receiver).norm(dim=1) >= min_cross_m).all()
        )
        if fits:
            transmitters[placed], receivers[placed] = transmitter, receiver
            placed += 1
        if placed == num_links:
            return transmitters, receivers
    raise ValueError(
        f"`num_links` must fit on the square of side `area_m` = {area_m} m with the minimum "
        f"distances, got {num_links} (placed {placed} in {_MAX_TRIES} tries)"
    )


def check_drop(
    num_links: int,
    area_m: float,
    min_link_m: float,
    max_link_m: float,
    min_transmitter_spacing_m: float,
    min_cross_m: float,
) -> None:
    """Check what a drop of links is given; see `drop_links`."""
    check_count("num_links", num_links)
    check_positive("area_m", area_m)
    check_positive("min_link_m", min_link_m)
    require(
        max_link_m >= min_link_m and math.isfinite(max_link_m),
        "max_link_m",
        f"be >= min_link_m = {min_link_m}",
        max_link_m,
    )
    check_non_negative("min_transmitter_spacing_m", min_transmitter_spacing_m)
    check_non_negative("min_cross_m", min_cross_m)


def place_link(
    uniform: Tensor, area_m: float, min_link_m: float, max_link_m: float
) -> tuple[Tensor, Tensor]:
    """Transmitter and receiver ``[..., 2]`` [m] from four uniform numbers ``[..., 4]``."""
    transmitter = area_m * uniform[..., :2]
    radius = min_link_m + (max_link_m - min_link_m) * uniform[..., 2:3]
    angle = 2.0 * math.pi * uniform[..., 3]
    return transmitter, transmitter + radius * torch.stack([angle.cos(), angle.sin()], dim=-1)


def cross_distance_m(transmitters: Tensor, receivers: Tensor) -> Tensor:
    """Distance [m] from transmitter i to receiver k: positions ``[K, 2]`` give ``[K, K]``."""
    return torch.cdist(transmitters, receivers, compute_mode="donot_use_mm_for_euclid_dist")
