"""Spectrum allocation as an environment: conservation, rewards, episodes, failures, graphs."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.tasks.environment import Step
from metagnn.tasks.spectrum_allocation.environment import (
    NUM_FEATURES,
    NUM_PER_BAND,
    Action,
    Outcome,
    SpectrumAllocation,
)
from metagnn.tasks.spectrum_allocation.metrics import episode_metrics
from metagnn.tasks.spectrum_allocation.observation import Edges
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.scenario import MAX_LOAD_MBIT_S, ScenarioFamily

FAMILY = ScenarioFamily(num_users=5)


def _environment(batch: int = 8, seed: int = 1, **changed: Any) -> SpectrumAllocation:
    environment = SpectrumAllocation(**{"family": FAMILY, **changed})
    environment.reset(batch, generator(seed))
    return environment


def _random(environment: SpectrumAllocation, source: torch.Generator) -> Action:
    shape = environment.state.level.shape
    return Action(torch.randint(environment.radio.num_levels + 1, shape, generator=source))


def _off(environment: SpectrumAllocation) -> Action:
    return Action(torch.zeros_like(environment.state.level))


def _run(environment: SpectrumAllocation, num: int, seed: int = 9) -> list[Step[Outcome]]:
    source = generator(seed)
    return [environment.step(_random(environment, source)) for _ in range(num)]


def _taken_in_turn(environment: SpectrumAllocation) -> Action:
    """Every slot another agent has all bands, those without links left out."""
    mask = environment.agent_mask.flatten(1)
    count = mask.sum(-1, keepdim=True)
    on = ((mask.cumsum(-1) - 1) == environment.state.slot % count) & mask
    level = 4 * on.long().unsqueeze(-1).expand(-1, -1, 5)
    return Action(level.reshape(environment.state.level.shape))


def test_bits_are_conserved_at_every_step() -> None:
    # Small buffers, so that some are dropped.
    environment = _environment(family=replace(FAMILY, buffer_bit=300_000), num_steps=60)
    offered, gone, dropped = 0.0, 0.0, 0.0
    source = generator(2)
    for _ in range(60):
        outcome = environment.step(_random(environment, source)).info
        offered = offered + outcome.offered_bit
        gone = gone + outcome.delivered_bit + outcome.dropped_bit
        dropped += float(outcome.dropped_bit.sum())
        assert torch.equal(offered, gone + environment.state.queue_bit.sum(1))
        off_path = environment.state.queue_bit[~environment.scenarios.networks.on_path]
        assert float(off_path.abs().max()) == 0.0
    assert dropped > 0


def test_equal_seeds_give_equal_numbers_at_every_step() -> None:
    first, second, other = (_environment(seed=seed) for seed in (3, 3, 4))
    assert not torch.equal(first.state.gain, other.state.gain)
    answers = [_run(one, 15) for one in (first, second)]
    for one, two in zip(*answers, strict=True):
        assert torch.equal(one.observation.node, two.observation.node)
        assert torch.equal(one.observation.edge_weight, two.observation.edge_weight)
        assert torch.equal(one.reward, two.reward)
        assert torch.equal(one.info.offered_bit, two.info.offered_bit)


def test_a_new_episode_keeps_the_scenario() -> None:
    environment = _environment(num_steps=25)
    scenarios, gain = environment.scenarios, environment.state.gain
    mean_gain = environment.state.mean_gain
    agents = environment.link_agent
    last = _run(environment, 25)[-1]
    assert bool(last.truncated.all())
    assert not bool(last.terminated.any())
    with pytest.raises(ValueError, match=r"`step` must come before the end .* 25 steps, got 25"):
        environment.step(_off(environment))
    graph = environment.reset_episode(generator(77))
    assert environment.scenarios is scenarios
    assert torch.equal(environment.link_agent, agents)
    assert torch.equal(environment.state.mean_gain, mean_gain)
    assert not torch.equal(environment.state.gain, gain)
    assert float(environment.state.queue_bit.sum()) == 0.0
    assert bool(environment.state.alive.all())
    assert environment.state.slot == 0
    # Of the past there is nothing; then come codes of the bands.
    assert float(graph.node[..., 2:7].abs().max()) == 0.0
    assert float(environment.state.heard.level_w.abs().max()) == 0.0
    assert int(environment.state.heard.free_slots.max()) == 0
    assert bool((environment.scheduler().offer() == -1).all())
    first = _run(environment, 25)
    environment.reset_episode(generator(77))
    second = _run(environment, 25)
    assert torch.equal(first[-1].observation.node, second[-1].observation.node)
    environment.reset_episode(generator(78))
    third = _run(environment, 25)
    assert not torch.equal(first[5].info.offered_bit, third[5].info.offered_bit)
    assert not bool(third[-2].truncated.any())


def test_switching_off_is_a_violation_and_no_saving() -> None:
    environment = _environment(num_steps=70, family=replace(FAMILY, failure_share=0.0))
    steps = [environment.step(_off(environment)) for _ in range(70)]
    # Something waits at the donor for every link that it feeds.
    networks = environment.scenarios.networks
    fed = (networks.transmitter == 0) & networks.users_behind.any(-1)
    for step in steps[45:]:
        assert torch.equal(step.info.starved, fed)
        assert torch.equal(step.info.sinr_violation, fed.float())
        assert float(step.info.failed.max()) == 0.0
        assert float(step.info.delivered_bit.sum()) == 0.0
    for step in steps:
        late, lost = step.info.age > 50, step.info.dropped_bit > 0
        assert torch.equal(step.info.latency_violation, late | lost)
    assert int(steps[50].info.age.max()) <= 50
    assert bool((steps[-1].info.age > 50).all())
    assert bool((steps[40].info.dropped_bit > 0).any())
    share = fed.float().mean(-1, keepdim=True)
    torch.testing.assert_close(steps[-1].reward, (-0.5 * share - 0.5).expand(-1, 3))
    quiet = replace(FAMILY, failure_share=0.0, incumbent_share=0.0)
    busy = _environment(num_steps=70, family=quiet)
    served = [busy.step(_taken_in_turn(busy)) for _ in range(70)]
    assert bool((served[-1].info.age.sum(-1) < steps[-1].info.age.sum(-1)).all())
    assert float(served[-1].reward.mean()) > float(steps[-1].reward.mean()) + 0.5
    assert float(served[-1].info.latency_violation.float().mean()) < 0.3


def test_the_reward_is_its_formula() -> None:
    environment = _environment(sinr_weight=0.2, latency_weight=0.7)
    for step in _run(environment, 20):
        outcome = step.info
        for copy in range(8):
            load_bit = 0.01 * float(environment.scenarios.load_bit_s[copy].sum())
            wanted = float(outcome.delivered_bit[copy].sum()) / load_bit
            wanted -= 0.2 * sum(outcome.sinr_violation[copy].tolist()) / 7
            wanted -= 0.7 * sum(outcome.latency_violation[copy].tolist()) / 5
            assert step.reward[copy].tolist() == pytest.approx([wanted] * 3, abs=1e-5)


def test_bits_move_where_a_link_is_served() -> None:
    environment = _environment()
    for _ in range(30):
        before = environment.state
        outcome = environment.step(_random(environment, generator(4, before.slot))).info
        served = (outcome.sinr >= environment.radio.sinr_min).any(-1)
        assert torch.equal(outcome.moved_bit > 0, (before.link_queue_bit > 0) & served)


def test_levels_of_roles_without_links_are_ignored() -> None:
    environments = [_environment() for _ in range(2)]
    without = ~environments[0].agent_mask.unsqueeze(-1)
    assert bool(without.any())
    for number in range(10):
        level = _random(environments[0], generator(5, number)).level
        one = environments[0].step(Action(level))
        other = environments[1].step(Action(level.masked_fill(without, 0)))
        assert torch.equal(one.reward, other.reward)
        assert torch.equal(one.info.sinr, other.info.sinr)


@pytest.mark.parametrize("load_mbit_s", [200.0, MAX_LOAD_MBIT_S])
def test_an_overload_is_bounded_and_said(load_mbit_s: float) -> None:
    family = replace(FAMILY, load_mbit_s=(load_mbit_s, load_mbit_s))
    environment = _environment(family=family, num_steps=40)
    steps = _run(environment, 40)
    assert float(environment.state.queue_bit.max()) <= family.buffer_bit
    assert bool((steps[-1].info.dropped_bit.sum(-1) > 0).all())
    assert bool(steps[-1].observation.node.isfinite().all())
    found = episode_metrics(steps, environment.radio.slot_s)
    assert all(bool(column.isfinite().all()) for column in vars(found).values())
    # What found no room is late.
    assert float(found.latency_violation.min()) > 0.5


def test_a_node_fails_and_returns() -> None:
    family = replace(FAMILY, failure_share=1.0, failure_max=0.2, failure_slots=(4, 6))
    environment = _environment(batch=20, family=family, num_steps=60)
    environment.scenarios.failure.fill_(0.1)
    receiver = environment.scenarios.networks.receiver
    alive, lasted = [], []
    for _ in range(60):
        state = environment.state
        alive.append(state.alive)
        outcome = environment.step(_taken_in_turn(environment)).info
        sender = state.alive.gather(1, state.networks.transmitter)
        dead = ~sender | (~state.alive[:, receiver.clamp(min=0)] & (receiver >= 0))
        assert float(outcome.moved_bit[dead].abs().max() if bool(dead.any()) else 0.0) == 0.0
        assert not bool(outcome.sinr_violation[dead].any())
        offer = environment.scheduler().offer()
        assert bool((offer[~environment.state.alive.repeat_interleave(2, 1)] < 0).all())
    history = torch.stack(alive)
    assert bool(history[..., 0].all())
    assert bool(history[0].all())
    for node in history[:, :, 1:].flatten(1).T.tolist():
        runs = "".join("1" if works else "0" for works in node).split("1")
        # The last may be cut off.
        lasted += [len(run) for run in runs[:-1] if run]
    assert set(lasted) == {4, 5, 6}
    assert 0.2 < float((~history[20:, :, 1:]).float().mean()) < 0.5


def test_loads_are_those_of_the_scenario() -> None:
    quiet = replace(FAMILY, failure_share=0.0, load_switch=0.3)
    environment = _environment(batch=200, family=quiet)
    steps = [environment.step(_off(environment)) for _ in range(60)]
    offered = torch.stack([step.info.offered_bit for step in steps])
    wanted = 0.01 * environment.scenarios.load_bit_s.double()
    assert float(offered.mean(0).sum() / wanted.sum()) == pytest.approx(1.0, abs=0.02)
    assert bool((offered % 12_000 == 0).all())
    # Two states of 0.5 and 1.5 times the mean make the arrivals more than Poisson.
    packets, mean = offered / 12_000, wanted / 12_000
    excess = ((packets - mean).square() - mean).mean() / mean.square().mean()
    assert float(excess) == pytest.approx(0.25, abs=0.06)


def test_averages_follow_what_links_carry() -> None:
    environment = _environment(batch=8)
    average = torch.zeros(8, 7, dtype=torch.float64)
    for step in _run(environment, 30):
        average = 0.95 * average + 0.05 * step.info.moved_bit
    torch.testing.assert_close(environment.state.average_bit, average)


def test_observations_are_finite_and_of_order_one() -> None:
    environment = _environment(batch=64, family=ScenarioFamily())
    node = torch.stack([step.observation.node for step in _run(environment, 40)[::4]])
    assert node.shape == (10, 64, 12, 5, NUM_FEATURES)
    assert node.dtype == torch.float32
    assert bool(node.isfinite().all())
    flat = node.flatten(0, -2)
    assert float(flat.abs().amax()) < 10.0
    assert bool((flat.std(0) > 0.05).all())
    # What does not differ between bands does not.
    rest = node[..., NUM_PER_BAND:]
    assert torch.equal(rest, rest[..., :1, :].expand_as(rest))


def test_features_by_hand() -> None:
    environment = _environment(batch=16)
    _run(environment, 30)
    state, node = environment.state, environment.observation().node
    networks, radio = state.networks, environment.radio
    for copy in range(16):
        for link in range(7):
            sender = int(networks.transmitter[copy, link])
            behind = networks.users_behind[copy, link]
            load_bit = max(float(state.load_bit[copy][behind].sum()), 1.0)
            role = int(link < 2)
            held = state.queue_bit[copy, sender][behind].sum()
            further = state.queue_bit[copy, link + 1][behind].sum() if link < 2 else 0.0
            age = state.age[copy, sender][behind].max() if bool(behind.any()) else 0
            oldest = state.age[copy][:, behind].max() if bool(behind.any()) else 0
            wanted = [
                math.log1p(float(held) / load_bit),
                math.log1p(float(further) / load_bit),
                int(age) / 50,
                int(oldest) / 50,
                role,
                int(networks.depth[copy, sender]),
                int(behind.sum()) / 5,
                math.log1p(float(state.moved_bit[copy, link]) / load_bit),
                min(int(state.unserved[copy, link]) / 20, 2),
                int(state.alive[copy, sender])
                * (1 if link > 1 else int(state.alive[copy, link + 1])),
            ]
            assert node.shape[-1] == NUM_FEATURES == NUM_PER_BAND + len(wanted)
            assert node[copy, link, 0, NUM_PER_BAND:].tolist() == pytest.approx(wanted, abs=1e-5)
            for band in range(5):
                snr = state.gain[copy, band, sender, link] * radio.power_max_w / radio.noise_w
                inr = state.reported_w[copy, link, band] / radio.noise_w
                found = node[copy, link, band]
                assert float(found[0]) == pytest.approx(math.log10(float(snr)), abs=1e-4)
                assert bool(found[2]) == bool(state.sent[copy, link, band])
                assert float(found[3]) == pytest.approx(math.log10(1 + float(inr)), abs=1e-4)
                assert bool(found[4]) == bool(state.served[copy, link, band])
                assert float(found[5]) == int(state.level[copy, sender, role, band]) / 4
                angle = 2 * math.pi * band / 5
                code = [f(turn * angle) for turn in (1, 2) for f in (math.cos, math.sin)]
                assert found[7:11].tolist() == pytest.approx(code, abs=1e-5)
                decades = [
                    math.log10(1 + value / radio.noise_w)
                    for value in (
                        float(state.explained_w[copy, link, band]),
                        float(state.heard.level_w[copy, link, band]),
                    )
                ]
                assert found[11:13].tolist() == pytest.approx(decades, abs=1e-4)
                assert float(found[13]) == int(state.heard.free_slots[copy, band]) / 16
    assert [float(node[..., place].max()) > 0.9 for place in (11, 12, 13)] == [True] * 3
    assert not torch.equal(state.sent, state.served)
    torch.testing.assert_close(node[..., 1], node[..., 0] - node[..., 0].mean(-1, keepdim=True))
    # The heaviest link of each agent that has something to send has weight 1.
    link = environment.link_agent.unsqueeze(-1).expand(-1, -1, 5)
    heaviest = torch.zeros(16, 6, 5).scatter_reduce(1, link, node[..., 6], "amax")
    waiting = (state.link_queue_bit * state.usable).unsqueeze(1) * networks.agent_links
    reaches = state.snr(radio) >= radio.sinr_min
    has = ((waiting > 0).unsqueeze(-1) & reaches.unsqueeze(1)).any(2)
    assert not bool(reaches.all())
    assert torch.equal(heaviest, has.float())


def _edges(edges: str) -> tuple[SpectrumAllocation, Tensor]:
    environment = _environment(batch=30, edges=edges)
    return environment, environment.observation().edge_weight


def test_edges_join_what_one_node_knows() -> None:
    environment, weight = _edges("topology")
    networks = environment.scenarios.networks
    for copy in range(30):
        sender, receiver = networks.transmitter[copy].tolist(), networks.receiver.tolist()
        for i in range(7):
            for k in range(7):
                joined = sender[i] == sender[k] or receiver[i] == sender[k]
                joined = (joined or receiver[k] == sender[i]) and i != k
                assert float(weight[copy, i, k]) == (0.25 if joined else 0.0)


def test_edges_of_interference_have_its_direction() -> None:
    environment, weight = _edges("interference")
    networks, radio = environment.scenarios.networks, environment.radio
    for copy in range(30):
        for i in range(7):
            for k in range(7):
                sender = int(networks.transmitter[copy, i])
                gain = float(environment.state.mean_gain[copy, sender, k])
                if i == k:
                    wanted = 0.0
                elif sender == int(networks.receiver[k]):
                    wanted = 0.25
                else:
                    inr_db = 10 * math.log10(gain * radio.power_max_w / radio.noise_w)
                    wanted = 0.25 / (1 + math.exp(-(inr_db - 10) / 10))
                assert float(weight[copy, i, k]) == pytest.approx(wanted, abs=1e-4)
    assert float(_edges("none")[1].abs().max()) == 0.0


def test_edges_of_interference_follow_the_users() -> None:
    environment, before = _edges("interference")
    _run(environment, 9)
    assert torch.equal(environment.observation().edge_weight, before)
    _run(environment, 1)
    assert not torch.equal(environment.observation().edge_weight, before)


def test_agents_of_links() -> None:
    environment = _environment(batch=40)
    networks = environment.scenarios.networks
    for copy in range(40):
        mask = torch.zeros(3, 2, dtype=torch.bool)
        for link in range(7):
            node, role = int(networks.transmitter[copy, link]), int(link < 2)
            assert int(environment.link_agent[copy, link]) == 2 * node + role
            mask[node, role] = True
        assert torch.equal(environment.agent_mask[copy], mask)


@pytest.mark.parametrize("nodes", [1, 5])
def test_other_sizes_and_real_trees(nodes: int) -> None:
    family = ScenarioFamily(nodes, 3, "nycmesh" if nodes > 1 else "random")
    environment = _environment(family=family, radio=Radio(num_bands=2, power_levels_dbm=(20.0,)))
    step = _run(environment, 5)[-1]
    assert step.observation.node.shape == (8, nodes + 2, 2, NUM_FEATURES)
    assert step.reward.shape == (8, nodes)
    assert bool(step.observation.node.isfinite().all())


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"num_steps": 0}, "`num_steps` must be an integer >= 1, got 0"),
        ({"sinr_weight": -1.0}, "`sinr_weight` must be finite and >= 0, got -1.0"),
        ({"failure_weight": -1.0}, "`failure_weight` must be finite and >= 0, got -1.0"),
        ({"success_weight": -1.0}, "`success_weight` must be finite and >= 0, got -1.0"),
        ({"latency_weight": math.inf}, "`latency_weight` must be finite and >= 0, got inf"),
        ({"edges": "all"}, r"`edges` must be one of \('topology', .*, got 'all'"),
    ],
)
def test_environments_that_are_refused(changed: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        SpectrumAllocation(**changed)


def test_what_is_refused_of_steps_and_resets() -> None:
    environment = SpectrumAllocation(FAMILY)
    level = torch.zeros(8, 3, 2, 5, dtype=torch.long)
    with pytest.raises(ValueError, match="`step` must follow a reset"):
        environment.step(Action(level))
    with pytest.raises(ValueError, match="`reset_episode` must follow a reset"):
        environment.reset_episode(generator(0))
    with pytest.raises(ValueError, match="`batch` must be an integer >= 1, got 0"):
        environment.reset(0, generator(0))
    environment.reset(8, generator(0))
    with pytest.raises(
        ValueError, match=r"`level` must have shape \(8, 3, 2, 5\), got \(8, 3, 2\)"
    ):
        environment.step(Action(level[..., 0]))
    with pytest.raises(ValueError, match=r"`level` must be integers \(long\), got torch.float32"):
        environment.step(Action(level.float()))
    with pytest.raises(ValueError, match=r"`level` must be in \[0, 4\], got 5"):
        environment.step(Action(level + 5))
    with pytest.raises(ValueError, match=r"`level` must be in \[0, 4\], got -1"):
        environment.step(Action(level - 1))
    other = FAMILY.draw(2, 4, generator(0))
    with pytest.raises(ValueError, match="`scenarios` must have 5 bands, got 4"):
        environment.begin(other, generator(0))
    other = ScenarioFamily(num_users=6).draw(2, 5, generator(0))
    with pytest.raises(ValueError, match=r"`scenarios` must have \(3, 5\) .*, got \(3, 6\)"):
        environment.begin(other, generator(0))


@pytest.mark.parametrize("edges", ["topology", "none"])
def test_what_nodes_know_together_is_told_over_edges_of_interference_alone(edges: Edges) -> None:
    environment = SpectrumAllocation(edges=edges)
    environment.reset(4, generator(0))
    for number in range(5):
        shape = environment.state.level.shape
        level = torch.randint(5, shape, generator=generator(1, number))
        node = environment.step(Action(level)).observation.node
    assert not bool(node[..., 11:14].any())
    assert bool(node[..., 3].any())
