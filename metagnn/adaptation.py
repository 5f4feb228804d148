"""Adaptation to an unseen network (paper A, Algorithm 1, lines 14 to 19) and its use."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.adaptation_task import Problem, make_task
from metagnn.graphs.checks import check_count, require
from metagnn.graphs.neighbours import Gain
from metagnn.graphs.rates import full_power_rate
from metagnn.graphs.sparse_interference import graph_of
from metagnn.inner_loop import inner_loop, power_policy
from metagnn.lagrangian import best_slack, indicators
from metagnn.learner import DenseLearner, Learner, Networks, flatten
from metagnn.models.primal_dual import PrimalDualNetworks
from metagnn.rollout import Policy, Rollout, in_sequences, rollout
from metagnn.update_rule import UpdateRule

# Samples before the first scored one over which a policy's own averages settle.
WARM_UP_STEPS = 100


@dataclass(frozen=True)
class Adaptation:
    """How the networks adapt to one configuration.

    Attributes:
        rule: Update rule with a learning rate per network.
        num_epochs: Gradient steps N_a.
        steps_per_epoch: Time steps of every sequence that an epoch rolls out.
        num_sequences: Parallel sequences into which the samples are cut; fewer where they would
            be shorter than an epoch, over which the averaged rates must settle.
    """

    rule: UpdateRule
    num_epochs: int = 20
    steps_per_epoch: int = 64
    num_sequences: int = 32

    def __post_init__(self) -> None:
        check_count("num_epochs", self.num_epochs, minimum=0)
        check_count("steps_per_epoch", self.steps_per_epoch)
        check_count("num_sequences", self.num_sequences)

    def sequences_of(self, num_samples: int) -> int:
        """Number of sequences into which so many samples are cut."""
        return min(self.num_sequences, max(1, num_samples // self.steps_per_epoch))


@dataclass(frozen=True)
class Adapted:
    """Networks adapted to one configuration.

    Attributes:
        learner: Holds the adapted parameters.
        slack: Slacks s(N) ``[K]`` [bit/s/Hz].
        mu: Multipliers mu(N) ``[K]``.
        minimum_rate: f_min [bit/s/Hz].
        lagrangian: Lagrangian per link before each epoch.
    """

    learner: Learner
    slack: Tensor
    mu: Tensor
    minimum_rate: float
    lagrangian: list[float]


def adapt(
    networks: PrimalDualNetworks,
    large_scale_gain: Gain,
    gain: Gain,
    problem: Problem,
    adaptation: Adaptation,
    on_epoch: Callable[[int, Learner], None] | None = None,
) -> Adapted:
    """Adapt networks, which stay as they are, to one configuration.

    Args:
        networks: Networks at the meta-parameters.
        large_scale_gain: Large-scale power gains [1].
        gain: Samples for adaptation [1].
        problem: Constants of the problem.
        adaptation: How to adapt.
        on_epoch: Called with the number of finished epochs and the learner.

    Shapes:
        large_scale_gain ``[K, K]``, gain ``[S, K, K]``.
    """
    task = make_task(
        large_scale_gain,
        gain,
        problem,
        networks.shape.edges,
        adaptation.sequences_of(len(gain)),
    )
    learner = DenseLearner(networks, flatten(networks), adaptation.rule)
    history, _ = inner_loop(
        learner,
        task,
        problem,
        adaptation.num_epochs,
        adaptation.steps_per_epoch,
        None if on_epoch is None else lambda epoch: on_epoch(epoch, learner),
    )
    with torch.no_grad():
        mu = learner.call("mu", task.initial_rate, task.graph)
        slack = best_slack(mu, problem.alpha)
        if "slack" in networks.shape.names:
            slack = learner.call("slack", task.initial_rate, task.graph)
    values = [indicators(v, task.minimum_rate, problem.alpha)["lagrangian"] for v in history]
    return Adapted(learner, slack, mu, float(task.minimum_rate), [float(v) for v in values])


def learned_policy(networks: Networks, gain: Gain, problem: Problem) -> Policy:
    """Rollout policy of a power network on the samples ``[T, B, K, K]`` ahead.

    The graphs of all samples are computed at once; the policy uses the one of its time step only.
    """
    graph = graph_of(gain, problem.power_max_w, problem.noise_w, networks.shape.edges)
    return power_policy(networks, graph, problem.power_max_w)


@torch.no_grad()
def warmed_up_rollout(
    make_policy: Callable[[Gain], Policy],
    past_gain: Gain | None,
    gain: Gain,
    problem: Problem,
) -> Rollout:
    """Roll a policy out over consecutive samples, with averages settled on the samples before.

    The averages start at the mean rates at full power over ``past_gain`` and settle while the
    policy runs over its last `WARM_UP_STEPS` samples. Without a past they start at the rates of
    the first sample at full power, which makes every first PF ratio 1.

    Args:
        make_policy: Gives the policy for gains ``[T, B, K, K]``.
        past_gain: Samples before ``[S, K, K]``, or None.
        gain: Samples to run over ``[T, K, K]``.
        problem: Constants of the problem.

    Returns:
        One sequence: powers and rates ``[T, 1, K]``.

    Raises:
        ValueError: If gains have another number of axes.
    """
    for name, samples in (("past_gain", past_gain), ("gain", gain)):
        if samples is not None:
            require(len(samples.shape) == 3, name, "have the shape [S, K, K]", tuple(samples.shape))
    gain = in_sequences(gain, 1)
    constants = (problem.noise_w, problem.window)
    at_full_power = full_power_rate(gain, problem.power_max_w, problem.noise_w)
    if past_gain is None:
        average = at_full_power[0]
    else:
        past_gain = in_sequences(past_gain, 1)
        before = full_power_rate(past_gain, problem.power_max_w, problem.noise_w)
        recent, at = past_gain[-WARM_UP_STEPS:], before[-WARM_UP_STEPS:]
        settled = rollout(make_policy(recent), recent, at, before.mean(0), *constants)
        average = settled.average_rate
    return rollout(make_policy(gain), gain, at_full_power, average, *constants)


def learned_rollout(
    networks: Networks, past_gain: Gain | None, gain: Gain, problem: Problem
) -> Rollout:
    """`warmed_up_rollout` of a power network: of a learner, or of networks as they are."""
    return warmed_up_rollout(
        lambda samples: learned_policy(networks, samples, problem), past_gain, gain, problem
    )
