"""What the comparisons of trained agents share: options, their runs, output."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metagnn.commands.options import refuse
from metagnn.files import write_json, written_together
from metagnn.graphs.checks import require


def refuse_for_agents(arguments: argparse.Namespace, *others: str) -> None:
    """Refuse the options of ``metagnn compare`` that trained agents have no use for, and others.

    Raises:
        ValueError: If one was given.
    """
    options = ("--policies", "--steps", "--power_max_dbm", "--noise_dbm", "--adapt-to", "--boxes")
    refuse(arguments, (*options, "--num-neighbours", *others), "with this configuration")
    for option, default in (
        ("gap", False),
        ("bf16", False),
        ("device", "cpu"),
        ("checkpoint", "power_control"),
    ):
        value = getattr(arguments, option)
        require(value == default, f"--{option}", "be left out with this configuration", value)


def runs_folder(arguments: argparse.Namespace) -> Path | None:
    """Folder of ``--runs``, None if there is none.

    Raises:
        ValueError: If it is no folder.
    """
    if arguments.runs is None:
        return None
    folder = Path(arguments.runs)
    require(folder.is_dir(), "--runs", "be a folder of runs", arguments.runs)
    return folder


def put_out(document: Mapping[str, Any], arguments: argparse.Namespace, out: Path | None) -> bool:
    """Write a comparison's numbers to ``out``, and with ``--json`` print them.

    Returns:
        Whether they were printed.
    """
    if out is not None:
        with written_together(out) as folder:
            write_json(folder / "comparison.json", document)
    if arguments.json:
        json.dump(document, sys.stdout, indent=2, allow_nan=False)
        print()
    return bool(arguments.json)
