"""Figures 3 to 8 of paper B, drawn from the CSV files of `channel_assignment_study.py`.

Run ``python notebooks/channel_assignment_figures.py``; writes ``results/channel_assignment_3.png``
to ``channel_assignment_8.png``. Lines are inter-quartile means over training seeds, bands their
95 % bootstrap intervals.
"""

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study_figures import logged, over_seeds
from study_runs import Row
from study_runs import read as read_csv

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
    "optimum": Style("optimum", "#000000", "-", "*"),
}
SCHEMES = ("mfrl", "mrl", "frl", "marl")
EFFICIENCY = "sum energy efficiency [Mbit/J]"


def read(name: str) -> list[Row]:
    """Rows of a result file."""
    return read_csv(RESULTS / f"channel_assignment_{name}.csv")


def save(figure: Figure, number: int) -> None:
    """Write a figure of the paper's number."""
    path = RESULTS / f"channel_assignment_{number}.png"
    save_figure(figure, path)
    print(path)


def per_scenario(number: int, xlabel: str, ylabel: str, draw: Callable[[Axes, str], None]) -> None:
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
    save(figure, number)


def meta_training(curves: list[Row]) -> None:
    """Figure 3: reward of the tasks during meta-training."""
    figure, (axis,) = figure_of(5.5, 3.6, 1)
    tasks = {"reward_2": "2 users", "reward_4": "4 users", "reward_8": "8 users", "reward": "mean"}
    for (column, label), scheme in zip(tasks.items(), (*SCHEMES[:3], "optimum"), strict=True):
        style = STYLES[scheme]._replace(label=label)
        over_seeds(axis, logged(curves, "meta", column), "episode", "value", style)
    axis.set_xlabel("episode of meta-training")
    axis.set_ylabel("reward per user")
    axis.legend(fontsize=8, frameon=False)
    save(figure, 3)


def of_schemes(curves: list[Row], column: str) -> Callable[[Axes, str], None]:
    """What the schemes logged of something, by episode."""

    def draw(axis: Axes, scenario: str) -> None:
        for scheme in SCHEMES:
            rows = logged(curves, f"{scenario}-{scheme}", column)
            over_seeds(axis, rows, "episode", "value", STYLES[scheme])

    return draw


def snapshots(axis: Axes, scenario: str) -> None:
    """Figure 5: the first test cells one by one."""
    rows = [row for row in read("cells") if row["scenario"] == scenario]
    for policy in ("optimum", "mfrl", "mfrl_early", "mrl", "frl", "marl"):
        found = [row for row in rows if row["policy"] == policy]
        over_seeds(axis, found, "cell", "sum_ee_mbit_j", STYLES[policy])
    axis.set_ylim(bottom=0)


def entropy(curves: list[Row]) -> None:
    """Figure 6: entropy of the policies indoors."""
    figure, (axis,) = figure_of(5.5, 3.6, 1)
    for scheme in ("mfrl", "frl"):
        rows = logged(curves, f"indoor-{scheme}", "entropy")
        over_seeds(axis, rows, "episode", "value", STYLES[scheme])
    axis.set_xlabel("episode of adaptation, indoor")
    axis.set_ylabel("entropy of the policy [nat]")
    axis.legend(fontsize=8, frameon=False)
    save(figure, 6)


def by_users(axis: Axes, scenario: str) -> None:
    """Figure 8: test cells with any number of users, of which MFRL learned with six."""
    rows = [
        row
        for path in RESULTS.glob("channel_assignment_*_users.csv")
        if (number := path.stem.split("_")[2]).isdigit()
        for row in ({**row, "users": number} for row in read(f"{number}_users"))
        if row["scenario"] == scenario
    ]
    for policy in ("optimum", "greedy", "mfrl", "meta", "frl", "random"):
        found = [row for row in rows if row["policy"] == policy]
        over_seeds(axis, found, "users", "sum_ee_mbit_j", STYLES[policy])


def main() -> None:
    """Draw all figures."""
    curves = read("curves")
    episode = "episode of adaptation"
    meta_training(curves)
    per_scenario(4, episode, "reward per user", of_schemes(curves, "reward"))
    per_scenario(5, "test cell", EFFICIENCY, snapshots)
    entropy(curves)
    # The paper's averages are 100 episodes apart, as are the validations.
    per_scenario(7, episode, EFFICIENCY, of_schemes(curves, "validation_sum_efficiency_mbit_j_6"))
    per_scenario(8, "users", EFFICIENCY, by_users)


if __name__ == "__main__":
    main()
