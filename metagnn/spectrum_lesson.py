"""What policies of spectrum allocation learn of an episode: credit, advantages and losses."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metagnn.models.action_heads import Choice
from metagnn.models.spectrum import Seen
from metagnn.ppo import (
    PPOSettings,
    clipped_objective,
    expected_objective,
    generalised_advantage,
)
from metagnn.spectrum_episode import Episode, Parameters, Policy, joined

Credit = Literal["counterfactual", "band", "shared"]
CREDITS: tuple[Credit, ...] = ("counterfactual", "band", "shared")


def measured(credit: Credit) -> Credit:
    """What can be measured without a simulator, which alone knows counterfactual credit."""
    return "band" if credit == "counterfactual" else credit


@dataclass(frozen=True)
class Lesson:
    """An episode with what is to be learned from it.

    Attributes:
        episode: The episode.
        share: Shares of the choices in the means over a slot ``[T, B, M, N]``; nodes for which
            nothing waited had none.
        advantage: Advantages of what was done ``[T, B, M, N]``, or of all choices, to which
            `Episode.log_share` belongs.
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
        credit: ``band``: nodes get the reward of the band; ``shared``: that of the slot;
            ``counterfactual``: what each choice of a node would have been worth on the band, less
            what its choices are worth in the mean, while the others do as they did (Foerster et
            al., 2018), which a simulator knows; of the slot alone.
    """
    reward = episode.reward.unsqueeze(-1) if credit == "shared" else episode.band_reward
    reward = (1.0 - settings.discount) * reward.unsqueeze(-2).expand_as(episode.value)
    never = torch.zeros_like(episode.truncated)
    values = (reward, episode.value, episode.next_value)
    ends = (never, episode.truncated)
    found = generalised_advantage(*values, *ends, settings.discount, settings.gae_lambda)
    returns = found + episode.value
    offer = episode.seen.offer
    share = (offer >= 0).unflatten(-2, (-1, 2)).any(-2).to(found)
    weight = share / share.sum((0, 2, 3), keepdim=True).clamp(min=1.0)
    if credit == "counterfactual":
        of_choice = episode.log_share.exp()
        expected = (of_choice * episode.alternatives).sum(-1, keepdim=True)
        found, weight = episode.alternatives - expected, weight.unsqueeze(-1) * of_choice
    if settings.normalise:
        over = [0, *range(2, found.dim())]
        mean = (weight * found).sum(over, keepdim=True)
        variance = (weight * (found - mean).square()).sum(over, keepdim=True)
        found = (found - mean) / (variance.sqrt() + 1e-8)
    share = share / share.sum((2, 3), keepdim=True).clamp(min=1.0)
    return Lesson(episode, share, found, returns)


def losses(
    policy: Policy,
    lesson: Lesson,
    settings: PPOSettings,
    parameters: Parameters | None = None,
) -> dict[str, Tensor]:
    r"""Clipped PPO loss of each network and what is logged of it ``[B]``.

    Every node's choice on every band has a ratio of its own, clipped by itself; where advantages of
    all choices are known, the mean over all that a node could have done counts. At the first
    step the gradient is that of the policy gradient. Values are fitted where there was no choice
    too: advantages of slots before rest on them.

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
    if lesson.advantage.shape == old.shape:
        objective = clipped_objective(log_prob, old, lesson.advantage, settings.clip)
    else:
        log_share = choices.logits.log_softmax(-1)
        shares = (log_share, episode.log_share)
        objective = expected_objective(*shares, lesson.advantage, settings.clip)
    parts = {
        "objective": mean(objective),
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
