"""Lines of the studies' figures: inter-quartile means over seeds, with bands."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from matplotlib.axes import Axes
from study_runs import Row

from metagnn.plots import Style, convergence
from metagnn.seed_statistics import interquartile_mean


def over_seeds(axis: Axes, rows: Iterable[Row], x: str, y: str, style: Style) -> None:
    """A line over a column of numbers, with its 95 % bootstrap band."""
    groups: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        groups[int(row[x])].append(float(row[y]))
    at = sorted(groups)
    found = [interquartile_mean(torch.tensor(groups[value]).unsqueeze(-1)) for value in at]
    markers = {"marker": style.marker, "markersize": 4} if len(at) <= 10 else {}
    convergence(axis, at, found, style, **markers)


def logged(curves: Iterable[Row], run: str, column: str) -> list[Row]:
    """What runs of a kind logged of something."""
    return [row for row in curves if (row["run"], row["logged"]) == (run, column)]
