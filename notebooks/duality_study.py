"""Certified duality gaps, measured: how far policies are from the optimum of their samples.

Run ``python notebooks/duality_study.py measure --num-links K --networks N`` for every K; a network
is a row of ``notebooks/results/duality_K.csv``, and a run goes on where the last one stopped.
``python notebooks/duality_study.py table`` writes ``notebooks/results/duality.md`` from these.
Networks are those of `power_control_study` (seed 3000, used for no choice).
"""

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from metagnn.adaptation import WARM_UP_STEPS, adapt, learned_rollout, warmed_up_rollout
from metagnn.adaptation_task import Problem
from metagnn.duality import duality_interval, primal_value
from metagnn.files import write_atomically, write_csv
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.dataset import draw_network
from metagnn.graphs.neighbours import Gain
from metagnn.graphs.rates import rate
from metagnn.kkt import kkt_residuals
from metagnn.meta_parameters import MetaParameters, load_meta_parameters
from metagnn.rollout import Policy
from metagnn.tasks.power_control.itlinq import itlinq
from metagnn.tasks.power_control.wmmse import wmmse

RESULTS = Path(__file__).parent / "results"
SEED = 3000
POLICIES = ("metagnn", "itlinq", "wmmse", "full_power")
HEADER = [
    "num_links",
    "network",
    "num_samples",
    *POLICIES,
    "best_known",
    "dual",
    "bound",
    "sum_rate",
    "inner_gap",
    "complementary",
    "slack",
    "mu_error",
    "adapt_seconds",
    "bound_seconds",
]
# Tolerance of the inner maximum, and boxes per sample, by the largest number of links.
EFFORT = {4: (1e-4, 4000), 8: (1e-3, 6000), 12: (1e-2, 20_000)}
EFFORT_BEYOND = (1e-2, 20_000)
# Relative rounding of values that are compared across policies.
ROUNDING = 1e-9


def measure(
    parameters: MetaParameters, num_links: int, num_networks: int, first: int, num_samples: int
) -> None:
    """Append the rows of networks that the file does not have yet."""
    path = RESULTS / f"duality_{num_links}.csv"
    rows = [tuple(row.values()) for row in read(path)]
    done = {int(str(row[1])) for row in rows}
    for index in range(first, first + num_networks):
        if index in done:
            continue
        rows.append(network_row(parameters, num_links, index, num_samples))
        write_csv(path, HEADER, rows)
        print(dict(zip(HEADER, rows[-1], strict=True)), flush=True)


def network_row(
    parameters: MetaParameters, num_links: int, index: int, num_samples: int
) -> tuple[object, ...]:
    """Values of all policies on one network's scored samples, and the bound they share."""
    problem = parameters.problem
    network = draw_network(ChannelFamily(), num_links, SEED, "test", index)
    past, gain = network.gain, network.test_gain[:num_samples]
    assert isinstance(gain, Tensor)
    began = time.process_time()
    adapted = adapt(
        parameters.networks,
        network.configuration.large_scale_gain,
        past,
        problem,
        parameters.adaptation,  # 20 epochs
    )
    adapt_seconds = time.process_time() - began
    powers = {
        "metagnn": learned_rollout(adapted.learner, past, gain, problem).power_w.squeeze(1),
        **baseline_powers(past, gain, problem),
    }
    values = {
        name: float(
            primal_value(
                rate(gain.double(), power.double(), problem.noise_w).mean(0),
                adapted.minimum_rate,
                problem.alpha,
            )
        )
        for name, power in powers.items()
    }
    began = time.process_time()
    tolerance, max_boxes = next(
        (effort for most, effort in EFFORT.items() if num_links <= most), EFFORT_BEYOND
    )
    interval = duality_interval(
        powers["metagnn"],
        gain,
        problem,
        adapted.minimum_rate,
        tolerance=tolerance,
        max_boxes=max_boxes,
    )
    bound_seconds = time.process_time() - began
    parts = kkt_residuals(
        interval.rate,
        interval.slack,
        interval.mu,
        interval.minimum_rate,
        problem.alpha,
        interval.weighted_upper,
    )
    return (
        num_links,
        index,
        len(gain),
        *(f"{values[name]:.6f}" for name in POLICIES),
        f"{interval.best_known:.6f}",
        f"{interval.dual:.6f}",
        interval.name,
        f"{float(interval.rate.sum()):.6f}",
        f"{parts.inner_gap:.6f}",
        f"{parts.complementary_part:.6f}",
        f"{parts.slack_part:.6f}",
        f"{float((adapted.mu - interval.mu).abs().max()):.4f}",
        f"{adapt_seconds:.1f}",
        f"{bound_seconds:.1f}",
    )


