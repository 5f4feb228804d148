"""Tables and figure from the CSV files of `power_control_study.py`: ``results/summary.md``.

Run ``python notebooks/power_control_summary.py``. Ratios are of averages over networks, with 95 %
paired bootstrap intervals over networks.
"""

import csv
from collections import defaultdict
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from metagnn.files import write_atomically
from metagnn.tasks.power_control.metrics import (
    Estimate,
    ratio_of_means,
    share_dominated,
    summarize,
)

RESULTS = Path(__file__).parent / "results"
POLICIES = {
    "metagnn": "MetaGNN, 20 epochs",
    "metagnn_unadapted": "MetaGNN, 0 epochs",
    "metagnn_256_samples": "MetaGNN, 20 epochs of 256 samples",
    "random_initialised_20": "random initialisation, 20 epochs",
    "itlinq": "ITLinQ",
    "wmmse": "WMMSE",
    "fplinq": "FPLinQ",
    "full_power": "full power",
    "random": "random power",
}


def read_rates(path: Path) -> dict[str, list[Tensor]]:
    """Ergodic rates per policy and network of one file."""
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            values[row["policy"]][int(row["network"])].append(float(row["rate"]))
    return {
        policy: [torch.tensor(rates) for _, rates in sorted(networks.items())]
        for policy, networks in values.items()
    }


def cell(estimate: Estimate) -> str:
    """Value and interval."""
    if estimate.low is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def rates_table(study: str) -> list[str]:
    """Mean and minimum rate of every policy for every number of links."""
    lines = ["| K | policy | mean rate | minimum rate | 5th percentile | Jain |", "|" + "---|" * 6]
    for path in files(study):
        for policy, rates in read_rates(path).items():
            m = summarize(rates)
            cells = [cell(m[n]) for n in ("mean_rate", "min_rate", "p5_rate", "jain")]
            lines.append(f"| {size(path)} | {POLICIES[policy]} | {' | '.join(cells)} |")
    return lines


def ratio_table(study: str) -> list[str]:
    """Ratios to ITLinQ, and the share of networks on which it is better on both axes."""
    lines = [
        "| K | policy | mean / ITLinQ's | minimum / ITLinQ's | ITLinQ better on both |",
        "|" + "---|" * 5,
    ]
    minimum: dict[str, list[float]] = defaultdict(list)
    dominated: dict[str, list[float]] = defaultdict(list)
    for path in files(study):
        rates = read_rates(path)
        for policy in rates:
            if not policy.startswith(("metagnn", "random_init")):
                continue
            ratios = [
                ratio_of_means(rates[policy], rates["itlinq"], statistic)
                for statistic in ("mean_rate", "min_rate")
            ]
            worse = share_dominated(rates[policy], rates["itlinq"])
            minimum[policy].append(ratios[1].value)
            dominated[policy].append(worse)
            cells = " | ".join(cell(ratio) for ratio in ratios)
            lines.append(f"| {size(path)} | {POLICIES[policy]} | {cells} | {worse:.0%} |")
    for policy, values in minimum.items():
        share = f"{mean(dominated[policy]):.1%}"
        lines.append(f"| average | {POLICIES[policy]} | | {mean(values):.3f} | {share} |")
    return lines


def epochs_table() -> list[str]:
    """Epochs from scratch until the Lagrangian that the meta-parameters reach."""
    lines = [
        "| K | samples | network | Lagrangian per link: start, 20 epochs | scratch: best, at epoch "
        "| epochs from scratch to the start's | ... to that after 20 epochs |",
        "|" + "---|" * 7,
    ]
    curves: dict[tuple[str, ...], list[tuple[int, float]]] = defaultdict(list)
    for path in sorted(RESULTS.glob("curves_*.csv")):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                key = tuple(row[n] for n in ("num_links", "num_samples", "network", "start"))
                curves[key].append((int(row["epoch"]), float(row["lagrangian"])))
    for (links, samples, network, start), curve in curves.items():
        if start != "meta":
            continue
        values = dict(curve)
        scratch = curves[links, samples, network, "scratch"]
        best = max(scratch, key=lambda point: point[1])
        reached = [
            next((str(e) for e, value in scratch if value >= goal), f"> {scratch[-1][0]}")
            for goal in (values[0], values[20])
        ]
        lines.append(
            f"| {links} | {samples} | {network} | {values[0]:.3f}, {values[20]:.3f} "
            f"| {best[1]:.3f}, {best[0]} | {reached[0]} | {reached[1]} |"
        )
    return lines


def files(study: str) -> list[Path]:
    """Result files of a study, by number of links."""
    return sorted(RESULTS.glob(f"{study}_*.csv"), key=size)


def size(path: Path) -> int:
    """Number of links in a result file's name."""
    return int(path.stem.rpartition("_")[2])


def main() -> None:
    """Write the tables."""
    text = [
        "# Power control: measured",
        "",
        "Written by `power_control_summary.py` from the CSV files beside it. Test networks: seed",
        "2000, never used for a choice; 2048 samples to adapt to unless said, 256 scored samples;",
        "rates in bit/s/Hz; brackets are 95 % bootstrap intervals over networks. Where epochs are",
        "counted, the Lagrangian is that at its best slack (the objective of Eq. 4, smallest",
        "feasible slack), per link on the scored samples. From scratch is Adam with one rate,",
        "1e-3, not tuned; where its best epoch is early it got worse afterwards: a weak baseline.",
        "",
    ]
    for title, lines in (
        ("Against ITLinQ, unseen networks of the paper's family", ratio_table("unseen")),
        ("All policies (Figure 8)", rates_table("unseen")),
        ("Transfer: trained on K <= 20", ratio_table("transfer")),
        ("Transfer, all policies", rates_table("transfer")),
        ("Epochs to the same Lagrangian (Figures 7, 9, 10)", epochs_table()),
    ):
        if lines[2:]:
            text += [f"## {title}", "", *lines, ""]
    write_atomically(RESULTS / "summary.md", "\n".join(text).encode())
    print("\n".join(text))


if __name__ == "__main__":
    main()
