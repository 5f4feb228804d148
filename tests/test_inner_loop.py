from copy import deepcopy
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from metagnn.adaptation_task import Problem, Task, make_task
from metagnn.graphs.interference import EdgeKind, interference_graph
from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import full_power_rate, rate
from metagnn.inner_loop import inner_loop, run_epoch
from metagnn.lagrangian import descent_loss, lagrangian
from metagnn.learner import DenseLearner, flatten, load_flat, unflatten
from metagnn.models.primal_dual import NetworkShape, PrimalDualNetworks
from metagnn.update_rule import UpdateRule

PROBLEM = Problem(power_max_w=1.0, noise_w=0.1, minimum_rate_threshold=0.6, window=0.2)
SHAPE = NetworkShape(hidden_channels=4, config_hidden_channels=4, head="softplus")
RATES = {"power": 0.3, "slack": 0.05, "mu": 0.1, "rate": 0.07, "lam": 0.02}
PRIMAL = ("power", "rate", "slack")
NUM_LINKS = 3


def _networks(num_networks: int = 3, edges: EdgeKind = "normalised_log") -> PrimalDualNetworks:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return PrimalDualNetworks(replace(SHAPE, num_networks=num_networks, edges=edges)).double()


def _gain(num_samples: int = 24) -> Tensor:
    source = generator(0, "inner loop")
    shape = (num_samples, NUM_LINKS, NUM_LINKS)
    gain = torch.rand(shape, generator=source, dtype=torch.float64)
    return gain + 2.0 * torch.eye(NUM_LINKS, dtype=torch.float64) * gain


def _task(edges: EdgeKind = "normalised_log", problem: Problem = PROBLEM) -> Task:
    gain = _gain()
    return make_task(gain.mean(0), gain, problem, edges, num_sequences=2)


def _rule(networks: PrimalDualNetworks, kind: Literal["sgd", "adam"] = "sgd") -> UpdateRule:
    return UpdateRule({name: RATES[name] for name in networks.shape.names}, kind)


def _average(task: Task) -> Tensor:
    return task.average_rate()


@pytest.mark.parametrize("edges", ["normalised_log", "rate_loss"])
def test_task_of_a_configuration(edges: EdgeKind) -> None:
    task, gain = _task(edges), _gain()
    full = torch.stack([full_power_rate(sample, 1.0, 0.1) for sample in gain])
    torch.testing.assert_close(task.initial_rate, full.mean(0))
    graph = interference_graph(gain.mean(0), 1.0, 0.1, edges)
    torch.testing.assert_close(task.graph.edge_weight, graph.edge_weight)
    torch.testing.assert_close(task.graph.node, graph.node)
    assert task.minimum_rate.item() == pytest.approx(0.6)
    assert task.gain.shape == (12, 2, 3, 3)
    assert torch.equal(task.gain[5, 1], gain[17])
    single = make_task(gain[0], gain[:1], PROBLEM, edges, num_sequences=32)
    assert single.num_sequences == 1


@pytest.mark.parametrize("edges", ["normalised_log", "rate_loss"])
@pytest.mark.parametrize("num_networks", [2, 3, 5])
def test_an_epoch_equals_a_plain_loop(edges: EdgeKind, num_networks: int) -> None:
    networks, task = _networks(num_networks, edges), _task(edges)
    result = run_epoch(networks, task, PROBLEM, 1, _average(task), steps_per_epoch=5)
    rates = []
    for b in range(2):
        past = task.initial_rate
        for t in range(5, 10):  # epoch 1 takes the second five of 12 steps
            gain = task.gain[t, b]
            ratio = full_power_rate(gain, 1.0, 0.1) / past
            graph = interference_graph(gain, 1.0, 0.1, edges)
            got = rate(gain, networks.call("power", ratio, graph), 0.1)
            past = 0.8 * past + 0.2 * got
            rates.append(got)
        torch.testing.assert_close(result.average_rate[b], past)
    variables = result.variables
    torch.testing.assert_close(variables.expected_rate, torch.stack(rates).mean(0))
    for name in networks.shape.names[1:]:
        wanted = networks.call(name, task.initial_rate, task.graph)
        torch.testing.assert_close(getattr(variables, name), wanted)
    assert (variables.rate is None) == (variables.lam is None) == (num_networks < 5)
    assert (variables.slack is None) == (num_networks == 2)
    wanted = descent_loss(variables, task.minimum_rate, PROBLEM.alpha)
    torch.testing.assert_close(result.loss, wanted)
    assert not result.average_rate.requires_grad


