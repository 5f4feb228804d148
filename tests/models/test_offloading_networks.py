"""Networks of offloading: bounds, actor, critic and perceptrons by hand, by loops, by symmetry."""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from itertools import product
from typing import TypeVar, cast

import pytest
import torch
from torch import Tensor, nn

from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.randomness import generator
from metagnn.models.offloading import (
    LOG_RANGE,
    JointAction,
    OffloadingActor,
    OffloadingCritic,
    Wishes,
)
from metagnn.models.offloading_perceptron import (
    PerceptronActor,
    PerceptronCritic,
    flat_action,
    flat_state,
)
from metagnn.models.straight_through import straight_through, unit

M = TypeVar("M", bound=nn.Module)
WISHES = ("ratio", "score", "level", "need")


def _randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(seed, "normal"), dtype=torch.float64)


def _rand(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator(seed, "uniform"), dtype=torch.float64)


def _randomised(module: M, seed: int = 0) -> M:
    """In double precision, with constant parameters of order one half."""
    module.double().requires_grad_(False)
    for number, parameter in enumerate(module.parameters()):
        parameter.data = 0.5 * _randn(seed + 100 * (number + 1), *parameter.shape)
    return module


def _without_loops(weight: Tensor) -> Tensor:
    return weight * (1.0 - torch.eye(weight.shape[-1], dtype=weight.dtype))


def _graph(seed: int, batch: int, users: int, channels: int, features: int = 3) -> DenseGraph:
    node = _randn(seed, batch, users, channels, features)
    return DenseGraph(node, 0.3 * _without_loops(_rand(seed, batch, users, users)))


def _actor(seed: int = 0, bidirectional: bool = True, num_claims: int = 2) -> OffloadingActor:
    return _randomised(OffloadingActor(3, (5, 6), bidirectional, num_claims), seed)


def _alone(graph: DenseGraph) -> DenseGraph:
    return DenseGraph(graph.node, torch.zeros_like(graph.edge_weight))


# --- Hard forward, soft backward. ---


def test_unit_moves_numbers_to_the_nearest_bound() -> None:
    x = torch.tensor([-1e9, -0.5, 0.0, 0.25, 1.0, 1.5, 1e9])
    assert unit(x).tolist() == [0.0, 0.0, 0.0, 0.25, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("upstream", "wanted"),
    [
        # Descent goes down: no further at 0 and below, but back from above 1.
        (2.0, [0.0, 0.0, 2.0, 2.0, 2.0]),
        # Descent goes up: no further at 1 and above, but back from below 0.
        (-2.0, [-2.0, -2.0, -2.0, 0.0, 0.0]),
    ],
)
def test_gradients_pass_the_bounds_inwards_only(upstream: float, wanted: list[float]) -> None:
    x = torch.tensor([-0.5, 0.0, 0.25, 1.0, 1.5], requires_grad=True)
    unit(x).backward(torch.full((5,), upstream))
    assert x.grad is not None
    assert x.grad.tolist() == wanted


def test_descent_crosses_from_beyond_one_bound_and_stops_at_the_other() -> None:
    x = torch.tensor(1.5, requires_grad=True)
    for _ in range(20):
        (slope,) = torch.autograd.grad(unit(x), x)
        x = (x - 0.25 * slope).detach().requires_grad_()
    assert float(x.detach()) == 0.0


def test_straight_through_has_one_value_and_another_gradient() -> None:
    x = torch.tensor([0.5, 2.0], requires_grad=True)
    found = straight_through(torch.tensor([7.0, -1.0]), x**2)
    assert found.tolist() == [7.0, -1.0]
    found.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 4.0]


# --- Wishes. ---


