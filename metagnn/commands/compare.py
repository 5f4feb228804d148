"""``metagnn compare``: policies and baselines on the same networks."""

import argparse
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from metagnn.commands.options import (
    add_policy_options,
    check_levels,
    load_parameters,
    neglected_inr,
    neglected_note,
    output_folder,
    read_scenario,
    refuse,
    table,
    text_table,
    to_json,
)

if TYPE_CHECKING:
    from metagnn.duality import Interval
    from metagnn.ergodic_interval import ErgodicInterval


def main(words: Sequence[str]) -> None:
    """Run the subcommand.

    Raises:
        ValueError: If an argument breaks its rule.
    """
    arguments = _parser().parse_args(words)
    from metagnn.comparison import (
        DEFAULT_POLICIES,
        REFINED,
        REFINED_LINKS,
        Scenario,
        compare,
    )
    from metagnn.comparison_files import write_comparison
    from metagnn.experiment import has_section, read_section
    from metagnn.gap_file import gap_rows
    from metagnn.graphs.checks import check_count
    from metagnn.graphs.neighbours import NeighbourGain
    from metagnn.versions import versions

    check_count("seed", arguments.seed, minimum=0)
    if (arguments.gain is None) == (arguments.config is None):
        raise ValueError("`GAIN` or `--config` must be given, and not both")
    if arguments.config is not None and has_section(arguments.config, "compare"):
        settings = read_section(arguments.config, "compare")
        if settings.get("task") == "offloading":
            from metagnn.commands.compare_offloading import compare as compare_algorithms

            compare_algorithms(arguments, settings, read_section(arguments.config, "model"))
            return
        if settings.get("task") == "spectrum_allocation":
            from metagnn.commands.compare_spectrum import compare as compare_agents

            compare_agents(arguments, settings, read_section(arguments.config, "model"))
            return
        refuse(arguments, ("--network",), "with this configuration")
        from metagnn.commands.compare_assignment import compare as compare_schemes

        compare_schemes(arguments, settings)
        return
    refuse(arguments, ("--runs", "--network"), "without a configuration of trained agents")
    if not arguments.gap:
        refuse(arguments, ("--boxes",), "without --gap")
    boxes = 2000 if arguments.boxes is None else arguments.boxes
    check_count("--boxes", boxes)
    policies = arguments.policies.split(",") if arguments.policies is not None else None
    out = None if arguments.out is None else output_folder(arguments.out)
    parameters = load_parameters(arguments)
    steps = parameters.adaptation.num_epochs if arguments.steps is None else arguments.steps
    check_count("steps", steps, minimum=0)
    scenarios: list[Scenario]
    if arguments.config is not None:
        from metagnn.experiment import experiment_scenarios

        refuse(
            arguments,
            ("--power_max_dbm", "--noise_dbm", "--adapt-to", "--num-neighbours"),
            "with --config",
        )
        networks = 20 if arguments.networks is None else arguments.networks
        check_count("networks", networks)
        scenarios, problem = experiment_scenarios(
            arguments.config, arguments.num_links, networks, arguments.seed
        )
        parameters = parameters.for_powers(problem.power_max_w, problem.noise_w)
    else:
        refuse(arguments, ("--networks", "--num-links"), "with GAIN")
        scenarios = [
            read_scenario(
                arguments.gain, arguments.adapt_to, arguments.seed, arguments.num_neighbours
            )
        ]
        if scenarios[0].past_gain is None:
            refuse(arguments, ("--steps",), "without samples to adapt to (--adapt-to)")
            steps = 0
    if policies is None:
        largest = max(len(scenario.large_scale_gain) for scenario in scenarios)
        dense = not any(isinstance(scenario.gain, NeighbourGain) for scenario in scenarios)
        quick = dense and largest <= REFINED_LINKS
        policies = [name for name in DEFAULT_POLICIES if quick or name != REFINED]
    powers = parameters.problem.power_max_w, parameters.problem.noise_w
    for scenario in scenarios:
        for gain in (scenario.large_scale_gain, scenario.past_gain, scenario.gain):
            if gain is not None:
                check_levels(gain, *powers)
    progress = _Progress(len(scenarios), arguments.json)
    result = compare(
        [scenario.to(arguments.device) for scenario in scenarios],
        policies,
        parameters,
        steps,
        arguments.seed,
        progress.step,
        arguments.bf16,
        arguments.gap,
        boxes,
    )
    progress.close()
    metrics = result.metrics()
    known = (result.intervals, result.values, result.ergodic_intervals)
    document = {
        "config": arguments.config,
        "gain": arguments.gain,
        "adapt_to": arguments.adapt_to,
        "checkpoint": arguments.checkpoint,
        "num_networks": len(scenarios),
        "num_links": [len(s.large_scale_gain) for s in scenarios],
        "steps": steps,
        "seed": arguments.seed,
        "alpha": parameters.problem.alpha,
        "minimum_rate_threshold": parameters.problem.minimum_rate_threshold,
        **({"boxes": boxes} if arguments.gap else {}),
        **neglected_inr([s.large_scale_gain for s in scenarios], *powers),
        "policies": to_json(metrics),
        **({"gap": gap_rows(*known)} if arguments.gap else {}),
        "versions": versions(),
    }
    if out is not None:
        write_comparison(out, document, result, metrics, scenarios, parameters.problem)
    if arguments.json:
        import json

        json.dump(document, sys.stdout, indent=2, allow_nan=False)
        print()
        return
    print(table(metrics))
    if arguments.gap:
        print(gap_table(*known))
    if note := neglected_note(document):
        print(note)
    if out is not None:
        files = ["comparison.json", "rates.csv", "networks.json", "comparison.png"]
        files += ["gap.json"] if arguments.gap else []
        print(f"\nIn {out}: {', '.join(files)}")
        print(f"A page of it: metagnn report {out}")


