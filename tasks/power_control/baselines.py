"""Baselines of power control by name; the simplest of them stand here."""

from collections.abc import Callable

import torch
from torch import Tensor

from metagnn.graphs.neighbours import Gain
from metagnn.graphs.randomness import generator as make_generator
from metagnn.tasks.power_control.exact import exact
from metagnn.tasks.power_control.fplinq import fplinq
from metagnn.tasks.power_control.itlinq import itlinq
from metagnn.tasks.power_control.scaling import check_power_control, full_like_links
from metagnn.tasks.power_control.wmmse import wmmse


def full_power(gain: Gain, power_max_w: float, noise_w: float) -> Tensor:
    """All links transmit with the largest power (*Max power* of paper A).

    Args:
        gain: Channel power gains [1], transmitter (row) to receiver (column).
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W]; without influence.

    Shapes:
        gain ``[..., K, K]``; returns ``[..., K]`` [W].

    Raises:
        ValueError: If an argument is out of range or ``gain`` is not square.
    """
    check_power_control(gain, power_max_w, noise_w)
    return full_like_links(gain, power_max_w)


def random_power(
    gain: Gain, power_max_w: float, noise_w: float, generator: torch.Generator | None = None
) -> Tensor:
    """All links transmit with independent powers, uniform between 0 and the largest.

    Args:
        gain: Channel power gains [1], transmitter (row) to receiver (column).
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W]; without influence.
        generator: Source of the powers. Without one, each call draws the same numbers: pass one
            where calls are to differ.

    Shapes:
        gain ``[..., K, K]``; returns ``[..., K]`` [W].

    Raises:
        ValueError: If an argument is out of range or ``gain`` is not square.
    """
    check_power_control(gain, power_max_w, noise_w)
    generator = make_generator(0, "random_power") if generator is None else generator
    share = torch.rand(
        gain.shape[:-1], generator=generator, dtype=gain.dtype, device=generator.device
    )
    return share.to(gain.device) * power_max_w


# Name of a policy -> (gain [..., K, K], power_max_w, noise_w, ...) -> power_w [..., K].
BASELINES: dict[str, Callable[..., Tensor]] = {
    "wmmse": wmmse,
    "itlinq": itlinq,
    "fplinq": fplinq,
    "full_power": full_power,
    "random": random_power,
    "exact": exact,
}
