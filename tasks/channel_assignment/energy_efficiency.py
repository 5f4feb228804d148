"""Energy efficiency of a user on a subchannel, and the power that makes it largest."""

import numpy as np
import torch
from scipy.special import lambertw
from torch import Tensor

from metagnn.tasks.channel_assignment.scenario import Uplink


def energy_efficiency(
    power_w: Tensor, gain_to_noise: Tensor, bandwidth_hz: Tensor, circuit_power_w: float
) -> Tensor:
    r"""Uplink energy efficiency of an undisturbed user [bit/J] (paper B, Eq. 3 and 4).

    .. math:: u = \frac{W}{p + p^c} \log_2(1 + p h / N)

    Args:
        power_w: Transmit powers p [W].
        gain_to_noise: Channel gains over noise powers h / N [1/W].
        bandwidth_hz: Bandwidths W [Hz].
        circuit_power_w: Static and circuit power p^c [W].

    Shapes:
        All tensors broadcast to the shape of the result.
    """
    return bandwidth_hz * torch.log2(1.0 + power_w * gain_to_noise) / (power_w + circuit_power_w)


def permitted_power(power_w: Tensor, gain_to_noise: Tensor, uplink: Uplink) -> Tensor:
    """Powers in use [W] (paper B, Eq. 7): the largest where the SNR is too small, 0 if hopeless.

    Shapes:
        Both tensors broadcast to the shape of the result.
    """
    # A power chosen to reach the SNR exactly may miss it by rounding.
    enough = power_w * gain_to_noise >= uplink.snr_min * (1.0 - 1e-6)
    possible = uplink.power_max_w * gain_to_noise >= uplink.snr_min
    raised = torch.where(enough, power_w, uplink.power_max_w)
    return torch.where(possible, raised, 0.0)


def best_power(gain_to_noise: Tensor, uplink: Uplink) -> Tensor:
    r"""Power of the largest energy efficiency among those permitted [W]; 0 if none reaches the SNR.

    The efficiency rises up to its one maximum and falls beyond, so the constrained maximum is the
    free one moved into ``[max(p_min, SNR_min N / h), p_max]``. With x = 1 + p h / N the derivative
    vanishes where :math:`x (\ln x - 1) = p^c h / N - 1`, hence

    .. math:: p = \frac{N}{h} \left(e^{1 + W_0((p^c h / N - 1) / e)} - 1\right)

    with the Lambert function :math:`W_0`.

    Args:
        gain_to_noise: Channel gains over noise powers ``[...]`` [1/W], > 0.
        uplink: Limits of the power.
    """
    ratio = gain_to_noise.double().cpu().numpy()
    root = lambertw((uplink.circuit_power_w * ratio - 1.0) / np.e).real
    free = (np.exp(1.0 + root) - 1.0) / ratio
    lowest = np.maximum(uplink.power_min_w, uplink.snr_min / ratio)
    power = np.minimum(np.maximum(free, lowest), uplink.power_max_w)
    possible = uplink.power_max_w * ratio >= uplink.snr_min
    return torch.from_numpy(np.where(possible, power, 0.0)).to(gain_to_noise)
