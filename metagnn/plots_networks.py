"""Figures of networks: links on a map with powers and rates, and their interference graph."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from metagnn.graphs.checks import check_gain, require
from metagnn.plots import figure_of, save_figure, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

# Widths of arrows and areas of transmitters without power and with the largest [points].
WIDTHS = (0.6, 2.6)
AREAS = (10.0, 75.0)
_KM_FROM_M = 2000.0


def link_map(
    axis: "Axes",
    transmitter_m: Tensor,
    receiver_m: Tensor,
    power_share: Tensor | None = None,
    rate: Tensor | None = None,
    highest_rate: float | None = None,
    labels: Sequence[str] | None = None,
) -> "ScalarMappable | None":
    """Links as arrows from transmitter to receiver, as large as their power, coloured by rate.

    Args:
        axis: Where to draw.
        transmitter_m: Positions of the transmitters [m].
        receiver_m: Positions of the receivers [m].
        power_share: Mean powers over the largest [1]; all of one size if not given.
        rate: Rates in any unit; all grey if not given. The lowest are the darkest.
        highest_rate: Rates from here on share the last colour; the largest if not given.
        labels: A word beside each transmitter, such as its number.

    Shapes:
        transmitter_m and receiver_m ``[K, 2]``, power_share and rate ``[K]``.

    Returns:
        What a colour bar of the rates needs; None without rates.

    Raises:
        ValueError: If shapes do not fit, or a share does not lie between 0 and 1.
    """
    shape, found = tuple(transmitter_m.shape), tuple(receiver_m.shape)
    fits = len(shape) == 2 and shape[0] > 0 and shape[1] == 2
    require(fits, "transmitter_m", "have the shape [K, 2]", shape)
    require(found == shape, "receiver_m", f"have the shape {shape}", found)
    num_links = shape[0]
    share = _per_link("power_share", power_share, num_links)
    require(
        all(0.0 <= value <= 1.0 + 1e-6 for value in share or []),
        "power_share",
        "lie between 0 and 1",
        share,
    )
    value = _per_link("rate", rate, num_links)
    if labels is not None:
        require(len(labels) == num_links, "labels", f"hold {num_links} words", list(labels))
    widths = [_between(WIDTHS, part) for part in share or [0.4] * num_links]
    areas = [_between(AREAS, part) for part in share or [0.2] * num_links]
    colours: Sequence[Any] = ["0.35"] * num_links
    scale = None
    if value is not None:
        scale = colour_scale(0.0, max(value) if highest_rate is None else highest_rate)
        colours = scale.to_rgba(np.array(value)).tolist()

    unit, per_unit = _unit(torch.cat([transmitter_m, receiver_m]))
    ends = [(points / per_unit).tolist() for points in (transmitter_m, receiver_m)]
    for source, target, width, colour in zip(*ends, widths, colours, strict=True):
        _arrow(axis, source, target, color=colour, linewidth=width, mutation_scale=4 + 1.5 * width)
    marks: dict[str, Any] = {"edgecolors": "0.2", "linewidths": 0.8, "zorder": 3}
    sender, receiver = {"c": "0.2", "marker": "^", **marks}, {"s": 32, "marker": "o", **marks}
    axis.scatter(*_columns(ends[0]), areas, **sender)
    axis.scatter([], [], _between(AREAS, 0.2), label="transmitter", **sender)
    axis.scatter(*_columns(ends[1]), c=colours if value else "w", **receiver)
    axis.scatter([], [], c="w", label="receiver", **receiver)
    for source, target, label in zip(*ends, labels, strict=True) if labels else ():
        _label_behind(axis, source, target, label)
    if share is not None:
        for part in (0.0, 0.5, 1.0):
            size: dict[str, Any] = {
                "linewidth": _between(WIDTHS, part),
                "markersize": _between(AREAS, part) ** 0.5,
            }
            axis.plot([], [], "^-", color="0.35", label=f"{part:.0%} of largest power", **size)
    axis.set_aspect("equal")
    axis.margins(0.08)
    axis.set_xlabel(f"east [{unit}]")
    axis.set_ylabel(f"north [{unit}]")
    return scale


def network_maps(
    transmitter_m: Tensor,
    receiver_m: Tensor,
    rates: Mapping[str, Tensor],
    power_shares: Mapping[str, Tensor] | None = None,
) -> "Figure":
    """Maps of a network, one per policy, with the scale of the rates that they share.

    Args:
        transmitter_m: Positions ``[K, 2]`` [m].
        receiver_m: Positions ``[K, 2]`` [m].
        rates: Ergodic rates ``[K]`` [bit/s/Hz] of each policy.
        power_shares: Mean powers over the largest ``[K]`` [1] of each policy.

    Raises:
        ValueError: If there is no policy, or as `link_map`.
    """
    require(len(rates) > 0, "rates", "name at least one policy", list(rates))
    ends = torch.cat([transmitter_m, receiver_m])
    extent = (ends.amax(0) - ends.amin(0)).clamp(min=1.0)
    tall = float((extent[1] / extent[0]).clamp(0.5, 2.2))
    legend = 0.0 if power_shares is None else 0.3
    size = 3.1 * len(rates) + 1.2, 2.9 * tall + 0.9 + legend
    figure, axes = figure_of(*size, len(rates))
    # The colours tell the low rates apart; the few highest share the last one.
    highest = float(torch.cat(list(rates.values())).quantile(0.9))
    drawn = None
    for axis, (name, value), style in zip(axes, rates.items(), styles(rates).values(), strict=True):
        share = None if power_shares is None else power_shares[name]
        drawn = link_map(axis, transmitter_m, receiver_m, share, value, highest)
        lowest = f"minimum {float(value.min()):.2f}, mean {float(value.mean()):.2f} bit/s/Hz"
        axis.set_title(f"{style.label}\n{lowest}", fontsize=9)
        if axis is not axes[0]:
            axis.set_ylabel("")
    assert drawn is not None
    figure.colorbar(drawn, ax=list(axes), label="ergodic rate [bit/s/Hz]", extend="max")
    handles, names = axes[0].get_legend_handles_labels()
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": len(names)}
    figure.legend(handles, names, fontsize=8, frameon=False, **place)
    return figure


def save_network_map(
    path: str | Path, transmitter_m: Tensor, receiver_m: Tensor, rates: Mapping[str, Tensor]
) -> None:
    """Write `network_maps` as PNG."""
    save_figure(network_maps(transmitter_m, receiver_m, rates), path)


def interference_graph(
    axis: "Axes",
    gain: Tensor,
    power_max_w: float,
    noise_w: float,
    position_m: Tensor,
    floor_db: float = 0.0,
) -> "ScalarMappable":
    """A numbered node per link, coloured by its SNR, and an arrow per INR above a floor.

    Nodes and arrows share one scale: received power at full power over the noise [dB]. An arrow
    i -> k is what transmitter i causes at receiver k; the stronger, the darker and wider.

    Args:
        axis: Where to draw.
        gain: Large-scale power gains [1], transmitter (row) to receiver (column).
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W].
        position_m: Where the nodes stand [m], such as halfway along their links.
        floor_db: Weaker interference over noise is left out [dB].

    Shapes:
        gain ``[K, K]``, position_m ``[K, 2]``.

    Returns:
        What a colour bar needs.

    Raises:
        ValueError: If gains are invalid or shapes do not fit.
    """
    gain = check_gain("gain", gain)
    expected, found = (len(gain), 2), tuple(position_m.shape)
    require(found == expected, "position_m", f"have the shape {expected}", found)
    rows = (10.0 * (gain.double() * (power_max_w / noise_w)).log10()).tolist()
    edges = [
        (level, source, target)
        for source, row in enumerate(rows)
        for target, level in enumerate(row)
        if source != target and level >= floor_db
    ]
    highest = max(level for row in rows for level in row)
    scale = colour_scale(floor_db, highest, strong_is_dark=True)
    span = max(highest - floor_db, 1e-9)
    unit, per_unit = _unit(position_m)
    nodes = (position_m / per_unit).tolist()
    for level, source, target in sorted(edges):
        width = _between(WIDTHS, (level - floor_db) / span)
        _arrow(
            axis,
            nodes[source],
            nodes[target],
            color=scale.to_rgba(level),
            linewidth=width,
            mutation_scale=5 + 3 * width,
            connectionstyle="arc3,rad=0.15",
            shrinkA=9,
            shrinkB=9,
        )
    snr_db = [rows[link][link] for link in range(len(rows))]
    colours = scale.to_rgba(np.array(snr_db))
    axis.scatter(*_columns(nodes), s=230, c=colours, zorder=3)
    middle = floor_db + 0.4 * span
    for link, (node, level) in enumerate(zip(nodes, snr_db, strict=True)):
        colour = "w" if level > middle else "k"
        axis.annotate(f"{link}", node, fontsize=8, color=colour, ha="center", va="center", zorder=4)
    axis.set_aspect("equal")
    axis.margins(0.12)
    axis.set_xlabel(f"east [{unit}]")
    axis.set_ylabel(f"north [{unit}]")
    return scale


def _arrow(
    axis: "Axes", source: Sequence[float], target: Sequence[float], **properties: Any
) -> None:
    look = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, **properties}
    axis.annotate("", (target[0], target[1]), (source[0], source[1]), arrowprops=look, zorder=2)


def _columns(points: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]


def _between(ends: tuple[float, float], part: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * part


def _label_behind(
    axis: "Axes", source: Sequence[float], target: Sequence[float], label: str
) -> None:
    """A word beside an arrow's tail, on the side that it does not point to."""
    east, north = source[0] - target[0], source[1] - target[1]
    points = 10.0 / (math.hypot(east, north) or 1.0)
    axis.annotate(
        label,
        (source[0], source[1]),
        (points * east, points * north),
        textcoords="offset points",
        fontsize=8,
        ha="center",
        va="center",
    )


def colour_scale(low: float, high: float, strong_is_dark: bool = False) -> "ScalarMappable":
    """Colours of a range of values, without viridis' bright end, which is faint on white."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    shades = colormaps["viridis"](torch.linspace(0.0, 0.88, 256).numpy())
    high = high if high > low else low + 1.0
    return ScalarMappable(
        Normalize(low, high), ListedColormap(shades[::-1] if strong_is_dark else shades)
    )


def _unit(position_m: Tensor) -> tuple[str, float]:
    """Metres for small networks, else kilometres."""
    extent = float((position_m.amax(0) - position_m.amin(0)).max())
    return ("m", 1.0) if extent < _KM_FROM_M else ("km", 1000.0)


def _per_link(name: str, value: Tensor | None, num_links: int) -> list[float] | None:
    if value is None:
        return None
    require(value.shape == (num_links,), name, f"have the shape ({num_links},)", tuple(value.shape))
    values: list[float] = value.tolist()
    require(all(map(math.isfinite, values)), name, "be finite", values)
    return values
