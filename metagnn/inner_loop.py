"""The inner loop: primal-dual gradient steps on one configuration (paper A, Algorithm 1)."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

from torch import Tensor

from metagnn.adaptation_task import Problem, Task
from metagnn.graphs.checks import check_count
from metagnn.graphs.neighbours import Gain
from metagnn.graphs.sparse_interference import Graph
from metagnn.lagrangian import Variables, descent_loss
from metagnn.learner import Learner, Networks
from metagnn.rollout import Policy, rollout


@dataclass(frozen=True)
class EpochResult:
    """What one epoch saw, before its update.

    Attributes:
        loss: What to descend, one number per task, attached to the networks' parameters.
        variables: Primal and dual variables.
        average_rate: Averaged rates of the sequences after the epoch ``[(M,) B, K]`` [bit/s/Hz].
    """

    loss: Tensor
    variables: Variables
    average_rate: Tensor


def power_policy(networks: Networks, graph: Graph, power_max_w: float) -> Policy:
    """Rollout policy of a power network on graphs ``[T, ...]`` prepared for all time steps."""
    # With the parameters of now: a step may be computed again after the learner has moved on.
    networks = copy(networks)

    def policy(gain: Gain, ratio: Tensor, step: int) -> Tensor:
        return power_max_w * networks.call("power", ratio, graph[step])

    return policy


def run_epoch(
    networks: Networks,
    task: Task,
    problem: Problem,
    epoch: int,
    average_rate: Tensor,
    steps_per_epoch: int,
) -> EpochResult:
    """Roll out, and evaluate the loss of paper A's Eq. 17 to 21.

    Args:
        networks: The networks under their current parameters.
        task: The task.
        problem: Constants of the problem.
        epoch: Number of the epoch; each takes the next ``steps_per_epoch`` time steps, cyclically.
        average_rate: Averaged rates of the sequences so far ``[(M,) B, K]`` [bit/s/Hz].
        steps_per_epoch: Time steps of an epoch; all of them if the task has fewer.
    """
    num_steps = task.gain.shape[0]
    steps = min(steps_per_epoch, num_steps)
    start = (epoch % (num_steps // steps)) * steps
    now = slice(start, start + steps)
    run = rollout(
        power_policy(networks, task.sample_graph[now], problem.power_max_w),
        task.gain[now],
        task.full_power_rate[now],
        average_rate,
        problem.noise_w,
        problem.window,
    )
    expected_rate = run.rate.mean((0, -2))
    values = {
        name: networks.call(name, task.initial_rate, task.graph)
        for name in networks.shape.names
        if name != "power"
    }
    variables = Variables(expected_rate, **values)
    loss = descent_loss(
        variables, task.minimum_rate, problem.alpha, problem.reduction, problem.slack_as_printed
    )
    return EpochResult(loss, variables, run.average_rate)


def inner_loop(
    learner: Learner,
    task: Task,
    problem: Problem,
    num_epochs: int,
    steps_per_epoch: int,
    on_epoch: Callable[[int], None] | None = None,
) -> tuple[list[Variables], Tensor]:
    """Primal-dual steps on one task (Algorithm 1, lines 6 to 9 and 15 to 18).

    Args:
        learner: Holds the parameters, which move.
        task: The task.
        problem: Constants of the problem.
        num_epochs: Number of gradient steps N_I or N_a.
        steps_per_epoch: Time steps of every sequence that one epoch rolls out.
        on_epoch: Called with the number of finished epochs before the first and after every step.

    Returns:
        The variables before each step, detached, and the averaged rates ``[(M,) B, K]``
        [bit/s/Hz] after the last.
    """
    check_count("num_epochs", num_epochs, minimum=0)
    check_count("steps_per_epoch", steps_per_epoch)
    average_rate = task.average_rate()
    history: list[Variables] = []
    if on_epoch is not None:
        on_epoch(0)
    for epoch in range(num_epochs):
        result = run_epoch(learner, task, problem, epoch, average_rate, steps_per_epoch)
        learner.descend(result.loss)
        average_rate = result.average_rate
        history.append(result.variables.detach())
        if on_epoch is not None:
            on_epoch(epoch + 1)
    return history, average_rate
