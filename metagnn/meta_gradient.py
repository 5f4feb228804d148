"""Meta-gradients of one task: Reptile, first-order MAML and MAML (paper A, Eq. 31 to 33)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metagnn.adaptation_task import Problem, Task, side_by_side
from metagnn.graphs.checks import check_count
from metagnn.inner_loop import inner_loop, run_epoch
from metagnn.lagrangian import indicators
from metagnn.learner import DenseLearner, Learner, flatten
from metagnn.models.primal_dual import PrimalDualNetworks
from metagnn.update_rule import UpdateRule

# Nodes of all sequences of all tasks that stand side by side; beyond, matrix products of several
# weights were slower on one core than one after the other.
ROWS_AT_ONCE = 1024

Algorithm = Literal["reptile", "fomaml", "maml"]
Engine = Literal["vectorized", "learn2learn"]


@dataclass(frozen=True)
class MetaGradient:
    """What the outer loop needs to know of a task.

    Attributes:
        direction: What to descend, a vector ``[(M,) P]`` per network.
        indicators: How the task went (`lagrangian.indicators`), ``[(M)]`` each: after the inner
            loop, with ``reptile`` before its last step.
    """

    direction: dict[str, Tensor]
    indicators: dict[str, Tensor]


@dataclass(frozen=True)
class InnerLoop:
    """How parameters move within a task.

    Attributes:
        rule: Update rule with a learning rate per network.
        num_epochs: Gradient steps N_I; with 0, ``fomaml`` and ``maml`` are multi-task learning.
        steps_per_epoch: Time steps of every sequence that an epoch rolls out.
    """

    rule: UpdateRule
    num_epochs: int = 20
    steps_per_epoch: int = 8

    def __post_init__(self) -> None:
        check_count("num_epochs", self.num_epochs, minimum=0)
        check_count("steps_per_epoch", self.steps_per_epoch)


def meta_gradient(
    algorithm: Algorithm, learner: Learner, task: Task, problem: Problem, loop: InnerLoop
) -> MetaGradient:
    r"""Direction in which the outer loop descends, from one task.

    ``reptile`` (Eq. 33): :math:`(\theta^I - \theta^I_\tau) / \eta_I`.

    ``maml`` (Eq. 31 and 32): gradient of the loss after adaptation in the meta-parameters. Each
    network's update holds the others' variables fixed (Eq. 17 to 21), so its Jacobian is the
    block :math:`I \pm \eta \nabla^2_{\theta^I} L` of the equations. ``fomaml`` takes it as the
    identity. The loss after adaptation is that of the epoch which follows the inner loop.

    Args:
        algorithm: ``reptile``, ``fomaml`` or ``maml``.
        learner: Starts at the meta-parameters; for ``maml`` it must keep the graph.
        task: The task.
        problem: Constants of the problem.
        loop: The inner loop.
    """
    if algorithm == "reptile":
        check_count("loop.num_epochs", loop.num_epochs)
    start = learner.flat()
    history, average_rate = inner_loop(
        learner, task, problem, loop.num_epochs, loop.steps_per_epoch
    )
    if algorithm == "reptile":
        adapted = learner.flat()
        rates = loop.rule.learning_rates
        direction = {k: (start[k] - adapted[k]).detach() / rates[k] for k in start}
        return MetaGradient(direction, indicators(history[-1], task.minimum_rate, problem.alpha))
    query = run_epoch(learner, task, problem, loop.num_epochs, average_rate, loop.steps_per_epoch)
    direction = learner.meta_gradient(query.loss)
    return MetaGradient(direction, indicators(query.variables, task.minimum_rate, problem.alpha))


def start_learner(
    algorithm: Algorithm,
    engine: Engine,
    networks: PrimalDualNetworks,
    rule: UpdateRule,
    num_tasks: int | None = None,
) -> Learner:
    """Learner at the networks' own parameters, for one task or for several side by side."""
    create_graph = algorithm == "maml"
    if engine == "learn2learn":
        from metagnn.learn2learn_engine import Learn2LearnLearner

        return Learn2LearnLearner(networks, rule, create_graph)
    start = flatten(networks)
    if num_tasks is not None:
        start = {name: vector.expand(num_tasks, -1) for name, vector in start.items()}
    return DenseLearner(networks, start, rule, create_graph)


def mean_meta_gradient(
    algorithm: Algorithm,
    engine: Engine,
    networks: PrimalDualNetworks,
    tasks: Sequence[Task],
    problem: Problem,
    loop: InnerLoop,
) -> MetaGradient:
    """Average of `meta_gradient` over tasks, those of one size side by side where it pays."""
    direction = {name: torch.zeros_like(vector) for name, vector in flatten(networks).items()}
    averages: dict[str, Tensor] = defaultdict(lambda: torch.zeros(()))
    for group in grouped(tasks) if engine == "vectorized" else [[task] for task in tasks]:
        alone = len(group) == 1
        count = None if alone else len(group)
        learner = start_learner(algorithm, engine, networks, loop.rule, count)
        task = group[0] if alone else side_by_side(group)
        found = meta_gradient(algorithm, learner, task, problem, loop)
        for name, value in found.direction.items():
            direction[name] += (value if alone else value.sum(0)) / len(tasks)
        for name, value in found.indicators.items():
            averages[name] = averages[name] + value.sum() / len(tasks)
    return MetaGradient(direction, dict(averages))


def grouped(tasks: Sequence[Task]) -> list[list[Task]]:
    """Tasks that advance side by side: dense, of one shape, and small enough for it to pay."""
    groups: dict[tuple[int, ...], list[Task]] = {}
    chosen = []
    for task in tasks:
        if isinstance(task.gain, Tensor):
            groups.setdefault(tuple(task.gain.shape), []).append(task)
        else:
            chosen.append([task])
    for shape, group in groups.items():
        rows = shape[1] * shape[2]
        at_once = max(1, ROWS_AT_ONCE // rows)
        chosen += [group[i : i + at_once] for i in range(0, len(group), at_once)]
    return chosen
