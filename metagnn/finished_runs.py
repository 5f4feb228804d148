"""Finished runs of learners: those of one kind may differ in nothing but the seed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from metagnn.agent_module import differing
from metagnn.checkpoint import read_checkpoint
from metagnn.graphs.checks import require

Kind = tuple[object, ...]


@dataclass(frozen=True)
class FinishedRun:
    """A checkpoint at the end of a run, or at a stage of it that is wanted.

    Attributes:
        kind: What it is a run of.
        facts: What the run is, as plain values.
        state: Its tensors by name.
        path: Where it is.
    """

    kind: Kind
    facts: dict[str, Any]
    state: dict[str, Tensor]
    path: Path


def finished_runs(
    folders: Sequence[Path],
    learners: Sequence[str],
    kind_of: Callable[[dict[str, Any], bool], Kind | None],
    words: str,
    pattern: str = "last.ckpt",
) -> Iterator[FinishedRun]:
    """Runs under folders one by one, wherever a run went on after a stop.

    Args:
        folders: Where runs are.
        learners: Classes whose runs they may be.
        kind_of: Kind of a checkpoint, by its facts and whether it is the last of its folder; None
            for one within a run that is not wanted.
        words: What kind and seed consist of, for error messages.
        pattern: Names of the checkpoints to be read.

    Raises:
        ValueError: If there is none, one is unfinished or of something else, two are of one kind
            and seed, or runs of one kind differ in more than the seed.
    """
    paths = sorted({path for folder in folders for path in folder.rglob(pattern)})
    is_there = any(path.name == "last.ckpt" for path in paths)
    require(is_there, "runs", "hold a last.ckpt of a run", ", ".join(map(str, folders)))
    found: dict[tuple[object, ...], Path] = {}
    facts: dict[Kind, dict[str, Any]] = {}
    unfinished: list[tuple[Kind | None, dict[str, Any], Path]] = []
    for path in paths:
        checkpoint = read_checkpoint(path, name="runs")
        run: dict[str, Any] = checkpoint.get("run", {})
        known = run.get("kind") in learners
        require(known, "runs", f"hold runs of {' or '.join(learners)} only", str(path))
        is_last = path.name == "last.ckpt"
        kind = kind_of(run, is_last)
        if kind is None:
            ended = {**run, "num_done": run["num_episodes"]}
            unfinished += [(kind_of(ended, True), run, path)] if is_last else []
            continue
        key = (*kind, run["seed"])
        rule = f"hold one run of {key} ({words}), as {found.get(key)}"
        require(key not in found, "runs", rule, str(path))
        found[key] = path
        mine = {name: value for name, value in run.items() if name not in ("seed", "num_done")}
        first = facts.setdefault(kind, mine)
        for name in sorted(mine.keys() | first.keys()):
            wanted, had = differing(first.get(name), mine.get(name))
            rule = f"hold runs of {kind} with one {name}, {wanted}"
            require(had == wanted, "runs", rule, f"{had} in {path}")
        yield FinishedRun(kind, run, checkpoint["state_dict"], path)
    for kind, run, path in unfinished:
        ended_elsewhere = kind is not None and (*kind, run["seed"]) in found
        rule = f"hold finished runs ({run['num_done']} of {run['num_episodes']} episodes are done)"
        require(ended_elsewhere, "runs", rule, str(path))
