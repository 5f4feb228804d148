"""Tables from the CSV files of `power_control_study.py`: ``results/summary.md``.

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
    network_average,
    ratio_of_means,
    share_dominated,
    summarize,
)

RESULTS = Path(__file__).parent / "results"
POLICIES = {
    "metagnn": "MetaGNN, 20 epochs",
    "metagnn_unadapted": "MetaGNN, 0 epochs",
    "metagnn_256_samples": "MetaGNN, 20 epochs of 256 samples",
    "random_initialised_20": "random initialisation, 20 epochs (20 networks)",
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


def read_study(path: Path) -> dict[str, list[Tensor]]:
    """Rates of one file of a study together with those of the baselines on its networks."""
    found = read_rates(path)
    num_networks = len(found["metagnn"])
    others = read_rates(RESULTS / f"baselines_{size(path)}.csv")
    return found | {policy: rates[:num_networks] for policy, rates in others.items()}


def cell(estimate: Estimate) -> str:
    """Value and interval."""
    if estimate.low is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def rates_table(study: str) -> list[str]:
    """Mean and minimum rate of every policy for every number of links."""
    lines = ["| K | policy | mean rate | minimum rate | 5th percentile | Jain |", "|" + "---|" * 6]
    for path in files(study):
        for policy, rates in read_study(path).items():
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
        rates = read_study(path)
        for policy in rates:
            if not policy.startswith(("metagnn", "random_init")):
                continue
            reference = rates["itlinq"][: len(rates[policy])]
            ratios = [
                ratio_of_means(rates[policy], reference, statistic)
                for statistic in ("mean_rate", "min_rate")
            ]
            worse = share_dominated(rates[policy], reference)
            minimum[policy].append(ratios[1].value)
            dominated[policy].append(worse)
            cells = " | ".join(cell(ratio) for ratio in ratios)
            lines.append(f"| {size(path)} | {POLICIES[policy]} | {cells} | {worse:.0%} |")
    for policy, values in minimum.items():
        share = f"{mean(dominated[policy]):.1%}"
        lines.append(f"| average | {POLICIES[policy]} | | {mean(values):.3f} | {share} |")
    return lines


def seeds_table() -> list[str]:
    """Ratios to ITLinQ of trainings from different seeds, on the same networks."""
    trainings: dict[int, dict[int, dict[str, list[Tensor]]]] = defaultdict(dict)
    for path in RESULTS.glob("training_seed_*_*.csv"):
        trainings[int(path.stem.split("_")[2])][size(path)] = read_rates(path)
    lines = ["| K | epochs | ratio | seed 0 | others | lowest |", "|" + "---|" * 6]
    for path in [*files("unseen"), *files("transfer")]:
        links, shipped = size(path), read_study(path)
        found = {seed: rates[links] for seed, rates in sorted(trainings.items()) if links in rates}
        for epochs, policy in ((20, "metagnn"), (0, "metagnn_unadapted")):
            for statistic in ("mean_rate", "min_rate") if found else ():
                # The others are scored on fewer networks, the first ones.
                number = min(len(rates[policy]) for rates in found.values())
                ratios = [
                    ratio_of_means(rates[policy][:number], shipped["itlinq"][:number], statistic)
                    for rates in (shipped, *found.values())
                ]
                lowest = f"{min(ratio.value for ratio in ratios):.3f}"
                others = "; ".join(
                    f"{seed}: {cell(ratio)}" for seed, ratio in zip(found, ratios[1:], strict=True)
                )
                name = statistic.removesuffix("_rate")
                lines.append(
                    f"| {links} | {epochs} | {name} | {cell(ratios[0])} | {others} | {lowest} |"
                )
    return lines


def fomaml_table() -> list[str]:
    """Ratios of the shipped meta-parameters' rates to those of first-order MAML in equal time."""
    lines = ["| K | epochs | mean / FOMAML's | minimum / FOMAML's |", "|" + "---|" * 4]
    for path in files("unseen"):
        shipped, fomaml = read_rates(path), read_rates(RESULTS / f"fomaml_{size(path)}.csv")
        for epochs, policy in ((20, "metagnn"), (0, "metagnn_unadapted")):
            ratios = " | ".join(
                cell(ratio_of_means(shipped[policy], fomaml[policy], statistic))
                for statistic in ("mean_rate", "min_rate")
            )
            lines.append(f"| {size(path)} | {epochs} | {ratios} |")
    return lines


