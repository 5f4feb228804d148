"""Which choices matter for channel assignment: meta-trainings that differ in one thing.

``python notebooks/channel_assignment_remedies.py`` runs every variant of `channel_assignment_meta`
from every seed under ``runs/channel_assignment_remedies``, goes on where it stopped, and writes
``notebooks/results/channel_assignment_remedies.csv`` and ``.md``: what each reaches on validation
cells of the scenario and numbers of users it learned with.
"""

import argparse
import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from channel_assignment_study import RESULTS, SEEDS, fit

from metagnn.commands.options import interval_cell
from metagnn.files import write_atomically, write_csv
from metagnn.seed_statistics import interquartile_mean, probability_of_improvement

RUNS = Path("runs/channel_assignment_remedies")
MODEL = "--model.init_args"
USERS = (2, 4, 8)
PER_USER = {
    "cell.layout": "user",
    "shape.in_channels": "12",
    "shape.per_choice": "false",
    "shape.num_claims": "0",
}
VARIANTS: dict[str, dict[str, str]] = {
    "as configured": {},
    "no claims": {"shape.num_claims": "0"},
    "no edges": {"cell.edges": "none"},
    "one observation per user": PER_USER,
    "one observation per user, no edges": {**PER_USER, "cell.edges": "none"},
    "three layers": {"shape.hidden_channels": "[24, 24, 24]"},
    "reward of Eq. 6": {"cell.reward": "sum"},
    "discount 0.9": {"ppo.discount": "0.9"},
    "one pass per episode": {"ppo.num_epochs": "1"},
    "no entropy in the loss": {"ppo.entropy_weight": "0.0"},
    "a fifth of the entropy": {"ppo.entropy_weight": "0.01"},
    "four times the entropy": {"ppo.entropy_weight": "0.2"},
    "constant rate and entropy": {"schedule": "constant"},
    "a tenth of the learning rate": {"learning_rate": "2.0e-4"},
}


def share(folder: Path) -> list[float]:
    """Shares of the optimum at the last validation, for each number of users."""
    with (folder / "version_0/metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(f"validation_share_{USERS[0]}")]
    return [float(rows[-1][f"validation_share_{number}"]) for number in USERS]


def main() -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    def run(task: tuple[int, str]) -> tuple[str, int, list[float]]:
        seed, name = task
        folder = RUNS / f"{arguments.episodes}/{name.replace(' ', '_')}/{seed}"
        words = [f"{MODEL}.{key}={value}" for key, value in VARIANTS[name].items()]
        words += [f"{MODEL}.seed={seed}", f"--trainer.max_epochs={arguments.episodes}"]
        words += [f"--trainer.check_val_every_n_epoch={arguments.episodes}"]
        words += [f"{MODEL}.num_validation_cells=1000"]
        fit(folder, "channel_assignment_meta", *words)
        return name, seed, share(folder)

    tasks = [(seed, name) for seed in arguments.seeds for name in VARIANTS]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        found = list(pool.map(run, tasks))
    shares = {
        name: torch.tensor([values for other, _, values in found if other == name])
        for name in VARIANTS
    }
    rows = [(name, seed, *(f"{v:.5f}" for v in values)) for name, seed, values in found]
    header = ["variant", "seed", *(f"share_{number}" for number in USERS)]
    write_csv(RESULTS / "channel_assignment_remedies.csv", header, rows)
    users = " | ".join(f"{number} users" for number in USERS)
    lines = [
        f"# Channel assignment: {arguments.episodes} episodes of meta-training, one thing changed",
        "",
        "Share of the optimum's sum energy efficiency on 1000 validation cells: inter-quartile",
        f"mean over {len(arguments.seeds)} seeds with 95 % bootstrap interval, and the probability",
        "that a run is better than one as configured, averaged over the numbers of users. With one",
        "observation per user there can be no claims: to be compared with the row without.",
        "",
        f"| variant | {users} | P(better than as configured) |",
        "|" + "---|" * (len(USERS) + 2),
    ]
    for name, values in shares.items():
        cells = [interval_cell(interquartile_mean(column.unsqueeze(-1))) for column in values.T]
        chance = probability_of_improvement(values, shares["as configured"])
        better = "" if name == "as configured" else interval_cell(chance, 2)
        lines.append(f"| {name} | {' | '.join(cells)} | {better} |")
    text = "\n".join([*lines, ""])
    write_atomically(RESULTS / "channel_assignment_remedies.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
