"""Trees of integrated access and backhaul: paths against plain loops, drops, what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from metagnn.graphs.iab import IabNetworks
from metagnn.graphs.iab_drop import choose_parents, drop_nodes
from metagnn.graphs.randomness import generator


def _networks(parent: list[Any], server: list[Any]) -> IabNetworks:
    shape = (len(parent), len(parent[0]), len(server[0]))
    return IabNetworks(
        torch.tensor(parent),
        torch.tensor(server),
        torch.zeros(shape[0], shape[1], 2),
        torch.zeros(shape[0], shape[2], 2),
    )


def _random_trees(batch: int, nodes: int, users: int) -> IabNetworks:
    """Trees whose nodes are numbered in no order."""
    source = generator(3)
    parents = []
    for _ in range(batch):
        names = [0, *(1 + torch.randperm(nodes - 1, generator=source)).tolist()]
        parent = [-1] * nodes
        for place in range(1, nodes):
            parent[names[place]] = names[int(torch.randint(place, (1,), generator=source))]
        parents.append(parent)
    server = torch.randint(nodes, (batch, users), generator=source)
    return _networks(parents, server.tolist())


def test_a_chain_by_hand() -> None:
    # 0 - 2 - 1, users at 1, 0 and 2; links: 0 to node 1, 1 to node 2, then users.
    chain = _networks([[-1, 2, 0]], [[1, 0, 2]])
    assert (chain.num_nodes, chain.num_users, chain.num_links) == (3, 3, 5)
    assert chain.transmitter.tolist() == [[2, 0, 1, 0, 2]]
    assert chain.receiver.tolist() == [1, 2, -1, -1, -1]
    assert chain.depth.tolist() == [[0, 2, 1]]
    assert chain.next_link.tolist() == [[[1, 3, 1], [2, -1, -1], [0, -1, 4]]]
    assert chain.agent.tolist() == [[5, 1, 2, 0, 4]]
    # To node 1 goes user 0 only, to node 2 users 0 and 2.
    assert chain.users_behind[0, :2].tolist() == [[True, False, False], [True, False, True]]


def test_paths_are_those_of_a_plain_loop() -> None:
    networks = _random_trees(20, 6, 7)
    assert networks.depth.amax() >= 3
    for copy in range(20):
        parent, server = networks.parent[copy].tolist(), networks.server[copy].tolist()
        for user, at in enumerate(server):
            wanted, link, behind = [-1] * 6, 5 + user, set()
            while at >= 0:
                wanted[at] = link
                behind.add(link)
                at, link = parent[at], at - 1
            assert networks.next_link[copy, :, user].tolist() == wanted
            assert networks.on_path[copy, :, user].tolist() == [w >= 0 for w in wanted]
            assert set(networks.users_behind[copy, :, user].nonzero().flatten().tolist()) == behind
        for node in range(6):
            hops, at = 0, node
            while parent[at] >= 0:
                hops, at = hops + 1, parent[at]
            assert networks.depth[copy, node] == hops
    links = networks.agent_links
    assert torch.equal(links.sum(1), torch.ones_like(networks.agent))
    assert torch.equal(links.int().argmax(1), networks.agent)


def test_networks_at() -> None:
    networks = _random_trees(4, 3, 2)
    some = networks.at(torch.tensor([2, 0]))
    assert torch.equal(some.parent, networks.parent[[2, 0]])
    assert torch.equal(some.server, networks.server[[2, 0]])


@pytest.mark.parametrize(
    ("parent", "server", "match"),
    [
        ([[-1, 2, 1]], [[0]], r"`parent` must lead .* node 0 \(node 1 of network 0 is in a circle"),
        ([[-1, 1, 0]], [[0]], r"`parent` must lead .*circle\), got \[-1, 1, 0\]"),
        ([[-1, 0, 3]], [[0]], "`parent` must be nodes 0 to 2, for all but the donor, got 3"),
        ([[-1, -1, 0]], [[0]], "`parent` must be nodes 0 to 2, for all but the donor, got -1"),
        ([[1, 0, 0]], [[0]], "`parent` must be -1 for node 0, the donor, got 1"),
        ([[-1, 0, 0]], [[3]], "`server` must be nodes 0 to 2, got 3"),
        ([[-1, 0, 0]], [[-1]], "`server` must be nodes 0 to 2, got -1"),
        ([[-1, 0, 0]], [[0], [0]], "`server` must hold 1 networks, as `parent` does, got 2"),
        ([[-1.0, 0.0]], [[0]], r"`parent` must be integers \(long\) of two axes .*float32"),
        ([[-1, 0]], [[]], r"`server` must be integers \(long\) of two axes that hold something"),
    ],
)
def test_trees_that_are_refused(parent: list[Any], server: list[Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        _networks(parent, server)


def test_positions_that_are_refused() -> None:
    good: dict[str, Tensor] = {
        "parent": torch.tensor([[-1, 0]]),
        "server": torch.tensor([[1, 0, 1]]),
        "node_m": torch.zeros(1, 2, 2),
        "user_m": torch.zeros(1, 3, 2),
    }
    IabNetworks(**good)
    with pytest.raises(ValueError, match=r"`node_m` must have shape \(1, 2, 2\), got \(1, 3, 2\)"):
        IabNetworks(**{**good, "node_m": torch.zeros(1, 3, 2)})
    bad = torch.zeros(1, 3, 2)
    bad[0, 1, 1] = torch.inf
    with pytest.raises(ValueError, match="`user_m` must be finite, got inf"):
        IabNetworks(**{**good, "user_m": bad})


def test_nodes_keep_their_distance_on_their_square() -> None:
    area_m = torch.tensor([100.0, 1000.0]).repeat(100)
    node_m = drop_nodes(5, area_m, 0.2 * area_m, generator(1))
    assert torch.equal(node_m[:, 0], torch.zeros(200, 2))
    assert bool((node_m.abs().amax((1, 2)) <= 0.5 * area_m).all())
    distance_m = torch.cdist(node_m, node_m) + 1e9 * torch.eye(5)
    assert bool((distance_m.amin((1, 2)) >= 0.199 * area_m).all())
    # They fill the square and not only its middle.
    assert bool((node_m[1::2].abs().amax((0, 1)) > 450.0).all())


def test_drops_that_are_refused() -> None:
    side_m = torch.tensor([100.0])
    rule = "`num_nodes` must let the nodes keep `min_distance_m` on `area_m`, got 9"
    with pytest.raises(ValueError, match=rule):
        drop_nodes(9, side_m, 0.6 * side_m, generator(0))
    with pytest.raises(ValueError, match=r"`area_m` must be > 0, got -100"):
        drop_nodes(3, -side_m, side_m, generator(0))
    with pytest.raises(ValueError, match=r"`min_distance_m` must be > 0, got 0"):
        drop_nodes(3, side_m, 0.0 * side_m, generator(0))
    with pytest.raises(ValueError, match="`num_nodes` must be an integer >= 1, got 0"):
        drop_nodes(0, side_m, side_m, generator(0))


def test_parents_are_the_strongest_of_those_nearer_to_the_donor() -> None:
    node_m = torch.tensor([[[0.0, 0.0], [10.0, 0.0], [20.0, 0.0], [30.0, 0.0]]])
    gain_db = torch.full((1, 4, 4), -90.0)
    # From row to column: to node 3 node 1 is stronger than 2 and 0; to node 1 nobody else may be.
    gain_db[0, 1, 3], gain_db[0, 2, 1], gain_db[0, 3, 2], gain_db[0, 1, 2] = -60, -10, -10, -95
    assert choose_parents(node_m, gain_db).tolist() == [[-1, 0, 0, 1]]
    with pytest.raises(ValueError, match="`node_m` must place no node where the donor is"):
        choose_parents(torch.zeros(1, 4, 2), gain_db)
