"""Paper B, measured: all schemes in all scenarios from several seeds, as CSV files.

``python notebooks/channel_assignment_study.py train --seeds 2 3 4`` runs `metagnn fit` for every
seed (a meta-training, then four schemes in three scenarios) under ``runs/channel_assignment``,
two at a time, and goes on where it stopped. ``... score`` writes to ``notebooks/results``
``channel_assignment_6_users.csv`` (sum energy efficiency, share of the optimum, success rate per
seed, scheme, scenario), ``..._cells.csv`` (the first ten cells) and ``.md`` (means with intervals,
probabilities of improvement). ``... curves`` writes ``channel_assignment_curves.csv``, what the
runs logged. Test cells have seed 3000 and are used for no choice.
"""

import argparse
import csv
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

import torch
from study_runs import checkpoint, fit

from metagnn.assignment_comparison import (
    assignment_metrics,
    compare_assignment,
    find_trained,
    improvements,
)
from metagnn.commands.options import interval_cell
from metagnn.files import write_atomically, write_csv

RUNS = Path("runs/channel_assignment")
RESULTS = Path(__file__).parent / "results"
SCENARIOS = ("indoor", "urban_macro", "rural_macro")
SCHEMES = ("mfrl", "mrl", "frl", "marl")
ORDER = (
    "optimum",
    "greedy",
    "mfrl",
    "mfrl_early",
    "mrl",
    "frl",
    "marl",
    "meta",
    "random",
    "selfish",
)
# Seeds 0 and 1 took part in the choice of the configuration.
SEEDS = list(range(2, 12))
TEST_SEED = 3000
# Users' distributions of Figure 5.
NUM_SHOWN = 10
# Half of the training is MFRL_early.
KEEP = ("--checkpoint.every_n_epochs=500", "--checkpoint.save_top_k=-1")
# Episodes over which the curves are averaged.
EVERY = 20
LOGGED = ("reward", "reward_2", "reward_4", "reward_8", "entropy", "success_rate")
VALIDATED = ("validation_share_6", "validation_sum_efficiency_mbit_j_6")


def train(seeds: list[int], jobs: int, suffix: str) -> None:
    """Meta-training and all adaptations of each seed: several seeds, or runs of one, at a time."""
    root = RUNS.with_name(RUNS.name + suffix)
    num_seeds = min(jobs, len(seeds))

    def learn(seed: int) -> None:
        began = time.monotonic()
        draws = f"--model.init_args.seed={seed}"
        meta = root / f"{seed}/meta"
        fit(meta, f"channel_assignment_meta{suffix}", draws, keep=KEEP)
        start = checkpoint(meta)

        def adapt(task: tuple[str, str]) -> None:
            scenario, scheme = task
            words = [f"--model.init_args.cell.scenario={scenario}"]
            words += [f"--model.init_args.scheme={scheme}", draws]
            folder = root / f"{seed}/{scenario}-{scheme}"
            fit(folder, f"channel_assignment_adapt{suffix}", *words, start=start, keep=KEEP)

        with ThreadPoolExecutor(jobs // num_seeds) as pool:
            list(pool.map(adapt, [(a, b) for a in SCENARIOS for b in SCHEMES]))
        print(f"seed {seed}: {(time.monotonic() - began) / 60:.1f} minutes", flush=True)

    with ThreadPoolExecutor(num_seeds) as pool:
        list(pool.map(learn, seeds))


def score(num_users: int, suffix: str) -> None:
    """Score every run on the test cells."""
    trained = find_trained(RUNS.with_name(RUNS.name + suffix))
    scores = compare_assignment(trained, SCENARIOS, num_users, 100, 100, TEST_SEED)
    rows, lines = [], []
    cells: list[tuple[object, ...]] = []
    for scenario, policies in scores.items():
        for policy, of_seeds in policies.items():
            for seed, one in of_seeds.items():
                values = [one.efficiency.mean() / 1e6, one.share]
                values += [one.success_rate.mean(), one.snr_rate.mean()]
                number = "" if seed is None else seed
                rows.append((scenario, policy, number, *(f"{float(v):.5f}" for v in values)))
        for policy, of_seeds in policies.items():
            shown = torch.stack([one.efficiency[:NUM_SHOWN] for one in of_seeds.values()]).mean(0)
            cells += [(scenario, policy, n, f"{v / 1e6:.5f}") for n, v in enumerate(shown.tolist())]
        metrics = assignment_metrics(policies)
        lines += [f"\n**{scenario}**, {num_users} users\n"]
        lines += ["| policy | seeds | sum EE [Mbit/J] | share of the optimum | no collision |"]
        lines += ["|---|---|---|---|---|"]
        for policy in (p for p in ORDER if p in metrics):
            m = metrics[policy]
            columns = [interval_cell(m["sum_efficiency"], 1, 1e-6)]
            columns += [interval_cell(m[k]) for k in ("share_of_optimum", "success_rate")]
            lines.append(f"| {policy} | {len(policies[policy])} | {' | '.join(columns)} |")
        lines.append("")
        for (better, worse), chance in improvements(policies).items():
            lines.append(f"- P({better} > {worse}) in sum EE: {interval_cell(chance, 2)}")
    header = ["scenario", "policy", "seed", "sum_ee_mbit_j", "share", "success_rate", "snr_rate"]
    name = f"channel_assignment{suffix}_{num_users}_users"
    write_csv(RESULTS / f"{name}.csv", header, rows)
    if num_users == 6:
        header = ["scenario", "policy", "cell", "sum_ee_mbit_j"]
        write_csv(RESULTS / f"channel_assignment{suffix}_cells.csv", header, cells)
    text = "\n".join(["# Channel assignment (paper B)", *lines, ""])
    write_atomically(RESULTS / f"{name}.md", text.encode(), name="results")
    print(text)


def curves(suffix: str) -> None:
    """What the finished runs logged: means over episodes, and the validations."""
    root = RUNS.with_name(RUNS.name + suffix)
    rows: list[tuple[object, ...]] = []
    for path in sorted(root.glob("*/*/version_0/metrics.csv")):
        folder = path.parent.parent
        if not (folder / "done").exists():
            continue
        name, _, seed = f"{folder.parent.name}-{folder.name}".rpartition("-")
        with path.open(newline="") as file:
            logged = list(csv.DictReader(file))
        for column in LOGGED:
            found = [float(row[column]) for row in logged if row.get(column)]
            for first in range(0, len(found), EVERY):
                values = found[first : first + EVERY]
                rows.append((name, seed, column, first + len(values), f"{mean(values):.5g}"))
        for column in VALIDATED:
            for row in logged:
                if row.get(column):
                    episode = int(row["epoch"]) + 1
                    rows.append((name, seed, column, episode, f"{float(row[column]):.5g}"))
    header = ["run", "seed", "logged", "episode", "value"]
    write_csv(RESULTS / f"channel_assignment{suffix}_curves.csv", header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("train", "score", "curves"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--num-users", type=int, default=6)
    parser.add_argument(
        "--variant",
        choices=("local", "paper"),
        help="the paper's local networks, with rates that work or with its own",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    suffix = "" if arguments.variant is None else f"_{arguments.variant}"
    if arguments.step == "train":
        train(arguments.seeds, arguments.jobs, suffix)
    elif arguments.step == "curves":
        curves(suffix)
    else:
        score(arguments.num_users, suffix)


if __name__ == "__main__":
    main()
