"""Tables with coordinates: CSV files checked line by line, and degrees to a local plane."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

MAX_EXTENT_M = 200e3
_EARTH_RADIUS_M = 6_371_008.8

Row = dict[str, str]


def read_rows(
    path: str | Path, required: Sequence[str], noun: str, most: int
) -> list[tuple[int, Row]]:
    """Rows of a CSV with the numbers of their lines; the header is line 1, blank lines count.

    Args:
        path: The file, UTF-8, comma separated, with a header.
        required: Columns that it must have.
        noun: What a row is, for error messages.
        most: Largest number of rows.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a readable UTF-8 CSV; is empty; lacks a column or names one
            twice; has a row of another length than the header; or more rows than ``most``.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"`path` must name an existing file, got {str(path)!r}")
    rows: list[tuple[int, Row]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path.name, header, required)
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise ValueError(
                        f"{path.name}, line {reader.line_num}: a row must have as many fields "
                        f"as the header ({len(header)}), got {len(row)}"
                    )
                if len(rows) == most:
                    raise ValueError(
                        f"{path.name} must hold at most {most} {noun}s (gains of all "
                        f"pairs are looked at), got more in line {reader.line_num}"
                    )
                fields = (field.strip() for field in row)
                rows.append((reader.line_num, dict(zip(header, fields, strict=True))))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} must be UTF-8 text, got {error}") from error
    except (csv.Error, OSError) as error:
        raise ValueError(f"{path.name} must be a readable CSV, got {error}") from error
    if not rows:
        raise ValueError(f"{path.name} must hold at least one {noun}, got only a header")
    return rows


def _check_header(name: str, header: list[str], required: Sequence[str]) -> None:
    if not any(header):
        raise ValueError(f"{name} must begin with a header line, got an empty file or line")
    for column in required:
        if column not in header:
            raise ValueError(f"{name} must have the column `{column}`, got only {header}")
    for column in header:
        if header.count(column) > 1:
            raise ValueError(f"{name} must name each column once, got {column!r} twice")


def number(where: str, row: Row, column: str, low: float, high: float) -> float:
    """Number of a column, which must lie in ``[low, high]``; ``where`` is the line."""
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise ValueError(
            f"{where}: `{column}` must be a number in [{low:g}, {high:g}], got {row[column]!r}"
        )
    return value


def project_m(degrees: Tensor) -> Tensor:
    """Latitudes and longitudes ``[N, 2]`` [deg] to the local plane ``[N, 2]``, east, north [m].

    The plane touches the earth at the mean of all (equirectangular); over a city its distances
    are right to about 0.1 %.
    """
    latitude, longitude = degrees.unbind(dim=1)
    # Sites on both sides of the 180th meridian are neighbours.
    east_deg = torch.remainder(longitude - longitude[0] + 180.0, 360.0) - 180.0
    east_deg = east_deg - east_deg.mean()
    north_deg = latitude - latitude.mean()
    shrink = torch.cos(torch.deg2rad(latitude.mean()))
    return _EARTH_RADIUS_M * torch.deg2rad(torch.stack([east_deg * shrink, north_deg], dim=1))
