"""Clusters of neighbouring sites, which average among themselves (paper D, Section IV)."""

import torch
from scipy.cluster.hierarchy import cut_tree, linkage
from torch import Tensor

from metagnn.graphs.checks import require


def clusters_of_sites(site_m: Tensor, num_clusters: int) -> list[list[int]]:
    """Sites in clusters by the distances between them (average linkage).

    Args:
        site_m: Positions of the sites [m].
        num_clusters: Number of clusters.

    Shapes:
        site_m ``[M, 2]``; returns the numbers of the sites of each cluster, the first site's first.

    Raises:
        ValueError: If there are not so many sites.
    """
    rule = f"lie in [1, {len(site_m)}], the number of sites"
    require(1 <= num_clusters <= len(site_m), "num_clusters", rule, num_clusters)
    if len(site_m) == 1:
        return [[0]]
    tree = linkage(site_m.double().cpu().numpy(), method="average")
    label = torch.from_numpy(cut_tree(tree, num_clusters).flatten())
    found: dict[int, list[int]] = {}
    for site, number in enumerate(label.tolist()):
        found.setdefault(number, []).append(site)
    return list(found.values())
