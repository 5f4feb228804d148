import pytest
import torch
from torch import Tensor

from metagnn.graphs.rates import rate
from metagnn.tasks.power_control.exact import exact
from metagnn.tasks.power_control.relaxation import (
    exact_bound,
    group_bound,
    harmful_groups,
    interference_free_bound,
    tightest_bound,
)


def _instances(num_samples: int, num_links: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_samples, num_links, num_links)
    gain = 10 ** (5 * torch.rand(shape, generator=generator, dtype=torch.float64) - 2)
    weight = 10 ** (2 * torch.rand(shape[:-1], generator=generator, dtype=torch.float64))
    return gain, weight


@pytest.mark.parametrize("num_links", [3, 4])
def test_relaxations_are_never_below_the_optimum(num_links: int) -> None:
    gain, weight = _instances(20, num_links, seed=num_links)
    best = exact(gain, 1.0, 1.0, weight, num_levels=8)
    optimum = (weight * rate(gain, best, 1.0)).sum(-1)
    free = interference_free_bound(gain, 1.0, 1.0, weight)
    pairs = group_bound(gain, 1.0, 1.0, weight)
    triples = group_bound(gain, 1.0, 1.0, weight, size=3)
    alone = group_bound(gain, 1.0, 1.0, weight, size=1)
    for bound in (free, pairs, triples, tightest_bound(gain, 1.0, 1.0, weight).upper):
        assert (bound >= optimum).all()
    torch.testing.assert_close(alone, free, rtol=6e-3, atol=0.0)
    assert (pairs <= free * 1.006).all()
    assert pairs.mean() < 0.95 * free.mean()
    assert triples.mean() < pairs.mean()


def test_interference_free_bound_in_closed_form() -> None:
    gain = torch.tensor([[3.0, 8.0], [5.0, 15.0]])
    weight = torch.tensor([2.0, 0.5])
    # 2 log2(1 + 3 * 2 / 2) + 0.5 log2(1 + 15 * 2 / 2)
    assert float(interference_free_bound(gain, 2.0, 2.0, weight)) == pytest.approx(6.0)
    assert float(interference_free_bound(gain, 2.0, 2.0)) == pytest.approx(6.0)


def test_pairs_are_tight_where_the_network_falls_into_pairs() -> None:
    gain, weight = _instances(10, 4, seed=5)
    apart = torch.zeros(4, 4).double()
    for first, second in ((0, 2), (1, 3)):
        for i in (first, second):
            for k in (first, second):
                apart[i, k] = 1.0
    gain = gain * apart
    assert sorted(harmful_groups(gain, 1.0, 1.0, weight, 2)) == [[0, 2], [1, 3]]
    exact_value = exact_bound(gain, 1.0, 1.0, weight)
    pairs = group_bound(gain, 1.0, 1.0, weight)
    torch.testing.assert_close(pairs, exact_value.upper, rtol=6e-3, atol=0.0)


def test_groups_hold_every_link_once() -> None:
    gain, weight = _instances(3, 7, seed=6)
    groups = harmful_groups(gain, 1.0, 1.0, weight, 3)
    assert [len(group) for group in groups] == [3, 3, 1]
    assert sorted(link for group in groups for link in group) == list(range(7))
    with pytest.raises(ValueError, match="`size` must be an integer >= 1, got 0"):
        group_bound(gain, 1.0, 1.0, weight, size=0)


def test_the_tightest_is_named() -> None:
    gain, weight = _instances(6, 4, seed=7)
    assert tightest_bound(gain, 1.0, 1.0, weight).name == "exact"
    # Up to four links the search goes on where boxes are too few.
    few = tightest_bound(gain, 1.0, 1.0, weight, max_boxes=21)
    assert few.name == "exact"
    assert (few.gap <= 1e-3 * (1 + 1e-6)).all()
    gain, weight = _instances(6, 5, seed=7)
    rough = tightest_bound(gain, 1.0, 1.0, weight, max_boxes=21)
    assert rough.name != "exact"
    assert rough.mean_upper[rough.name] == min(rough.mean_upper.values())
    # One box per sample: groups are tighter than branch and bound, and the mixture than either.
    gain, weight = _instances(6, 9, seed=8)
    one = tightest_bound(gain, 1.0, 1.0, weight, max_boxes=1)
    assert one.name == "groups_of_8"
    assert set(one.mean_upper) == {
        "interference_free",
        "branch_and_bound",
        "groups_of_2",
        "groups_of_4",
        "groups_of_5",
        "groups_of_8",
    }
    assert float(one.upper.mean()) <= one.mean_upper["groups_of_8"]
    assert (one.upper >= one.value).all()


def test_exact_bound_has_a_limit_and_offers_the_relaxation() -> None:
    gain, weight = _instances(3, 5, seed=9)
    rule = r"`gain` must have at most 4 links \(use `tightest_bound` for more\), got 5"
    with pytest.raises(ValueError, match=rule):
        exact_bound(gain, 1.0, 1.0, weight)
    assert (exact_bound(gain[:, :4, :4], 1.0, 1.0).gap <= 1e-3).all()
