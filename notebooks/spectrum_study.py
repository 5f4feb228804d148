"""Paper C, measured: all agents from several seeds in unseen scenarios, as CSV files.

``python notebooks/spectrum_study.py train --seeds 2 3 4`` runs `metagnn fit` for every agent and
seed under ``runs/spectrum_allocation``, two at a time, and goes on where it stopped. ``... score
--seeds 2 3 4`` lets all agents of these seeds adapt to the test scenarios, and adds what comes of
it to the files in ``notebooks/results``: ``spectrum_random.csv`` and ``spectrum_nycmesh.csv``
(means over the scenarios per policy, seed and number of episodes before), ``..._during.csv`` (the
episodes of which policies learned), ``..._scenarios.csv`` (each scenario by itself, after five
episodes), ``spectrum_curves.csv`` (what the runs logged), ``spectrum_runs.csv`` (how long they
took, of which sources). Baselines are scored once for the same sources. ``... table`` writes
``spectrum.md`` from these. Test scenarios have seed 3000 and are used for no choice. ``flat ppo
from scratch`` has the paper's network and rates (`spectrum_allocation_flat`), and knows no edges;
``--variant flat`` are all agents with the paper's networks.
"""

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import torch
from spectrum_table import (
    BY_SCENARIO,
    FEW,
    FLAT_SCRATCH,
    RESULTS,
    THROUGHPUT,
    VALIDATED,
    lines_of,
)
from study_runs import add, add_curves, digest_of_sources, fit, read

from metagnn.experiment import read_section
from metagnn.files import write_atomically
from metagnn.graphs.checks import require
from metagnn.models.spectrum import PolicyShape
from metagnn.plain_values import from_plain
from metagnn.ppo import PPOSettings
from metagnn.spectrum_adaptation import (
    Adaptation,
    Finetuning,
    ProximalSteps,
    adapt_to,
    unseen_scenarios,
)
from metagnn.spectrum_comparison import METRICS, Scores, compare_spectrum, find_spectrum
from metagnn.spectrum_learner import MEMORY_OF, initial_policy
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.spectrum_allocation.metrics import Metrics
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily

RUNS = Path("runs/spectrum_allocation")
# Seeds 0 and 1 take part in the choice of the configuration.
SEEDS = list(range(2, 12))
TEST_SEED, NUM_SCENARIOS = 3000, 40
# Where policies are scored, in the east of New York too; all learn in random networks.
PLACES = {
    "random": SpectrumPlace(),
    "nycmesh": SpectrumPlace(ScenarioFamily(network="nycmesh")),
}
# Episodes after which they are.
POINTS = {"random": (0, 1, 2, 5), "nycmesh": (0, 5)}
EVERY = 10
# What is scored beside policies, once.
BASELINES_ONLY = "baselines"
LOGGED = ("reward", THROUGHPUT, "entropy", "explained_variance")


def folder_of(suffix: str, seed: int) -> Path:
    """Runs of a variant and seed."""
    return RUNS.with_name(RUNS.name + suffix) / str(seed)


def train(seeds: list[int], jobs: int, suffix: str) -> None:
    """All agents of each seed."""

    def learn(task: tuple[int, str]) -> None:
        seed, agent = task
        words = [f"--model.init_args.agent={agent}", f"--model.init_args.seed={seed}"]
        folder = folder_of(suffix, seed) / agent
        seconds = fit(folder, f"spectrum_allocation{suffix}", *words)
        print(f"{agent} {seed}: {seconds / 60:.1f} minutes", flush=True)

    began = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(learn, [(seed, agent) for seed in seeds for agent in MEMORY_OF]))
    print(f"all: {(time.monotonic() - began) / 60:.1f} minutes")


def score(seeds: list[int], networks: list[str], jobs: int, suffix: str) -> None:
    """Let every run of the seeds adapt to the test scenarios, a run of a network at a time.

    Raises:
        ValueError: If a run is not finished, or learned with other sources than those that score
            it.
    """
    for seed in seeds:
        for agent in MEMORY_OF:
            done = folder_of(suffix, seed) / agent / "done"
            require(done.exists(), "runs", "be finished", str(done.parent))
            sources = done.read_text().splitlines()[1]
            rule = "have learned with the sources that score them"
            require(sources == digest_of_sources(), "runs", rule, str(done.parent))
    policies = [*MEMORY_OF, FLAT_SCRATCH] if suffix == "" else list(MEMORY_OF)
    tasks = [(network, what, seed) for seed in seeds for network in networks for what in policies]
    stem = RESULTS / f"spectrum{suffix}"
    runs = stem.with_name(f"{stem.name}_runs.csv")
    known = {(row["run"], row["sources"]) for row in read(runs)}
    baselines = {network: (f"{network} baselines", digest_of_sources()) for network in networks}
    tasks += [(n, BASELINES_ONLY, seeds[0]) for n in networks if baselines[n] not in known]
    for seed in seeds:
        add_curves(stem, folder_of(suffix, seed), seed, LOGGED, VALIDATED, EVERY)
    began = time.monotonic()
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (1,)) as pool:
        waiting = {pool.submit(scores_of, *task, suffix): task for task in tasks}
        for future in as_completed(waiting):
            network, what, seed = waiting.pop(future)
            if future.exception() is not None:
                pool.shutdown(cancel_futures=True)
            add_scores(future.result(), network, suffix)
            if what == BASELINES_ONLY:
                run, sources = baselines[network]
                add(runs, ("run", "seed", "seconds", "sources"), [(run, "", "", sources)])
            minutes = (time.monotonic() - began) / 60
            print(f"{what} {seed} in {network}, after {minutes:.1f} minutes", flush=True)


