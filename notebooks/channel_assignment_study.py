"""Paper B, measured: all schemes in all scenarios from several seeds, as CSV files.

``python notebooks/channel_assignment_study.py train --seeds 2 3 4`` runs `metagnn fit` for every
seed (a meta-training, then four schemes in three scenarios) under ``runs/channel_assignment``, two
at a time, and goes on where it stopped. ``... score --seeds 2 3 4`` scores what is finished, and
adds it to the files in ``notebooks/results``: ``channel_assignment_6_users.csv`` (sum energy
efficiency, share of the optimum, success rate per seed, scheme, scenario), ``..._3_users.csv`` and
so on (numbers of users that nobody learned with), ``..._cells.csv`` (the first ten cells),
``..._curves.csv`` (what the runs logged), ``..._runs.csv`` (how long they took, of which sources).
``... table`` writes ``channel_assignment.md`` from these (means with intervals, probabilities of
improvement). Test cells have seed 3000 and are used for no choice.
"""

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from study_runs import Row, add, add_curves, checkpoint, fit, minutes_of_seeds, read

from metagnn.assignment_comparison import CLAIMED, compare_assignment, find_trained
from metagnn.commands.options import interval_cell
from metagnn.files import write_atomically
from metagnn.graphs.checks import require
from metagnn.seed_statistics import interquartile_mean, probability_of_improvement

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
# Numbers of users that are scored; policies learned with six, the base station's with 2, 4 and 8.
NUM_USERS = (6, 3, 5, 7, 10)
# Cells of Figure 5.
NUM_SHOWN = 10
# Half of the training is MFRL_early.
KEEP = ("--checkpoint.every_n_epochs=500", "--checkpoint.save_top_k=-1")
# Episodes over which the curves are averaged.
EVERY = 50
LOGGED = ("reward", "reward_2", "reward_4", "reward_8", "entropy")
VALIDATED = ("validation_share_6", "validation_sum_efficiency_mbit_j_6")
# What adaptation adds to the base station's model.
BESIDE = (("mfrl", "meta"), ("mrl", "meta"))
SCORED = ("sum_ee_mbit_j", "share", "success_rate", "snr_rate")


def folder_of(suffix: str) -> Path:
    """Runs of a variant."""
    return RUNS.with_name(RUNS.name + suffix)


def train(seeds: list[int], jobs: int, suffix: str) -> None:
    """Meta-training and all adaptations of each seed: several seeds, or runs of one, at a time."""
    root = folder_of(suffix)
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


def score(seed: int, num_users: int, suffix: str) -> None:
    """Score every run of a seed on the test cells."""
    trained = find_trained(folder_of(suffix) / str(seed))
    scores = compare_assignment(trained, SCENARIOS, num_users, 100, 100, TEST_SEED)
    rows: list[Sequence[object]] = []
    cells: list[Sequence[object]] = []
    for scenario, policies in scores.items():
        for policy, of_seeds in policies.items():
            for number, one in of_seeds.items():
                key = (scenario, policy, "" if number is None else number)
                values = [one.efficiency.mean() / 1e6, one.share]
                values += [one.success_rate.mean(), one.snr_rate.mean()]
                rows.append((*key, *(f"{float(v):.5f}" for v in values)))
                shown = one.efficiency[:NUM_SHOWN] / 1e6
                cells += [
                    (*key, cell, f"{v:.4f}") for cell, v in enumerate(shown.tolist(), start=1)
                ]
    name = f"channel_assignment{suffix}"
    keys = ("scenario", "policy", "seed")
    add(RESULTS / f"{name}_{num_users}_users.csv", (*keys, *SCORED), rows)
    if num_users == 6:
        add(RESULTS / f"{name}_cells.csv", (*keys, "cell", SCORED[0]), cells)


def table(suffix: str) -> list[str]:
    """Lines of the table of a variant."""
    name = f"channel_assignment{suffix}"
    runs = read(RESULTS / f"{name}_runs.csv")
    sources = {row["sources"] for row in runs}
    require(len(sources) <= 1, "runs", "be of the same sources", sorted(sources))
    lines = [f"# Channel assignment (paper B){suffix.replace('_', ', ')}"]
    for scenario in SCENARIOS:
        rows = [r for r in read(RESULTS / f"{name}_6_users.csv") if r["scenario"] == scenario]
        lines += [f"\n**{scenario}**, 6 users\n"]
        titles = ("sum EE [Mbit/J]", "share of the optimum", "no collision", "above the SNR floor")
        lines += [f"| policy | seeds | {' | '.join(titles)} |", "|---" * 6 + "|"]
        learned = {r["policy"] for r in rows if r["seed"]}
        values = {
            policy: torch.tensor(
                [[float(r[c]) for c in SCORED] for r in rows if r["policy"] == policy]
            )
            for policy in ORDER
            if any(r["policy"] == policy for r in rows)
        }
        for policy, found in values.items():
            middle = [interquartile_mean(column.unsqueeze(-1)) for column in found.T]
            columns = [interval_cell(middle[0], 1), *map(interval_cell, middle[1:])]
            number = len(found) if policy in learned else ""
            lines.append(f"| {policy} | {number} | {' | '.join(columns)} |")
        lines.append("")
        for better, worse in (*CLAIMED, *BESIDE):
            # One run says nothing of others.
            if min(len(values.get(name, ())) for name in (better, worse)) > 1:
                pair = (values[better][:, :1], values[worse][:, :1])
                chance = interval_cell(probability_of_improvement(*pair), 2)
                lines.append(f"- P({better} > {worse}) in sum EE: {chance}")
    scored = {number: read(RESULTS / f"{name}_{number}_users.csv") for number in sorted(NUM_USERS)}
    scored = {number: rows for number, rows in scored.items() if rows}
    if len(scored) > 1:
        lines += by_users(scored)
    minutes = minutes_of_seeds(runs)
    return [
        *lines,
        f"\nMinutes of all trainings of a seed, one after the other, beside other work: {minutes}.",
    ]


def by_users(scored: dict[int, list[Row]]) -> list[str]:
    """Lines of the table of other numbers of users."""
    lines = ["\n**Share of the optimum with other numbers of users**\n"]
    lines += [f"| scenario | policy | {' | '.join(map(str, scored))} |"]
    lines += ["|---" * (len(scored) + 2) + "|"]
    for scenario in SCENARIOS:
        for policy in ("mfrl", "mfrl_early", "meta", "frl", "greedy"):
            cells = []
            for rows in scored.values():
                mine = [r for r in rows if (r["scenario"], r["policy"]) == (scenario, policy)]
                shares = torch.tensor([[float(r["share"])] for r in mine])
                cells.append(interval_cell(interquartile_mean(shares)) if mine else "")
            lines.append(f"| {scenario} | {policy} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("train", "score", "table"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
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
    elif arguments.step == "score":
        for seed in arguments.seeds:
            for num_users in NUM_USERS if suffix == "" else NUM_USERS[:1]:
                score(seed, num_users, suffix)
            stem = RESULTS / f"channel_assignment{suffix}"
            add_curves(stem, folder_of(suffix) / str(seed), seed, LOGGED, VALIDATED, EVERY)
    else:
        lines = [*table(suffix), ""]
        path = RESULTS / f"channel_assignment{suffix}.md"
        write_atomically(path, "\n".join(lines).encode(), name="results")
        print("\n".join(lines))


if __name__ == "__main__":
    main()
