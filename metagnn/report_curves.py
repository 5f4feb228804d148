"""Curves of a training run for its page: units, and few enough points to draw."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from metagnn.report_files import refuse_unless

MAX_POINTS = 400
# Units by what a logged name holds; the first that fits.
_UNITS = (
    (r"(lagrangian|(mean|min)_rate|mean_slack)(_\d+)?$", "bit/s/Hz"),
    (r"mean_mu$", "1"),
    (r"num_links$", "links"),
    (r"mbit_j", "Mbit/J"),
    (r"_mj$", "mJ"),
    (r"_bytes$", "bytes"),
    (r"(success|share|fraction|_met$|^met$|explained_variance)", "1"),
    (r"entropy|_kl$", "nat"),
)


@dataclass(frozen=True)
class Curve:
    """One metric over the epochs of a run.

    Attributes:
        name: Its name in metrics.csv.
        unit: Its unit, or ``as logged`` where the name does not tell.
        along: What is counted along the run, ``epoch`` or ``step``.
        x: Epochs or steps, means where several make up a point.
        mean: Values, means likewise; None where none of them is finite.
        low: Smallest of the values that make up a point.
        high: Largest of them.
        per_point: Logged values per point.
        not_finite: How many of the logged values are NaN or infinite.
    """

    name: str
    unit: str
    along: str
    x: list[float]
    mean: list[float | None]
    low: list[float | None]
    high: list[float | None]
    per_point: int
    not_finite: int


def curves_of(path: Path, columns: Mapping[str, list[float | None]]) -> list[Curve]:
    """Curves of all metrics in the columns of metrics.csv, training first.

    Raises:
        ValueError: If no column counts the run, a row lacks its number, or there is no metric.
    """
    along = next((name for name in ("epoch", "step") if name in columns), None)
    refuse_unless(along is not None, path, "have a column epoch or step", list(columns))
    assert along is not None
    counted = [value for value in columns[along] if value is not None]
    complete = len(counted) == len(columns[along]) and all(map(math.isfinite, counted))
    refuse_unless(complete, path, f"hold a finite number in each row of {along}", "another field")
    names = [name for name in columns if name not in ("epoch", "step")]
    names = [name for name in names if any(value is not None for value in columns[name])]
    refuse_unless(bool(names), path, "hold at least one metric", f"only {list(columns)}")
    later = ("validation", "test")
    names.sort(key=lambda name: (name.startswith(later), name != "lagrangian", name))
    return [_curve(name, along, counted, columns[name]) for name in names]


def unit_of(name: str) -> str:
    """Unit of a logged metric."""
    return next((unit for pattern, unit in _UNITS if re.search(pattern, name)), "as logged")


def _curve(name: str, along: str, counted: list[float], column: list[float | None]) -> Curve:
    # Rows of other metrics leave this one blank.
    rows = [(at, value) for at, value in zip(counted, column, strict=True) if value is not None]
    size = -(-len(rows) // MAX_POINTS)
    blocks = [rows[first : first + size] for first in range(0, len(rows), size)]
    finite = [[value for _, value in block if math.isfinite(value)] for block in blocks]

    def points(measure: Callable[[list[float]], float]) -> list[float | None]:
        return [_rounded(measure(values)) if values else None for values in finite]

    return Curve(
        name,
        unit_of(name),
        along,
        [_rounded(fmean(at for at, _ in block)) for block in blocks],
        points(fmean),
        points(min),
        points(max),
        size,
        len(rows) - sum(map(len, finite)),
    )


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
