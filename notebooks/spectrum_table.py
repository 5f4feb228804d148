"""Tables of paper C from the CSV files of `spectrum_study.py`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from study_runs import Row, read
from study_tables import middle
from torch import Tensor

from metagnn.commands.compare_spectrum import COLUMNS
from metagnn.commands.options import interval_cell
from metagnn.graphs.checks import require
from metagnn.seed_statistics import (
    certain,
    mean_difference,
    probability_of_improvement,
    ratio_of_means,
)
from metagnn.spectrum_comparison import FROZEN, PRETRAINED, SCRATCH
from metagnn.tasks.spectrum_allocation.baselines import BASELINES

RESULTS = Path(__file__).parent / "results"
THROUGHPUT = "throughput_mbit_s"
META = ("attention", "recurrent", "maml")
# PPO with the paper's flat network, from scratch.
FLAT_SCRATCH = "flat ppo from scratch"
RIVALS = (
    *(FLAT_SCRATCH, SCRATCH, PRETRAINED, FROZEN, "maml", "recurrent"),
    *("reported max weight", "proportional fair", "max weight", "exhaustive"),
)
# What is set beside what rivals have.
RATIOS = (THROUGHPUT, "sinr_violation", "latency_violation", "jain")
# Episodes after which policies are compared.
FEW = 5
VALIDATED = tuple(f"validation_{THROUGHPUT}_{point}" for point in (0, FEW))
# What is kept of each scenario by itself.
BY_SCENARIO = (THROUGHPUT, "sinr_violation", "latency_violation")
# What learns nothing, beside what learns: how much there is to gain over other policies.
BESIDE = (FROZEN, "reported max weight", "max weight")

# A cell from the values of two policies by seed.
Compared = Callable[[dict[str, float], dict[str, float]], str]


def lines_of(stem: str, points: Mapping[str, Sequence[int]]) -> list[str]:
    """Lines of the tables of a variant, whose files begin with ``stem``.

    Args:
        stem: How their names begin.
        points: Numbers of episodes after which policies were scored, by network.

    Raises:
        ValueError: If its runs were of different sources.
    """
    runs = read(RESULTS / f"{stem}_runs.csv")
    sources = {row["sources"] for row in runs}
    require(len(sources) <= 1, "runs", "be of the same sources", sorted(sources))
    lines = ["# Spectrum allocation (paper C)"]
    for network, numbers in points.items():
        rows = read(RESULTS / f"{stem}_{network}.csv")
        lines += [f"\n## {network}: unseen scenarios"]
        for episodes in numbers:
            lines += metrics_table(rows, episodes)
        known = {row["policy"] for row in rows}
        paper = FLAT_SCRATCH if FLAT_SCRATCH in known else SCRATCH
        lines += [f"\nAfter {FEW} episodes. `{paper}`: network and rate of the paper's code;"]
        lines += [f"`{PRETRAINED}`"]
        lines += [f"(pre-trained) and `{FROZEN}` are the fair ones. Intervals are of training"]
        lines += [
            "seeds; the scenarios, and the episode in which policies are scored, are the same."
        ]
        for name in RATIOS:
            lines += against(rows, name, f"{COLUMNS[name][0]}, ratio", ratio)
        lines += against(rows, THROUGHPUT, "probability of more throughput", chance)
        lines += differences(read(RESULTS / f"{stem}_{network}_scenarios.csv"))
        lines += safety(read(RESULTS / f"{stem}_{network}_during.csv"), rows)
    lines += best_on_validation(read(RESULTS / f"{stem}_curves.csv"))
    lines += ["\n## Minutes of one core for each training\n"]
    of_agents: dict[str, list[float]] = {}
    for row in (row for row in runs if row["seed"]):
        of_agents.setdefault(row["run"], []).append(float(row["seconds"]) / 60)
    found = [[agent, middle(of, 1), f"{max(of):.1f}"] for agent, of in of_agents.items()]
    return [*lines, *_table(("agent", "minutes", "at most"), found)]


def column(rows: Iterable[Row], policy: str, episodes: int, name: str) -> dict[str, float]:
    """Values of a policy after some episodes, by seed; a baseline's seed is empty."""
    return {
        row["seed"]: float(row[name])
        for row in rows
        if row["policy"] == policy and int(row["episodes"]) == episodes
    }


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(cells)} |" for cells in (titles, *rows)]
    return [lines[0], "|---" * len(titles) + "|", *lines[1:]]


def metrics_table(rows: list[Row], episodes: int) -> list[str]:
    """All policies after some episodes, best first."""
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    policies.sort(key=lambda p: -max(column(rows, p, episodes, THROUGHPUT).values()))
    found = []
    for policy in policies:
        cells = [
            middle(column(rows, policy, episodes, name).values(), digits)
            for name, (_, digits) in COLUMNS.items()
        ]
        learned = [seed for seed in column(rows, policy, episodes, THROUGHPUT) if seed]
        found.append([policy, str(len(learned) or ""), *cells])
    titles = ("policy", "seeds", *(title for title, _ in COLUMNS.values()))
    return [f"\n**After {episodes} episodes**\n", *_table(titles, found)]


