"""The inner loop: primal-dual gradient steps on one configuration (paper A, Algorithm 1)."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from metagnn.adaptation_task import Problem, Task
from metagnn.graphs.checks import check_count
from metagnn.graphs.interference import DenseGraph, interference_graph
from metagnn.graphs.rates import rate
from metagnn.lagrangian import Variables, descent_loss, lagrangian
from metagnn.learner import Learner, Networks
from metagnn.rollout import Policy, rollout


@dataclass(frozen=True)
class EpochResult:
    """What one epoch saw, before its update.

    Attributes:
        loss: Scalar to descend, attached to the networks' parameters.
        variables: Primal and dual variables.
        average_rate: Averaged rates of the sequences after the epoch ``[B, K]`` [bit/s/Hz].
    """

    loss: Tensor
    variables: Variables
    average_rate: Tensor


def power_policy(
    power_net: Callable[[Tensor, DenseGraph], Tensor], graph: DenseGraph, power_max_w: float
) -> Policy:
    """Rollout policy of a power network on graphs ``[T, B, ...]`` prepared for all time steps."""

    def policy(gain: Tensor, ratio: Tensor, step: int) -> Tensor:
        return power_max_w * power_net(ratio, graph[step])

    return policy


def run_epoch(
    networks: Networks,
    task: Task,
    problem: Problem,
    epoch: int,
    average_rate: Tensor,
    steps_per_epoch: int,
) -> EpochResult:
    """Roll out without gradient, then all time steps in one forward pass with gradient.

    The PF ratios carry no gradient (their averages are detached), so taking them from the
    rollout gives the gradient of paper A's Eq. 17.

    Args:
        networks: The networks under their current parameters.
        task: The task.
        problem: Constants of the problem.
        epoch: Number of the epoch; each takes the next ``steps_per_epoch`` time steps, cyclically.
        average_rate: Averaged rates of the sequences so far ``[B, K]`` [bit/s/Hz].
        steps_per_epoch: Time steps of an epoch; all of them if the task has fewer.
    """
    num_steps = task.gain.shape[0]
    steps = min(steps_per_epoch, num_steps)
    start = (epoch % (num_steps // steps)) * steps
    gain = task.gain[start : start + steps]
    graph = interference_graph(gain, problem.power_max_w, problem.noise_w, networks.shape.edges)

    def power_net(ratio: Tensor, graph: DenseGraph) -> Tensor:
        return networks.call("power", ratio, graph)

    policy = power_policy(power_net, graph, problem.power_max_w)
    past = rollout(policy, gain, average_rate, problem.power_max_w, problem.noise_w, problem.window)
    power_w = problem.power_max_w * power_net(past.ratio, graph)
    expected_rate = rate(gain, power_w, problem.noise_w).mean((0, 1))
    values = {
        name: networks.call(name, task.initial_rate, task.graph)
        for name in networks.shape.names
        if name != "power"
    }
    variables = Variables(expected_rate, **values)
    loss = descent_loss(
        variables, task.minimum_rate, problem.alpha, problem.reduction, problem.slack_as_printed
    )
    return EpochResult(loss, variables, past.average_rate)


def inner_loop(
    learner: Learner,
    task: Task,
    problem: Problem,
    num_epochs: int,
    steps_per_epoch: int,
    on_epoch: Callable[[int], None] | None = None,
) -> tuple[list[float], Tensor]:
    """Primal-dual steps on one task (Algorithm 1, lines 6 to 9 and 15 to 18).

    Args:
        learner: Holds the parameters, which move.
        task: The task.
        problem: Constants of the problem.
        num_epochs: Number of gradient steps N_I or N_a.
        steps_per_epoch: Time steps of every sequence that one epoch rolls out.
        on_epoch: Called with the number of finished epochs before the first and after every step.

    Returns:
        Value of the Lagrangian per link before each step, and the averaged rates at the end.
    """
    check_count("num_epochs", num_epochs, minimum=0)
    check_count("steps_per_epoch", steps_per_epoch)
    average_rate = task.initial_rate.expand(task.num_sequences, -1)
    history: list[Tensor] = []
    if on_epoch is not None:
        on_epoch(0)
    for epoch in range(num_epochs):
        result = run_epoch(learner, task, problem, epoch, average_rate, steps_per_epoch)
        learner.descend(result.loss)
        average_rate = result.average_rate
        value = lagrangian(result.variables, task.minimum_rate, problem.alpha)
        history.append(value.detach() / task.initial_rate.shape[0])
        if on_epoch is not None:
            on_epoch(epoch + 1)
    return [float(value) for value in history], average_rate
