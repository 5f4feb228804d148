"""Certified duality gaps, measured: how far policies are from the optimum of their samples.

Run ``python notebooks/duality_study.py measure --num-links K --networks N`` for every K; a network
is a row of ``notebooks/results/duality_K.csv``, and a run goes on where the last one stopped.
``python notebooks/duality_study.py table`` writes ``notebooks/results/duality.md`` from these.
Networks are those of `power_control_study` (seed 3000, used for no choice). The samples' optimum is
bracketed on the first half of the samples, that of the distribution on the second, at the
multipliers of the first. `duality_violations.py` asks whether a bound is ever violated.
"""

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from study_runs import Row, read
from torch import Tensor

from metagnn.adaptation import WARM_UP_STEPS, adapt, learned_rollout, warmed_up_rollout
from metagnn.adaptation_task import Problem
from metagnn.duality import duality_interval, primal_value
from metagnn.ergodic_interval import ergodic_interval
from metagnn.files import write_atomically, write_csv
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.checks import require
from metagnn.graphs.dataset import draw_network
from metagnn.graphs.neighbours import Gain
from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import rate
from metagnn.kkt import kkt_residuals
from metagnn.meta_parameters import MetaParameters, load_meta_parameters
from metagnn.rollout import Policy
from metagnn.tasks.power_control.itlinq import itlinq
from metagnn.tasks.power_control.metrics import NUM_RESAMPLES
from metagnn.tasks.power_control.relaxation import EXACT
from metagnn.tasks.power_control.wmmse import wmmse

RESULTS = Path(__file__).parent / "results"
SEED = 3000
POLICIES = ("metagnn", "itlinq", "wmmse", "full_power")
HEADER = [
    "num_links",
    "network",
    "num_samples",
    "max_boxes",
    *POLICIES,
    "best_known",
    "dual",
    "bound",
    "ergodic_low",
    "ergodic_high",
    "sum_rate",
    "inner_gap",
    "complementary",
    "slack",
    "mu_error",
    "adapt_seconds",
    "bound_seconds",
]
# Tolerance of the inner maximum, and boxes per sample, by the largest number of links.
EFFORT = {
    4: (1e-4, 4000),
    8: (1e-3, 6000),
    12: (1e-2, 20_000),
    16: (1e-2, 200_000),
    20: (1e-2, 1_000_000),
}
# What is affordable; more boxes would make it tighter.
EFFORT_BEYOND = (1e-2, 2000)
# Boxes at most for the bound of the distribution, which is wide for other reasons.
ERGODIC_BOXES = 20_000
# Relative rounding of values that are compared across policies.
ROUNDING = 1e-9


def measure(
    parameters: MetaParameters, num_links: int, num_networks: int, first: int, num_samples: int
) -> None:
    """Append the rows of networks that the file does not have yet.

    Raises:
        ValueError: If the file holds rows of another number of samples or boxes.
    """
    path = RESULTS / f"duality_{num_links}.csv"
    _, boxes = effort(num_links)
    for index in range(first, first + num_networks):
        rows = read(path)
        for row in rows:
            rule = f"hold {num_samples} samples of each network"
            require(row["num_samples"] == str(num_samples), path.name, rule, row["num_samples"])
            rule = f"hold bounds of {boxes} boxes"
            require(row["max_boxes"] == str(boxes), path.name, rule, row["max_boxes"])
        if any(row["network"] == str(index) for row in rows):
            continue
        values = network_row(parameters, num_links, index, num_samples)
        # Others may have added rows meanwhile.
        write_csv(path, HEADER, [*(tuple(row.values()) for row in read(path)), values])
        print(dict(zip(HEADER, values, strict=True)), flush=True)


def network_row(
    parameters: MetaParameters, num_links: int, index: int, num_samples: int
) -> tuple[object, ...]:
    """Values of all policies on one network's scored samples, and the bound they share."""
    problem = parameters.problem
    network = draw_network(ChannelFamily(), num_links, SEED, "test", index)
    past, scored = network.gain, network.test_gain
    assert isinstance(past, Tensor)
    assert isinstance(scored, Tensor)
    require(2 <= num_samples <= len(scored), "samples", f"lie in [2, {len(scored)}]", num_samples)
    half = num_samples // 2
    gain, others = scored[:half], scored[half:num_samples]
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
    tolerance, max_boxes = effort(num_links)
    interval = duality_interval(
        powers["metagnn"],
        gain,
        problem,
        adapted.minimum_rate,
        tolerance=tolerance,
        max_boxes=max_boxes,
    )
    bound_seconds = time.process_time() - began
    run = learned_rollout(adapted.learner, torch.cat([past, gain]), others, problem)
    ergodic = ergodic_interval(
        run.power_w.squeeze(1),
        others,
        problem,
        adapted.minimum_rate,
        interval.mu,
        tolerance,
        min(max_boxes, ERGODIC_BOXES),
    )
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
        num_samples,
        max_boxes,
        *(f"{values[name]:.6f}" for name in POLICIES),
        f"{interval.best_known:.6f}",
        f"{interval.dual:.6f}",
        interval.name,
        f"{ergodic.low:.6f}",
        f"{ergodic.high:.6f}",
        f"{float(interval.rate.sum()):.6f}",
        f"{parts.inner_gap:.6f}",
        f"{parts.complementary_part:.6f}",
        f"{parts.slack_part:.6f}",
        f"{float((adapted.mu - interval.mu).abs().max()):.4f}",
        f"{adapt_seconds:.1f}",
        f"{bound_seconds:.1f}",
    )


