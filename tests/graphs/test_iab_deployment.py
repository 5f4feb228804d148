"""Trees of a real mesh: CSV files that are refused, links that exist, searches by hand."""

from pathlib import Path

import pytest
import torch

from metagnn.graphs.iab import IabNetworks
from metagnn.graphs.iab_deployment import (
    Mesh,
    Part,
    cut_trees,
    new_york_mesh,
    new_york_trees,
    read_mesh,
)

NODES = "id,lon,lat,alt_m\na,10.0,50.0,3\nb,10.001,50.0,3\nc,10.002,50.0,3\n"
LINKS = "from,to,kind,length_m\na,b,active,71.5\nb,c,active,71.5\n"


def _read(folder: Path, nodes: str = NODES, links: str = LINKS) -> Mesh:
    (folder / "nodes.csv").write_text(nodes)
    (folder / "links.csv").write_text(links)
    return read_mesh(folder / "nodes.csv", folder / "links.csv")


def test_a_file_by_hand(tmp_path: Path) -> None:
    mesh = _read(tmp_path)
    assert mesh.name == ("a", "b", "c")
    assert mesh.ends.tolist() == [[0, 1], [1, 2]]
    east_m = mesh.position_m[:, 0]
    assert float(east_m[2] - east_m[0]) == pytest.approx(143.0, abs=0.5)
    trees = cut_trees(mesh, 3)
    assert trees.node.tolist() == [[0, 1, 2], [1, 0, 2], [2, 1, 0]]
    assert trees.parent.tolist() == [[-1, 0, 1], [-1, 0, 0], [-1, 0, 1]]
    assert float(trees.node_m[0, 2, 0]) == pytest.approx(143.0, abs=0.5)
    assert torch.equal(trees.node_m[:, 0], torch.zeros(3, 2))


def test_searches_take_short_links_first_and_skip_radios_of_one_roof() -> None:
    place_m = torch.tensor([[0.0, 0.0], [200.0, 0.0], [0.0, 100.0], [210.0, 0.0], [0.0, 300.0]])
    ends = torch.tensor([[0, 1], [2, 0], [0, 3], [2, 4]])
    length_m = torch.tensor([200.0, 100.0, 210.0, 200.0])
    mesh = Mesh(("0", "1", "2", "3", "4"), place_m.double(), ends, length_m)
    trees = cut_trees(mesh, 4)
    assert trees.node[0].tolist() == [0, 2, 1, 4]
    assert trees.parent[0].tolist() == [-1, 0, 0, 1]
    # With links of up to 150 m there are two nodes to a tree.
    assert cut_trees(mesh, 2, longest_m=150.0).node.tolist() == [[0, 2], [2, 0]]
    with pytest.raises(ValueError, match=r"`num_nodes` must be small .* 50 to 150 m, got 3"):
        cut_trees(mesh, 3, longest_m=150.0)
    with pytest.raises(ValueError, match=r"`shortest_m` must be > 0 and < longest_m = 10.0"):
        cut_trees(mesh, 3, longest_m=10.0)


@pytest.mark.parametrize("num_nodes", [3, 5])
def test_new_york_has_trees_of_real_links(num_nodes: int) -> None:
    mesh = new_york_mesh()
    assert (len(mesh.name), len(mesh.ends)) == (868, 1177)
    pairs = {frozenset(pair) for pair in mesh.ends.tolist()}
    trees = cut_trees(mesh, num_nodes)
    assert len(trees.node) > 300
    for nodes, parents in zip(trees.node.tolist(), trees.parent.tolist(), strict=True):
        assert len(set(nodes)) == num_nodes
        assert parents[0] == -1
        for place, parent in enumerate(parents[1:], 1):
            assert frozenset((nodes[place], nodes[parent])) in pairs
    distance_m = torch.cdist(trees.node_m, trees.node_m) + 1e9 * torch.eye(num_nodes)
    assert float(distance_m.min()) >= 49.9
    server = torch.zeros(len(trees.node), 1, dtype=torch.long)
    depth = IabNetworks(trees.parent, server, trees.node_m, trees.node_m[:, :1]).depth.amax(-1)
    assert set(depth.tolist()) >= {1, 2}


def test_no_node_is_of_a_tree_in_two_parts() -> None:
    east_m = new_york_mesh().position_m[:, 0]
    parts: tuple[Part, ...] = ("west", "east")
    west, east = (new_york_trees(4, part).node for part in parts)
    assert not set(west.flatten().tolist()) & set(east.flatten().tolist())
    assert float(east_m[west].max()) < float(east_m[east].min())
    everywhere = new_york_trees(4)
    assert torch.equal(everywhere.node, cut_trees(new_york_mesh(), 4).node)
    whole = {tuple(tree) for tree in everywhere.node.tolist()}
    assert {tuple(tree) for tree in (*west.tolist(), *east.tolist())} < whole
    assert min(len(west), len(east)) > 30
    # Parents and positions are those of the trees that are left.
    number = everywhere.node.tolist().index(east[-1].tolist())
    assert torch.equal(new_york_trees(4, "east").parent[-1], everywhere.parent[number])
    assert torch.equal(new_york_trees(4, "east").node_m[-1], everywhere.node_m[number])
    with pytest.raises(ValueError, match=r"`part` must be one of .*, got 'north'"):
        new_york_trees(4, "north")  # type: ignore[arg-type]


def test_lengths_of_new_york_are_those_of_its_positions() -> None:
    mesh = new_york_mesh()
    one, other = mesh.position_m[mesh.ends].unbind(1)
    torch.testing.assert_close(
        (one - other).norm(dim=1).float(), mesh.length_m, rtol=2e-3, atol=0.2
    )


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("c,10.002", "a,10.002", r"nodes.csv, line 4: `id` must differ, got 'a' again \(line 2\)"),
        ("c,10.002,50.0", "c,10.002,91", r"nodes.csv, line 4: `lat` must be .*90\], got '91'"),
        ("a,10.0", "a,x", r"nodes.csv, line 2: `lon` must be a number .*, got 'x'"),
        ("c,10.002,50.0", "c,10.002,53", r"nodes.csv, line 4: it must lie within 200 km"),
        ("b,c,active", "b,d,active", "links.csv, line 3: `to` must be a known node, got 'd'"),
        ("b,c,active", "e,c,active", "links.csv, line 3: `from` must be a known node, got 'e'"),
        ("b,c,active", "b,b,active", "links.csv, line 3: `to` must differ from `from`, got 'b'"),
        ("b,c,active", "b,a,active", r"links.csv, line 3: `from`, `to` .*'a'\) again \(line 2\)"),
        ("c,active,71.5", "c,active,-1", r"links.csv, line 3: `length_m` must be .*, got '-1'"),
        ("length_m", "metres", "links.csv must have the column `length_m`"),
        ("id,lon", "id,east", "nodes.csv must have the column `lon`"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, old: str, new: str, match: str) -> None:
    assert old in NODES + LINKS
    with pytest.raises(ValueError, match=match):
        _read(tmp_path, NODES.replace(old, new), LINKS.replace(old, new))


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`path` must name an existing file"):
        read_mesh(tmp_path / "nodes.csv", tmp_path / "links.csv")
