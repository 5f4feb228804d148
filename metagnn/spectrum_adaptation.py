"""Adaptation of policies to unseen scenarios of spectrum allocation, episode by episode.

Every network has one episode after the other and learns from its own alone. What a policy has
learned is scored on a further episode of the same scenario, which is always the same, with levels
drawn as it acts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import nn

from metagnn.graphs.checks import check_count, check_positive, require
from metagnn.graphs.randomness import generator
from metagnn.meta_rl import InnerSettings, VectorizedLearners, shortened
from metagnn.models.spectrum import Memory
from metagnn.ppo import PPOSettings
from metagnn.spectrum_episode import Episode, Parameters, collect, see
from metagnn.spectrum_lesson import Credit, lesson, losses, measured
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.spectrum_allocation.metrics import Metrics, episode_metrics
from metagnn.tasks.spectrum_allocation.scenario import Scenarios


class Adapter(Protocol):
    """A policy in B scenarios, and how it learns from an episode in each."""

    policy: Any

    def parameters(self) -> Parameters | None:
        """Parameters of each network ``[B, ...]``; None if all act with the policy's own."""

    def learn(self, episode: Episode) -> None:
        """Learn of an episode."""


class Remembering:
    """A policy that learns by remembering alone, or not at all."""

    def __init__(self, policy: nn.Module) -> None:
        self.policy: Any = policy

    def parameters(self) -> None:
        """See `Adapter`."""

    def learn(self, episode: Episode) -> None:
        """See `Adapter`."""


class GradientSteps:
    """Steps down the gradient after every episode, as MAML has prepared them.

    Args:
        policy: Holds the shared parameters.
        num_networks: Number of networks B.
        inner: The steps.
        settings: Constants of the loss.
        credit: What advantages are of.
    """

    def __init__(
        self,
        policy: nn.Module,
        num_networks: int,
        inner: InnerSettings,
        settings: PPOSettings,
        credit: Credit,
    ) -> None:
        self.policy: Any = policy
        self._settings: PPOSettings = settings
        self._credit: Credit = credit
        # Of the steps themselves nobody takes a gradient.
        first_order = replace(inner, second_order=False)
        self._learners = VectorizedLearners(policy, num_networks, first_order, settings)

    def parameters(self) -> Parameters:
        """See `Adapter`."""
        return self._learners.parameters()

    def learn(self, episode: Episode) -> None:
        """See `Adapter`."""
        self._learners.learn(lesson(episode, self._settings, measured(self._credit)))


@dataclass(frozen=True)
class Finetuning:
    """How PPO goes on in an unseen scenario.

    Attributes:
        rate: Learning rate of Adam.
        num_epochs: Passes over an episode.

    Raises:
        ValueError: If a number is not positive.
    """

    rate: float = 3e-4
    num_epochs: int = 10

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)
        check_count("num_epochs", self.num_epochs)


class ProximalSteps:
    """PPO of each network by itself, from the policy's parameters.

    Args:
        policy: Holds the first parameters.
        num_networks: Number of networks B.
        finetuning: Rate and passes.
        settings: Constants of the loss.
        credit: What advantages are of.
    """

    def __init__(
        self,
        policy: nn.Module,
        num_networks: int,
        finetuning: Finetuning,
        settings: PPOSettings,
        credit: Credit,
    ) -> None:
        self.policy: Any = policy
        self._credit: Credit = credit
        self._settings, self._num_epochs = settings, finetuning.num_epochs
        self._own = {
            name: value.detach().expand(num_networks, *value.shape).clone().requires_grad_()
            for name, value in policy.named_parameters()
        }
        self._optimizer = torch.optim.Adam(self._own.values(), lr=finetuning.rate)

    def parameters(self) -> Parameters:
        """See `Adapter`."""
        return {name: value.detach() for name, value in self._own.items()}

    def learn(self, episode: Episode) -> None:
        """See `Adapter`."""
        learned = lesson(episode, self._settings, measured(self._credit))
        for _ in range(self._num_epochs):
            self._optimizer.zero_grad()
            # The gradient of the sum is that of each network's loss in its own parameters.
            losses(self.policy, learned, self._settings, self._own)["loss"].sum().backward()
            gradients = [value.grad for value in self._own.values()]
            bounded = shortened(gradients, self._settings.max_gradient_norm)
            for value, gradient in zip(self._own.values(), bounded, strict=True):
                value.grad = gradient
            self._optimizer.step()


@dataclass(frozen=True)
class Adaptation:
    """What came of adaptation.

    Attributes:
        after: Metrics of the policy after so many episodes.
        during: Metrics of the episodes of which it learned, in their order.
    """

    after: dict[int, Metrics]
    during: list[Metrics]


def unseen_scenarios(
    place: SpectrumPlace, num_networks: int, seed: int, split: str, device: torch.device
) -> Scenarios:
    """Scenarios of a split, ``validation`` or ``test``, from a stream of its own.

    Test trees of ``nycmesh`` are of another part of the city than those for validation and, unless
    the ``part`` of the family is changed, for training.
    """
    family = replace(place.family, part="east" if split == "test" else "west")
    source = generator(seed, "scenarios", split, device=device)
    return family.draw(num_networks, place.radio.num_bands, source)


def adapt_to(
    adapter: Adapter,
    place: SpectrumPlace,
    scenarios: Scenarios,
    points: Sequence[int],
    seed: int,
) -> Adaptation:
    """Let a policy adapt to scenarios, and score it after some numbers of episodes.

    Channels and arrivals of all episodes are functions of the seed, and the same for all policies.

    Args:
        adapter: The policy.
        place: Where the scenarios come from.
        scenarios: What it has never seen.
        points: Numbers of episodes, ascending.
        seed: Seed of all episodes.

    Raises:
        ValueError: If ``points`` are not ascending.
    """
    device = scenarios.load_bit_s.device

    def source(*words: int | str) -> torch.Generator:
        return generator(seed, *words, device=device)

    ascending = list(points) == sorted(set(points)) and len(points) > 0 and points[0] >= 0
    require(ascending, "points", "be ascending numbers of episodes", tuple(points))
    environment, scored = place.environment(), place.environment()
    after: dict[int, Metrics] = {}
    during: list[Metrics] = []
    reward = scenarios.load_bit_s.new_zeros(len(scenarios.load_bit_s))
    memory: Memory | None = None
    for number in range(points[-1] + 1):
        graph = environment.begin(scenarios, source("adaptation", number))
        seen = see(environment, graph, reward, True)
        memory = adapter.policy.start(seen) if memory is None else memory
        own = adapter.parameters()
        if number in points:
            first = scored.begin(scenarios, source("evaluation"))
            start, levels = see(scored, first, reward, True), source("evaluation levels")
            found, _ = collect(adapter.policy, scored, start, memory, levels, own)
            after[number] = episode_metrics(found.steps, environment.radio.slot_s)
        if number < points[-1]:
            levels = source("adaptation levels", number)
            found, memory = collect(adapter.policy, environment, seen, memory, levels, own)
            during.append(episode_metrics(found.steps, environment.radio.slot_s))
            reward = found.reward[-1]
            adapter.learn(found)
    return Adaptation(after, during)
