"""WMMSE: weighted sum-rate maximisation by iteratively weighted minimum mean square error."""

from collections.abc import Iterator

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count
from metagnn.graphs.neighbours import Gain
from metagnn.tasks.power_control.scaling import (
    ScaledProblem,
    check_power_control,
    check_start,
    check_weight,
    scaled,
)


def wmmse(
    gain: Gain,
    power_max_w: float,
    noise_w: float,
    weight: Tensor | None = None,
    num_iterations: int = 100,
    initial_power_w: Tensor | None = None,
) -> Tensor:
    r"""Powers that maximise the weighted sum rate locally (Shi et al. 2011, single antennas).

    With amplitudes :math:`v = \sqrt p`, an iteration sets, for all links k at once,

    .. math::
        u_k = \frac{\sqrt{g_{kk}} v_k}{\sigma^2 + \sum_i g_{ik} v_i^2}, \quad
        w_k = \frac{1}{1 - u_k \sqrt{g_{kk}} v_k} = 1 + \mathrm{SINR}_k, \quad
        v_k = \left[\frac{\alpha_k w_k u_k \sqrt{g_{kk}}}
                         {\sum_j \alpha_j w_j u_j^2 g_{kj}}\right]_0^{\sqrt{P_{\max}}}

    The weighted sum rate :math:`\sum_k \alpha_k \log_2(1 + \mathrm{SINR}_k)` never falls. Details:

    - The weight is never formed as ``1 / (1 - u h v)``, which cancels on strong links. With
      :math:`T_k` all received power, :math:`I_k` that of noise and interference and :math:`S_k`
      the signal's, the equations above are evaluated as :math:`\alpha w u^2 = \alpha (S / T) / I`
      and :math:`\alpha w u \sqrt g = \alpha g v / I`, free of differences.
    - Gains and powers are scaled (`scaled`), so that float32 serves SINRs of hundreds of dB.
    - The start is :math:`v_k = \sqrt{P_{\max}} / 2` for all links, as in the code of the parents
      of paper A. A link that starts with no power keeps none.
    - A link whose direct gain or weight is 0 is switched off.
    - Without interference an iteration raises v by no more than the factor 1 + 1/SNR, so that an
      isolated strong link stays near its start: from the default start it may end up to 6 dB,
      2 bit/s/Hz, below what it could have. Pass full power as ``initial_power_w`` where most
      links are isolated.

    Args:
        gain: Channel power gains [1], transmitter (row) to receiver (column), or neighbour lists.
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W].
        weight: Weights alpha of the links' rates [1]; none stands for equal ones.
        num_iterations: Iterations; paper A runs 100.
        initial_power_w: Powers to start from [W]; a quarter of the largest unless given.

    Shapes:
        gain ``[..., K, K]``, weight and initial_power_w ``[..., K]``; returns ``[..., K]`` [W].

    Raises:
        ValueError: If an argument is out of range or has a shape that does not fit.
    """
    problem, weight, share = _checked(gain, power_max_w, noise_w, weight, initial_power_w)
    check_count("num_iterations", num_iterations)
    for amplitude in _amplitudes(problem, weight, share, num_iterations):
        last = amplitude
    return _powers(last, power_max_w, gain)


def wmmse_iterates(
    gain: Gain,
    power_max_w: float,
    noise_w: float,
    weight: Tensor | None = None,
    num_iterations: int = 100,
    initial_power_w: Tensor | None = None,
) -> Iterator[Tensor]:
    """Powers ``[..., K]`` [W] of `wmmse` at the start and after each iteration.

    Arguments, shapes and errors are those of `wmmse`; they are checked at the call.
    """
    problem, weight, share = _checked(gain, power_max_w, noise_w, weight, initial_power_w)
    check_count("num_iterations", num_iterations)
    amplitudes = _amplitudes(problem, weight, share, num_iterations)
    return (_powers(amplitude, power_max_w, gain) for amplitude in amplitudes)


def _powers(amplitude: Tensor, power_max_w: float, gain: Gain) -> Tensor:
    return (amplitude.square() * power_max_w).contiguous().reshape(gain.shape[:-1])


def _checked(
    gain: Gain,
    power_max_w: float,
    noise_w: float,
    weight: Tensor | None,
    initial_power_w: Tensor | None,
) -> tuple[ScaledProblem, Tensor, Tensor]:
    """Scaled problem, weights and shares of the largest power to start from, both ``[B, K]``."""
    check_power_control(gain, power_max_w, noise_w)
    weight = check_weight(weight, gain)
    share = check_start(initial_power_w, power_max_w, gain)
    problem = scaled(gain, power_max_w, noise_w)
    shape = problem.direct.shape
    return problem, weight.reshape(shape), share.reshape(shape)


@torch.no_grad()
def _amplitudes(
    problem: ScaledProblem, weight: Tensor, share: Tensor, num_iterations: int
) -> Iterator[Tensor]:
    """Amplitudes ``[B, K]`` relative to the largest, at the start and after each iteration."""
    received, caused = problem.products()
    direct, amplitude = problem.direct, share.sqrt()
    if problem.samples_last:
        direct, weight, amplitude = (v.T.contiguous() for v in (direct, weight, amplitude))
    gain_of = weight * direct
    # Where nothing is harmed the quotient exceeds 1, and the link transmits all it may.
    tiny = torch.finfo(direct.dtype).tiny
    for iteration in range(num_iterations + 1):
        yield amplitude.T if problem.samples_last else amplitude
        if iteration == num_iterations:
            return
        power = amplitude * amplitude
        disturbance = received(power)
        pull = (gain_of * amplitude).div_(disturbance)
        cost = (pull * amplitude).div_(torch.addcmul(disturbance, direct, power))
        amplitude = pull.div_(caused(cost).add_(tiny)).clamp_(max=1.0)