@pytest.mark.parametrize("num_networks", [2, 3, 5])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_every_network_moves_along_the_lagrangians_gradient(
    num_networks: int, reduction: Literal["mean", "sum"]
) -> None:
    """Eq. 17 to 21 are the partial gradients of Eq. 15: up in primal, down in dual networks."""
    networks, task = _networks(num_networks), _task()
    problem = replace(PROBLEM, reduction=reduction)
    result = run_epoch(networks, task, problem, 0, _average(task), steps_per_epoch=6)
    value = lagrangian(result.variables, task.minimum_rate, problem.alpha)
    value = value / (NUM_LINKS if reduction == "mean" else 1)
    for name in networks.shape.names:
        parameters = list(getattr(networks, name).parameters())
        found = torch.autograd.grad(result.loss, parameters, retain_graph=True)
        wanted = torch.autograd.grad(value, parameters, retain_graph=True)
        sign = -1.0 if name in PRIMAL else 1.0
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours, sign * theirs)
        assert max(float(slope.abs().max()) for slope in found) > 1e-4, name


def test_slack_as_printed_reaches_the_slack_network_only() -> None:
    networks, task = _networks(), _task()
    slopes = []
    for printed in (False, True):
        problem = replace(PROBLEM, slack_as_printed=printed)
        result = run_epoch(networks, task, problem, 0, _average(task), 6)
        parameters = list(networks.parameters())
        slopes.append(torch.autograd.grad(result.loss, parameters))
    names = [name.split(".")[0] for name, _ in networks.named_parameters()]
    differing = {
        name for name, a, b in zip(names, *slopes, strict=True) if not torch.allclose(a, b)
    }
    assert differing == {"slack"}


@pytest.mark.parametrize(("epoch", "start"), [(0, 0), (1, 5), (2, 0), (7, 5)])
def test_epochs_take_the_time_steps_in_turn(epoch: int, start: int) -> None:
    networks, task = _networks(), _task()
    now = slice(start, start + 5)
    cut = replace(
        task,
        gain=task.gain[now],
        sample_graph=task.sample_graph[now],
        full_power_rate=task.full_power_rate[now],
    )
    result = run_epoch(networks, task, PROBLEM, epoch, _average(task), steps_per_epoch=5)
    wanted = run_epoch(networks, cut, PROBLEM, 0, _average(task), steps_per_epoch=5)
    assert torch.equal(result.variables.expected_rate, wanted.variables.expected_rate)


def test_an_epoch_takes_all_steps_if_there_are_fewer() -> None:
    networks, task = _networks(), _task()
    results = [run_epoch(networks, task, PROBLEM, 3, _average(task), n).loss for n in (12, 99)]
    assert torch.equal(*results)


