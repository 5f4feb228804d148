"""Figures 6 to 10 of paper A, drawn from the CSV files of `power_control_study.py`.

Run ``python notebooks/power_control_figures.py``; writes ``results/figure_6.png`` to
``figure_10.png``. Where the paper shows one network (Figures 7 and 10), these are averages over
all networks of `curves`.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from power_control_summary import RESULTS, files, read_curves, read_study, size

from metagnn.plots import figure_of, save_figure
from metagnn.tasks.power_control.metrics import summarize

AXES = {"mean": "mean rate [bit/s/Hz]", "min": "minimum rate [bit/s/Hz]"}
BASELINES = {
    "itlinq": ("ITLinQ", "#D55E00", "--"),
    "wmmse": ("WMMSE", "#009E73", "-."),
    "full_power": ("full power", "#999999", ":"),
}
LEARNED = {
    "meta": ("MetaGNN", "#0072B2", "o"),
    "scratch": ("learning from scratch", "#CC79A7", "s"),
}


def averaged(
    rows: Iterable[dict[str, str]], key: str, metric: str
) -> tuple[list[int], list[float]]:
    """Averages over networks of a metric, by a column of whole numbers."""
    groups: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        groups[int(row[key])].append(float(row[metric]))
    at = sorted(groups)
    return at, [mean(groups[value]) for value in at]


def unseen(policy: str, num_links: int, metric: str, num_networks: int | None = None) -> float:
    """Average of a policy over the first networks of `unseen`; those of `curves` come first."""
    rates = read_study(RESULTS / f"unseen_{num_links}.csv")[policy][:num_networks]
    return summarize(rates)[f"{metric}_rate"].value


def pair(path: Path, draw: Callable[[Axes, str], None]) -> None:
    """A figure of two panels, mean and minimum rate."""
    figure, axes = figure_of(9.0, 3.6, 2)
    for axis, (metric, label) in zip(axes, AXES.items(), strict=True):
        draw(axis, metric)
        axis.set_ylabel(label)
        axis.set_ylim(0.0, 1.05 * axis.get_ylim()[1])
    axes[0].legend(fontsize=8, frameon=False, loc="lower left")
    save_figure(figure, path)
    print(path)


def training(axis: Axes, metric: str) -> None:
    """Figure 6: validation networks during meta-training."""
    with (RESULTS / "training_curve_power_control.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    loops = [int(row["epoch"]) + 1 for row in rows]
    for epochs, style in ((0, "--"), (20, "-")):
        values = [float(row[f"validation_{metric}_rate_{epochs}"]) for row in rows]
        axis.plot(loops, values, style, color="#0072B2", label=f"{epochs} epochs of adaptation")
    axis.locator_params("x", nbins=4)
    axis.set_xlabel("outer loop")


def adaptation(samples: int, num_links: int = 8) -> Callable[[Axes, str], None]:
    """Figures 7 and 10: rates by epoch of adaptation."""
    rows = [
        row
        for row in read_curves()
        if (row["samples"], row["num_links"]) == (str(samples), str(num_links))
    ]
    num_networks = len({row["network"] for row in rows})

    def draw(axis: Axes, metric: str) -> None:
        for start in ("meta", "scratch"):
            label, colour, _ = LEARNED[start]
            found = averaged((row for row in rows if row["start"] == start), "epoch", metric)
            axis.plot(*found, color=colour, label=label)
        mismatched = [float(row[metric]) for row in rows if row["start"] == "mismatch"]
        if mismatched:
            axis.axhline(mean(mismatched), color="#E69F00", linewidth=1, label="mismatch")
        for policy, (label, colour, style) in BASELINES.items():
            value = unseen(policy, num_links, metric, num_networks)
            axis.axhline(value, color=colour, linestyle=style, linewidth=1, label=label)
        axis.set_xlabel("epoch")

    return draw


def by_links(axis: Axes, metric: str) -> None:
    """Figure 8: unseen networks of several sizes."""
    learned = {
        "metagnn": ("MetaGNN, 20 epochs", "#0072B2", "-"),
        "metagnn_unadapted": ("MetaGNN, 0 epochs", "#56B4E9", "--"),
        "random_initialised_20": ("random initialisation, 20 epochs (20 networks)", "#CC79A7", "-"),
    }
    for policy, (label, colour, style) in (learned | BASELINES).items():
        sizes = [size(path) for path in files("unseen")]
        values = [unseen(policy, num_links, metric) for num_links in sizes]
        axis.plot(sizes, values, style, marker="o", markersize=4, color=colour, label=label)
    axis.set_xlabel("links")


def by_samples(axis: Axes, metric: str) -> None:
    """Figure 9: after adaptation and after learning from scratch, by number of samples."""
    rows = read_curves()
    last = max(int(row["epoch"]) for row in rows if row["start"] == "scratch")
    for start, epoch in (("meta", 20), ("scratch", last)):
        label, colour, marker = LEARNED[start]
        for num_links, style in ((8, "-"), (12, "--")):
            key = (start, str(epoch), str(num_links))
            found = [row for row in rows if (row["start"], row["epoch"], row["num_links"]) == key]
            at, values = averaged(found, "samples", metric)
            text = f"{label}, {epoch} epochs, K = {num_links}"
            axis.plot(at, values, style, marker=marker, color=colour, label=text)
    axis.set_xlabel("samples")
    axis.set_xscale("log", base=2)


def main() -> None:
    """Draw all figures."""
    pair(RESULTS / "figure_6.png", training)
    pair(RESULTS / "figure_7.png", adaptation(2048))
    pair(RESULTS / "figure_8.png", by_links)
    pair(RESULTS / "figure_9.png", by_samples)
    pair(RESULTS / "figure_10.png", adaptation(256))


if __name__ == "__main__":
    main()
