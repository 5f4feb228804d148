"""Episodes of spectrum allocation, of which policies with and without memory learn alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from metagnn.graphs.interference import DenseGraph
from metagnn.models.action_heads import Choice
from metagnn.models.spectrum import Memory, Seen
from metagnn.ppo import PPOSettings, clipped_objective, generalised_advantage
from metagnn.tasks.environment import Step
from metagnn.tasks.spectrum_allocation.environment import Action, Outcome, SpectrumAllocation

Parameters = Mapping[str, Tensor]


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
    """What B networks went through in T slots.

    Attributes:
        seen: Observations ``[T, B, ...]``.
        memory: Memory before the first slot.
        level: Levels ``[T, B, A, N]``.
        log_prob: Logarithms of their probabilities when they were drawn ``[T, B, A, N]``.
        reward: Rewards ``[T, B]``.
        value: Values of the observations ``[T, B]``.
        next_value: Values of the observations that followed ``[T, B]``.
        truncated: Ends of episodes ``[T, B]``.
        steps: What the environment answered in each slot.
    """

    seen: Seen
    memory: Memory
    level: Tensor
    log_prob: Tensor
    reward: Tensor
    value: Tensor
    next_value: Tensor
    truncated: Tensor
    steps: tuple[Step[Outcome], ...]

    def of(self, networks: Tensor) -> "Episode":
        """The episode of some of the networks; what came of it stays with all."""
        return Episode(
            self.seen[:, networks],
            self.memory[networks],
            self.level[:, networks],
            self.log_prob[:, networks],
            self.reward[:, networks],
            self.value[:, networks],
            self.next_value[:, networks],
            self.truncated[:, networks],
            self.steps,
        )


def see(environment: SpectrumAllocation, graph: DenseGraph, reward: Tensor, begins: bool) -> Seen:
    """What the nodes see of an observation.

    Args:
        environment: Where they are.
        graph: What it shows.
        reward: The last rewards ``[B]``.
        begins: Whether an episode begins.
    """
    link_agent = environment.link_agent
    num_agents = environment.agent_mask[0].numel()
    own = torch.arange(num_agents, device=link_agent.device).unsqueeze(-1)
    pool = (own == link_agent.unsqueeze(-2)).to(graph.node)
    pool = pool / pool.sum(-1, keepdim=True).clamp(min=1.0)
    feedback = torch.stack([reward, torch.full_like(reward, float(begins))], dim=-1)
    return Seen(graph, pool, feedback)


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
        policy: Chooses the levels.
        environment: Just reset.
        seen: The first observation.
        memory: Memory before it.
        generator: Source of the levels.
        parameters: Parameters of each network ``[B, ...]`` in place of the policy's.
    """
    start, rows, steps, observed = memory, [], [], []
    choice, value, memory = policy(seen, memory, parameters)
    for _ in range(environment.num_steps):
        level = choice.sample(generator)
        log_prob = choice.log_prob(level)
        batch, bands = len(level), level.shape[-1]
        step = environment.step(Action(level.view(batch, -1, 2, bands)))
        steps.append(step)
        observed.append(seen)
        reward, old_value = step.reward[:, 0], value
        seen = see(environment, step.observation, reward, False)
        choice, value, next_memory = policy(seen, memory, parameters)
        if not bool(step.truncated.all()):
            memory = next_memory
        rows.append((level, log_prob, reward, old_value, value, step.truncated))
    level, log_prob, reward, old_value, value, truncated = (
        torch.stack(column) for column in zip(*rows, strict=True)
    )
    graph = DenseGraph(
        torch.stack([one.graph.node for one in observed]),
        torch.stack([one.graph.edge_weight for one in observed]),
    )
    pool = torch.stack([one.pool for one in observed])
    together = Seen(graph, pool, torch.stack([one.feedback for one in observed]))
    columns = (level, log_prob, reward, old_value, value, truncated)
    return Episode(together, start, *columns, steps=tuple(steps)), memory


@dataclass(frozen=True)
class Lesson:
    """An episode with what is to be learned from it.

    Attributes:
        episode: The episode.
        advantage: Advantages ``[T, B]``.
        returns: Returns ``[T, B]``, to which values are fitted.
    """

    episode: Episode
    advantage: Tensor
    returns: Tensor

    def of(self, networks: Tensor) -> "Lesson":
        """That of some of the networks."""
        columns = (self.advantage[:, networks], self.returns[:, networks])
        return Lesson(self.episode.of(networks), *columns)


def lesson(episode: Episode, settings: PPOSettings, own: bool) -> Lesson:
    """Advantages and returns of an episode.

    Rewards are multiplied by one minus the discount, so that values are those of a slot.

    Args:
        episode: Of which to learn.
        settings: Constants of the learning.
        own: Advantages are normalised for each network by itself, which has parameters of its own.
    """
    never = torch.zeros_like(episode.truncated)
    reward = (1.0 - settings.discount) * episode.reward
    values = (reward, episode.value, episode.next_value)
    ends = (never, episode.truncated)
    found = generalised_advantage(*values, *ends, settings.discount, settings.gae_lambda)
    returns = found + episode.value
    if settings.normalise:
        over = (0,) if own else (0, 1)
        found = (found - found.mean(over)) / (found.std(over, correction=0) + 1e-8)
    return Lesson(episode, found, returns)


def losses(
    policy: Policy, lesson: Lesson, settings: PPOSettings, parameters: Parameters | None = None
) -> dict[str, Tensor]:
    r"""Clipped PPO loss of each network and what is logged of it ``[B]``.

    Every agent's choice on every band has a ratio of its own, clipped by itself; agents without
    links do not count. At the first step the gradient is that of the policy gradient.

    Args:
        policy: What learns.
        lesson: What it learns from.
        settings: Constants of the learning.
        parameters: Parameters of each network ``[B, ...]`` in place of the policy's.
    """
    episode = lesson.episode
    seen = episode.seen
    if parameters is None:
        choice, value = policy.sequence(seen, episode.memory)
    else:
        choice, value = policy.sequence(_swapped(seen), episode.memory, parameters)
        choice, value = Choice(choice.logits.transpose(0, 1)), value.transpose(0, 1)
    counts = (seen.pool.sum(-1, keepdim=True) > 0).to(value)
    bands = episode.level.shape[-1]
    share = counts / (bands * counts.sum((-2, -1), keepdim=True))

    def mean(of_choices: Tensor) -> Tensor:
        return (share * of_choices).sum((-2, -1)).mean(0)

    log_prob = choice.log_prob(episode.level)
    old, advantage = episode.log_prob, lesson.advantage[..., None, None]
    parts = {
        "objective": mean(clipped_objective(log_prob, old, advantage, settings.clip)),
        "value_loss": (lesson.returns - value).square().mean(0),
        "entropy": mean(choice.entropy()),
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
    graph = DenseGraph(seen.graph.node.transpose(0, 1), seen.graph.edge_weight.transpose(0, 1))
    return Seen(graph, seen.pool.transpose(0, 1), seen.feedback.transpose(0, 1))