def test_disturbed_wishes_are_of_the_generator_and_the_scale() -> None:
    shapes = {"ratio": (40, 50), "score": (40, 50, 3), "level": (40, 50, 3), "need": (40, 50)}
    wishes = Wishes(*(torch.full(shape, 3.0) for shape in shapes.values()))
    found = [wishes.disturbed(0.5, generator(seed)) for seed in (0, 0, 1)]
    for name, shape in shapes.items():
        noise = getattr(found[0], name) - 3.0
        assert noise.shape == shape
        assert float(noise.mean()) == pytest.approx(0.0, abs=0.05)
        assert float(noise.std()) == pytest.approx(0.5, rel=0.05)
        assert torch.equal(getattr(found[0], name), getattr(found[1], name))
        assert not torch.equal(getattr(found[0], name), getattr(found[2], name))
        assert torch.equal(getattr(wishes.disturbed(0.0, generator(0)), name), noise * 0.0 + 3.0)
    assert not torch.equal(found[0].score, found[0].level)
    assert not torch.equal(found[0].ratio, found[0].need)


# --- The actor. ---


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("num_claims", [0, 2])
def test_order_of_users_and_channels_does_not_matter(bidirectional: bool, num_claims: int) -> None:
    actor, graph = _actor(0, bidirectional, num_claims), _graph(0, 2, 4, 5)
    users, channels = torch.tensor([2, 0, 3, 1]), torch.tensor([4, 1, 0, 3, 2])
    mixed = DenseGraph(
        graph.node[:, users][:, :, channels], graph.edge_weight[:, users][:, :, users]
    )
    before, after = actor(graph), actor(mixed)
    for name in ("ratio", "need"):
        wanted = getattr(before, name)
        assert float(wanted.std()) > 1e-3
        torch.testing.assert_close(getattr(after, name), wanted[:, users])
    for name in ("score", "level"):
        wanted = getattr(before, name)
        assert float(wanted.std(-1).min()) > 1e-3
        torch.testing.assert_close(getattr(after, name), wanted[:, users][:, :, channels])


def test_without_edges_each_user_is_as_if_alone() -> None:
    actor, graph = _actor(), _alone(_graph(1, 2, 4, 3))
    together = actor(graph)
    for user in range(4):
        one = actor(DenseGraph(graph.node[:, user : user + 1], torch.zeros(2, 1, 1)))
        for name in WISHES:
            torch.testing.assert_close(getattr(together, name)[:, user], getattr(one, name)[:, 0])


@pytest.mark.parametrize("bidirectional", [True, False])
def test_who_hears_whom(bidirectional: bool) -> None:
    # The one edge runs from user 0 to user 2.
    actor, weight = _actor(0, bidirectional), torch.zeros(1, 3, 3, dtype=torch.float64)
    weight[0, 0, 2] = 0.5
    node = _randn(2, 1, 3, 4, 3)
    before = actor(DenseGraph(node, weight))
    hears = {0: [0, 2], 1: [1], 2: [0, 2] if bidirectional else [2]}
    for changed, wanted in hears.items():
        other = node.clone()
        other[:, changed] += 1.0
        after = actor(DenseGraph(other, weight))
        for name in WISHES:
            moved = (getattr(after, name) - getattr(before, name)).abs().view(3, -1).amax(-1)
            assert (moved > 1e-9).nonzero().flatten().tolist() == wanted


def test_batches_are_graphs_side_by_side_of_any_size() -> None:
    actor = OffloadingActor(3, (5, 6), True, 2).double()
    for users, channels in ((1, 1), (2, 7), (6, 3)):
        graph = _graph(3, 2, users, channels)
        found = actor(graph)
        sizes = {name: tuple(getattr(found, name).shape) for name in WISHES}
        by_user, by_channel = (2, users), (2, users, channels)
        assert sizes == dict(zip(WISHES, (by_user, by_channel, by_channel, by_user), strict=True))
        for number in range(2):
            one = actor(graph[number : number + 1])
            for name in WISHES:
                both = getattr(found, name)[number], getattr(one, name)[0]
                torch.testing.assert_close(*both)


