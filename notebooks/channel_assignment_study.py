"""Paper B, measured: all schemes in all scenarios from several seeds, as CSV files.

``python notebooks/channel_assignment_study.py train --seeds 0 1 2`` runs `metagnn fit` for every
seed (a meta-training, then four schemes in three scenarios) under ``runs/channel_assignment``,
two at a time, and goes on where it stopped. ``... score`` writes to ``notebooks/results``
``channel_assignment_6_users.csv`` (sum energy efficiency, share of the optimum, success rate per
seed, scheme, scenario) and ``.md`` (means with intervals, probabilities of improvement). Test
cells have seed 3000 and are used for no choice.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from metagnn.assignment_comparison import (
    assignment_metrics,
    compare_assignment,
    find_trained,
)
from metagnn.commands.options import interval_cell
from metagnn.files import write_atomically, write_csv
from metagnn.seed_statistics import probability_of_improvement

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
TEST_SEED = 3000


def fit(folder: Path, config: str, *words: str) -> float:
    """Run `metagnn fit` into a folder unless it is there, and return the seconds it took."""
    if (folder / "done").exists():
        return float((folder / "done").read_text())
    shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    save = f"--trainer.logger.init_args.save_dir={folder.parent}"
    name = f"--trainer.logger.init_args.name={folder.name}"
    # Half of the training is MFRL_early.
    keep = ["--checkpoint.every_n_epochs=500", "--checkpoint.save_top_k=-1"]
    command = [
        sys.executable,
        "-m",
        "metagnn",
        "fit",
        "--config",
        config,
        save,
        name,
        *keep,
        *words,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    folder.mkdir(parents=True)
    with (folder / "log").open("w") as log:
        subprocess.run(command, check=True, env=environment, stderr=log)
    seconds = time.monotonic() - began
    (folder / "done").write_text(f"{seconds:.1f}")
    return seconds


def checkpoint(folder: Path) -> Path:
    """The end of a run."""
    return folder / "version_0/checkpoints/last.ckpt"


def train(seeds: list[int], jobs: int, suffix: str) -> None:
    """Meta-training and all adaptations of each seed."""
    root = RUNS.with_name(RUNS.name + suffix)
    for seed in seeds:
        began = time.monotonic()
        draws = f"--model.init_args.seed={seed}"
        meta = root / f"meta/{seed}"
        fit(meta, f"channel_assignment_meta{suffix}", draws)
        start = f"--model.init_args.start_from={checkpoint(meta).resolve()}"

        def adapt(task: tuple[str, str], seed: int = seed, start: str = start) -> None:
            scenario, scheme = task
            words = [f"--model.init_args.cell.scenario={scenario}", start]
            words += [f"--model.init_args.scheme={scheme}", f"--model.init_args.seed={seed}"]
            folder = root / f"users/{scenario}-{scheme}-{seed}"
            fit(folder, f"channel_assignment_adapt{suffix}", *words)

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(adapt, [(a, b) for a in SCENARIOS for b in SCHEMES]))
        print(f"seed {seed}: {(time.monotonic() - began) / 60:.1f} minutes", flush=True)


def score(num_users: int, suffix: str) -> None:
    """Score every run on the test cells."""
    trained = find_trained(RUNS.with_name(RUNS.name + suffix))
    scores = compare_assignment(trained, SCENARIOS, num_users, 100, 100, TEST_SEED)
    rows, lines = [], []
    for scenario, policies in scores.items():
        for policy, of_seeds in policies.items():
            for seed, one in of_seeds.items():
                values = [one.efficiency.mean() / 1e6, one.share]
                values += [one.success_rate.mean(), one.snr_rate.mean()]
                number = "" if seed is None else seed
                rows.append((scenario, policy, number, *(f"{float(v):.5f}" for v in values)))
        metrics = assignment_metrics(policies)
        lines += [f"\n**{scenario}**, {num_users} users\n"]
        lines += ["| policy | seeds | sum EE [Mbit/J] | share of the optimum | no collision |"]
        lines += ["|---|---|---|---|---|"]
        for policy in (p for p in ORDER if p in metrics):
            m = metrics[policy]
            cells = [interval_cell(m["sum_efficiency"], 1, 1e-6)]
            cells += [interval_cell(m[k]) for k in ("share_of_optimum", "success_rate")]
            lines.append(f"| {policy} | {len(policies[policy])} | {' | '.join(cells)} |")
        lines.append("")
        for better, worse in (("mfrl", "frl"), ("mfrl", "mrl"), ("mrl", "marl"), ("frl", "marl")):
            if better in policies and worse in policies:
                a, b = (
                    torch.stack([s.efficiency.mean() for s in policies[name].values()])
                    for name in (better, worse)
                )
                chance = probability_of_improvement(a.unsqueeze(-1), b.unsqueeze(-1))
                lines.append(f"- P({better} > {worse}) in sum EE: {interval_cell(chance, 2)}")
    header = ["scenario", "policy", "seed", "sum_ee_mbit_j", "share", "success_rate", "snr_rate"]
    name = f"channel_assignment{suffix}_{num_users}_users"
    write_csv(RESULTS / f"{name}.csv", header, rows)
    text = "\n".join(["# Channel assignment (paper B)", *lines, ""])
    write_atomically(RESULTS / f"{name}.md", text.encode(), name="results")
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("train", "score"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--num-users", type=int, default=6)
    parser.add_argument("--paper", action="store_true", help="the paper's own networks and rates")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    suffix = "_paper" if arguments.paper else ""
    if arguments.step == "train":
        train(arguments.seeds, arguments.jobs, suffix)
    else:
        score(arguments.num_users, suffix)


if __name__ == "__main__":
    main()
