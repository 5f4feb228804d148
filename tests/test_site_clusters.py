"""Clusters of neighbouring sites: by hand, of any number, in any order, errors."""

import pytest
import torch

from metagnn.graphs.randomness import generator
from metagnn.graphs.small_cells import melbourne_cells
from metagnn.site_clusters import clusters_of_sites

# Two pairs of neighbours far apart, the second pair a little wider, and one site between.
SITE_M = torch.tensor([[0.0, 0.0], [1000.0, 0.0], [10.0, 0.0], [400.0, 0.0], [1000.0, 20.0]])


@pytest.mark.parametrize(
    ("num_clusters", "wanted"),
    [
        (1, [[0, 1, 2, 3, 4]]),
        (2, [[0, 2, 3], [1, 4]]),
        (3, [[0, 2], [1, 4], [3]]),
        (4, [[0, 2], [1], [3], [4]]),
        (5, [[0], [1], [2], [3], [4]]),
    ],
)
def test_clusters_by_hand(num_clusters: int, wanted: list[list[int]]) -> None:
    assert clusters_of_sites(SITE_M, num_clusters) == wanted


@pytest.mark.parametrize(
    ("last_m", "wanted"),
    # From the pair at 0 and 4 m the site at 9 m is 7 m away, on average (5 m at least, 9 at most).
    [(9.0 + 5.5, [[0, 1], [2, 3]]), (9.0 + 8.0, [[0, 1, 2], [3]])],
)
def test_distances_between_clusters_are_averages(last_m: float, wanted: list[list[int]]) -> None:
    site_m = torch.tensor([[0.0, 0.0], [4.0, 0.0], [9.0, 0.0], [last_m, 0.0]])
    assert clusters_of_sites(site_m, 2) == wanted


def test_every_site_is_in_one_cluster() -> None:
    site_m = torch.rand(12, 2, generator=generator(0))
    for num_clusters in range(1, 13):
        found = clusters_of_sites(site_m, num_clusters)
        assert len(found) == num_clusters
        assert sorted(site for cluster in found for site in cluster) == list(range(12))
        # The first site's cluster comes first, and so on.
        firsts = [cluster[0] for cluster in found]
        assert firsts == sorted(firsts)
        assert all(cluster == sorted(cluster) for cluster in found)


def test_order_place_and_scale_of_the_sites_do_not_matter() -> None:
    site_m = torch.rand(9, 2, generator=generator(1))
    order = torch.tensor([4, 7, 0, 2, 8, 1, 6, 3, 5])
    wanted = {frozenset(cluster) for cluster in clusters_of_sites(site_m, 4)}
    mixed = clusters_of_sites(site_m[order], 4)
    assert {frozenset(order[cluster].tolist()) for cluster in mixed} == wanted
    moved = clusters_of_sites(1000.0 * site_m.flip(-1) - 5000.0, 4)
    assert {frozenset(cluster) for cluster in moved} == wanted


def test_the_real_sites_fall_into_clusters() -> None:
    found = clusters_of_sites(melbourne_cells().site_m, 6)
    assert len(found) == 6
    assert sorted(site for cluster in found for site in cluster) == list(range(125))


def test_one_site_is_one_cluster() -> None:
    assert clusters_of_sites(torch.tensor([[3.0, 4.0]]), 1) == [[0]]


@pytest.mark.parametrize("num_clusters", [-1, 0, 6])
def test_numbers_beyond_those_of_the_sites_are_refused(num_clusters: int) -> None:
    message = rf"`num_clusters` must lie in \[1, 5\], the number of sites, got {num_clusters}"
    with pytest.raises(ValueError, match=message):
        clusters_of_sites(SITE_M, num_clusters)
