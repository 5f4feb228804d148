"""Coordinate search: weighted sum-rate maximisation, one link's power at a time."""

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, require
from metagnn.graphs.neighbours import Gain
from metagnn.tasks.power_control.scaling import (
    check_power_control,
    check_start,
    check_weight,
    scaled,
)

# Shares of the largest power that each link tries.
LEVELS = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)


@torch.no_grad()
def coordinate_search(
    gain: Gain,
    power_max_w: float,
    noise_w: float,
    weight: Tensor | None = None,
    initial_power_w: Tensor | None = None,
    max_sweeps: int = 20,
) -> Tensor:
    r"""Powers that no link betters by a change of its own to one of `LEVELS`.

    Links take turns. Each chooses, while the others keep their powers,

    .. math:: p_k \leftarrow \arg\max_{p \in \{p_k\} \cup P_{\max} \cdot \mathrm{LEVELS}}
              \sum_j \alpha_j \log_2(1 + \mathrm{SINR}_j),

    so that the weighted sum rate never falls, until none changes or ``max_sweeps`` are over. Unlike
    the steps of `wmmse` a turn crosses valleys: it switches links on and off.

    Args:
        gain: Channel power gains [1], transmitter (row) to receiver (column).
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W].
        weight: Weights alpha of the links' rates [1]; none stands for equal ones.
        initial_power_w: Powers to start from [W]; a quarter of the largest unless given.
        max_sweeps: Turns of every link at most.

    Shapes:
        gain ``[..., K, K]``, weight and initial_power_w ``[..., K]``; returns ``[..., K]`` [W].

    Raises:
        ValueError: If an argument is out of range or has a shape that does not fit.
    """
    check_power_control(gain, power_max_w, noise_w)
    require(isinstance(gain, Tensor), "gain", "be dense, without neighbour lists", type(gain))
    check_count("max_sweeps", max_sweeps)
    direct, crossed, noise = scaled(gain, power_max_w, noise_w)
    assert isinstance(crossed, Tensor)
    weight = check_weight(weight, gain).reshape(direct.shape).unsqueeze(1)
    share = check_start(initial_power_w, power_max_w, gain).reshape(direct.shape).clone()
    levels = torch.tensor(LEVELS, dtype=share.dtype, device=share.device)
    levels = levels.expand(len(share), -1)
    for _ in range(max_sweeps):
        before = share.clone()
        for link in range(share.shape[-1]):
            # The own power first, which is kept unless another is better.
            own = torch.cat([share[:, link, None], levels], 1)
            share[:, link] = 0.0
            with torch.autocast(gain.device.type, enabled=False):
                rest = torch.matmul(share.unsqueeze(1), crossed) + noise.unsqueeze(1)
            disturbance = rest + own.unsqueeze(2) * crossed[:, None, link]
            signal = (share * direct).unsqueeze(1).repeat(1, own.shape[1], 1)
            signal[..., link] = own * direct[:, link, None]
            value = (weight * torch.log1p(signal / disturbance)).sum(-1)
            best, at = value.max(-1)
            better = own.gather(1, at.unsqueeze(1)).squeeze(1)
            share[:, link] = torch.where(best > value[:, 0], better, own[:, 0])
        if bool((share == before).all()):
            break
    return (share * power_max_w).reshape(gain.shape[:-1])
