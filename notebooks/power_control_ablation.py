"""Which choices matter: short meta-trainings that differ in one thing, on validation networks.

Run ``python notebooks/power_control_ablation.py``; writes ``notebooks/results/ablation.csv`` and
``ablation.md``, and goes on where it stopped. Every variant is `power_control_pretrained` with an
inner loop of two epochs (FOMAML) and one change, and gets the same number of gradient evaluations.
"""

import argparse
import csv
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean

import torch
from power_control_study import learning_curve, scenario
from power_control_summary import cell

from metagnn.commands.training import main as train
from metagnn.files import write_atomically, write_csv
from metagnn.graphs.checks import require
from metagnn.meta_parameters import load_meta_parameters
from metagnn.tasks.power_control.metrics import network_average

RESULTS = Path(__file__).parent / "results"
MODEL = "--model.init_args"

SIZES = (8, 16)


def more_networks(**outer: str) -> dict[str, str]:
    """The paper's networks beside power and mu, with their outer learning rates."""

    def mapping(rates: dict[str, str]) -> str:
        return "{" + ", ".join(f"{name}: {rate}" for name, rate in rates.items()) + "}"

    names = ("power", "mu", *outer)
    return {
        "shape.num_networks": str(len(names)),
        "inner.rule.learning_rates": mapping(dict.fromkeys(names, "1.0e-4")),
        "outer.learning_rates": mapping({"power": "3e-3", "mu": "3e-4", **outer}),
        "adaptation.rule.learning_rates": mapping(dict.fromkeys(names, "5.0e-5")),
    }


# Gradient evaluations per task and outer loop: of the inner loop, and of the loss after it.
EVALUATIONS = 3
VARIANTS: dict[str, tuple[int, dict[str, str]]] = {
    "FOMAML": (3, {}),
    "MAML (second order)": (3, {"algorithm": "maml"}),
    "Reptile, outer Adam": (3, {"algorithm": "reptile", "inner.num_epochs": "3"}),
    "Reptile, 20 inner epochs at 1e-3, outer SGD": (
        20,
        {
            "algorithm": "reptile",
            "inner.num_epochs": "20",
            "inner.rule.learning_rates": "{power: 1.0e-3, mu: 1.0e-3}",
            "outer.kind": "sgd",
            "outer.learning_rates": "{power: 5.0e-4, mu: 5.0e-4}",
        },
    ),
    "no inner loop (multi-task)": (1, {"inner.num_epochs": "0"}),
    "inner loop by SGD": (
        3,
        {
            "inner.rule.kind": "sgd",
            "inner.rule.learning_rates": "{power: 2.0e-2, mu: 3.0e-3}",  # Table I
        },
    ),
    "three networks": (3, more_networks(slack="3e-3")),
    "five networks": (3, more_networks(slack="3e-3", rate="3e-3", lam="3e-4")),
    "ReLU heads": (3, {"shape.head": "relu"}),
    "edges of Eq. 24, PF ratio only": (3, {"shape.edges": "normalised_log"}),
    "rate-loss edges, one direction": (3, {"shape.bidirectional": "false"}),
    "two layers": (3, {"shape.num_layers": "2"}),
    "multipliers as fast as powers": (3, {"outer.learning_rates": "{power: 3.0e-3, mu: 3.0e-3}"}),
    "sum over links": (3, {"problem.reduction": "sum"}),
}
HEADER = [
    "variant",
    "seed",
    "outer_loops",
    "networks",
    "seconds",
    "num_links",
    "network",
    "epoch",
    "mean",
    "min",
    "lagrangian",
]


def run(name: str, seed: int, outer_loops: int, num_networks: int) -> list[list[object]]:
    """Train one variant and score it before and after 20 epochs of adaptation."""
    evaluations, changes = VARIANTS[name]
    overrides = {"inner.num_epochs": "2"} | changes
    loops = outer_loops * EVALUATIONS // evaluations
    with tempfile.TemporaryDirectory() as folder:
        words = ["fit", "--config", "power_control_pretrained"]
        words += [f"{MODEL}.{key}={value}" for key, value in overrides.items()]
        words += [f"{MODEL}.init_seed={seed}", f"--data.seed={seed}"]
        words += [f"--trainer.max_epochs={loops}", "--trainer.limit_val_batches=0"]
        words += [f"--trainer.logger.init_args.save_dir={folder}"]
        words += ["--trainer.logger.init_args.version=0"]
        began = time.monotonic()
        train(words)
        seconds = f"{time.monotonic() - began:.0f}"
        file = "power_control_pretrained/version_0/checkpoints/last.ckpt"
        parameters = load_meta_parameters(str(Path(folder) / file))
    rows: list[list[object]] = []
    for size in SIZES:
        for index in range(num_networks):
            network = scenario(size, index, 512, "validation", 0)
            curve, _ = learning_curve(parameters, network, 20, every=20)
            about = [name, seed, outer_loops, num_networks, seconds, size, index]
            rows += [[*about, *row] for row in curve if row[0] in (0, 20)]
    return rows


