"""Whether the certified bound is ever violated: by policies, or by any powers that are known.

``python notebooks/duality_violations.py measure`` bounds 1,000 small networks (``--num-links 2 3 4
8``, 250 of each) at multipliers that follow from the policy's slack, and goes on where it stopped;
``... table`` sums up. `duality_interval` would hide a wrong bound: its upper end is never below a
value that it has met. So what boxes prove (`WeightedBound.proven`), of which the search knows
neither the policies' powers nor those that are tried here, is held against both.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from duality_study import ROUNDING, SEED, baseline_powers
from study_runs import Row, read
from torch import Tensor

from metagnn.adaptation import adapt, learned_rollout
from metagnn.adaptation_task import Problem
from metagnn.duality import dual_value, primal_value
from metagnn.files import write_csv
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.checks import require
from metagnn.graphs.dataset import draw_network
from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import rate
from metagnn.meta_parameters import MetaParameters, load_meta_parameters
from metagnn.tasks.power_control.exact import MAX_LINKS, exact
from metagnn.tasks.power_control.problem import smallest_slack
from metagnn.tasks.power_control.weighted_bound import weighted_bound
from metagnn.tasks.power_control.wmmse import wmmse

PATH = Path(__file__).parent / "results" / "duality_violations.csv"
NUM_PAST, NUM_SAMPLES = 256, 32
TOLERANCE, MAX_BOXES = 1e-3, 2000
# Starts of WMMSE, from random powers.
NUM_STARTS = 8
HEADER = ("num_links", "network", "samples", "below", "least_margin", "dual", "best_policy")


def network_row(parameters: MetaParameters, num_links: int, index: int) -> tuple[object, ...]:
    """Samples whose bound lies below a value, how far all lie above, and the network's values."""
    problem = parameters.problem
    constants = (problem.power_max_w, problem.noise_w)
    drawn = (ChannelFamily(), num_links, SEED, "test", index, NUM_PAST, NUM_SAMPLES)
    network = draw_network(*drawn)
    past, gain = network.gain, network.test_gain
    assert isinstance(gain, Tensor)
    unadapted = replace(parameters.adaptation, num_epochs=0)
    large = network.configuration.large_scale_gain
    adapted = adapt(parameters.networks, large, past, problem, unadapted)
    powers = baseline_powers(past, gain, problem)
    run = learned_rollout(adapted.learner, past, gain, problem)
    powers["metagnn"] = run.power_w.squeeze(1)

    wide = gain.double()
    required = torch.full((num_links,), adapted.minimum_rate, dtype=torch.float64)
    rates = {name: rate(wide, p.double(), problem.noise_w) for name, p in powers.items()}
    mu = problem.alpha * smallest_slack(rates["metagnn"].mean(0), required)
    weight = (1.0 + mu).expand(len(gain), num_links)
    proven = weighted_bound(wide, *constants, weight, TOLERANCE, MAX_BOXES).proven
    known = [*rates.values(), *_searched(wide, problem, weight, index)]
    best = torch.stack([(weight * each).sum(-1) for each in known]).amax(0)
    margin = proven / best - 1.0
    dual = float(dual_value(proven.mean(), mu, required, problem.alpha))
    values = [float(primal_value(r.mean(0), required, problem.alpha)) for r in rates.values()]
    below = int((margin < -ROUNDING).sum())
    numbers = (f"{float(margin.min()):.3e}", f"{dual:.8g}", f"{max(values):.8g}")
    return num_links, index, len(gain), below, *numbers


def _searched(gain: Tensor, problem: Problem, weight: Tensor, index: int) -> list[Tensor]:
    """Rates at powers that maximise the weighted sum rate, by other means than the bound."""
    constants = (problem.power_max_w, problem.noise_w)
    source = generator(index, "starts of WMMSE")
    starts = torch.rand(NUM_STARTS, *weight.shape, generator=source, dtype=torch.float64)
    found = [
        wmmse(gain, *constants, weight, initial_power_w=problem.power_max_w * start)
        for start in starts
    ]
    if gain.shape[-1] <= MAX_LINKS:
        found.append(exact(gain, *constants, weight))
    return [rate(gain, power.double(), problem.noise_w) for power in found]


def is_violated(row: Row) -> bool:
    """Whether a policy has a value above the bound, or known powers one above that of a sample."""
    dual = float(row["dual"])
    above = float(row["best_policy"]) > dual + ROUNDING * abs(dual)
    return above or int(row["below"]) > 0


def lines_of(rows: list[Row]) -> list[str]:
    """Numbers of violations, by the number of links."""
    lines = ["| K | networks | samples | violated | least margin |", "|---|---|---|---|---|"]
    sizes = sorted({int(row["num_links"]) for row in rows})
    groups = {str(k): [row for row in rows if int(row["num_links"]) == k] for k in sizes}
    for name, of in [*groups.items(), ("all", rows)]:
        samples = sum(int(row["samples"]) for row in of)
        least = min(float(row["least_margin"]) for row in of)
        violated = sum(map(is_violated, of))
        lines.append(f"| {name} | {len(of)} | {samples} | {violated} | {least:.1e} |")
    return lines


def measure(parameters: MetaParameters, sizes: list[int], num_networks: int) -> None:
    """Append the rows of networks that the file does not have yet."""
    for num_links in sizes:
        for index in range(num_networks):
            rows = read(PATH)
            if any((r["num_links"], r["network"]) == (str(num_links), str(index)) for r in rows):
                continue
            values = map(str, network_row(parameters, num_links, index))
            rows.append(dict(zip(HEADER, values, strict=True)))
            write_csv(PATH, HEADER, [tuple(row.values()) for row in rows])
        print(f"K = {num_links}: {num_networks} networks", flush=True)


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("measure", "table"))
    parser.add_argument("--num-links", type=int, nargs="+", default=[2, 3, 4, 8])
    parser.add_argument("--networks", type=int, default=250, help="of each number of links")
    parser.add_argument("--checkpoint", default="power_control")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.step == "measure":
        parameters = load_meta_parameters(arguments.checkpoint)
        measure(parameters, arguments.num_links, arguments.networks)
        return
    rows = read(PATH)
    require(len(rows) > 0, "rows", f"be measured first ({PATH.name})", 0)
    print("\n".join(lines_of(rows)))


if __name__ == "__main__":
    main()
