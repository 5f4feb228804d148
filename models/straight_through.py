"""Hard forward, soft backward: bounds and choices through which gradients pass."""

from typing import Any

import torch
from torch import Tensor


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0.0, 1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,), (x,) = gradients, ctx.saved_tensors
        outwards = ((x <= 0.0) & (gradient > 0.0)) | ((x >= 1.0) & (gradient < 0.0))
        return gradient.masked_fill(outwards, 0.0)


def unit(x: Tensor) -> Tensor:
    """Numbers moved into [0, 1], which they can reach and leave again.

    At a bound a gradient passes if descending it leads inwards, as with the inverted gradients
    of bounded actions (Hausknecht and Stone, 2016).
    """
    found: Tensor = _Unit.apply(x)  # type: ignore[no-untyped-call]
    return found


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of ``hard``, to the last bit, with the gradient of ``soft``."""
    return hard + (soft - soft.detach())
