"""What is learned of episodes of spectrum allocation: advantages and losses."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
import torch
from test_spectrum_episode import SETTINGS, _episode, _policy, _two
from torch import Tensor

from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.randomness import generator
from metagnn.ppo import PPOSettings
from metagnn.spectrum_episode import Episode
from metagnn.spectrum_lesson import CREDITS, Credit, lesson, losses


def _with_a_choice(episode: Episode, time: int, network: int) -> Iterator[tuple[int, ...]]:
    """Times, networks, nodes and bands of a slot in which a node has something to serve."""
    for node, band in product(range(3), range(2)):
        offer = episode.seen.offer[time, network, 2 * node : 2 * node + 2, band]
        if int(offer.max()) >= 0:
            yield time, network, node, band


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
    plain, scaled = (
        lesson(episode, replace(SETTINGS, normalise=normalise), "counterfactual").advantage
        for normalise in (False, True)
    )
    for network in range(3):
        squares = []
        for time in range(5):
            for at in _with_a_choice(episode, time, network):
                share = episode.log_share[at].exp()
                better = episode.alternatives[at] - share @ episode.alternatives[at]
                torch.testing.assert_close(plain[at], better)
                squares.append(float(share @ better.square()))
        wanted = plain[:, network] / (sum(squares) / len(squares)) ** 0.5
        torch.testing.assert_close(scaled[:, network], wanted, rtol=1e-4, atol=1e-5)


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
            for at in _with_a_choice(episode, time, network):
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
