"""``metagnn bench``: speed against the ordinary way, as ratios in one run."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metagnn.benchmarks import Measurement

PARTS = ("leconv", "step", "baselines", "decisions", "large", "environments")
# Half an hour long, so only where it is named.
LONG_PARTS = ("table_i",)
# Table I of next to nothing, for a check of the machinery.
_SHORT_TABLE_I = (
    "--data.tasks_per_batch=1",
    "--data.num_samples=64",
    "--model.init_args.inner.num_epochs=1",
    "--model.init_args.inner.steps_per_epoch=2",
)


def main(words: Sequence[str]) -> None:
    """Run the subcommand.

    Raises:
        ValueError: If a part is unknown.
    """
    arguments = _parser().parse_args(words)
    parts = arguments.parts.split(",")
    for part in parts:
        if part not in PARTS + LONG_PARTS:
            raise ValueError(f"`parts` must be among {[*PARTS, *LONG_PARTS]}, got {part!r}")
    import torch

    torch.set_num_threads(1)
    rows = []
    for row in _rows(parts, arguments.short):
        rows.append(row)
        if not arguments.json:
            print(_line(row), flush=True)
    if arguments.json:
        import json

        json.dump([vars(row) for row in rows], sys.stdout, indent=2)
        print()


def _rows(parts: Sequence[str], short: bool) -> "Iterator[Measurement]":
    from metagnn import benchmarks

    repeats = 1 if short else 5
    if "leconv" in parts:
        sizes = (8,) if short else (8, 20, 50, 100)
        yield from benchmarks.leconv(sizes, 8 if short else 256, repeats)
    if "step" in parts:
        yield from benchmarks.meta_step(2 if short else 32, 1 if short else 20, min(repeats, 3))
    if "baselines" in parts:
        for num_links in (8,) if short else (8, 20, 50):
            yield from benchmarks.baselines(num_links, 16 if short else 256, repeats)
    if "decisions" in parts:
        yield from benchmarks.decisions(10 if short else 50, 8 if short else 256, repeats)
    if "large" in parts:
        sizes = (200,) if short else (1_000, 10_000, 100_000, 1_000_000)
        yield from benchmarks.large(sizes, 16, min(repeats, 3))
    if "environments" in parts:
        copies, steps = (8, 2) if short else (1024, 100)
        yield benchmarks.environment_steps(copies, steps, repeats)
    if "table_i" in parts:
        if short:
            yield benchmarks.table_i(1, 1, _SHORT_TABLE_I)
        else:
            yield benchmarks.table_i(20)


def _line(row: "Measurement") -> str:
    ratio = ""
    if row.ratio is not None:
        ratio = f"{row.ratio:.1f}x [{row.ratio_low:.1f}, {row.ratio_high:.1f}]"
    return f"{row.name:<62} {1e3 * row.seconds:10.1f} ms  {ratio:<22} {row.note}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="metagnn bench",
        description="Time metagnn against the ordinary way of the same work, in turn, on one "
        "thread: processor time of ours, and the ratio [smallest, largest of all repeats].",
    )
    parser.add_argument(
        "--parts",
        default=",".join(PARTS),
        metavar="LIST",
        help=f"out of {','.join(PARTS)}, and table_i, which takes half an hour",
    )
    parser.add_argument("--short", action="store_true", help="a check of the machinery in seconds")
    parser.add_argument("--json", action="store_true", help="machine-readable results")
    return parser