def ratio(first: dict[str, float], second: dict[str, float]) -> str:
    """Ratio of the inter-quartile means."""
    if min(second.values()) <= 0.0:
        return "undefined"
    return interval_cell(ratio_of_means(_column(first), _column(second)), 3)


def chance(first: dict[str, float], second: dict[str, float]) -> str:
    """Probability that a run of the first has more."""
    return interval_cell(probability_of_improvement(_column(first), _column(second)), 2)


def _column(values: dict[str, float]) -> Tensor:
    found = torch.tensor(list(values.values()), dtype=torch.float64).unsqueeze(-1)
    return certain(found) if "" in values else found


def against(rows: list[Row], name: str, title: str, compared: Compared) -> list[str]:
    """What learns beside its rivals after a few episodes."""
    found = []
    here = {row["policy"] for row in rows}
    rivals = [rival for rival in RIVALS if rival in here]
    for policy in (p for p in (*META, PRETRAINED, *BESIDE) if p in here):
        of_policy = column(rows, policy, FEW, name)
        cells = [
            "" if rival == policy else compared(of_policy, column(rows, rival, FEW, name))
            for rival in rivals
        ]
        found.append([policy, *cells])
    return ["", *_table([title, *(f"over {rival}" for rival in rivals)], found)]


def differences(rows: list[Row]) -> list[str]:
    """Throughputs less those of rivals, for other seeds and other scenarios alike."""
    here = list(dict.fromkeys(row["policy"] for row in rows))
    rivals = [rival for rival in RIVALS if rival in here]
    found = []
    for policy in (p for p in (*META, PRETRAINED) if p in here):
        cells = [
            ""
            if rival == policy
            else interval_cell(mean_difference(_alone(rows, policy), _alone(rows, rival)), 2)
            for rival in rivals
        ]
        found.append([policy, *cells])
    title = "throughput [Mbit/s], for other seeds and scenarios"
    return ["", *_table([title, *(f"less {rival}" for rival in rivals)], found)]


def _alone(rows: Iterable[Row], policy: str) -> Tensor:
    """Throughputs ``[S, M]`` of the seeds in M scenarios."""
    of_seeds: dict[str, list[float]] = {}
    for row in rows:
        if row["policy"] == policy:
            of_seeds.setdefault(row["seed"], []).append(float(row[THROUGHPUT]))
    return torch.tensor(list(of_seeds.values()), dtype=torch.float64)


def safety(during: list[Row], rows: list[Row]) -> list[str]:
    """Means over the first episodes, of which policies learned, or all if nothing is learned."""
    found = []
    for policy in dict.fromkeys(row["policy"] for row in during):
        cells = []
        for name, (_, digits) in COLUMNS.items():
            of_seeds: dict[str, list[float]] = {}
            for row in during:
                if row["policy"] == policy and int(row["episodes"]) <= FEW:
                    of_seeds.setdefault(row["seed"], []).append(float(row[name]))
            cells.append(middle([sum(v) / len(v) for v in of_seeds.values()], digits))
        found.append([policy, *cells])
    here = dict.fromkeys(row["policy"] for row in rows)
    for policy in (p for p in here if p == FROZEN or p in BASELINES):
        cells = [
            middle(column(rows, policy, 0, name).values(), digits)
            for name, (_, digits) in COLUMNS.items()
        ]
        found.append([f"{policy} (learns nothing)", *cells])
    titles = ("policy", *(title for title, _ in COLUMNS.values()))
    title = f"While they adapt: means over the first {FEW} episodes"
    note = "What learns nothing has the numbers of the episode in which policies are scored."
    return [f"\n**{title}**\n\n{note}\n", *_table(titles, found)]


def best_on_validation(curves: Iterable[Row]) -> list[str]:
    """Throughput on validation scenarios at the end, by which the best meta agent is told."""
    last: dict[tuple[str, str], tuple[int, float]] = {}
    for row in curves:
        if row["logged"] == VALIDATED[-1]:
            key, episode = (row["run"], row["seed"]), int(row["episode"])
            last[key] = max(last.get(key, (0, 0.0)), (episode, float(row["value"])))
    found = []
    for agent in (*META, PRETRAINED):
        values = [value for (run, _), (_, value) in last.items() if run == agent]
        if values:
            name = FROZEN if agent == PRETRAINED else agent
            found.append([name, str(len(values)), middle(values, 2)])
    titles = ("agent", "seeds", "throughput [Mbit/s]")
    return [f"\n## Validation scenarios, after {FEW} episodes\n", *_table(titles, found)]
