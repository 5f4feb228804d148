"""Where the duality gap comes from: policies that differ in one thing.

Run ``python notebooks/gap_sources.py measure --start scratch`` and ``--start shipped``; a variant
on a network is a row of ``notebooks/results/gap_sources_START.csv``, and a run goes on where the
last one stopped. ``... table`` writes ``gap_sources.md`` and ``gap_sources.png``. From scratch each
policy learns on one network alone, so that networks may differ too: width, depth, those for slacks
and multipliers, their heads. From the shipped meta-parameters it adapts as users' do: number of
samples, and the problem itself (minimum rates, alpha, number of links). All variants learn on the
same networks, so that what differs is measured on each, but for those of other numbers of links,
whose networks are others. Networks are validation networks of seed 0; gaps are on samples that
nobody learned from.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from study_runs import Row, read
from torch import Tensor

from metagnn.adaptation import adapt
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
from metagnn.plots import figure_of, save_figure
from metagnn.tasks.power_control.metrics import network_average
from metagnn.tasks.power_control.problem import minimum_rate
from metagnn.update_rule import UpdateRule

RESULTS = Path(__file__).parent / "results"
PATH = RESULTS / "gap_sources.md"
# Gradient steps of a policy by what it starts from.
EPOCHS = {"scratch": 100, "shipped": 20}
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


TITLES = {"scratch": "From scratch", "shipped": "From the shipped meta-parameters"}


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


def sources_of(start: str) -> dict[str, dict[str, Variant]]:
    """What can differ: from the shipped meta-parameters all but the networks."""
    return {
        source: variants
        for source, variants in SOURCES.items()
        if start == "scratch" or not any(one.shape for one in variants.values())
    }


def rows_path(start: str) -> Path:
    """The file of rows."""
    return PATH.with_name(f"gap_sources_{start}.csv")


def measure(shipped: MetaParameters, num_networks: int, start: str) -> None:
    """Append the rows that the file does not have yet, network by network.

    Raises:
        ValueError: If it holds rows of another number of epochs.
    """
    path, epochs = rows_path(start), EPOCHS[start]
    found = read(path)
    for row in found:
        found_epochs = row.get("epochs")
        require(found_epochs == str(epochs), path.name, f"hold {epochs} epochs", found_epochs)
    rows: list[Sequence[object]] = [[row[name] for name in HEADER] for row in found]
    done = {(row["source"], row["variant"], int(row["network"])) for row in found}
    for network in range(num_networks):
        known: dict[Setting, tuple[str, ...]] = {}
        for source, variants in sources_of(start).items():
            for name, variant in variants.items():
                if (source, name, network) in done:
                    continue
                one = setting(shipped, variant)
                if one not in known:
                    known[one] = values(one, shipped, network, start)
                rows.append((source, name, network, epochs, *known[one]))
                write_csv(path, HEADER, rows)
                print(rows[-1], flush=True)


def values(one: Setting, shipped: MetaParameters, network: int, start: str) -> tuple[str, ...]:
    """What a policy reaches on samples ahead, and what bounds it there."""
    drawn = draw_network(ChannelFamily(), one.num_links, 0, "validation", network)
    past, gain = drawn.gain[-one.num_samples :], drawn.test_gain[:NUM_SCORED]
    assert isinstance(gain, Tensor)
    networks, learning = shipped.networks, replace(shipped.adaptation, num_epochs=EPOCHS[start])
    if start == "scratch":
        with torch.random.fork_rng():
            torch.manual_seed(network)
            networks = PrimalDualNetworks(one.shape)
        rates = {name: RATE * (0.1 if name in ("mu", "lam") else 1.0) for name in one.shape.names}
        learning = replace(learning, rule=UpdateRule(rates, "adam"))
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
    lines = [
        "# Where the gap comes from",
        "",
        "Policies that differ in one thing from the rest (`python notebooks/gap_sources.py measure",
        "--start scratch`, `--start shipped`, `table`): D - P over the policy's sum rate [%] on",
        f"{NUM_SCORED} samples ahead; D - B, which is owed to the bound at most; and the first",
        "less that of the shipped networks and problem on the same network (of another number of",
        "links no network is the same). Means over validation networks with 95 % bootstrap",
        "intervals.",
    ]
    for start, title in TITLES.items():
        rows = read(rows_path(start))
        lines += ["", f"## {title}, {EPOCHS[start]} steps", ""]
        lines.append(
            "| | | networks | (D - P) / sum rate [%] | (D - B) / sum rate | more than usual |"
        )
        lines.append("|---|---|---|---|---|---|")
        for source, variants in sources_of(start).items():
            more = more_than_usual(rows, source, shipped)
            for name in variants:
                gaps = _gaps(rows, source, name, "primal")
                if not gaps:
                    continue
                cells = [_mean(gaps), _mean(_gaps(rows, source, name, "best_known"))]
                cells.append(_mean(more[name]) if name in more else "")
                lines.append(f"| {source} | {name} | {len(gaps)} | {' | '.join(cells)} |")
    return lines


def more_than_usual(
    rows: list[Row], source: str, shipped: MetaParameters
) -> dict[str, dict[int, float]]:
    """By how much the gaps of variants on the usual networks exceed the usual one, by network."""
    usual = setting(shipped, Variant())
    variants = {
        name: one for name, one in SOURCES[source].items() if one.num_links == usual.num_links
    }
    (ordinary,) = (name for name, one in variants.items() if setting(shipped, one) == usual)
    beside = _gaps(rows, source, ordinary, "primal")
    found = {
        name: {
            network: gap - beside[network]
            for network, gap in _gaps(rows, source, name, "primal").items()
            if network in beside
        }
        for name in variants
        if name != ordinary
    }
    return {name: gaps for name, gaps in found.items() if gaps}


def figure(shipped: MetaParameters) -> Figure:
    """The same differences: dots of networks, and their means with 95 % intervals."""
    drawn, axes = figure_of(12.0, 5.4, 2)
    for axis, (start, title) in zip(axes, TITLES.items(), strict=True):
        differences = {
            f"{source}: {name}": [100.0 * gap for gap in gaps.values()]
            for source in sources_of(start)
            for name, gaps in more_than_usual(read(rows_path(start)), source, shipped).items()
        }
        for at, values in enumerate(differences.values()):
            axis.plot(values, [at] * len(values), ".", color="#56B4E9", label="one network")
            mean = network_average(torch.tensor(values))
            ends = (mean.low, mean.high)
            axis.plot(ends, (at, at), "k-", label="95 % interval of the mean")
            axis.plot([mean.value], [at], "kD", markersize=5, label="mean over networks")
        axis.axvline(0.0, color="k", linewidth=1)
        axis.set_xscale("symlog", linthresh=1.0)
        ticks = [-100, -10, -1, 0, 1, 10, 100]
        axis.set_xticks(ticks, list(map(str, ticks)))
        axis.set_yticks(range(len(differences)), list(differences), fontsize=9)
        axis.invert_yaxis()
        axis.set_title(f"{title}, {EPOCHS[start]} steps", fontsize=11)
        axis.set_xlim(-200.0, 500.0)
        axis.set_xlabel("gap beyond the usual one [% of the sum rate]")
    handles, names = axes[0].get_legend_handles_labels()
    shown = dict(zip(names, handles, strict=True))
    drawn.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=3, frameon=False)
    return drawn


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
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--start", choices=tuple(EPOCHS), default="scratch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shipped = load_meta_parameters("power_control")
    if arguments.step == "measure":
        measure(shipped, arguments.networks, arguments.start)
        return
    text = "\n".join([*table(shipped), ""])
    write_atomically(PATH, text.encode(), name="results")
    save_figure(figure(shipped), PATH.with_suffix(".png"))
    print(text)


if __name__ == "__main__":
    main()
