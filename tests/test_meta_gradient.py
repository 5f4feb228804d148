from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from metagnn.adaptation_task import Problem, Task, make_task
from metagnn.graphs.interference import interference_graph
from metagnn.graphs.neighbours import strongest
from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import full_power_rate, rate
from metagnn.inner_loop import run_epoch
from metagnn.lagrangian import lagrangian
from metagnn.learner import flatten, load_flat, unflatten
from metagnn.meta_gradient import (
    Algorithm,
    InnerLoop,
    grouped,
    mean_meta_gradient,
    meta_gradient,
    start_learner,
)
from metagnn.models.primal_dual import NetworkShape, PrimalDualNetworks
from metagnn.update_rule import UpdateRule

RATES = {"power": 0.5, "slack": 0.2, "mu": 0.3}
SHAPE = NetworkShape(hidden_channels=3, config_hidden_channels=3, num_layers=1, head="softplus")


def _problem(window: float = 0.2) -> Problem:
    return Problem(power_max_w=1.0, noise_w=0.1, minimum_rate_threshold=0.6, window=window)


def _networks(num_networks: int = 3) -> PrimalDualNetworks:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return PrimalDualNetworks(replace(SHAPE, num_networks=num_networks)).double()


def _rates(networks: PrimalDualNetworks) -> dict[str, float]:
    return {name: RATES[name] for name in networks.shape.names}


def _task(problem: Problem) -> Task:
    source = generator(0, "meta-gradient")
    gain = torch.rand((16, 2, 2), generator=source, dtype=torch.float64)
    gain = gain + 2.0 * torch.eye(2, dtype=torch.float64) * gain
    return make_task(gain.mean(0), gain, problem, SHAPE.edges, num_sequences=2)


def _meta_gradient(
    algorithm: Algorithm, networks: PrimalDualNetworks, problem: Problem, loop: InnerLoop
) -> dict[str, Tensor]:
    learner = start_learner(algorithm, "vectorized", networks, loop.rule)
    return meta_gradient(algorithm, learner, _task(problem), problem, loop).direction


def _adapted_by_torch(
    networks: PrimalDualNetworks, problem: Problem, loop: InnerLoop
) -> tuple[PrimalDualNetworks, Tensor]:
    """A copy of the networks after the inner loop, through torch's optimisers."""
    copy, task = deepcopy(networks), _task(problem)
    groups = [
        {"params": list(getattr(copy, name).parameters()), "lr": lr}
        for name, lr in loop.rule.learning_rates.items()
    ]
    optimizer = (torch.optim.SGD if loop.rule.kind == "sgd" else torch.optim.Adam)(groups)
    average = task.average_rate()
    for epoch in range(loop.num_epochs):
        result = run_epoch(copy, task, problem, epoch, average, loop.steps_per_epoch)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        average = result.average_rate
    return copy, average


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("num_epochs", [1, 4])
def test_reptile_is_the_way_made_over_the_learning_rate(
    kind: Literal["sgd", "adam"], num_epochs: int
) -> None:
    networks, loop = _networks(), InnerLoop(UpdateRule(RATES, kind), num_epochs, 3)
    adapted, _ = _adapted_by_torch(networks, _problem(), loop)
    found = _meta_gradient("reptile", networks, _problem(), loop)
    for name, vector in found.items():
        wanted = (flatten(networks)[name] - flatten(adapted)[name]) / RATES[name]
        torch.testing.assert_close(vector, wanted, rtol=1e-6, atol=1e-8)
        assert vector.abs().max() > 1e-3
        assert not vector.requires_grad


