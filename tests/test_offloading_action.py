"""Wishes made decisions: constraints for any wishes, powers by hand, gradients to each wish."""

import math
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.graphs.small_cells import SmallCells
from metagnn.models.offloading import JointAction, Wishes
from metagnn.offloading_action import LEAST_RATIO, as_decision, joint_action
from metagnn.tasks.offloading.construction import match_channels
from metagnn.tasks.offloading.cost import check_decision
from metagnn.tasks.offloading.environment import Offloading
from metagnn.tasks.offloading.scenario import Radio

# Cells of 4, 1 and 2 users in no order.
CELL = torch.tensor([0, 2, 0, 0, 1, 2, 0])


def _networks(batch: int, source: torch.Generator) -> SmallCells:
    site_m = torch.tensor([[0.0, 0.0], [300.0, 0.0], [0.0, 300.0]])
    user_m = 300.0 * torch.rand(len(CELL), 2, generator=source)
    return SmallCells(site_m, user_m, CELL)


def _wishes(seed: int, channels: int, scale: float, batch: int = 5) -> Wishes:
    source, users = generator(seed, "wishes"), len(CELL)
    shapes = ((batch, users), (batch, users, channels), (batch, users, channels), (batch, users))
    return Wishes(*(scale * torch.randn(shape, generator=source) for shape in shapes))


def _of_one(channels: int, users: int = 1, **given: list[float]) -> Wishes:
    """Wishes of users of one cell, 0 where nothing is given."""
    zeros = {"ratio": (users,), "score": (users, channels), "level": (users, channels)}
    zeros["need"] = (users,)
    values = {name: torch.zeros(1, *shape) for name, shape in zeros.items()}
    for name, numbers in given.items():
        values[name] = torch.tensor(numbers).view(values[name].shape)
    return Wishes(**values)


@pytest.mark.parametrize("channels", [2, 6])
@pytest.mark.parametrize("scale", [0.3, 3.0, 1e3])
def test_any_wishes_make_a_decision(channels: int, scale: float) -> None:
    radio = Radio(num_channels=channels)
    environment = Offloading(_networks, radio)
    environment.reset(5, generator(0))
    for seed in range(5):
        decision = as_decision(joint_action(_wishes(seed, channels, scale), CELL, 3), radio)
        check_decision(decision, environment.slot, radio.power_min_w, radio.power_max_w)
        # Everybody who can has a channel: in cells of 4, 1 and 2 users.
        for number, users in enumerate((4, 1, 2)):
            mine = decision.offloads[:, number == CELL]
            assert mine.sum(-1).tolist() == [min(users, channels)] * 5
            shares = decision.share[:, number == CELL].sum(-1)
            torch.testing.assert_close(shares, torch.ones(5))


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_same_extreme_wish_of_all_makes_a_decision(sign: float) -> None:
    radio = Radio(num_channels=3)
    environment = Offloading(_networks, radio)
    environment.reset(1, generator(0))
    wishes = Wishes(*(torch.full_like(v, 1e3 * sign) for v in vars(_wishes(0, 3, 1.0, 1)).values()))
    decision = as_decision(joint_action(wishes, CELL, 3), radio)
    check_decision(decision, environment.slot, radio.power_min_w, radio.power_max_w)
    offloads = decision.offloads
    power_w, ratio = (1e-6, LEAST_RATIO) if sign < 0.0 else (10.0**-0.7, 1.0)
    torch.testing.assert_close(decision.power_w[offloads], torch.full((6,), power_w))
    torch.testing.assert_close(decision.ratio[offloads], torch.full((6,), ratio))


@pytest.mark.parametrize(
    ("wish", "power_dbm"),
    # The level is the wish and a half, within [0, 1], between -30 and 23 dBm.
    [(-0.5, -30.0), (0.5, 23.0), (0.0, -3.5), (0.25, 9.75), (-7.0, -30.0), (7.0, 23.0)],
)
def test_powers_by_hand(wish: float, power_dbm: float) -> None:
    radio = Radio(num_channels=2)
    # The level that counts is the one of the channel with the better score.
    wishes = _of_one(2, score=[1.0, 2.0], level=[0.1, wish])
    decision = as_decision(joint_action(wishes, torch.tensor([0]), 1), radio)
    assert decision.channel.tolist() == [[1]]
    assert float(decision.power_w) == pytest.approx(10.0 ** (power_dbm / 10.0 - 3.0), rel=1e-5)
    assert float(decision.power_w) <= radio.power_max_w * (1.0 + 1e-6)


