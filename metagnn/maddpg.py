"""Deep deterministic policy gradients of several agents (paper D, Eq. 15 to 20, 24 and 25).

Departures from the paper, of which the first four are undone by an argument:

- Eq. 16 as printed evaluates the target critic at the observations s of the step itself; by default
  they are those that follow, s': ``target``.
- By default the value is that of the slot alone, and there are no delayed networks: ``discount``
  (the paper's is 0.9). Then neither ``soft_rate`` nor ``target`` has an effect.
- Values are those per slot: rewards count times 1 - gamma.
- A value is the sum of those of the users, each of which is the sum of parts (whether the deadline
  was met, lateness, energies). The critic learns them from the users' own parts of the reward,
  of which Eq. 12 and 23 are the sums: ``credit``.
- The parts differ by orders of magnitude, so their errors are relative (`deviance`, cross-entropy
  for the first), of which the mean is the minimiser as it is of squares: ``credit`` too.
- The gradients of Eq. 18 and 25 raise the value; Eq. 19 as printed descends it.
- Actors are moved together, by the mean of all values at what all actors would do now; in Eq. 18
  each is moved by its own value, at what the others did.
- Channels are chosen by a straight-through softmax; the paper does not say how its networks choose.
- A choice counts at others by what they have with and without it, not by the slope of their
  values (`OffloadingCritic`).
- Ratios and powers at their bounds keep the gradients that lead inwards.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

from metagnn.graphs.checks import (
    check_count,
    check_non_negative,
    check_pair,
    check_positive,
    require,
)

Observation = TypeVar("Observation")
Action = TypeVar("Action")
Target = Literal["next", "as_printed"]
Credit = Literal["user", "site"]
Schedule = Literal["linear", "constant"]


@dataclass(frozen=True)
class MADDPGSettings:
    """Constants of paper D's Section III-B and of Algorithms 1 and 2.

    Attributes:
        num_copies: Networks that an episode runs side by side.
        num_steps: Slots of an episode; each is followed by an update.
        discount: Discount gamma of what follows; 0 makes the value that of the slot alone.
        soft_rate: Rate tau of the targets (Eq. 20).
        actor_batch: Transitions of an actor's update, the first ones of the critic's last batch.
        critic_batch: Transitions of a critic's update (W).
        critic_updates: Updates of the critics per update of the actors.
        actor_rate: Learning rate of the actors.
        critic_rate: Learning rate of the critics.
        capacity: Transitions in the replay.
        warm_up: Transitions before the first update.
        schedule: ``linear`` decay of the learning rates to zero after the last episode, or
            ``constant``.
        noise: Scale of the exploration's noise, at first and at the end.
        credit: The critics learn the rewards of ``user`` by user, part by part, or of each ``site``
            (Eq. 15 and 24).
        target: ``next``, or ``as_printed`` (Eq. 16).

    Raises:
        ValueError: If a constant is out of range.
    """

    num_copies: int = 8
    num_steps: int = 10
    discount: float = 0.0
    soft_rate: float = 0.01
    actor_batch: int = 8
    critic_batch: int = 64
    critic_updates: int = 2
    actor_rate: float = 1e-3
    critic_rate: float = 2e-3
    capacity: int = 2000
    warm_up: int = 200
    schedule: Schedule = "linear"
    noise: tuple[float, float] = (0.25, 0.03)
    credit: Credit = "user"
    target: Target = "next"

    def __post_init__(self) -> None:
        for name in ("num_copies", "num_steps", "actor_batch", "critic_batch", "critic_updates"):
            check_count(name, getattr(self, name))
        for name in ("discount", "soft_rate"):
            value = getattr(self, name)
            require(0.0 <= value <= 1.0, name, "lie in [0, 1]", value)
        require(self.discount < 1.0, "discount", "be < 1", self.discount)
        for name in ("actor_rate", "critic_rate"):
            check_positive(name, getattr(self, name))
        check_pair("noise", self.noise, "be two scales (at first, at the end)")
        for value in self.noise:
            check_non_negative("noise", value)
        rule = f"be at most critic_batch = {self.critic_batch}"
        require(self.actor_batch <= self.critic_batch, "actor_batch", rule, self.actor_batch)
        check_count("capacity", self.capacity)
        rule = f"lie in [num_copies, capacity] = [{self.num_copies}, {self.capacity}]"
        fits = self.num_copies <= self.warm_up <= self.capacity
        require(fits, "warm_up", rule, self.warm_up)
        require(self.credit in ("user", "site"), "credit", "be 'user' or 'site'", self.credit)
        schedules = ("linear", "constant")
        require(self.schedule in schedules, "schedule", f"be one of {schedules}", self.schedule)
        targets = ("next", "as_printed")
        require(self.target in targets, "target", f"be one of {targets}", self.target)


@dataclass(frozen=True)
class Transitions(Generic[Observation, Action]):
    """A batch of steps.

    Attributes:
        observation: What the agents saw.
        action: What they did.
        reward: What they got ``[N, ...]``.
        next_observation: What they saw next; None where it is not wanted.
    """

    observation: Observation
    action: Action
    reward: Tensor
    next_observation: Observation | None


@dataclass(frozen=True)
class Targets(Generic[Observation, Action]):
    """The delayed networks.

    Attributes:
        actor: Actions for observations.
        critic: Values of actions, of the rewards' shape.
    """

    actor: Callable[[Observation], Action]
    critic: Callable[[Observation, Action], Tensor]


@torch.no_grad()
def target_value(
    batch: Transitions[Observation, Action],
    delayed: Targets[Observation, Action],
    discount: float,
    target: Target = "next",
) -> Tensor:
    r"""What the critic's value should be (paper D, Eq. 16 and below Eq. 24).

    .. math:: y = r + \gamma Q'(s', \mu'(s'))

    Episodes are cut off, they do not end, so what follows always counts.
    """
    if discount == 0.0:
        return batch.reward
    after = batch.next_observation if target == "next" else batch.observation
    assert after is not None
    return batch.reward + discount * delayed.critic(after, delayed.actor(after))


@torch.no_grad()
def soft_update(target: Iterable[Tensor], source: Iterable[Tensor], rate: float) -> None:
    r"""Move delayed weights towards the primary ones (paper D, Eq. 20).

    .. math:: \theta' \leftarrow \tau \theta + (1 - \tau) \theta'
    """
    for delayed, primary in zip(target, source, strict=True):
        delayed.lerp_(primary, rate)


def squared_error(value: Tensor, target: Tensor) -> Tensor:
    """Squared errors (paper D, Eq. 15 and 24), of the shape of both."""
    return (target - value).square()


def deviance(value: Tensor, target: Tensor, floor: Tensor) -> Tensor:
    r"""Deviance of positive numbers, relative above a floor: of a gamma law, up to a factor.

    .. math:: \frac{y + c}{q + c} - 1 - \ln\frac{y + c}{q + c}

    It is never negative, is 0 where both agree, and its mean is smallest where q is the mean of y.
    """
    ratio = (target + floor) / (value + floor)
    return ratio - 1.0 - ratio.log()