class _Progress:
    def __init__(self, total: int, quiet: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, unit="network", disable=quiet or total == 1, leave=False)

    def step(self) -> None:
        self._bar.update()

    def close(self) -> None:
        self._bar.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="metagnn compare",
        description="Score policies and baselines on the same samples of the same networks.",
    )
    parser.add_argument(
        "gain",
        nargs="?",
        metavar="GAIN",
        help="samples .npz (gain [S, K, K], all of them scored) or a CSV of links",
    )
    parser.add_argument("--config", help="random networks of a packaged or own configuration")
    parser.add_argument("--networks", type=int, help="networks per number of links (20)")
    parser.add_argument(
        "--num-links",
        type=int,
        nargs="+",
        metavar="K",
        help="numbers of links; those of the configuration's test networks if not given",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the test networks (0)")
    parser.add_argument("--runs", metavar="DIR", help="folder of trained runs of agents")
    parser.add_argument(
        "--network",
        metavar="NAME",
        help="offloading: melbourne, cells x users such as 12x10, or a folder with sites.csv and "
        "users.csv; spectrum_allocation: nycmesh",
    )
    parser.add_argument("--policies", metavar="LIST", help="names separated by commas")
    parser.add_argument(
        "--adapt-to",
        metavar="GAIN",
        help="samples .npz before those of GAIN, to adapt to; without it metagnn does not adapt",
    )
    parser.add_argument(
        "--gap",
        action="store_true",
        help="bracket the optimum of each network; seconds per network, close up to about 8 links",
    )
    parser.add_argument(
        "--boxes",
        type=int,
        metavar="N",
        help="with --gap: boxes of a sample for the bound of more than 4 links (2000); ten times "
        "as many for 12 links, a hundred times for 16",
    )
    add_policy_options(parser)
    return parser


def gap_table(
    intervals: Mapping[int, "Interval"],
    values: Mapping[str, Mapping[int, float]],
    ergodic: Mapping[int, "ErgodicInterval"],
) -> str:
    """What holds the optimum of each network, and how far all policies are from the bound."""
    header = ["network", "links", "metagnn", "best known", "bound", "gap [%]", "undecided"]
    rows = [[*header, "found by", *(["channel, 95 %"] if ergodic else [])]]
    for number, one in intervals.items():
        ends = [f"{value:.2f}" for value in (one.primal, one.best_known, one.dual)]
        gap = _percent(one.relative_gap)
        row = [str(number), str(len(one.rate)), *ends, gap, f"{one.undecided:.2f}", one.name]
        if number in ergodic:
            row.append(f"{ergodic[number].low:.2f} to {ergodic[number].high:.2f}")
        rows.append([*row, *[""] * (len(rows[0]) - len(row))])
    title = (
        "The optimum lies between metagnn and the bound [bit/s/Hz, less the cost of the slack].\n"
        "Undecided: by how much the search, which has a tolerance and so many boxes, may have left "
        "the bound too high."
    )
    if ergodic:
        title += "\nChannel: the same of its distribution, if samples are independent in time."
    gaps = {
        name: statistics.median(
            one.dual / of[number] - 1.0 if of[number] > 0.0 else math.inf
            for number, one in intervals.items()
        )
        for name, of in values.items()
    }
    said = ", ".join(f"{name} {_percent(gap)}" for name, gap in gaps.items())
    return f"\n{title}\n{text_table(rows)}\nMedian gap [%]: {said}"


def _percent(share: float) -> str:
    """Of a gap, which rounding may have put just below 0."""
    return f"{max(0.0, 100.0 * share):.2f}"