def _results(suffix: str, network: str) -> Path:
    return RESULTS / f"spectrum{suffix}_{network}.csv"


def scores_of(network: str, what: str, seed: int, suffix: str) -> Scores:
    """Scores in the test scenarios of a network.

    Args:
        network: Name in `PLACES`.
        what: An agent; ``flat ppo from scratch``; or ``baselines``, which have no seed.
        seed: Its seed.
        suffix: The variant.
    """
    place, points = PLACES[network], POINTS[network]
    if what == FLAT_SCRATCH:
        return {FLAT_SCRATCH: {seed: flat_scratch(place, seed, points)}}
    here = place if suffix == "" else replace(place, edges="none")
    settings = read_section(f"spectrum_allocation{suffix}", "compare")
    steps = (Finetuning(**settings["finetuning"]), Finetuning(**settings["scratch"]))
    trained, baselines = [], settings["baselines"]
    if what != BASELINES_ONLY:
        trained, baselines = find_spectrum(folder_of(suffix, seed) / what, here), []
    return compare_spectrum(trained, here, NUM_SCENARIOS, points, TEST_SEED, *steps, baselines)


def add_scores(scores: Scores, network: str, suffix: str) -> None:
    """Add scores to the files of a network."""
    path = _results(suffix, network)
    after: list[Sequence[object]] = []
    during: list[Sequence[object]] = []
    alone: list[Sequence[object]] = []
    for policy, of_seeds in scores.items():
        for number, one in of_seeds.items():
            key = (policy, "" if number is None else number)
            after += [(*key, point, *_means(m)) for point, m in one.after.items()]
            during += [(*key, n, *_means(m)) for n, m in enumerate(one.during, start=1)]
            columns = [getattr(one.after[FEW], name).tolist() for name in BY_SCENARIO]
            for scenario, values in enumerate(zip(*columns, strict=True)):
                alone.append((*key, scenario, *(f"{value:.5g}" for value in values)))
    header = ("policy", "seed", "episodes", *METRICS)
    add(path, header, after)
    add(path.with_stem(f"{path.stem}_during"), header, during)
    header = ("policy", "seed", "scenario", *BY_SCENARIO)
    add(path.with_stem(f"{path.stem}_scenarios"), header, alone)


def flat_scratch(place: SpectrumPlace, seed: int, points: Sequence[int]) -> Adaptation:
    """PPO of the paper's network, which begins anew in every test scenario."""
    blind = replace(place, edges="none")
    of_model = read_section("spectrum_allocation_flat", "model")["init_args"]
    shape = from_plain(PolicyShape, of_model["shape"], "shape")
    ppo = from_plain(PPOSettings, of_model["ppo"], "ppo")
    steps = Finetuning(**read_section("spectrum_allocation_flat", "compare")["scratch"])
    policy = initial_policy(blind, shape, seed)
    anew = ProximalSteps(policy, NUM_SCENARIOS, steps, ppo, of_model["credit"])
    scenarios = unseen_scenarios(blind, NUM_SCENARIOS, TEST_SEED, "test", torch.device("cpu"))
    return adapt_to(anew, blind, scenarios, points, TEST_SEED)


def _means(metrics: Metrics) -> list[str]:
    return [f"{float(getattr(metrics, name).mean()):.5g}" for name in METRICS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("train", "score", "table"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--networks", choices=PLACES, nargs="+", default=list(PLACES))
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--variant", choices=("flat",), help="the paper's networks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    suffix = "" if arguments.variant is None else f"_{arguments.variant}"
    if arguments.step == "train":
        train(arguments.seeds, arguments.jobs, suffix)
    elif arguments.step == "score":
        score(arguments.seeds, arguments.networks, arguments.jobs, suffix)
    else:
        text = "\n".join([*lines_of(f"spectrum{suffix}", POINTS), ""])
        write_atomically(RESULTS / f"spectrum{suffix}.md", text.encode(), name="results")
        print(text)


if __name__ == "__main__":
    main()