def test_powers_lie_between_those_of_the_radio() -> None:
    radio = Radio(num_channels=1, power_min_dbm=0.0, power_max_dbm=20.0)
    for wish, power_w in ((-0.5, 1e-3), (0.0, 1e-2), (0.5, 1e-1)):
        action = joint_action(_of_one(1, level=[wish]), torch.tensor([0]), 1)
        assert float(as_decision(action, radio).power_w) == pytest.approx(power_w)


def test_ratios_channels_and_shares_by_hand() -> None:
    # User 1 is the last of three for two channels, and has none.
    wishes = _of_one(
        2,
        3,
        ratio=[0.25, 0.5, -0.5],
        score=[3.0, 0.0, 2.0, -2.0, 1.0, 1.5],
        need=[1.0, 5.0, 1.0 + 1.0986123],
    )
    action = joint_action(wishes, torch.tensor([0, 0, 0]), 1)
    assert action.place.tolist() == [[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]]
    wanted = [LEAST_RATIO + (1.0 - LEAST_RATIO) * 0.75, 0.0, LEAST_RATIO]
    assert action.ratio[0].tolist() == pytest.approx(wanted)
    # Needs of 1 : 3, without the one who waits.
    assert action.share[0].tolist() == pytest.approx([0.25, 0.0, 0.75])
    decision = as_decision(action, Radio(num_channels=2))
    assert decision.channel.tolist() == [[0, -1, 1]]
    assert float(decision.power_w[0, 1]) == 0.0


@pytest.mark.parametrize("channels", [2, 6])
def test_values_with_and_without_gradients_are_the_same(channels: int) -> None:
    wishes = _wishes(0, channels, 0.5)
    soft = Wishes(*(value.clone().requires_grad_() for value in vars(wishes).values()))
    hard_action, soft_action = (joint_action(one, CELL, 3) for one in (wishes, soft))
    for field in fields(JointAction):
        hard, of_soft = (getattr(one, field.name) for one in (hard_action, soft_action))
        assert of_soft.requires_grad
        assert not hard.requires_grad
        torch.testing.assert_close(hard, of_soft.detach(), rtol=0, atol=1e-6)
    assert set(hard_action.place.unique().tolist()) == {0.0, 1.0}
    radio = Radio(num_channels=channels)
    one, other = (as_decision(action, radio) for action in (hard_action, soft_action))
    assert torch.equal(one.channel, other.channel)
    assert torch.equal(one.channel, match_channels(wishes.score, CELL, 3))
    for name in ("ratio", "power_w", "share"):
        assert not getattr(other, name).requires_grad
        torch.testing.assert_close(getattr(one, name), getattr(other, name))


def _slopes(wishes: Wishes, name: str, weight: Tensor, cell: Tensor) -> dict[str, Tensor | None]:
    """Slopes of the weighted sum of a part of the joint action in each wish."""
    inputs = {key: value.clone().requires_grad_() for key, value in vars(wishes).items()}
    part = getattr(joint_action(Wishes(**inputs), cell, int(cell.max()) + 1), name)
    found = torch.autograd.grad((weight * part).sum(), list(inputs.values()), allow_unused=True)
    return dict(zip(inputs, found, strict=True))


