"""PettingZoo's own tests, equal seeds at every step, and the same numbers as the environment."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from pettingzoo.test import parallel_api_test, parallel_seed_test

from metagnn.graphs.randomness import generator
from metagnn.graphs.small_cells import SmallCells, drop_small_cells, melbourne_cells
from metagnn.pettingzoo_adapter import (
    ParallelChannelAssignment,
    ParallelOffloading,
    ParallelSpectrumAllocation,
)
from metagnn.tasks.channel_assignment.environment import Action, ChannelAssignment
from metagnn.tasks.channel_assignment.scenario import scenario
from metagnn.tasks.offloading.construction import construct, members
from metagnn.tasks.offloading.environment import Offloading
from metagnn.tasks.offloading.scenario import Radio
from metagnn.tasks.spectrum_allocation import environment as spectrum
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily


def _parallel(layout: Any = "channel", num_steps: int = 30) -> ParallelChannelAssignment:
    return ParallelChannelAssignment(
        ChannelAssignment(scenario("indoor"), 4, num_steps=num_steps, layout=layout)
    )


@pytest.mark.parametrize("layout", ["channel", "user"])
def test_pettingzoos_own_tests_pass(layout: str) -> None:
    parallel_api_test(_parallel(layout), num_cycles=200)
    parallel_seed_test(lambda: _parallel(layout), num_cycles=50)


def test_seeds_and_episodes_differ() -> None:
    env = _parallel()
    nodes = [env.reset(seed=seed)[0]["user_0"]["node"] for seed in (1, None, 2, 1)]
    assert not np.array_equal(nodes[0], nodes[1])
    assert not np.array_equal(nodes[0], nodes[2])
    np.testing.assert_array_equal(nodes[0], nodes[3])


def test_numbers_are_those_of_the_batched_environment() -> None:
    env = _parallel()
    seen, _ = env.reset(seed=5)
    batched = ChannelAssignment(scenario("indoor"), 4, num_steps=30)
    graph = batched.reset(1, generator(5, "pettingzoo", 0))
    for i, agent in enumerate(env.agents):
        np.testing.assert_array_equal(seen[agent]["node"], graph.node[0, i])
        np.testing.assert_array_equal(seen[agent]["incoming"], graph.edge_weight[0, :, i])
    power_dbm = [0.0, 10.0, 20.0, 24.0]
    actions = {
        f"user_{i}": {"channel": i, "power_dbm": np.array([p], np.float32)}
        for i, p in enumerate(power_dbm)
    }
    _, rewards, _, _, infos = env.step(actions)
    power_w = 10 ** ((torch.tensor([power_dbm]) - 30) / 10)
    step = batched.step(Action(torch.arange(4).unsqueeze(0), power_w))
    assert list(rewards.values()) == pytest.approx(step.reward[0].tolist())
    found = [info["energy_efficiency"] for info in infos.values()]
    assert found == pytest.approx(step.info.energy_efficiency[0].tolist())


def test_actions_that_are_refused() -> None:
    env = _parallel()
    with pytest.raises(ValueError, match="`step` must follow a reset"):
        env.step({})
    env.reset(seed=0)
    good = {agent: env.action_space(agent).sample() for agent in env.agents}
    with pytest.raises(ValueError, match=r"`actions\['user_2'\]` must lie in .*, got None"):
        env.step({agent: good[agent] for agent in env.agents if agent != "user_2"})
    bad = {**good, "user_1": {"channel": 10, "power_dbm": np.array([1.0], np.float32)}}
    with pytest.raises(ValueError, match=r"`actions\['user_1'\]` must lie in"):
        env.step(bad)


@pytest.mark.parametrize("make", ["_parallel", "_offloading", "_spectrum"])
def test_actions_of_unknown_agents_and_of_none_are_refused(make: str) -> None:
    env = globals()[make]()
    env.reset(seed=0)
    good = {agent: env.action_space(agent).sample() for agent in env.agents}
    first = env.agents[0]
    message = rf"`actions` must be of agents among \['{first}', .*, got \['nobody', 7\]"
    with pytest.raises(ValueError, match=message):
        env.step({**good, "nobody": good[first], 7: None})
    for wrong in (None, [good]):
        with pytest.raises(ValueError, match=r"`actions` must be actions by agent, got "):
            env.step(wrong)
    assert set(env.step(good)[0]) == set(good)


def _offloading(num_steps: int = 20, **changed: Any) -> ParallelOffloading:
    sizes = {"num_cells": 3, "users_per_cell": 2, **changed}
    networks = partial(drop_small_cells, **sizes)
    return ParallelOffloading(Offloading(networks, Radio(num_channels=3), num_steps=num_steps))


def test_pettingzoos_own_tests_pass_for_sites() -> None:
    parallel_api_test(_offloading(), num_cycles=100)
    parallel_seed_test(_offloading, num_cycles=30)


def _spectrum(num_steps: int = 12) -> ParallelSpectrumAllocation:
    family = ScenarioFamily(num_users=4)
    return ParallelSpectrumAllocation(spectrum.SpectrumAllocation(family, num_steps=num_steps))


def test_pettingzoos_own_tests_pass_for_nodes() -> None:
    parallel_api_test(_spectrum(), num_cycles=40)
    parallel_seed_test(_spectrum, num_cycles=20)


@pytest.mark.parametrize("make", [partial(_parallel, num_steps=120), _offloading, _spectrum])
def test_equal_seeds_are_equal_at_every_step(make: Any) -> None:
    first, second = make(), make()
    for seed in (3, None, 7):
        seen = [one.reset(seed=seed)[0] for one in (first, second)]
        for space in first._action_spaces.values():
            space.seed(0)
        _assert_same_observations(*seen)
        while first.agents:
            actions = {agent: first.action_space(agent).sample() for agent in first.agents}
            answers = [one.step(actions) for one in (first, second)]
            # Also those of the last step, after which there are no agents.
            _assert_same_observations(*(answer[0] for answer in answers))
            assert set(answers[0][0]) == set(first.possible_agents)
            assert answers[0][1:] == answers[1][1:]
        assert second.agents == []


def _assert_same_observations(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for agent, seen in one.items():
        assert seen.keys() == other[agent].keys()
        for key, value in seen.items():
            np.testing.assert_array_equal(value, other[agent][key])


def _melbourne(batch: int, source: torch.Generator) -> SmallCells:
    return melbourne_cells()


@pytest.mark.parametrize("real", [False, True])
def test_numbers_of_sites_are_those_of_the_batched_environment(real: bool) -> None:
    environment = Offloading(_melbourne) if real else Offloading(drop_small_cells)
    env = ParallelOffloading(environment)
    # Sites without users are no agents.
    assert len(env.possible_agents) == (120 if real else 6)
    env.reset(seed=5)
    batched = Offloading(_melbourne) if real else Offloading(drop_small_cells)
    batched.reset(1, generator(5, "pettingzoo", 0))
    actions = {agent: env.action_space(agent).sample() for agent in env.agents}
    users = members(batched.cells.cell, batched.cells.num_cells)
    columns: dict[str, Any] = {}
    for name, shape in {"ratio": (), "score": (16,), "power_dbm": (), "need": ()}.items():
        columns[name] = torch.zeros(1, batched.cells.num_users, *shape)
        for agent, action in actions.items():
            row = users[int(agent.removeprefix("site_"))]
            for user, value in zip(row[row >= 0].tolist(), action[name], strict=True):
                columns[name][0, user] = torch.as_tensor(value)
    power_w = 10 ** ((columns["power_dbm"] - 30) / 10)
    decision = construct(
        columns["ratio"],
        columns["score"],
        power_w.unsqueeze(-1).clamp(1e-6, 0.2),
        columns["need"],
        batched.cells.cell,
        batched.cells.num_cells,
    )
    wanted = batched.step(decision)
    _, rewards, _, _, infos = env.step(actions)
    for agent in actions:
        site = int(agent.removeprefix("site_"))
        assert rewards[agent] == pytest.approx(float(wanted.reward[0, site]), rel=1e-5)
        mine = batched.cells.cell == site
        energy_j = float(wanted.info.cost.energy_j[0, mine].sum())
        assert infos[agent]["energy_j"] == pytest.approx(energy_j, rel=1e-5)


def test_numbers_of_nodes_are_those_of_the_batched_environment() -> None:
    env = _spectrum()
    seen, _ = env.reset(seed=5)
    batched = spectrum.SpectrumAllocation(ScenarioFamily(num_users=4), num_steps=12)
    graph = batched.reset(1, generator(5, "pettingzoo", 0))
    networks = batched.scenarios.networks
    for _ in range(12):
        for number, agent in enumerate(env.possible_agents):
            for link in range(networks.num_links):
                ends = (int(networks.transmitter[0, link]), int(networks.receiver[link]))
                assert bool(seen[agent]["links"][link]) == (number in ends)
                unseen = torch.zeros(5, spectrum.NUM_FEATURES)
                wanted = graph.node[0, link] if number in ends else unseen
                np.testing.assert_array_equal(seen[agent]["node"][link], wanted)
            links = seen[agent]["links"].astype(bool)
            edges = graph.edge_weight[0].numpy() * links * links[:, None]
            np.testing.assert_array_equal(seen[agent]["edges"], edges)
        actions = {agent: env.action_space(agent).sample() for agent in env.agents}
        level = torch.tensor(np.stack([action["level"] for action in actions.values()]))
        step = batched.step(spectrum.Action(level.long().unsqueeze(0)))
        graph = step.observation
        seen, rewards, _, truncated, infos = env.step(actions)
        assert list(rewards.values()) == step.reward[0].tolist()
        delivered_bit = float(step.info.delivered_bit.sum())
        assert infos["node_0"]["delivered_bit"] == delivered_bit
        violation = float(step.info.sinr_violation.mean())
        assert infos["node_0"]["sinr_violation"] == pytest.approx(violation)
    assert all(truncated.values())
    assert env.agents == []


def test_levels_that_are_refused() -> None:
    env = _spectrum()
    env.reset(seed=0)
    good = {agent: env.action_space(agent).sample() for agent in env.agents}
    bad = {**good, "node_1": {"level": np.full((2, 5), 5)}}
    with pytest.raises(ValueError, match=r"`actions\['node_1'\]` must lie in"):
        env.step(bad)
