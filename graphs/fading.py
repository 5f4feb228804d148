"""Shadowing and Rayleigh fading, independent or correlated in time."""

import math

import torch
from torch import Tensor

from metagnn.graphs.checks import check_non_negative


def shadowing_db(shape: tuple[int, ...], std_db: float, generator: torch.Generator) -> Tensor:
    """Log-normal shadowing [dB]: independent zero-mean normal numbers of the given shape."""
    check_non_negative("std_db", std_db)
    return std_db * torch.randn(shape, generator=generator)


def rayleigh_power(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Independent Rayleigh fading: unit-mean exponential power gains [1] of the given shape."""
    uniform = torch.rand(shape, generator=generator, device=generator.device)
    return -torch.log1p(-uniform).clamp(max=-1e-7)


def rayleigh_power_sequence(
    num_steps: int,
    shape: tuple[int, ...],
    doppler_hz: float,
    step_s: float,
    generator: torch.Generator,
    num_sinusoids: int = 16,
) -> Tensor:
    r"""Rayleigh fading correlated in time: power of a sum of sinusoids (Clarke's model).

    :math:`h(t) = N^{-1/2} \sum_n \exp(j (2 \pi f_D t \cos\alpha_n + \phi_n))` with random arrival
    angles and phases; the autocorrelation of h is :math:`J_0(2 \pi f_D t)`.

    Args:
        num_steps: Number of time steps S.
        shape: Shape of one sample.
        doppler_hz: Largest Doppler shift [Hz].
        step_s: Time between steps [s].
        generator: Source of randomness.
        num_sinusoids: Number of arriving waves N.

    Shapes:
        Returns ``[S, *shape]``, unit mean power [1].
    """
    check_non_negative("doppler_hz", doppler_hz)
    check_non_negative("step_s", step_s)
    angle = 2.0 * math.pi * torch.rand((num_sinusoids, *shape), generator=generator)
    phase = 2.0 * math.pi * torch.rand((num_sinusoids, *shape), generator=generator)
    rate = 2.0 * math.pi * doppler_hz * step_s * torch.cos(angle)
    real = torch.zeros((num_steps, *shape))
    imaginary = torch.zeros((num_steps, *shape))
    time = torch.arange(num_steps, dtype=torch.float32).reshape(-1, *[1] * len(shape))
    for wave in range(num_sinusoids):
        argument = rate[wave] * time + phase[wave]
        real += torch.cos(argument)
        imaginary += torch.sin(argument)
    return (real.square() + imaginary.square()) / num_sinusoids
