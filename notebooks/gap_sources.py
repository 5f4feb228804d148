"""Where the duality gap comes from: policies learned from scratch that differ in one thing.

Run ``python notebooks/gap_sources.py measure``; a variant on a network is a row of
``notebooks/results/gap_sources.csv``, and a run goes on where the last one stopped. ``... table``
writes ``gap_sources.md``. Each policy learns on one network alone, so what is left between it and
the optimum is not owed to meta-learning: too small networks (width, depth), too few samples, the
networks for slacks and multipliers and their heads, or the problem itself (minimum rates, alpha,
number of links). All variants learn on the same networks, so that what differs is measured on
each. Networks are validation networks of seed 0; gaps are on samples that nobody learned from.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from study_runs import Row, read
from torch import Tensor

from metagnn.adaptation import Adaptation, adapt
from metagnn.adaptation_task import Problem
from metagnn.commands.options import interval_cell
from metagnn.duality import adapted_interval
from metagnn.files import write_atomically, write_csv
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.checks import require
from metagnn.graphs.dataset import draw_network
from metagnn.graphs.rates import full_power_rate
from metagnn.meta_parameters import MetaParameters, load_meta_parameters
from metagnn.models.primal_dual import NetworkShape, PrimalDualNetworks
from metagnn.tasks.power_control.metrics import network_average
from metagnn.tasks.power_control.problem import minimum_rate
from metagnn.update_rule import UpdateRule

RESULTS = Path(__file__).parent / "results"
PATH = RESULTS / "gap_sources.csv"
HEADER = ["source", "variant", "network", "epochs", "primal", "best_known", "dual", "sum_rate"]
# What was best for learning from scratch (`power_control_study.SCRATCH_RATE`).
RATE = 3e-3
NUM_SCORED = 128
TOLERANCE, MAX_BOXES = 1e-3, 4000


@dataclass(frozen=True)
class Variant:
    """What differs from four links, 2048 samples and the shipped networks and problem."""

    shape: dict[str, Any] = field(default_factory=dict)
    problem: dict[str, float] = field(default_factory=dict)
    num_links: int = 4
    num_samples: int = 2048


def _shape(**values: int | str) -> Variant:
    return Variant(shape=values)


def _problem(**values: float) -> Variant:
    return Variant(problem=values)


SOURCES: dict[str, dict[str, Variant]] = {
    "width of the hidden layers": {
        str(width): _shape(hidden_channels=width, config_hidden_channels=width)
        for width in (4, 16, 64)
    },
    "hidden layers of the power network": {
        str(depth): _shape(num_layers=depth) for depth in (1, 2, 4)
    },
    "networks": {
        "power, mu": _shape(num_networks=2),
        "and slack": _shape(num_networks=3),
        "and rate, lambda": _shape(num_networks=5),
    },
    "heads": {"ReLU (Eq. 26)": _shape(head="relu"), "softplus": _shape(head="softplus")},
    "samples": {str(number): Variant(num_samples=number) for number in (64, 256, 2048)},
    "f_min threshold [bit/s/Hz]": {
        f"{threshold:g}": _problem(minimum_rate_threshold=threshold)
        for threshold in (1.0, 3.0, 5.0)
    },
    "alpha": {f"{alpha:g}": _problem(alpha=alpha) for alpha in (0.1, 0.7, 4.0)},
    "links": {str(links): Variant(num_links=links) for links in (2, 4, 6)},
}


@dataclass(frozen=True)
class Setting:
    """What a policy learns with, of which equal ones are measured once."""

    shape: NetworkShape
    problem: Problem
    num_links: int
    num_samples: int


def setting(shipped: MetaParameters, variant: Variant) -> Setting:
    """The shipped networks and problem with what differs."""
    return Setting(
        replace(shipped.networks.shape, **variant.shape),
        replace(shipped.problem, **variant.problem),
        variant.num_links,
        variant.num_samples,
    )


def measure(shipped: MetaParameters, num_networks: int, epochs: int) -> None:
    """Append the rows that the file does not have yet, network by network.

    Raises:
        ValueError: If it holds rows of another number of epochs.
    """
    found = read(PATH)
    for row in found:
        found_epochs = row.get("epochs")
        require(found_epochs == str(epochs), PATH.name, f"hold {epochs} epochs", found_epochs)
    rows: list[Sequence[object]] = [[row[name] for name in HEADER] for row in found]
    done = {(row["source"], row["variant"], int(row["network"])) for row in found}
    for network in range(num_networks):
        known: dict[Setting, tuple[str, ...]] = {}
        for source, variants in SOURCES.items():
            for name, variant in variants.items():
                if (source, name, network) in done:
                    continue
                one = setting(shipped, variant)
                if one not in known:
                    known[one] = values(one, shipped.adaptation, network, epochs)
                rows.append((source, name, network, epochs, *known[one]))
                write_csv(PATH, HEADER, rows)
                print(rows[-1], flush=True)


def values(one: Setting, adaptation: Adaptation, network: int, epochs: int) -> tuple[str, ...]:
    """What a policy learned from scratch reaches on samples ahead, and what bounds it there."""
    drawn = draw_network(ChannelFamily(), one.num_links, 0, "validation", network)
    past, gain = drawn.gain[-one.num_samples :], drawn.test_gain[:NUM_SCORED]
    assert isinstance(gain, Tensor)
    with torch.random.fork_rng():
        torch.manual_seed(network)
        networks = PrimalDualNetworks(one.shape)
    rates = {name: RATE * (0.1 if name in ("mu", "lam") else 1.0) for name in one.shape.names}
    learning = replace(adaptation, rule=UpdateRule(rates, "adam"), num_epochs=epochs)
    large_scale = drawn.configuration.large_scale_gain
    adapted = adapt(networks, large_scale, past, one.problem, learning)
    # Of all samples, so that the optimum does not depend on how many the policy learned from.
    full = full_power_rate(drawn.gain, one.problem.power_max_w, one.problem.noise_w)
    required = minimum_rate(full.mean(0), one.problem.minimum_rate_threshold)
    adapted = replace(adapted, minimum_rate=float(required))
    found = adapted_interval(adapted, past, gain, one.problem, TOLERANCE, MAX_BOXES)
    numbers = (found.primal, found.best_known, found.dual, float(found.rate.sum()))
    return tuple(f"{number:.6f}" for number in numbers)


def table(shipped: MetaParameters) -> list[str]:
    """Mean gaps of each variant, and less that of the shipped networks, over networks."""
    rows = read(PATH)
    usual = setting(shipped, Variant())
    lines = [
        "# Where the gap comes from",
        "",
        "Policies learned from scratch on one network each, and one thing that differs from the",
        "rest (`python notebooks/gap_sources.py measure`, `table`): D - P over the policy's sum",
        f"rate [%] on {NUM_SCORED} samples ahead; D - B, which is owed to the bound at most; and",
        "the first less that of the shipped networks and problem on the same network. Means over",
        "validation networks with 95 % bootstrap intervals.",
        "",
        "| | | networks | (D - P) / sum rate [%] | (D - B) / sum rate [%] | more than usual |",
        "|---|---|---|---|---|---|",
    ]
    for source, variants in SOURCES.items():
        ordinary = [name for name, one in variants.items() if setting(shipped, one) == usual]
        of = {name: _gaps(rows, source, name, "primal") for name in variants}
        for name in variants:
            if not of[name]:
                continue
            cells = [_mean(of[name]), _mean(_gaps(rows, source, name, "best_known"))]
            beside = {} if name in ordinary else of[ordinary[0]]
            both = {n: gap - beside[n] for n, gap in of[name].items() if n in beside}
            cells.append(_mean(both) if both else "")
            lines.append(f"| {source} | {name} | {len(of[name])} | {' | '.join(cells)} |")
    return lines


def _gaps(rows: list[Row], source: str, variant: str, lower: str) -> dict[int, float]:
    """Relative gaps to one of the lower ends by network."""
    mine = [row for row in rows if (row["source"], row["variant"]) == (source, variant)]
    return {
        int(row["network"]): (float(row["dual"]) - float(row[lower])) / float(row["sum_rate"])
        for row in mine
    }


def _mean(gaps: dict[int, float]) -> str:
    return interval_cell(network_average(torch.tensor(list(gaps.values()))), 2, 100.0)


def main() -> None:
    """Measure, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("measure", "table"))
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100, help="gradient steps of a training")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shipped = load_meta_parameters("power_control")
    if arguments.step == "measure":
        measure(shipped, arguments.networks, arguments.epochs)
        return
    text = "\n".join([*table(shipped), ""])
    write_atomically(PATH.with_suffix(".md"), text.encode(), name="results")
    print(text)


if __name__ == "__main__":
    main()
