"""Which choices matter for channel assignment: trainings that differ in one thing.

``python notebooks/channel_assignment_remedies.py meta`` runs every variant of
`channel_assignment_meta` from every seed under ``runs/channel_assignment_remedies``, goes on where
it stopped, and writes ``notebooks/results/channel_assignment_remedies_meta.csv`` and ``.md``: what
each reaches on validation cells of the scenario and numbers of users it learned with. ``... adapt``
does the same for variants of `channel_assignment_adapt` (MFRL of six users indoors), from the base
stations' models of `channel_assignment_study.py`.
"""

import argparse
import csv
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from channel_assignment_study import RESULTS, SEEDS
from channel_assignment_study import RUNS as STUDY
from study_runs import checkpoint, fit

from metagnn.commands.options import interval_cell
from metagnn.files import write_atomically, write_csv
from metagnn.seed_statistics import interquartile_mean, probability_of_improvement

RUNS = Path("runs/channel_assignment_remedies")
MODEL = "--model.init_args"
PER_USER = {
    "cell.layout": "user",
    "shape.in_channels": "12",
    "shape.per_choice": "false",
    "shape.num_claims": "0",
}
META: dict[str, dict[str, str]] = {
    "as configured": {},
    "no claims": {"shape.num_claims": "0"},
    "no edges": {"cell.edges": "none"},
    "one observation per user": PER_USER,
    "one observation per user, no edges": {**PER_USER, "cell.edges": "none"},
    "three layers": {"shape.hidden_channels": "[24, 24, 24]"},
    "reward of Eq. 6": {"cell.reward": "sum"},
    "reward of Eq. 6, the paper's scale": {"cell.reward": "sum", "cell.reward_scale": "1.0e-9"},
    "discount 0.9": {"ppo.discount": "0.9"},
    "no entropy in the loss": {"ppo.entropy_weight": "0.0"},
    "four times the entropy": {"ppo.entropy_weight": "0.2"},
    "a tenth of the learning rate": {"learning_rate": "2.0e-4"},
}
ADAPTATIONS: dict[str, dict[str, str]] = {
    "as configured": {},
    "messages without gradient": {"messages": "detached"},
    "never averaged": {"scheme": "mrl"},
    "averaged uniformly": {"weighting": "uniform"},
    "reward of Eq. 6": {"cell.reward": "sum"},
    "a tenth of the learning rate": {"learning_rate": "1.0e-4"},
}


@dataclass(frozen=True)
class Step:
    """Trainings of one kind.

    Attributes:
        config: Their configuration.
        variants: What each changes.
        num_users: Numbers of users on whose cells they are scored.
        num_episodes: Their length.
        title: What the table is of.
        note: What else a reader must know.
    """

    config: str
    variants: dict[str, dict[str, str]]
    num_users: tuple[int, ...]
    num_episodes: int
    title: str
    note: str = ""


STEPS = {
    "meta": Step(
        "channel_assignment_meta",
        META,
        (2, 4, 8),
        300,
        "meta-training",
        "\nWith one observation per user there can be no claims: compare with the row without.",
    ),
    "adapt": Step("channel_assignment_adapt", ADAPTATIONS, (6,), 1000, "adaptation indoors, MFRL"),
}


def shares_of(folder: Path, num_users: tuple[int, ...]) -> list[float]:
    """Shares of the optimum at the last validation, for each number of users."""
    columns = [f"validation_share_{number}" for number in num_users]
    with (folder / "version_0/metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(columns[0])]
    return [float(rows[-1][column]) for column in columns]


def main() -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    arguments = parser.parse_args()
    step = STEPS[arguments.step]
    torch.set_num_threads(1)

    def run(task: tuple[int, str]) -> tuple[str, int, float, list[float]]:
        seed, name = task
        folder = RUNS / f"{arguments.step}/{re.sub('[^A-Za-z0-9.]', '_', name)}/{seed}"
        words = [f"{MODEL}.{key}={value}" for key, value in step.variants[name].items()]
        words += [f"{MODEL}.seed={seed}", f"--trainer.max_epochs={step.num_episodes}"]
        words += [f"--trainer.check_val_every_n_epoch={step.num_episodes}"]
        words += [f"{MODEL}.num_validation_cells=1000"]
        start = None
        if arguments.step == "adapt":
            words += [f"{MODEL}.cell.scenario=indoor"]
            start = checkpoint(STUDY / f"{seed}/meta")
        seconds = fit(folder, step.config, *words, start=start)
        return name, seed, seconds, shares_of(folder, step.num_users)

    tasks = [(seed, name) for seed in arguments.seeds for name in step.variants]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        found = list(pool.map(run, tasks))
    shares = {
        name: torch.tensor([values for other, *_, values in found if other == name])
        for name in step.variants
    }
    rows = [(*one, f"{took:.0f}", *(f"{v:.5f}" for v in values)) for *one, took, values in found]
    header = ["variant", "seed", "seconds", *(f"share_{number}" for number in step.num_users)]
    path = RESULTS / f"channel_assignment_remedies_{arguments.step}.csv"
    write_csv(path, header, rows)
    users = " | ".join(f"{number} users" for number in step.num_users)
    lines = [
        f"# Channel assignment: {step.num_episodes} episodes of {step.title}, one thing changed",
        "",
        "Share of the optimum's sum energy efficiency on 1000 validation cells: inter-quartile",
        f"mean over {len(arguments.seeds)} seeds with 95 % bootstrap interval, and the probability",
        f"that a run is better than one as configured, averaged over all columns.{step.note}",
        f"All trainings took {sum(took for *_, took, _ in found) / 60:.0f} minutes of one core.",
        "",
        f"| variant | {users} | P(better than as configured) |",
        "|" + "---|" * (len(step.num_users) + 2),
    ]
    for name, values in shares.items():
        cells = [interval_cell(interquartile_mean(column.unsqueeze(-1))) for column in values.T]
        chance = probability_of_improvement(values, shares["as configured"])
        better = "" if name == "as configured" else interval_cell(chance, 2)
        lines.append(f"| {name} | {' | '.join(cells)} | {better} |")
    text = "\n".join([*lines, ""])
    write_atomically(path.with_suffix(".md"), text.encode())
    print(text)


if __name__ == "__main__":
    main()
