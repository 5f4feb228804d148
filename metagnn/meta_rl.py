r"""Model-agnostic meta-learning of policies (Finn et al., 2017), by two engines.

Every network n takes gradient steps of its own from the shared parameters,
:math:`\theta_n \leftarrow \theta_n - \alpha \nabla L_n(\theta_n)`, some after each episode; the
shared ones descend the mean over networks of the loss on the episode after the last step. Without
``second_order`` the steps' own derivatives are left out.

Departures from the paper, whose text gives no equations: the inner loss is the objective of PPO
alone (the policy gradient with generalised advantages), so critic and entropy do not move the
layers that all share; the outer loss is that of PPO as a whole, and may be of counterfactual
advantages, while steps learn of what can be measured; networks learn from one episode at a time, as
they would after deployment; a step's gradient is shortened to ``PPOSettings.max_gradient_norm``, as
clipped ratios do not bound it where advantages are negative; how the shared parameters change
which episodes the steps learn from is left out, as in most implementations; further passes of an
outer update take the steps again on the same episodes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from metagnn.graphs.checks import check_count, check_positive, require
from metagnn.learn2learn_import import import_learn2learn
from metagnn.ppo import PPOSettings
from metagnn.spectrum_episode import Parameters
from metagnn.spectrum_lesson import Lesson, losses

Engine = Literal["vectorized", "learn2learn"]
ENGINES: tuple[Engine, ...] = ("vectorized", "learn2learn")


@dataclass(frozen=True)
class InnerSettings:
    """Steps of the networks.

    Attributes:
        rate: Rate alpha of a step, whose gradient is no longer than `PPOSettings` allow.
        num_steps: Steps after each episode, all on that episode.
        second_order: The outer gradient goes through the steps' derivatives.
        engine: ``vectorized``, all networks side by side, or ``learn2learn``, one after the other.

    Raises:
        ValueError: If a number is not positive or the engine unknown.
    """

    rate: float = 1e-2
    num_steps: int = 1
    second_order: bool = False
    engine: Engine = "vectorized"

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)
        check_count("num_steps", self.num_steps)
        require(self.engine in ENGINES, "engine", f"be one of {ENGINES}", self.engine)


class Learners(Protocol):
    """Networks' own parameters, which begin as the shared ones."""

    def parameters(self) -> Parameters:
        """Those of all networks ``[B, ...]``, to act with."""

    def learn(self, lesson: Lesson) -> None:
        """Steps of each network down its own loss."""

    def outer(self, lesson: Lesson) -> Tensor:
        """Losses after the steps ``[B]``, of which the shared parameters can take the gradient."""


class VectorizedLearners:
    """All networks side by side, in stacked parameters.

    Args:
        policy: Holds the shared parameters.
        num_networks: Number of networks B.
        inner: Their steps.
        settings: Constants of their losses.
    """

    def __init__(
        self, policy: Any, num_networks: int, inner: InnerSettings, settings: PPOSettings
    ) -> None:
        self._policy, self._inner, self._settings = policy, inner, settings
        self._of_steps = objective_alone(settings)
        self._own: Mapping[str, Tensor] = {
            name: value.expand(num_networks, *value.shape)
            for name, value in policy.named_parameters()
        }

    def parameters(self) -> Parameters:
        """See `Learners`."""
        return {name: value.detach() for name, value in self._own.items()}

    def learn(self, lesson: Lesson) -> None:
        """See `Learners`."""
        for _ in range(self._inner.num_steps):
            # The gradient of the sum is that of each network's loss in its own parameters.
            loss = losses(self._policy, lesson, self._of_steps, self._own)["loss"].sum()
            gradients = torch.autograd.grad(
                loss,
                list(self._own.values()),
                create_graph=self._inner.second_order,
                allow_unused=True,  # without edges some parameters have no part in it
            )
            bounded = shortened(gradients, self._settings.max_gradient_norm)
            self._own = {
                name: value if gradient is None else value - self._inner.rate * gradient
                for (name, value), gradient in zip(self._own.items(), bounded, strict=True)
            }

    def outer(self, lesson: Lesson) -> Tensor:
        """See `Learners`."""
        return losses(self._policy, lesson, self._settings, self._own)["loss"]


class Learn2LearnLearners:
    """A clone of the policy for each network, by learn2learn's MAML; arguments as above."""

    def __init__(
        self, policy: Any, num_networks: int, inner: InnerSettings, settings: PPOSettings
    ) -> None:
        self._update = import_learn2learn().algorithms.maml.maml_update
        maml = import_learn2learn().algorithms.MAML(policy, lr=inner.rate)
        self._clones = [maml.clone() for _ in range(num_networks)]
        self._inner, self._settings = inner, settings
        self._of_steps = objective_alone(settings)

    def parameters(self) -> Parameters:
        """See `Learners`."""
        columns = [dict(clone.module.named_parameters()) for clone in self._clones]
        return {name: torch.stack([c[name].detach() for c in columns]) for name in columns[0]}

    def _loss(self, lesson: Lesson, number: int, settings: PPOSettings) -> Tensor:
        own, module = lesson.of(torch.tensor([number])), self._clones[number].module
        return losses(module, own, settings)["loss"][0]

    def learn(self, lesson: Lesson) -> None:
        """See `Learners`."""
        for number, clone in enumerate(self._clones):
            for _ in range(self._inner.num_steps):
                self._step(clone, self._loss(lesson, number, self._of_steps))

    def _step(self, clone: Any, loss: Tensor) -> None:
        gradients = torch.autograd.grad(
            loss,
            list(clone.module.parameters()),
            create_graph=self._inner.second_order,
            allow_unused=True,
        )
        alone = [None if one is None else one.unsqueeze(0) for one in gradients]
        bounded = shortened(alone, self._settings.max_gradient_norm)
        step = [None if one is None else one.squeeze(0) for one in bounded]
        clone.module = self._update(clone.module, self._inner.rate, step)

    def outer(self, lesson: Lesson) -> Tensor:
        """See `Learners`."""
        numbers = range(len(self._clones))
        found = [self._loss(lesson, n, self._settings) for n in numbers]
        return torch.stack(found)


def objective_alone(settings: PPOSettings) -> PPOSettings:
    """The same without the losses of critic and entropy."""
    return replace(settings, value_weight=0.0, entropy_weight=0.0)


def shortened(gradients: Sequence[Tensor | None], most: float) -> list[Tensor | None]:
    """The same, no network's of a norm above ``most``.

    Args:
        gradients: Those of B networks in each parameter ``[B, ...]``; None where there is none.
        most: Largest norm of a network's gradient in all parameters; inf leaves all as they are.
    """
    if math.isinf(most):
        return list(gradients)
    squares = [one.square().flatten(1).sum(1) for one in gradients if one is not None]
    norm = torch.stack(squares).sum(0).clamp(min=1e-24).sqrt()
    factor = (most / norm).clamp(max=1.0)
    return [
        None if one is None else one * factor.view(-1, *[1] * (one.dim() - 1)) for one in gradients
    ]


def learners(
    policy: nn.Module, num_networks: int, inner: InnerSettings, settings: PPOSettings
) -> Learners:
    """Learners of the networks, by the engine of ``inner``."""
    kind = VectorizedLearners if inner.engine == "vectorized" else Learn2LearnLearners
    return kind(policy, num_networks, inner, settings)
