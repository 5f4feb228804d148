"""Deep deterministic policy gradients of several agents (paper D, Eq. 15 to 20, 24 and 25).

Departures from the paper, which an argument undoes:

- Eq. 16 as printed evaluates the target critic at the observations s of the step itself; by default
  they are those that follow, s': ``target``.
- A value is the sum of those of the users, each of which is the sum of parts (whether the deadline
  was met, lateness, energies). The critic learns them from the users' own parts of the reward,
  of which Eq. 12 and 23 are the sums: ``credit``.
- The parts differ by orders of magnitude, so their errors are relative: deviances, of which the
  mean is the minimiser as it is of squares: ``deviance``.
- The gradients of Eq. 18 and 25 raise the value; Eq. 19 as printed descends it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

Observation = TypeVar("Observation")
Action = TypeVar("Action")
Target = Literal["next", "as_printed"]


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
class Agents(Generic[Observation, Action]):
    """Functions of the agents.

    Attributes:
        actor: Actions for observations, through which gradients pass.
        critic: Values of actions, of the rewards' shape.
        target_actor: The delayed actor.
        target_critic: The delayed critic.
    """

    actor: Callable[[Observation], Action]
    critic: Callable[[Observation, Action], Tensor]
    target_actor: Callable[[Observation], Action]
    target_critic: Callable[[Observation, Action], Tensor]


@torch.no_grad()
def target_value(
    batch: Transitions[Observation, Action],
    agents: Agents[Observation, Action],
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
    return batch.reward + discount * agents.target_critic(after, agents.target_actor(after))


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
