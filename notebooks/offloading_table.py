"""Tables of paper D's study, made from its CSV files alone (see `offloading_study.py`)."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from statistics import median

import torch
from study_runs import Row, read
from study_tables import middle
from torch import Tensor

from metagnn.commands.compare_offloading import COLUMNS
from metagnn.commands.options import interval_cell
from metagnn.graphs.checks import require
from metagnn.offloading_comparison import CLAIMED
from metagnn.seed_statistics import (
    certain,
    mean_difference,
    probability_of_improvement,
    ratio_of_means,
)

RESULTS = Path(__file__).parent / "results"
# What the heuristic trades (see `offloading_heuristic.py`).
HEURISTIC = RESULTS / "offloading_heuristic.csv"
BYTES = "signalling_bytes"
TRAINED_HERE = ", trained here"
# Where a variant learned, if not on the network on which it is at home.
LEARNED_IN = {"_mixed": "6 cells of 2 to 16 users"}
# What is kept of each network by itself.
BY_NETWORK = ("met", "energy_j")
OWN_ACTORS, RARE = "maddpg, own actors", "federated, averaged every 40 episodes"
LOOKING_AHEAD, UNGUIDED = "maddpg, discount 0.8", "maddpg, no prior"
# What stands beside the main study: suffix of the files, algorithm, name in the table.
BESIDE = (
    ("_own", "maddpg", OWN_ACTORS),
    ("_rare", "federated", RARE),
    ("_discounted", "maddpg", LOOKING_AHEAD),
    ("_unguided", "maddpg", UNGUIDED),
)
# Of own actors: what sharing the actor gives, and what the central critic alone gives.
PAIRS = (
    *CLAIMED,
    ("maddpg", "coordinated"),
    ("maddpg", OWN_ACTORS),
    ("maddpg", LOOKING_AHEAD),
    ("maddpg", UNGUIDED),
    (OWN_ACTORS, "independent"),
    (OWN_ACTORS, "federated"),
    (RARE, "independent"),
    ("federated", RARE),
)
# A run has not collapsed if the deadlines met on validation networks are at the end no further
# below its best validation before than this.
COLLAPSE = 0.02


def with_ratios(rows: Iterable[Row]) -> list[Row]:
    """Rows with the columns of the table that are ratios of others."""
    return [
        {
            **row,
            "met_of_allowed": str(float(row["met"]) / float(row["allowed"])),
            "energy_over_bound": str(float(row["energy_j"]) / float(row["bound_j"])),
        }
        for row in rows
    ]


def column(rows: Iterable[Row], policy: str, name: str) -> dict[str, float]:
    """Values of a policy by seed."""
    return {row["seed"]: float(row[name]) for row in rows if row["policy"] == policy}


def main_table(rows: list[Row]) -> list[str]:
    """All policies, best first."""
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    policies.sort(key=lambda policy: -max(column(rows, policy, "met").values()))
    lines = [f"| policy | seeds | {' | '.join(title for title, _, _ in COLUMNS.values())} |"]
    lines += ["|---" * (len(COLUMNS) + 2) + "|"]
    for policy in policies:
        cells = [
            middle(column(rows, policy, name).values(), digits, scale)
            for name, (_, digits, scale) in COLUMNS.items()
        ]
        learned = [seed for seed in column(rows, policy, "met") if seed]
        lines.append(f"| {policy} | {len(learned) or ''} | {' | '.join(cells)} |")
    return lines


def chances(rows: list[Row], pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Probabilities that a run meets more deadlines, and that it needs less energy."""
    lines = []
    for better, worse in pairs:
        found = [_values(rows, policy, "met") for policy in (better, worse)]
        if min(map(len, found)) == 0:
            continue
        more = probability_of_improvement(*found)
        energies = [-_values(rows, policy, "energy_j") for policy in (better, worse)]
        less = probability_of_improvement(*energies)
        texts = (interval_cell(more, 2), interval_cell(less, 2))
        lines.append(
            f"- P({better} > {worse}) in deadlines met: {texts[0]}; less energy: {texts[1]}"
        )
    return lines


def _values(rows: list[Row], policy: str, name: str) -> Tensor:
    found = column(rows, policy, name)
    values = torch.tensor(list(found.values()), dtype=torch.float64).unsqueeze(-1)
    return certain(values) if "" in found else values


