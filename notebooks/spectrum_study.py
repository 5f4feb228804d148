"""Paper C, measured: all agents from several seeds in unseen scenarios, as CSV files.

``python notebooks/spectrum_study.py train --seeds 2 3 4`` runs `metagnn fit` for every agent and
seed under ``runs/spectrum_allocation``, two at a time, and goes on where it stopped. ``... score
--seeds 2 3 4`` lets what is finished adapt to the test scenarios, and adds it to the files in
``notebooks/results``: ``spectrum_random.csv`` and ``spectrum_nycmesh.csv`` (means over the
scenarios per policy, seed and number of episodes before), ``..._during.csv`` (the episodes of
which policies learned), ``spectrum_curves.csv`` (what the runs logged), ``spectrum_runs.csv`` (how
long they took, of which sources). ``... table`` writes ``spectrum.md`` from these. Test scenarios
have seed 3000 and are used for no choice. ``--variant flat`` are the paper's networks, with the
rates of its code.
"""

import argparse
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from study_runs import Row, add, add_curves, fit, minutes_of_seeds, read
from torch import Tensor

from metagnn.commands.compare_spectrum import COLUMNS
from metagnn.commands.options import interval_cell
from metagnn.experiment import read_section
from metagnn.files import write_atomically
from metagnn.graphs.checks import require
from metagnn.seed_statistics import certain, interquartile_mean, probability_of_improvement
from metagnn.spectrum_adaptation import Finetuning
from metagnn.spectrum_comparison import (
    CLAIMED,
    FROZEN,
    METRICS,
    PRETRAINED,
    SCRATCH,
    compare_spectrum,
    find_spectrum,
)
from metagnn.spectrum_learner import MEMORY_OF
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.spectrum_allocation.metrics import Metrics
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily

RUNS = Path("runs/spectrum_allocation")
RESULTS = Path(__file__).parent / "results"
# Seeds 0 and 1 take part in the choice of the configuration.
SEEDS = list(range(2, 12))
TEST_SEED, NUM_SCENARIOS = 3000, 100
POINTS = (0, 1, 2, 5, 10)
# Where policies are scored, in the east of New York too; all learn in random networks.
PLACES = {
    "random": SpectrumPlace(),
    "nycmesh": SpectrumPlace(ScenarioFamily(network="nycmesh")),
}
EVERY = 10
LOGGED = ("reward", "throughput_mbit_s", "entropy", "explained_variance")
VALIDATED = tuple(f"validation_throughput_mbit_s_{point}" for point in (0, 2))
THROUGHPUT = "throughput_mbit_s"


def folder_of(suffix: str, seed: int) -> Path:
    """Runs of a variant and seed."""
    return RUNS.with_name(RUNS.name + suffix) / str(seed)


def train(seeds: list[int], jobs: int, suffix: str) -> None:
    """All agents of each seed."""

    def learn(task: tuple[int, str]) -> None:
        seed, agent = task
        words = [f"--model.init_args.agent={agent}", f"--model.init_args.seed={seed}"]
        folder = folder_of(suffix, seed) / agent
        seconds = fit(folder, f"spectrum_allocation{suffix}", *words)
        print(f"{agent} {seed}: {seconds / 60:.1f} minutes", flush=True)

    began = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(learn, [(seed, agent) for seed in seeds for agent in MEMORY_OF]))
    print(f"all: {(time.monotonic() - began) / 60:.1f} minutes")


def score(seed: int, suffix: str) -> None:
    """Let every run of a seed adapt to the test scenarios."""
    stem = RESULTS / f"spectrum{suffix}"
    settings = read_section(f"spectrum_allocation{suffix}", "compare")
    finetuning, baselines = Finetuning(**settings["finetuning"]), settings["baselines"]
    for network, place in PLACES.items():
        here = place if suffix == "" else replace(place, edges="none")
        trained = find_spectrum(folder_of(suffix, seed), here)
        scores = compare_spectrum(
            trained, here, NUM_SCENARIOS, POINTS, TEST_SEED, finetuning, baselines
        )
        after: list[Sequence[object]] = []
        during: list[Sequence[object]] = []
        for policy, of_seeds in scores.items():
            for number, one in of_seeds.items():
                key = (policy, "" if number is None else number)
                after += [(*key, point, *_means(m)) for point, m in one.after.items()]
                during += [(*key, n, *_means(m)) for n, m in enumerate(one.during, start=1)]
        header = ("policy", "seed", "episodes", *METRICS)
        add(stem.with_name(f"{stem.name}_{network}.csv"), header, after)
        add(stem.with_name(f"{stem.name}_{network}_during.csv"), header, during)
    add_curves(stem, folder_of(suffix, seed), seed, LOGGED, VALIDATED, EVERY)


def _means(metrics: Metrics) -> list[str]:
    return [f"{float(getattr(metrics, name).mean()):.5g}" for name in METRICS]


