"""Paper D, measured: all algorithms from several seeds on the paper's networks and others.

``python notebooks/offloading_study.py train --seeds 20 21`` runs `metagnn fit` for every algorithm
and seed under ``runs/offloading``, two at a time, and goes on where it stopped; with ``--network``
12x10, 6x16 or melbourne MA-DRL alone, to be compared with what was trained on 6x10 and runs there
as it is. ``... score --seeds 20 21`` scores what is finished (with ``--network`` what learned on
that one alone), and adds it to the files in ``notebooks/results``: ``offloading_6x10.csv`` and so
on (means over the networks per policy and seed), ``offloading_networks.csv`` (6x10 network by
network), ``offloading_curves.csv`` (what the runs logged), ``offloading_runs.csv`` (how long they
took, of which sources). ``... table`` writes ``offloading.md`` from these.
``offloading_heuristic.py curve`` comes before the table.

Test networks have seed 4000, and are used for no choice but one: ``mixed`` was tried because 6x10
does badly on 6x16, and has test networks of its own. Variants (``--variant``):

- ``own``: MA-DRL whose sites have actors of their own, as those of F-DRL and IL-DRL have, so that
  they differ in the critic alone;
- ``rare``: F-DRL that averages every 40 episodes, not every 10;
- ``discounted``: MA-DRL with values that look ahead, and delayed networks;
- ``unguided``: MA-DRL without the prior;
- ``mixed``: MA-DRL that learns in cells of 2 to 16 users, 60 together as in the paper, for 400
  episodes;
- ``paper``: the paper's perceptrons, on one network.
"""

import argparse
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from offloading_table import BY_NETWORK, BYTES, RESULTS, TRAINED_HERE, lines_of
from study_runs import add, add_curves, fit

from metagnn.files import write_atomically
from metagnn.graphs.checks import require
from metagnn.offloading_comparison import (
    Scores,
    TrainedSites,
    compare_offloading,
    find_sites,
)
from metagnn.offloading_place import Place
from metagnn.offloading_score import OffloadingScore, summary

RUNS = Path("runs/offloading")
ALGORITHMS = ("maddpg", "federated", "independent")
# Some of the seeds below 20, and 40, took part in the choice of the configuration; of 20, 21 and 24
# earlier configurations were looked at on validation networks.
SEEDS = list(range(20, 30))
TEST_SEED = 4000
NUM_NETWORKS, NUM_STEPS = 100, 20
# Where all test networks are one, in which only fading, tasks and processors differ.
NUM_COPIES = 10
# Melbourne's users do not fit into batches and a replay of the size of the paper's networks.
_MELBOURNE = {"num_copies": 2, "actor_batch": 2, "critic_batch": 4, "capacity": 200, "warm_up": 20}
PLACES = {
    "6x10": Place(),
    "fixed": replace(Place(), network="fixed"),
    "12x10": replace(Place(), num_cells=12),
    "6x16": replace(Place(), users_per_cell=16),
    "melbourne": replace(Place(), network="melbourne"),
    # No transmission is given up, as in the paper.
    "patient": replace(Place(), patience=math.inf),
}
OPTIONS = {
    "6x10": (),
    "fixed": ("--model.init_args.place.network=fixed",),
    "12x10": ("--model.init_args.place.num_cells=12",),
    "6x16": ("--model.init_args.place.users_per_cell=16",),
    "melbourne": (
        "--model.init_args.place.network=melbourne",
        *(f"--model.init_args.maddpg.{name}={value}" for name, value in _MELBOURNE.items()),
    ),
    "patient": ("--model.init_args.place.patience=.inf",),
}
# Episodes over which the curves are averaged.
EVERY = 10
SCORED = [field.name for field in fields(OffloadingScore)]
HEADER = ("policy", "seed", *SCORED, BYTES)
LOGGED = ("reward", "met", "energy_mj", *(f"site_reward_{site}" for site in range(6)))
VALIDATED = ("validation_met", "validation_energy_mj")