def test_without_claims_a_channel_that_comes_twice_changes_nothing() -> None:
    graph = _graph(4, 1, 3, 4)
    twice = DenseGraph(graph.node.repeat(1, 1, 2, 1), graph.edge_weight)
    actor = _actor(0, True, 0)
    before, after = actor(graph), actor(twice)
    torch.testing.assert_close(after.ratio, before.ratio)
    torch.testing.assert_close(after.need, before.need)
    torch.testing.assert_close(after.score, before.score.repeat(1, 1, 2))
    # Claims are shares, of which twice as many channels get half.
    actor = _actor(0, True, 2)
    assert float((actor(twice).ratio - actor(graph).ratio).abs().max()) > 1e-3


def test_first_wishes_are_nearly_alike_and_near_zero() -> None:
    graph = _graph(5, 3, 4, 5)
    found = OffloadingActor(3).double()(graph)
    for name in WISHES:
        values = getattr(found, name)
        assert 0.0 < float(values.detach().abs().max()) < 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "`in_channels` must be an integer >= 1, got 0"),
        ((3, ()), "`hidden_channels` must hold a layer"),
        ((3, (8, 0)), "`hidden_channels` must be an integer >= 1, got 0"),
        ((3, (8, 8), True, -1), "`num_claims` must be an integer >= 0, got -1"),
        ((3, (16, 8), True, 8), "`num_claims` must be less than each width, .* got 8"),
    ],
)
def test_actors_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OffloadingActor(*arguments)  # type: ignore[arg-type]


def test_edges_of_other_users_are_refused() -> None:
    with pytest.raises(ValueError, match="`edge_weight` must be of the agents"):
        _actor()(DenseGraph(_randn(0, 1, 3, 4, 3), _rand(0, 1, 2, 2)))


# --- The critic. ---


def _probe(
    column: int, sign: float = 1.0, span_db: float = 20.0
) -> Callable[[DenseGraph, JointAction], Tensor]:
    """What a critic says of one number that it sees: feature, ratio, log share, level, heard."""
    critic = OffloadingCritic(1, (), (1,), span_db).double().requires_grad_(False)
    for parameter in critic.parameters():
        parameter.data.zero_()
    critic.get_parameter("layers.0.weight").data[0, column] = sign
    critic.get_parameter("value.weight").data.fill_(sign)
    # It says it as a probability.
    return lambda graph, action: critic(graph, action).logit()


def _action(channel: Tensor, channels: int, seed: int = 0) -> JointAction:
    """Users on channels ``[B, I]``, -1 for none, and random numbers else."""
    place = (channel.unsqueeze(-1) == torch.arange(channels)).double()
    offloads = (channel >= 0).double()
    ratio, share = _rand(seed, *channel.shape), 0.1 + 0.2 * _rand(seed + 1, *channel.shape)
    return JointAction(
        place, ratio * offloads, _rand(seed + 2, *channel.shape, channels), share * offloads
    )


def _channels(seed: int, batch: int, users: int, channels: int) -> Tensor:
    return torch.randint(-1, channels, (batch, users), generator=generator(seed, "channel"))


def _soft(action: JointAction) -> JointAction:
    return replace(action, place=action.place.clone().requires_grad_())


def test_heard_interference_by_hand() -> None:
    # Users 0 and 1 are on channel 0, user 2 on channel 1. At level 1/2 of 20 dB w counts a tenth.
    weight = torch.zeros(1, 3, 3, dtype=torch.float64)
    weight[0, 0, 1], weight[0, 1, 0], weight[0, 2, 1] = 990.0, 9.0, 1e6
    action = _action(torch.tensor([[0, 0, 1]]), 2)
    action.level[0, :, 0] = torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64)
    graph = DenseGraph(torch.zeros(1, 3, 2, 1, dtype=torch.float64), weight)
    # User 1 hears user 0: log10(1 + 99), user 0 hears user 1: log10(1 + 9).
    assert _probe(4)(graph, action)[0, :, 0].tolist() == pytest.approx([1.0, 2.0, 0.0])
    # At the smallest power 10 of 990 are left of 20 dB.
    action.level[0, 0, 0] = 0.0
    assert float(_probe(4)(graph, action)[0, 1, 0]) == pytest.approx(math.log10(10.9))


