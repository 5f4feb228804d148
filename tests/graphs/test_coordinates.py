"""Coordinates: the local plane, the ends of ranges, and lines of a CSV."""

import math
from pathlib import Path

import pytest
import torch

from metagnn.graphs.coordinates import number, project_m, read_rows

# 6371.0088 km * pi / 180
DEGREE_M = 111_195.08


def _great_circle_m(first: list[float], second: list[float]) -> float:
    lat_1, lon_1, lat_2, lon_2 = (math.radians(value) for value in (*first, *second))
    half = math.sin((lat_2 - lat_1) / 2) ** 2
    half += math.cos(lat_1) * math.cos(lat_2) * math.sin((lon_2 - lon_1) / 2) ** 2
    return 2 * 6_371_008.8 * math.asin(math.sqrt(half))


def test_the_plane_touches_at_the_mean_and_has_east_first() -> None:
    degrees = torch.tensor([[59.9, 10.1], [60.1, 10.1], [60.0, 10.4]], dtype=torch.float64)
    found = project_m(degrees)
    # The mean is 60 N, 10.2 E, where a degree of longitude is half as long.
    wanted = torch.tensor([[-0.05, -0.1], [-0.05, 0.1], [0.1, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found, wanted * DEGREE_M, rtol=1e-6, atol=1e-3)


def test_distances_over_a_city_are_those_on_the_sphere() -> None:
    source = torch.Generator().manual_seed(0)
    offset = 0.1 * torch.rand(30, 2, generator=source, dtype=torch.float64)
    degrees = torch.tensor([-37.8, 144.95], dtype=torch.float64) + offset
    position_m = project_m(degrees)
    for one in range(30):
        for other in range(one):
            wanted = _great_circle_m(degrees[one].tolist(), degrees[other].tolist())
            found = math.dist(position_m[one].tolist(), position_m[other].tolist())
            assert found == pytest.approx(wanted, rel=1e-3)


def test_ranges_keep_both_ends() -> None:
    assert number("line 2", {"x": "-90"}, "x", -90.0, 90.0) == -90.0
    assert number("line 2", {"x": "90"}, "x", -90.0, 90.0) == 90.0
    with pytest.raises(ValueError, match=r"^line 2: `x` must be a number in \[0, 1\], got '1.01'"):
        number("line 2", {"x": "1.01"}, "x", 0.0, 1.0)
    with pytest.raises(ValueError, match=r"`x` must be a number in \[0, 1\], got 'nan'"):
        number("line 2", {"x": "nan"}, "x", 0.0, 1.0)


def test_lines_are_those_of_an_editor(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('a,b\n1,"x,\ny"\n\n 2 , z \n', encoding="utf-8")
    rows = read_rows(path, ("a",), "thing", 2)
    assert rows == [(3, {"a": "1", "b": "x,\ny"}), (5, {"a": "2", "b": "z"})]
    with pytest.raises(ValueError, match=r"at most 1 things .*, got more in line 5"):
        read_rows(path, ("a",), "thing", 1)