@dataclass(frozen=True)
class Variant:
    """A configuration that is studied.

    Attributes:
        config: Packaged name.
        home: Network on which all algorithms learn.
        algorithms: These.
        elsewhere: Networks on which they are scored too.
        options: Options of all runs.
        test_seed: Seed of the test networks.
    """

    config: str = "offloading"
    home: str = "6x10"
    algorithms: tuple[str, ...] = ALGORITHMS
    elsewhere: tuple[str, ...] = ("fixed", "12x10", "6x16", "melbourne", "patient")
    options: tuple[str, ...] = ()
    test_seed: int = TEST_SEED


VARIANTS = {
    "": Variant(),
    "_own": Variant(
        algorithms=("maddpg",), elsewhere=(), options=("--model.init_args.shape.shared=false",)
    ),
    "_rare": Variant(
        algorithms=("federated",), elsewhere=(), options=("--model.init_args.average_every=40",)
    ),
    "_discounted": Variant(
        algorithms=("maddpg",), elsewhere=(), options=("--model.init_args.maddpg.discount=0.8",)
    ),
    "_mixed": Variant(
        algorithms=("maddpg",),
        elsewhere=("12x10", "6x16"),
        options=(
            "--model.init_args.place.users_per_cell=[16,16,14,8,4,2]",
            "--trainer.max_epochs=400",
        ),
        test_seed=5000,
    ),
    "_unguided": Variant(
        algorithms=("maddpg",), elsewhere=(), options=("--model.init_args.shape.prior=0",)
    ),
    "_paper": Variant("offloading_paper", "fixed", elsewhere=()),
}


def folder_of(suffix: str, seed: int) -> Path:
    """Runs of a variant and seed."""
    return RUNS.with_name(RUNS.name + suffix) / str(seed)


def train(seeds: list[int], jobs: int, suffix: str, network: str | None) -> None:
    """All algorithms of each seed where they are at home, or MA-DRL on other networks."""
    variant = VARIANTS[suffix]
    at_home = network in (None, variant.home)
    place = variant.home if network is None else network
    rule = f"be {variant.home} or one of {variant.elsewhere}"
    require(at_home or place in variant.elsewhere, "--network", rule, place)
    algorithms = variant.algorithms if at_home else ALGORITHMS[:1]

    def learn(task: tuple[int, str]) -> None:
        seed, algorithm = task
        words = [f"--model.init_args.algorithm={algorithm}", f"--model.init_args.seed={seed}"]
        folder = folder_of(suffix, seed) / f"{place}-{algorithm}"
        seconds = fit(folder, variant.config, *words, *variant.options, *OPTIONS[place])
        print(f"{place} {algorithm} {seed}: {seconds / 60:.1f} minutes", flush=True)

    began = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(learn, [(seed, algorithm) for seed in seeds for algorithm in algorithms]))
    print(f"all: {(time.monotonic() - began) / 60:.1f} minutes")


def finished(suffix: str, seeds: list[int], network: str, algorithm: str) -> list[Path]:
    """Folders of the seeds' runs that have ended."""
    folders = [folder_of(suffix, seed) / f"{network}-{algorithm}" for seed in seeds]
    return [folder for folder in folders if (folder / "done").exists()]


def score(seeds: list[int], suffix: str) -> None:
    """Score every run of the seeds, together, so that none differs in more than the seed."""
    variant = VARIANTS[suffix]
    folders = []
    for algorithm in variant.algorithms:
        of_algorithm = finished(suffix, seeds, variant.home, algorithm)
        rule = f"be of finished runs of {algorithm} on {variant.home}"
        require(len(of_algorithm) == len(seeds), "--seeds", rule, seeds)
        folders += of_algorithm
    trained = find_sites(*folders)
    stem = RESULTS / f"offloading{suffix}"
    for network in (variant.home, *variant.elsewhere):
        place, here = PLACES[network], list(trained)
        here += trained_on(network, seeds) if network in variant.elsewhere else []
        number = NUM_NETWORKS if place.network == "random" else NUM_COPIES
        scores = compare_offloading(here, place, number, NUM_STEPS, variant.test_seed)
        path = stem.with_name(f"{stem.name}_{network}.csv")
        add(path, HEADER, _by_seed(scores, here))
        print(path, flush=True)
        if network == variant.home:
            path = stem.with_name(f"{stem.name}_networks.csv")
            add(path, ("policy", "seed", "network", *BY_NETWORK), _by_network(scores))
    for seed in seeds:
        add_curves(stem, folder_of(suffix, seed), seed, LOGGED, VALIDATED, EVERY)