def write_table(rows: list[list[str]], outer_loops: int) -> None:
    """Write ``ablation.md``: differences to the first variant on the same networks and seeds."""
    networks = rows[0][3]
    seeds = sorted({row[1] for row in rows})
    lines = [
        f"# Ablation: {outer_loops} outer loops of FOMAML, or equal work",
        "",
        "Equal work is as many gradient evaluations: Reptile of 20 inner epochs sees fewer tasks.",
        f"Training seeds {', '.join(seeds)}; {networks} validation networks per K, 512 samples to",
        "adapt to, 256 scored. Mean / minimum rate in bit/s/Hz, and the Lagrangian per link at its",
        "best slack less that of the first row, on the same networks [95 % interval over networks,",
        "each averaged over seeds] and by seed. Far fewer loops than the shipped training: what",
        "learns fast is in favour here.",
        "",
        "| variant | K | epochs | mean / min | Lagrangian, less the first row's | by seed |",
        "|" + "---|" * 6,
    ]
    of: dict[tuple[str, str, str], dict[tuple[str, str], list[float]]] = defaultdict(dict)
    adapted: dict[str, list[float]] = defaultdict(list)
    for name, seed, _, _, _, links, network, epoch, *values in rows:
        of[name, links, epoch][network, seed] = [float(value) for value in values]
    for (name, links, epoch), found in sorted(of.items(), key=lambda item: order(item[0])):
        reference = of[next(iter(VARIANTS)), links, epoch]
        difference = {key: values[2] - reference[key][2] for key, values in found.items()}
        by_network = [
            mean(value for (n, _), value in difference.items() if n == network)
            for network in sorted({network for network, _ in difference})
        ]
        by_seed = [
            mean(value for (_, s), value in difference.items() if s == seed)
            for seed in sorted({seed for _, seed in difference})
        ]
        estimate = network_average(torch.tensor(by_network))
        if epoch == "20":
            adapted[name] += [estimate.low or 0.0, estimate.high or 0.0, *by_seed]
        pair = " / ".join(f"{mean(v[column] for v in found.values()):.3f}" for column in (0, 1))
        lines.append(
            f"| {name} | {links} | {epoch} | {pair} "
            f"| {cell(estimate)} | {', '.join(f'{value:+.3f}' for value in by_seed)} |"
        )
    better = [name for name, found in adapted.items() if min(found) > 0.0]
    worse = [name for name, found in adapted.items() if max(found) < 0.0]
    reading = [
        "After 20 epochs, at both K, with whole intervals over networks and for every seed, better",
        f"than the first row: {'; '.join(better) or 'none'}.",
        f"Worse: {'; '.join(worse) or 'none'}.",
        "",
    ]
    table = next(n for n, line in enumerate(lines) if line.startswith("|"))
    lines[table:table] = reading
    write_atomically(RESULTS / "ablation.md", ("\n".join(lines) + "\n").encode())


def order(key: tuple[str, str, str]) -> tuple[int, int, int]:
    """Order of the rows: variants as listed, links, epochs."""
    name, links, epoch = key
    return list(VARIANTS).index(name), int(links), int(epoch)


def main() -> None:
    """Run all variants that have no rows yet; delete ``ablation.csv`` to start anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outer-loops", type=int, default=150)
    parser.add_argument("--networks", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    path = RESULTS / "ablation.csv"
    rows: list[list[str]] = []
    if path.is_file():
        with path.open(newline="") as file:
            header, *rows = list(csv.reader(file))
        require(header == HEADER, "ablation.csv", f"have the header {HEADER}", header)
        for row in rows:
            require(row[0] in VARIANTS, "ablation.csv", "hold today's variants only", row[0])
            asked = [str(arguments.outer_loops), str(arguments.networks)]
            rule = f"hold runs of {asked[0]} outer loops and {asked[1]} networks only"
            require(row[2:4] == asked, "ablation.csv", rule, row[2:4])
    for seed in arguments.seeds:
        for name in VARIANTS:
            if (name, str(seed)) in {(row[0], row[1]) for row in rows}:
                continue
            new = run(name, seed, arguments.outer_loops, arguments.networks)
            rows += [[str(value) for value in row] for row in new]
            write_csv(path, HEADER, rows)
            print(name, seed, flush=True)
    asked_for = {str(seed) for seed in arguments.seeds}
    write_table([row for row in rows if row[1] in asked_for], arguments.outer_loops)


if __name__ == "__main__":
    main()
