"""Figures of comparisons: colour-blind safe, legible in grey, units on the axes."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from metagnn.files import write_atomically
from metagnn.tasks.power_control.metrics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Style(NamedTuple):
    """How something that is compared looks in all figures.

    Attributes:
        label: Its name in the legend.
        colour: One of Okabe and Ito's, which all eyes tell apart.
        dashes: Line style, which tells it apart without colours.
        marker: Marker, which does the same for points.
    """

    label: str
    colour: str
    dashes: Any
    marker: str


STYLES = {
    "metagnn": Style("MetaGNN, adapted", "#0072B2", "-", "o"),
    "metagnn_unadapted": Style("MetaGNN, not adapted", "#56B4E9", (0, (5, 1)), "D"),
    "itlinq": Style("ITLinQ", "#D55E00", "--", "s"),
    "wmmse": Style("WMMSE", "#009E73", "-.", "^"),
    "fplinq": Style("FPLinQ", "#CC79A7", ":", "v"),
    "full_power": Style("Full power", "#E69F00", (0, (1, 1)), "P"),
    "random": Style("Random power", "#000000", (0, (3, 1, 1, 1)), "X"),
    "exact": Style("Exact sum rate", "#999999", "-", "*"),
    "metagnn_shipped": Style("MetaGNN, shipped, adapted", "#000000", "-", "h"),
    "metagnn_refined": Style("MetaGNN, refined", "#0072B2", (0, (5, 1, 1, 1)), "p"),
}


def styles(names: Iterable[str]) -> dict[str, Style]:
    """Style of each policy, the same in all figures; other names take those that are left."""
    names = list(names)
    taken = [STYLES[name] for name in names if name in STYLES]
    free = cycle(style for style in _combined() if style not in taken)
    return {name: STYLES.get(name) or next(free)._replace(label=name) for name in names}


def _combined() -> Iterator[Style]:
    """The styles, then their lines with the markers of others."""
    known = list(STYLES.values())
    for shift in range(len(known)):
        for line, point in zip(known, known[shift:] + known[:shift], strict=True):
            yield line._replace(marker=point.marker)


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


def png_of(figure: "Figure") -> bytes:
    """A figure as PNG of at most 256 colours, a third as large as with all of them."""
    from PIL import Image

    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
            packed, format="png", optimize=True
        )
    return packed.getvalue()


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure as PNG, atomically."""
    write_atomically(path, png_of(figure))


def trade_off(axis: "Axes", metrics: Mapping[str, Mapping[str, Estimate]]) -> None:
    """Mean against minimum rate of each policy, with 95 % intervals over networks."""
    for style, values in zip(styles(metrics).values(), metrics.values(), strict=True):
        mean, low = values["mean_rate"], values["min_rate"]
        axis.errorbar(
            mean.value,
            low.value,
            xerr=_error(mean),
            yerr=_error(low),
            fmt=style.marker,
            color=style.colour,
            markersize=8,
            capsize=3,
            elinewidth=1,
            label=style.label,
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
    for style, networks in zip(styles(rates).values(), rates.values(), strict=True):
        values = torch.cat(list(networks)).sort().values
        share = torch.arange(1, len(values) + 1) / len(values)
        axis.step(
            values,
            share,
            where="post",
            color=style.colour,
            linestyle=style.dashes,
            label=style.label,
        )
    axis.set_xlabel("ergodic rate of a link [bit/s/Hz]")
    axis.set_ylabel("share of links at or below")
    axis.set_ylim(0, 1)
    axis.legend(fontsize=8, frameon=False)


def convergence(
    axis: "Axes", at: Sequence[float], values: Sequence[Estimate], style: Style, **line: Any
) -> None:
    """A line over steps, with the band of its intervals where all of them are known.

    Args:
        axis: Where to draw.
        at: Steps, such as epochs or numbers of links.
        values: Estimates at these steps.
        style: Label, colour and dashes of the line.
        line: Further properties of the line, such as ``marker``.
    """
    middle = [estimate.value for estimate in values]
    axis.plot(at, middle, linestyle=style.dashes, color=style.colour, label=style.label, **line)
    low = [e.low for e in values if e.low is not None]
    high = [e.high for e in values if e.high is not None]
    if len(low) == len(high) == len(values):
        axis.fill_between(at, low, high, color=style.colour, alpha=0.15, linewidth=0)


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