def ratios(rows: list[Row]) -> list[str]:
    """What the paper says of its algorithms, as ratios by seed."""
    found = []
    energy, met, sent = (
        {policy: column(rows, policy, name) for policy in ("maddpg", "federated", RARE)}
        for name in ("energy_j", "met", BYTES)
    )
    (whole,) = column(rows, "full offloading", "energy_j").values()
    for policy in ("maddpg", "federated"):
        values = [value / whole for value in energy[policy].values()]
        if values:
            found.append(f"- Energy of {policy} over that of full offloading: {middle(values)}")
    titles = {
        "Deadlines met by {} over those of maddpg (paper: about 0.85)": met,
        "Energy of {} over that of maddpg (paper: slightly more than 1)": energy,
        "Bytes of signalling per episode and network of {} over those of maddpg": sent,
    }
    for policy in ("federated", RARE):
        shared = sorted(met["maddpg"].keys() & met[policy].keys())
        for title, of in titles.items():
            values = [of[policy][seed] / of["maddpg"][seed] for seed in shared]
            if values:
                found.append(f"- {title.format(policy)}: {middle(values)}")
    return found


def over_networks(rows: list[Row], better: str, worse: str) -> list[str]:
    """How far two policies are apart, for other seeds and other networks alike."""
    titles = {"met": ("more deadlines met", 4, 1.0), "energy_j": ("more energy [mJ]", 2, 1e3)}
    found = []
    for name, (title, digits, scale) in titles.items():
        pair = [_of_networks(rows, policy, name) for policy in (better, worse)]
        if all(len(scores) > 0 for scores in pair):
            found.append(f"{title}: {interval_cell(mean_difference(*pair), digits, scale)}")
    what = f"- {better} less {worse}, for other seeds and networks alike"
    return [f"{what}: {'; '.join(found)}"] if found else []


def _of_networks(rows: list[Row], policy: str, name: str) -> Tensor:
    """Scores ``[S, M]`` of the seeds on M networks."""
    of_seeds: dict[str, list[float]] = {}
    for row in rows:
        if row["policy"] == policy:
            of_seeds.setdefault(row["seed"], []).append(float(row[name]))
    return torch.tensor(list(of_seeds.values()), dtype=torch.float64)


def at_equal_guarantee(rows: list[Row], curve: list[Row]) -> list[str]:
    """Energy of MA-DRL over the heuristic's least at the same guarantee, by seed."""
    over, beyond = [], 0
    for seed, met in column(rows, "maddpg", "met").items():
        energy = heuristic_energy_j(curve, met)
        beyond += energy is None
        if energy is not None:
            over.append(column(rows, "maddpg", "energy_j")[seed] / energy)
    lines = []
    if over:
        what = f"- Energy of {len(over)} runs of maddpg over the heuristic's at equal guarantee"
        lines.append(f"{what}: {middle(over)}")
    if beyond:
        rest = "the heuristic with any margin and preference"
        lines.append(f"- Runs of maddpg that meet more deadlines than {rest}: {beyond}")
    return lines


def heuristic_energy_j(curve: list[Row], met: float) -> float | None:
    """The least energy with which the heuristic meets a share of deadlines; None if it cannot.

    It may take one margin and preference in some networks and others in the rest.
    """
    points = [(float(row["met"]), float(row["energy_j"])) for row in curve]
    more, less = ([p for p in points if (p[0] >= met) == above] for above in (True, False))
    found = [energy for _, energy in more]
    for (high, first), (low, second) in product(more, less):
        part = (met - low) / (high - low)
        found.append(second + part * (first - second))
    return min(found, default=None)


def against_retrained(rows: list[Row]) -> list[str]:
    """What policies from elsewhere reach of those that were trained here."""
    lines = []
    for name, title in (("met", "Deadlines met"), ("energy_j", "Energy")):
        here, there = (_values(rows, p, name) for p in (f"maddpg{TRAINED_HERE}", "maddpg"))
        if len(here) > 0:
            ratio = interval_cell(ratio_of_means(there, here), 3)
            lines.append(f"- {title} of maddpg over that of maddpg{TRAINED_HERE}: {ratio}")
    return lines


