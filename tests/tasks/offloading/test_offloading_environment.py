"""The offloading environment: rewards, interference and observations by hand, seeds, errors."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.graphs.small_cells import SmallCells, drop_small_cells
from metagnn.tasks.offloading.baselines import BASELINES
from metagnn.tasks.offloading.cost import Decision, Devices, Slot, Tasks
from metagnn.tasks.offloading.environment import NUM_FEATURES, Offloading, observe
from metagnn.tasks.offloading.scenario import Computing, Radio

RADIO = Radio(num_channels=4)


def _networks(batch: int, source: torch.Generator) -> SmallCells:
    return drop_small_cells(batch, source, num_cells=3, users_per_cell=2)


def _with_an_empty_cell(batch: int, source: torch.Generator) -> SmallCells:
    """Cells of 2, 0 and 3 users in no order, the same in all networks."""
    site_m = torch.tensor([[0.0, 0.0], [300.0, 0.0], [0.0, 400.0]])
    user_m = torch.tensor([[0.0, 300.0], [30.0, 0.0], [0.0, 450.0], [-80.0, 0.0], [60.0, 400.0]])
    return SmallCells(site_m, user_m, torch.tensor([2, 0, 2, 0, 2]))


def _environment(**changed: Any) -> Offloading:
    return Offloading(**{"networks": _networks, "radio": RADIO, **changed})


def _decide(environment: Offloading, number: int, name: str = "random") -> Decision:
    return BASELINES[name](environment.slot, environment.radio, generator(1, "decide", number))


def _heard_by_hand(slot: Slot, decision: Decision) -> Tensor:
    """Interference ``[B, K, M]`` by loops."""
    heard = torch.zeros_like(slot.interference_w)
    for network, channels in enumerate(decision.channel.tolist()):
        for user, channel in enumerate(channels):
            for site in range(heard.shape[-1]):
                if channel >= 0 and site != int(slot.cell[user]):
                    gain = slot.gain[network, channel, user, site]
                    heard[network, channel, site] += gain * decision.power_w[network, user]
    return heard


def test_the_same_generator_gives_the_same_at_every_step() -> None:
    first, second, other = (_environment() for _ in range(3))
    seen = [one.reset(3, generator(5)) for one in (first, second)]
    assert not torch.equal(other.reset(3, generator(6)).node, seen[0].node)
    for number in range(10):
        assert torch.equal(seen[0].node, seen[1].node)
        assert torch.equal(seen[0].edge_weight, seen[1].edge_weight)
        assert torch.equal(first.slot.gain, second.slot.gain)
        for name in ("size_bit", "cycles", "deadline_s"):
            tasks = (getattr(one.slot.tasks, name) for one in (first, second))
            assert torch.equal(*tasks)
        decision = _decide(first, number)
        answers = [one.step(decision) for one in (first, second)]
        assert torch.equal(answers[0].reward, answers[1].reward)
        assert torch.equal(answers[0].info.value, answers[1].info.value)
        seen = [answer.observation for answer in answers]


def test_a_reset_begins_anew() -> None:
    environment = _environment(num_steps=2)
    first = environment.reset(3, generator(5))
    for number in range(2):
        answer = environment.step(_decide(environment, number, "full offloading"))
    assert bool(answer.truncated.all())
    again = environment.reset(3, generator(5))
    assert torch.equal(first.node, again.node)
    assert not bool(environment.step(_decide(environment, 0)).truncated.any())


def test_tasks_and_fading_change_in_every_slot_and_nothing_else() -> None:
    computing = Computing(user_hz=(1e9, 2e9), server_hz=(2e10, 5e10))
    environment = _environment(computing=computing)
    environment.reset(400, generator(0))
    slots = [environment.slot]
    for number in range(4):
        environment.step(_decide(environment, number))
        slots.append(environment.slot)
    large_scale = environment.cells.large_scale_gain().unsqueeze(1)
    for before, after in pairwise(slots):
        assert torch.equal(before.devices.user_hz, after.devices.user_hz)
        assert torch.equal(before.devices.server_hz, after.devices.server_hz)
        assert torch.equal(before.cell, after.cell)
        assert bool((before.tasks.size_bit != after.tasks.size_bit).float().mean() > 0.99)
        fading = [slot.gain / large_scale for slot in (before, after)]
        # Rayleigh: power gains of mean and deviation 1, new in every slot and on every channel.
        for draws in fading:
            assert draws.shape == (400, 4, 6, 3)
            assert float(draws.mean()) == pytest.approx(1.0, abs=0.03)
            assert float(draws.std()) == pytest.approx(1.0, abs=0.05)
        pairs = ((fading[0], fading[1]), (fading[0][:, 0], fading[0][:, 1]))
        for one, other in pairs:
            together = torch.stack([one.flatten(), other.flatten()])
            assert abs(float(torch.corrcoef(together)[0, 1])) < 0.04


def test_deadlines_follow_from_the_users_own_speeds() -> None:
    environment = _environment(computing=Computing(user_hz=(1e9, 4e9), deadline_share=0.5))
    environment.reset(3, generator(0))
    tasks, speed_hz = environment.slot.tasks, environment.slot.devices.user_hz
    assert float(speed_hz.max() / speed_hz.min()) > 2.0
    torch.testing.assert_close(tasks.deadline_s, 0.5 * tasks.cycles / speed_hz)


@pytest.mark.parametrize("reward", ["cooperative", "local"])
def test_rewards_are_sums_by_hand(reward: str) -> None:
    environment = _environment(
        networks=_with_an_empty_cell, reward=reward, revenue=2.5, patience=1.25
    )
    environment.reset(20, generator(0))
    slot = environment.slot
    answer = environment.step(_decide(environment, 0))
    found = answer.info.cost
    wanted, lateness = torch.zeros(20, 3), 0
    for network in range(20):
        for user, site in enumerate([2, 0, 2, 0, 2]):
            values = (found.local_j, found.transmission_j, found.edge_j)
            value = -sum(float(energy_j[network, user]) for energy_j in values)
            deadline_s = float(slot.tasks.deadline_s[network, user])
            latency_s = max(float(found.local_s[network, user]), float(found.edge_s[network, user]))
            late = latency_s > deadline_s * (1.0 + 1e-5)
            value += deadline_s - latency_s if late else 2.5
            lateness += late
            assert float(answer.info.value[network, user]) == pytest.approx(
                value, rel=1e-4, abs=1e-5
            )
            sites = [site] if reward == "local" else range(3)
            for agent in sites:
                wanted[network, agent] += value
    assert 0 < lateness < 100
    torch.testing.assert_close(answer.reward, wanted, rtol=1e-4, atol=1e-4)
    if reward == "local":
        assert torch.equal(answer.reward[:, 1], torch.zeros(20))
    else:
        assert bool((answer.reward == answer.reward[:, :1]).all())


def test_local_rewards_sum_to_the_cooperative_one() -> None:
    environments = [_environment(reward=reward) for reward in ("cooperative", "local")]
    for environment in environments:
        environment.reset(5, generator(0))
    decision = _decide(environments[0], 0)
    together, apart = (environment.step(decision).reward for environment in environments)
    torch.testing.assert_close(apart.sum(-1, keepdim=True).expand(-1, 3), together)


def test_patience_limits_what_a_transmission_takes() -> None:
    environment = _environment(radio=Radio(num_channels=4, power_min_dbm=-150.0), patience=1.5)
    environment.reset(3, generator(0))
    slot, ones = environment.slot, torch.ones(3, 6)
    channel = torch.tensor([0, 1, 0, 1, 0, 1]).expand(3, -1)
    found = environment.step(Decision(ones, channel, 1e-12 * ones, 0.5 * ones)).info.cost
    # Twelve orders of magnitude below the largest power, nothing arrives in time.
    deadline_s = slot.tasks.deadline_s
    torch.testing.assert_close(found.edge_s, 1.5 * deadline_s)
    torch.testing.assert_close(found.local_s, 1.5 * deadline_s + slot.tasks.cycles / 1e9)
    torch.testing.assert_close(found.transmission_j, 1.5e-12 * deadline_s)
    torch.testing.assert_close(found.local_j, slot.tasks.cycles / 1e9)
    assert not bool(found.edge_j.any())
    assert not bool(found.met.any())


def test_measured_interference_is_that_of_the_slot_before() -> None:
    environment = _environment(networks=_with_an_empty_cell)
    environment.reset(4, generator(0))
    assert torch.equal(environment.slot.interference_w, torch.zeros(4, 4, 3))
    assert torch.equal(environment.slot.held, torch.full((4, 5), -1))
    for number in range(3):
        before, decision = environment.slot, _decide(environment, number)
        environment.step(decision)
        wanted = _heard_by_hand(before, decision)
        assert int((wanted > 0).sum()) > 20
        torch.testing.assert_close(environment.slot.interference_w, wanted, rtol=1e-5, atol=0)
        assert torch.equal(environment.slot.held, decision.channel)
    environment.step(_decide(environment, 0, "local computing"))
    assert torch.equal(environment.slot.interference_w, torch.zeros(4, 4, 3))


def test_interference_of_the_own_slot_counts_in_the_cost() -> None:
    environment = _environment()
    environment.reset(2, generator(0))
    slot, decision = environment.slot, _decide(environment, 0, "full offloading")
    found = environment.step(decision).info.cost
    heard = _heard_by_hand(slot, decision)
    for network in range(2):
        for user, channel in enumerate(decision.channel[network].tolist()):
            site, power_w = int(slot.cell[user]), float(decision.power_w[network, user])
            disturbance_w = RADIO.noise_w + float(heard[network, channel, site])
            sinr = power_w * float(slot.gain[network, channel, user, site]) / disturbance_w
            sent_s = float(slot.tasks.size_bit[network, user]) / (10e6 * math.log2(1.0 + sinr))
            sent_s = min(sent_s, 1.5 * float(slot.tasks.deadline_s[network, user]))
            energy_j = float(found.transmission_j[network, user])
            assert energy_j == pytest.approx(power_w * sent_s, rel=1e-4)


def _slot_by_hand() -> Slot:
    """Three users of two cells on two channels; SNRs are powers of ten."""
    unit = RADIO.noise_w / RADIO.power_max_w
    # [user, site, channel]; user 1 is in cell 0, users 0 and 2 in cell 1.
    snr = torch.tensor(
        [[[5.0, 5.0], [1e1, 1e3]], [[1e4, 1e4], [7.0, 7.0]], [[3.0, 3.0], [1e2, 1e1]]]
    )
    gain = unit * snr.permute(2, 0, 1).unsqueeze(0)
    tasks = Tasks(
        torch.tensor([[2e6, 1.6e6, 2.4e6]]),
        torch.tensor([[1.5e9, 1e9, 2e9]]),
        torch.tensor([[1.35, 0.8, 2.0]]),
    )
    devices = Devices(
        torch.tensor([[1e9, 2e9, 0.5e9]]),
        torch.full((1, 3), 1e-9),
        torch.tensor([[20e9, 50e9]]),
        torch.full((1, 2), 1e-11),
    )
    # [channel, site]: 9 and 999 times the noise at site 1.
    heard_w = RADIO.noise_w * torch.tensor([[[0.0, 9.0], [99.0, 999.0]]])
    return Slot(gain, torch.tensor([1, 0, 1]), tasks, devices, heard_w, torch.tensor([[1, -1, 0]]))


def test_features_by_hand() -> None:
    node = observe(_slot_by_hand(), Radio(num_channels=2)).node
    assert node.shape == (1, 3, 2, NUM_FEATURES)
    # 2 Mbit in 1.35 s on 10 MHz; 1.5e9 cycles on half of 50e9 and on 1e9 cycle/s.
    task = [
        math.log(0.2 / 1.35) + 2.0,
        math.log(0.06 / 1.35) + 1.7,
        math.log(1.5 / 1.35),
        0.0,
    ]
    # SNR 10 and 1000, interference over the noise 9 and 999; it had channel 1.
    assert node[0, 0, 0].tolist() == pytest.approx([1.0, -1.0, 1.0, 0.0, *task], abs=1e-5)
    assert node[0, 0, 1].tolist() == pytest.approx([3.0, 1.0, 3.0, 1.0, *task], abs=1e-5)
    # User 1 is alone in cell 0 and had no channel.
    times = [math.log(0.05 / 0.8) + 1.7, math.log(0.5 / 0.8)]
    task = [math.log(0.16 / 0.8) + 2.0, *times, math.log(0.8)]
    assert node[0, 1, 0].tolist() == pytest.approx([4.0, 0.0, 0.0, 0.0, *task], abs=1e-5)
    assert node[0, 1, 1].tolist() == pytest.approx([4.0, 0.0, 2.0, 0.0, *task], abs=1e-5)
    assert node[0, 2, :, 3].tolist() == [1.0, 0.0]


def test_edges_run_from_strong_to_weak_users_of_a_cell() -> None:
    weight = observe(_slot_by_hand(), Radio(num_channels=2)).edge_weight
    # Means of 20 dB for user 0 and 15 dB for user 2, each the only other user of its cell.
    wanted = torch.zeros(1, 3, 3)
    wanted[0, 0, 2] = 2.25 / (1.0 + math.exp(-5.0))
    wanted[0, 2, 0] = 2.25 / (1.0 + math.exp(5.0))
    torch.testing.assert_close(weight, wanted, rtol=1e-3, atol=0)


def test_no_edges_between_cells_or_to_oneself() -> None:
    weight = _environment().reset(5, generator(0)).edge_weight
    for one in range(6):
        for other in range(6):
            inside = one // 2 == other // 2 and one != other
            assert bool(((weight[:, one, other] > 0) == inside).all())


def test_the_order_of_users_and_of_sites_does_not_matter() -> None:
    environment = _environment(networks=_with_an_empty_cell)
    environment.reset(3, generator(0))
    environment.step(_decide(environment, 0))
    slot = environment.slot
    seen = observe(slot, RADIO)
    order = torch.tensor([3, 0, 4, 2, 1])
    tasks, devices = slot.tasks, slot.devices
    mixed = replace(
        slot,
        gain=slot.gain[:, :, order],
        cell=slot.cell[order],
        tasks=Tasks(tasks.size_bit[:, order], tasks.cycles[:, order], tasks.deadline_s[:, order]),
        devices=replace(
            devices,
            user_hz=devices.user_hz[:, order],
            user_j_per_cycle=devices.user_j_per_cycle[:, order],
        ),
        held=slot.held[:, order],
    )
    found = observe(mixed, RADIO)
    torch.testing.assert_close(found.node, seen.node[:, order])
    torch.testing.assert_close(found.edge_weight, seen.edge_weight[:, order][:, :, order])
    # New site 0 is old site 2, and so on.
    sites = torch.tensor([2, 0, 1])
    renamed = replace(
        slot,
        gain=slot.gain[..., sites],
        cell=sites.argsort()[slot.cell],
        devices=replace(
            devices,
            server_hz=devices.server_hz[:, sites],
            server_j_per_cycle=devices.server_j_per_cycle[:, sites],
        ),
        interference_w=slot.interference_w[..., sites],
    )
    found = observe(renamed, RADIO)
    torch.testing.assert_close(found.node, seen.node)
    torch.testing.assert_close(found.edge_weight, seen.edge_weight)


def test_sites_see_nothing_of_other_cells_but_interference() -> None:
    slot = _slot_by_hand()
    # All that belongs to user 1 of cell 0 changes, and what others are heard with elsewhere.
    gain, size_bit = slot.gain.clone(), slot.tasks.size_bit.clone()
    gain[:, :, 1] *= 3.0
    gain[:, :, [0, 2], 0] *= 5.0
    size_bit[:, 1] *= 2.0
    changed = replace(slot, gain=gain, tasks=replace(slot.tasks, size_bit=size_bit))
    before, after = (observe(one, Radio(num_channels=2)) for one in (slot, changed))
    assert torch.equal(before.node[:, [0, 2]], after.node[:, [0, 2]])
    assert torch.equal(before.edge_weight, after.edge_weight)
    assert not torch.equal(before.node[:, 1], after.node[:, 1])


def test_episodes_are_truncated_and_never_terminate() -> None:
    environment = _environment(num_steps=3)
    environment.reset(2, generator(0))
    answers = [environment.step(_decide(environment, number)) for number in range(3)]
    assert [answer.truncated.tolist() for answer in answers] == [[False] * 2] * 2 + [[True] * 2]
    assert not any(bool(answer.terminated.any()) for answer in answers)


@pytest.mark.parametrize("networks", [drop_small_cells, _with_an_empty_cell])
def test_everything_is_finite_over_twenty_steps(networks: Any) -> None:
    environment = Offloading(networks, num_steps=20, reward="local")
    graph = environment.reset(3, generator(0))
    num_users, num_cells = environment.cells.num_users, environment.cells.num_cells
    for number in range(20):
        assert graph.node.shape == (3, num_users, 16, NUM_FEATURES)
        assert graph.edge_weight.shape == (3, num_users, num_users)
        assert bool(graph.node.isfinite().all())
        assert float(graph.node.abs().max()) < 20.0
        assert bool(graph.edge_weight.isfinite().all())
        name = ("random", "full offloading", "local computing")[number % 3]
        answer = environment.step(_decide(environment, number, name))
        assert answer.reward.shape == (3, num_cells)
        assert bool(answer.reward.isfinite().all())
        # No transmission takes more than 1.5 deadlines at 0.2 W.
        assert float(answer.reward.abs().max()) < 60.0
        graph = answer.observation


def test_a_fixed_network_serves_any_batch() -> None:
    environment = _environment(networks=_with_an_empty_cell)
    graph = environment.reset(7, generator(0))
    assert graph.node.shape == (7, 5, 4, NUM_FEATURES)
    assert not torch.equal(graph.node[0], graph.node[1])
    answer = environment.step(_decide(environment, 0))
    assert answer.reward.shape == (7, 3)
    assert answer.info.value.shape == (7, 5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_steps": 0}, "`num_steps` must be an integer >= 1, got 0"),
        ({"num_steps": 2.5}, "`num_steps` must be an integer >= 1, got 2.5"),
        ({"reward": "sum"}, r"`reward` must be one of \('cooperative', 'local'\), got 'sum'"),
        ({"revenue": 0.0}, "`revenue` must be finite and > 0, got 0.0"),
        ({"revenue": math.inf}, "`revenue` must be finite and > 0, got inf"),
        ({"patience": 0.99}, "`patience` must be >= 1, got 0.99"),
        ({"patience": math.nan}, "`patience` must be >= 1, got nan"),
    ],
)
def test_settings_that_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _environment(**changed)


def test_steps_and_batches_that_are_refused() -> None:
    environment = _environment()
    ones = torch.ones(2, 6)
    same = Decision(ones, torch.zeros(2, 6, dtype=torch.long), 0.1 * ones, 0.5 * ones)
    with pytest.raises(ValueError, match="`step` must follow a reset, got 'none'"):
        environment.step(same)
    with pytest.raises(ValueError, match="`batch` must be an integer >= 1, got 0"):
        environment.reset(0, generator(0))
    environment.reset(2, generator(0))
    with pytest.raises(ValueError, match="`channel` must be given to at most one user of a cell"):
        environment.step(same)
    with pytest.raises(ValueError, match=r"`power_w` must lie in \[0, 0.199\d+\], got"):
        environment.step(replace(same, power_w=0.2 * ones))
