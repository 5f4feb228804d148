"""Small cells: sites and the users that they serve, dropped at random or from a deployment."""

import math
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, check_each, check_pair, check_positive, require
from metagnn.graphs.coordinates import MAX_EXTENT_M, number, project_m, read_rows
from metagnn.graphs.pathloss import okumura_hata_db

# No receiver is nearer than this to a transmitter, whatever the coordinates say.
NEAREST_M = 10.0
MAX_SITES = 20_000


@dataclass(frozen=True)
class SmallCells:
    """Sites and users of one or more networks, with the same users per cell in all of them.

    Attributes:
        site_m: Positions of the sites ``[..., M, 2]`` [m].
        user_m: Positions of the users ``[..., I, 2]`` [m].
        cell: Site that serves each user ``[I]``, 0 to M - 1; a site may serve none.

    Raises:
        ValueError: If there are no users, a position is not finite, or a site unknown.
    """

    site_m: Tensor
    user_m: Tensor
    cell: Tensor

    def __post_init__(self) -> None:
        require(self.num_users > 0, "user_m", "hold a user", tuple(self.user_m.shape))
        for name in ("site_m", "user_m"):
            value = getattr(self, name)
            check_each(name, value, value.isfinite(), "be finite")
        rule = f"hold a site of each of {self.num_users} users"
        require(self.cell.shape == (self.num_users,), "cell", rule, tuple(self.cell.shape))
        known = (self.cell >= 0) & (self.cell < self.num_cells)
        check_each("cell", self.cell, known, f"lie in [0, {self.num_cells - 1}]")

    @property
    def num_cells(self) -> int:
        """Number of cells M."""
        return self.site_m.shape[-2]

    @property
    def num_users(self) -> int:
        """Number of users I."""
        return self.user_m.shape[-2]

    def large_scale_gain(self) -> Tensor:
        """Power gains from users to sites by path loss alone ``[..., I, M]`` [1] (paper D, V-A).

        Distances below 10 m count as 10 m.
        """
        distance_m = torch.cdist(
            self.user_m, self.site_m, compute_mode="donot_use_mm_for_euclid_dist"
        )
        loss_db = okumura_hata_db(distance_m.clamp(min=NEAREST_M))
        return 10.0 ** (-loss_db / 10.0)


def drop_small_cells(
    batch: int,
    generator: torch.Generator,
    num_cells: int = 6,
    users_per_cell: int | tuple[int, ...] = 10,
    area_m: tuple[float, float] = (1500.0, 1000.0),
    radius_m: float = 250.0,
) -> SmallCells:
    """Networks of paper D: sites uniform on a rectangle, users uniform on the disc of their site.

    Discs may overlap and reach beyond the rectangle; users keep 10 m from their own site.

    Args:
        batch: Number of networks B.
        generator: Source of randomness; the networks are on its device.
        num_cells: Number of cells M.
        users_per_cell: Users of each cell, in the order of which users are numbered; one number
            for all, or one for each.
        area_m: Sides of the rectangle [m].
        radius_m: Radius of a cell [m].

    Raises:
        ValueError: If an argument is out of range.
    """
    for name, value in {"batch": batch, "num_cells": num_cells}.items():
        check_count(name, value)
    counts = users_per_cell
    if not isinstance(counts, tuple):
        counts = (counts,) * num_cells
    for count in counts:
        check_count("users_per_cell", count)
    rule = f"hold a number for each of {num_cells} cells"
    require(len(counts) == num_cells, "users_per_cell", rule, counts)
    check_pair("area_m", area_m, "have two sides")
    for side in area_m:
        check_positive("area_m", side)
    rule = f"be finite and > {NEAREST_M:g} m"
    require(NEAREST_M < radius_m < math.inf, "radius_m", rule, radius_m)
    device = generator.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    site_m = uniform(batch, num_cells, 2) * torch.tensor(area_m, device=device)
    cell = torch.arange(num_cells, device=device).repeat_interleave(
        torch.tensor(counts, device=device)
    )
    squared_m = NEAREST_M**2 + (radius_m**2 - NEAREST_M**2) * uniform(batch, len(cell))
    angle = 2.0 * math.pi * uniform(batch, len(cell))
    from_site_m = squared_m.sqrt().unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], dim=-1)
    return SmallCells(site_m, site_m[:, cell] + from_site_m, cell)


def read_small_cells(sites: str | Path, users: str | Path) -> SmallCells:
    """Network of a deployment, each user served by the site of the strongest gain.

    Both files are CSV with a header that has ``latitude`` and ``longitude`` (WGS-84 degrees; in
    ``LATITUDE`` or ``Latitude`` too); other columns are ignored.

    Args:
        sites: Base-station sites.
        users: Users.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file breaks a rule of `coordinates.read_rows`, a coordinate is out of
            range, two sites have the same coordinates, or a point is farther than 200 km from
            the middle of all sites.
    """
    found = [_read_degrees(Path(path), noun) for path, noun in ((sites, "site"), (users, "user"))]
    (site_lines, site_deg), (user_lines, user_deg) = found
    first: dict[tuple[float, float], int] = {}
    for line, (latitude, longitude) in zip(site_lines, site_deg, strict=True):
        # 180 degrees east are 180 degrees west.
        point = latitude, longitude % 360.0
        if point in first:
            raise ValueError(
                f"{Path(sites).name}, line {line}: `latitude`, `longitude` must differ between "
                f"sites, got {(latitude, longitude)} again (first in line {first[point]})"
            )
        first[point] = line
    position_m = project_m(torch.tensor([*site_deg, *user_deg], dtype=torch.float64))
    far = (position_m - position_m[: len(site_deg)].median(dim=0).values).norm(dim=1)
    names = [(Path(sites).name, n) for n in site_lines] + [
        (Path(users).name, n) for n in user_lines
    ]
    for (name, line), distance_m in zip(names, far.tolist(), strict=True):
        rule = f"lie within {MAX_EXTENT_M / 1e3:g} km of the middle of all sites"
        if distance_m > MAX_EXTENT_M:
            raise ValueError(f"{name}, line {line}: it must {rule}, got {distance_m / 1e3:.0f} km")
    site_m, user_m = position_m.float().split([len(site_deg), len(user_deg)])
    everyone = torch.zeros(len(user_deg), dtype=torch.long)
    gain = SmallCells(site_m, user_m, everyone).large_scale_gain()
    return SmallCells(site_m, user_m, gain.argmax(-1))


def _read_degrees(path: Path, noun: str) -> tuple[list[int], list[tuple[float, float]]]:
    """Lines and coordinates of a file."""
    rows = read_rows(path, (), noun, MAX_SITES)
    lines, points = [], []
    for line, row in rows:
        lower = {name.lower(): value for name, value in row.items()}
        where = f"{path.name}, line {line}"
        for column in ("latitude", "longitude"):
            number_of = [name.lower() for name in row].count(column)
            if number_of != 1:
                raise ValueError(f"{path.name} must have one column `{column}`, got {list(row)}")
        lines.append(line)
        points.append(
            (
                number(where, lower, "latitude", -90.0, 90.0),
                number(where, lower, "longitude", -180.0, 180.0),
            )
        )
    return lines, points


def melbourne_cells() -> SmallCells:
    """Network of 125 registered base-station sites and 816 users in Melbourne's centre.

    The points are shipped with the package; ``graphs/data/eua_melbourne/ATTRIBUTION.md`` says
    where they come from. The sites are real, the users drawn at random by the data's authors.
    """
    with as_file(files("metagnn.graphs") / "data" / "eua_melbourne") as folder:
        return read_small_cells(folder / "sites.csv", folder / "users.csv")
