"""What local search adds to the learned policy, and what the learned policy adds to local search.

Run ``python notebooks/refinement_study.py measure --num-links K`` for every K; a network is a row
of ``notebooks/results/refinement_K.csv``, and a run goes on where the last one stopped. ``python
notebooks/refinement_study.py table`` writes ``notebooks/results/refinement.md``. Networks, samples
and the bound D are those of `duality_study`, whose rows must be there; the values of MetaGNN there
and here must agree. From where is searched for how long was chosen on validation networks.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from duality_study import SEED, median, pooled, quantiles, relative
from study_runs import Row, read
from torch import Tensor

from metagnn.adaptation import adapt, learned_rollout
from metagnn.duality import primal_value
from metagnn.files import write_atomically, write_csv
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.checks import require
from metagnn.graphs.dataset import draw_network
from metagnn.graphs.rates import rate
from metagnn.meta_parameters import MetaParameters, load_meta_parameters
from metagnn.refinement import (
    NUM_SAMPLES,
    raise_lagrangian,
    refine,
    refine_multipliers,
    refined_power,
)

RESULTS = Path(__file__).parent / "results"
SIZES = (4, 8, 12, 16, 20)
POLICIES = {
    "metagnn": "MetaGNN",
    "powers": "its powers refined, its multipliers",
    "refined": "both refined",
    "search": "the same search without networks",
}
HEADER = ["num_links", "network", *POLICIES, "dual", "refine_seconds"]
# Relative rounding between a value measured here and before.
ROUNDING = 1e-4


def measure(parameters: MetaParameters, num_links: int) -> None:
    """Append the rows of networks that the file does not have yet.

    Raises:
        ValueError: If the value of MetaGNN is not the one that `duality_study` measured.
    """
    path = RESULTS / f"refinement_{num_links}.csv"
    for before in read(RESULTS / f"duality_{num_links}.csv"):
        rows = read(path)
        if any(row["network"] == before["network"] for row in rows):
            continue
        values = network_row(parameters, num_links, before)
        write_csv(path, HEADER, [*(tuple(row.values()) for row in rows), values])
        print(dict(zip(HEADER, values, strict=True)), flush=True)


def network_row(parameters: MetaParameters, num_links: int, before: Row) -> tuple[object, ...]:
    """Values of one network's policies, and the bound that holds for all."""
    problem = parameters.problem
    network = draw_network(ChannelFamily(), num_links, SEED, "test", int(before["network"]))
    past, scored = network.gain, network.test_gain
    assert isinstance(past, Tensor)
    assert isinstance(scored, Tensor)
    gain = scored[: int(before["num_samples"]) // 2]
    large_scale_gain = network.configuration.large_scale_gain
    adapted = adapt(parameters.networks, large_scale_gain, past, problem, parameters.adaptation)
    began = time.process_time()
    refined = refine(adapted, past, problem)
    refine_seconds = time.process_time() - began
    powers = {
        "metagnn": learned_rollout(adapted.learner, past, gain, problem).power_w.squeeze(1),
        "powers": refined_power(adapted, past, gain, problem),
        "refined": refined_power(refined, past, gain, problem),
    }
    # The same search of powers and multipliers, told nothing by networks: from a quarter of the
    # largest power in place of theirs, and no multipliers.
    recent = past[-NUM_SAMPLES:]
    quarter, start = (torch.full_like(g[..., 0], problem.power_max_w / 4) for g in (recent, gain))
    none = torch.zeros(num_links)
    mu = refine_multipliers(quarter, recent, none, adapted.minimum_rate, problem)
    powers["search"] = raise_lagrangian(start, gain, mu, problem)
    values = {}
    for name, power_w in powers.items():
        rates = rate(gain.double(), power_w.double(), problem.noise_w).mean(0)
        values[name] = float(primal_value(rates, adapted.minimum_rate, problem.alpha))
    dual = float(before["dual"])
    below = max(values.values()) <= dual + ROUNDING * abs(dual)
    require(below, "values", f"lie below the bound {dual}", values)
    known = float(before["metagnn"])
    rule = f"be {known} as in duality_{num_links}.csv, network {before['network']}"
    agree = abs(values["metagnn"] - known) <= ROUNDING * max(1.0, abs(known))
    require(agree, "metagnn", rule, values["metagnn"])
    cells = [f"{values[name]:.6f}" for name in POLICIES]
    return (num_links, before["network"], *cells, before["dual"], f"{refine_seconds:.2f}")


def lines_of(of_sizes: Mapping[int, list[Row]]) -> list[str]:
    """Medians of gaps, and how often one policy is better than another, by number of links."""
    lines = [
        "# Refinement",
        "",
        "From `refinement_K.csv` (`python notebooks/refinement_study.py table`): medians of",
        "(D - P) / P [%] with 95 % bootstrap intervals over networks; D is the certified bound of",
        "`duality_K.csv`, P the value with the smallest slack. A gap over a value that is not",
        "positive counts as infinite. All are told the same: the sample at hand, and those before.",
        "The search begins at the powers given and at single links; without networks the former",
        "are a quarter of the largest, and multipliers none. The last row is of all sizes from 8",
        "on, as many networks of each, those of lowest number.",
        "",
        f"| K | networks | {' | '.join(POLICIES.values())} | P <= 0, refined |",
        "|---" * (len(POLICIES) + 3) + "|",
    ]
    sizes, together = pooled(of_sizes)
    for size, rows in [*of_sizes.items(), *([(sizes, together)] if together else [])]:
        gaps = [median([relative(row, name) for row in rows]) for name in POLICIES]
        nothing = sum(float(row["refined"]) <= 0.0 for row in rows)
        lines.append(f"| {size} | {len(rows)} | {' | '.join(gaps)} | {nothing} |")
    lines += [
        "",
        "On how many networks the value of both refined exceeds that of the others, and what",
        "refined multipliers take on one core: median with the 10th and 90th percentile.",
        "",
        "| K | networks | MetaGNN | powers alone | search | CPU s |",
        "|---" * 6 + "|",
    ]
    for size, rows in of_sizes.items():
        better = [
            sum(float(row["refined"]) > float(row[name]) for row in rows)
            for name in POLICIES
            if name != "refined"
        ]
        spent = quantiles([float(row["refine_seconds"]) for row in rows])
        cells = [size, len(rows), *better, spent]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def table() -> None:
    """Write the lines of all files."""
    of_sizes = {size: read(RESULTS / f"refinement_{size}.csv") for size in SIZES}
    of_sizes = {size: rows for size, rows in of_sizes.items() if rows}
    require(len(of_sizes) > 0, "files", f"be in {RESULTS.name} (`measure` writes them)", 0)
    lines = lines_of(of_sizes)
    write_atomically(RESULTS / "refinement.md", ("\n".join(lines) + "\n").encode())
    print("\n".join(lines))


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("measure", "table"))
    parser.add_argument("--num-links", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--checkpoint", default="power_control")
    arguments = parser.parse_args()
    if arguments.step == "table":
        table()
        return
    torch.set_num_threads(1)
    parameters = load_meta_parameters(arguments.checkpoint)
    for size in arguments.num_links:
        measure(parameters, size)


if __name__ == "__main__":
    main()
