"""What was tried so that policies of paper C gain by adapting, on validation scenarios.

``python notebooks/spectrum_choices.py train`` runs `metagnn fit` for every try (what differs from
the configuration `spectrum_allocation`: what nodes are told, what rewards weigh, of what each
learns, the policy's form, how long it learns) under ``runs/spectrum_choices``, and goes on where it
stopped. ``... score`` lets the policies adapt to 64 validation scenarios of seed 0: by nothing but
what they remember, by PPO, by gradient steps. What they have before and after five episodes, and
what baselines have, goes to ``notebooks/results/spectrum_choices.csv``, the throughput in each
scenario to ``..._scenarios.csv``, in place of what stood there of the same try, agent, way and
seed. ``... table`` writes ``spectrum_choices.md``. Seeds of the study are refused.
"""

import argparse
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from spectrum_study import SEEDS
from spectrum_table import BESIDE, COLUMNS, FEW, RATIOS, RESULTS
from study_runs import Row, add, digest_of_sources, fit, read
from torch import Tensor

from metagnn.commands.options import interval_cell
from metagnn.files import write_atomically
from metagnn.graphs.checks import require
from metagnn.meta_rl import InnerSettings
from metagnn.spectrum_adaptation import (
    Adapter,
    Finetuning,
    GradientSteps,
    ProximalSteps,
    Remembering,
    adapt_to,
    unseen_scenarios,
)
from metagnn.spectrum_comparison import FROZEN, TrainedSpectrum, find_spectrum, run_baseline
from metagnn.spectrum_learner import MEMORY_OF
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.power_control.metrics import network_average
from metagnn.tasks.spectrum_allocation.baselines import BASELINES
from metagnn.tasks.spectrum_allocation.metrics import Metrics

RUNS = Path("runs/spectrum_choices")
PATH = RESULTS / "spectrum_choices.csv"
BY_SCENARIO = RESULTS / "spectrum_choices_scenarios.csv"
KEY = ("tried", "agent", "way", "seed")
HEADER = (*KEY, "episodes", *COLUMNS, "sources")
SCENARIO_HEADER = (*KEY, "scenario", "before", "after", "sources")
SCENARIO_SEED, NUM_SCENARIOS = 0, 64
CONFIGURED, NOTHING = "as configured", "nothing"
# The way of baselines, which do not learn.
BASELINE = ""
INIT = "--model.init_args."


@dataclass(frozen=True)
class Try:
    """What differs from the configuration `spectrum_allocation`.

    Attributes:
        agents: Agents that learn so.
        words: Options of `metagnn fit`.
        place: Where they act.
    """

    agents: tuple[str, ...]
    words: tuple[str, ...] = ()
    place: SpectrumPlace = SpectrumPlace()  # noqa: RUF009 - frozen


def _failures(weight: float) -> Try:
    words = (f"{INIT}place.failure_weight={weight}",)
    return Try(("ppo",), words, SpectrumPlace(failure_weight=weight))


FLAT_SHAPE = ("shape.kind=flat", "shape.hidden_channels=[128,128]", "shape.num_claims=0")
TRIES = {
    CONFIGURED: Try(tuple(MEMORY_OF)),
    "edges: topology": Try(
        tuple(MEMORY_OF), (f"{INIT}place.edges=topology",), SpectrumPlace(edges="topology")
    ),
    "failure weight 0.03": _failures(0.03),
    "failure weight 0.48": _failures(0.48),
    "credit: shared": Try(("ppo",), (f"{INIT}credit=shared",)),
    "credit: band, discount 0.9": Try(
        ("recurrent",), (f"{INIT}credit=band", f"{INIT}ppo.discount=0.9")
    ),
    "twice the epochs": Try(("maml", "recurrent"), ("--trainer.max_epochs=40",)),
    "flat networks": Try(
        ("ppo",),
        (f"{INIT}place.edges=none", *(INIT + word for word in FLAT_SHAPE)),
        SpectrumPlace(edges="none"),
    ),
}
FINETUNING = tuple(Finetuning(rate, 10) for rate in (3e-4, 1e-3))
STEPS = tuple(InnerSettings(rate) for rate in (3e-3, 1e-2, 2e-2, 1e-1))

