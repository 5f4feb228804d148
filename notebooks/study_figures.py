"""Lines of the studies' figures: inter-quartile means over seeds, with bands."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from matplotlib.axes import Axes
from study_runs import Row

from metagnn.seed_statistics import interquartile_mean

# Label, colour, dashes and marker.
Style = tuple[str, str, str, str]


def over_seeds(axis: Axes, rows: Iterable[Row], x: str, y: str, style: Style) -> None:
    """A line over a column of numbers, with its 95 % bootstrap band."""
    groups: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        groups[int(row[x])].append(float(row[y]))
    at = sorted(groups)
    found = [interquartile_mean(torch.tensor(groups[value]).unsqueeze(-1)) for value in at]
    label, colour, dashes, marker = style
    markers = {"marker": marker, "markersize": 4} if len(at) <= 10 else {}
    values = [estimate.value for estimate in found]
    axis.plot(at, values, dashes, color=colour, label=label, **markers)
    if all(estimate.low is not None for estimate in found):
        ends = [[float(e.low or 0.0) for e in found], [float(e.high or 0.0) for e in found]]
        axis.fill_between(at, *ends, color=colour, alpha=0.15, linewidth=0)
