"""Tables of paper D's study, made from its CSV files alone (see `offloading_study.py`)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from study_runs import Row, minutes_of_seeds, read
from torch import Tensor

from metagnn.commands.compare_offloading import COLUMNS
from metagnn.commands.options import interval_cell
from metagnn.graphs.checks import require
from metagnn.offloading_comparison import CLAIMED
from metagnn.seed_statistics import certain, interquartile_mean, probability_of_improvement

RESULTS = Path(__file__).parent / "results"
BYTES = "signalling_bytes"
TRAINED_HERE = ", trained here"
OWN_ACTORS, RARE = "maddpg, own actors", "federated, averaged every 40 episodes"
# What stands beside the main study: suffix of the files, algorithm, name in the table.
BESIDE = (("_own", "maddpg", OWN_ACTORS), ("_rare", "federated", RARE))
# Of own actors: what sharing the actor gives, and what the central critic alone gives.
PAIRS = (
    *CLAIMED,
    ("maddpg", OWN_ACTORS),
    (OWN_ACTORS, "independent"),
    (OWN_ACTORS, "federated"),
    (RARE, "independent"),
    ("federated", RARE),
)
# A run has not collapsed if over the last tenth of its episodes neither is further below its best
# tenth before: share of deadlines met, and reward per user [J], of which a missed deadline may
# cost four.
MARGINS = {"met": 0.02, "reward": 0.1}


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


def middle(values: Iterable[float], digits: int = 3, scale: float = 1.0) -> str:
    """Inter-quartile mean over seeds with its interval."""
    found = interquartile_mean(torch.tensor(list(values), dtype=torch.float64).unsqueeze(-1))
    return interval_cell(found, digits, scale)


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


def falls(values: Sequence[float]) -> float:
    """Mean over the last tenth less that over the best tenth before it, of a curve."""
    size = max(1, len(values) // 10)
    curve = torch.tensor(values, dtype=torch.float64)
    require(len(curve) > size, "curve", f"have more than {size} values", len(curve))
    before = curve[:-size].unfold(0, size, 1).mean(-1)
    return float(curve[-size:].mean() - before.max())


def collapses(curves: list[Row]) -> list[str]:
    """How far each run has fallen from its best, by seed."""
    seeds = sorted({row["seed"] for row in curves}, key=int)
    limits = " and ".join(f"{margin} of {name}" for name, margin in MARGINS.items())
    lines = [
        "\n**Collapse of the training**\n",
        "Last tenth of the episodes less the best tenth before, deadlines met / reward per user, "
        f"with exploration; further below than {limits} is a collapse (!).\n",
        f"| run | {' | '.join(seeds)} |",
        "|---" * (len(seeds) + 1) + "|",
    ]
    for run in dict.fromkeys(row["run"] for row in curves):
        cells = []
        for seed in seeds:
            mine = [row for row in curves if (row["run"], row["seed"]) == (run, seed)]
            fallen = {
                name: falls([float(row["value"]) for row in mine if row["logged"] == name])
                for name in MARGINS
                if mine
            }
            broken = any(value < -MARGINS[name] for name, value in fallen.items())
            cells.append(" / ".join(f"{v:+.3f}" for v in fallen.values()) + " !" * broken)
        lines.append(f"| {run} | {' | '.join(cells)} |")
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
        if not rows:
            continue
        lines += [f"\n**{network}**{'' if network == home else f', trained on {home}'}\n"]
        lines += [*main_table(rows), ""]
        if network == home:
            lines += [*chances(rows, PAIRS), *ratios(rows)]
        else:
            lines += chances(rows, [("maddpg", f"maddpg{TRAINED_HERE}"), *CLAIMED])
    lines += [
        "\nEnergies per task. Trained policies: inter-quartile means over seeds with 95 %",
        "bootstrap intervals. The bound is on the energy of meeting all deadlines. `fixed` and",
        "`melbourne` are one network each, of which ten copies differ in fading, tasks and",
        "processors; all else is scored on 100 random networks. Signalling: what the sites of one",
        "network send in training.",
    ]
    lines += collapses(read(_file(f"{suffix}_curves")))
    return [*lines, f"\nMinutes of one core for all trainings of a seed: {minutes_of_seeds(runs)}."]
