"""Work on another device, without one: the meta device refuses to hand values to the host."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from metagnn.adaptation import learned_rollout
from metagnn.adaptation_task import make_task
from metagnn.graphs import neighbours, sparse_interference
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.neighbours import Gain, strongest
from metagnn.graphs.randomness import generator
from metagnn.learner import DenseLearner, flatten
from metagnn.meta_gradient import Algorithm, InnerLoop, mean_meta_gradient
from metagnn.meta_parameters import MetaParameters, load_meta_parameters
from metagnn.tasks.power_control import scaling
from metagnn.tasks.power_control.baselines import full_power
from metagnn.tasks.power_control.itlinq import itlinq
from metagnn.tasks.power_control.wmmse import wmmse


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of several devices, numbers and copies excepted."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = [v for v in tree_leaves((args, kwargs)) if isinstance(v, Tensor) and v.dim() > 0]
        if len({value.device for value in given}) > 1 and "copy" not in str(func):
            raise RuntimeError(f"{func} on tensors of several devices")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def one_device() -> Iterator[None]:
    with OneDevice():
        yield


def _matrix(row: Tensor, column: Tensor, value: Tensor, size: tuple[int, int]) -> Tensor:
    filled: Tensor = (row + column + value).sum() + value.new_zeros(size)
    return filled


@pytest.fixture(params=["dense", "lists"])
def network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Gain, Gain]:
    """Gains of a network and samples of it, on the meta device."""
    configuration = ChannelFamily().configuration(6, 0, "test", 0)
    large_scale_gain = configuration.large_scale_gain
    gain = configuration.sample(32, generator(0))
    assert isinstance(large_scale_gain, Tensor)
    assert isinstance(gain, Tensor)
    # What the meta device does not know: autocast, CSR matrices, and checks of values at the door.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(sparse_interference, "_csr", _matrix)
    monkeypatch.setattr(scaling, "_require_everywhere", lambda *_: None)
    if request.param == "dense":
        return large_scale_gain.to("meta"), gain.to("meta")
    lists = strongest(large_scale_gain, 2)
    samples = lists.samples(gain)
    monkeypatch.setattr(neighbours.Neighbours, "__post_init__", lambda _: None)
    return lists.to("meta"), samples.to("meta")


@pytest.fixture
def shipped() -> MetaParameters:
    parameters = load_meta_parameters("power_control")
    parameters.networks.to("meta")
    return parameters


@pytest.mark.usefixtures("one_device")
def test_other_devices_and_transfers_are_refused(
    network: tuple[Gain, Gain], shipped: MetaParameters
) -> None:
    value = torch.ones(3, 3, device="meta")
    for work in (torch.add, torch.matmul):
        with pytest.raises(RuntimeError, match="device"):
            work(value, torch.ones(3, 3))
    with pytest.raises(RuntimeError, match="item"):
        float(value.sum())
    left_behind = load_meta_parameters("power_control")
    with pytest.raises(RuntimeError, match="device"):
        learned_rollout(left_behind.networks, None, network[1][:4], shipped.problem)


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("algorithm", ["reptile", "fomaml", "maml"])
def test_inner_loops_stay_on_the_device(
    network: tuple[Gain, Gain], shipped: MetaParameters, algorithm: Algorithm
) -> None:
    networks, problem = shipped.networks, shipped.problem
    large_scale_gain, gain = network
    # The meta device is slow on lists.
    dense = isinstance(gain, Tensor)
    gain, count = (gain, 2) if dense else (gain[:8], 1)
    tasks = [make_task(large_scale_gain, gain, problem, networks.shape.edges)] * count
    loop = InnerLoop(shipped.adaptation.rule, count, 2)
    found = mean_meta_gradient(algorithm, "vectorized", networks, tasks, problem, loop)
    for name, direction in found.direction.items():
        assert direction.device.type == "meta"
        assert direction.shape == flatten(networks)[name].shape


@pytest.mark.usefixtures("one_device")
def test_decisions_and_baselines_stay_on_the_device(
    network: tuple[Gain, Gain], shipped: MetaParameters
) -> None:
    _, gain = network
    problem = shipped.problem
    constants = (problem.power_max_w, problem.noise_w)
    learner = DenseLearner(shipped.networks, flatten(shipped.networks), shipped.adaptation.rule)
    assert learned_rollout(learner, gain, gain[:8], problem).power_w.device.type == "meta"
    policies: list[Callable[..., Tensor]] = [wmmse, full_power]
    # On lists ITLinQ asks after each round whether it was the last.
    policies += [itlinq] if isinstance(gain, Tensor) else []
    for policy in policies:
        power_w = policy(gain, *constants)
        assert power_w.shape == (32, 6)
        assert power_w.device.type == "meta"
