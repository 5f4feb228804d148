from copy import deepcopy
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from metagnn.adaptation_task import Problem, Task, make_task, side_by_side
from metagnn.graphs.interference import EdgeKind
from metagnn.graphs.randomness import generator
from metagnn.inner_loop import inner_loop, run_epoch
from metagnn.learn2learn_engine import Learn2LearnLearner, sparse_networks
from metagnn.learn2learn_import import import_learn2learn
from metagnn.learner import DenseLearner, flatten
from metagnn.meta_gradient import Algorithm, Engine, InnerLoop, meta_gradient, start_learner
from metagnn.models.leconv_sparse import SparseLEConvStack
from metagnn.models.primal_dual import NetworkShape, PrimalDualNetworks
from metagnn.update_rule import UpdateRule

PROBLEM = Problem(power_max_w=1.0, noise_w=0.1, minimum_rate_threshold=0.6, window=0.2)
SHAPE = NetworkShape(hidden_channels=4, config_hidden_channels=4, head="softplus")
RATES = {"power": 0.1, "slack": 0.05, "mu": 0.02}


def _pair(shape: NetworkShape = SHAPE) -> tuple[PrimalDualNetworks, PrimalDualNetworks]:
    with torch.random.fork_rng():
        torch.manual_seed(6)
        dense = PrimalDualNetworks(shape)
    return dense, sparse_networks(dense)


def _task(
    edges: EdgeKind = "normalised_log", dtype: torch.dtype = torch.float32, seed: int = 0
) -> Task:
    gain = torch.rand((24, 3, 3), generator=generator(seed, "learn2learn")).to(dtype)
    gain = gain + 2.0 * torch.eye(3, dtype=dtype) * gain
    return make_task(gain.mean(0), gain, PROBLEM, edges, num_sequences=2)


