"""The least energy with which a user meets its deadline, given its channel and server."""

import math

import torch
from torch import Tensor

from metagnn.tasks.offloading.scenario import Radio

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_NUM_STEPS = 40


def least_energy(
    size_bit: Tensor,
    cycles: Tensor,
    deadline_s: Tensor,
    user_hz: Tensor,
    user_j_per_cycle: Tensor,
    server_hz: Tensor,
    server_j_per_cycle: Tensor,
    noise_to_gain_w: Tensor,
    radio: Radio,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""Ratio and power of the least energy under C1, C2 and C6 (paper D, Eq. 1 to 10).

    The slower a transmission, the less energy it takes, so for a ratio alpha it lasts the time
    :math:`t = T - \alpha \omega / (f \bar C)` that is left, at the power

    .. math:: p(\alpha) = \frac{N_0 B + I}{h}\left(2^{\alpha d / (B t)} - 1\right)

    or at the smallest power, if that is more. The energy :math:`(1 - \alpha) \omega \varepsilon +
    \alpha \omega \bar\varepsilon + p t` is convex in alpha (its last part is the perspective of a
    convex function), and the ratios that can meet the deadline are an interval: a search by
    golden section finds the minimum. Where no ratio meets the deadline, the whole task is offloaded
    at full power if that takes less energy than local computing.

    Args:
        size_bit: Sizes d of tasks [bit].
        cycles: Their cycles omega.
        deadline_s: Their deadlines T [s].
        user_hz: Speeds C of users [cycle/s].
        user_j_per_cycle: Energies of users [J/cycle].
        server_hz: Speeds of the parts of servers that they have [cycle/s], f C.
        server_j_per_cycle: Energies of servers [J/cycle].
        noise_to_gain_w: Noise and interference over the gain [W].
        radio: Bandwidth and limits of the power.

    Shapes:
        All tensors broadcast to the shape of the results: energies [J], ratios, powers [W] (0
        where nothing is offloaded) and whether the deadline is met.
    """
    given = (size_bit, cycles, deadline_s, user_hz, user_j_per_cycle, server_hz)
    shape_of = torch.broadcast_tensors(*given, server_j_per_cycle, noise_to_gain_w)
    d, omega, deadline, c, e_user, served, e_server, ratio_w = (v.double() for v in shape_of)
    # Speed that meets the deadline if the power is the largest one.
    fastest = radio.bandwidth_hz * torch.log1p(radio.power_max_w / ratio_w) / math.log(2.0)
    highest = (deadline / (d / fastest + omega / served)).clamp(max=1.0)
    lowest = (1.0 - deadline * c / omega).clamp(min=0.0)

    def power_w(ratio: Tensor) -> Tensor:
        left_s = (deadline - ratio * omega / served).clamp(min=1e-12)
        exponent = (ratio * d / (radio.bandwidth_hz * left_s)).clamp(max=1000.0)
        power: Tensor = ratio_w * torch.expm1(math.log(2.0) * exponent)
        return power.clamp(radio.power_min_w, radio.power_max_w)

    def energy_j(ratio: Tensor, power: Tensor) -> Tensor:
        rate = radio.bandwidth_hz * torch.log1p(power / ratio_w) / math.log(2.0)
        computing_j = (1.0 - ratio) * omega * e_user + ratio * omega * e_server
        total: Tensor = computing_j + power * ratio * d / rate
        return total

    possible = lowest <= highest
    left, right = lowest, torch.maximum(lowest, highest)
    for _ in range(_NUM_STEPS):
        width = right - left
        first, second = right - _GOLDEN * width, left + _GOLDEN * width
        falls = energy_j(first, power_w(first)) > energy_j(second, power_w(second))
        left, right = torch.where(falls, first, left), torch.where(falls, right, second)
    # The ends are exact, which the section only approaches.
    tried = torch.stack([lowest, torch.maximum(lowest, highest), (left + right) / 2.0])
    of_tried = energy_j(tried, power_w(tried))
    best = tried.gather(0, of_tried.argmin(0, keepdim=True)).squeeze(0)
    whole, most_w = torch.ones_like(best), torch.full_like(best, radio.power_max_w)
    hopeless = (energy_j(whole, most_w) < omega * e_user).double()
    best = torch.where(possible, best, hopeless)
    power = torch.where(possible, power_w(best), most_w)
    power = torch.where(best > 0.0, power, 0.0)
    energy = torch.where(best > 0.0, energy_j(best, power.clamp(min=1e-30)), omega * e_user)
    results = (energy, best, power)
    single = [value.to(noise_to_gain_w.dtype) for value in results]
    return single[0], single[1], single[2], possible
