"""ITLinQ: on/off link scheduling where interference can be treated as noise."""

from dataclasses import replace

import torch
from torch import Tensor

from metagnn.graphs.checks import check_non_negative, check_positive
from metagnn.graphs.neighbours import Gain, NeighbourGain
from metagnn.graphs.rates import full_power_rate
from metagnn.tasks.power_control.scaling import check_per_link, check_power_control


@torch.no_grad()
def itlinq(
    gain: Gain,
    power_max_w: float,
    noise_w: float,
    priority: Tensor | None = None,
    margin: float = 10**2.5,
    exponent: float = 0.5,
) -> Tensor:
    r"""Powers of a set of links among which interference is weak (Naderializadeh, Avestimehr 2014).

    Links are visited by descending priority. The first is on; each next one is on iff

    .. math::
        \max\left\{\max_{i \in A} \mathrm{INR}_{ik}, \max_{i \in A} \mathrm{INR}_{ki}\right\}
        \le M \, \mathrm{SNR}_k^\eta

    where A are the links switched on so far, and :math:`\mathrm{INR}_{ik} = P_{\max} g_{ik} /
    \sigma^2` is what transmitter i causes at receiver k: the interference that the link would
    receive and that which it would cause are both bounded by the link's own SNR, in linear scale.
    Links that are on transmit with the largest power. Details:

    - Paper A and its parents take the PF ratio (Eq. 25) as priority; the original takes a random
      order. Without ``priority``, links are ordered by their rate when all use full power.
    - Links of equal priority are visited in the order of their index.

    Args:
        gain: Channel power gains [1], transmitter (row) to receiver (column), or neighbour lists.
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W].
        priority: Priorities of the links, such as PF ratios [1].
        margin: M [1]; 25 dB unless given.
        exponent: eta [1].

    Shapes:
        gain ``[..., K, K]``, priority ``[..., K]``; returns ``[..., K]`` [W].

    Raises:
        ValueError: If an argument is out of range or has a shape that does not fit.
    """
    check_power_control(gain, power_max_w, noise_w)
    check_positive("margin", margin)
    check_non_negative("exponent", exponent)
    if isinstance(gain, NeighbourGain):
        return _on_neighbours(gain, power_max_w, noise_w, priority, margin, exponent)
    if priority is None:
        priority = full_power_rate(gain, power_max_w, noise_w)
    else:
        priority = check_per_link("priority", priority, gain)
    num_links = gain.shape[-1]
    order = priority.reshape(-1, num_links).argsort(dim=-1, descending=True, stable=True)

    flat = gain.reshape(-1, num_links, num_links)
    snr = torch.diagonal(flat, dim1=-2, dim2=-1).double() * (power_max_w / noise_w)
    most = (margin * snr**exponent * (noise_w / power_max_w)).to(gain.dtype)
    # [B, k, i]: whether link k cannot be on where link i is.
    conflict = torch.maximum(flat, flat.mT) > most.unsqueeze(-1)

    on = torch.zeros_like(order, dtype=torch.bool)
    sample = torch.arange(len(order), device=order.device)
    for k in order.unbind(-1):
        on[sample, k] = ~(conflict[sample, k] & on).any(-1)
    return torch.where(on.reshape(gain.shape[:-1]), gain.new_tensor(power_max_w), 0.0)


def _on_neighbours(
    gain: NeighbourGain,
    power_max_w: float,
    noise_w: float,
    priority: Tensor | None,
    margin: float,
    exponent: float,
) -> Tensor:
    """The same decisions without visiting links in turn: in rounds, by all links at once.

    A link is off once an earlier link that it is in conflict with is on, and on once all of them
    are off; the rounds are as many as the longest chain of such decisions.
    """
    gain_64 = replace(gain, direct=gain.direct.double(), crossed=gain.crossed.double())
    if priority is None:
        priority = full_power_rate(gain_64, power_max_w, noise_w)
    else:
        priority = check_per_link("priority", priority, gain)
    order = priority.argsort(dim=-1, descending=True, stable=True)
    number = torch.arange(gain.num_links, device=order.device).expand_as(order)
    rank = torch.zeros_like(order).scatter(-1, order, number)
    pairs, scale = gain.neighbours, power_max_w / noise_w
    source_first = rank[..., pairs.source] < rank[..., pairs.target]
    earlier = torch.where(source_first, pairs.source, pairs.target)
    later = torch.where(source_first, pairs.target, pairs.source)
    bound = margin * (gain_64.direct * scale) ** exponent
    conflict = gain_64.crossed * scale > bound.gather(-1, later)
    on = torch.zeros_like(order, dtype=torch.bool)
    decided = torch.zeros_like(on)
    while not bool(decided.all()):
        off = _any_into(on.gather(-1, earlier) & conflict, later, on)
        waits = _any_into(~decided.gather(-1, earlier) & conflict, later, on)
        on = on | ~(decided | off | waits)
        decided = on | off
    return torch.where(on, gain.direct.new_tensor(power_max_w), 0.0)


def _any_into(value: Tensor, index: Tensor, like: Tensor) -> Tensor:
    """Whether any ``value [..., E]`` is true among those of each link ``[..., K]``."""
    count = torch.zeros_like(like, dtype=torch.int32).scatter_add(-1, index, value.int())
    return count > 0