def _distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Largest relative distance over the networks."""
    assert set(ours) == set(theirs)
    return max(((ours[n] - theirs[n]).norm() / theirs[n].norm()).item() for n in ours)


def test_sparse_networks_are_copies_over_pygs_leconv() -> None:
    dense, sparse = _pair()
    assert isinstance(sparse.power.stack, SparseLEConvStack)
    assert _distance(flatten(dense), flatten(sparse)) == 0.0
    with torch.no_grad():
        next(sparse.parameters()).add_(1.0)
    assert _distance(flatten(sparse), flatten(dense)) > 0.0


@pytest.mark.parametrize(
    ("algorithm", "num_epochs"), [("reptile", 20), ("fomaml", 20), ("maml", 5), ("maml", 0)]
)
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_both_engines_give_the_same_meta_gradient(
    algorithm: Algorithm, num_epochs: int, kind: Literal["sgd", "adam"]
) -> None:
    dense, sparse = _pair()
    rates = RATES if kind == "sgd" else dict.fromkeys(RATES, 0.02)
    loop = InnerLoop(UpdateRule(rates, kind), num_epochs, steps_per_epoch=3)

    def directions(dtype: torch.dtype) -> list[dict[str, Tensor]]:
        task = _task(dtype=dtype)
        found = []
        engines: tuple[Engine, Engine] = ("vectorized", "learn2learn")
        for engine, networks in zip(engines, (dense, sparse), strict=True):
            learner = start_learner(algorithm, engine, deepcopy(networks).to(dtype), loop.rule)
            found.append(meta_gradient(algorithm, learner, task, PROBLEM, loop).direction)
        return found

    single, double = directions(torch.float32), directions(torch.float64)
    assert _distance(*double) < 1e-9
    # Adam divides by the root of small moments, which magnifies the rounding of single precision.
    assert _distance(*single) < (1e-5 if kind == "sgd" else 1e-3)


@pytest.mark.parametrize("edges", ["normalised_log", "rate_loss"])
@pytest.mark.parametrize("num_networks", [2, 3, 5])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_both_engines_make_the_same_inner_steps(
    edges: EdgeKind, num_networks: int, bidirectional: bool
) -> None:
    shape = replace(SHAPE, edges=edges, num_networks=num_networks, bidirectional=bidirectional)
    dense, sparse = _pair(shape)
    rule = UpdateRule(dict.fromkeys(shape.names, 0.05))
    learners = DenseLearner(dense, flatten(dense), rule), Learn2LearnLearner(sparse, rule)
    histories = [inner_loop(learner, _task(edges), PROBLEM, 5, 3)[0] for learner in learners]
    for variables in zip(*histories, strict=True):
        torch.testing.assert_close(*(v.mu for v in variables), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(*(v.r for v in variables), rtol=1e-5, atol=1e-6)
    assert _distance(learners[0].flat(), learners[1].flat()) < 1e-5
    assert _distance(learners[0].flat(), flatten(dense)) > 1e-3
    assert learners[1].shape == shape


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("num_epochs", [1, 3])
def test_meta_gradients_equal_those_of_learn2learns_own_maml(
    first_order: bool, num_epochs: int
) -> None:
    """One learning rate for all networks, which is what `l2l.algorithms.MAML` has."""
    dense, sparse = (networks.double() for networks in _pair())
    task = _task(dtype=torch.float64)
    learning_rate = 0.2
    maml = import_learn2learn().algorithms.MAML(sparse, lr=learning_rate, first_order=first_order)
    clone = maml.clone()
    average = task.average_rate()
    for epoch in range(num_epochs):
        result = run_epoch(clone.module, task, PROBLEM, epoch, average, 3)
        clone.adapt(result.loss)
        average = result.average_rate
    run_epoch(clone.module, task, PROBLEM, num_epochs, average, 3).loss.backward()
    wanted = {
        name: torch.cat([_grad(p).flatten() for p in getattr(sparse, name).parameters()])
        for name in RATES
    }
    loop = InnerLoop(UpdateRule(dict.fromkeys(RATES, learning_rate)), num_epochs, 3)
    algorithm: Algorithm = "fomaml" if first_order else "maml"
    for engine, networks in (("vectorized", dense), ("learn2learn", sparse)):
        learner = start_learner(algorithm, engine, networks, loop.rule)  # type: ignore[arg-type]
        found = meta_gradient(algorithm, learner, task, PROBLEM, loop).direction
        assert _distance(found, wanted) < 1e-9
    other = start_learner("maml" if first_order else "fomaml", "vectorized", dense, loop.rule)
    found = meta_gradient("maml" if first_order else "fomaml", other, task, PROBLEM, loop).direction
    assert _distance(found, wanted) > 1e-3


@pytest.mark.parametrize("algorithm", ["reptile", "fomaml", "maml"])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("edges", ["normalised_log", "rate_loss"])
def test_tasks_side_by_side_equal_learn2learn_task_by_task(
    algorithm: Algorithm, kind: Literal["sgd", "adam"], edges: EdgeKind
) -> None:
    dense, sparse = (n.double() for n in _pair(replace(SHAPE, edges=edges, bidirectional=True)))
    loop = InnerLoop(UpdateRule(dict.fromkeys(RATES, 0.02), kind), 20, steps_per_epoch=3)
    tasks = [_task(edges, torch.float64, seed) for seed in range(3)]
    learner = start_learner(algorithm, "vectorized", dense, loop.rule, len(tasks))
    found = meta_gradient(algorithm, learner, side_by_side(tasks), PROBLEM, loop)
    assert all(value.shape == (len(tasks),) for value in found.indicators.values())
    for index, task in enumerate(tasks):
        alone = start_learner(algorithm, "learn2learn", sparse, loop.rule)
        wanted = meta_gradient(algorithm, alone, task, PROBLEM, loop)
        mine = {name: vector[index] for name, vector in found.direction.items()}
        assert _distance(mine, wanted.direction) < 1e-9
        for name, value in wanted.indicators.items():
            torch.testing.assert_close(found.indicators[name][index], value)


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


@pytest.mark.parametrize("algorithm", ["reptile", "fomaml", "maml"])
def test_the_cloned_networks_stay_as_they_are(algorithm: Algorithm) -> None:
    _, sparse = _pair()
    before = deepcopy(sparse.state_dict())
    loop = InnerLoop(UpdateRule(RATES), 3, 3)
    learner = start_learner(algorithm, "learn2learn", sparse, loop.rule)
    assert isinstance(learner, Learn2LearnLearner)
    meta_gradient(algorithm, learner, _task(), PROBLEM, loop)
    assert all(torch.equal(before[key], value) for key, value in sparse.state_dict().items())
    assert all(p.grad is None and p.is_leaf for p in sparse.parameters())
