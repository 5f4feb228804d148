"""Figures 6 to 10 of paper A, drawn from the CSV files of `power_control_study.py`.

Run ``python notebooks/power_control_figures.py``; writes ``results/figure_6.png`` to
``figure_10.png``. Lines are averages over networks, bands their 95 % bootstrap intervals. Where the
paper shows one network (Figures 7 and 10), thin lines are the networks of `curves` one by one.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from power_control_summary import RESULTS, files, read_curves, read_study, size

from metagnn.plots import STYLES, Style, convergence, figure_of, save_figure
from metagnn.tasks.power_control.metrics import Estimate, summarize

Row = dict[str, str]

AXES = {"mean": "mean rate [bit/s/Hz]", "min": "minimum rate [bit/s/Hz]"}
BASELINES = ("itlinq", "wmmse", "full_power")
LEARNED = {
    "meta": STYLES["metagnn"]._replace(label="MetaGNN"),
    "scratch": Style("learning from scratch", "#CC79A7", "-", "s"),
}
MISMATCH = Style("mismatch", "#999999", (0, (3, 1, 1, 1)), "X")
RANDOM = LEARNED["scratch"]._replace(label="random initialisation, 20 epochs (20 networks)")


def averaged(rows: Iterable[Row], key: str, metric: str) -> tuple[list[int], list[float]]:
    """Averages over networks of a metric, by a column of whole numbers."""
    groups: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        groups[int(row[key])].append(float(row[metric]))
    at = sorted(groups)
    return at, [mean(groups[value]) for value in at]


def unseen(policy: str, num_links: int, metric: str, num_networks: int | None = None) -> Estimate:
    """Average of a policy over the first networks of `unseen`; those of `curves` come first."""
    rates = read_study(RESULTS / f"unseen_{num_links}.csv")[policy][:num_networks]
    return summarize(rates)[f"{metric}_rate"]


def pair(draw: Callable[[Axes, str], None]) -> Figure:
    """A figure of two panels, mean and minimum rate, and one legend below."""
    figure, axes = figure_of(9.0, 3.9, 2)
    for axis, (metric, label) in zip(axes, AXES.items(), strict=True):
        draw(axis, metric)
        axis.set_ylabel(label)
        axis.set_ylim(0.0, 1.05 * axis.get_ylim()[1])
    lines, labels = axes[0].get_legend_handles_labels()
    place = {"loc": "outside lower center", "ncols": 3}
    figure.legend(lines, labels, fontsize=8, frameon=False, **place)
    return figure


def training(axis: Axes, metric: str) -> None:
    """Figure 6: validation networks during meta-training."""
    with (RESULTS / "training_curve_power_control.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    loops = [int(row["epoch"]) + 1 for row in rows]
    for epochs, style in ((0, "metagnn_unadapted"), (20, "metagnn")):
        values = [float(row[f"validation_{metric}_rate_{epochs}"]) for row in rows]
        _, colour, dashes, marker = STYLES[style]
        look = {"linestyle": dashes, "marker": marker, "markersize": 4, "color": colour}
        axis.plot(loops, values, label=f"{epochs} epochs of adaptation", **look)
    axis.locator_params("x", nbins=4)
    axis.set_xlabel("outer loop")


def adaptation(samples: int, num_links: int = 8) -> Callable[[Axes, str], None]:
    """Figures 7 and 10: rates by epoch of adaptation."""
    rows = [
        row
        for row in read_curves()
        if (row["samples"], row["num_links"]) == (str(samples), str(num_links))
    ]
    networks = sorted({row["network"] for row in rows})

    def draw(axis: Axes, metric: str) -> None:
        for start, (label, colour, dashes, _) in LEARNED.items():
            found = [row for row in rows if row["start"] == start]
            for network in networks:
                one = averaged((r for r in found if r["network"] == network), "epoch", metric)
                axis.plot(*one, color=colour, linewidth=0.7, alpha=0.6)
            line = averaged(found, "epoch", metric)
            axis.plot(*line, color=colour, linestyle=dashes, linewidth=2, label=label)
        mismatched = [float(row[metric]) for row in rows if row["start"] == "mismatch"]
        levels = [(MISMATCH, mean(mismatched))] if mismatched else []
        for policy in BASELINES:
            value = unseen(policy, num_links, metric, len(networks)).value
            levels.append((STYLES[policy], value))
        for style, value in levels:
            look = {"color": style.colour, "linestyle": style.dashes, "linewidth": 1.2}
            axis.axhline(value, label=style.label, **look)
        axis.set_xlabel("epoch")

    return draw


def by_links(axis: Axes, metric: str) -> None:
    """Figure 8: unseen networks of several sizes."""
    learned = {
        "metagnn": STYLES["metagnn"]._replace(label="MetaGNN, 20 epochs"),
        "metagnn_unadapted": STYLES["metagnn_unadapted"]._replace(label="MetaGNN, 0 epochs"),
        "random_initialised_20": RANDOM,
    }
    sizes = [size(path) for path in files("unseen")]
    for policy, style in (learned | {name: STYLES[name] for name in BASELINES}).items():
        values = [unseen(policy, num_links, metric) for num_links in sizes]
        convergence(axis, sizes, values, style, marker=style.marker, markersize=4)
    axis.set_xticks(sizes)
    axis.set_xlabel("links")


def by_samples(axis: Axes, metric: str) -> None:
    """Figure 9: after adaptation and after learning from scratch, by number of samples."""
    rows = read_curves()
    last = max(int(row["epoch"]) for row in rows if row["start"] == "scratch")
    for start, epoch in (("meta", 20), ("scratch", last)):
        style = LEARNED[start]
        for num_links, dashes in ((8, "-"), (12, "--")):
            key = (start, str(epoch), str(num_links))
            found = [row for row in rows if (row["start"], row["epoch"], row["num_links"]) == key]
            look = {"color": style.colour, "linestyle": dashes, "marker": style.marker}
            label = f"{style.label}, {epoch} epochs, K = {num_links}"
            axis.plot(*averaged(found, "samples", metric), label=label, **look)
    axis.set_xlabel("samples")
    axis.set_xscale("log", base=2)
    samples = sorted({int(row["samples"]) for row in rows})
    axis.set_xticks(samples, [f"{number}" for number in samples])


FIGURES = {
    6: training,
    7: adaptation(2048),
    8: by_links,
    9: by_samples,
    10: adaptation(256),
}


def main() -> None:
    """Draw all figures."""
    for number, draw in FIGURES.items():
        path = RESULTS / f"figure_{number}.png"
        save_figure(pair(draw), path)
        print(path)


if __name__ == "__main__":
    main()
