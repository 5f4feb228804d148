"""Episodes of spectrum allocation, which policies with and without memory run alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from metagnn.graphs.interference import DenseGraph
from metagnn.models.action_heads import Choice
from metagnn.models.spectrum import Memory, Seen
from metagnn.tasks.environment import Step
from metagnn.tasks.spectrum_allocation.advice import told, told_worth
from metagnn.tasks.spectrum_allocation.environment import Action, Outcome, SpectrumAllocation
from metagnn.tasks.spectrum_allocation.search import (
    contest,
    differential_backlog_bit,
    levels_of_choices,
)

Parameters = Mapping[str, Tensor]


class Policy(Protocol):
    """What an episode needs of `GraphPolicy` and `FlatPolicy`."""

    def think(
        self, seen: Seen, memory: Memory, parameters: Parameters | None = None
    ) -> tuple[Tensor, Memory]:
        """What networks ``[B]`` know, and their next memory."""

    def decide(
        self,
        x: Tensor,
        seen: Seen,
        bands: slice = slice(None),
        parameters: Parameters | None = None,
    ) -> tuple[Choice, Tensor]:
        """Policy and value on some of the bands, from what networks know."""

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
        log_share: Logarithms of the probabilities of all choices then ``[T, B, M, N, 1 + 2 P]``.
        alternatives: What the bands would have been worth for all choices of a node, of the same
            shape, if that was wanted, else ``[T, B, M, N, 0]``.
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
    log_share: Tensor
    alternatives: Tensor
    reward: Tensor
    band_reward: Tensor
    value: Tensor
    next_value: Tensor
    truncated: Tensor
    steps: tuple[Step[Outcome], ...]

    @property
    def log_prob(self) -> Tensor:
        """Logarithms of the probabilities of what was done ``[T, B, M, N]``."""
        return self.log_share.gather(-1, self.choice.unsqueeze(-1)).squeeze(-1)

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


# What is drawn in a slot, and all.
_DRAWN = (
    "choice",
    "log_share",
    "alternatives",
    "reward",
    "band_reward",
    "value",
    "truncated",
)
_COLUMNS = (*_DRAWN, "next_value")


def joined(seen: Sequence[Seen], join: Callable[[list[Tensor]], Tensor]) -> Seen:
    """Observations joined by `torch.cat` or `torch.stack`."""
    graph = DenseGraph(
        join([one.graph.node for one in seen]), join([one.graph.edge_weight for one in seen])
    )
    names = ("offer", "left", "sender", "feedback", "worth")
    return Seen(graph, *(join([getattr(one, name) for one in seen]) for name in names))


def see(environment: SpectrumAllocation, graph: DenseGraph, reward: Tensor, begins: bool) -> Seen:
    """What the nodes see of an observation, before they decide on any band.

    Args:
        environment: Where they are.
        graph: What it shows.
        reward: The last rewards ``[B]``.
        begins: Whether an episode begins.
    """
    feedback = torch.stack([reward, torch.full_like(reward, float(begins))], dim=-1)
    offer = environment.scheduler().offer()
    left = torch.ones_like(offer, dtype=graph.node.dtype)
    choices = 1 + 2 * environment.radio.num_levels
    worth = left.new_zeros(len(left), left.shape[1] // 2, left.shape[2], choices)
    return Seen(graph, offer, left, environment.link_agent, feedback, worth)


def action_of(choice: Tensor, num_powers: int) -> Action:
    """Levels of what nodes do ``[B, M, N]``; see `levels_of_choices`."""
    levels = levels_of_choices(num_powers, choice.device)
    return Action(levels[choice].movedim(-1, 2))


@torch.no_grad()
def collect(
    policy: Policy,
    environment: SpectrumAllocation,
    seen: Seen,
    memory: Memory,
    generator: torch.Generator,
    parameters: Parameters | None = None,
    with_alternatives: bool = False,
) -> tuple[Episode, Memory]:
    """Run a policy for an episode from its first observation; also the memory after it.

    Args:
        policy: Chooses what nodes do.
        environment: Just reset.
        seen: The first observation.
        memory: Memory before it.
        generator: Source of the choices.
        parameters: Parameters of each network ``[B, ...]`` in place of the policy's.
        with_alternatives: Whether to ask what nodes could have done instead.
    """
    start, rows, steps, observed = memory, [], [], []
    for _ in range(environment.num_steps):
        x, memory = policy.think(seen, memory, parameters)
        seen, choice, log_share, value = decide(policy, environment, x, seen, generator, parameters)
        observed.append(seen)
        action = action_of(choice, environment.radio.num_levels)
        others = environment.alternatives(action) if with_alternatives else log_share[..., :0]
        step = environment.step(action)
        steps.append(step)
        reward = step.reward[:, 0]
        seen = see(environment, step.observation, reward, False)
        rewards = (reward, step.info.band_reward)
        rows.append((choice, log_share, others, *rewards, value, step.truncated))
    columns = dict(zip(_DRAWN, map(torch.stack, zip(*rows, strict=True)), strict=True))
    x, _ = policy.think(seen, memory, parameters)
    last = policy.decide(x, seen, parameters=parameters)[1]
    following = torch.cat([columns["value"][1:], last.unsqueeze(0)])
    together = joined(observed, torch.stack)
    episode = Episode(together, start, steps=tuple(steps), next_value=following, **columns)
    return episode, memory


def decide(
    policy: Policy,
    environment: SpectrumAllocation,
    x: Tensor,
    seen: Seen,
    generator: torch.Generator,
    parameters: Parameters | None = None,
) -> tuple[Seen, Tensor, Tensor, Tensor]:
    """Draw what nodes do band after band, as their schedulers go.

    Args:
        policy: Chooses what nodes do.
        environment: Its slot.
        x: What the policy makes of what it sees.
        seen: That.
        generator: Source of the choices.
        parameters: Parameters of each network ``[B, ...]`` in place of the policy's.

    Returns:
        What was seen, with what schedulers offered on each band; choices ``[B, M, N]``,
        logarithms of the probabilities of all, and values.
    """
    scheduler, radio = environment.scheduler(), environment.radio
    waiting_bit = scheduler.left_bit.clamp(min=1.0)
    known = told(environment.state, radio)
    weight = differential_backlog_bit(known)
    # Without edges of interference nobody is told what nodes hear of each other.
    is_told = environment.edges == "interference"
    nothing = seen.worth[..., 0, :]
    offers, lefts, worths, drawn = [], [], [], []
    for band in range(radio.num_bands):
        link = scheduler.offer_on(band)
        left = (scheduler.left_bit / waiting_bit).gather(1, link.clamp(min=0))
        offers.append(link)
        lefts.append(left.to(seen.left))
        given = contest(known, radio, band, link, scheduler.left_bit, weight)
        worths.append(told_worth(given) if is_told else nothing)
        seen = replace(
            seen,
            offer=torch.stack(offers, -1),
            left=torch.stack(lefts, -1),
            worth=torch.stack(worths, -2),
        )
        choices, value = policy.decide(x, seen, slice(band, band + 1), parameters)
        choice = choices.sample(generator)
        level = action_of(choice, radio.num_levels).level
        scheduler.take(band, link, radio.power_w(level).flatten(1))
        drawn.append((choice, choices.logits.log_softmax(-1), value))
    choice, log_share, value = (torch.cat(column, dim=2) for column in zip(*drawn, strict=True))
    return seen, choice, log_share, value