# By name, in the order of the table.
WAYS = (
    BASELINE,
    NOTHING,
    "memory",
    *(f"PPO, rate {one.rate:g}" for one in FINETUNING),
    *(f"steps, rate {one.rate:g}" for one in STEPS),
)


def folder_of(name: str, agent: str, seed: int) -> Path:
    """The run of an agent."""
    return RUNS / str(seed) / "".join(c if c.isalnum() else "_" for c in name) / agent


def runs_of(seeds: list[int]) -> Iterator[tuple[str, str, int]]:
    """Try, agent and seed of every run."""
    for seed in seeds:
        require(seed not in SEEDS, "seeds", "be of no seed of the study", seed)
        yield from ((name, agent, seed) for name, one in TRIES.items() for agent in one.agents)


def train(seeds: list[int], jobs: int) -> None:
    """All agents of all tries."""

    def learn(run: tuple[str, str, int]) -> None:
        name, agent, seed = run
        words = [f"{INIT}agent={agent}", f"{INIT}seed={seed}", *TRIES[name].words]
        seconds = fit(folder_of(*run), "spectrum_allocation", *words)
        print(f"{agent} {seed}, {name}: {seconds / 60:.1f} minutes", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(learn, list(runs_of(seeds))))


def ways(name: str, agent: str) -> dict[str, Finetuning | InnerSettings | None]:
    """Ways in which a policy may adapt: None by what it remembers, if anything.

    PPO as configured has several rates, of which the configuration's were chosen.
    """
    found: dict[str, Finetuning | InnerSettings | None] = {
        NOTHING if MEMORY_OF[agent] == "none" else "memory": None
    }
    is_first = name == CONFIGURED
    if agent == "ppo":
        for finetuning in FINETUNING if is_first else FINETUNING[:1]:
            found[f"PPO, rate {finetuning.rate:g}"] = finetuning
    if agent in ("ppo", "maml"):
        for inner in STEPS if is_first else STEPS[1:2] if agent == "maml" else ():
            found[f"steps, rate {inner.rate:g}"] = inner
    return found


def adapter_of(one: TrainedSpectrum, way: Finetuning | InnerSettings | None) -> Adapter:
    """A policy as it adapts in a way; but for MAML, which learned so, to no reward of entropy."""
    settings = one.ppo if one.agent == "maml" else replace(one.ppo, entropy_weight=0.0)
    if way is None:
        return Remembering(one.policy)
    if isinstance(way, Finetuning):
        return ProximalSteps(one.policy, NUM_SCENARIOS, way, settings, one.credit)
    return GradientSteps(one.policy, NUM_SCENARIOS, way, settings, one.credit)


def score(seeds: list[int], jobs: int) -> None:
    """Score finished runs and baselines, a way at a time, unless they are by the same sources.

    Raises:
        ValueError: If a run learned with other sources than those that score it.
    """
    known = {tuple(row[name] for name in KEY) for row in read(PATH) if row["sources"] == _digest()}
    tasks = [(CONFIGURED, name, BASELINE, SCENARIO_SEED) for name in BESIDE if name != FROZEN]
    for name, agent, seed in runs_of(seeds):
        done = folder_of(name, agent, seed) / "done"
        if done.exists():
            rule = "have learned with the sources that score them"
            require(done.read_text().splitlines()[1] == _digest(), "runs", rule, str(done.parent))
            tasks += [(name, agent, way, seed) for way in ways(name, agent)]
    tasks = [task for task in tasks if tuple(map(str, task)) not in known]
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (1,)) as pool:
        waiting = {pool.submit(scored, *task): task for task in tasks}
        for future in as_completed(waiting):
            task, (before, after) = waiting[future], future.result()
            rows = [row_of(task, 0, before), row_of(task, FEW, after)]
            moved = zip(before.throughput_mbit_s, after.throughput_mbit_s, strict=True)
            each = [(*task, i, f"{a:.5g}", f"{b:.5g}", _digest()) for i, (a, b) in enumerate(moved)]
            add(BY_SCENARIO, SCENARIO_HEADER, each)
            add(PATH, HEADER, rows)
            print(rows[-1], flush=True)


