"""Episodes of spectrum allocation and what is learned of them."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from metagnn.graphs.randomness import generator
from metagnn.models.spectrum import PolicyShape
from metagnn.ppo import PPOSettings
from metagnn.spectrum_episode import Episode, action_of, collect, see
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.spectrum_allocation.advice import told, told_worth
from metagnn.tasks.spectrum_allocation.environment import Action
from metagnn.tasks.spectrum_allocation.observation import Edges
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily
from metagnn.tasks.spectrum_allocation.search import contest, differential_backlog_bit

SETTINGS = PPOSettings(discount=0.9, gae_lambda=0.8, entropy_weight=0.03)
PLACE = SpectrumPlace(ScenarioFamily(num_nodes=3, num_users=4), Radio(num_bands=2), num_steps=5)


def _policy(memory: str, kind: str = "graph") -> Any:
    torch.manual_seed(0)
    shape = PolicyShape(kind=kind, memory=memory, hidden_channels=(8, 8), num_heads=2)  # type: ignore[arg-type]
    policy: Any = PLACE.policy(shape)
    for head in (policy.powers, policy.off):
        torch.nn.init.normal_(head.weight)
    return policy


def _episode(
    policy: Any, batch: int = 3, parameters: Any = None, with_alternatives: bool = False
) -> Episode:
    environment = PLACE.environment()
    graph = environment.reset(batch, generator(0))
    seen = see(environment, graph, torch.zeros(batch), True)
    start = policy.start(seen)
    levels = generator(1)
    return collect(policy, environment, seen, start, levels, parameters, with_alternatives)[0]


def _two(policy: Any, batch: int = 3) -> list[Episode]:
    """Two episodes of the same scenarios, one after the other."""
    environment = PLACE.environment()
    environment.reset(batch, generator(0))
    found: list[Episode] = []
    memory, reward = None, torch.zeros(batch)
    for number in range(2):
        graph = environment.reset_episode(generator(6, number))
        seen = see(environment, graph, reward, True)
        memory = policy.start(seen) if memory is None else memory
        source = generator(7, number)
        one, memory = collect(policy, environment, seen, memory, source, None, True)
        found.append(one)
        reward = one.reward[-1]
    return found


def test_what_is_seen_is_what_the_environment_offers() -> None:
    environment = PLACE.environment()
    environment.reset(2, generator(0))
    graph = environment.step(Action(torch.zeros_like(environment.state.level))).observation
    seen = see(environment, graph, torch.tensor([0.5, 1.5]), True)
    assert torch.equal(seen.offer, environment.scheduler().offer())
    assert bool((seen.left == 1.0).all())
    assert seen.offer.shape == (2, 6, 2)
    assert torch.equal(seen.sender, environment.link_agent)
    assert seen.feedback.tolist() == [[0.5, 1.0], [1.5, 1.0]]
    assert see(environment, graph, torch.zeros(2), False).feedback.tolist() == [[0.0, 0.0]] * 2


def test_actions_of_choices_by_hand() -> None:
    # Two nodes on three bands, two powers.
    level = action_of(torch.tensor([[[0, 1, 2], [3, 4, 0]]]), 2).level
    assert level.shape == (1, 2, 2, 3)
    assert level[0].tolist() == [[[0, 1, 2], [0, 0, 0]], [[0, 0, 0], [1, 2, 0]]]


@pytest.mark.parametrize(("edges", "is_told"), [("interference", True), ("topology", False)])
def test_worths_follow_from_gains_that_are_told(edges: Edges, is_told: bool) -> None:
    place = replace(PLACE, edges=edges)
    environment = place.environment()
    graph = environment.reset(3, generator(0))
    seen = see(environment, graph, torch.zeros(3), True)
    assert not bool(seen.worth.any())
    policy = _policy("none")
    found, _ = collect(policy, environment, seen, policy.start(seen), generator(1))
    assert bool((found.seen.worth > 0.0).any()) == is_told


@pytest.mark.parametrize("memory", ["none", "recurrent", "attention"])
def test_an_episode_is_what_happens_step_by_step(memory: str) -> None:
    policy = _policy(memory)
    found = _episode(policy)
    environment = PLACE.environment()
    graph = environment.reset(3, generator(0))
    seen, levels = see(environment, graph, torch.zeros(3), True), generator(1)
    held = policy.start(seen)
    for time in range(5):
        before, (x, held) = held, policy.think(seen, held)
        scheduler, drawn = environment.scheduler(), []
        waiting = scheduler.left_bit.clamp(min=1.0)
        known = told(environment.state, environment.radio)
        backlog = differential_backlog_bit(environment.state)
        for band in range(2):
            # The scheduler has taken off what earlier bands would send.
            link = scheduler.offer_on(band)
            assert torch.equal(found.seen.offer[time, ..., band], link)
            left = (scheduler.left_bit / waiting).gather(1, link.clamp(min=0)).float()
            torch.testing.assert_close(found.seen.left[time, ..., band], left)
            place = (known, environment.radio, band, link, scheduler.left_bit, backlog)
            worth = told_worth(contest(*place))
            assert torch.equal(found.seen.worth[time, ..., band, :], worth)
            here = slice(band, band + 1)
            choice, _ = policy.decide(x, found.seen[time], here)
            chosen = choice.sample(levels)
            torch.testing.assert_close(found.log_prob[time, ..., here], choice.log_prob(chosen))
            power_w = environment.radio.power_w(action_of(chosen, 4).level)
            scheduler.take(band, link, power_w.flatten(1))
            drawn.append(chosen)
        chosen = torch.cat(drawn, dim=-1)
        assert torch.equal(found.choice[time], chosen)
        torch.testing.assert_close(found.value[time], policy(found.seen[time], before)[1])
        step = environment.step(action_of(chosen, 4))
        assert torch.equal(found.reward[time], step.reward[:, 0])
        assert torch.equal(found.band_reward[time], step.info.band_reward)
        assert torch.equal(found.seen.graph.node[time], seen.graph.node)
        seen = see(environment, step.observation, step.reward[:, 0], False)
        later = found.seen[time + 1] if time < 4 else seen
        torch.testing.assert_close(found.next_value[time], policy(later, held)[1])
    assert found.truncated[:, 0].tolist() == [False] * 4 + [True]


def test_episodes_follow_each_other() -> None:
    first, second = _two(_policy("recurrent"))
    before = first.next_value.clone()
    both = first.then(second)
    assert torch.equal(both.reward, torch.cat([first.reward, second.reward]))
    assert torch.equal(both.seen.offer[5:], second.seen.offer)
    assert torch.equal(both.seen.feedback[5], second.seen.feedback[0])
    assert both.seen.feedback[5].tolist() == [[float(r), 1.0] for r in first.reward[-1]]
    assert torch.equal(both.memory.state, first.memory.state)
    assert both.steps == first.steps + second.steps
    # The first slot of the second follows the last of the first.
    assert torch.equal(both.next_value[4], second.value[0])
    assert not torch.equal(both.next_value[4], first.next_value[4])
    assert torch.equal(both.next_value[:4], first.next_value[:4])
    assert torch.equal(both.next_value[5:], second.next_value)
    assert both.truncated[:, 0].tolist() == [False] * 9 + [True]
    # The episodes themselves are as they were; a third may follow.
    assert torch.equal(first.next_value, before)
    assert bool(first.truncated[-1].all())
    assert both.then(second).truncated[:, 0].nonzero().flatten().tolist() == [14]
