"""The files of a comparison: its table, rates, networks and figure."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metagnn.adaptation_task import Problem
from metagnn.comparison import Comparison, Outcome, Scenario
from metagnn.files import write_csv, write_json, written_together
from metagnn.gap_file import write_gaps
from metagnn.graphs.neighbours import Gain
from metagnn.report_files import RATES_HEADER
from metagnn.tasks.power_control.metrics import Estimate

NUM_INTERFERERS = 3


def write_comparison(
    out: Path,
    document: Mapping[str, Any],
    result: Comparison,
    metrics: Mapping[str, Mapping[str, Estimate]],
    scenarios: Sequence[Scenario],
    problem: Problem,
) -> None:
    """Write comparison.json, rates.csv, networks.json and comparison.png, all of them or none.

    Where gaps are known there is a gap.json too, else none is left there.

    Args:
        out: The folder, which is made.
        document: Content of comparison.json.
        result: What the policies did.
        metrics: Its metrics.
        scenarios: The networks, in the order of ``result``.
        problem: Constants of the problem.
    """
    from metagnn.plots import save_comparison

    rows = [
        (name, network, link, f"{value:.6f}")
        for name, networks in result.rates.items()
        for network, rates in enumerate(networks)
        for link, value in enumerate(rates.tolist())
    ]
    with written_together(out) as folder:
        write_json(folder / "comparison.json", document)
        write_csv(folder / "rates.csv", RATES_HEADER, rows)
        write_json(folder / "networks.json", networks_document(result, scenarios, problem))
        if result.intervals:
            known = (result.intervals, "metagnn", result.values, result.ergodic_intervals)
            write_gaps(folder, *known)
        save_comparison(folder / "comparison.png", result.rates, metrics)
    if not result.intervals:
        # Gaps of an earlier comparison in this folder are not those of this one.
        (out / "gap.json").unlink(missing_ok=True)


def networks_document(
    result: Comparison, scenarios: Sequence[Scenario], problem: Problem
) -> dict[str, Any]:
    """Per network its links, and of each policy the powers, slacks and multipliers.

    Rates are left to rates.csv. Positions are pairs of metres east and north, or null; an
    ``interferer`` of a link is a pair of another link and the gain from its transmitter.
    """
    return {
        "power_max_w": problem.power_max_w,
        "noise_w": problem.noise_w,
        "networks": [
            {
                **network_links(scenario.large_scale_gain, scenario.positions_m),
                "policies": {
                    name: _policy(outcomes[index]) for name, outcomes in result.outcomes.items()
                },
            }
            for index, scenario in enumerate(scenarios)
        ],
    }


def network_links(large_scale_gain: Gain, positions_m: Tensor | None) -> dict[str, Any]:
    """Positions, direct gains and the strongest interferers of the links of one network."""
    sender, receiver = (None, None) if positions_m is None else positions_m.cpu().tolist()
    if isinstance(large_scale_gain, Tensor):
        direct = large_scale_gain.diagonal()
    else:
        direct = large_scale_gain.direct
    return {
        "transmitter_m": sender,
        "receiver_m": receiver,
        "direct_gain": plain(direct),
        "interferers": strongest_interferers(large_scale_gain.to("cpu"), NUM_INTERFERERS),
    }


def strongest_interferers(gain: Gain, count: int) -> list[list[tuple[int, float]]]:
    """For each receiver up to ``count`` other transmitters with their gains, strongest first."""
    num_links = int(gain.shape[-1])
    if isinstance(gain, Tensor):
        others = gain.clone().fill_diagonal_(0.0)
        value, source = others.topk(min(count, num_links), dim=0)
        found = [_pairs(source[:, link], value[:, link]) for link in range(num_links)]
    else:
        order = gain.crossed.argsort(descending=True)
        order = order[gain.neighbours.target[order].argsort(stable=True)]
        ends = torch.searchsorted(gain.neighbours.target, torch.arange(num_links + 1)).tolist()
        pieces = [order[a : min(b, a + count)] for a, b in pairwise(ends)]
        found = [_pairs(gain.neighbours.source[at], gain.crossed[at]) for at in pieces]
    return [[(link, value) for link, value in pairs if value > 0] for pairs in found]


def _pairs(source: Tensor, gain: Tensor) -> list[tuple[int, float]]:
    return list(zip(source.tolist(), plain(gain), strict=True))


def plain(values: Tensor) -> list[float]:
    """Values of a vector to six digits, for a file that people may read."""
    return [float(f"{value:.6g}") for value in values.tolist()]


def _policy(outcome: Outcome) -> dict[str, Any]:
    values: dict[str, Any] = {"power_w": plain(outcome.power_w)}
    if outcome.dual is not None:
        values |= {
            "minimum_rate": outcome.dual.minimum_rate,
            "slack": plain(outcome.dual.slack),
            "multiplier": plain(outcome.dual.multiplier),
            "lagrangian_per_link": outcome.dual.lagrangian,
        }
    return values
