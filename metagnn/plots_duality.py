"""Figures of certified gaps: what holds the optimum, who comes how close, and why."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from metagnn.duality import Interval
from metagnn.graphs.checks import require
from metagnn.kkt import KktResiduals
from metagnn.plots import STYLES, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def gap_intervals(
    axis: "Axes",
    intervals: Mapping[str, Interval],
    values: Mapping[str, Sequence[float]],
    lowest: float = 0.0,
) -> None:
    r"""A row per network: what holds its optimum, and where policies stand, in % of the bound.

    The light bar is the certified interval :math:`P_\theta \le P^* \le D` of a policy, its dark
    end what is left of it by the best powers found, :math:`B \le P^* \le D`. A value below
    ``lowest`` stands at the edge with its number.

    Args:
        axis: Where to draw.
        intervals: The interval of each network, by the label of its row.
        values: Primal values of each policy on these networks [bit/s/Hz].
        lowest: Left edge [% of the bound].

    Raises:
        ValueError: If a policy has not one value per network, or a bound is not positive.
    """
    for name, found in values.items():
        rule = f"hold {len(intervals)} numbers"
        require(len(found) == len(intervals), f"values[{name!r}]", rule, len(found))
    bounds = [interval.dual for interval in intervals.values()]
    require(all(bound > 0 for bound in bounds), "intervals", "have positive bounds", bounds)
    rows = range(len(intervals))

    def share(each: Sequence[float]) -> list[float]:
        return [100.0 * value / bound for value, bound in zip(each, bounds, strict=True)]

    for attribute, colour, label in (
        ("primal", "#cfe3f1", "P to D: certified interval of the policy"),
        ("best_known", "#0072B2", "B to D: where the optimum lies"),
    ):
        ends = share([getattr(interval, attribute) for interval in intervals.values()])
        left = [max(lowest, end) for end in ends]
        axis.barh(rows, [100.0 - end for end in left], 0.7, left, color=colour, label=label)
    step = 0.6 / max(1, len(values))
    for place, (style, found) in enumerate(
        zip(styles(values).values(), values.values(), strict=True)
    ):
        at = share(found)
        beside = [row + step * (place - (len(values) - 1) / 2) for row in rows]
        inside = [max(lowest, value) for value in at]
        look: dict[str, Any] = {
            "color": style.colour,
            "markeredgecolor": "w",
            "markeredgewidth": 0.5,
        }
        axis.plot(inside, beside, style.marker, label=style.label, clip_on=False, **look)
        for row, value in zip(beside, at, strict=True):
            if value < lowest:
                offset: dict[str, Any] = {
                    "xytext": (6, 0),
                    "textcoords": "offset points",
                    "va": "center",
                }
                axis.annotate(f"{value:.0f} %", (lowest, row), fontsize=7, **offset)
    axis.axvline(100.0, color="k", linewidth=1)
    axis.set_xlim(lowest, 101.0)
    axis.set_yticks(list(rows), list(intervals))
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.set_axisbelow(True)
    axis.set_xlabel("primal value [% of the certified bound D]")


def gap_parts(axis: "Axes", parts: Mapping[str, KktResiduals]) -> None:
    """Stacked bars of what a certified gap consists of, a bar per network [bit/s/Hz]."""
    names = {
        "inner_gap": ("powers", "#0072B2", ""),
        "complementary_part": ("complementary slackness", "#E69F00", "//"),
        "slack_part": ("slack not at mu / alpha", "#999999", ".."),
    }
    rows, left = range(len(parts)), [0.0] * len(parts)
    for attribute, (label, colour, hatch) in names.items():
        width = [getattr(part, attribute) for part in parts.values()]
        axis.barh(rows, width, 0.62, left, color=colour, hatch=hatch, edgecolor="w", label=label)
        left = [start + more for start, more in zip(left, width, strict=True)]
    axis.set_yticks(list(rows), list(parts))
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.set_axisbelow(True)
    axis.set_xlabel("certified gap D - P [bit/s/Hz]")


def slackness(axis: "Axes", slack: Tensor, mu: Mapping[str, Tensor], alpha: float) -> None:
    r"""Multipliers of each link beside :math:`\alpha s_k`, which they equal at the optimum.

    Args:
        axis: Where to draw.
        slack: Slacks of the links ``[K]`` [bit/s/Hz].
        mu: Multipliers of the minimum-rate constraints ``[K]``, by the label of the legend.
        alpha: Weight of the slack's norm.

    Raises:
        ValueError: If multipliers do not have the shape of the slacks.
    """
    links = range(len(slack))
    label = r"$\alpha$ times smallest slack"
    axis.bar(links, (alpha * slack).tolist(), 0.7, color="#cfe3f1", edgecolor="0.4", label=label)
    for style, (name, values) in zip(list(STYLES.values())[2:], mu.items(), strict=False):
        rule = f"have the shape {tuple(slack.shape)}"
        require(values.shape == slack.shape, f"mu[{name!r}]", rule, tuple(values.shape))
        axis.plot(links, values.tolist(), style.marker, color=style.colour, label=name)
    axis.set_xticks(list(links))
    axis.grid(visible=False, axis="x")
    axis.set_axisbelow(True)
    axis.set_xlabel("link")
    axis.set_ylabel("multiplier [1]")
