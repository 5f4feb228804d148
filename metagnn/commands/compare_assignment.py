"""``metagnn compare`` for channel assignment: trained schemes, baselines and the optimum."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metagnn.commands.options import (
    interval_cell,
    output_folder,
    text_table,
    to_json,
)

if TYPE_CHECKING:
    from metagnn.tasks.power_control.metrics import Estimate

_COUNTS = ("num_users", "num_cells", "num_steps")
_KEYS = ("scenarios", *_COUNTS, "line_of_sight", "snr_min_db")
_COLUMNS = {
    "sum_efficiency": "sum EE [Mbit/J]",
    "share_of_optimum": "share of optimum",
    "success_rate": "no collision",
    "snr_rate": "above SNR floor",
}


def compare(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> None:
    """Score every run found under ``--runs`` and the baselines, and print a table per scenario.

    Args:
        arguments: Options of ``metagnn compare``.
        settings: Section ``compare`` of the configuration.

    Raises:
        ValueError: If an option or a setting breaks its rule.
    """
    from metagnn.assignment_comparison import (
        assignment_metrics,
        compare_assignment,
        find_trained,
        improvements,
    )
    from metagnn.commands.agent_options import put_out, refuse_for_agents, runs_folder
    from metagnn.graphs.checks import check_count, require
    from metagnn.tasks.channel_assignment.scenario import SCENARIOS

    refuse_for_agents(arguments)
    require(set(settings) == set(_KEYS), "compare", f"have the keys {list(_KEYS)}", list(settings))
    for key in _COUNTS:
        check_count(f"compare.{key}", settings[key])
    sight = settings["line_of_sight"]
    require(isinstance(sight, bool), "compare.line_of_sight", "be true or false", sight)
    scenarios, known = settings["scenarios"], list(SCENARIOS)
    fits = isinstance(scenarios, list) and all(name in known for name in scenarios)
    rule = f"be a list of some of {known}"
    require(fits and len(scenarios) > 0, "compare.scenarios", rule, scenarios)
    floor_db = settings["snr_min_db"]
    number = isinstance(floor_db, int | float) and not isinstance(floor_db, bool)
    require(number, "compare.snr_min_db", "be a number", floor_db)
    out = None if arguments.out is None else output_folder(arguments.out)
    num_users = [settings["num_users"]] if arguments.num_links is None else arguments.num_links
    require(len(num_users) == 1, "--num-links", "be one number of users", num_users)
    num_cells = settings["num_cells"] if arguments.networks is None else arguments.networks
    folder = runs_folder(arguments)
    trained = [] if folder is None else find_trained(folder)
    scores = compare_assignment(
        trained,
        scenarios,
        num_users[0],
        num_cells,
        settings["num_steps"],
        arguments.seed,
        sight,
        float(floor_db),
    )
    metrics = {name: assignment_metrics(of) for name, of in scores.items()}
    better = {name: improvements(of) for name, of in scores.items()}
    document = {
        "num_users": num_users[0],
        "num_cells": num_cells,
        "num_steps": settings["num_steps"],
        "line_of_sight": sight,
        "snr_min_db": floor_db,
        "seed": arguments.seed,
        "interval": "over seeds (of the inter-quartile mean), over cells where num_seeds is 1",
        "num_seeds": {name: {p: len(s) for p, s in of.items()} for name, of in scores.items()},
        "scenarios": {name: to_json(of) for name, of in metrics.items()},
        "probability_of_improvement": {
            name: to_json({f"{a} > {b}": {"probability": p} for (a, b), p in of.items()})
            for name, of in better.items()
        },
    }
    if put_out(document, arguments, out):
        return
    for name, of in metrics.items():
        print(f"{name}: {num_users[0]} users, {num_cells} cells of {settings['num_steps']} steps")
        print(_table(of))
        for (first, second), chance in better[name].items():
            print(f"P({first} > {second}) in sum EE: {interval_cell(chance, 2)}")
        print()
    print("Brackets: 95 % bootstrap interval, over seeds (inter-quartile mean) or else over cells.")


def _table(metrics: Mapping[str, Mapping[str, "Estimate"]]) -> str:
    order = sorted(metrics, key=lambda name: -metrics[name]["share_of_optimum"].value)
    rows = [["policy", *_COLUMNS.values()]]
    for name in order:
        cells = [interval_cell(metrics[name]["sum_efficiency"], 1, 1e-6)]
        cells += [interval_cell(metrics[name][column]) for column in list(_COLUMNS)[1:]]
        rows.append([name, *cells])
    return text_table(rows)
