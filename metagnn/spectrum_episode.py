"""Episodes of spectrum allocation, of which policies with and without memory learn alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from metagnn.graphs.interference import DenseGraph
from metagnn.models.action_heads import Choice
from metagnn.models.spectrum import Memory, Seen
from metagnn.ppo import PPOSettings, clipped_objective, generalised_advantage
from metagnn.tasks.environment import Step
from metagnn.tasks.spectrum_allocation.environment import Action, Outcome, SpectrumAllocation

Parameters = Mapping[str, Tensor]
Credit = Literal["band", "shared"]
CREDITS: tuple[Credit, ...] = ("band", "shared")


class Policy(Protocol):
    """What an episode needs of `GraphPolicy` and `FlatPolicy`."""

    def __call__(
        self, seen: Seen, memory: Memory, parameters: Parameters | None = None
    ) -> tuple[Choice, Tensor, Memory]:
        """Policy, value and next memory of networks ``[B]``."""

    def sequence(
        self, seen: Seen, memory: Memory, parameters: Parameters | None = None
    ) -> tuple[Choice, Tensor]:
        """Policies and values at times ``[T, B]``, or ``[B, T]`` with parameters of their own."""

    def start(self, seen: Seen) -> Memory:
        """Memory before the first time."""


@dataclass(frozen=True)
class Episode:
    """What B networks of M nodes went through in T slots.

    Attributes:
        seen: Observations ``[T, B, ...]``.
        memory: Memory before the first slot, networks first.
        choice: What nodes did on the bands, 0 to 2 P ``[T, B, M, N]``.
        log_prob: Logarithms of the probabilities of that when it was drawn ``[T, B, M, N]``.
        reward: Rewards ``[T, B]``.
        band_reward: Rewards of the bands ``[T, B, N]``.
        value: Values of the observations ``[T, B, M, N]``.
        next_value: Values of the observations that followed ``[T, B, M, N]``.
        truncated: Ends of episodes ``[T, B]``.
        steps: What the environment answered in each slot.
    """

    seen: Seen
    memory: Memory
    choice: Tensor
    log_prob: Tensor
    reward: Tensor
    band_reward: Tensor
    value: Tensor
    next_value: Tensor
    truncated: Tensor
    steps: tuple[Step[Outcome], ...]

    def of(self, networks: Tensor) -> "Episode":
        """The episode of some of the networks; what came of it stays with all."""
        columns = {name: getattr(self, name)[:, networks] for name in ("seen", *_COLUMNS)}
        return replace(self, memory=self.memory[networks], **columns)

    def then(self, following: "Episode") -> "Episode":
        """One long episode of this and the next of the same scenarios, memory and all.

        What comes after the end counts as its consequence: a policy that remembers is to learn
        in one episode what helps it in the next (RL^2).
        """
        columns: dict[str, Any] = {
            name: torch.cat([getattr(self, name), getattr(following, name)]) for name in _COLUMNS
        }
        number = len(self.reward) - 1
        columns["next_value"][number] = following.value[0]
        columns["truncated"][number] = False
        seen = joined([self.seen, following.seen], torch.cat)
        return replace(self, seen=seen, steps=self.steps + following.steps, **columns)


_COLUMNS = (
    "choice",
    "log_prob",
    "reward",
    "band_reward",
    "value",
    "next_value",
    "truncated",
)


def joined(seen: Sequence[Seen], join: Callable[[list[Tensor]], Tensor]) -> Seen:
    """Observations joined by `torch.cat` or `torch.stack`."""
    graph = DenseGraph(
        join([one.graph.node for one in seen]), join([one.graph.edge_weight for one in seen])
    )
    names = ("offer", "sender", "feedback")
    return Seen(graph, *(join([getattr(one, name) for one in seen]) for name in names))


def see(environment: SpectrumAllocation, graph: DenseGraph, reward: Tensor, begins: bool) -> Seen:
    """What the nodes see of an observation.

    Args:
        environment: Where they are.
        graph: What it shows.
        reward: The last rewards ``[B]``.
        begins: Whether an episode begins.
    """
    feedback = torch.stack([reward, torch.full_like(reward, float(begins))], dim=-1)
    return Seen(graph, environment.offer, environment.link_agent, feedback)


def action_of(choice: Tensor, num_powers: int) -> Action:
    """Levels of what nodes do ``[B, M, N]``: 0 is off, then come P powers of each role."""
    access = torch.where(choice <= num_powers, choice, 0)
    return Action(torch.stack([access, (choice - num_powers).clamp(min=0)], dim=2))


@torch.no_grad()
def collect(
    policy: Policy,
    environment: SpectrumAllocation,
    seen: Seen,
    memory: Memory,
    generator: torch.Generator,
    parameters: Parameters | None = None,
) -> tuple[Episode, Memory]:
    """Run a policy for an episode from its first observation; also the memory after it.

    Args:
        policy: Chooses what nodes do.
        environment: Just reset.
        seen: The first observation.
        memory: Memory before it.
        generator: Source of the choices.
        parameters: Parameters of each network ``[B, ...]`` in place of the policy's.
    """
    start, rows, steps, observed = memory, [], [], []
    choices, value, memory = policy(seen, memory, parameters)
    for _ in range(environment.num_steps):
        choice = choices.sample(generator)
        log_prob = choices.log_prob(choice)
        step = environment.step(action_of(choice, environment.radio.num_levels))
        steps.append(step)
        observed.append(seen)
        reward, old_value = step.reward[:, 0], value
        seen = see(environment, step.observation, reward, False)
        choices, value, next_memory = policy(seen, memory, parameters)
        if not bool(step.truncated.all()):
            memory = next_memory
        rewards = (reward, step.info.band_reward)
        rows.append((choice, log_prob, *rewards, old_value, value, step.truncated))
    columns = dict(zip(_COLUMNS, map(torch.stack, zip(*rows, strict=True)), strict=True))
    together = joined(observed, torch.stack)
    return Episode(together, start, steps=tuple(steps), **columns), memory


@dataclass(frozen=True)
class Lesson:
    """An episode with what is to be learned from it.

    Attributes:
        episode: The episode.
        share: Shares of the choices in the means over a slot ``[T, B, M, N]``; nodes for which
            nothing waited had none.
        advantage: Advantages ``[T, B, M, N]``.
        returns: Returns ``[T, B, M, N]``, to which values are fitted.
    """

    episode: Episode
    share: Tensor
    advantage: Tensor
    returns: Tensor

    def of(self, networks: Tensor) -> "Lesson":
        """That of some of the networks."""
        columns = (self.share, self.advantage, self.returns)
        return Lesson(self.episode.of(networks), *(value[:, networks] for value in columns))


def lesson(episode: Episode, settings: PPOSettings, credit: Credit) -> Lesson:
    """Advantages and returns of an episode.

    Rewards are multiplied by one minus the discount, so that values are those of a slot. Advantages
    are normalised for each network by itself, so that no scenario outweighs the others.

    Args:
        episode: Of which to learn.
        settings: Constants of the learning.
        credit: ``band``: nodes get the reward of the band; ``shared``: that of the slot.
    """
    reward = episode.band_reward if credit == "band" else episode.reward.unsqueeze(-1)
    reward = (1.0 - settings.discount) * reward.unsqueeze(-2).expand_as(episode.value)
    never = torch.zeros_like(episode.truncated)
    values = (reward, episode.value, episode.next_value)
    ends = (never, episode.truncated)
    found = generalised_advantage(*values, *ends, settings.discount, settings.gae_lambda)
    returns = found + episode.value
    offer = episode.seen.offer
    share = (offer >= 0).unflatten(-2, (-1, 2)).any(-2).to(found)
    if settings.normalise:
        weight = share / share.sum((0, 2, 3), keepdim=True).clamp(min=1.0)
        mean = (weight * found).sum((0, 2, 3), keepdim=True)
        variance = (weight * (found - mean).square()).sum((0, 2, 3), keepdim=True)
        found = (found - mean) / (variance.sqrt() + 1e-8)
    share = share / share.sum((2, 3), keepdim=True).clamp(min=1.0)
    return Lesson(episode, share, found, returns)


def losses(
    policy: Policy, lesson: Lesson, settings: PPOSettings, parameters: Parameters | None = None
) -> dict[str, Tensor]:
    r"""Clipped PPO loss of each network and what is logged of it ``[B]``.

    Every node's choice on every band has a ratio of its own, clipped by itself. At the first step
    the gradient is that of the policy gradient. Values are fitted where there was no choice too:
    advantages of slots before rest on them.

    Args:
        policy: What learns.
        lesson: What it learns from.
        settings: Constants of the learning.
        parameters: Parameters of each network ``[B, ...]`` in place of the policy's.
    """
    episode = lesson.episode
    seen = episode.seen
    if parameters is None:
        choices, value = policy.sequence(seen, episode.memory)
    else:
        choices, value = policy.sequence(_swapped(seen), episode.memory, parameters)
        choices, value = Choice(choices.logits.transpose(0, 1)), value.transpose(0, 1)

    def mean(of_choices: Tensor) -> Tensor:
        return (lesson.share * of_choices).sum((-2, -1)).mean(0)

    log_prob, old = choices.log_prob(episode.choice), episode.log_prob
    parts = {
        "objective": mean(clipped_objective(log_prob, old, lesson.advantage, settings.clip)),
        "value_loss": (lesson.returns - value).square().mean((-2, -1)).mean(0),
        "entropy": mean(choices.entropy()),
    }
    parts["loss"] = (
        settings.value_weight * parts["value_loss"]
        - parts["objective"]
        - settings.entropy_weight * parts["entropy"]
    )
    with torch.no_grad():
        log_ratio = log_prob - old
        parts["approximate_kl"] = mean(log_ratio.exp() - 1.0 - log_ratio)
        outside = (log_ratio.exp() - 1.0).abs() > settings.clip
        parts["clip_fraction"] = mean(outside.to(value))
    return parts


def _swapped(seen: Seen) -> Seen:
    """Times and networks change places."""
    return joined([seen], lambda only: only[0].transpose(0, 1))
