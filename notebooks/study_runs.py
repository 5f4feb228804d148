"""Runs of the studies: each in a folder of its own, stamped with what it was made from.

What comes of them is added to CSV files seed by seed.
"""

import csv
import hashlib
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from statistics import mean

from metagnn.configs import config_path
from metagnn.files import write_atomically, write_csv
from metagnn.graphs.checks import require

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """Rows of a file, none if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def add(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Add rows to a file, in place of those that agree in the columns up to the seed."""
    keys = header[: header.index("seed") + 1]
    new = [dict(zip(header, map(str, row), strict=True)) for row in rows]
    fresh = {tuple(row[name] for name in keys) for row in new}
    kept = [row for row in read(path) if tuple(row[name] for name in keys) not in fresh]
    ordered = sorted(kept + new, key=lambda row: int(row["seed"] or -1))
    write_csv(path, header, [[row[name] for name in header] for row in ordered])


def add_curves(
    stem: Path,
    folder: Path,
    seed: int,
    logged: Sequence[str],
    validated: Sequence[str],
    every: int,
) -> None:
    """Add what the finished runs of a seed logged, and how long they took.

    Args:
        stem: Path of the results, to which ``_curves.csv`` and ``_runs.csv`` are appended.
        folder: Holds a folder for each run.
        seed: Their seed.
        logged: Columns of which means over episodes are kept.
        validated: Columns that are kept as they are.
        every: Episodes of a mean.
    """
    rows: list[Sequence[object]] = []
    runs: list[Sequence[object]] = []
    for done in sorted(folder.glob("*/done")):
        run = done.parent
        lines = read(run / "version_0/metrics.csv")
        for column in logged:
            found = [float(row[column]) for row in lines if row.get(column)]
            for first in range(0, len(found), every):
                values = found[first : first + every]
                rows.append((run.name, seed, column, first + len(values), f"{mean(values):.4g}"))
        for column in validated:
            for row in lines:
                if row.get(column):
                    episode = int(row["epoch"]) + 1
                    rows.append((run.name, seed, column, episode, f"{float(row[column]):.4g}"))
        seconds, sources = done.read_text().splitlines()[:2]
        runs.append((run.name, seed, seconds, sources))
    header = ("run", "seed", "logged", "episode", "value")
    add(stem.with_name(f"{stem.name}_curves.csv"), header, rows)
    add(stem.with_name(f"{stem.name}_runs.csv"), ("run", "seed", "seconds", "sources"), runs)


def minutes_of_seeds(runs: Iterable[Row]) -> str:
    """Minutes of one core that all runs of each seed took."""
    seconds: dict[int, float] = {}
    for row in runs:
        seed = int(row["seed"])
        seconds[seed] = seconds.get(seed, 0.0) + float(row["seconds"])
    return ", ".join(f"{seconds[seed] / 60:.0f}" for seed in sorted(seconds))


def digest_of(paths: Iterable[Path]) -> str:
    """SHA-256 of files."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def digest_of_sources() -> str:
    """SHA-256 of all that the package computes with."""
    names = ("metagnn", "metagnn.graphs", "metagnn.models", "metagnn.tasks")
    folders = [Path(str(import_module(name).__file__)).parent for name in names]
    return digest_of(sorted({path for folder in folders for path in folder.rglob("*.py")}))


def fit(
    folder: Path, config: str, *words: str, start: Path | None = None, keep: Sequence[str] = ()
) -> float:
    """Run `metagnn fit` into a folder unless it is there, and return the seconds it took.

    Args:
        folder: The run's folder.
        config: Packaged name.
        words: Options.
        start: Checkpoint from which the run starts.
        keep: Further options, which say what checkpoints are kept.

    Raises:
        ValueError: If another configuration ran there, or with other sources or another start, or
            the run fails.
    """
    digests = [digest_of_sources(), "" if start is None else digest_of([start])]
    wanted = "\n".join([*digests, config, *words, config_path(config).read_text()])
    if start is not None:
        words = (*words, f"--model.init_args.start_from={start.resolve()}")
    if (folder / "done").exists():
        seconds, _, found = (folder / "done").read_text().partition("\n")
        rule = "hold a run of the same sources, start and configuration, or none"
        require(found == wanted, "folder", rule, str(folder))
        return float(seconds)
    shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    save = f"--trainer.logger.init_args.save_dir={folder.parent}"
    name = f"--trainer.logger.init_args.name={folder.name}"
    folder.mkdir(parents=True)
    _in_own_process(["fit", "--config", config, save, name, *keep, *words], folder / "log")
    seconds = time.monotonic() - began
    write_atomically(folder / "done", f"{seconds:.1f}\n{wanted}".encode())
    return seconds


def checkpoint(folder: Path) -> Path:
    """The end of a run."""
    return folder / "version_0/checkpoints/last.ckpt"


def _in_own_process(words: Sequence[str], log: Path) -> None:
    """Run a command of metagnn on one thread, beside others, without importing all anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["metagnn.commands.training"])
    process = context.Process(target=_run, args=(list(words), log))
    process.start()
    process.join()
    code = process.exitcode
    require(code == 0, "words", f"run with exit code 0 (see {log})", f"{code} of {words}")


def _run(words: Sequence[str], log: Path) -> None:
    import torch

    from metagnn.cli import main

    torch.set_num_threads(1)
    with log.open("w") as file:
        sys.stderr = file
        main(words)
