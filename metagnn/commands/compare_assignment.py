"""``metagnn compare`` for channel assignment: trained schemes, baselines and the optimum."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metagnn.commands.options import output_folder, refuse, text_table, to_json

if TYPE_CHECKING:
    from metagnn.tasks.power_control.metrics import Estimate

_KEYS = ("scenarios", "num_users", "num_cells", "num_steps")
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
    from metagnn.assignment_comparison import assignment_metrics, compare_assignment, load_users
    from metagnn.files import write_json, written_together
    from metagnn.graphs.checks import check_count, require

    options = ("--policies", "--steps", "--power_max_dbm", "--noise_dbm", "--adapt-to")
    refuse(arguments, (*options, "--num-neighbours"), "with this configuration")
    require(set(settings) == set(_KEYS), "compare", f"have the keys {list(_KEYS)}", list(settings))
    for key in _KEYS[1:]:
        check_count(f"compare.{key}", settings[key])
    out = None if arguments.out is None else output_folder(arguments.out)
    num_users = [settings["num_users"]] if arguments.num_links is None else arguments.num_links
    require(len(num_users) == 1, "--num-links", "be one number of users", num_users)
    num_cells = settings["num_cells"] if arguments.networks is None else arguments.networks
    runs = []
    if arguments.runs is not None:
        folder = Path(arguments.runs)
        require(folder.is_dir(), "--runs", "be a folder of runs", arguments.runs)
        paths = sorted(folder.rglob("*.ckpt"))
        require(len(paths) > 0, "--runs", "hold a checkpoint", arguments.runs)
        # A run's last epoch also stands under its own name.
        runs = [load_users(path) for path in paths if not _is_last_epoch(path)]
    scores = compare_assignment(
        runs, settings["scenarios"], num_users[0], num_cells, settings["num_steps"], arguments.seed
    )
    metrics = {name: assignment_metrics(of) for name, of in scores.items()}
    document = {
        "num_users": num_users[0],
        "num_cells": num_cells,
        "num_steps": settings["num_steps"],
        "seed": arguments.seed,
        "num_seeds": {name: {p: len(s) for p, s in of.items()} for name, of in scores.items()},
        "scenarios": {name: to_json(of) for name, of in metrics.items()},
    }
    if out is not None:
        with written_together(out) as place:
            write_json(place / "comparison.json", document)
    if arguments.json:
        import json

        json.dump(document, sys.stdout, indent=2, allow_nan=False)
        print()
        return
    for name, of in metrics.items():
        print(f"{name}: {num_users[0]} users, {num_cells} cells of {settings['num_steps']} steps")
        print(_table(of), end="\n\n")
    print("Brackets: 95 % bootstrap interval, over seeds (inter-quartile mean) or else over cells.")


def _is_last_epoch(path: Path) -> bool:
    last = path.with_name("last.ckpt")
    if path == last or not last.exists():
        return False
    from metagnn.checkpoint import read_checkpoint

    epochs = [read_checkpoint(p, name="runs")["epoch"] for p in (path, last)]
    return bool(epochs[0] == epochs[1])


def _table(metrics: Mapping[str, Mapping[str, "Estimate"]]) -> str:
    order = sorted(metrics, key=lambda name: -metrics[name]["share_of_optimum"].value)
    rows = [["policy", *_COLUMNS.values()]]
    for name in order:
        cells = [name]
        for column in _COLUMNS:
            estimate, scale = metrics[name][column], 1e-6 if column == "sum_efficiency" else 1.0
            digits = 1 if column == "sum_efficiency" else 3
            ends = (estimate.value, estimate.low, estimate.high)
            value, low, high = (None if v is None else f"{scale * v:.{digits}f}" for v in ends)
            cells.append(f"{value}" if low is None else f"{value} [{low}, {high}]")
        rows.append(cells)
    return text_table(rows)