def effort(num_links: int) -> tuple[float, int]:
    """Tolerance and boxes of networks of so many links."""
    return next((found for most, found in EFFORT.items() if num_links <= most), EFFORT_BEYOND)


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


def quantiles(values: Sequence[float], scale: float = 1.0, digits: int = 2) -> str:
    """Median with the 10th and 90th percentile, each the next one that is among the values."""
    at = torch.tensor([0.5, 0.1, 0.9], dtype=torch.float64)
    score = torch.tensor(values).double() * scale
    middle, low, high = score.quantile(at, interpolation="higher").tolist()
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def median(values: Sequence[float], digits: int = 2) -> str:
    """Median in percent, with a 95 % bootstrap interval over networks."""
    score = 100.0 * torch.tensor(values).double()
    drawn = torch.randint(
        len(score), (NUM_RESAMPLES, len(score)), generator=generator(0, "median of gaps")
    )
    medians = score[drawn].quantile(0.5, dim=1, interpolation="higher")
    at = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = medians.quantile(at, interpolation="higher").tolist()
    value = float(score.quantile(0.5, interpolation="higher"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def relative(row: Row, over: str, upper: str = "dual") -> float:
    """How far an upper bound lies above a value, over it; infinite where that is not positive."""
    value = float(row[over])
    return float(row[upper]) / value - 1.0 if value > 0.0 else math.inf


def pooled(of_sizes: Mapping[int, list[Row]], least: int = 8) -> tuple[str, list[Row]]:
    """As many networks of each size from ``least`` links on, those of lowest number, and a name."""
    sizes = sorted(size for size in of_sizes if size >= least)
    count = min((len(of_sizes[size]) for size in sizes), default=0)
    rows = [
        row
        for size in sizes
        for row in sorted(of_sizes[size], key=lambda row: int(row["network"]))[:count]
    ]
    return " + ".join(map(str, sizes)), rows


TITLES = {
    "(D - P) / P, MetaGNN [%]": ("metagnn", "dual"),
    "(D - B) / B [%]": ("best_known", "dual"),
    "ITLinQ [%]": ("itlinq", "dual"),
    "WMMSE [%]": ("wmmse", "dual"),
    "full power [%]": ("full_power", "dual"),
    "distribution [%]": ("ergodic_low", "ergodic_high"),
}


def lines_of(of_sizes: Mapping[int, list[Row]]) -> list[str]:
    """Medians, quantiles and violations by number of links."""
    lines = [
        "# Certified duality gaps",
        "",
        "From `duality_K.csv` (`python notebooks/duality_study.py table`): medians with 95 %",
        "bootstrap intervals over networks. D is the certified bound, P the value of a policy with",
        "its smallest slack, B that of the best powers found, on half of the samples. A gap over a",
        "value that is not positive counts as infinite. Columns of baselines are (D - P) / P of",
        "theirs. The last gap is that of the distribution: of both ends of `ergodic_interval`,",
        "with the bound on the other half, at 95 % confidence. A search takes so many boxes of a",
        "sample at most; on so many networks it was exact, to its tolerance, on all samples.",
        "",
        f"| K | networks | samples | boxes | {' | '.join(TITLES)} | exact | above D | P <= 0 |",
        "|---" * (len(TITLES) + 7) + "|",
    ]
    for size, rows in of_sizes.items():
        gaps = [median([relative(row, *pair) for row in rows]) for pair in TITLES.values()]
        samples = sorted({int(row["num_samples"]) for row in rows})
        exact = sum(row["bound"] == EXACT for row in rows)
        nothing = sum(float(row["metagnn"]) <= 0.0 for row in rows)
        boxes = sorted({int(row["max_boxes"]) for row in rows})
        cells = [size, len(rows), *samples, *boxes, *gaps, exact, sum(map(is_above, rows)), nothing]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += [
        "",
        "Spread over networks: median with the 10th and 90th percentile.",
        "",
        "| K | (D - P) / P [%] | (D - P) / sum rate [%] | CPU s to adapt | CPU s to bound |",
        "|---|---|---|---|---|",
    ]
    for size, rows in of_sizes.items():
        gap = [relative(row, "metagnn") for row in rows]
        width = [
            (float(row["dual"]) - float(row["metagnn"])) / float(row["sum_rate"]) for row in rows
        ]
        spent = [[float(row[f"{name}_seconds"]) for row in rows] for name in ("adapt", "bound")]
        cells = [quantiles(gap, 100.0), quantiles(width, 100.0)]
        cells += [quantiles(seconds, digits=1) for seconds in spent]
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return lines


def is_above(row: Row) -> bool:
    """Whether a policy, or the best powers found, has a value above the bound."""
    dual = float(row["dual"])
    values = [float(row[name]) for name in (*POLICIES, "best_known")]
    return max(values) > dual + ROUNDING * abs(dual)


def table() -> None:
    """Write the lines of all files."""
    files = sorted(RESULTS.glob("duality_[0-9]*.csv"), key=lambda path: int(path.stem[8:]))
    require(len(files) > 0, "files", f"be in {RESULTS.name} (`measure` writes them)", 0)
    lines = lines_of({int(path.stem[8:]): read(path) for path in files})
    write_atomically(RESULTS / "duality.md", ("\n".join(lines) + "\n").encode())
    print("\n".join(lines))


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("measure", "table"))
    parser.add_argument("--num-links", type=int, nargs="+", default=[4, 8, 12, 16, 20])
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first network")
    parser.add_argument("--samples", type=int, default=128, help="scored samples of a network")
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
