"""Figures 3 to 8 of paper B, drawn from the CSV files of `channel_assignment_study.py`.

Run ``python notebooks/channel_assignment_figures.py``, with ``7`` for Figure 7 alone; it writes
``results/channel_assignment_3.png`` to ``channel_assignment_8.png``. Lines are inter-quartile means
over training seeds, bands their 95 % bootstrap intervals.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study_figures import logged, over_seeds
from study_runs import Row
from study_runs import read as read_csv

from metagnn.graphs.checks import require
from metagnn.plots import Style, figure_of, save_figure

RESULTS = Path(__file__).parent / "results"
SCENARIOS = {"indoor": "indoor", "urban_macro": "urban macro", "rural_macro": "rural macro"}
STYLES = {
    "mfrl": Style("MFRL", "#0072B2", "-", "o"),
    "mfrl_early": Style("MFRL_early", "#56B4E9", "--", "D"),
    "mrl": Style("MRL", "#009E73", "-.", "^"),
    "frl": Style("FRL", "#D55E00", "--", "s"),
    "marl": Style("MARL", "#CC79A7", ":", "v"),
    "meta": Style("base station's model", "#E69F00", "-.", "P"),
    "greedy": Style("greedy", "#999999", "--", "X"),
    "random": Style("random", "#999999", ":", "*"),
    "selfish": Style("selfish", "#CC79A7", (0, (1, 1)), "v"),
    "optimum": Style("optimum", "#000000", "-", "*"),
}
SCHEMES = ("mfrl", "mrl", "frl", "marl")
EFFICIENCY = "sum energy efficiency [Mbit/J]"


def read(name: str) -> list[Row]:
    """Rows of a result file."""
    return read_csv(RESULTS / f"channel_assignment_{name}.csv")


def per_scenario(xlabel: str, ylabel: str, draw: Callable[[Axes, str], None]) -> Figure:
    """A figure with a panel for each scenario to which users adapted."""
    figure, axes = figure_of(11.0, 3.6, 3)
    for axis, (scenario, title) in zip(axes, SCENARIOS.items(), strict=True):
        draw(axis, scenario)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(xlabel)
    axes[0].set_ylabel(ylabel)
    lines, labels = axes[0].get_legend_handles_labels()
    place = {"loc": "outside lower center", "ncols": len(labels)}
    figure.legend(lines, labels, fontsize=8, frameon=False, **place)
    return figure


def meta_training() -> Figure:
    """Figure 3: reward of the tasks during meta-training."""
    curves = read("curves")
    figure, (axis,) = figure_of(5.5, 3.6, 1)
    tasks = {
        "reward_2": Style("2 users", "#9ECAE1", ":", "o"),
        "reward_4": Style("4 users", "#4292C6", "-.", "s"),
        "reward_8": Style("8 users", "#08519C", "--", "^"),
        "reward": Style("mean", "#000000", "-", "*"),
    }
    for column, style in tasks.items():
        over_seeds(axis, logged(curves, "meta", column), "episode", "value", style)
    axis.set_xlabel("episode of meta-training")
    axis.set_ylabel("reward per user")
    axis.legend(fontsize=8, frameon=False)
    return figure


def of_schemes(ylabel: str, column: str) -> Figure:
    """Figures 4 and 7: what the schemes logged of something, by episode."""
    curves = read("curves")

    def draw(axis: Axes, scenario: str) -> None:
        for scheme in SCHEMES:
            rows = logged(curves, f"{scenario}-{scheme}", column)
            over_seeds(axis, rows, "episode", "value", STYLES[scheme])

    return per_scenario("episode of adaptation", ylabel, draw)


def snapshots(axis: Axes, scenario: str) -> None:
    """Figure 5: the first test cells one by one."""
    rows = [row for row in read("cells") if row["scenario"] == scenario]
    for policy in ("optimum", "mfrl", "mfrl_early", "mrl", "frl", "marl"):
        found = [row for row in rows if row["policy"] == policy]
        over_seeds(axis, found, "cell", "sum_ee_mbit_j", STYLES[policy])
    axis.set_ylim(bottom=0)


def entropy() -> Figure:
    """Figure 6: entropy of the policies indoors."""
    curves = read("curves")
    figure, (axis,) = figure_of(5.5, 3.6, 1)
    for scheme in ("mfrl", "frl"):
        rows = logged(curves, f"indoor-{scheme}", "entropy")
        over_seeds(axis, rows, "episode", "value", STYLES[scheme])
    axis.set_xlabel("episode of adaptation, indoor")
    axis.set_ylabel("entropy of the policy [nat]")
    axis.legend(fontsize=8, frameon=False)
    return figure


def by_users(
    axis: Axes,
    scenario: str,
    column: str = "sum_ee_mbit_j",
    policies: Sequence[str] = ("optimum", "greedy", "mfrl", "meta", "frl", "random"),
) -> None:
    """Figure 8: test cells with any number of users, of which MFRL learned with six."""
    rows = [
        row
        for path in RESULTS.glob("channel_assignment_*_users.csv")
        if (number := path.stem.split("_")[2]).isdigit()
        for row in ({**row, "users": number} for row in read(f"{number}_users"))
        if row["scenario"] == scenario
    ]
    for policy in policies:
        found = [row for row in rows if row["policy"] == policy]
        over_seeds(axis, found, "users", column, STYLES[policy])
    axis.set_xticks(sorted({int(row["users"]) for row in rows}))


FIGURES: dict[int, Callable[[], Figure]] = {
    3: meta_training,
    4: lambda: of_schemes("reward per user", "reward"),
    5: lambda: per_scenario("test cell", EFFICIENCY, snapshots),
    6: entropy,
    # The paper's averages are 100 episodes apart, as are the validations.
    7: lambda: of_schemes(EFFICIENCY, "validation_sum_efficiency_mbit_j_6"),
    8: lambda: per_scenario("users", EFFICIENCY, by_users),
}


def main() -> None:
    """Draw all figures, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figure", nargs="*", type=int, help="3 to 8; all if left out")
    wanted = parser.parse_args().figure
    for number in wanted:
        require(number in FIGURES, "figure", f"be one of {tuple(FIGURES)}", number)
    for number in wanted or FIGURES:
        path = RESULTS / f"channel_assignment_{number}.png"
        save_figure(FIGURES[number](), path)
        print(path)


if __name__ == "__main__":
    main()
