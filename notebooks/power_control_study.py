"""Paper A, measured: the numbers behind the README's table and Figures 6 to 10, as CSV files.

Run ``python notebooks/power_control_study.py STUDY [--num-links K ...]``; every study writes
``notebooks/results/STUDY*.csv``. Test networks have seed 3000 and are used for no choice.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from metagnn.adaptation import adapt, learned_rollout
from metagnn.adaptation_task import Problem
from metagnn.comparison import Scenario, compare
from metagnn.experiment import experiment_scenarios
from metagnn.files import write_csv
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.checks import require
from metagnn.graphs.dataset import draw_network
from metagnn.graphs.rates import full_power_rate
from metagnn.learner import Learner
from metagnn.meta_parameters import MetaParameters, load_meta_parameters
from metagnn.models.primal_dual import PrimalDualNetworks
from metagnn.tasks.power_control.problem import (
    minimum_rate,
    resilient_objective,
    smallest_slack,
)
from metagnn.update_rule import UpdateRule

STUDIES = (
    "unseen",
    "fomaml",
    "training_seed",
    "transfer",
    "baselines",
    "sum_rate",
    "curves",
    "scratch_rates",
    "scratch_curves",
)
RESULTS = Path(__file__).parent / "results"
SEED = 3000
BASELINES = ("itlinq", "wmmse", "fplinq", "full_power", "random")

# Networks of every size on which 20 epochs from a random initialisation are scored.
NUM_RANDOM = 20

# Rates of learning from scratch that were tried on validation networks (`scratch_rates`), and
# those with the best Lagrangian on the first of them, after all epochs and after 20.
SCRATCH_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
SCRATCH_RATE = 3e-3
SCRATCH_RATE_20 = 3e-3

SCRATCH_HEADER = ["num_links", "network", "rate", "epoch", "mean", "min", "lagrangian"]
RATES_HEADER = ["policy", "network", "link", "rate"]
CURVES_HEADER = ["start", "num_links", "network", "samples", "epoch", "mean", "min", "lagrangian"]


def scenario(
    num_links: int, index: int, num_samples: int = 2048, split: str = "test", seed: int = SEED
) -> Scenario:
    """Network number ``index``, with the newest ``num_samples`` to adapt to."""
    network = draw_network(ChannelFamily(), num_links, seed, split, index)
    return Scenario(
        network.configuration.large_scale_gain, network.gain[-num_samples:], network.test_gain
    )


def unseen(parameters: MetaParameters, num_links: list[int], num_networks: int, name: str) -> None:
    """The meta-parameters on unseen networks: 0 and 20 epochs, 2048 and 256 samples."""
    for size in num_links:
        began = time.monotonic()
        networks = [scenario(size, index) for index in range(num_networks)]
        found = compare(networks, ("metagnn", "metagnn_unadapted"), parameters, 20).rates
        rows = [row for policy, rates in found.items() for row in rate_rows(policy, rates)]
        if name in ("unseen", "fomaml"):
            few = [scenario(size, index, 256) for index in range(num_networks)]
            rates = compare(few, ("metagnn",), parameters, 20).rates["metagnn"]
            rows += rate_rows("metagnn_256_samples", rates)
        write_csv(RESULTS / f"{name}_{size}.csv", RATES_HEADER, rows)
        print(f"{name} K={size}: {time.monotonic() - began:.0f} s", flush=True)


def baselines(parameters: MetaParameters, num_links: list[int], num_networks: int) -> None:
    """What needs no meta-parameters on the networks of `unseen`, and 20 epochs from scratch."""
    for size in num_links:
        began = time.monotonic()
        networks = [scenario(size, index) for index in range(num_networks)]
        found = compare(networks, BASELINES, parameters, 20).rates
        rows = [row for policy, rates in found.items() for row in rate_rows(policy, rates)]
        if size <= 20:
            random = [
                compare(
                    [network],
                    ("metagnn",),
                    random_initialisation(parameters, index, SCRATCH_RATE_20),
                    20,
                ).rates["metagnn"][0]
                for index, network in enumerate(networks[:NUM_RANDOM])
            ]
            rows += rate_rows("random_initialised_20", random)
        write_csv(RESULTS / f"baselines_{size}.csv", RATES_HEADER, rows)
        print(f"baselines K={size}: {time.monotonic() - began:.0f} s", flush=True)


def rate_rows(policy: str, rates: list[Tensor]) -> list[tuple[object, ...]]:
    """One row per network and link."""
    return [
        (policy, network, link, f"{value:.6f}")
        for network, values in enumerate(rates)
        for link, value in enumerate(values.tolist())
    ]


def training_seed(
    parameters: MetaParameters, num_links: list[int], num_networks: int, seed: int
) -> None:
    """The same meta-training from another seed, on the networks of `unseen`."""
    for size in num_links:
        networks = [scenario(size, index) for index in range(num_networks)]
        found = compare(networks, ("metagnn", "metagnn_unadapted"), parameters, 20).rates
        rows = [row for policy, rates in found.items() for row in rate_rows(policy, rates)]
        path = RESULTS / f"training_seed_{seed}_{size}.csv"
        write_csv(path, RATES_HEADER, rows)
        print(f"training seed {seed} K={size}", flush=True)


def random_initialisation(
    parameters: MetaParameters, seed: int, learning_rate: float = SCRATCH_RATE
) -> MetaParameters:
    """The same networks freshly initialised, with the larger steps of learning from scratch.

    As in meta-training, multipliers move ten times slower than powers.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        networks = PrimalDualNetworks(parameters.networks.shape)
    rates = {
        name: learning_rate * (0.1 if name in ("mu", "lam") else 1.0)
        for name in networks.shape.names
    }
    rule = UpdateRule(rates, "adam")
    return replace(
        parameters, networks=networks, adaptation=replace(parameters.adaptation, rule=rule)
    )


