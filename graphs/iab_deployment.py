"""Trees of integrated access and backhaul cut from a real mesh of radio links."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, require
from metagnn.graphs.coordinates import MAX_EXTENT_M, number, project_m, read_rows

MAX_NODES, MAX_LINKS = 20_000, 100_000
Part = Literal["all", "west", "east"]
PARTS: tuple[Part, ...] = ("all", "west", "east")


@dataclass(frozen=True)
class Mesh:
    """Nodes and the links between them.

    Attributes:
        name: Names of the nodes, V of them.
        position_m: Their positions ``[V, 2]``, east and north [m].
        ends: The two nodes of each link ``[E, 2]``.
        length_m: Lengths of the links ``[E]`` [m].
    """

    name: tuple[str, ...]
    position_m: Tensor
    ends: Tensor
    length_m: Tensor

    def neighbours(self, shortest_m: float, longest_m: float) -> list[list[int]]:
        """Nodes that a link of a length between the two leads to, nearest first, for each node."""
        found: list[list[int]] = [[] for _ in self.name]
        for link in self.length_m.argsort(stable=True).tolist():
            if shortest_m <= float(self.length_m[link]) <= longest_m:
                one, other = self.ends[link].tolist()
                found[one].append(other)
                found[other].append(one)
        return found


@dataclass(frozen=True)
class MeshTrees:
    """Trees of M nodes, one for each root that has one.

    Attributes:
        node: Nodes of each tree in the order in which they were found ``[R, M]``; the first is
            the root, the donor.
        parent: Place in that order of the node that feeds each ``[R, M]``, -1 for the root.
        node_m: Positions with the root at the origin ``[R, M, 2]`` [m].
    """

    node: Tensor
    parent: Tensor
    node_m: Tensor


def cut_trees(
    mesh: Mesh, num_nodes: int, shortest_m: float = 50.0, longest_m: float = 500.0
) -> MeshTrees:
    """Trees of the first ``num_nodes`` that a breadth-first search finds from each node.

    The search follows links of a length within the limits, the shorter first, and passes over
    nodes within ``shortest_m`` of one that it has: radios of one roof.

    Args:
        mesh: Where to cut.
        num_nodes: Number of nodes M.
        shortest_m: Length of the shortest link [m].
        longest_m: Length of the longest link [m].

    Raises:
        ValueError: If the limits cross or there is no tree of that many nodes.
    """
    check_count("num_nodes", num_nodes)
    rule = f"be > 0 and < longest_m = {longest_m}"
    require(0.0 < shortest_m < longest_m, "shortest_m", rule, shortest_m)
    neighbours = mesh.neighbours(shortest_m, longest_m)
    place = mesh.position_m.tolist()
    nodes, parents = [], []
    for root in range(len(mesh.name)):
        found, parent = [root], [-1]
        for at, node in enumerate(found):
            for other in neighbours[node]:
                if len(found) < num_nodes and _apart(place, found, other, shortest_m):
                    found.append(other)
                    parent.append(at)
        if len(found) == num_nodes:
            nodes.append(found)
            parents.append(parent)
    rule = f"be small enough for a tree of links of {shortest_m:g} to {longest_m:g} m"
    require(len(nodes) > 0, "num_nodes", rule, num_nodes)
    chosen = torch.tensor(nodes)
    node_m = mesh.position_m[chosen]
    return MeshTrees(chosen, torch.tensor(parents), (node_m - node_m[:, :1]).float())


def _apart(place: list[list[float]], found: list[int], other: int, shortest_m: float) -> bool:
    x, y = place[other]
    return all((x - place[k][0]) ** 2 + (y - place[k][1]) ** 2 >= shortest_m**2 for k in found)


def read_mesh(nodes: str | Path, links: str | Path) -> Mesh:
    """Mesh of two CSV files with headers; columns that are not named here are ignored.

    Args:
        nodes: Has ``id``, ``lon`` and ``lat`` (WGS-84 degrees).
        links: Has ``from`` and ``to`` (ids of nodes) and ``length_m``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file breaks a rule of `coordinates.read_rows`; a number is out of range;
            an id comes twice; a link ends at an unknown node or where it begins, or comes twice,
            in whichever direction; or a node is farther than 200 km from the middle of all.
    """
    nodes, links = Path(nodes), Path(links)
    index: dict[str, int] = {}
    lines: list[int] = []
    degrees: list[tuple[float, float]] = []
    for line, row in read_rows(nodes, ("id", "lon", "lat"), "node", MAX_NODES):
        where, name = f"{nodes.name}, line {line}", row["id"]
        if name in index:
            first = lines[index[name]]
            raise ValueError(f"{where}: `id` must differ, got {name!r} again (line {first})")
        index[name] = len(index)
        lines.append(line)
        latitude = number(where, row, "lat", -90.0, 90.0)
        degrees.append((latitude, number(where, row, "lon", -180.0, 180.0)))
    position_m = project_m(torch.tensor(degrees, dtype=torch.float64))
    far_m = (position_m - position_m.median(dim=0).values).norm(dim=1)
    for line, distance_m in zip(lines, far_m.tolist(), strict=True):
        if distance_m > MAX_EXTENT_M:
            rule = f"lie within {MAX_EXTENT_M / 1e3:g} km of the middle of all nodes"
            raise ValueError(
                f"{nodes.name}, line {line}: it must {rule}, got {distance_m / 1e3:.0f} km"
            )
    ends, length_m = _read_links(links, index)
    return Mesh(tuple(index), position_m, torch.tensor(ends), torch.tensor(length_m))


def _read_links(path: Path, index: dict[str, int]) -> tuple[list[tuple[int, int]], list[float]]:
    """Ends, as numbers of nodes, and lengths of all links."""
    first: dict[tuple[int, int], int] = {}
    ends, length_m = [], []
    for line, row in read_rows(path, ("from", "to", "length_m"), "link", MAX_LINKS):
        where = f"{path.name}, line {line}"
        for column in ("from", "to"):
            if row[column] not in index:
                raise ValueError(f"{where}: `{column}` must be a known node, got {row[column]!r}")
        one, other = index[row["from"]], index[row["to"]]
        if one == other:
            raise ValueError(f"{where}: `to` must differ from `from`, got {row['to']!r}")
        pair = (min(one, other), max(one, other))
        if pair in first:
            raise ValueError(
                f"{where}: `from`, `to` must differ between links, got "
                f"{(row['from'], row['to'])} again (line {first[pair]})"
            )
        first[pair] = line
        ends.append((one, other))
        length_m.append(number(where, row, "length_m", 0.0, MAX_EXTENT_M))
    return ends, length_m


@lru_cache(maxsize=8)
def new_york_trees(num_nodes: int, part: Part = "all") -> MeshTrees:
    """Trees of ``num_nodes`` in New York's mesh; see `cut_trees`.

    Args:
        num_nodes: Number of nodes M.
        part: ``all``, or those with all nodes ``west`` or all nodes ``east`` of a line that has
            seven tenths of all nodes on its west: no node is of a tree in both.

    Raises:
        ValueError: If there is no such tree, or ``part`` is unknown.
    """
    require(part in PARTS, "part", f"be one of {PARTS}", part)
    mesh = new_york_mesh()
    trees = cut_trees(mesh, num_nodes)
    if part == "all":
        return trees
    east_m = mesh.position_m[:, 0]
    is_east = (east_m > east_m.quantile(0.7))[trees.node]
    inside = is_east.all(-1) if part == "east" else ~is_east.any(-1)
    rule = f"be small enough for a tree in the {part} of New York"
    require(bool(inside.any()), "num_nodes", rule, num_nodes)
    return MeshTrees(trees.node[inside], trees.parent[inside], trees.node_m[inside])


@lru_cache(maxsize=1)
def new_york_mesh() -> Mesh:
    """Mesh of 868 nodes and 1177 links in New York (NYC Mesh, MIT).

    The files are shipped with the package; ``graphs/data/nycmesh/ATTRIBUTION.md`` says where they
    come from.
    """
    with as_file(files("metagnn.graphs") / "data" / "nycmesh") as folder:
        return read_mesh(folder / "nodes.csv", folder / "links.csv")
