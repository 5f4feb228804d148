"""Ergodic rates of a policy on the scored samples of one network."""

from dataclasses import replace

from torch import Tensor

from metagnn.adaptation import Adaptation, adapt, learned_rollout
from metagnn.adaptation_task import Problem
from metagnn.graphs.dataset import NetworkSamples
from metagnn.models.primal_dual import PrimalDualNetworks
from metagnn.rollout import Rollout


def run_network(
    networks: PrimalDualNetworks,
    network: NetworkSamples,
    problem: Problem,
    adaptation: Adaptation,
    num_epochs: int,
) -> Rollout:
    """Adapt for ``num_epochs`` and roll out over its scored samples ``[T, 1, K]``."""
    adapted = adapt(
        networks,
        network.configuration.large_scale_gain,
        network.gain,
        problem,
        replace(adaptation, num_epochs=num_epochs),
    )
    return learned_rollout(adapted.learner, network.gain, network.test_gain, problem)


def score_network(
    networks: PrimalDualNetworks,
    network: NetworkSamples,
    problem: Problem,
    adaptation: Adaptation,
    num_epochs: int,
) -> Tensor:
    """Ergodic rates ``[K]`` [bit/s/Hz] on the scored samples after ``num_epochs`` of adaptation."""
    run = run_network(networks, network, problem, adaptation, num_epochs)
    return run.rate.mean((0, 1))
