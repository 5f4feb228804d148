"""Figures 4 to 7 of paper D, drawn from the CSV files of `offloading_study.py`.

Run ``python notebooks/offloading_figures.py [--variant paper]``; writes
``results/offloading_4.png``, ``_6.png`` and ``_7.png``, and of the variant ``_5.png`` too: without
it every episode has a network of its own, so that sites have no identity. Lines and bars are
inter-quartile means over training seeds, bands and whiskers their 95 % bootstrap intervals.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from offloading_table import RESULTS, column
from study_figures import logged, over_seeds
from study_runs import Row, read

from metagnn.plots import Style, figure_of, save_figure
from metagnn.seed_statistics import interquartile_mean
from metagnn.tasks.power_control.metrics import Estimate

STYLES = {
    "maddpg": Style("MA-DRL", "#0072B2", "-", "o"),
    "federated": Style("F-DRL", "#009E73", "-.", "s"),
    "independent": Style("IL-DRL", "#D55E00", "--", "^"),
    "heuristic": Style("heuristic", "#999999", "--", "X"),
    "full offloading": Style("full offloading", "#E69F00", ":", "v"),
    "local computing": Style("local computing", "#CC79A7", ":", "P"),
}
ALGORITHMS = ("maddpg", "federated", "independent")
# Lines of the sites.
SITES: dict[str, Any] = {
    "#0072B2": "-",
    "#56B4E9": (0, (5, 1)),
    "#D55E00": "--",
    "#009E73": "-.",
    "#CC79A7": ":",
    "#E69F00": (0, (3, 1, 1, 1)),
}
USERS = 60
# Energies of Figure 6: title, columns of which they are the sum, colour, hatch.
ENERGIES = {
    "total": (("energy_j",), "#0072B2", ""),
    "local computing": (("local_j",), "#E69F00", "//"),
    "offloading": (("transmission_j", "edge_j"), "#009E73", ".."),
}


def convergence(curves: list[Row], scores: list[Row], home: str) -> Figure:
    """Figure 4: reward of the whole system, with exploration, and what needs no training.

    Beside it the deadlines that are met without exploration, on validation networks.
    """
    figure, axes = figure_of(11.0, 3.6, 2)
    for algorithm in ALGORITHMS:
        run, style = f"{home}-{algorithm}", STYLES[algorithm]
        rows = [
            {**row, "value": str(USERS * float(row["value"]))}
            for row in logged(curves, run, "reward")
        ]
        over_seeds(axes[0], rows, "episode", "value", style)
        rows = [
            {**row, "value": str(100.0 * float(row["value"]))}
            for row in logged(curves, run, "validation_met")
        ]
        over_seeds(axes[1], rows, "episode", "value", style)
    for policy in ("heuristic", "full offloading"):
        label, colour, dashes, _ = STYLES[policy]
        (reward,) = column(scores, policy, "reward").values()
        axes[0].axhline(USERS * reward, color=colour, linestyle=dashes, label=label, linewidth=1)
    for axis in axes:
        axis.set_xlabel("episode")
    axes[0].set_ylabel("system reward per slot [J]")
    axes[1].set_ylabel("latency guaranteed [%]")
    axes[0].set_title("in training, with exploration", fontsize=10)
    axes[1].set_title("on validation networks, without", fontsize=10)
    axes[0].legend(fontsize=8, frameon=False)
    return figure


def rewards_of_sites(curves: list[Row], home: str) -> Figure:
    """Figure 5: local reward of each site, where all episodes have the same sites."""
    figure, axes = figure_of(11.0, 3.6, len(ALGORITHMS))
    for axis, algorithm in zip(axes, ALGORITHMS, strict=True):
        for site, (colour, dashes) in enumerate(SITES.items()):
            rows = logged(curves, f"{home}-{algorithm}", f"site_reward_{site}")
            style = Style(f"site {site + 1}", colour, dashes, "o")
            over_seeds(axis, rows, "episode", "value", style)
        axis.set_title(STYLES[algorithm][0], fontsize=10)
        axis.set_xlabel("episode")
    low, high = (f(axis.get_ylim()[end] for axis in axes) for end, f in enumerate((min, max)))
    for axis in axes:
        axis.set_ylim(low, high)
    axes[0].set_ylabel("local reward per slot [J]")
    axes[-1].legend(fontsize=8, frameon=False, ncols=2)
    return figure


def energies(scores: list[Row]) -> Figure:
    """Figure 6: energy per task, and its parts."""
    figure, (axis,) = figure_of(6.5, 3.6, 1)
    width = 0.8 / len(ENERGIES)
    for number, (title, (names, colour, hatch)) in enumerate(ENERGIES.items()):
        found = []
        for policy in STYLES:
            parts = [column(scores, policy, name).values() for name in names]
            found.append(of_seeds([1e3 * sum(values) for values in zip(*parts, strict=True)]))
        at = [place + (number - 1) * width for place in range(len(found))]
        bars(axis, at, found, width, [colour] * len(found), title, hatch)
    axis.set_yscale("log")
    axis.set_ylim(bottom=0.1)
    axis.set_ylabel("energy per task [mJ]")
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": len(ENERGIES)}
    axis.legend(fontsize=8, frameon=False, **above)
    of_policies(axis)
    return figure


def guarantees(scores: list[Row]) -> Figure:
    """Figure 7: share of deadlines that are met."""
    figure, (axis,) = figure_of(5.5, 3.6, 1)
    found = [
        of_seeds([100.0 * value for value in column(scores, policy, "met").values()])
        for policy in STYLES
    ]
    colours = [style[1] for style in STYLES.values()]
    bars(axis, list(range(len(found))), found, 0.7, colours)
    for place, estimate in enumerate(found):
        top = estimate.value if estimate.high is None else estimate.high
        axis.text(place, top + 2.0, f"{estimate.value:.1f}", ha="center", fontsize=8)
    axis.set_ylim(0.0, 108.0)
    axis.set_ylabel("latency guaranteed [%]")
    of_policies(axis)
    return figure


def of_seeds(values: Sequence[float]) -> Estimate:
    """Inter-quartile mean over seeds."""
    return interquartile_mean(torch.tensor(values, dtype=torch.float64).unsqueeze(-1))


def bars(
    axis: Axes,
    at: Sequence[float],
    found: Sequence[Estimate],
    width: float,
    colours: Sequence[str],
    label: str | None = None,
    hatch: str = "",
) -> None:
    """Bars with whiskers where there are several seeds."""
    values = [one.value for one in found]
    down = [0.0 if one.low is None else one.value - one.low for one in found]
    up = [0.0 if one.high is None else one.high - one.value for one in found]
    look: dict[str, Any] = {"color": colours, "edgecolor": "w", "linewidth": 0.0, "hatch": hatch}
    look["error_kw"] = {"elinewidth": 1, "capsize": 2}
    axis.bar(at, values, width, yerr=[down, up], label=label, **look)


def of_policies(axis: Axes) -> None:
    """An axis with a place for each policy."""
    axis.set_xticks(range(len(STYLES)), [style[0] for style in STYLES.values()], fontsize=8)
    axis.tick_params(axis="x", rotation=20)
    axis.grid(visible=False, axis="x")
    axis.set_axisbelow(True)


def figures_of(suffix: str = "") -> dict[int, Figure]:
    """All figures of a variant, by the paper's numbers."""
    home = "6x10" if suffix == "" else "fixed"
    curves = read(RESULTS / f"offloading{suffix}_curves.csv")
    scores = read(RESULTS / f"offloading{suffix}_{home}.csv")
    found = {4: convergence(curves, scores, home), 6: energies(scores), 7: guarantees(scores)}
    return found if home != "fixed" else {**found, 5: rewards_of_sites(curves, home)}


def main() -> None:
    """Draw all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", choices=("paper",), help="the paper's perceptrons")
    arguments = parser.parse_args()
    suffix = "" if arguments.variant is None else f"_{arguments.variant}"
    for number, figure in figures_of(suffix).items():
        path = RESULTS / f"offloading{suffix}_{number}.png"
        save_figure(figure, path)
        print(path)


if __name__ == "__main__":
    main()
