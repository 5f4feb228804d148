"""Distributions of actions: a choice, a bounded number, and a choice with a number of its own."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from metagnn.graphs.checks import require


@dataclass(frozen=True)
class Choice:
    """A categorical choice.

    Attributes:
        logits: Scores of the alternatives ``[..., N]``.
    """

    logits: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """Choices ``[...]``, 0 to N - 1."""
        shares = self.logits.softmax(-1).flatten(0, -2)
        drawn = torch.multinomial(shares, 1, generator=generator)
        return drawn.view(self.logits.shape[:-1])

    def mode(self) -> Tensor:
        """Likeliest choices ``[...]``."""
        return self.logits.argmax(-1)

    def log_prob(self, choice: Tensor) -> Tensor:
        """Logarithm of the probability of choices ``[...]``."""
        return self.logits.log_softmax(-1).gather(-1, choice.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """Entropy ``[...]`` [nat]."""
        log_share = self.logits.log_softmax(-1)
        return -(log_share.exp() * log_share).sum(-1)


@dataclass(frozen=True)
class BoundedGaussian:
    r"""A Gaussian number squashed into an interval, :math:`a + (b - a)\,\sigma(z)`.

    Actions are kept as the unbounded z, so that no density is lost at the bounds; a ratio is the
    number between 0 and 1.

    Attributes:
        mean: Mean of z ``[...]``.
        log_std: Logarithm of the standard deviation of z ``[...]``.
        low: Lower bound a.
        high: Upper bound b.
    """

    mean: Tensor
    log_std: Tensor
    low: float = 0.0
    high: float = 1.0

    def sample(self, generator: torch.Generator) -> Tensor:
        """Unbounded numbers z ``[...]``."""
        noise = torch.randn(self.mean.shape, generator=generator, device=generator.device)
        return self.mean + self.log_std.exp() * noise

    def mode(self) -> Tensor:
        """Likeliest z, whose number is the median of the bounded ones ``[...]``."""
        return self.mean

    def bounded(self, z: Tensor) -> Tensor:
        """Numbers in the interval ``[...]``."""
        return self.low + (self.high - self.low) * torch.sigmoid(z)

    def log_prob(self, z: Tensor) -> Tensor:
        """Logarithm of the density of the bounded number that belongs to z ``[...]``."""
        standard = (z - self.mean) * (-self.log_std).exp()
        gaussian = -0.5 * standard.square() - self.log_std - 0.5 * math.log(2.0 * math.pi)
        slope = functional.logsigmoid(z) + functional.logsigmoid(-z)
        return gaussian - slope - math.log(self.high - self.low)

    def entropy(self) -> Tensor:
        """Entropy of the unbounded z ``[...]`` [nat], which has a closed form."""
        return self.log_std + 0.5 * math.log(2.0 * math.pi * math.e)


@dataclass(frozen=True)
class HybridAction:
    """What is chosen, and the number that goes with it.

    Attributes:
        choice: Chosen alternatives ``[...]``.
        z: Unbounded numbers ``[...]``.
    """

    choice: Tensor
    z: Tensor


@dataclass(frozen=True)
class HybridPolicy:
    """A choice and a bounded number whose law may depend on the choice (paper B, Fig. 2).

    Attributes:
        choice: Law of the choice among N.
        number: Law of the number: of shape ``[..., N]`` for each alternative its own, or
            ``[..., 1]`` for all the same.

    Raises:
        ValueError: If there are other numbers of laws.
    """

    choice: Choice
    number: BoundedGaussian

    def __post_init__(self) -> None:
        choices = self.choice.logits.shape[-1]
        widths = self.number.mean.shape[-1], self.number.log_std.shape[-1]
        rule = f"have 1 or {choices} means, and as many standard deviations"
        require(widths in ((1, 1), (choices, choices)), "number", rule, widths)

    def number_of(self, choice: Tensor) -> BoundedGaussian:
        """Law of the number that goes with choices ``[...]``."""
        index = choice.unsqueeze(-1)
        if self.number.mean.shape[-1] == 1:
            index = torch.zeros_like(index)
        mean, log_std = (
            value.gather(-1, index).squeeze(-1) for value in (self.number.mean, self.number.log_std)
        )
        return BoundedGaussian(mean, log_std, self.number.low, self.number.high)

    def sample(self, generator: torch.Generator) -> HybridAction:
        """Actions ``[...]``."""
        choice = self.choice.sample(generator)
        return HybridAction(choice, self.number_of(choice).sample(generator))

    def mode(self) -> HybridAction:
        """Likeliest choice with the mode of its number."""
        choice = self.choice.mode()
        return HybridAction(choice, self.number_of(choice).mode())

    def bounded(self, action: HybridAction) -> Tensor:
        """Numbers of actions in their interval ``[...]``."""
        return self.number.bounded(action.z)

    def log_prob(self, action: HybridAction) -> Tensor:
        """Logarithm of the density of actions ``[...]``."""
        number = self.number_of(action.choice)
        return self.choice.log_prob(action.choice) + number.log_prob(action.z)

    def entropy(self) -> Tensor:
        """Entropy of choice and number ``[...]`` [nat]."""
        share = self.choice.logits.softmax(-1)
        return self.choice.entropy() + (share * self.number.entropy()).sum(-1)
