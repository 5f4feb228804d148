"""Figures of comparisons: colour-blind safe, legible in grey, units on the axes."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metagnn.files import write_atomically
from metagnn.tasks.power_control.metrics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours; markers and dashes tell the policies apart without them.
_COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000", "#999999")
_MARKERS = ("o", "D", "s", "^", "v", "P", "X", "*")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1)), "--", "-.", ":", (0, (1, 1)), (0, (3, 1, 1, 1)), "-")
_LABELS = {
    "metagnn": "MetaGNN, adapted",
    "metagnn_shipped": "MetaGNN, shipped, adapted",
    "metagnn_unadapted": "MetaGNN, not adapted",
    "itlinq": "ITLinQ",
    "wmmse": "WMMSE",
    "fplinq": "FPLinQ",
    "full_power": "Full power",
    "random": "Random power",
    "exact": "Exact sum rate",
}


def figure_of(width: float, height: float, columns: int) -> "tuple[Figure, Sequence[Axes]]":
    """Figure of so many inches with panels side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
    return figure, axes


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure as PNG, atomically."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def trade_off(axis: "Axes", metrics: Mapping[str, Mapping[str, Estimate]]) -> None:
    """Mean against minimum rate of each policy, with 95 % intervals over networks."""
    for index, (name, values) in enumerate(metrics.items()):
        mean, low = values["mean_rate"], values["min_rate"]
        axis.errorbar(
            mean.value,
            low.value,
            xerr=_error(mean),
            yerr=_error(low),
            fmt=_MARKERS[index % len(_MARKERS)],
            color=_COLOURS[index % len(_COLOURS)],
            markersize=8,
            capsize=3,
            elinewidth=1,
            label=_LABELS.get(name, name),
        )
    axis.set_xlabel("mean rate [bit/s/Hz]")
    axis.set_ylabel("minimum rate [bit/s/Hz]")
    axis.legend(fontsize=8, frameon=False)


def _error(estimate: Estimate) -> list[list[float]] | None:
    if estimate.low is None or estimate.high is None:
        return None
    return [[max(0.0, estimate.value - estimate.low)], [max(0.0, estimate.high - estimate.value)]]


def rates_per_link(axis: "Axes", rates: Mapping[str, Sequence[Tensor]]) -> None:
    """Share of links whose ergodic rate is at most a value, for each policy."""
    for index, (name, networks) in enumerate(rates.items()):
        values = torch.cat(list(networks)).sort().values
        share = torch.arange(1, len(values) + 1) / len(values)
        axis.step(
            values,
            share,
            where="post",
            color=_COLOURS[index % len(_COLOURS)],
            linestyle=_DASHES[index % len(_DASHES)],
            label=_LABELS.get(name, name),
        )
    axis.set_xlabel("ergodic rate of a link [bit/s/Hz]")
    axis.set_ylabel("share of links at or below")
    axis.set_ylim(0, 1)
    axis.legend(fontsize=8, frameon=False)


def save_comparison(
    path: str | Path,
    rates: Mapping[str, Sequence[Tensor]],
    metrics: Mapping[str, Mapping[str, Estimate]],
) -> None:
    """Write the figure of a comparison: trade-off, and rates per link."""
    figure, axes = figure_of(10.0, 4.2, 2)
    trade_off(axes[0], metrics)
    rates_per_link(axes[1], rates)
    save_figure(figure, path)


def save_network_map(
    path: str | Path, transmitter_m: Tensor, receiver_m: Tensor, rates: Mapping[str, Tensor]
) -> None:
    """Write maps of a network, one per policy, links coloured by their ergodic rate.

    Args:
        path: PNG file.
        transmitter_m: Positions ``[K, 2]`` [m].
        receiver_m: Positions ``[K, 2]`` [m].
        rates: Ergodic rates ``[K]`` [bit/s/Hz] of each policy.
    """
    from matplotlib.collections import LineCollection

    figure, axes = figure_of(3.1 * len(rates) + 1.2, 6.6, len(rates))
    # The colours tell the low rates apart; the few highest share the last one.
    highest = float(torch.cat(list(rates.values())).quantile(0.9))
    segments = torch.stack([transmitter_m, receiver_m], dim=1).div(1000.0).numpy()
    for axis, (name, value) in zip(axes, rates.items(), strict=True):
        lines = LineCollection(list(segments), cmap="viridis", linewidths=2.5)
        lines.set_array(value.numpy())
        lines.set_clim(0.0, highest)
        axis.add_collection(lines)
        axis.plot(*segments[:, 0].T, "k.", markersize=4)
        axis.set_aspect("equal")
        axis.autoscale()
        axis.set_title(f"{_LABELS.get(name, name)}\nminimum {float(value.min()):.2f} bit/s/Hz")
        axis.set_xlabel("east [km]")
    axes[0].set_ylabel("north [km]")
    figure.colorbar(lines, ax=list(axes), label="ergodic rate [bit/s/Hz]", extend="max")
    save_figure(figure, path)