def trained_on(network: str, seeds: list[int]) -> list[TrainedSites]:
    """What learned there, which it did by the main configuration."""
    own = finished("", seeds, network, "maddpg")
    found = find_sites(*own) if own else []
    return [replace(one, algorithm=f"{one.algorithm}{TRAINED_HERE}") for one in found]


def score_there(seeds: list[int], suffix: str, network: str) -> None:
    """Add what learned on a network, beside what is scored there already."""
    variant = VARIANTS[suffix]
    rule = f"be one of {variant.elsewhere}"
    require(network in variant.elsewhere, "--network", rule, network)
    here = trained_on(network, seeds)
    rule = f"be of finished runs of maddpg on {network}"
    require(len(here) == len(seeds), "--seeds", rule, seeds)
    place = PLACES[network]
    number = NUM_NETWORKS if place.network == "random" else NUM_COPIES
    scores = compare_offloading(here, place, number, NUM_STEPS, variant.test_seed)
    path = RESULTS / f"offloading{suffix}_{network}.csv"
    names = {one.algorithm for one in here}
    add(path, HEADER, [row for row in _by_seed(scores, here) if row[0] in names])
    for seed in seeds:
        add_curves(RESULTS / "offloading", folder_of("", seed), seed, LOGGED, VALIDATED, EVERY)
    print(path, flush=True)


def _by_seed(scores: Scores, trained: list[TrainedSites]) -> list[Sequence[object]]:
    """Rows of each policy and seed."""
    sent = {(one.algorithm, one.seed): f"{one.signalling_bytes:.0f}" for one in trained}
    rows: list[Sequence[object]] = []
    for policy, of_seeds in scores.items():
        for seed, one in of_seeds.items():
            means = summary(one)
            key = (policy, "" if seed is None else seed)
            values = (f"{means[name]:.6g}" for name in SCORED)
            rows.append((*key, *values, sent.get(key, "")))
    return rows


def _by_network(scores: Scores) -> list[Sequence[object]]:
    """Rows of each network by itself."""
    rows: list[Sequence[object]] = []
    for policy, of_seeds in scores.items():
        for seed, one in of_seeds.items():
            columns = [getattr(one, name).tolist() for name in BY_NETWORK]
            for network, values in enumerate(zip(*columns, strict=True)):
                key = (policy, "" if seed is None else seed, network)
                rows.append((*key, *(f"{value:.5g}" for value in values)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("train", "score", "table"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--network", choices=list(PLACES), help="where MA-DRL is trained instead")
    variants = [suffix[1:] for suffix in VARIANTS if suffix]
    parser.add_argument("--variant", choices=variants, help="see above")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    suffix = "" if arguments.variant is None else f"_{arguments.variant}"
    if arguments.step == "train":
        train(arguments.seeds, arguments.jobs, suffix, arguments.network)
    elif arguments.step == "score" and arguments.network is None:
        score(arguments.seeds, suffix)
    elif arguments.step == "score":
        score_there(arguments.seeds, suffix, arguments.network)
    else:
        lines = lines_of(suffix, VARIANTS[suffix].home, VARIANTS[suffix].elsewhere)
        path = RESULTS / f"offloading{suffix}.md"
        write_atomically(path, "\n".join(lines).encode(), name="results")
        print("\n".join(lines))


if __name__ == "__main__":
    main()