def epochs_ratio_table() -> list[str]:
    """On how many networks learning from scratch takes 10 and 20 times the 20 epochs, or more."""
    lines = [
        "| K | samples | networks | 10x fewer | 20x fewer | not reached from scratch |",
        "|" + "---|" * 6,
    ]
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (links, samples, _), (meta, scratch) in learning_curves().items():
        reached = [epoch for epoch, value in scratch.items() if value >= meta[20]]
        groups[links, samples].append(min(reached, default=float("inf")) / 20)
    for (links, samples), ratios in groups.items():
        cells = [sum(r >= least for r in ratios) for least in (10, 20, float("inf"))]
        row = " | ".join(f"{count} of {len(ratios)}" for count in cells)
        lines.append(f"| {links} | {samples} | {len(ratios)} | {row} |")
    return lines


def read_curves() -> list[dict[str, str]]:
    """Rows of ``curves.csv`` and ``scratch_curves.csv``."""
    rows: list[dict[str, str]] = []
    for name in ("curves", "scratch_curves"):
        with (RESULTS / f"{name}.csv").open(newline="") as file:
            rows += csv.DictReader(file)
    return rows


def epochs_table() -> list[str]:
    """Epochs from scratch until the Lagrangian that the meta-parameters reach, and back."""
    lines = [
        "| K | samples | network | meta: 0, 20, best | scratch: best, at epoch "
        "| epochs from scratch to meta's 0 | ... to meta's 20 "
        "| epochs from meta to scratch's best |",
        "|" + "---|" * 8,
    ]
    for (links, samples, network), (meta, scratch) in learning_curves().items():
        at, best = max(scratch.items(), key=lambda point: point[1])
        lines.append(
            f"| {links} | {samples} | {network} | {meta[0]:.3f}, {meta[20]:.3f}, "
            f"{max(meta.values()):.3f} | {best:.3f}, {at} | {first(scratch, meta[0])} "
            f"| {first(scratch, meta[20])} | {first(meta, best)} |"
        )
    return lines


def learning_curves() -> dict[tuple[str, str, str], tuple[dict[int, float], dict[int, float]]]:
    """Lagrangian by epoch from the meta-parameters and from scratch, by links, samples, network."""
    curves: dict[tuple[str, str, str], dict[str, dict[int, float]]] = {}
    for row in read_curves():
        if row["start"] in ("meta", "scratch"):
            found = curves.setdefault((row["num_links"], row["samples"], row["network"]), {})
            found.setdefault(row["start"], {})[int(row["epoch"])] = float(row["lagrangian"])
    order = sorted(curves, key=lambda key: (int(key[0]), -int(key[1]), int(key[2])))
    return {key: (curves[key]["meta"], curves[key]["scratch"]) for key in order}


def first(curve: dict[int, float], goal: float) -> str:
    """First measured epoch at which a curve reaches a value."""
    reached = [epoch for epoch, value in sorted(curve.items()) if value >= goal]
    return str(reached[0]) if reached else f"> {max(curve)}"


def samples_table() -> list[str]:
    """Rates after learning, by number of samples (Figure 9)."""
    lines = [
        "| K | samples | MetaGNN, 20 epochs | learning from scratch | mismatch |",
        "|" + "---|" * 5,
    ]
    groups: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    rows = read_curves()
    last = max((int(row["epoch"]) for row in rows if row["start"] == "scratch"), default=0)
    for row in rows:
        if int(row["epoch"]) == (20 if row["start"] == "meta" else last):
            pair = (float(row["mean"]), float(row["min"]))
            groups[row["num_links"], row["samples"]][row["start"]].append(pair)
    for (links, samples), found in groups.items():
        cells = []
        for start in ("meta", "scratch", "mismatch"):
            values = torch.tensor(found[start])
            if len(values) == 0:
                cells.append("")
                continue
            cells.append(" / ".join(cell(network_average(column)) for column in values.T))
        lines.append(f"| {links} | {samples} | {' | '.join(cells)} |")
    return lines


