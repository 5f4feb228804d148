import pytest
import torch
from torch import Tensor

from metagnn.graphs.far_field import far_field
from metagnn.graphs.geometry import cross_distance_m
from metagnn.graphs.neighbour_search import (
    drop_many_links,
    nearest_neighbours,
    neighbours_above,
)
from metagnn.graphs.neighbours import Neighbours, above, strongest
from metagnn.graphs.pathloss import dual_slope_db
from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import full_power_rate

POWERS = 0.01, 4e-14
NUM_LINKS = 1500


@pytest.fixture(scope="module")
def drop() -> tuple[Tensor, Tensor]:
    """As dense as 20 links on the square of 500 m."""
    side_m = 500.0 * (NUM_LINKS / 20) ** 0.5
    return drop_many_links(NUM_LINKS, generator(0, "far"), side_m, 10.0, 50.0, 35.0, 10.0)


def _gain(distance_m: Tensor) -> Tensor:
    return 10.0 ** (-dual_slope_db(distance_m) / 10.0)


def test_sums_of_all_but_the_known_equal_brute_force(drop: tuple[Tensor, Tensor]) -> None:
    gain = _gain(cross_distance_m(*drop)).double()
    # Known: some pairs at random, near or far.
    keep = torch.rand(gain.shape, generator=generator(1)) < 0.01
    target, source = keep.fill_diagonal_(False).mT.nonzero(as_tuple=True)
    nearest = torch.full((NUM_LINKS,), 10.0)
    found = far_field(*drop, Neighbours(NUM_LINKS, source, target), nearest, _gain)
    wanted = gain.masked_fill(keep, 0.0).fill_diagonal_(0.0).sum(0)
    share, bound = found.estimate / wanted, found.bound / wanted
    assert float(share.mean()) == pytest.approx(1.0, abs=0.02)
    low, high = share.quantile(torch.tensor([0.02, 0.98], dtype=share.dtype)).tolist()
    assert 0.97 < low < high < 1.03
    # Where the known share a last cell with others, the cell's mean is not that of the others.
    assert (share <= bound).all()
    assert float(bound.min()) >= 0.999
    assert float(bound.median()) < 2.5


@pytest.mark.parametrize("num_links", [1, 2, 5])
def test_few_links(num_links: int) -> None:
    positions = drop_many_links(num_links, generator(2), 500.0, 10.0, 50.0, 35.0, 10.0)
    none = torch.zeros(0, dtype=torch.int64)
    known = Neighbours(num_links, none, none)
    found = far_field(*positions, known, torch.full((num_links,), 10.0), _gain)
    gain = _gain(cross_distance_m(*positions))
    wanted = gain.sum(0) - gain.diagonal()
    torch.testing.assert_close(found.estimate, wanted, rtol=0.05, atol=1e-5 * float(gain.max()))
    assert (found.bound >= 0.99 * wanted).all()


@pytest.mark.parametrize("min_inr", [1e2, 1e3, 1e4])
def test_rates_on_lists_above_a_threshold_are_those_of_all_gains(
    drop: tuple[Tensor, Tensor], min_inr: float
) -> None:
    gain = _gain(cross_distance_m(*drop))
    lists = neighbours_above(*drop, dual_slope_db, min_inr, *POWERS, 0.0, generator(0))
    exact = above(gain, min_inr, *POWERS)
    assert torch.equal(lists.neighbours.source, exact.neighbours.source)
    wanted = full_power_rate(gain, *POWERS).mean()
    assert full_power_rate(lists, *POWERS).mean().item() == pytest.approx(wanted.item(), rel=0.003)
    assert lists.neglected_bound is not None
    assert (lists.neglected_bound >= 0.999 * exact.neglected).all()


def test_rates_on_lists_of_the_nearest_are_those_of_all_gains(drop: tuple[Tensor, Tensor]) -> None:
    gain = _gain(cross_distance_m(*drop))
    lists = nearest_neighbours(*drop, dual_slope_db, 16, 0.0, generator(0))
    wanted = full_power_rate(gain, *POWERS).mean()
    assert full_power_rate(lists, *POWERS).mean().item() == pytest.approx(wanted.item(), rel=1e-3)
    left_out = strongest(gain, 16).neglected
    torch.testing.assert_close(lists.neglected, left_out, rtol=0.03, atol=0.0)
    share = lists.neglected_share(*POWERS)
    assert (share >= 0.999 * left_out * POWERS[0] / POWERS[1]).all()
    assert (share <= 1.5 * left_out * POWERS[0] / POWERS[1]).all()
