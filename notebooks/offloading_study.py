"""Paper D, measured: all algorithms from several seeds on the paper's networks and others.

``python notebooks/offloading_study.py train --seeds 2 3 4`` runs `metagnn fit` for every algorithm
and seed under ``runs/offloading``, two at a time, and goes on where it stopped. With ``--network``
12x10, 6x16 or melbourne it trains MA-DRL there, to be compared with what was trained on 6x10 and
runs there as it is. ``... score`` writes to ``notebooks/results`` ``offloading_NETWORK.csv`` (each
seed) and ``.md`` (means with intervals, probabilities of improvement), ``... curves`` what the runs
logged. Test networks have seed 3000 and are used for no choice.
"""

import argparse
import csv
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from statistics import mean

import torch
from study_runs import fit

from metagnn.commands.compare_offloading import COLUMNS
from metagnn.commands.options import interval_cell
from metagnn.files import write_atomically, write_csv
from metagnn.offloading_comparison import (
    compare_offloading,
    find_sites,
    improvements,
    offloading_metrics,
)
from metagnn.offloading_place import Place
from metagnn.offloading_score import OffloadingScore, summary

RUNS = Path("runs/offloading")
RESULTS = Path(__file__).parent / "results"
ALGORITHMS = ("maddpg", "federated", "independent")
# Seeds 0 and 1 took part in the choice of the configuration.
SEEDS = list(range(2, 12))
TEST_SEED = 3000
NUM_NETWORKS, NUM_STEPS = 100, 20
# Melbourne's users do not fit into batches and a replay of the size of the paper's networks.
_MELBOURNE = {"num_copies": 2, "actor_batch": 2, "critic_batch": 4, "capacity": 200, "warm_up": 20}
PLACES = {
    "6x10": Place(),
    "12x10": replace(Place(), num_cells=12),
    "6x16": replace(Place(), users_per_cell=16),
    "melbourne": replace(Place(), network="melbourne"),
}
OPTIONS = {
    "6x10": (),
    "12x10": ("--model.init_args.place.num_cells=12",),
    "6x16": ("--model.init_args.place.users_per_cell=16",),
    "melbourne": (
        "--model.init_args.place.network=melbourne",
        *(f"--model.init_args.maddpg.{name}={value}" for name, value in _MELBOURNE.items()),
    ),
}
# Episodes over which the curves are averaged.
EVERY = 5
LOGGED = ("reward", "met", "energy_mj", "critic_error", "signalling_bytes")
LOGGED += tuple(f"site_reward_{site}" for site in range(6))


def train(seeds: list[int], jobs: int, network: str) -> None:
    """All algorithms of each seed on the paper's networks, or MA-DRL on others."""
    algorithms = ALGORITHMS if network == "6x10" else ALGORITHMS[:1]

    def learn(task: tuple[int, str]) -> None:
        seed, algorithm = task
        words = [f"--model.init_args.algorithm={algorithm}", f"--model.init_args.seed={seed}"]
        folder = RUNS / network / f"{algorithm}-{seed}"
        seconds = fit(folder, "offloading", *words, *OPTIONS[network])
        print(f"{algorithm} {seed}: {seconds / 60:.1f} minutes", flush=True)

    began = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(learn, [(seed, algorithm) for seed in seeds for algorithm in algorithms]))
    print(f"all: {(time.monotonic() - began) / 60:.1f} minutes")


def score(network: str) -> None:
    """Score what was trained on the paper's networks on these, and what was trained here."""
    trained = find_sites(RUNS / "6x10")
    if network != "6x10" and (RUNS / network).is_dir():
        own = find_sites(RUNS / network)
        trained += [replace(one, algorithm=f"{one.algorithm}, trained here") for one in own]
    single = network == "melbourne"
    number = 10 if single else NUM_NETWORKS
    scores = compare_offloading(trained, PLACES[network], number, NUM_STEPS, TEST_SEED)
    names = [field.name for field in fields(OffloadingScore)]
    rows = [
        (policy, "" if seed is None else seed, *(f"{summary(one)[name]:.6g}" for name in names))
        for policy, of_seeds in scores.items()
        for seed, one in of_seeds.items()
    ]
    write_csv(RESULTS / f"offloading_{network}.csv", ["policy", "seed", *names], rows)
    metrics = offloading_metrics(scores)
    lines = [f"# Offloading (paper D), {network}", ""]
    lines += [f"| policy | seeds | {' | '.join(title for title, _, _ in COLUMNS.values())} |"]
    lines += ["|---" * (len(COLUMNS) + 2) + "|"]
    for policy in sorted(metrics, key=lambda name: -metrics[name]["met"].value):
        cells = [
            interval_cell(metrics[policy][name], digits, scale)
            for name, (_, digits, scale) in COLUMNS.items()
        ]
        lines.append(f"| {policy} | {len(scores[policy])} | {' | '.join(cells)} |")
    lines.append("")
    for (better, worse), chance in improvements(scores).items():
        lines.append(f"- P({better} > {worse}) in deadlines met: {interval_cell(chance, 2)}")
    for algorithm in dict.fromkeys(one.algorithm for one in trained):
        sent = mean(t.signalling_bytes for t in trained if t.algorithm == algorithm)
        lines.append(f"- {algorithm}: {sent / 1e3:.0f} kB of signalling per episode of training")
    text = "\n".join([*lines, ""])
    write_atomically(RESULTS / f"offloading_{network}.md", text.encode(), name="results")
    print(text)


def curves() -> None:
    """What the finished runs logged on the paper's networks: means over episodes."""
    rows: list[tuple[object, ...]] = []
    for path in sorted((RUNS / "6x10").glob("*/version_0/metrics.csv")):
        if not (path.parent.parent / "done").exists():
            continue
        algorithm, _, seed = path.parent.parent.name.rpartition("-")
        with path.open(newline="") as file:
            logged = list(csv.DictReader(file))
        for column in LOGGED:
            found = [float(row[column]) for row in logged if row.get(column)]
            for first in range(0, len(found), EVERY):
                values = found[first : first + EVERY]
                rows.append((algorithm, seed, column, first + len(values), f"{mean(values):.6g}"))
    header = ["algorithm", "seed", "logged", "episode", "value"]
    write_csv(RESULTS / "offloading_curves.csv", header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("train", "score", "curves"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--network", choices=list(PLACES), default="6x10")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.step == "train":
        train(arguments.seeds, arguments.jobs, arguments.network)
    elif arguments.step == "curves":
        curves()
    else:
        score(arguments.network)


if __name__ == "__main__":
    main()
