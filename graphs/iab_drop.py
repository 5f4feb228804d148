"""Random trees of integrated access and backhaul: where nodes are, and who feeds whom."""

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, require

# So many places are tried for a node; where no place of them is free, there is hardly any.
NUM_TRIES = 64


def drop_nodes(
    num_nodes: int, area_m: Tensor, min_distance_m: Tensor, generator: torch.Generator
) -> Tensor:
    """Nodes on squares around the origin, where the donor stands, at least so far from each other.

    Args:
        num_nodes: Number of nodes M.
        area_m: Sides of the squares ``[B]`` [m].
        min_distance_m: Smallest distances between nodes ``[B]`` [m].
        generator: Source of randomness; the nodes are on its device.

    Shapes:
        Returns ``[B, M, 2]`` [m]; the first node is at the origin.

    Raises:
        ValueError: If a side or a distance is not positive, or the nodes do not fit.
    """
    check_count("num_nodes", num_nodes)
    for name, value in (("area_m", area_m), ("min_distance_m", min_distance_m)):
        require(bool((value > 0).all()), name, "be > 0", float(value.min()))
    batch, device = len(area_m), generator.device
    node_m = torch.zeros(batch, num_nodes, 2, device=device)
    for node in range(1, num_nodes):
        uniform = torch.rand((batch, NUM_TRIES, 2), generator=generator, device=device)
        tried_m = area_m.view(-1, 1, 1) * (uniform - 0.5)
        from_others_m = (tried_m.unsqueeze(2) - node_m[:, None, :node]).norm(dim=-1)
        free = from_others_m.amin(-1) >= min_distance_m.unsqueeze(-1)
        rule = "let the nodes keep `min_distance_m` on `area_m`"
        require(bool(free.any(-1).all()), "num_nodes", rule, num_nodes)
        first = free.int().argmax(-1).view(-1, 1, 1).expand(-1, 1, 2)
        node_m[:, node] = tried_m.gather(1, first).squeeze(1)
    return node_m


def choose_parents(node_m: Tensor, gain: Tensor) -> Tensor:
    """Each node is fed by the strongest of those that are nearer to the donor than itself.

    So the parents are a tree, of one hop or more as the gains have it.

    Args:
        node_m: Positions; the first is the donor.
        gain: Mean gains from node to node, linear or in dB.

    Shapes:
        node_m ``[B, M, 2]``, gain ``[B, M, M]``; returns ``[B, M]``, -1 for the donor.

    Raises:
        ValueError: If a node stands where the donor does.
    """
    from_donor_m = (node_m - node_m[:, :1]).norm(dim=-1)
    nearest_m = from_donor_m[:, 1:]
    clear = bool((nearest_m > 0).all())
    require(clear, "node_m", "place no node where the donor is", 0.0)
    nearer = from_donor_m.unsqueeze(2) < from_donor_m.unsqueeze(1)
    parent = gain.masked_fill(~nearer, -torch.inf).argmax(1)
    parent[:, 0] = -1
    return parent
