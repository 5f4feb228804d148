"""Small cells: gains by hand, random networks, deployments from files, and Melbourne's."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from metagnn.graphs import small_cells
from metagnn.graphs.pathloss import okumura_hata_db
from metagnn.graphs.randomness import generator
from metagnn.graphs.small_cells import (
    SmallCells,
    drop_small_cells,
    melbourne_cells,
    read_small_cells,
)

DATA = Path(small_cells.__file__).parent / "data" / "eua_melbourne"
HEADER = "latitude,longitude"


def _files(tmp_path: Path, sites: list[str], users: list[str]) -> tuple[Path, Path]:
    paths = tmp_path / "sites.csv", tmp_path / "users.csv"
    for path, lines in zip(paths, (sites, users), strict=True):
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return paths


def _read(tmp_path: Path, sites: list[str], users: list[str]) -> SmallCells:
    return read_small_cells(*_files(tmp_path, [HEADER, *sites], [HEADER, *users]))


def test_okumura_hata_at_decades() -> None:
    distance_m = torch.tensor([[10.0, 100.0], [1e3, 1e4]], dtype=torch.float64)
    loss_db = okumura_hata_db(distance_m)
    assert loss_db.flatten().tolist() == pytest.approx([67.3, 102.52, 137.74, 172.96])
    assert loss_db.shape == (2, 2)


def test_gains_run_from_users_to_sites() -> None:
    site_m = torch.tensor([[0.0, 0.0], [1000.0, 0.0]])
    user_m = torch.tensor([[100.0, 0.0], [0.0, 1000.0], [1003.0, 4.0], [0.0, 0.0]])
    gain = SmallCells(site_m, user_m, torch.tensor([0, 0, 1, 0])).large_scale_gain()
    # To both sites: 100 and 900 m; 1000 and 1414.2 m; 1003.0 m and 5 m; 0 m and 1000 m.
    wanted_db = torch.tensor(
        [[-102.52, -136.1284], [-137.74, -143.0412], [-137.7858, -67.3], [-67.3, -137.74]]
    )
    torch.testing.assert_close(10 * gain.log10(), wanted_db, rtol=0, atol=1e-3)


def test_gains_are_those_of_a_loop_far_from_the_origin() -> None:
    cells = drop_small_cells(2, generator(0), 30, 2)
    # Squares of such coordinates hide distances of metres.
    cells = SmallCells(cells.site_m + 1e5, cells.user_m + 1e5, cells.cell)
    gain = cells.large_scale_gain()
    assert gain.shape == (2, 60, 30)
    for network in range(2):
        for user, at_m in enumerate(cells.user_m[network].tolist()):
            for site, site_m in enumerate(cells.site_m[network].tolist()):
                loss_db = 137.74 + 35.22 * math.log10(max(math.dist(at_m, site_m), 10.0) / 1e3)
                found = float(gain[network, user, site])
                assert found == pytest.approx(10 ** (-loss_db / 10), rel=1e-4)


def test_random_networks_are_those_of_the_paper() -> None:
    cells = drop_small_cells(2000, generator(1))
    assert (cells.num_cells, cells.num_users) == (6, 60)
    assert cells.cell.tolist() == [user // 10 for user in range(60)]
    east_m, north_m = cells.site_m.flatten(0, 1).unbind(-1)
    # Uniform: five standard errors of 12,000 draws.
    for at_m, side_m in ((east_m, 1500.0), (north_m, 1000.0)):
        assert 0.0 <= float(at_m.min()) < float(at_m.max()) <= side_m
        assert float(at_m.mean()) == pytest.approx(side_m / 2, abs=5 * side_m / 12e3**0.5 / 3)
        assert float(at_m.std()) == pytest.approx(side_m / 12**0.5, rel=0.03)
    assert bool((cells.user_m < 0.0).any())
    from_site_m = cells.user_m - cells.site_m[:, cells.cell]
    distance_m = from_site_m.norm(dim=-1)
    assert 9.99 <= float(distance_m.min()) < 12.0
    assert 249.0 < float(distance_m.max()) <= 250.01
    # By area, (125^2 - 10^2) / (250^2 - 10^2) of all users are in the inner half.
    assert float((distance_m < 125.0).float().mean()) == pytest.approx(0.2488, abs=0.007)
    # All directions alike: mean 0 and 250^2 / 4 m^2 per axis.
    assert from_site_m.mean((0, 1)).tolist() == pytest.approx([0.0, 0.0], abs=2.0)
    squares = from_site_m.square().mean((0, 1)).tolist()
    assert squares == pytest.approx([250.0**2 / 4] * 2, rel=0.03)


def test_random_networks_follow_from_the_generator() -> None:
    one, same, other = (drop_small_cells(3, generator(seed), 2, 4) for seed in (0, 0, 1))
    assert torch.equal(one.site_m, same.site_m)
    assert torch.equal(one.user_m, same.user_m)
    assert not torch.equal(one.site_m, other.site_m)
    offsets_m = [cells.user_m - cells.site_m[:, cells.cell] for cells in (one, other)]
    assert not torch.allclose(*offsets_m)
    assert not torch.equal(one.site_m[0], one.site_m[1])


def test_sizes_of_random_networks() -> None:
    cells = drop_small_cells(500, generator(0), 2, 3, area_m=(20.0, 4000.0), radius_m=11.0)
    assert cells.site_m.shape == (500, 2, 2)
    assert cells.user_m.shape == (500, 6, 2)
    assert cells.cell.tolist() == [0, 0, 0, 1, 1, 1]
    assert float(cells.site_m[..., 0].max()) <= 20.0
    assert float(cells.site_m[..., 1].max()) > 3900.0
    distance_m = (cells.user_m - cells.site_m[:, cells.cell]).norm(dim=-1)
    assert 9.99 <= float(distance_m.min()) < float(distance_m.max()) <= 11.01


def test_random_cells_may_differ_in_size() -> None:
    cells = drop_small_cells(400, generator(0), 3, (1, 4, 2), radius_m=40.0)
    assert cells.cell.tolist() == [0, 1, 1, 1, 1, 2, 2]
    from_site_m = cells.user_m - cells.site_m[:, cells.cell]
    assert from_site_m.norm(dim=-1).amax(0).tolist() == pytest.approx([40.0] * 7, abs=1.0)
    same = drop_small_cells(400, generator(0), 3, (2, 2, 2))
    assert torch.equal(same.user_m, drop_small_cells(400, generator(0), 3, 2).user_m)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch": 0}, "`batch` must be an integer >= 1, got 0"),
        ({"num_cells": 0}, "`num_cells` must be an integer >= 1, got 0"),
        ({"num_cells": True}, "`num_cells` must be an integer >= 1, got True"),
        ({"users_per_cell": 2.5}, "`users_per_cell` must be an integer >= 1, got 2.5"),
        ({"users_per_cell": (2, 0)}, "`users_per_cell` must be an integer >= 1, got 0"),
        (
            {"users_per_cell": (2, 3)},
            r"`users_per_cell` must hold a number for each of 6 cells, got \(2, 3\)",
        ),
        ({"area_m": (0.0, 1000.0)}, "`area_m` must be finite and > 0, got 0.0"),
        ({"area_m": (1500.0, math.nan)}, "`area_m` must be finite and > 0, got nan"),
        ({"area_m": (1500.0,)}, r"`area_m` must have two sides, got \(1500.0,\)"),
        ({"area_m": 1500.0}, "`area_m` must have two sides, got 1500.0"),
        ({"radius_m": 10.0}, "`radius_m` must be finite and > 10 m, got 10.0"),
        ({"radius_m": math.inf}, "`radius_m` must be finite and > 10 m, got inf"),
        ({"radius_m": math.nan}, "`radius_m` must be finite and > 10 m, got nan"),
    ],
)
def test_random_networks_that_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drop_small_cells(**{"batch": 1, "generator": generator(0), **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"user_m": torch.zeros(0, 2), "cell": torch.zeros(0)}, "`user_m` must hold a user"),
        ({"user_m": torch.tensor([[0.0, math.nan]] * 2)}, "`user_m` must be finite, got nan"),
        ({"site_m": torch.tensor([[math.inf, 0.0]])}, "`site_m` must be finite, got inf"),
        ({"cell": torch.tensor([0])}, r"`cell` must hold a site of each of 2 users, got \(1,\)"),
        ({"cell": torch.tensor([0, 1])}, r"`cell` must lie in \[0, 0\], got 1"),
        ({"cell": torch.tensor([-1, 0])}, r"`cell` must lie in \[0, 0\], got -1"),
    ],
)
def test_cells_that_are_refused(changed: dict[str, Any], message: str) -> None:
    cells = {"site_m": torch.zeros(1, 2), "user_m": torch.ones(2, 2), "cell": torch.tensor([0, 0])}
    SmallCells(**cells)
    with pytest.raises(ValueError, match=message):
        SmallCells(**{**cells, **changed})


def test_users_are_served_by_the_nearest_site(tmp_path: Path) -> None:
    # On the equator: 0.001 degrees are 111.195 m.
    cells = _read(
        tmp_path,
        ["0,10.000", "0,10.003", "0,10.006"],
        ["0.001,10.0065", "0,9.999", "0.0005,10.001", "0,10.006"],
    )
    assert (cells.num_cells, cells.num_users) == (3, 4)
    assert cells.cell.tolist() == [2, 0, 0, 2]
    assert cells.user_m.dtype == cells.site_m.dtype == torch.float32
    from_site_m = (cells.user_m - cells.site_m[cells.cell]).flatten().tolist()
    wanted_m = [55.598, 111.195, -111.195, 0.0, 111.195, 55.598, 0.0, 0.0]
    assert from_site_m == pytest.approx(wanted_m, abs=0.01)
    gain_db = 10 * cells.large_scale_gain()[3].log10()
    # 667.17 m, 333.585 m and at the site.
    wanted_db = [-137.74 + 6.1907, -137.74 + 16.793, -67.3]
    assert gain_db.tolist() == pytest.approx(wanted_db, abs=1e-3)


def test_nearest_counts_in_metres_not_in_degrees(tmp_path: Path) -> None:
    # At 60 degrees north 0.015 degrees of longitude are shorter than 0.01 of latitude.
    cells = _read(tmp_path, ["60.01,10", "60,10.015"], ["60,10", "60,10"])
    assert cells.cell.tolist() == [1, 1]


def test_a_network_across_the_180th_meridian(tmp_path: Path) -> None:
    cells = _read(tmp_path, ["0,179.99", "0,-179.999"], ["0,179.999"])
    assert cells.cell.tolist() == [1]
    assert float((cells.user_m[0] - cells.site_m[1]).norm()) == pytest.approx(222.39, abs=0.02)


@pytest.mark.parametrize("header", ["latitude,longitude", "LATITUDE,LONGITUDE"])
def test_cases_orders_and_other_columns(tmp_path: Path, header: str) -> None:
    sites = [f"SITE_ID,{header},name", "7,0,10,north", "", "8,0,10.01,south"]
    users = ["\ufeffLongitude, Latitude", "10.009, 0.001"]
    cells = read_small_cells(*_files(tmp_path, sites, users))
    assert cells.cell.tolist() == [1]
    found = (cells.user_m[0] - cells.site_m[1]).tolist()
    assert found == pytest.approx([-111.195, 111.195], abs=0.01)


def test_users_may_stand_at_the_same_place(tmp_path: Path) -> None:
    assert _read(tmp_path, ["0,0"], ["0,0.001", "0,0.001"]).cell.tolist() == [0, 0]


@pytest.mark.parametrize("file", ["sites", "users"])
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["latitude,lon", "0,0"], r"must have one column `longitude`, got \['latitude', 'lon'\]"),
        (["lat,longitude", "0,0"], r"must have one column `latitude`, got \['lat', 'longitude'\]"),
        ([HEADER], "must hold at least one (site|user), got only a header"),
        ([], "must begin with a header line"),
        ([HEADER + ",latitude", "0,0,0"], "must name each column once, got 'latitude' twice"),
        ([HEADER, "0,0", "1"], r"line 3: a row must have as many fields as the header \(2\)"),
        ([HEADER, "0,0", "90.1,0"], r"line 3: `latitude` must be .*\[-90, 90\], got '90.1'"),
        ([HEADER, "0,-180.1"], r"line 2: `longitude` must be .*\[-180, 180\], got '-180.1'"),
        ([HEADER, "nan,0"], "line 2: `latitude` must be a number in .*, got 'nan'"),
        ([HEADER, "0,east"], "line 2: `longitude` must be a number in .*, got 'east'"),
        (
            [HEADER, "0,0", "", "0,0.001", "0.001,0", "0,1.9"],
            "line 6: it must lie within 200 km of the middle of all sites, got 211 km",
        ),
    ],
)
def test_files_that_are_refused(tmp_path: Path, file: str, lines: list[str], message: str) -> None:
    good = [HEADER, "0,0"]
    sites, users = (lines, good) if file == "sites" else (good, lines)
    with pytest.raises(ValueError, match=rf"^{file}\.csv.*{message}"):
        read_small_cells(*_files(tmp_path, sites, users))


def test_points_within_200_km_are_kept(tmp_path: Path) -> None:
    # 1.79 degrees are 199.04 km.
    assert _read(tmp_path, ["0,0"], ["0,0.001", "0,1.79"]).num_users == 2


def test_sites_at_the_same_place_are_refused(tmp_path: Path) -> None:
    message = (
        r"^sites\.csv, line 5: `latitude`, `longitude` must differ between sites, "
        r"got \(1\.0, 2\.0\) again \(first in line 2\)"
    )
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, ["1,2", "1,2.01", "", "1.0,2.00"], ["1,2"])
    with pytest.raises(ValueError, match=r"got \(0\.0, -180\.0\) again \(first in line 2\)"):
        _read(tmp_path, ["0,180", "0,-180"], ["0,180"])


def test_missing_files_and_too_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sites, users = _files(tmp_path, [HEADER, "0,0", "0,1"], [HEADER, "0,0", "0,1", "0,0.5"])
    with pytest.raises(FileNotFoundError, match=r"`path` must name an existing .*no\.csv'"):
        read_small_cells(tmp_path / "no.csv", users)
    with pytest.raises(FileNotFoundError, match=r"`path` must name an existing .*no\.csv'"):
        read_small_cells(sites, tmp_path / "no.csv")
    monkeypatch.setattr(small_cells, "MAX_SITES", 2)
    with pytest.raises(ValueError, match=r"^users\.csv must hold at most 2 users .* in line 4"):
        read_small_cells(str(sites), str(users))


def test_melbourne() -> None:
    cells = melbourne_cells()
    assert (cells.num_cells, cells.num_users) == (125, 816)
    counts = torch.bincount(cells.cell, minlength=125)
    assert int((counts == 0).sum()) == 5
    assert int((counts > 16).sum()) == 6
    assert int(counts.max()) == 24
    extent_m = cells.site_m.amax(0) - cells.site_m.amin(0)
    assert extent_m.tolist() == pytest.approx([1993.0, 1320.0], abs=1.0)


def test_melbournes_users_have_the_nearest_site_on_the_sphere() -> None:
    tables = []
    for name in ("sites", "users"):
        with (DATA / f"{name}.csv").open(encoding="utf-8") as file:
            rows = [[float(field) for field in row[-2:]] for row in list(csv.reader(file))[1:]]
        tables.append(torch.deg2rad(torch.tensor(rows, dtype=torch.float64)))
    (lat_s, lon_s), (lat_u, lon_u) = (table.unbind(-1) for table in tables)
    half = ((lat_u[:, None] - lat_s) / 2).sin() ** 2
    half += lat_u.cos()[:, None] * lat_s.cos() * ((lon_u[:, None] - lon_s) / 2).sin() ** 2
    distance_m = 2 * 6_371_008.8 * half.sqrt().asin()
    cells = melbourne_cells()
    chosen_m = distance_m.gather(-1, cells.cell[:, None]).squeeze(-1)
    assert bool((chosen_m <= distance_m.amin(-1).clamp(min=10.0) * 1.001).all())
    assert float(chosen_m.max()) == pytest.approx(184.6, abs=0.3)
    found_m = (cells.user_m[:, None] - cells.site_m).norm(dim=-1).double()
    torch.testing.assert_close(found_m, distance_m, rtol=1e-3, atol=0.01)
