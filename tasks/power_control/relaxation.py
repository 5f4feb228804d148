"""Upper bounds of the weighted sum rate of many links: by boxes, groups, no interference."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, require
from metagnn.tasks.power_control.exact import MAX_LINKS
from metagnn.tasks.power_control.scaling import check_power_control, check_weight
from metagnn.tasks.power_control.sinr_boxes import MARGIN
from metagnn.tasks.power_control.weighted_bound import (
    WeightedBound,
    is_reached,
    weighted_bound,
)

# Gap of branch and bound above which groups are tried too.
_GROUPS_FROM = 0.1
# Least number of boxes that a sample of one group may take.
_GROUP_BOXES = 500
_GROUP_TOLERANCE = 5e-3
GROUP_SIZES = (2, 4, 8)


# Boxes that up to `MAX_LINKS` links may take: far more than they need.
EXACT_BOXES = 200_000
# Name of a bound whose search has reached its tolerance on all samples.
EXACT = "exact"


@dataclass(frozen=True)
class TightestBound(WeightedBound):
    """`WeightedBound` by the tightest of several valid relaxations.

    Attributes:
        name: Relaxation that is tightest on average; ``exact`` where branch and bound reached its
            tolerance on all samples.
        mean_upper: Mean over all samples of every relaxation that was computed [bit/s/Hz].
    """

    name: str
    mean_upper: dict[str, float]


@torch.no_grad()
def interference_free_bound(
    gain: Tensor, power_max_w: float, noise_w: float, weight: Tensor | None = None
) -> Tensor:
    r"""Weighted sum rate with all at full power and no interference.

    .. math:: \sum_k w_k \log_2\left(1 + \frac{g_{kk} P_{\max}}{\sigma^2}\right)

    It is raised by 1e-9 of itself against rounding: on isolated links it is the optimum.

    Shapes:
        gain ``[..., K, K]``, weight ``[..., K]``; returns ``[...]`` [bit/s/Hz].

    Raises:
        ValueError: If an argument is out of range or has a shape that does not fit.
    """
    check_power_control(gain, power_max_w, noise_w)
    direct = torch.diagonal(gain, dim1=-2, dim2=-1).double()
    rate = torch.log1p(direct * (power_max_w / noise_w)) / math.log(2.0)
    return (rate * _weights(weight, gain)).sum(-1) * (1.0 + MARGIN)


@torch.no_grad()
def group_bound(
    gain: Tensor,
    power_max_w: float,
    noise_w: float,
    weight: Tensor | None = None,
    size: int = 2,
    max_boxes: int = _GROUP_BOXES,
) -> Tensor:
    r"""Sum over disjoint groups of links of each group's own largest weighted sum rate.

    Interference from other groups is dropped, which raises rates; each group's maximum is bounded
    by `weighted_bound`. With groups of two this is the pairwise relaxation. The groups are those
    of `harmful_groups`, the same for all samples.

    Args:
        gain: Channel power gains [1], transmitter (row) to receiver (column).
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W].
        weight: Weights of the links' rates [1]; none stands for equal ones.
        size: Links of a group; the last may have fewer.
        max_boxes: Boxes of one sample of a group at which its search ends at the latest.

    Shapes:
        gain ``[..., K, K]``, weight ``[..., K]``; returns ``[...]`` [bit/s/Hz].

    Raises:
        ValueError: If an argument is out of range or has a shape that does not fit.
    """
    check_power_control(gain, power_max_w, noise_w)
    weights = _weights(weight, gain)
    total = weights.new_zeros(gain.shape[:-2])
    for group in harmful_groups(gain, power_max_w, noise_w, weights, size):
        index = torch.tensor(group, device=gain.device)
        inside = gain.index_select(-1, index).index_select(-2, index)
        share = weights.index_select(-1, index)
        constants = (_GROUP_TOLERANCE, max_boxes)
        total += weighted_bound(inside, power_max_w, noise_w, share, *constants).upper
    return total


@torch.no_grad()
def harmful_groups(
    gain: Tensor, power_max_w: float, noise_w: float, weight: Tensor, size: int
) -> list[list[int]]:
    """Disjoint groups of links that harm each other most, on average over samples.

    The harm of a pair is what it loses of its weighted rate without interference if, of the three
    schedules *both*, *first* and *second only*, the best is used. Greedily, a group begins with
    the link of most harm and takes in the one of most harm to those inside.

    Shapes:
        gain ``[..., K, K]``, weight ``[..., K]``.

    Raises:
        ValueError: If ``size`` is not at least 1.
    """
    check_count("size", size)
    ratio = gain.double() * (power_max_w / noise_w)
    direct = torch.diagonal(ratio, dim1=-2, dim2=-1)
    alone = weight * torch.log1p(direct)
    # [..., i, k]: weighted rate of link k where i is on.
    with_other = weight.unsqueeze(-2) * torch.log1p(direct.unsqueeze(-2) / (1.0 + ratio))
    both = with_other + with_other.mT
    first, second = alone.unsqueeze(-1), alone.unsqueeze(-2)
    harm = first + second - torch.maximum(both, torch.maximum(first, second))
    num_links = gain.shape[-1]
    harm = harm.reshape(-1, num_links, num_links).mean(0).fill_diagonal_(0.0)

    left, groups = list(range(num_links)), []
    while left:
        inside: list[int] = []
        while left and len(inside) < size:
            among = inside or left
            best = max(left, key=lambda link: float(harm[link, among].sum()))
            inside.append(best)
            left.remove(best)
        groups.append(sorted(inside))
    return groups


@torch.no_grad()
def tightest_bound(
    gain: Tensor,
    power_max_w: float,
    noise_w: float,
    weight: Tensor | None = None,
    tolerance: float = 1e-3,
    max_boxes: int = 2000,
    initial_power_w: Tensor | None = None,
) -> TightestBound:
    """Tightest of the valid upper bounds of each sample, for any number of links.

    Branch and bound runs on all samples (`weighted_bound`); up to four links, where ``max_boxes``
    do not reach the tolerance, once more with 200,000. Where boxes run out with a gap above 10 %,
    groups of 2, 4, 8 and half of all links are bounded too, with as many boxes but not less than
    500, and the smallest bound counts.

    Args, shapes and errors are those of `weighted_bound`.
    """
    problem = (gain, power_max_w, noise_w, weight, tolerance)
    found = weighted_bound(*problem, max_boxes, initial_power_w)
    if gain.shape[-1] <= MAX_LINKS and not is_reached(found, tolerance):
        found = weighted_bound(*problem, EXACT_BOXES, initial_power_w)
    weights = _weights(weight, gain)
    bounds = {
        "interference_free": interference_free_bound(gain, power_max_w, noise_w, weights),
        "branch_and_bound": found.upper,
    }
    wide = found.gap > _GROUPS_FROM
    if bool(wide.any()):
        num_links, boxes = gain.shape[-1], max(max_boxes, _GROUP_BOXES)
        part = (gain[wide], power_max_w, noise_w, weights[wide])
        for size in sorted({*GROUP_SIZES, (num_links + 1) // 2}):
            if 1 < size < num_links:
                upper = bounds["interference_free"].clone()
                upper[wide] = group_bound(*part, size, boxes)
                bounds[f"groups_of_{size}"] = upper
    upper = torch.stack(list(bounds.values())).amin(0)
    mean = {name: float(value.mean()) for name, value in bounds.items()}
    name = min(mean, key=lambda each: mean[each])
    if is_reached(found, tolerance):
        name = EXACT
    return TightestBound(**vars(replace(found, upper=upper)), name=name, mean_upper=mean)


@torch.no_grad()
def exact_bound(
    gain: Tensor,
    power_max_w: float,
    noise_w: float,
    weight: Tensor | None = None,
    tolerance: float = 1e-3,
) -> WeightedBound:
    """`weighted_bound` with the promise that the tolerance is met, for at most four links.

    Raises:
        ValueError: If there are more links, or boxes run out, or as `weighted_bound`.
    """
    num_links = gain.shape[-1]
    rule = f"have at most {MAX_LINKS} links (use `tightest_bound` for more)"
    require(num_links <= MAX_LINKS, "gain", rule, num_links)
    found = weighted_bound(gain, power_max_w, noise_w, weight, tolerance, EXACT_BOXES)
    worst = float(found.gap.max()) if found.gap.numel() > 0 else 0.0
    require(is_reached(found, tolerance), "tolerance", f"be reached in {EXACT_BOXES} boxes", worst)
    return found


def _weights(weight: Tensor | None, gain: Tensor) -> Tensor:
    """Weights as given ``[..., K]``, in float64."""
    check_weight(weight, gain)
    if weight is None:
        return torch.ones(gain.shape[:-1], dtype=torch.float64, device=gain.device)
    return weight.to(gain.device, torch.float64).expand(gain.shape[:-1])