def collapses(curves: list[Row]) -> list[str]:
    """How far each run's last validation is below its best one, by seed, without exploration."""
    seeds = sorted({row["seed"] for row in curves}, key=int)
    runs = list(dict.fromkeys(row["run"] for row in curves))
    rows, fell, number = [], 0, 0
    for run in runs:
        cells = []
        for seed in seeds:
            met = [
                float(row["value"])
                for row in curves
                if (row["run"], row["seed"], row["logged"]) == (run, seed, "validation_met")
            ]
            if met:
                fallen = met[-1] - max(met)
                number += 1
                fell += fallen < -COLLAPSE
            cells.append(f"{fallen:+.3f}" if met else "")
        rows.append(f"| {run} | {' | '.join(cells)} |")
    return [
        "\n**Collapse of the training**\n",
        "Deadlines met on validation networks at the end of the training, less the most at any",
        f"validation. Of {number} runs {fell} fell by more than {COLLAPSE}.\n",
        f"| run | {' | '.join(seeds)} |",
        "|---" * (len(seeds) + 1) + "|",
        *rows,
    ]


def minutes(runs: list[Row]) -> list[str]:
    """Minutes that a training took, over seeds."""
    lines = [
        "\n**Minutes of a training, two to four of them side by side on two cores**\n",
        "| run | median | longest |",
        "|---|---|---|",
    ]
    for run in dict.fromkeys(row["run"] for row in runs):
        took = [float(row["seconds"]) / 60 for row in runs if row["run"] == run]
        lines.append(f"| {run} | {median(took):.1f} | {max(took):.1f} |")
    return lines


def _file(rest: str) -> Path:
    return RESULTS / f"offloading{rest}.csv"


def lines_of(suffix: str, home: str, elsewhere: Sequence[str]) -> list[str]:
    """Lines of the study of a variant.

    Args:
        suffix: Of the names of its files.
        home: Network on which all algorithms learned.
        elsewhere: Networks on which they were scored too.
    """
    runs = read(_file(f"{suffix}_runs"))
    beside = BESIDE if suffix == "" else ()
    all_runs = [*runs, *(r for name, *_ in beside for r in read(_file(f"{name}_runs")))]
    sources = {row["sources"] for row in all_runs}
    require(len(sources) == 1, "runs", "be there, and of the same sources", sorted(sources))
    lines = [f"# Offloading (paper D){suffix.replace('_', ', ')}"]
    for network in (home, *elsewhere):
        rows = with_ratios(read(_file(f"{suffix}_{network}")))
        for name, algorithm, title in beside if network == home else ():
            found = with_ratios(read(_file(f"{name}_{home}")))
            rows += [{**row, "policy": title} for row in found if row["policy"] == algorithm]
        learned_in = LEARNED_IN.get(suffix, home)
        lines += [
            f"\n**{network}**{'' if network == learned_in else f', trained on {learned_in}'}\n"
        ]
        if not rows:
            lines += ["Not measured."]
            continue
        lines += [*main_table(rows), ""]
        if network == home:
            lines += [*chances(rows, PAIRS), *ratios(rows)]
            alone = read(_file(f"{suffix}_networks"))
            for worse in ("heuristic", "independent", "full offloading"):
                lines += over_networks(alone, "maddpg", worse)
            if suffix == "":
                curve = read(HEURISTIC)
                require(len(curve) > 0, "heuristic", f"be measured first ({HEURISTIC.name})", 0)
                lines += at_equal_guarantee(rows, curve)
        else:
            lines += chances(rows, [("maddpg", f"maddpg{TRAINED_HERE}"), *CLAIMED])
            lines += against_retrained(rows)
    lines += [
        "\nEnergies per task. Trained policies: inter-quartile means over seeds with 95 %",
        "bootstrap intervals. The bound is on the energy of meeting all deadlines. `fixed` and",
        "`melbourne` are one network each, of which ten copies differ in fading, tasks and",
        "processors; all else is scored on 100 random networks. Signalling: what the sites of one",
        "network send in training. On `melbourne` batches and the replay were smaller, so what was",
        "trained there saw less than what was trained elsewhere. Intervals and chances are of",
        "training seeds; the networks, and what happens on them, are the same for all.",
    ]
    lines += collapses(read(_file(f"{suffix}_curves")))
    return [*lines, *minutes(runs)]