def sum_rate_table() -> list[str]:
    """Sum rates in the setting of WCGCN, and their ratio to WMMSE's."""
    lines = ["| policy | sum rate [bit/s/Hz] | / WMMSE's | networks |", "|" + "---|" * 4]
    path = RESULTS / "sum_rate.csv"
    values: dict[str, list[float]] = defaultdict(list)
    if path.is_file():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                values[row["policy"]].append(float(row["sum_rate"]))
    for policy, sums in values.items():
        each, wmmse = torch.tensor(sums).unsqueeze(-1), torch.tensor(values["wmmse"]).unsqueeze(-1)
        ratio = cell(ratio_of_means(each, wmmse))
        lines.append(
            f"| {POLICIES[policy]} | {cell(network_average(each[:, 0]))} | {ratio} | {len(sums)} |"
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
        "3000, never used for a choice; 2048 samples to adapt to unless said, 256 scored samples;",
        "rates in bit/s/Hz; brackets are 95 % bootstrap intervals over networks. Where epochs are",
        "counted, the Lagrangian is that at its best slack (the objective of Eq. 4, smallest",
        "feasible slack), per link on the scored samples, measured every 10 epochs; the best one",
        "is picked with hindsight. The rate of learning from scratch was chosen on validation",
        "networks (`scratch_rates.csv`).",
        "",
        "```sh",
        "python notebooks/power_control_study.py unseen",
        "python notebooks/power_control_study.py baselines",
        "python notebooks/power_control_study.py baselines --num-links 50 --networks 10",
        "python notebooks/power_control_study.py baselines --num-links 100 --networks 5",
        "for seed in 1 2; do metagnn fit --config power_control_pretrained \\",
        "    --data.seed $seed --model.init_args.init_seed $seed --seed_everything $seed",
        "    python notebooks/power_control_study.py training_seed --training-seed $seed \\",
        "        --networks 20 --checkpoint FOLDER_OF_THE_RUN/checkpoints/last.ckpt",
        "    # and --num-links 50 --networks 10, --num-links 100 --networks 5",
        "done",
        "metagnn fit --config power_control_pretrained --model.init_args.inner.num_epochs 2 \\",
        "    --trainer.max_epochs 6000",
        "python notebooks/power_control_study.py fomaml --checkpoint FOLDER_OF_THE_RUN/...",
        "python notebooks/power_control_study.py transfer --num-links 50 --networks 10",
        "python notebooks/power_control_study.py transfer --num-links 100 --networks 5",
        "python notebooks/power_control_study.py sum_rate --networks 500",
        "python notebooks/power_control_study.py scratch_rates --num-links 8 --networks 3",
        "python notebooks/power_control_study.py curves --num-links 8 12 --networks 3",
        "python notebooks/power_control_study.py scratch_curves --num-links 8 12 --networks 3",
        "python notebooks/power_control_summary.py",
        "python notebooks/power_control_figures.py",
        "```",
        "",
    ]
    for title, lines in (
        ("Against ITLinQ, unseen networks of the paper's family", ratio_table("unseen")),
        ("By seed of training, the first networks (seed 0 is shipped)", seeds_table()),
        ("Against first-order MAML, 6000 outer loops (a report, not the choice)", fomaml_table()),
        ("All policies (Figure 8)", rates_table("unseen")),
        ("Transfer: trained on K <= 20", ratio_table("transfer")),
        ("Transfer, all policies", rates_table("transfer")),
        ("Sum rate of 50 links in the setting of WCGCN (`sum_rate`)", sum_rate_table()),
        ("Mean / minimum rate by number of samples (Figure 9)", samples_table()),
        ("From scratch to the Lagrangian that 20 epochs reach", epochs_ratio_table()),
        ("The same network by network (Figures 7 and 10)", epochs_table()),
    ):
        if lines[2:]:
            text += [f"## {title}", "", *lines, ""]
    write_atomically(RESULTS / "summary.md", "\n".join(text).encode())
    print("\n".join(text))


if __name__ == "__main__":
    main()
