"""Neighbour lists from positions through a k-d tree: nothing of size K x K is ever formed."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from metagnn.graphs.checks import check_count, check_non_negative, check_positive, require
from metagnn.graphs.fading import shadowing_db
from metagnn.graphs.far_field import FarField, far_field
from metagnn.graphs.geometry import check_drop, place_link
from metagnn.graphs.neighbours import NeighbourGain, Neighbours

# Nearest transmitters drawn a shadowing for each neighbour that is kept.
CANDIDATES_PER_NEIGHBOUR = 4
# Standard deviations of shadowing up to which a search by threshold looks.
STRONGEST_SHADOWING = 3.0
_DISTANCES_M = (1e-3, 1e8)


def nearest_neighbours(
    transmitter_m: Tensor,
    receiver_m: Tensor,
    path_loss: Callable[[Tensor], Tensor],
    num_neighbours: int,
    shadowing_std_db: float,
    generator: torch.Generator,
) -> NeighbourGain:
    r"""Large-scale gains of direct links and of the strongest of the nearest interferers.

    Every receiver draws shadowing for its nearest transmitters, `CANDIDATES_PER_NEIGHBOUR` for
    each neighbour, and keeps the strongest. Left out are the candidates not kept, whose gains are
    known, and all farther transmitters, whose gains without shadowing are estimated and bounded by
    `far_field`, times the mean of the shadowing, :math:`\exp((\sigma \ln 10 / 10)^2 / 2)`. The
    bound is one on the mean over the far shadowing.

    Args:
        transmitter_m: Positions of the transmitters [m].
        receiver_m: Positions of the receivers [m].
        path_loss: Path loss [dB] of distances [m], increasing.
        num_neighbours: Neighbours of each receiver.
        shadowing_std_db: Standard deviation of the shadowing of each pair [dB].
        generator: Source of the shadowing.

    Shapes:
        transmitter_m and receiver_m ``[K, 2]``.

    Raises:
        ValueError: If there are not more links than neighbours, or positions do not fit.
    """
    check_count("num_neighbours", num_neighbours)
    gain_of = _gain_of(transmitter_m, receiver_m, path_loss, shadowing_std_db)
    num_links = len(transmitter_m)
    rule = f"be <= {num_links - 1}, the number of other links"
    require(num_neighbours < num_links, "num_neighbours", rule, num_neighbours)

    num_candidates = min(CANDIDATES_PER_NEIGHBOUR * num_neighbours, num_links - 1)
    tree = cKDTree(transmitter_m.double().numpy())
    found = tree.query(receiver_m.double().numpy(), k=num_candidates + 1)
    distance = torch.from_numpy(np.asarray(found[0])).to(transmitter_m)
    index = torch.from_numpy(np.asarray(found[1]))
    own = index == torch.arange(num_links).unsqueeze(1)
    # The own transmitter goes to the end, as does the last one where it is not among the nearest.
    own[:, -1] |= ~own.any(1)
    order = own.to(torch.int8).argsort(dim=1, stable=True)[:, :-1]
    distance, index = distance.gather(1, order), index.gather(1, order)
    shadow = shadowing_db((num_links, num_candidates), shadowing_std_db, generator)
    gain = gain_of(distance, shadow)
    keep = torch.zeros_like(index, dtype=torch.bool)
    keep.scatter_(1, gain.topk(num_neighbours, dim=1).indices, True)
    target = torch.arange(num_links).repeat_interleave(num_candidates)
    candidates = Neighbours(num_links, index.flatten(), target)
    far = far_field(
        transmitter_m, receiver_m, candidates, distance[:, -1], lambda d: gain_of(d, 0.0)
    )
    own_shadow = shadowing_db((num_links,), shadowing_std_db, generator)
    direct = gain_of((transmitter_m - receiver_m).norm(dim=1), own_shadow)
    return _kept(candidates, gain.flatten(), keep.flatten(), direct, far, shadowing_std_db)


def neighbours_above(
    transmitter_m: Tensor,
    receiver_m: Tensor,
    path_loss: Callable[[Tensor], Tensor],
    min_inr: float,
    power_max_w: float,
    noise_w: float,
    shadowing_std_db: float,
    generator: torch.Generator,
) -> NeighbourGain:
    """Large-scale gains of direct links and of the interferers above a threshold over noise.

    Every receiver draws shadowing for the transmitters that `STRONGEST_SHADOWING` standard
    deviations in their favour would lift to the threshold: for all pairs where the threshold is
    low. What is left out is estimated and bounded as in `nearest_neighbours`.

    Args:
        transmitter_m: Positions of the transmitters [m].
        receiver_m: Positions of the receivers [m].
        path_loss: Path loss [dB] of distances [m], increasing.
        min_inr: Smallest interference-to-noise ratio of a neighbour at full power [1].
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W].
        shadowing_std_db: Standard deviation of the shadowing of each pair [dB].
        generator: Source of the shadowing.

    Shapes:
        transmitter_m and receiver_m ``[K, 2]``.

    Raises:
        ValueError: If an argument is not positive or positions do not fit. A threshold that cuts
            every pair leaves isolated links, which is no error.
    """
    check_positive("min_inr", min_inr)
    check_positive("power_max_w", power_max_w)
    check_positive("noise_w", noise_w)
    gain_of = _gain_of(transmitter_m, receiver_m, path_loss, shadowing_std_db)
    num_links = len(transmitter_m)
    min_gain = min_inr * noise_w / power_max_w
    radius_m = _largest_distance(
        lambda d: gain_of(d, -STRONGEST_SHADOWING * shadowing_std_db), min_gain
    )
    found = cKDTree(receiver_m.double().numpy()).sparse_distance_matrix(
        cKDTree(transmitter_m.double().numpy()), radius_m, output_type="ndarray"
    )
    found = found[found["i"] != found["j"]]
    found = found[np.lexsort((found["j"], found["i"]))]
    target, source = (torch.from_numpy(found[end].astype(np.int64)) for end in "ij")
    candidates = Neighbours(num_links, source, target)
    distance = torch.from_numpy(found["v"]).to(transmitter_m)
    gain = gain_of(distance, shadowing_db(tuple(distance.shape), shadowing_std_db, generator))
    nearest_m = torch.full((num_links,), radius_m).to(transmitter_m)
    far = far_field(transmitter_m, receiver_m, candidates, nearest_m, lambda d: gain_of(d, 0.0))
    own_shadow = shadowing_db((num_links,), shadowing_std_db, generator)
    direct = gain_of((transmitter_m - receiver_m).norm(dim=1), own_shadow)
    return _kept(candidates, gain, gain >= min_gain, direct, far, shadowing_std_db)


def _gain_of(
    transmitter_m: Tensor,
    receiver_m: Tensor,
    path_loss: Callable[[Tensor], Tensor],
    shadowing_std_db: float,
) -> Callable[[Tensor, Tensor | float], Tensor]:
    """Gain [1] of distances [m] and shadowing [dB], once the arguments are checked."""
    shape = (len(transmitter_m), 2)
    for name, value in (("transmitter_m", transmitter_m), ("receiver_m", receiver_m)):
        require(tuple(value.shape) == shape, name, f"have the shape {shape}", tuple(value.shape))
        require(bool(value.isfinite().all()), name, "be finite", "nan or inf")
    check_non_negative("shadowing_std_db", shadowing_std_db)

    def gain_of(distance_m: Tensor, shadow_db: Tensor | float) -> Tensor:
        gain = torch.pow(10.0, -(path_loss(distance_m) + shadow_db) / 10.0)
        if not bool(gain.isfinite().all()):
            rule = "lie where the path loss from every transmitter is finite"
            nearest = f"a distance of {float(distance_m.min()):g} m"
            require(False, "receiver_m", rule, nearest)
        return gain

    return gain_of


def _largest_distance(gain_of: Callable[[Tensor], Tensor], min_gain: float) -> float:
    """Distance [m] up to which a falling gain is at least ``min_gain``, by bisection."""
    low, high = _DISTANCES_M
    for _ in range(60):
        middle = (low * high) ** 0.5
        heard = bool(gain_of(torch.tensor([middle], dtype=torch.float64)) >= min_gain)
        low, high = (middle, high) if heard else (low, middle)
    return high


def _kept(
    candidates: Neighbours,
    gain: Tensor,
    keep: Tensor,
    direct: Tensor,
    far: FarField,
    shadowing_std_db: float,
) -> NeighbourGain:
    """The candidates to keep; all others count as left out, beside what is farther."""
    left_out = candidates.into_targets(gain.masked_fill(keep, 0.0))
    mean_shadow = math.exp(0.5 * (shadowing_std_db * math.log(10.0) / 10.0) ** 2)
    return NeighbourGain(
        Neighbours(candidates.num_links, candidates.source[keep], candidates.target[keep]),
        direct,
        gain[keep],
        left_out + mean_shadow * far.estimate,
        left_out + mean_shadow * far.bound,
    )


def drop_many_links(
    num_links: int,
    generator: torch.Generator,
    area_m: float,
    min_link_m: float,
    max_link_m: float,
    min_transmitter_spacing_m: float,
    min_cross_m: float,
) -> tuple[Tensor, Tensor]:
    """`drop_links` for many links: all at once, the later of two that are too near redrawn.

    Raises:
        ValueError: If an argument is out of range, or links are still too near after 200 rounds.
    """
    check_drop(num_links, area_m, min_link_m, max_link_m, min_transmitter_spacing_m, min_cross_m)
    transmitters = torch.empty(num_links, 2)
    receivers = torch.empty(num_links, 2)
    again = torch.arange(num_links)
    for _ in range(200):
        u = torch.rand(len(again), 4, generator=generator)
        transmitters[again], receivers[again] = place_link(u, area_m, min_link_m, max_link_m)
        near = _too_near(
            transmitters.numpy(), receivers.numpy(), min_transmitter_spacing_m, min_cross_m
        )
        again = torch.from_numpy(near)
        if len(again) == 0:
            return transmitters, receivers
    raise ValueError(
        f"`num_links` must fit on the square of side `area_m` = {area_m} m with the minimum "
        f"distances, got {num_links} ({len(again)} still too near)"
    )


def _too_near(
    transmitters: NDArray[np.float32],
    receivers: NDArray[np.float32],
    spacing_m: float,
    cross_m: float,
) -> NDArray[np.int64]:
    """Later link of every pair that breaks a minimum distance."""
    tx, rx = cKDTree(transmitters), cKDTree(receivers)
    later = [tx.query_pairs(spacing_m, output_type="ndarray").max(axis=1, initial=-1)]
    crossed = tx.sparse_distance_matrix(rx, cross_m, output_type="ndarray")
    different = crossed["i"] != crossed["j"]
    later.append(np.maximum(crossed["i"], crossed["j"])[different])
    found: NDArray[np.int64] = np.unique(np.concatenate(later)).astype(np.int64)
    return found[found >= 0]