def measure(learner: Learner, network: Scenario, problem: Problem) -> tuple[str, str, str]:
    """Mean and minimum rate, and Lagrangian at its best slack per link, on scored samples."""
    assert network.past_gain is not None
    at_full_power = full_power_rate(network.past_gain, problem.power_max_w, problem.noise_w)
    required = minimum_rate(at_full_power.mean(0), problem.minimum_rate_threshold)
    rates = learned_rollout(learner, network.past_gain, network.gain, problem).rate.mean((0, 1))
    value = resilient_objective(rates, smallest_slack(rates, required), problem.alpha) / len(rates)
    return f"{rates.mean():.6f}", f"{rates.min():.6f}", f"{value:.6f}"


def learning_curve(
    parameters: MetaParameters, network: Scenario, epochs: int, every: int = 10
) -> tuple[list[tuple[object, ...]], Learner]:
    """Epochs with what `measure` gives, and the learner after the last."""
    rows: list[tuple[object, ...]] = []

    def note(epoch: int, learner: Learner) -> None:
        if epoch % every == 0 or epoch in (1, 2, 5):
            rows.append((epoch, *measure(learner, network, parameters.problem)))

    assert network.past_gain is not None
    adapted = adapt(
        parameters.networks,
        network.large_scale_gain,
        network.past_gain,
        parameters.problem,
        replace(parameters.adaptation, num_epochs=epochs),
        note,
    )
    return rows, adapted.learner


def scratch_rates(
    parameters: MetaParameters, num_links: list[int], num_networks: int, epochs: int
) -> None:
    """Learning from scratch on validation networks, by its rate."""
    rows: list[tuple[object, ...]] = []
    for size in num_links:
        for index in range(num_networks):
            network = scenario(size, index, split="validation", seed=0)
            for learning_rate in SCRATCH_RATES:
                start = random_initialisation(parameters, index, learning_rate)
                curve, _ = learning_curve(start, network, epochs)
                rows.extend((size, index, learning_rate, *row) for row in curve)
                write_csv(RESULTS / "scratch_rates.csv", SCRATCH_HEADER, rows)
            print(f"scratch_rates K={size} network {index}", flush=True)