@pytest.mark.parametrize("hard", [True, False])
def test_heard_interference_by_loops(hard: bool) -> None:
    batch, users, channels, span_db = 3, 5, 3, 37.0
    weight = 1e4 * _without_loops(_rand(0, batch, users, users))
    assert not torch.allclose(weight, weight.mT)
    channel = _channels(0, batch, users, channels)
    assert int((channel < 0).sum()) > 0
    action = _action(channel, channels)
    graph = DenseGraph(torch.zeros(batch, users, channels, 1, dtype=torch.float64), weight)
    found = _probe(4, span_db=span_db)(graph, action if hard else _soft(action)).detach()
    for copy in range(batch):
        for listener in range(users):
            mine, heard = int(channel[copy, listener]), 0.0
            for sender in range(users):
                if int(channel[copy, sender]) == mine:
                    level = float(action.level[copy, sender, mine])
                    w = float(weight[copy, sender, listener])
                    heard += w * 10.0 ** (-span_db * (1.0 - level) / 10.0)
            wanted = math.log10(1.0 + heard) if mine >= 0 else 0.0
            assert float(found[copy, listener, 0]) == pytest.approx(wanted)


def test_other_columns_by_hand() -> None:
    node = torch.tensor([[[[5.0], [7.0]], [[1.0], [3.0]], [[2.0], [8.0]]]], dtype=torch.float64)
    graph = DenseGraph(node, torch.zeros(1, 3, 3, dtype=torch.float64))
    place = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    level = torch.tensor([[[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]], dtype=torch.float64)
    ratio, share = (
        torch.tensor([row], dtype=torch.float64) for row in ([0.6, 0.9, 0.0], [0.25, 0.0, 0.0])
    )
    action = JointAction(place, ratio, level, share)
    # Without a channel: the mean of the features, and zeros.
    wanted = {
        (0, 1.0): [7.0, 1.0, 5.0],
        (1, 1.0): [0.6, 0.9, 0.0],
        # -0.5 ln(1 / 4) = ln 2; a share of 0 counts as a millionth.
        (2, -1.0): [math.log(2.0), 3.0 * math.log(10.0), 0.0],
        (3, 1.0): [0.2, 0.3, 0.0],
    }
    for (column, sign), values in wanted.items():
        for shown in (action, _soft(action)):
            # The logarithm is shown as its negative, which passes LeakyReLU as it is.
            found = sign * _probe(column, sign)(graph, shown)[0, :, 0]
            assert found.tolist() == pytest.approx(values)


def _setting(seed: int, channel: Tensor, channels: int) -> tuple[DenseGraph, JointAction]:
    batch, users = channel.shape
    node = _randn(seed, batch, users, channels, 3)
    weight = 1e3 * _without_loops(_rand(seed, batch, users, users))
    return DenseGraph(node, weight), _action(channel, channels, seed)


def _critic(seed: int = 0) -> OffloadingCritic:
    return _randomised(OffloadingCritic(3, (-0.5,), (6, 5)), seed)


def test_parts_are_a_probability_and_positive_numbers_that_begin_where_told() -> None:
    critic = OffloadingCritic(3, (-2.0, 1.0), (6,)).double()
    graph, action = _setting(0, _channels(1, 4, 6, 3), 3)
    for parameter in critic.value.parameters():
        parameter.data.zero_()
    wanted = torch.tensor([0.5, math.exp(-2.0), math.e], dtype=torch.float64)
    torch.testing.assert_close(critic(graph, action), wanted.expand(4, 6, 3))
    critic.value.bias.data = torch.tensor([-100.0, 100.0, -100.0], dtype=torch.float64)
    wanted = torch.tensor([-100.0, *LOG_RANGE[::-1]], dtype=torch.float64).exp()
    torch.testing.assert_close(critic(graph, action), wanted.expand(4, 6, 3))


def test_the_path_of_hard_places_is_the_full_one() -> None:
    critic = _critic().requires_grad_()
    graph, action = _setting(0, _channels(1, 4, 6, 3), 3)
    numbers = [action.ratio, action.level, action.share]
    found = []
    for place in (action.place, action.place.clone().requires_grad_()):
        inputs = [value.clone().requires_grad_() for value in numbers]
        value = critic(graph, JointAction(place, *inputs))
        assert value.shape == (4, 6, 2)
        slopes = torch.autograd.grad(value.square().sum(), [*inputs, *critic.parameters()])
        found.append([value, *slopes])
    for fast, full in zip(*found, strict=True):
        assert float(fast.detach().abs().max()) > 1e-3
        torch.testing.assert_close(fast, full)


def test_value_is_linear_in_the_own_choice() -> None:
    critic, channels, me = _critic(), 3, 1
    graph, action = _setting(2, torch.tensor([[0, 0, 2, 1]]), channels)
    # Ratios and shares of a choice belong to the user, whatever channel it is on.
    mixture, wanted = [0.5, 0.125, 0.25, 0.125], torch.zeros(2, dtype=torch.float64)
    values = []
    for choice, probability in zip([0, 1, 2, -1], mixture, strict=True):
        place = action.place.clone()
        place[0, me] = (torch.arange(channels) == choice).double()
        values.append(critic(graph, replace(action, place=place))[0, me])
        wanted += probability * values[-1]
    assert float(torch.stack(values).std(0).min()) > 1e-3
    place = action.place.clone()
    place[0, me] = torch.tensor(mixture[:3], dtype=torch.float64)
    place.requires_grad_()
    found = critic(graph, replace(action, place=place))[0, me]
    torch.testing.assert_close(found, wanted)
    # So its slope is what a channel is better than none, by finite and not small steps.
    (slope,) = torch.autograd.grad(found[0], place)
    better = torch.stack([value[0] - values[3][0] for value in values[:3]])
    torch.testing.assert_close(slope[0, me], better)


def test_without_a_channel_only_the_own_mean_features_count() -> None:
    critic = _critic()
    graph, action = _setting(3, torch.tensor([[-1, 0, 0]]), 2)
    before = critic(graph, action)[0, 0]
    changed = JointAction(action.place, 0.5 * action.ratio, 0.5 * action.level, 0.5 * action.share)
    changed.level[0, 0] = 0.9
    changed.ratio[0, 0] = 0.9
    assert torch.equal(critic(graph, changed)[0, 0], before)
    # The channels' features count by their mean.
    torch.testing.assert_close(
        critic(DenseGraph(graph.node.flip(2), graph.edge_weight), action)[0, 0], before
    )
    node = graph.node.clone()
    node[0, 0, 0] += 1.0
    moved = critic(DenseGraph(node, graph.edge_weight), action)[0, 0] - before
    assert float(moved.abs().min()) > 1e-3


def test_without_edges_each_value_is_the_users_own() -> None:
    critic = _critic()
    graph, action = _setting(4, torch.tensor([[0, 0, 1]]), 2)
    other = DenseGraph(graph.node + _randn(9, 1, 3, 2, 3), graph.edge_weight)
    node = torch.cat([graph.node[:, :1], other.node[:, 1:]], dim=1)
    rest = _action(torch.tensor([[0, 1, 0]]), 2, 7)
    mixed = JointAction(
        *(
            torch.cat([getattr(action, f.name)[:, :1], getattr(rest, f.name)[:, 1:]], dim=1)
            for f in fields(JointAction)
        )
    )
    changed = DenseGraph(node, graph.edge_weight)
    assert torch.equal(critic(_alone(graph), action)[:, 0], critic(_alone(changed), mixed)[:, 0])
    assert not torch.allclose(critic(graph, action)[:, 0], critic(changed, mixed)[:, 0])


def test_others_values_have_slopes_in_the_own_level_over_edges_only() -> None:
    critic = _critic()
    graph, action = _setting(5, torch.tensor([[0, 0, 1]]), 2)
    level = action.level.clone().requires_grad_()
    action = replace(action, level=level)

    def slope_of(listener: int, seen: DenseGraph) -> Tensor:
        (slope,) = torch.autograd.grad(critic(seen, action)[0, listener, 0], level)
        return slope[0, 0]

    heard = slope_of(1, graph)
    assert abs(float(heard[0])) > 1e-4
    # The level of a channel that it is not on does not count, nor do others on other channels.
    assert float(heard[1]) == 0.0
    assert slope_of(2, graph).tolist() == [0.0, 0.0]
    assert slope_of(1, _alone(graph)).tolist() == [0.0, 0.0]
    # The edge 0 -> 1 is the one that carries it.
    one_way = torch.zeros_like(graph.edge_weight)
    one_way[0, 1, 0] = 1e3
    assert slope_of(1, DenseGraph(graph.node, one_way)).tolist() == [0.0, 0.0]


def test_slopes_by_finite_differences() -> None:
    critic = _critic()
    graph, action = _setting(6, torch.tensor([[0, 1, 0]]), 2)
    inputs = [value.clone().requires_grad_() for value in _others(action)]
    # A level of 53 dB is steep: small weights, so that differences are precise.
    weak = DenseGraph(graph.node, graph.edge_weight / 1e2)

    def value(ratio: Tensor, level: Tensor, share: Tensor, *, soft: bool) -> Tensor:
        place = _soft(action).place if soft else action.place
        return cast(Tensor, critic(weak, JointAction(place, ratio, level, share)))

    for soft in (False, True):
        assert torch.autograd.gradcheck(partial(value, soft=soft), inputs)


@pytest.mark.parametrize("inaudible", [0.0, 0.3])
def test_a_choice_counts_at_others_by_what_they_have_with_and_without_it(
    inaudible: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brute force: each user is moved to each channel and away, while the others stay."""
    monkeypatch.setattr("metagnn.models.offloading.INAUDIBLE", inaudible)
    critic, users, channels = _critic(), 5, 3
    graph, action = _setting(5, _channels(1, 2, users, channels), channels)
    assert not torch.allclose(graph.edge_weight, graph.edge_weight.mT)
    assert bool((action.place.sum(-1) == 0.0).any())
    soft = action.place.clone().requires_grad_()
    found = critic(graph, replace(action, place=soft))
    torch.testing.assert_close(found.detach(), critic(graph, action))
    strength = 10.0 ** (-5.3 * (1.0 - action.level))

    def heard(place: Tensor) -> Tensor:
        """Decades that users hear on their channels."""
        decades = torch.log10(1.0 + graph.edge_weight.mT @ (place * strength))
        return (decades * action.place).sum(-1)

    effects, left_out = [], 0
    for listener, part in product(range(users), range(2)):
        (slope,) = torch.autograd.grad(found[:, listener, part].sum(), soft, retain_graph=True)
        for user, channel in product(range(users), range(channels)):
            if user == listener:
                continue
            with_it, without = action.place.clone(), action.place.clone()
            with_it[:, user], without[:, user] = 0.0, 0.0
            with_it[:, user, channel] = 1.0
            ends = [critic(graph, replace(action, place=one)) for one in (with_it, without)]
            change = (heard(with_it) - heard(without))[:, listener]
            effect = (ends[0] - ends[1])[:, listener, part] * (change > inaudible)
            left_out += int(((change > 0.0) & (change <= inaudible)).sum())
            torch.testing.assert_close(slope[:, user, channel], effect)
            effects.append(effect)
    assert float(torch.stack(effects).abs().max()) > 0.1
    assert (left_out > 0) == (inaudible > 0.0)


def test_what_is_left_without_a_strong_interferer_counts_in_single_precision_too() -> None:
    """User 0 hears user 1 at 60 dB over the noise, and user 2, who is left without it, near it."""
    critic = _critic().float()
    place = torch.tensor([[[1.0], [1.0], [1.0]]])
    weight = torch.zeros(1, 3, 3)
    weight[0, 1, 0], weight[0, 2, 0] = 987654.3, 0.71
    graph = DenseGraph(_randn(8, 1, 3, 1, 3).float(), weight)
    numbers = [torch.full((1, 3), 0.5), torch.ones(1, 3, 1), torch.full((1, 3), 0.3)]
    soft = place.clone().requires_grad_()
    of_listener = critic(graph, JointAction(soft, *numbers))[0, 0, 0]
    (slope,) = torch.autograd.grad(of_listener, soft)
    exact = critic.double()
    graph = DenseGraph(graph.node.double(), weight.double())
    ends = []
    for there in (1.0, 0.0):
        place[0, 1, 0] = there
        action = JointAction(*(value.double() for value in (place, *numbers)))
        ends.append(exact(graph, action)[0, 0, 0])
    assert abs(float(ends[0] - ends[1])) > 1e-3
    assert float(slope[0, 1, 0]) == pytest.approx(float(ends[0] - ends[1]), rel=1e-4)


def _others(action: JointAction) -> tuple[Tensor, Tensor, Tensor]:
    return action.ratio, action.level, action.share


@pytest.mark.parametrize("hard", [True, False])
def test_order_does_not_matter_to_the_critic(hard: bool) -> None:
    critic = _critic()
    graph, action = _setting(7, _channels(3, 2, 4, 3), 3)
    users, channels = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    mixed_graph = DenseGraph(
        graph.node[:, users][:, :, channels], graph.edge_weight[:, users][:, :, users]
    )
    mixed = JointAction(
        action.place[:, users][:, :, channels],
        action.ratio[:, users],
        action.level[:, users][:, :, channels],
        action.share[:, users],
    )
    pair = (action, mixed) if hard else (_soft(action), _soft(mixed))
    before, after = critic(graph, pair[0]), critic(mixed_graph, pair[1])
    assert float(before.detach().std()) > 1e-2
    torch.testing.assert_close(after, before[:, users])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, ()), "`in_channels` must be an integer >= 1, got 0"),
        ((3, (), ()), "`hidden_channels` must hold a layer"),
        ((3, (), (8, 0)), "`hidden_channels` must be an integer >= 1, got 0"),
    ],
)
def test_critics_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OffloadingCritic(*arguments)  # type: ignore[arg-type]


# --- The perceptrons. ---


def _numbered(batch: int, users: int, channels: int) -> DenseGraph:
    """Features that say whose they are: 1000 b + 100 u + 10 k + f."""
    axes = zip((1000.0, 100.0, 10.0, 1.0), (batch, users, channels, 8), strict=True)
    steps = [scale * torch.arange(size) for scale, size in axes]
    node = steps[0].view(-1, 1, 1, 1) + steps[1].view(-1, 1, 1) + steps[2].view(-1, 1) + steps[3]
    return DenseGraph(node, torch.zeros(batch, users, users))


def test_flat_state_holds_gains_interference_and_tasks() -> None:
    first, second = flat_state(_numbered(2, 2, 3)).tolist()
    gains = [0.0, 10.0, 20.0, 100.0, 110.0, 120.0]
    interference = [2.0, 12.0, 22.0]
    tasks = [4.0, 5.0, 6.0, 7.0, 104.0, 105.0, 106.0, 107.0]
    assert first == gains + interference + tasks
    assert second == [1000.0 + value for value in first]


def test_flat_action_holds_ratios_channels_levels_and_shares() -> None:
    action = JointAction(
        torch.tensor([[[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]]),
        torch.tensor([[0.25, 0.5, 0.0]]),
        torch.tensor([[[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]]),
        torch.tensor([[0.75, 0.125, 0.0]]),
    )
    ratios, channels, shares = [0.25, 0.5, 0.0], [0.0, 1.0, 1.0, 0.0, 0.0, 0.0], [0.75, 0.125, 0.0]
    wanted = [*ratios, *channels, 0.2, 0.3, 0.0, *shares]
    assert flat_action(action)[0].tolist() == pytest.approx(wanted)


def test_perceptron_gives_each_user_its_outputs() -> None:
    actor, graph = PerceptronActor(2, 3, 8, hidden_channels=5), _numbered(4, 2, 3)
    actor.out.weight.data.zero_()
    actor.out.bias.data = torch.arange(12.0)
    found = actor(graph)
    assert found.ratio.tolist() == [[0.0, 1.0]] * 4
    assert found.score.tolist() == [[[2.0, 3.0, 4.0], [5.0, 6.0, 7.0]]] * 4
    # One level for all channels.
    assert found.level.tolist() == [[[8.0] * 3, [9.0] * 3]] * 4
    assert found.need.tolist() == [[10.0, 11.0]] * 4


def test_perceptron_is_one_hidden_layer_of_the_flat_state() -> None:
    actor = _randomised(PerceptronActor(2, 3, 8, hidden_channels=5))
    graph = DenseGraph(_randn(0, 3, 2, 3, 8), torch.zeros(3, 2, 2))
    weights = [actor.hidden.weight, actor.hidden.bias, actor.out.weight, actor.out.bias]
    into, into_bias, out, out_bias = weights
    state = flat_state(graph)
    for copy in range(3):
        hidden = (into @ state[copy] + into_bias).clamp(min=0.0)
        wanted = out @ hidden + out_bias
        found = actor(graph)
        torch.testing.assert_close(found.ratio[copy], wanted[:2])
        torch.testing.assert_close(found.score[copy].flatten(), wanted[2:8])
        torch.testing.assert_close(found.level[copy, :, 1], wanted[8:10])
        torch.testing.assert_close(found.need[copy], wanted[10:])


def test_perceptron_critic_by_hand() -> None:
    critic = PerceptronCritic(2, hidden_channels=2)
    critic.hidden.weight.data = torch.tensor([[1.0, 2.0], [-1.0, 0.0]])
    critic.hidden.bias.data = torch.tensor([0.5, 1.0])
    critic.out.weight.data = torch.tensor([[3.0, 10.0]])
    critic.out.bias.data = torch.tensor([-1.0])
    # relu(0.5 + 1 + 4) = 5.5 and relu(1 - 1) = 0; relu(0.5 - 2) = 0 and relu(1 + 2) = 3.
    found = critic(torch.tensor([[1.0, 2.0], [-2.0, 0.0]]))
    assert found.tolist() == [[15.5], [29.0]]


@pytest.mark.parametrize(("users", "channels"), [(3, 3), (1, 3), (2, 4)])
def test_cells_of_another_size_are_refused(users: int, channels: int) -> None:
    actor = PerceptronActor(2, 3, 8)
    with pytest.raises(ValueError, match=r"`graph` must be of \(2, 3\) \(users, channels\)"):
        actor(_numbered(1, users, channels))


def test_perceptrons_without_hidden_units_are_refused() -> None:
    message = "`hidden_channels` must be an integer >= 1, got 0"
    with pytest.raises(ValueError, match=message):
        PerceptronActor(2, 3, 8, hidden_channels=0)
    with pytest.raises(ValueError, match=message):
        PerceptronCritic(4, hidden_channels=0)
