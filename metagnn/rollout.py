"""Rollouts of a policy over time: PF ratios, powers and rates, several sequences at once."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metagnn.graphs.neighbours import Gain, NeighbourGain
from metagnn.graphs.rates import moving_average, proportional_fair_ratio, rate

# (gain [..., K, K] of one time step, PF ratio [..., K], time step) -> power [..., K] [W]
Policy = Callable[[Gain, Tensor, int], Tensor]


@dataclass(frozen=True)
class Rollout:
    """What happened over T time steps of parallel sequences.

    Attributes:
        ratio: PF ratio that the policy saw ``[T, ..., K]``.
        power_w: Transmit powers ``[T, ..., K]`` [W].
        rate: Rates on the sample that the policy saw ``[T, ..., K]`` [bit/s/Hz].
        average_rate: Averaged rates after the last step ``[..., K]`` [bit/s/Hz].
    """

    ratio: Tensor
    power_w: Tensor
    rate: Tensor
    average_rate: Tensor


def rollout(
    policy: Policy,
    gain: Gain,
    at_full_power: Tensor,
    average_rate: Tensor,
    noise_w: float,
    window: float,
) -> Rollout:
    r"""Run a policy over consecutive samples, feeding back the averaged rates (paper A, Eq. 25).

    At step t the policy sees the sample and :math:`\mathrm{PF}_k(t) = \hat r_k(t) /
    \tilde r_k(t - 1)`, then the average moves by the rate it got: the power of a step depends on
    that sample and the past only. The average carries no gradient, the rates do.

    Args:
        policy: Called once per time step, on neighbour lists again in the backward pass.
        gain: Channel power gains [1], time first.
        at_full_power: Rates where all links transmit with the largest power [bit/s/Hz].
        average_rate: Averaged rates before the first step [bit/s/Hz].
        noise_w: Noise power over the band [W].
        window: Averaging window beta in [0, 1].

    Shapes:
        gain ``[T, ..., K, K]``, at_full_power ``[T, ..., K]``, average_rate ``[..., K]``.
    """

    def run(ratio: Tensor, step: int) -> tuple[Tensor, Tensor]:
        power_w = policy(gain[step], ratio, step)
        return power_w, rate(gain[step], power_w, noise_w)

    ratios, powers, rates = [], [], []
    for step in range(len(gain)):
        ratio = proportional_fair_ratio(at_full_power[step], average_rate)
        if isinstance(gain, NeighbourGain) and torch.is_grad_enabled():
            # Of large networks a step's activations are computed again rather than kept.
            power_w, got = checkpoint(run, ratio, step, use_reentrant=False)
        else:
            power_w, got = run(ratio, step)
        average_rate = moving_average(average_rate, got.detach(), window)
        ratios.append(ratio)
        powers.append(power_w)
        rates.append(got)
    return Rollout(torch.stack(ratios), torch.stack(powers), torch.stack(rates), average_rate)


def in_sequences(gain: Gain, num_sequences: int) -> Gain:
    """Consecutive samples as parallel sequences: ``[S, K, K]`` to ``[S // B, B, K, K]``.

    Sequence b holds the samples from ``b * (S // B)`` on; the last ``S % B`` samples are left out.
    """
    length = len(gain) // num_sequences
    kept = gain[: length * num_sequences]
    if isinstance(kept, NeighbourGain):
        return kept.reshape(num_sequences, length).transpose(0, 1)
    return kept.reshape(num_sequences, length, *kept.shape[1:]).transpose(0, 1)