@pytest.mark.parametrize(
    ("part", "wish"),
    [("place", "score"), ("ratio", "ratio"), ("level", "level"), ("share", "need")],
)
def test_each_wish_has_slopes_of_its_own_part_only(part: str, wish: str) -> None:
    wishes = _wishes(1, 3, 0.1)
    weight = torch.randn(getattr(wishes, wish).shape, generator=generator(2))
    found = _slopes(wishes, part, weight, CELL)
    for name, slope in found.items():
        if name != wish:
            assert slope is None or not bool(slope.any())
    slope = found[wish]
    assert slope is not None
    offloads = joint_action(wishes, CELL, 3).place.sum(-1) > 0.5
    by_user = slope.flatten(2).abs().sum(-1) if slope.dim() == 3 else slope.abs()
    if part in ("place", "ratio"):
        # Those without a channel have nothing to learn of it.
        assert torch.equal(by_user > 0.0, offloads)
    elif part == "level":
        assert bool((by_user > 0.0).all())
    else:
        # A share is that of the needs of all, but the only user of a cell has the whole server.
        alone = CELL == 1
        others = offloads & ~alone
        assert bool((by_user[others] > 1e-4).all())
        torch.testing.assert_close(by_user[~others], torch.zeros_like(by_user[~others]))


def test_slope_of_a_choice_is_that_of_the_softmax() -> None:
    wishes = _of_one(2, score=[1.0986123, 0.0])
    found = _slopes(wishes, "place", torch.tensor([1.0, 0.0]), torch.tensor([0]))["score"]
    assert found is not None
    # Softmax of 3/4 and 1/4: p (1 - p) and minus that.
    assert found.flatten().tolist() == pytest.approx([0.1875, -0.1875])


def test_slopes_of_shares_by_hand() -> None:
    wishes = _of_one(2, 2, need=[1.0986123, 0.0])
    found = _slopes(wishes, "share", torch.tensor([1.0, 0.0]), torch.tensor([0, 0]))["need"]
    assert found is not None
    # Shares of 3/4 and 1/4.
    assert found.flatten().tolist() == pytest.approx([0.1875, -0.1875])


@pytest.mark.parametrize(("wish", "scale"), [("ratio", 1.0 - LEAST_RATIO), ("level", 1.0)])
def test_slopes_beyond_the_bounds_lead_back_only(wish: str, scale: float) -> None:
    # One channel each in cells of one; the wishes are a quarter beyond both bounds.
    wishes = _of_one(1, 2, ratio=[-0.75, 0.75], level=[-0.75, 0.75])
    for sign, wanted in ((1.0, [0.0, scale]), (-1.0, [-scale, 0.0])):
        weight = torch.full(getattr(wishes, wish).shape, sign)
        found = _slopes(wishes, wish, weight, torch.tensor([0, 1]))[wish]
        assert found is not None
        # Descent lowers with the first sign and raises with the second.
        assert found.flatten().tolist() == pytest.approx(wanted)


def test_cells_and_orders_do_not_matter() -> None:
    wishes = _wishes(3, 3, 0.5)
    users, channels = torch.tensor([3, 6, 0, 1, 5, 4, 2]), torch.tensor([2, 0, 1])
    # New cell 0 is old cell 1, and so on.
    cell = torch.tensor([2, 0, 1])[CELL][users]
    mixed = Wishes(
        wishes.ratio[:, users],
        wishes.score[:, users][:, :, channels],
        wishes.level[:, users][:, :, channels],
        wishes.need[:, users],
    )
    before, after = joint_action(wishes, CELL, 3), joint_action(mixed, cell, 3)
    assert torch.equal(after.place, before.place[:, users][:, :, channels])
    assert torch.equal(after.level, before.level[:, users][:, :, channels])
    assert torch.equal(after.ratio, before.ratio[:, users])
    torch.testing.assert_close(after.share, before.share[:, users])
    for number in range(3):
        mine = torch.tensor([user for user, site in enumerate(CELL.tolist()) if site == number])
        part = Wishes(*(value[:, mine] for value in vars(wishes).values()))
        alone = joint_action(part, torch.zeros(len(mine), dtype=torch.long), 1)
        for field in fields(JointAction):
            both = getattr(alone, field.name), getattr(before, field.name)[:, mine]
            torch.testing.assert_close(*both)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(value: float) -> None:
    wishes = _of_one(2, score=[1.0, value])
    with pytest.raises(ValueError, match="`scores` must be finite"):
        joint_action(wishes, torch.tensor([0]), 1)
