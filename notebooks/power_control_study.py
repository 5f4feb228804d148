"""Paper A, measured: the numbers behind the README's table and Figures 6 to 10, as CSV files.

Run ``python notebooks/power_control_study.py STUDY [--num-links K ...]``; every study writes
``notebooks/results/STUDY*.csv``. Test networks have seed 2000 and are used for no choice.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from metagnn.adaptation import Adaptation, adapt, learned_rollout
from metagnn.comparison import Scenario, compare
from metagnn.files import write_csv
from metagnn.graphs.channel import ChannelFamily
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

RESULTS = Path(__file__).parent / "results"
SEED = 2000
BASELINES = ("itlinq", "wmmse", "fplinq", "full_power", "random")


def scenario(num_links: int, index: int, num_samples: int = 2048) -> Scenario:
    """Test network number ``index``, with the newest ``num_samples`` to adapt to."""
    network = draw_network(ChannelFamily(), num_links, SEED, "test", index)
    return Scenario(
        network.configuration.large_scale_gain, network.gain[-num_samples:], network.test_gain
    )


def unseen(parameters: MetaParameters, num_links: list[int], num_networks: int, name: str) -> None:
    """Every policy on unseen networks: 0 and 20 epochs, 2048 and 256 samples, the baselines."""
    for size in num_links:
        rows: list[tuple[object, ...]] = []

        def keep(policy: str, rates: list[Tensor], rows: list[tuple[object, ...]] = rows) -> None:
            for network, values in enumerate(rates):
                rows.extend((policy, network, k, f"{v:.6f}") for k, v in enumerate(values.tolist()))

        began = time.monotonic()
        full = [scenario(size, index) for index in range(num_networks)]
        result = compare(full, ("metagnn", "metagnn_unadapted", *BASELINES), parameters, 20)
        for policy, rates in result.rates.items():
            keep(policy, rates)
        if size <= 20:
            few = [scenario(size, index, 256) for index in range(num_networks)]
            keep("metagnn_256_samples", compare(few, ("metagnn",), parameters, 20).rates["metagnn"])
            random = random_initialisation(parameters, seed=size)
            keep("random_initialised_20", compare(full, ("metagnn",), random, 20).rates["metagnn"])
        write_csv(RESULTS / f"{name}_{size}.csv", ["policy", "network", "link", "rate"], rows)
        print(f"{name} K={size}: {time.monotonic() - began:.0f} s", flush=True)


def random_initialisation(parameters: MetaParameters, seed: int) -> MetaParameters:
    """The same networks freshly initialised, with the larger steps of learning from scratch."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        networks = PrimalDualNetworks(parameters.networks.shape)
    rule = UpdateRule(dict.fromkeys(networks.shape.names, 1e-3), "adam")
    return replace(
        parameters, networks=networks, adaptation=replace(parameters.adaptation, rule=rule)
    )


def learning_curve(
    parameters: MetaParameters, network: Scenario, epochs: int, at: Callable[[int], bool]
) -> list[tuple[int, float, float, float]]:
    """Epoch, mean and minimum rate, and Lagrangian at its best slack per link, on test samples."""
    problem = parameters.problem
    rows = []
    assert network.past_gain is not None
    at_full_power = full_power_rate(network.past_gain, problem.power_max_w, problem.noise_w)
    required = minimum_rate(at_full_power.mean(0), problem.minimum_rate_threshold)

    def measure(epoch: int, learner: Learner) -> None:
        if not at(epoch):
            return
        run = learned_rollout(learner, network.past_gain, network.gain, problem)
        rates = run.rate.mean((0, 1))
        slack = smallest_slack(rates, required)
        value = resilient_objective(rates, slack, problem.alpha) / len(rates)
        rows.append((epoch, float(rates.mean()), float(rates.min()), float(value)))

    adaptation: Adaptation = replace(parameters.adaptation, num_epochs=epochs)
    adapt(
        parameters.networks,
        network.large_scale_gain,
        network.past_gain,
        problem,
        adaptation,
        measure,
    )
    return rows


def curves(
    parameters: MetaParameters, num_links: list[int], num_networks: int, epochs: int
) -> None:
    """Figures 7, 9 and 10: from the meta-parameters and from scratch, by number of samples."""
    rows: list[tuple[object, ...]] = []
    for size in num_links:
        for index in range(num_networks):
            for samples in (2048, 256):
                network = scenario(size, index, samples)
                scratch = random_initialisation(parameters, seed=index)
                for label, start, count in (
                    ("meta", parameters, 100),
                    ("scratch", scratch, epochs),
                ):
                    curve = learning_curve(
                        start, network, count, lambda e: e % 10 == 0 or e in (1, 2, 5)
                    )
                    rows.extend(
                        (label, size, index, samples, e, *(f"{v:.6f}" for v in values))
                        for e, *values in curve
                    )
            print(f"curves K={size} network {index}", flush=True)
    header = ["start", "num_links", "network", "num_samples", "epoch", "mean", "min", "lagrangian"]
    name = "-".join(str(size) for size in num_links)
    write_csv(RESULTS / f"curves_{name}.csv", header, rows)


def main() -> None:
    """Run one study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=["unseen", "transfer", "curves"])
    parser.add_argument("--num-links", type=int, nargs="+", default=[4, 8, 12, 16, 20])
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--checkpoint", default="power_control")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    parameters = load_meta_parameters(arguments.checkpoint)
    if arguments.study == "curves":
        curves(parameters, arguments.num_links, arguments.networks, arguments.epochs)
    else:
        unseen(parameters, arguments.num_links, arguments.networks, arguments.study)


if __name__ == "__main__":
    main()
