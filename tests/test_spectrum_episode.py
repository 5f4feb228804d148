"""Episodes of spectrum allocation and what is learned of them."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.randomness import generator
from metagnn.models.spectrum import PolicyShape
from metagnn.ppo import PPOSettings
from metagnn.spectrum_episode import (
    CREDITS,
    Credit,
    Episode,
    action_of,
    collect,
    lesson,
    losses,
    see,
)
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.spectrum_allocation.environment import Action
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily

SETTINGS = PPOSettings(discount=0.9, gae_lambda=0.8, entropy_weight=0.03)
PLACE = SpectrumPlace(ScenarioFamily(num_nodes=3, num_users=4), num_bands=2, num_steps=5)


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
        for band in range(2):
            # The scheduler has taken off what earlier bands would send.
            link = scheduler.offer_on(band)
            assert torch.equal(found.seen.offer[time, ..., band], link)
            left = (scheduler.left_bit / waiting).gather(1, link.clamp(min=0)).float()
            torch.testing.assert_close(found.seen.left[time, ..., band], left)
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


@pytest.mark.parametrize("kind", ["graph", "flat"])
@pytest.mark.parametrize("memory", ["none", "recurrent", "attention"])
def test_what_a_policy_learns_begins_where_it_acted(memory: str, kind: str) -> None:
    """Ratios are 1 at first, with a memory and over the end of an episode too."""
    policy = _policy(memory, kind)
    first, second = _two(policy)
    several = (first, second, first.then(second))
    for episode, credit in product(several, CREDITS):
        found = losses(policy, lesson(episode, SETTINGS, credit), SETTINGS)
        assert float(found["approximate_kl"].detach().abs().max()) < 1e-6
        assert float(found["clip_fraction"].max()) == 0.0
        with torch.no_grad():
            value = policy.sequence(episode.seen, episode.memory)[1]
        torch.testing.assert_close(value, episode.value)


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


def test_rewards_of_the_second_episode_count_in_the_first() -> None:
    first, second = _two(_policy("recurrent"))
    richer = replace(second, band_reward=second.band_reward + 1.0)
    settings = replace(SETTINGS, normalise=False)
    one, other = (lesson(first.then(e), settings, "band").advantage for e in (second, richer))
    gained = (other - one)[:5]
    # Of five rewards that follow, each a tenth more.
    for time in range(5):
        wanted = 0.1 * sum(0.72**slots for slots in range(5 - time, 10 - time))
        torch.testing.assert_close(gained[time], torch.full_like(gained[time], wanted))


@pytest.mark.parametrize("memory", ["none", "recurrent", "attention"])
def test_the_loss_of_the_second_episode_reaches_what_was_seen_in_the_first(memory: str) -> None:
    policy = _policy(memory)
    first, second = _two(policy)
    both = first.then(second)
    node = both.seen.graph.node.clone().requires_grad_()
    graph = DenseGraph(node, both.seen.graph.edge_weight)
    both = replace(both, seen=replace(both.seen, graph=graph))
    learned = lesson(both, SETTINGS, "band")
    late = torch.arange(10).view(-1, 1, 1, 1) >= 5
    learned = replace(learned, share=learned.share * late)
    objective = losses(policy, learned, SETTINGS)["objective"].sum()
    (gradient,) = torch.autograd.grad(objective, node)
    assert bool((gradient[5:].abs().amax((0, 2, 3, 4)) > 0).all())
    reached = bool((gradient[:5].abs().amax((0, 2, 3, 4)) > 0).all())
    assert reached == (memory != "none")


def test_counterfactual_advantages_by_plain_loops() -> None:
    episode = _episode(_policy("none"), with_alternatives=True)
    assert episode.alternatives.shape == (5, 3, 3, 2, 9)
    assert episode.best.shape == (5, 3, 3, 2)
    plain, scaled = (
        lesson(episode, replace(SETTINGS, normalise=normalise), "counterfactual").advantage
        for normalise in (False, True)
    )
    for network in range(3):
        squares, count = 0.0, 0
        for time, node, band in product(range(5), range(3), range(2)):
            at = (time, network, node, band)
            share = episode.log_share[at].exp()
            better = episode.alternatives[at] - share @ episode.alternatives[at]
            torch.testing.assert_close(plain[at], better)
            offer = episode.seen.offer[time, network, 2 * node : 2 * node + 2, band]
            if int(offer.max()) >= 0:
                squares += float(share @ better.square())
                count += 1
        wanted = plain[:, network] / (squares / count) ** 0.5
        torch.testing.assert_close(scaled[:, network], wanted, rtol=1e-4, atol=1e-5)


def test_imitation_is_the_likelihood_of_the_best_choices() -> None:
    policy = _policy("none")
    episode = _episode(policy, with_alternatives=True)
    learned = lesson(episode, SETTINGS, "counterfactual")
    plain = losses(policy, learned, SETTINGS)["loss"]
    imitating = losses(policy, learned, SETTINGS, imitation=0.7)["loss"]
    shares = policy.sequence(episode.seen, episode.memory)[0].logits.softmax(-1)
    for network in range(3):
        likeness = []
        for time in range(5):
            of_slot = []
            for node, band in product(range(3), range(2)):
                at = (time, network, node, band)
                offer = episode.seen.offer[time, network, 2 * node : 2 * node + 2, band]
                if int(offer.max()) >= 0:
                    of_slot.append(shares[at][int(episode.best[at])].log())
            likeness.append(torch.stack(of_slot or [torch.zeros(())]).mean())
        wanted = plain[network] - 0.7 * torch.stack(likeness).mean()
        torch.testing.assert_close(imitating[network], wanted)
    assert bool((imitating > plain + 0.1).all())


def test_losses_of_all_choices_by_plain_loops() -> None:
    policy = _policy("none")
    episode = _episode(policy, with_alternatives=True)
    learned = lesson(episode, SETTINGS, "counterfactual")
    with torch.no_grad():
        policy.powers.bias += torch.randn(policy.powers.bias.shape, generator=generator(2))
    found = losses(policy, learned, SETTINGS)["objective"]
    new = policy.sequence(episode.seen, episode.memory)[0].logits.softmax(-1).detach()
    old = episode.log_share.exp()
    for network in range(3):
        total = 0.0
        for time in range(5):
            of_slot = []
            for node, band in product(range(3), range(2)):
                at = (time, network, node, band)
                offer = episode.seen.offer[time, network, 2 * node : 2 * node + 2, band]
                if int(offer.max()) >= 0:
                    ratio = (new[at] / old[at]).nan_to_num(1.0)
                    a = learned.advantage[at]
                    gained = torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a)
                    of_slot.append(float((old[at] * gained).sum()))
            total += sum(of_slot) / max(1, len(of_slot)) / 5
        assert float(found[network].detach()) == pytest.approx(total, rel=1e-4, abs=1e-6)


def test_losses_by_plain_loops() -> None:
    policy = _policy("none")
    episode = _episode(policy)
    learned = lesson(episode, SETTINGS, "band")
    with torch.no_grad():
        policy.powers.bias += torch.randn(policy.powers.bias.shape, generator=generator(2))
    found = losses(policy, learned, SETTINGS)
    choice, value = policy.sequence(episode.seen, episode.memory)
    shares = choice.logits.softmax(-1)
    none, some = 0, 0
    for network in range(3):
        objective, entropy, errors = [], [], []
        for time in range(5):
            errors.append((learned.returns[time, network] - value[time, network]).square().mean())
            of_choices: list[tuple[Tensor, Tensor]] = []
            for node, band in ((node, band) for node in range(3) for band in range(2)):
                at = (time, network, node, band)
                offer = episode.seen.offer[time, network, :, band]
                if int(offer[2 * node]) < 0 and int(offer[2 * node + 1]) < 0:
                    none += 1
                    continue
                p, chosen = shares[at], int(episode.choice[at])
                ratio = p[chosen] / episode.log_prob[at].exp()
                a = learned.advantage[at]
                clipped = torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a)
                positive = p[p > 0]
                of_choices.append((clipped, -(positive * positive.log()).sum()))
                some += 1
            nothing = [torch.zeros(())]
            objective.append(torch.stack([c for c, _ in of_choices] or nothing).mean())
            entropy.append(torch.stack([e for _, e in of_choices] or nothing).mean())
        parts = (torch.stack(errors).mean(), torch.stack(objective).mean())
        wanted = 0.5 * parts[0] - parts[1] - 0.03 * torch.stack(entropy).mean()
        torch.testing.assert_close(found["loss"][network], wanted)
    assert none > 10
    assert some > 10


@pytest.mark.parametrize("credit", ["band", "shared"])
def test_advantages_are_of_rewards_per_slot_and_go_on_beyond_the_cut(credit: Credit) -> None:
    episode = _episode(_policy("none"))
    settings = PPOSettings(discount=0.9, gae_lambda=1.0, normalise=False)
    learned = lesson(episode, settings, credit)
    assert not torch.equal(episode.band_reward[..., 0], episode.band_reward[..., 1])
    for network, node, band in torch.cartesian_prod(*map(torch.arange, (3, 3, 2))).tolist():
        total = float(episode.next_value[-1, network, node, band])
        for time in reversed(range(5)):
            reward = episode.reward[time, network]
            if credit == "band":
                reward = episode.band_reward[time, network, band]
            total = 0.1 * float(reward) + 0.9 * total
            at = (time, network, node, band)
            assert float(learned.returns[at]) == pytest.approx(total, abs=1e-5)
            wanted = total - float(episode.value[at])
            assert float(learned.advantage[at]) == pytest.approx(wanted, abs=1e-5)


def test_advantages_are_normalised_network_by_network_over_what_counts() -> None:
    episode = _episode(_policy("none"))
    learned = lesson(episode, SETTINGS, "band")
    plain = lesson(episode, replace(SETTINGS, normalise=False), "band")
    offer = episode.seen.offer
    for network in range(3):
        counted, before = [], []
        for time, node, band in torch.cartesian_prod(*map(torch.arange, (5, 3, 2))).tolist():
            at = (time, network, node, band)
            offers = offer[time, network, 2 * node : 2 * node + 2, band]
            if int(offers.max()) >= 0:
                counted.append(float(learned.advantage[at]))
                before.append(float(plain.advantage[at]))
            else:
                assert float(learned.share[at]) == 0.0
        mean = sum(before) / len(before)
        spread = (sum((b - mean) ** 2 for b in before) / len(before)) ** 0.5
        assert 5 < len(before) < 30
        assert counted == pytest.approx([(b - mean) / spread for b in before], abs=1e-4)
    sums = learned.share.sum((2, 3))
    assert bool(((sums - 1.0).abs() < 1e-5).logical_or(sums == 0.0).all())


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
    learned = lesson(episode, SETTINGS, "band")
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
