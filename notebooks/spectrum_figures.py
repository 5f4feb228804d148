"""Figures of paper C, drawn from the CSV files of `spectrum_study.py`.

Run ``python notebooks/spectrum_figures.py [--variant flat]``; writes ``spectrum_random.png`` and
``spectrum_nycmesh.png`` into ``results``: throughput, violations, fairness and reward after so many
episodes in an unseen scenario; and ``..._during.png``: the same of the episodes of which policies
learned. Lines are inter-quartile means over training seeds, bands their 95 % bootstrap intervals;
baselines, which learn nothing, are level, and are known of the scored episode alone.
"""

import argparse

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from spectrum_study import PLACES
from spectrum_table import FLAT_SCRATCH, RESULTS
from study_figures import over_seeds
from study_runs import Row, read

from metagnn.plots import Style, figure_of, save_figure
from metagnn.spectrum_comparison import FROZEN, PRETRAINED, SCRATCH

METRICS = {
    "throughput_mbit_s": "throughput [Mbit/s]",
    "sinr_violation": "SINR violations",
    "latency_violation": "latency violations",
    "jain": "Jain index",
    "reward": "reward",
}
AGENTS = {
    "attention": Style("recurrent + attention", "#0072B2", "-", "o"),
    "recurrent": Style("recurrent", "#56B4E9", "--", "D"),
    "maml": Style("MAML", "#009E73", "-.", "^"),
    PRETRAINED: Style("PPO, pre-trained", "#E69F00", "-.", "s"),
    FROZEN: Style("PPO without adaptation", "#CC79A7", ":", "v"),
    SCRATCH: Style("PPO from scratch", "#D55E00", "--", "P"),
    FLAT_SCRATCH: Style("PPO from scratch, flat", "#8B4513", ":", "X"),
}
BASELINES = {
    "max weight": Style("max weight, knows all", "#000000", "-", ""),
    "reported max weight": Style("max weight from reports", "#000000", "--", ""),
    "full reuse": Style("full reuse", "#777777", ":", ""),
    "random": Style("random", "#BBBBBB", ":", ""),
}


def draw(axis: Axes, rows: list[Row], metric: str, level: list[Row]) -> None:
    """A metric over episodes, and what baselines, which learn nothing, have."""
    for policy, style in AGENTS.items():
        of_policy = [row for row in rows if row["policy"] == policy]
        if of_policy:
            over_seeds(axis, of_policy, "episodes", metric, style)
    for policy, (label, colour, dashes, _) in BASELINES.items():
        for row in level:
            if row["policy"] == policy and row["episodes"] == "0":
                value = float(row[metric])
                axis.axhline(value, color=colour, linestyle=dashes, linewidth=1, label=label)
    axis.set_title(METRICS[metric], fontsize=10)


def episodes_figure(rows: list[Row], level: list[Row], label: str) -> Figure:
    """All metrics over episodes."""
    figure, axes = figure_of(15.0, 3.8, len(METRICS))
    for axis, metric in zip(axes, METRICS, strict=True):
        draw(axis, rows, metric, level)
        axis.set_xlabel(label)
    lines, labels = axes[0].get_legend_handles_labels()
    place = {"loc": "outside lower center", "ncols": 5}
    figure.legend(lines, labels, fontsize=8, frameon=False, **place)
    return figure


def figures_of(stem: str, network: str) -> dict[str, Figure]:
    """Figures of a network by the name of their file."""
    after = read(RESULTS / f"{stem}_{network}.csv")
    during = read(RESULTS / f"{stem}_{network}_during.csv")
    return {
        f"{stem}_{network}.png": episodes_figure(after, after, "episodes before"),
        f"{stem}_{network}_during.png": episodes_figure(during, [], "episode of learning"),
    }


def main() -> None:
    """Draw all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", choices=("flat",), help="the paper's networks")
    arguments = parser.parse_args()
    stem = "spectrum" if arguments.variant is None else f"spectrum_{arguments.variant}"
    for network in PLACES:
        for name, figure in figures_of(stem, network).items():
            save_figure(figure, RESULTS / name)
            print(RESULTS / name)


if __name__ == "__main__":
    main()