def curves(
    parameters: MetaParameters, num_links: list[int], num_networks: int, num_samples: list[int]
) -> None:
    """Figures 7, 9 and 10: 100 epochs from the meta-parameters, by number of samples."""
    rows: list[tuple[object, ...]] = []
    for index in range(num_networks):
        for size in num_links:
            for samples in num_samples:
                curve, _ = learning_curve(parameters, scenario(size, index, samples), 100)
                rows.extend(("meta", size, index, samples, *row) for row in curve)
        write_csv(RESULTS / "curves.csv", CURVES_HEADER, rows)
        print(f"curves network {index}", flush=True)


def scratch_curves(
    parameters: MetaParameters,
    num_links: list[int],
    num_networks: int,
    epochs: int,
    num_samples: list[int],
) -> None:
    """Figures 7, 9 and 10: from scratch, by number of samples.

    The mismatched policy of a network was learned from scratch on that of the other size.

    Raises:
        ValueError: If there are not two sizes, or the first number of samples is not 2048.
    """
    require(len(set(num_links)) == 2, "num_links", "be two sizes", num_links)
    require(num_samples[0] == 2048, "samples", "begin with 2048", num_samples)
    rows: list[tuple[object, ...]] = []
    for index in range(num_networks):
        learned: dict[int, Learner] = {}
        for size in num_links:
            for samples in num_samples:
                start = random_initialisation(parameters, index)
                curve, learner = learning_curve(start, scenario(size, index, samples), epochs)
                learned.setdefault(size, learner)
                rows.extend(("scratch", size, index, samples, *row) for row in curve)
        for size, other in zip(num_links, reversed(num_links), strict=True):
            found = measure(learned[other], scenario(size, index), parameters.problem)
            rows.append(("mismatch", size, index, 2048, epochs, *found))
        write_csv(RESULTS / "scratch_curves.csv", CURVES_HEADER, rows)
        print(f"scratch_curves network {index}", flush=True)


def sum_rate(parameters: MetaParameters, num_networks: int) -> None:
    """The setting of WCGCN: sum rates of 50 links, every network one sample."""
    scenarios, problem = experiment_scenarios("sum_rate", None, num_networks, SEED)
    parameters = parameters.for_powers(problem.power_max_w, problem.noise_w)
    found = compare(scenarios, ("metagnn_unadapted", *BASELINES), parameters, 0).rates
    rows = [
        (policy, network, f"{rates.sum():.6f}")
        for policy, networks in found.items()
        for network, rates in enumerate(networks)
    ]
    write_csv(RESULTS / "sum_rate.csv", ["policy", "network", "sum_rate"], rows)


def main() -> None:
    """Run one study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--num-links", type=int, nargs="+", default=[4, 8, 12, 16, 20])
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--samples", type=int, nargs="+", default=[2048, 1024, 512, 256])
    parser.add_argument("--checkpoint", help="power_control, or sum_rate for that study")
    parser.add_argument("--training-seed", type=int, help="seed with which it was trained")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    shipped = "sum_rate" if arguments.study == "sum_rate" else "power_control"
    parameters = load_meta_parameters(arguments.checkpoint or shipped)
    if arguments.study == "sum_rate":
        sum_rate(parameters, arguments.networks)
    elif arguments.study == "training_seed":
        seed = arguments.training_seed
        given = seed is not None and arguments.checkpoint is not None
        require(given, "training-seed", "be given, with its --checkpoint", seed)
        training_seed(parameters, arguments.num_links, arguments.networks, seed)
    elif arguments.study == "baselines":
        baselines(parameters, arguments.num_links, arguments.networks)
    elif arguments.study == "curves":
        curves(parameters, arguments.num_links, arguments.networks, arguments.samples)
    elif arguments.study in ("scratch_rates", "scratch_curves"):
        given = (parameters, arguments.num_links, arguments.networks, arguments.epochs)
        if arguments.study == "scratch_curves":
            scratch_curves(*given, arguments.samples)
        else:
            scratch_rates(*given)
    else:
        other = arguments.study == "fomaml"
        require(not other or arguments.checkpoint is not None, "checkpoint", "be given", None)
        unseen(parameters, arguments.num_links, arguments.networks, arguments.study)


if __name__ == "__main__":
    main()
