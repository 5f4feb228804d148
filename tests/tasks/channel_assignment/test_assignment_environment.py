"""The uplink environment: rewards by hand, motion, observations, seeds, and what it refuses."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.tasks.channel_assignment import environment as environment_module
from metagnn.tasks.channel_assignment.baselines import BASELINES
from metagnn.tasks.channel_assignment.environment import (
    STEPS_PER_MOVE,
    Action,
    ChannelAssignment,
    difference_reward,
    sum_reward,
    transmit,
)
from metagnn.tasks.channel_assignment.observation import observe
from metagnn.tasks.channel_assignment.scenario import SCENARIOS, Uplink, scenario

UPLINK = Uplink(bandwidth_hz=(1e6, 2e6, 4e6))


def _environment(**changed: Any) -> ChannelAssignment:
    return ChannelAssignment(scenario("urban_micro"), **{"num_users": 4, **changed})


def _random_action(environment: ChannelAssignment, number: int) -> Action:
    source = generator(1, "action", number)
    return BASELINES["random"](environment.gain_to_noise, environment.uplink, source)


def _outcome_by_hand(action: Action, gain_to_noise: Tensor, uplink: Uplink) -> list[list[float]]:
    """Efficiencies with plain loops over cells and users."""
    rows = []
    for cell, users in enumerate(action.channel.tolist()):
        row = []
        for user, channel in enumerate(users):
            power_w = float(action.power_w[cell, user])
            ratio = float(gain_to_noise[cell, user, channel])
            if power_w * ratio < uplink.snr_min:
                power_w = uplink.power_max_w
            rate = uplink.bandwidth_hz[channel] * math.log2(1 + power_w * ratio)
            failed = users.count(channel) > 1 or power_w * ratio < uplink.snr_min
            row.append(0.0 if failed else rate / (power_w + uplink.circuit_power_w))
        rows.append(row)
    return rows


def test_outcomes_are_those_of_plain_loops() -> None:
    environment = _environment()
    environment.reset(200, generator(0))
    action = _random_action(environment, 0)
    # Some users far away, whose SNR is too small or hopeless.
    ratio = environment.gain_to_noise * 10.0 ** (-6 * torch.rand(200, 4, 1))
    found = transmit(action, ratio, environment.uplink)
    wanted = torch.tensor(_outcome_by_hand(action, ratio, environment.uplink))
    torch.testing.assert_close(found.energy_efficiency, wanted, rtol=1e-4, atol=0)
    assert int((found.alone & ~found.snr_met).sum()) > 0
    assert 0 < int((~found.alone).sum()) < found.alone.numel()


def test_rewards_by_hand() -> None:
    # Three users; SNR 7 at 0.1 W everywhere: u = 3 W / (0.1 + p_c).
    ratio = torch.full((4, 3, 3), 70.0)
    channel = torch.tensor([[0, 1, 2], [0, 0, 2], [1, 1, 1], [2, 1, 2]])
    action = Action(channel, torch.full((4, 3), 0.1))
    outcome = transmit(action, ratio, UPLINK)
    unit = 3e6 / (0.1 + UPLINK.circuit_power_w)
    scale = 1.0 / unit
    torch.testing.assert_close(
        sum_reward(outcome, scale)[:, 0], torch.tensor([7.0, -2 / 3, -1.0, -2 / 3])
    )
    torch.testing.assert_close(
        difference_reward(action, outcome, scale),
        torch.tensor([[1.0, 2.0, 4.0], [-1.0, -1.0, 4.0], [0.0, 0.0, 0.0], [-4.0, 2.0, -4.0]]),
    )


def test_the_difference_is_that_of_two_sums() -> None:
    environment = _environment(num_users=5)
    environment.reset(300, generator(2))
    action = _random_action(environment, 1)
    ratio, uplink = environment.gain_to_noise, environment.uplink
    outcome = transmit(action, ratio, uplink)
    found = difference_reward(action, outcome, 1e-9)
    for user in range(5):
        others = [other for other in range(5) if other != user]
        without = transmit(
            Action(action.channel[:, others], action.power_w[:, others]), ratio[:, others], uplink
        )
        gone = outcome.energy_efficiency.sum(-1) - without.energy_efficiency.sum(-1)
        torch.testing.assert_close(found[:, user], 1e-9 * gone, atol=1e-6, rtol=1e-4)


def test_the_same_seed_gives_the_same_numbers_at_every_step() -> None:
    first, second = _environment(num_steps=250), _environment(num_steps=250)
    seen = [one.reset(3, generator(5)) for one in (first, second)]
    for step in range(250):
        assert torch.equal(seen[0].node, seen[1].node)
        assert torch.equal(seen[0].edge_weight, seen[1].edge_weight)
        action = _random_action(first, step)
        answers = [one.step(action) for one in (first, second)]
        assert torch.equal(answers[0].reward, answers[1].reward)
        seen = [answer.observation for answer in answers]
    other = _environment().reset(3, generator(6))
    assert not torch.equal(other.node, seen[0].node)


def test_episodes_are_truncated_and_never_terminate() -> None:
    environment = _environment(num_steps=3)
    environment.reset(2, generator(0))
    answers = [environment.step(_random_action(environment, n)) for n in range(3)]
    assert [bool(a.truncated.all()) for a in answers] == [False, False, True]
    assert [bool(a.truncated.any()) for a in answers] == [False, False, True]
    assert not any(bool(a.terminated.any()) for a in answers)


def test_path_loss_changes_every_hundred_steps_and_fading_at_each() -> None:
    environment = _environment(num_steps=250)
    environment.reset(50, generator(0))
    path, gain = [environment._path_gain], [environment.gain_to_noise]
    for number in range(2 * STEPS_PER_MOVE):
        environment.step(_random_action(environment, number))
        path.append(environment._path_gain)
        gain.append(environment.gain_to_noise)
    changed = [n for n in range(1, len(path)) if not torch.equal(path[n], path[n - 1])]
    assert changed == [STEPS_PER_MOVE, 2 * STEPS_PER_MOVE]
    assert all(not torch.equal(a, b) for a, b in pairwise(gain))
    # A tenth of a second at walking pace moves the mean gain little.
    moved_db = 10 * (path[-1] / path[0]).log10().abs()
    assert 0 < float(moved_db.median()) < 3.0


def test_users_stay_on_the_square_and_keep_their_speed() -> None:
    fast = replace(scenario("indoor"), speed_max_m_s=30.0)
    environment = ChannelAssignment(fast, 6, num_steps=10_000)
    environment.reset(20, generator(0))
    speed = environment._velocity_m_s.norm(dim=-1)
    assert 25.0 < float(speed.max()) <= 30.0
    bounced = environment._velocity_m_s
    for _ in range(50):
        environment._move()
        assert float(environment.position_m.abs().max()) <= 12.5
    torch.testing.assert_close(environment._velocity_m_s.norm(dim=-1), speed)
    assert not torch.equal(environment._velocity_m_s, bounced)


def test_shadowing_keeps_its_law_and_forgets_over_distance() -> None:
    fast = replace(scenario("indoor"), speed_max_m_s=30.0)
    environment = ChannelAssignment(fast, 10)
    environment.reset(4000, generator(0))
    environment._velocity_m_s = torch.full_like(environment._velocity_m_s, 6.0 / 2**0.5 / 0.1)
    before = environment._shadowing
    environment._move()
    after = environment._shadowing
    # Six metres are the decorrelation distance indoors.
    assert float((before * after).mean()) == pytest.approx(math.exp(-1.0), abs=0.02)
    assert float(after.square().mean()) == pytest.approx(1.0, abs=0.03)


def test_shadowing_of_users_in_sight_has_its_own_distance() -> None:
    place = replace(scenario("urban_macro"), line_of_sight=True)
    environment = ChannelAssignment(place, 10)
    environment.reset(4000, generator(0))
    before = environment._shadowing
    # 37 metres, from and to where about half of them are in sight.
    environment.position_m = torch.tensor([40.0, -18.5]).expand(4000, 10, 2)
    environment._velocity_m_s = torch.tensor([0.0, 370.0]).expand(4000, 10, 2)
    environment._move()
    distance_m = environment.position_m.norm(dim=-1)
    seen = environment._draw_of_sight < place.model.los_probability(distance_m)
    assert 0.2 < float(seen.float().mean()) < 0.8
    for users, over_m in ((seen, 37.0), (~seen, 50.0)):
        kept = (before * environment._shadowing)[users].mean()
        assert float(kept) == pytest.approx(math.exp(-37.0 / over_m), abs=0.02)


def test_large_scale_gains_follow_path_loss_shadowing_and_antennas() -> None:
    environment = _environment(num_users=10)
    environment.reset(2000, generator(0))
    place = scenario("urban_micro")
    loss_db = place.model.nlos_db(environment.position_m.norm(dim=-1), place.site)
    rest_db = 10 * environment._path_gain.log10() + loss_db - 11.0
    assert float(rest_db.mean()) == pytest.approx(0.0, abs=0.2)
    assert float(rest_db.std()) == pytest.approx(7.82, abs=0.15)


def test_lines_of_sight_come_with_their_probability() -> None:
    place = replace(scenario("urban_macro"), line_of_sight=True)
    environment = ChannelAssignment(place, 10)
    environment.reset(2000, generator(0))
    distance_m = environment.position_m.norm(dim=-1)
    shadowing = environment._shadowing
    los_db = place.model.los_db(distance_m, place.site) + 4.0 * shadowing
    loss_db = 11.0 - 10 * environment._path_gain.log10()
    seen = (loss_db - los_db).abs() < 1e-2
    wanted = place.model.los_probability(distance_m).mean()
    assert float(seen.float().mean()) == pytest.approx(float(wanted), abs=0.015)


def test_observations_of_users_are_the_papers() -> None:
    ratio = torch.tensor([[[1e3, 1e4, 1e5], [1e2, 1e2, 1e2]]]) / UPLINK.power_max_w
    graph = observe(ratio, UPLINK, "user", "none", 0.25)
    wanted = torch.tensor([[[0.3, 0.4, 0.5, 2 / 3, 0.25], [0.2, 0.2, 0.2, 2 / 3, 0.25]]])
    torch.testing.assert_close(graph.node, wanted)
    assert torch.equal(graph.edge_weight, torch.zeros(1, 2, 2))


def test_observations_of_channels_and_the_order_of_users() -> None:
    ratio = torch.tensor([[[1e3, 1e4, 1e5], [1e2, 1e2, 1e2]]]) / UPLINK.power_max_w
    graph = observe(ratio, UPLINK, "channel", "order", 1.0)
    assert graph.node.shape == (1, 2, 3, 4)
    wanted = torch.tensor([0.5, 0.1, 0.0, 2 / 3])
    torch.testing.assert_close(graph.node[0, 0, 2], wanted)
    torch.testing.assert_close(graph.node[0, 1, 0, 2], torch.tensor(math.log(0.25)))
    # From the strong user 0 to the weak user 1, and not back.
    assert graph.edge_weight.shape == (1, 2, 2)
    torch.testing.assert_close(graph.edge_weight[0], torch.tensor([[0.0, 0.25], [0.0, 0.0]]))


def test_order_is_soft_near_a_tie() -> None:
    ratio = torch.tensor([[[1.0] * 3, [10.0**0.05] * 3]])
    weight = observe(ratio, UPLINK, "user", "order", 1.0).edge_weight[0]
    # Half a decibel: sigmoid(0.5) = 0.6225, a quarter of which is 0.1556.
    torch.testing.assert_close(
        weight, torch.tensor([[0.0, 0.0944], [0.1556, 0.0]]), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_baselines_in_every_scenario(name: str) -> None:
    environment = ChannelAssignment(scenario(name), 6)
    environment.reset(200, generator(0))
    ratio, uplink = environment.gain_to_noise, environment.uplink
    totals = {}
    for policy, act in BASELINES.items():
        outcome = transmit(act(ratio, uplink, generator(1)), ratio, uplink)
        totals[policy] = outcome.energy_efficiency.sum(-1)
        if policy in ("optimum", "greedy"):
            assert bool(outcome.alone.all()), policy
    for policy, total in totals.items():
        assert bool((total <= totals["optimum"] * (1 + 1e-5)).all()), policy
    assert float(totals["greedy"].sum() / totals["optimum"].sum()) > 0.9
    assert float(totals["random"].sum() / totals["optimum"].sum()) < 0.5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_users": 11}, r"`num_users` must be at most the 10 subchannels, got 11"),
        ({"num_users": 0}, r"`num_users` must be an integer >= 1, got 0"),
        ({"num_steps": 0}, r"`num_steps` must be an integer >= 1, got 0"),
        ({"reward": "mean"}, r"`reward` must be 'sum' or 'difference', got 'mean'"),
        ({"reward_scale": 0.0}, r"`reward_scale` must be finite and > 0, got 0.0"),
        ({"edges": "all"}, r"`edges` must be 'none' or 'order', got 'all'"),
        ({"layout": "x"}, r"`layout` must be 'user' or 'channel', got 'x'"),
        ({"progress": math.nan}, r"`progress` must lie in \[0, 1\], got nan"),
        ({"progress": -0.1}, r"`progress` must lie in \[0, 1\], got -0.1"),
        ({"progress": 1.5}, r"`progress` must lie in \[0, 1\], got 1.5"),
    ],
)
def test_settings_that_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _environment(**changed)


@pytest.mark.parametrize(
    ("channel", "power_w", "message"),
    [
        (10, 0.1, r"`channel` must lie in \[0, 9\], got \(10, 10\)"),
        (-1, 0.1, r"`channel` must lie in \[0, 9\], got \(-1, -1\)"),
        (0, 0.3, r"`power_w` must be 0 or lie in \[0.001, 0.251189\] W, got"),
        (0, 0.0005, r"`power_w` must be 0 or lie in \[0.001, 0.251189\] W, got"),
        (0, -0.1, r"`power_w` must be 0 or lie in \[0.001, 0.251189\] W, got"),
        (0, math.nan, r"`power_w` must be 0 or lie in .*, got \(nan, nan\)"),
    ],
)
def test_actions_that_are_refused(channel: int, power_w: float, message: str) -> None:
    environment = _environment()
    environment.reset(2, generator(0))
    with pytest.raises(ValueError, match=message):
        environment.step(Action(torch.full((2, 4), channel), torch.full((2, 4), power_w)))


def test_actions_of_another_shape_are_refused() -> None:
    environment = _environment()
    environment.reset(2, generator(0))
    with pytest.raises(ValueError, match=r"`channel` must have the shape \(2, 4\), got \(2, 3\)"):
        environment.step(Action(torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 4)))
    with pytest.raises(ValueError, match=r"`channel` must hold integers .*got 'torch.float32'"):
        environment.step(Action(torch.zeros(2, 4), torch.zeros(2, 4)))
    with pytest.raises(ValueError, match=r"`step` must follow a reset"):
        _environment().step(Action(torch.zeros(2, 4), torch.zeros(2, 4)))


# 10 log10 of ln 1e6.
RARE_DB = 11.40


@pytest.mark.parametrize(
    ("name", "sight", "loss_db", "std_db", "noise_dbm"),
    [
        # Distances between antennas hypot(1, 3.5), (1, 8.5), (1, 23.5), (1, 33.5) m; 20 log10 6 is
        # 15.56; noise of 180 kHz, 52.55 dB above 1 Hz, with a figure of 5 dB.
        ("indoor", False, 32.4 + 31.9 * 0.5611 + 15.56, 8.29, -160.0),
        ("urban_micro", False, 22.4 + 35.3 * 0.9324 + 21.3 * 0.7782, 7.82, -170.0),
        ("urban_macro", False, 32.4 + 30.0 * 1.3715 + 15.56, 7.8, -180.0),
        # Four deviations are 31 dB without line of sight and 16 with: users in sight may have the
        # worse of the best gains, and the better.
        ("urban_micro", True, 22.4 + 35.3 * 0.9324 + 21.3 * 0.7782, 7.82, -170.0),
        ("urban_macro", True, 28.0 + 22.0 * 1.3715 + 15.56, 4.0, -180.0),
    ],
)
def test_a_floor_out_of_reach_is_refused(
    name: str, sight: bool, loss_db: float, std_db: float, noise_dbm: float
) -> None:
    mean_db = 24.0 + 11.0 - (loss_db - 4.0 * std_db) - (noise_dbm + 5.0 + 52.55)
    place = replace(scenario(name), line_of_sight=sight)
    ChannelAssignment(place, 2, Uplink(snr_min_db=mean_db + RARE_DB - 0.05))
    message = (
        r"`snr_min_db` must be at most \d+\.\d\d, which a user 1 m away, shadowed by -4 "
        r"deviations, meets with probability 1e-06, got \d+\.\d+"
    )
    with pytest.raises(ValueError, match=message):
        ChannelAssignment(place, 2, Uplink(snr_min_db=mean_db + RARE_DB + 0.05))


def test_the_highest_floor_is_met_with_its_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of users 1 m away with the best shadowing, with a floor that is met more often."""
    monkeypatch.setattr(environment_module, "RAREST", 1e-2)
    highest = ChannelAssignment(scenario("indoor"), 1)._highest_floor_db()
    uplink = Uplink(snr_min_db=highest - 1e-3)
    environment = ChannelAssignment(replace(scenario("indoor"), speed_max_m_s=0.0), 1, uplink)
    environment.reset(200_000, generator(0))
    environment.position_m = torch.tensor([1.0, 0.0]).expand(200_000, 1, 2)
    environment._shadowing = torch.full((200_000, 1), -4.0)
    environment._path_gain = environment._large_scale_gain()
    environment._fade()
    snr = uplink.power_max_w * environment.gain_to_noise[:, 0, 0]
    assert float((snr >= uplink.snr_min).float().mean()) == pytest.approx(1e-2, abs=1e-3)