@pytest.mark.parametrize("num_epochs", [0, 1, 4])
def test_first_order_maml_is_the_gradient_where_the_inner_loop_ends(num_epochs: int) -> None:
    networks, loop = _networks(), InnerLoop(UpdateRule(RATES), num_epochs, 3)
    adapted, average = _adapted_by_torch(networks, _problem(), loop)
    query = run_epoch(adapted, _task(_problem()), _problem(), num_epochs, average, 3)
    adapted.zero_grad()
    query.loss.backward()
    found = _meta_gradient("fomaml", networks, _problem(), loop)
    for name, vector in found.items():
        slopes = [p.grad for p in getattr(adapted, name).parameters()]
        wanted = torch.cat([slope.flatten() for slope in slopes if slope is not None])
        torch.testing.assert_close(vector, wanted, rtol=1e-6, atol=1e-9)


def test_one_reptile_step_is_the_plain_gradient() -> None:
    networks, loop = _networks(), InnerLoop(UpdateRule(RATES), 1, 3)
    reptile = _meta_gradient("reptile", networks, _problem(), loop)
    joint = _meta_gradient("fomaml", networks, _problem(), InnerLoop(UpdateRule(RATES), 0, 3))
    for name, vector in reptile.items():
        torch.testing.assert_close(vector, joint[name], rtol=1e-6, atol=1e-9)