def baseline_powers(past: Gain, gain: Tensor, problem: Problem) -> dict[str, Tensor]:
    """Powers of the baselines on the scored samples."""
    constants = (problem.power_max_w, problem.noise_w)

    def by_ratio(samples: Gain, ratio: Tensor, step: int) -> Tensor:
        return itlinq(samples, *constants, priority=ratio)

    def policy(samples: Gain) -> Policy:
        return by_ratio

    run = warmed_up_rollout(policy, past[-2 * WARM_UP_STEPS :], gain, problem)
    return {
        "itlinq": run.power_w.squeeze(1),
        "wmmse": wmmse(gain, *constants),
        "full_power": torch.full_like(gain[..., 0], problem.power_max_w),
    }


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, none if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def quantiles(values: Sequence[float], scale: float = 1.0, digits: int = 2) -> str:
    """Median with the 10th and 90th percentile."""
    at = torch.tensor([0.5, 0.1, 0.9], dtype=torch.float64)
    middle, low, high = (torch.tensor(values).double() * scale).quantile(at).tolist()
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table() -> None:
    """Medians, quantiles and violations of all files."""
    lines = [
        "# Certified duality gaps",
        "",
        "From `duality_K.csv` (`python notebooks/duality_study.py table`): medians with the 10th",
        "and 90th percentile over networks. D is the certified bound, P the value of a policy with",
        "its smallest slack, B that of the best powers found. *Violations* counts networks on",
        "which any policy's value, or B, exceeds D. On some large networks values are not",
        "positive: a gap over P is over the networks where P > 0, whose number stands behind it.",
        "",
        "| K | networks | (D - P) / P, MetaGNN [%] | (D - B) / B [%] | (D - P) / sum rate [%] "
        "| (D - P) / P, ITLinQ [%] | (D - P) / P, WMMSE [%] | exact | violations | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    files = sorted(RESULTS.glob("duality_[0-9]*.csv"), key=lambda path: int(path.stem[8:]))
    for path in files:
        rows = read(path)
        dual = [float(row["dual"]) for row in rows]

        def over(name: str, rows: list[dict[str, str]] = rows) -> str:
            found = [
                float(row["dual"]) / float(row[name]) - 1.0 for row in rows if float(row[name]) > 0
            ]
            return f"{quantiles(found, 100.0)}, {len(found)}" if found else "-"

        width = [
            (d - float(row["metagnn"])) / float(row["sum_rate"])
            for d, row in zip(dual, rows, strict=True)
        ]
        violated = sum(
            any(float(row[name]) > d + ROUNDING * abs(d) for name in (*POLICIES, "best_known"))
            for d, row in zip(dual, rows, strict=True)
        )
        exact = sum(row["bound"] == "exact" for row in rows)
        seconds = quantiles([float(row["bound_seconds"]) for row in rows], digits=1)
        lines.append(
            f"| {path.stem[8:]} | {len(rows)} | {over('metagnn')} | {over('best_known')} "
            f"| {quantiles(width, 100.0)} | {over('itlinq')} | {over('wmmse')} | {exact} "
            f"| {violated} | {seconds} |"
        )
    write_atomically(RESULTS / "duality.md", ("\n".join(lines) + "\n").encode())


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("measure", "table"))
    parser.add_argument("--num-links", type=int, nargs="+", default=[4, 8, 12, 16, 20])
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first network")
    parser.add_argument("--samples", type=int, default=256, help="scored samples of a network")
    parser.add_argument("--checkpoint", default="power_control")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    if arguments.step == "table":
        table()
        return
    parameters = load_meta_parameters(arguments.checkpoint)
    for size in arguments.num_links:
        measure(parameters, size, arguments.networks, arguments.first, arguments.samples)


if __name__ == "__main__":
    main()
