"""MAML of policies: both engines, first and second order, against plain derivatives."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_spectrum_episode import PLACE, SETTINGS, _episode, _policy

from metagnn.experiment import read_section
from metagnn.graphs.randomness import generator
from metagnn.meta_rl import InnerSettings, learners
from metagnn.ppo import PPOSettings
from metagnn.spectrum_episode import collect, see
from metagnn.spectrum_lesson import lesson, losses

BATCH = 3


# A bound that cuts some steps, and none.
BOUND = replace(SETTINGS, max_gradient_norm=0.8)
FREE = replace(SETTINGS, max_gradient_norm=float("inf"))


def _meta_gradient(
    inner: InnerSettings, settings: PPOSettings = BOUND
) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Gradient of the shared parameters after steps on two episodes, and the stepped ones."""
    policy = _policy("none")
    networks = learners(policy, BATCH, inner, settings)
    environment = PLACE.environment()
    environment.reset(BATCH, generator(0))
    for number in range(3):
        graph = environment.reset_episode(generator(4, number))
        seen = see(environment, graph, torch.zeros(BATCH), True)
        parameters, levels = networks.parameters(), generator(5, number)
        episode, _ = collect(policy, environment, seen, policy.start(seen), levels, parameters)
        learned = lesson(episode, SETTINGS, "band")
        if number < 2:
            networks.learn(learned)
    loss = networks.outer(learned)
    assert loss.shape == (BATCH,)
    gradient = torch.autograd.grad(loss.mean(), list(policy.parameters()))
    return list(gradient), dict(networks.parameters())


@pytest.mark.parametrize(("num_steps", "second_order"), [(1, False), (1, True), (2, True)])
def test_the_vectorized_engine_is_learn2learns(num_steps: int, second_order: bool) -> None:
    found = [
        _meta_gradient(InnerSettings(0.2, num_steps, second_order, engine))
        for engine in ("vectorized", "learn2learn")
    ]
    for one, other in zip(found[0][0], found[1][0], strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)
    for name, value in found[0][1].items():
        torch.testing.assert_close(value, found[1][1][name], atol=1e-6, rtol=1e-4)


def test_the_bound_of_these_tests_cuts() -> None:
    cut, free = (_meta_gradient(InnerSettings(0.2), settings)[1] for settings in (BOUND, FREE))
    shorter = (cut["powers.weight"] != free["powers.weight"]).flatten(1).any(1)
    assert shorter.tolist() == [True] * BATCH


def test_steps_are_no_longer_than_the_bound() -> None:
    """One gradient of each network, in all parameters, of what is not cut and what is."""
    policy = _policy("none")
    learned = lesson(_episode(policy), SETTINGS, "band")

    def lengths(most: float) -> torch.Tensor:
        settings = replace(SETTINGS, max_gradient_norm=most)
        networks = learners(policy, BATCH, InnerSettings(0.2), settings)
        networks.learn(learned)
        moved = [
            (networks.parameters()[name] - value.detach()).flatten(1)
            for name, value in policy.named_parameters()
        ]
        return torch.cat(moved, dim=1).norm(dim=1) / 0.2

    free = lengths(float("inf"))
    middle = float(free.median())
    assert float(free.min()) < middle < float(free.max())
    torch.testing.assert_close(lengths(middle), free.clamp(max=middle), rtol=1e-4, atol=0.0)


def test_several_steps_are_taken_on_one_episode() -> None:
    policy = _policy("none")
    learned = lesson(_episode(policy), SETTINGS, "band")
    found = []
    for num_steps, engine in ((2, "vectorized"), (1, "vectorized"), (2, "learn2learn")):
        networks = learners(policy, BATCH, InnerSettings(0.2, num_steps, engine=engine), BOUND)
        for _ in range(2 // num_steps):
            networks.learn(learned)
        found.append(networks.parameters())
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name])
        torch.testing.assert_close(value, found[2][name], atol=1e-6, rtol=1e-4)


def test_steps_without_a_bound_have_finite_second_orders() -> None:
    policy = _policy("none")
    learned = lesson(_episode(policy), SETTINGS, "band")
    found = []
    for settings in (FREE, replace(SETTINGS, max_gradient_norm=1e6)):
        networks = learners(policy, BATCH, InnerSettings(0.2, second_order=True), settings)
        networks.learn(learned)
        loss = networks.outer(learned).mean()
        found.append(torch.autograd.grad(loss, policy.powers.weight)[0])
    torch.testing.assert_close(found[0], found[1])
    assert float(found[0].abs().max()) > 0.0


def test_the_second_order_counts() -> None:
    first, second = (
        _meta_gradient(InnerSettings(0.2, second_order=second_order))[0]
        for second_order in (False, True)
    )
    difference = max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))
    assert difference > 1e-4


def test_the_second_order_gradient_by_differences() -> None:
    """Of one parameter of the shared policy, in double precision, on fixed episodes."""
    policy = _policy("none").double()
    lessons = [_double(lesson(_episode(_policy("none")), SETTINGS, "band")) for _ in range(2)]
    inner = InnerSettings(0.3, second_order=True)

    def values(settings: PPOSettings = BOUND) -> torch.Tensor:
        networks = learners(policy, BATCH, inner, settings)
        networks.learn(lessons[0])
        return networks.outer(lessons[1])

    def value() -> torch.Tensor:
        return values().mean()

    # The bound cuts the steps of some networks, and not of others.
    assert sorted((values() == values(FREE)).tolist()) == [False, False, True]
    parameter = policy.powers.weight
    gradient = torch.autograd.grad(value(), parameter)[0][0, 0]
    sides = []
    for change in (1e-5, -1e-5):
        with torch.no_grad():
            parameter[0, 0] += change
        sides.append(float(value().detach()))
        with torch.no_grad():
            parameter[0, 0] -= change
    assert float(gradient) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4)


def test_a_step_descends_each_networks_own_loss() -> None:
    """At the advised rate, of a policy that is no longer nearly uniform."""
    inner = InnerSettings()
    assert read_section("spectrum_allocation", "model")["init_args"]["inner"]["rate"] == inner.rate
    policy = _policy("none")
    for head in (policy.powers, policy.off):
        torch.nn.init.normal_(head.weight, 0.0, 0.5, generator=generator(6))
    learned = lesson(_episode(policy), SETTINGS, "band")
    networks = learners(policy, BATCH, inner, SETTINGS)
    before = losses(policy, learned, SETTINGS)
    networks.learn(learned)
    own = networks.parameters()
    after = losses(policy, learned, SETTINGS, own)
    assert bool((after["objective"] > before["objective"]).all())
    # Neither critic nor entropy has a part in it.
    assert torch.equal(own["value.weight"][0], policy.value.weight)
    assert not torch.equal(own["powers.weight"][0], own["powers.weight"][1])
    # The shared parameters are as they were.
    again = losses(policy, learned, SETTINGS)["loss"]
    torch.testing.assert_close(again, before["loss"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rate": 0.0}, "`rate` must be"),
        ({"num_steps": 0}, "`num_steps` must be"),
        ({"engine": "steam"}, "`engine` must be one of"),
    ],
)
def test_steps_that_cannot_be(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InnerSettings(**changed)


def _double(learned: Any) -> Any:
    """The same in double precision."""
    from dataclasses import fields, is_dataclass

    def convert(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.double() if value.is_floating_point() else value
        if is_dataclass(value) and not isinstance(value, type):
            changed = {f.name: convert(getattr(value, f.name)) for f in fields(value)}
            return replace(value, **changed)
        return value

    return convert(learned)