def scored(name: str, agent: str, way: str, seed: int) -> tuple[Metrics, Metrics]:
    """A policy, or a baseline, in the validation scenarios before and after five episodes."""
    place = TRIES[name].place
    device = torch.device("cpu")
    scenarios = unseen_scenarios(place, NUM_SCENARIOS, SCENARIO_SEED, "validation", device)
    if way == BASELINE:
        metrics = run_baseline(BASELINES[agent], place, scenarios, SCENARIO_SEED)
        return metrics, metrics
    (one,) = find_spectrum(folder_of(name, agent, seed), place)
    adapter = adapter_of(one, ways(name, agent)[way])
    after = adapt_to(adapter, place, scenarios, (0, FEW), SCENARIO_SEED).after
    return after[0], after[FEW]


def _digest() -> str:
    return digest_of_sources()


def row_of(task: tuple[str, str, str, int], episodes: int, metrics: Metrics) -> tuple[object, ...]:
    """Means over scenarios."""
    means = [f"{float(getattr(metrics, name).mean()):.5g}" for name in COLUMNS]
    return (*task, episodes, *means, _digest())


def table() -> list[str]:
    """All that was scored, before and after.

    Raises:
        ValueError: If rows were scored by different sources.
    """
    titles = [f"{COLUMNS[name][0]}, before / after" for name in RATIOS]
    titles = ["tried", "agent", "adapts by", "seed", *titles, "gain", "more than PPO as configured"]
    lines = [
        f"# What was tried: {NUM_SCENARIOS} validation scenarios, before and after {FEW} episodes",
        "",
        "`python notebooks/spectrum_choices.py train`, `score`, `table`. Gain: throughput after",
        "less before [Mbit/s]; the last column: after, less that of PPO as configured of the same",
        "seed, which learns nothing. 95 % bootstrap intervals over scenarios; one training each.",
        "",
        f"| {' | '.join(titles)} |",
        "|---" * len(titles) + "|",
    ]
    rows, each = read(PATH), read(BY_SCENARIO)
    for path, of_path in ((PATH, rows), (BY_SCENARIO, each)):
        sources = sorted({row["sources"] for row in of_path})
        require(len(sources) <= 1, path.name, "be scored by the same sources", sources)
    order = {(name, agent): i for i, (name, agent, _) in enumerate(runs_of([SCENARIO_SEED]))}
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    rank = {name: i for i, name in enumerate(WAYS)}
    pairs.sort(key=lambda pair: (int(pair[0]["seed"]), rank[pair[0]["way"]]))
    pairs.sort(key=lambda pair: order.get((pair[0]["tried"], pair[0]["agent"]), -1))
    for before, after in pairs:
        cells = [after["tried"] if after["way"] else "", after["agent"], after["way"]]
        cells.append(after["seed"])
        for name in RATIOS:
            digits = COLUMNS[name][1]
            cells.append(" / ".join(f"{float(row[name]):.{digits}f}" for row in (before, after)))
        mine = by_scenario(each, after)
        rival = by_scenario(each, after | {"tried": CONFIGURED, "agent": "ppo", "way": NOTHING})
        gained = mine[1] - mine[0]
        cells.append(interval_cell(network_average(gained), 2))
        differs = len(rival[1]) == len(mine[1])
        cells.append(interval_cell(network_average(mine[1] - rival[1]), 2) if differs else "")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def by_scenario(each: list[Row], of: Row) -> tuple[Tensor, Tensor]:
    """Throughput before and after, scenario by scenario."""
    mine = [row for row in each if all(row[name] == of[name] for name in KEY)]
    mine.sort(key=lambda row: int(row["scenario"]))
    before, after = ([float(row[name]) for row in mine] for name in ("before", "after"))
    return torch.tensor(before, dtype=torch.float64), torch.tensor(after, dtype=torch.float64)


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("train", "score", "table"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.step == "train":
        train(arguments.seeds, arguments.jobs)
    elif arguments.step == "score":
        score(arguments.seeds, arguments.jobs)
    else:
        text = "\n".join([*table(), ""])
        write_atomically(PATH.with_suffix(".md"), text.encode(), name="choices")
        print(text)


if __name__ == "__main__":
    main()
