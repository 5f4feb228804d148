"""Episodes of spectrum allocation and what is learned of them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.models.spectrum import PolicyShape
from metagnn.ppo import PPOSettings
from metagnn.spectrum_episode import Episode, collect, lesson, losses, see
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.spectrum_allocation.environment import Action
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily

SETTINGS = PPOSettings(discount=0.9, gae_lambda=0.8, entropy_weight=0.03)
PLACE = SpectrumPlace(ScenarioFamily(num_nodes=3, num_users=4), num_bands=2, num_steps=5)


def _policy(memory: str, kind: str = "graph") -> Any:
    torch.manual_seed(0)
    shape = PolicyShape(kind=kind, memory=memory, hidden_channels=(8, 8), num_heads=2)  # type: ignore[arg-type]
    policy: Any = PLACE.policy(shape)
    torch.nn.init.normal_(policy.levels.weight)
    return policy


def _episode(policy: Any, batch: int = 3, parameters: Any = None) -> Episode:
    environment = PLACE.environment()
    graph = environment.reset(batch, generator(0))
    seen = see(environment, graph, torch.zeros(batch), True)
    start = policy.start(seen)
    return collect(policy, environment, seen, start, generator(1), parameters)[0]


def test_what_is_seen_pools_the_links_of_each_agent() -> None:
    environment = PLACE.environment()
    graph = environment.reset(2, generator(0))
    seen = see(environment, graph, torch.tensor([0.5, 1.5]), True)
    assert seen.pool.shape == (2, 6, 6)
    for copy in range(2):
        for agent in range(6):
            own = [link for link in range(6) if int(environment.link_agent[copy, link]) == agent]
            wanted = torch.zeros(6)
            wanted[own] = 1.0 / max(1, len(own))
            torch.testing.assert_close(seen.pool[copy, agent], wanted)
    assert seen.feedback.tolist() == [[0.5, 1.0], [1.5, 1.0]]


@pytest.mark.parametrize("memory", ["none", "recurrent", "attention"])
def test_an_episode_is_what_happens_step_by_step(memory: str) -> None:
    policy = _policy(memory)
    found = _episode(policy)
    environment = PLACE.environment()
    graph = environment.reset(3, generator(0))
    seen, levels = see(environment, graph, torch.zeros(3), True), generator(1)
    held = policy.start(seen)
    for time in range(5):
        choice, value, held = policy(seen, held)
        level = choice.sample(levels)
        step = environment.step(Action(level.view(3, 3, 2, 2)))
        assert torch.equal(found.level[time], level)
        torch.testing.assert_close(found.value[time], value)
        torch.testing.assert_close(found.log_prob[time], choice.log_prob(level))
        assert torch.equal(found.reward[time], step.reward[:, 0])
        assert torch.equal(found.seen.graph.node[time], seen.graph.node)
        seen = see(environment, step.observation, step.reward[:, 0], False)
        after = policy(seen, held)[1]
        torch.testing.assert_close(found.next_value[time], after)
    assert found.truncated[:, 0].tolist() == [False] * 4 + [True]


def test_what_a_policy_learns_begins_where_it_acted() -> None:
    """Ratios are 1 at first, with a memory too."""
    for memory in ("none", "recurrent", "attention"):
        policy = _policy(memory)
        found = losses(policy, lesson(_episode(policy), SETTINGS, own=False), SETTINGS)
        assert float(found["approximate_kl"].detach().abs().max()) < 1e-6
        assert float(found["clip_fraction"].max()) == 0.0


def test_losses_by_plain_loops() -> None:
    policy = _policy("none")
    episode = _episode(policy)
    learned = lesson(episode, SETTINGS, own=False)
    with torch.no_grad():
        policy.levels.bias += torch.randn(policy.levels.bias.shape, generator=generator(2))
    found = losses(policy, learned, SETTINGS)
    choice, value = policy.sequence(episode.seen, episode.memory)
    shares = choice.logits.softmax(-1)
    for network in range(3):
        objective, entropy, errors = [], [], []
        for time in range(5):
            errors.append((learned.returns[time, network] - value[time, network]) ** 2)
            of_choices: list[tuple[Tensor, Tensor]] = []
            for agent in range(6):
                if float(episode.seen.pool[time, network, agent].sum()) == 0.0:
                    continue
                for band in range(2):
                    p = shares[time, network, agent, band]
                    level = int(episode.level[time, network, agent, band])
                    ratio = p[level] / episode.log_prob[time, network, agent, band].exp()
                    a = learned.advantage[time, network]
                    clipped = torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a)
                    of_choices.append((clipped, -(p * p.log()).sum()))
            objective.append(torch.stack([c for c, _ in of_choices]).mean())
            entropy.append(torch.stack([e for _, e in of_choices]).mean())
        parts = (torch.stack(errors).mean(), torch.stack(objective).mean())
        wanted = 0.5 * parts[0] - parts[1] - 0.03 * torch.stack(entropy).mean()
        torch.testing.assert_close(found["loss"][network], wanted)


def test_advantages_are_of_rewards_per_slot_and_go_on_beyond_the_cut() -> None:
    policy = _policy("none")
    episode = _episode(policy)
    settings = PPOSettings(discount=0.9, gae_lambda=1.0, normalise=False)
    learned = lesson(episode, settings, own=False)
    total = episode.next_value[-1]
    for time in reversed(range(5)):
        total = 0.1 * episode.reward[time] + 0.9 * total
        torch.testing.assert_close(learned.returns[time], total)


def test_own_advantages_are_normalised_network_by_network() -> None:
    episode = _episode(_policy("none"))
    own = lesson(episode, SETTINGS, own=True).advantage
    torch.testing.assert_close(own.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(own.std(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)
    together = lesson(episode, SETTINGS, own=False).advantage
    assert abs(float(together.mean())) < 1e-5
    assert float(together.mean(0).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", ["graph", "flat"])
def test_networks_with_parameters_of_their_own_learn_alone(kind: str) -> None:
    policy = _policy("none", kind)
    source = generator(3)
    own = {
        name: value.detach() + 0.1 * torch.randn(3, *value.shape, generator=source)
        for name, value in policy.named_parameters()
    }
    for value in own.values():
        value.requires_grad_()
    episode = _episode(policy, parameters={n: v.detach() for n, v in own.items()})
    learned = lesson(episode, SETTINGS, own=True)
    together = losses(policy, learned, SETTINGS, own)["loss"]
    gradients = torch.autograd.grad(together.sum(), list(own.values()))
    for network in range(3):
        with torch.no_grad():
            for name, value in policy.named_parameters():
                value.copy_(own[name][network])
        alone = losses(policy, learned.of(torch.tensor([network])), SETTINGS)["loss"].sum()
        torch.testing.assert_close(together[network], alone)
        mine = torch.autograd.grad(alone, list(policy.parameters()))
        for one, stacked in zip(mine, gradients, strict=True):
            torch.testing.assert_close(stacked[network], one, atol=1e-5, rtol=1e-3)
