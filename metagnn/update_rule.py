"""Update rules of inner loops as pure functions on flat parameter vectors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metagnn.graphs.checks import check_positive, require

# Adam's decay rates and epsilon of its paper (Kingma and Ba, 2015).
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8

State = dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class UpdateRule:
    """Gradient descent or Adam with a learning rate per network; differentiable in both.

    Attributes:
        learning_rates: Step size of each network (eta_p, eta_s, eta_mu, ... of the paper).
        kind: ``sgd`` (the paper's) or ``adam``.

    Raises:
        ValueError: If a learning rate is not finite and positive, or ``kind`` is unknown.
    """

    learning_rates: Mapping[str, float]
    kind: Literal["sgd", "adam"] = "sgd"

    def __post_init__(self) -> None:
        require(self.kind in ("sgd", "adam"), "kind", "be 'sgd' or 'adam'", self.kind)
        for name, value in self.learning_rates.items():
            check_positive(f"learning_rates[{name!r}]", value)

    def require_names(self, name: str, networks: tuple[str, ...]) -> None:
        """Require learning rates for exactly these networks; ``name`` is the rule's own name."""
        require(
            set(self.learning_rates) == set(networks),
            f"{name}.learning_rates",
            f"name exactly the networks {sorted(networks)}",
            sorted(self.learning_rates),
        )

    def apply(
        self, parameters: dict[str, Tensor], gradients: dict[str, Tensor], state: State, step: int
    ) -> tuple[dict[str, Tensor], State]:
        """Parameters and state after one descent step.

        Args:
            parameters: Flat parameters of each network.
            gradients: Their gradients.
            state: Adam's moments; empty at the first step.
            step: Number of the step, from 1.
        """
        moved: dict[str, Tensor] = {}
        moments: State = {}
        for name, value in parameters.items():
            rate, gradient = self.learning_rates[name], gradients[name]
            if self.kind == "sgd":
                moved[name] = torch.sub(value, gradient, alpha=rate)
                continue
            zero = torch.zeros_like(gradient)
            first, second = state.get(name, (zero, zero))
            first = torch.lerp(first, gradient, 1 - _BETA1)
            second = torch.addcmul(_BETA2 * second, gradient, gradient, value=1 - _BETA2)
            # The tiny constant keeps the square root differentiable at zero.
            scale = torch.add(1e-20, second, alpha=1 / (1 - _BETA2**step)).sqrt() + _EPSILON
            moved[name] = torch.addcdiv(value, first, scale, value=-rate / (1 - _BETA1**step))
            moments[name] = (first, second)
        return moved, moments