@pytest.mark.parametrize("num_networks", [2, 3, 5])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_inner_loop_equals_torchs_optimiser(
    num_networks: int, kind: Literal["sgd", "adam"]
) -> None:
    networks, task = _networks(num_networks), _task()
    reference, before = deepcopy(networks), deepcopy(networks.state_dict())
    learner = DenseLearner(networks, flatten(networks), _rule(networks, kind))
    counts: list[int] = []
    history, average = inner_loop(learner, task, PROBLEM, 5, 4, counts.append)
    groups = [
        {"params": list(getattr(reference, name).parameters()), "lr": RATES[name]}
        for name in networks.shape.names
    ]
    optimizer = (torch.optim.SGD if kind == "sgd" else torch.optim.Adam)(groups)
    past, values = _average(task), []
    for epoch in range(5):
        result = run_epoch(reference, task, PROBLEM, epoch, past, 4)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        past = result.average_rate
        values.append(lagrangian(result.variables, task.minimum_rate, PROBLEM.alpha).item() / 3)
    assert counts == [0, 1, 2, 3, 4, 5]
    found = [lagrangian(v, task.minimum_rate, PROBLEM.alpha).item() / 3 for v in history]
    assert found == pytest.approx(values, rel=1e-6)
    assert not any(v.mu.requires_grad or v.r.requires_grad for v in history)
    torch.testing.assert_close(average, past, rtol=1e-6, atol=1e-8)
    wanted = flatten(reference)
    for name, vector in learner.flat().items():
        torch.testing.assert_close(vector.detach(), wanted[name], rtol=1e-6, atol=1e-8)
        assert (vector - flatten(networks)[name]).abs().max() > 1e-4
    assert all(torch.equal(before[key], value) for key, value in networks.state_dict().items())


def test_no_epoch_leaves_everything_as_it_was() -> None:
    networks, task = _networks(), _task()
    learner = DenseLearner(networks, flatten(networks), _rule(networks))
    history, average = inner_loop(learner, task, PROBLEM, 0, 4)
    assert history == []
    assert torch.equal(average, _average(task))
    for name, vector in flatten(networks).items():
        assert torch.equal(learner.flat()[name], vector)


def test_flat_parameters_there_and_back() -> None:
    networks = _networks(5)
    flat = flatten(networks)
    assert tuple(flat) == networks.shape.names
    for name, vector in flat.items():
        pieces = unflatten(networks, name, vector)
        for key, parameter in getattr(networks, name).named_parameters():
            assert torch.equal(pieces[key], parameter)
    moved = {name: vector + 1.0 for name, vector in flat.items()}
    load_flat(networks, moved)
    assert all(torch.equal(flatten(networks)[name], moved[name]) for name in flat)
    assert not torch.equal(flat["mu"], moved["mu"])


def test_a_learner_calls_the_networks_under_its_own_parameters() -> None:
    networks, task = _networks(), _task()
    other = {name: 0.5 * vector for name, vector in flatten(networks).items()}
    learner = DenseLearner(networks, other, _rule(networks))
    assert learner.shape == networks.shape
    found = [learner.call(name, task.initial_rate, task.graph) for name in other]
    load_flat(networks, other)
    for name, value in zip(other, found, strict=True):
        torch.testing.assert_close(value, networks.call(name, task.initial_rate, task.graph))


def test_counts_are_checked() -> None:
    networks, task = _networks(), _task()
    learner = DenseLearner(networks, flatten(networks), _rule(networks))
    with pytest.raises(ValueError, match="`num_epochs` must be an integer >= 0, got -1"):
        inner_loop(learner, task, PROBLEM, -1, 4)
    with pytest.raises(ValueError, match="`steps_per_epoch` must be an integer >= 1, got 0"):
        inner_loop(learner, task, PROBLEM, 1, 0)
    with pytest.raises(ValueError, match="`num_sequences` must be an integer >= 1, got 0"):
        make_task(_gain()[0], _gain(), PROBLEM, "rate_loss", 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("power_max_w", 0.0),
        ("noise_w", -1.0),
        ("alpha", float("nan")),
        ("minimum_rate_threshold", 0.0),
        ("window", -0.1),
        ("window", 1.5),
        ("reduction", "max"),
    ],
)
def test_problem_errors_name_argument_and_value(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must .*got {value!r}"):
        Problem(**{name: value})  # type: ignore[arg-type]