def column(rows: Iterable[Row], policy: str, episodes: int, name: str) -> dict[str, float]:
    """Values of a policy after some episodes, by seed; a baseline's seed is empty."""
    return {
        row["seed"]: float(row[name])
        for row in rows
        if row["policy"] == policy and int(row["episodes"]) == episodes
    }


def middle(values: Iterable[float], digits: int = 3) -> str:
    """Inter-quartile mean over seeds with its interval."""
    found = torch.tensor(list(values), dtype=torch.float64).unsqueeze(-1)
    return interval_cell(interquartile_mean(found), digits)


def metrics_table(rows: list[Row], episodes: int) -> list[str]:
    """All policies after some episodes, best first."""
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    policies.sort(key=lambda p: -max(column(rows, p, episodes, THROUGHPUT).values()))
    lines = [f"\n**After {episodes} episodes**\n"]
    lines += [f"| policy | seeds | {' | '.join(title for title, _ in COLUMNS.values())} |"]
    lines += ["|---" * (len(COLUMNS) + 2) + "|"]
    for policy in policies:
        cells = [
            middle(column(rows, policy, episodes, name).values(), digits)
            for name, (_, digits) in COLUMNS.items()
        ]
        learned = [seed for seed in column(rows, policy, episodes, THROUGHPUT) if seed]
        lines.append(f"| {policy} | {len(learned) or ''} | {' | '.join(cells)} |")
    return lines


def claims(rows: list[Row], episodes: int) -> list[str]:
    """Ratios by seed, and probabilities of improvement, after some episodes."""
    lines = []
    for name in (THROUGHPUT, "sinr_violation", "latency_violation"):
        for better, worse in CLAIMED:
            first, second = (column(rows, p, episodes, name) for p in (better, worse))
            if not first or not second:
                continue
            other = {seed: second.get(seed, second.get("", 0.0)) for seed in first}
            over = [value / max(other[seed], 1e-9) for seed, value in first.items()]
            text = f"- {name}, {better} over {worse}: {middle(over)}"
            if name == THROUGHPUT:
                chance = probability_of_improvement(_column(first), _column(second))
                text += f"; P(more) {interval_cell(chance, 2)}"
            lines.append(text)
    return lines


def _column(values: dict[str, float]) -> Tensor:
    found = torch.tensor(list(values.values()), dtype=torch.float64).unsqueeze(-1)
    return certain(found) if "" in values else found


def safety(during: list[Row], episodes: int) -> list[str]:
    """Violations of the first episodes, while policies still learned."""
    lines = [f"\n**While they adapt: means over the first {episodes} episodes**\n"]
    titles = ("policy", *(title for title, _ in COLUMNS.values()))
    lines += [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for policy in dict.fromkeys(row["policy"] for row in during):
        cells = []
        for name, (_, digits) in COLUMNS.items():
            of_seeds: dict[str, list[float]] = {}
            for row in during:
                if row["policy"] == policy and int(row["episodes"]) <= episodes:
                    of_seeds.setdefault(row["seed"], []).append(float(row[name]))
            cells.append(middle([sum(v) / len(v) for v in of_seeds.values()], digits))
        lines.append(f"| {policy} | {' | '.join(cells)} |")
    return lines


def table(suffix: str) -> list[str]:
    """Lines of the tables of a variant."""
    stem = RESULTS / f"spectrum{suffix}"
    runs = read(stem.with_name(f"{stem.name}_runs.csv"))
    sources = {row["sources"] for row in runs}
    require(len(sources) <= 1, "runs", "be of the same sources", sorted(sources))
    lines = ["# Spectrum allocation (paper C)"]
    for network in PLACES:
        rows = read(stem.with_name(f"{stem.name}_{network}.csv"))
        lines += [f"\n## {network}: {NUM_SCENARIOS} unseen scenarios"]
        for episodes in POINTS:
            lines += metrics_table(rows, episodes)
        lines += [f"\n**Ratios and chances after 5 episodes** ({SCRATCH} is the paper's baseline,"]
        lines += [f"{PRETRAINED} and {FROZEN} are the fair ones)\n", *claims(rows, 5)]
        lines += safety(read(stem.with_name(f"{stem.name}_{network}_during.csv")), 5)
    minutes = minutes_of_seeds(runs)
    return [*lines, f"\nMinutes of one core for all trainings of a seed: {minutes}.", ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("train", "score", "table"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--variant", choices=("flat",), help="the paper's networks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    suffix = "" if arguments.variant is None else f"_{arguments.variant}"
    if arguments.step == "train":
        train(arguments.seeds, arguments.jobs, suffix)
    elif arguments.step == "score":
        for seed in arguments.seeds:
            score(seed, suffix)
    else:
        text = "\n".join(table(suffix))
        write_atomically(RESULTS / f"spectrum{suffix}.md", text.encode(), name="results")
        print(text)


if __name__ == "__main__":
    main()
