"""From how many single links refinement is to search: what it gains, and what it takes.

``python notebooks/refinement_choices.py measure`` refines policies of validation networks (seed
3000, none of which is scored elsewhere) from the learned powers and so many links alone; a network
is some rows of ``notebooks/results/refinement_choices.csv``, and a run goes on where the last one
stopped. ``... table`` writes ``refinement_choices.md``: `metagnn.refinement.NUM_ALONE` beside other
numbers.
"""

import argparse
import time
from pathlib import Path

import torch
from duality_study import SEED
from study_runs import Row, read
from torch import Tensor

from metagnn.adaptation import adapt
from metagnn.commands.options import interval_cell
from metagnn.duality import primal_value
from metagnn.files import write_atomically, write_csv
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.dataset import draw_network
from metagnn.graphs.rates import rate
from metagnn.meta_parameters import MetaParameters, load_meta_parameters
from metagnn.refinement import refine, refined_power
from metagnn.tasks.power_control.metrics import network_average

PATH = Path(__file__).parent / "results" / "refinement_choices.csv"
SIZES = (4, 8, 12, 20)
NUM_ALONE = (0, 2, 4, 8, 16)
NUM_SCORED = 64
HEADER = ("num_links", "network", "num_alone", "primal", "multiplier_seconds", "power_ms")


def measure(parameters: MetaParameters, num_networks: int) -> None:
    """Append the rows of networks that the file does not have yet."""
    for index in range(num_networks):
        for num_links in SIZES:
            rows = [tuple(row.values()) for row in read(PATH)]
            if any(row[:2] == (str(num_links), str(index)) for row in rows):
                continue
            found = network_rows(parameters, num_links, index)
            write_csv(PATH, HEADER, [*rows, *found])
            print(*found, sep="\n", flush=True)


def network_rows(
    parameters: MetaParameters, num_links: int, index: int
) -> list[tuple[object, ...]]:
    """Value of the refined policy, and the CPU time of multipliers and of a sample's powers."""
    problem = parameters.problem
    network = draw_network(ChannelFamily(), num_links, SEED, "validation", index)
    past, scored = network.gain, network.test_gain
    assert isinstance(past, Tensor)
    assert isinstance(scored, Tensor)
    gain = scored[:NUM_SCORED]
    large_scale_gain = network.configuration.large_scale_gain
    adapted = adapt(parameters.networks, large_scale_gain, past, problem, parameters.adaptation)
    rows: list[tuple[object, ...]] = []
    for num_alone in sorted({min(number, num_links) for number in NUM_ALONE}):
        began = time.process_time()
        refined = refine(adapted, past, problem, num_alone)
        then = time.process_time()
        power_w = refined_power(refined, past, gain, problem, num_alone)
        spent = (then - began, 1e3 * (time.process_time() - then) / len(gain))
        rates = rate(gain.double(), power_w, problem.noise_w).mean(0)
        value = float(primal_value(rates, adapted.minimum_rate, problem.alpha))
        cells = (f"{value:.6f}", f"{spent[0]:.2f}", f"{spent[1]:.2f}")
        rows.append((num_links, index, num_alone, *cells))
    return rows


def lines_of(rows: list[Row]) -> list[str]:
    """What searching from single links adds, by their number, and mean CPU times."""
    lines = [
        "# From how many single links to search",
        "",
        "Validation networks (`python notebooks/refinement_choices.py measure`, `table`): what the",
        "refined policy gains over a search from the learned powers alone, with 95 % bootstrap",
        "intervals over networks, and means of what it takes on one core.",
        "",
        "| K | networks | links alone | gain [bit/s/Hz] | multipliers [s] | powers [ms a sample] |",
        "|---|---|---|---|---|---|",
    ]
    for size in sorted({int(row["num_links"]) for row in rows}):
        of_size = [row for row in rows if int(row["num_links"]) == size]
        none = {row["network"]: float(row["primal"]) for row in of_size if row["num_alone"] == "0"}
        for number in sorted({int(row["num_alone"]) for row in of_size}):
            mine = [row for row in of_size if int(row["num_alone"]) == number]
            gain = torch.tensor([float(row["primal"]) - none[row["network"]] for row in mine])
            cell = interval_cell(network_average(gain), 3) if number > 0 else ""
            spent = [
                sum(float(row[name]) for row in mine) / len(mine)
                for name in ("multiplier_seconds", "power_ms")
            ]
            cells = [size, len(mine), number, cell, f"{spent[0]:.2f}", f"{spent[1]:.1f}"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def main() -> None:
    """Measure, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("measure", "table"))
    parser.add_argument("--networks", type=int, default=6, help="networks of each size")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.step == "measure":
        measure(load_meta_parameters("power_control"), arguments.networks)
        return
    text = "\n".join([*lines_of(read(PATH)), ""])
    write_atomically(PATH.with_suffix(".md"), text.encode(), name="results")
    print(text)


if __name__ == "__main__":
    main()
