"""Tables of links: a CSV with both ends' coordinates and the frequency, checked line by line."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from metagnn.graphs.coordinates import MAX_EXTENT_M, Row, number, project_m, read_rows

REQUIRED_COLUMNS = ("site_0_lat", "site_0_lon", "site_1_lat", "site_1_lon", "frequency")
MAX_LINKS = 20_000
MIN_LENGTH_M = 1.0
_POLARIZATIONS = ("", "h", "v")


@dataclass(frozen=True)
class LinkTable:
    """Directed links from a transmitter (site 0) to a receiver (site 1), in the file's order.

    Attributes:
        line: Line of the file that describes each link; the header is line 1.
        cml_id: Name of the radio link a sub-link belongs to; empty if the file gives none.
        sublink_id: Name of the sub-link within it; empty if the file gives none.
        transmitter_m: Positions on the local plane ``[K, 2]``, east and north [m], float64.
        receiver_m: Positions on the local plane ``[K, 2]``, east and north [m], float64.
        frequency_hz: Carriers ``[K]`` [Hz], float64.
        polarization: ``h``, ``v``, or empty if unknown.
    """

    line: tuple[int, ...]
    cml_id: tuple[str, ...]
    sublink_id: tuple[str, ...]
    transmitter_m: Tensor
    receiver_m: Tensor
    frequency_hz: Tensor
    polarization: tuple[str, ...]

    @property
    def num_links(self) -> int:
        """Number of links K."""
        return len(self.line)


def read_link_table(
    path: str | Path, frequency_range_mhz: tuple[float, float] | None = None
) -> LinkTable:
    """Read a CSV of links with the columns of OpenMesh's ``links_metadata.csv``.

    Required columns are ``site_0_lat``, ``site_0_lon``, ``site_1_lat``, ``site_1_lon`` (WGS-84
    degrees) and ``frequency`` (MHz). ``cml_id``, ``sublink_id`` and ``polarization`` (h, v or
    empty) are optional; all others are ignored, among them ``length``, which follows from the
    coordinates. Blank lines are skipped. Every row is checked, also those out of the range.

    Coordinates are projected on the plane of `coordinates.project_m`.

    Args:
        path: The file, UTF-8, comma separated, with a header.
        frequency_range_mhz: Keep only links within these frequencies, both ends included.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a readable UTF-8 CSV; is empty; lacks a column or names
            one twice; has a row of another length than the header; holds a coordinate or a
            frequency that is not a number or out of range, an unknown polarization, the same
            ``cml_id`` and ``sublink_id`` twice, a link shorter than 1 m, a site farther than
            200 km from the middle of all sites, or more than 20,000 links; or if no link lies
            in ``frequency_range_mhz``.
    """
    path = Path(path)
    rows = read_rows(path, REQUIRED_COLUMNS, "link", MAX_LINKS)
    seen: dict[tuple[str, str], int] = {}
    sites: list[tuple[float, float, float, float]] = []
    frequency_mhz: list[float] = []
    for line, row in rows:
        where = f"{path.name}, line {line}"
        sites.append(
            (
                number(where, row, "site_0_lat", -90.0, 90.0),
                number(where, row, "site_0_lon", -180.0, 180.0),
                number(where, row, "site_1_lat", -90.0, 90.0),
                number(where, row, "site_1_lon", -180.0, 180.0),
            )
        )
        frequency_mhz.append(_frequency_mhz(where, row))
        polarization = row.get("polarization", "").lower()
        if polarization not in _POLARIZATIONS:
            raise ValueError(f"{where}: `polarization` must be h, v or empty, got {polarization!r}")
        key = (row.get("cml_id", ""), row.get("sublink_id", ""))
        if key != ("", "") and key in seen:
            raise ValueError(
                f"{where}: `cml_id` and `sublink_id` must name each link once, got {key!r} "
                f"again (first in line {seen[key]})"
            )
        seen[key] = line
    degrees = torch.tensor(sites, dtype=torch.float64).reshape(-1, 2, 2)
    position_m = project_m(degrees.reshape(-1, 2)).reshape(-1, 2, 2)
    for (line, _), ends, length in zip(
        rows, degrees, (position_m[:, 0] - position_m[:, 1]).norm(dim=1), strict=True
    ):
        if length < MIN_LENGTH_M:
            raise ValueError(
                f"{path.name}, line {line}: `site_1_lat`, `site_1_lon` must lie at least "
                f"{MIN_LENGTH_M:g} m from site 0 (zero-length link), got {tuple(ends[1].tolist())}"
            )
    far = (position_m - position_m.reshape(-1, 2).median(dim=0).values).norm(dim=2) > MAX_EXTENT_M
    for (line, _), ends, is_far in zip(rows, degrees, far, strict=True):
        for site in (0, 1):
            if is_far[site]:
                raise ValueError(
                    f"{path.name}, line {line}: `site_{site}_lat`, `site_{site}_lon` must lie "
                    f"within {MAX_EXTENT_M / 1e3:g} km of the middle of all sites, "
                    f"got {tuple(ends[site].tolist())}"
                )
    keep = [
        index
        for index, value in enumerate(frequency_mhz)
        if frequency_range_mhz is None or frequency_range_mhz[0] <= value <= frequency_range_mhz[1]
    ]
    if not keep:
        raise ValueError(
            f"`frequency_range_mhz` must hold at least one link of {path.name}, "
            f"got {frequency_range_mhz!r}"
        )
    return LinkTable(
        tuple(rows[i][0] for i in keep),
        tuple(rows[i][1].get("cml_id", "") for i in keep),
        tuple(rows[i][1].get("sublink_id", "") for i in keep),
        position_m[keep, 0],
        position_m[keep, 1],
        torch.tensor(frequency_mhz, dtype=torch.float64)[keep] * 1e6,
        tuple(rows[i][1].get("polarization", "").lower() for i in keep),
    )


def _frequency_mhz(where: str, row: Row) -> float:
    try:
        value = float(row["frequency"])
    except ValueError:
        value = math.nan
    if not 0.0 < value <= 3e5:
        raise ValueError(
            f"{where}: `frequency` must be > 0 and at most 300000 MHz, got {row['frequency']!r}"
        )
    return value