def _blocks(
    networks: PrimalDualNetworks, task: Task, problem: Problem, epoch: int
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Each network's own loss in an epoch as a function of its flat parameters alone.

    Written without `run_epoch`, `descent_loss` and `FusedStack`. The other networks' values are
    numbers. Without a window the PF ratios do not depend on the policy.
    """
    gain = task.gain[3 * epoch : 3 * epoch + 3]
    ratio = full_power_rate(gain, 1.0, 0.1) / task.initial_rate
    graph = interference_graph(gain, 1.0, 0.1, SHAPE.edges)

    def output(name: str, vector: Tensor) -> Tensor:
        x = (ratio, graph) if name == "power" else (task.initial_rate, task.graph)
        net = getattr(networks, name)
        value: Tensor = functional_call(net, unflatten(networks, name, vector), x)
        return value

    def expected_rate(vector: Tensor) -> Tensor:
        return rate(gain, output("power", vector), 0.1).mean((0, 1))

    with torch.no_grad():
        flat = flatten(networks)
        mu, fair = output("mu", flat["mu"]), task.minimum_rate - expected_rate(flat["power"])
        slack = output("slack", flat["slack"]) if "slack" in flat else None

    def power_loss(vector: Tensor) -> Tensor:
        return -((1.0 + mu) * expected_rate(vector)).mean()

    def slack_loss(vector: Tensor) -> Tensor:
        s = output("slack", vector)
        return (0.5 * problem.alpha * s * s - mu * s).mean()

    def mu_loss(vector: Tensor) -> Tensor:
        m = output("mu", vector)
        if slack is None:  # max over s of m s - alpha / 2 s^2 is m^2 / (2 alpha)
            return (0.5 * m * m / problem.alpha - m * fair).mean()
        return -(m * (fair - slack)).mean()

    if slack is None:
        return {"power": power_loss, "mu": mu_loss}
    return {"power": power_loss, "slack": slack_loss, "mu": mu_loss}


def _finite_differences(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    slopes = []
    for direction in torch.eye(at.numel(), dtype=at.dtype):
        step = 1e-5 * direction
        slopes.append((function(at + step) - function(at - step)).detach() / 2e-5)
    return torch.stack(slopes)


@pytest.mark.parametrize("num_networks", [2, 3])
def test_maml_equals_finite_differences_through_the_inner_step(num_networks: int) -> None:
    """Eq. 31 and 32: the query loss of each network as a function of its meta-parameters.

    A network's inner and query loss hold the other networks' values at those of the epoch (before
    and after adaptation), which is what makes the Jacobian of the step block-diagonal.
    """
    problem = _problem(window=0.0)
    networks, task = _networks(num_networks), _task(problem)
    loop = InnerLoop(UpdateRule(_rates(networks)), num_epochs=1, steps_per_epoch=3)
    adapted, _ = _adapted_by_torch(networks, problem, loop)
    inner, query = _blocks(networks, task, problem, 0), _blocks(adapted, task, problem, 1)
    maml = _meta_gradient("maml", networks, problem, loop)
    fomaml = _meta_gradient("fomaml", networks, problem, loop)
    for name, start in flatten(networks).items():

        def after_one_step(vector: Tensor, name: str = name) -> Tensor:
            vector = vector.detach().requires_grad_()
            (slope,) = torch.autograd.grad(inner[name](vector), vector)
            return query[name](vector - RATES[name] * slope)

        wanted = _finite_differences(after_one_step, start)
        torch.testing.assert_close(maml[name], wanted, rtol=1e-5, atol=1e-8)
        difference = (maml[name] - fomaml[name]).norm() / maml[name].norm()
        assert difference > 1e-3, name


@pytest.mark.parametrize(
    ("num_networks", "name"), [(2, "power"), (2, "mu"), (3, "power"), (3, "slack"), (3, "mu")]
)
def test_maml_is_the_explicit_jacobian_times_the_gradient(num_networks: int, name: str) -> None:
    problem = _problem(window=0.0)
    networks, task = _networks(num_networks), _task(problem)
    loop = InnerLoop(UpdateRule(_rates(networks)), num_epochs=1, steps_per_epoch=3)
    adapted, _ = _adapted_by_torch(networks, problem, loop)
    inner, query = _blocks(networks, task, problem, 0), _blocks(adapted, task, problem, 1)
    start, end = flatten(networks)[name], flatten(adapted)[name]
    hessian = torch.func.hessian(inner[name])(start)
    jacobian = torch.eye(start.numel(), dtype=torch.float64) - RATES[name] * hessian
    wanted = jacobian.T @ torch.func.grad(query[name])(end)
    maml = _meta_gradient("maml", networks, problem, loop)
    torch.testing.assert_close(maml[name], wanted, rtol=1e-8, atol=1e-10)


def test_maml_through_adam_and_moving_averages_is_finite_and_of_second_order() -> None:
    networks = _networks()
    loop = InnerLoop(UpdateRule(RATES, "adam"), num_epochs=3, steps_per_epoch=2)
    maml = _meta_gradient("maml", networks, _problem(), loop)
    fomaml = _meta_gradient("fomaml", networks, _problem(), loop)
    for name, vector in maml.items():
        assert vector.isfinite().all()
        assert not torch.allclose(vector, fomaml[name], rtol=1e-2)


def test_a_small_step_against_the_maml_gradient_lowers_the_loss_after_adaptation() -> None:
    """All networks but the power network held: their outer and inner steps are far smaller."""
    problem = _problem()
    rule = UpdateRule({"power": 0.5, "slack": 1e-9, "mu": 1e-9})
    loop = InnerLoop(rule, num_epochs=2, steps_per_epoch=4)
    networks = _networks()

    def loss_after(networks: PrimalDualNetworks) -> float:
        task = _task(problem)
        learner = start_learner("fomaml", "vectorized", networks, rule)
        average = task.average_rate()
        for epoch in range(2):
            result = run_epoch(learner, task, problem, epoch, average, 4)
            learner.descend(result.loss)
            average = result.average_rate
        return run_epoch(learner, task, problem, 2, average, 4).loss.item()

    before = loss_after(networks)
    slope = _meta_gradient("maml", networks, problem, loop)["power"]
    load_flat(networks, {"power": flatten(networks)["power"] - 0.1 * slope})
    assert loss_after(networks) < before


@pytest.mark.parametrize("algorithm", ["reptile", "fomaml", "maml"])
def test_the_meta_parameters_stay_as_they_are(algorithm: Algorithm) -> None:
    networks = _networks()
    before = deepcopy(networks.state_dict())
    _meta_gradient(algorithm, networks, _problem(), InnerLoop(UpdateRule(RATES), 2, 3))
    assert all(torch.equal(before[key], value) for key, value in networks.state_dict().items())
    assert all(p.grad is None for p in networks.parameters())


def test_counts_are_checked() -> None:
    with pytest.raises(ValueError, match="`num_epochs` must be an integer >= 0, got -1"):
        InnerLoop(UpdateRule(RATES), -1)
    with pytest.raises(ValueError, match="`steps_per_epoch` must be an integer >= 1, got 0"):
        InnerLoop(UpdateRule(RATES), 1, 0)


def test_tasks_are_grouped_by_shape_and_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = _problem()
    gains = {k: torch.rand((16, k, k), generator=generator(k)).double() + 0.1 for k in (2, 3)}
    small, large = (make_task(g.mean(0), g, problem, SHAPE.edges, 2) for g in gains.values())
    tasks = [small, large, small, small, large]
    sizes = [[task.gain.shape[-1] for task in group] for group in grouped(tasks)]
    assert sizes == [[2, 2, 2], [3, 3]]
    networks = _networks()
    loop = InnerLoop(UpdateRule(RATES), 2, 3)
    arguments = ("fomaml", "vectorized", networks, tasks, problem, loop)
    together = mean_meta_gradient(*arguments)
    monkeypatch.setattr("metagnn.meta_gradient.ROWS_AT_ONCE", 8)  # two of 2 x 2 rows, one of 2 x 3
    sizes = [[task.gain.shape[-1] for task in group] for group in grouped(tasks)]
    assert sizes == [[2, 2], [2], [3], [3]]
    for found in (together, mean_meta_gradient(*arguments)):
        alone = []
        for task in tasks:
            learner = start_learner("fomaml", "vectorized", networks, loop.rule)
            alone.append(meta_gradient("fomaml", learner, task, problem, loop))
        for name, vector in found.direction.items():
            torch.testing.assert_close(vector, sum(one.direction[name] for one in alone) / 5)
        for name, value in found.indicators.items():
            torch.testing.assert_close(value, sum(one.indicators[name] for one in alone) / 5)


@pytest.mark.parametrize("algorithm", ["reptile", "fomaml", "maml"])
def test_neighbour_lists_of_all_pairs_give_the_dense_meta_gradient(algorithm: Algorithm) -> None:
    """On lists every time step is computed again in the backward pass."""
    networks, problem = _networks(), _problem()
    gain = torch.rand((16, 3, 3), generator=generator(1), dtype=torch.float64) + 0.1
    lists = strongest(gain.mean(0), 2)
    loop = InnerLoop(UpdateRule(RATES), 3, 3)
    wanted, found = (
        meta_gradient(
            algorithm,
            start_learner(algorithm, "vectorized", networks, loop.rule),
            make_task(large, samples, problem, SHAPE.edges, 2),
            problem,
            loop,
        ).direction
        for large, samples in ((gain.mean(0), gain), (lists, lists.samples(gain)))
    )
    for name, vector in wanted.items():
        torch.testing.assert_close(found[name], vector, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("num_epochs", [1, 3])
@pytest.mark.parametrize("algorithm", ["reptile", "fomaml", "maml"])
def test_indicators_are_those_of_the_last_epoch_rolled_out(
    algorithm: Algorithm, num_epochs: int
) -> None:
    networks, problem, loop = _networks(), _problem(), InnerLoop(UpdateRule(RATES), num_epochs, 3)
    before = num_epochs - 1 if algorithm == "reptile" else num_epochs
    adapted, average = _adapted_by_torch(networks, problem, replace(loop, num_epochs=before))
    task = _task(problem)
    v = run_epoch(adapted, task, problem, before, average, 3).variables
    found = meta_gradient(
        algorithm, start_learner(algorithm, "vectorized", networks, loop.rule), task, problem, loop
    ).indicators
    wanted = {
        "num_links": torch.tensor(2.0).double(),
        "lagrangian": lagrangian(v, task.minimum_rate, problem.alpha) / 2,
        "mean_rate": v.expected_rate.mean(),
        "min_rate": v.expected_rate.min(),
        "mean_slack": v.slack.mean(),
        "mean_mu": v.mu.mean(),
    }
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-6, atol=1e-9)
