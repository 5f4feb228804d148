"""Power control without units: gains relative to the strongest, powers to the largest allowed."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from metagnn.graphs.checks import check_positive, check_square, require
from metagnn.graphs.neighbours import Gain, NeighbourGain

# Noise this far above the strongest received power leaves no trace of interference; noise this far
# below it leaves none of noise wherever there is interference. Between them float32 neither over-
# nor underflows in products of two such quantities.
NOISE_RANGE = (1e-30, 1e12)

# From here on a batched product is faster than products and sums over samples that lie in a row.
_LINKS_FOR_BMM = 25


class ScaledProblem(NamedTuple):
    """Gains and noise whose optimal powers, as shares of the largest, are those of the original.

    Attributes:
        direct: Gains of the direct links ``[B, K]``, at most 1.
        crossed: Gains between links ``[B, K, K]``, 0 on the diagonal, or neighbour lists; at
            most 1.
        noise: Noise ``[B, 1]``.
    """

    direct: Tensor
    crossed: Tensor | NeighbourGain
    noise: Tensor

    @property
    def samples_last(self) -> bool:
        """Whether `products` are those of values ``[K, B]`` rather than ``[B, K]``."""
        return isinstance(self.crossed, Tensor) and self.crossed.shape[-1] < _LINKS_FOR_BMM

    def products(self) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """What receivers get and what transmitters cause: functions of one value per link.

        They carry no gradient, and are not in bfloat16 where networks are.

        The first gives noise and interference ``sigma'^2 + sum_{i != k} g'_ik x_i`` of powers x,
        the second ``sum_k g'_ik y_k`` of values y at all receivers, the own one included.
        """
        direct, crossed, noise = self
        if isinstance(crossed, NeighbourGain):
            return (
                lambda share: crossed.received(share) + noise,
                lambda value: crossed.caused(value) + direct * value,
            )
        to_all = crossed + torch.diag_embed(direct)
        if self.samples_last:
            from_all, noise = crossed.permute(1, 2, 0).contiguous(), noise.T
            to_all = to_all.permute(2, 1, 0).contiguous()
            each = torch.empty_like(to_all)
            return (
                lambda share: torch.mul(from_all, share.unsqueeze(1), out=each).sum(0).add_(noise),
                lambda value: torch.mul(to_all, value.unsqueeze(1), out=each).sum(0),
            )
        to_all = to_all.mT.contiguous()
        # [B, 1, K] times [B, K, K]: several times faster than the product with a column.
        rows_of_noise = noise.unsqueeze(1)
        full_precision = partial(torch.autocast, direct.device.type, enabled=False)

        def received(share: Tensor) -> Tensor:
            with full_precision():
                return torch.baddbmm(rows_of_noise, share.unsqueeze(1), crossed).squeeze(1)

        def caused(value: Tensor) -> Tensor:
            with full_precision():
                return torch.bmm(value.unsqueeze(1), to_all).squeeze(1)

        return received, caused


def check_power_control(gain: Gain, power_max_w: float, noise_w: float) -> None:
    """Check what every algorithm of power control is given.

    Args:
        gain: Channel power gains [1], transmitter (row) to receiver (column).
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W].

    Shapes:
        gain ``[..., K, K]`` with at least one link.

    Raises:
        ValueError: If ``gain`` is not square, not float32 or float64, holds no link, or holds
            values that are negative or not finite; if a power is not finite and positive.
    """
    check_positive("power_max_w", power_max_w)
    check_positive("noise_w", noise_w)
    if isinstance(gain, Tensor):
        check_square("gain", gain)
    require(gain.shape[-1] >= 1, "gain", "hold at least one link", tuple(gain.shape))
    require(
        gain.dtype in (torch.float32, torch.float64), "gain", "be float32 or float64", gain.dtype
    )
    if isinstance(gain, Tensor):
        _require_everywhere("gain", gain)
        return
    for value in (gain.direct, gain.crossed):
        _require_everywhere("gain", value)
    neglected = gain.neglected
    _require_everywhere("gain.neglected", neglected.masked_fill(neglected.isnan(), 0.0))


def check_weight(weight: Tensor | None, gain: Gain) -> Tensor:
    """Check weights of links, and return them ``[..., K]`` with the largest of each sample 1.

    Args:
        weight: Weights of the links' rates [1]; none stands for equal ones.
        gain: Checked gains ``[..., K, K]``.

    Shapes:
        weight ``[..., K]``, or fewer leading axes if they broadcast.

    Raises:
        ValueError: If the shape does not fit, or a weight is negative or not finite.
    """
    if weight is None:
        return full_like_links(gain, 1.0)
    _require_shape("weight", weight, gain)
    _require_everywhere("weight", weight)
    weight = weight.to(gain.device, gain.dtype).expand(gain.shape[:-1])
    largest = weight.amax(-1, keepdim=True)
    return weight / torch.where(largest > 0, largest, torch.ones_like(largest))


def check_per_link(name: str, value: Tensor, gain: Gain) -> Tensor:
    """Require one number per link, and return it with the shape, type and device of the gains.

    Raises:
        ValueError: If the shape does not fit, or a value is NaN.
    """
    _require_shape(name, value, gain)
    require(not bool(value.isnan().any()), name, "hold no NaN", float("nan"))
    return value.to(gain.device, gain.dtype).expand(gain.shape[:-1])


def check_start(initial_power_w: Tensor | None, power_max_w: float, gain: Gain) -> Tensor:
    """Check powers to start from, and return them as shares of the largest ``[..., K]``.

    Args:
        initial_power_w: Powers [W]; a quarter of the largest unless given.
        power_max_w: Largest transmit power [W].
        gain: Checked gains ``[..., K, K]``.

    Raises:
        ValueError: If the shape does not fit, or a power does not lie in ``[0, power_max_w]``.
    """
    if initial_power_w is None:
        return full_like_links(gain, 0.25)
    initial_power_w = check_per_link("initial_power_w", initial_power_w, gain)
    share = initial_power_w / power_max_w
    inside = (share >= 0) & (share <= 1 + 4 * torch.finfo(gain.dtype).eps)
    if not bool(inside.all()):
        first = float(initial_power_w[~inside][0])
        require(False, "initial_power_w", f"lie in [0, {power_max_w}]", first)
    return share.clamp(max=1.0)


def full_like_links(gain: Gain, value: float) -> Tensor:
    """One number for each link of the gains ``[..., K]``."""
    return torch.full(gain.shape[:-1], value, dtype=gain.dtype, device=gain.device)


def scaled(gain: Gain, power_max_w: float, noise_w: float) -> ScaledProblem:
    r"""Divide gains by the strongest of their sample, and powers by the largest allowed.

    SINRs are kept, :math:`g_{kk} p_k / (\sigma^2 + \sum_i g_{ik} p_i) = g'_{kk} x_k / (\sigma'^2 +
    \sum_i g'_{ik} x_i)` with :math:`x = p / P_{\max}`, :math:`g' = g / c` and :math:`\sigma'^2 =
    \sigma^2 / (c P_{\max})`, where :math:`c = \max g`. The noise is kept within `NOISE_RANGE`:
    300 dB below and 120 dB above the strongest received power.

    Shapes:
        gain ``[..., K, K]``; the result has all leading axes in one, B.
    """
    if isinstance(gain, NeighbourGain):
        return _scaled_neighbours(gain, power_max_w, noise_w)
    flat = gain.reshape(-1, *gain.shape[-2:])
    strongest = _positive(flat.amax((-2, -1)).unsqueeze(-1))
    relative = flat / strongest.unsqueeze(-1)
    direct = torch.diagonal(relative, dim1=-2, dim2=-1).contiguous()
    noise = _noise(strongest, power_max_w, noise_w, gain.dtype)
    return ScaledProblem(direct, relative - torch.diag_embed(direct), noise)


def _scaled_neighbours(gain: NeighbourGain, power_max_w: float, noise_w: float) -> ScaledProblem:
    direct = gain.direct.reshape(-1, gain.num_links)
    crossed = gain.crossed.reshape(len(direct), gain.neighbours.num_pairs)
    strongest = _positive(torch.cat([direct, crossed], dim=-1).amax(-1, keepdim=True))
    neglected = gain.neglected.reshape(direct.shape)
    relative = NeighbourGain(
        gain.neighbours, direct / strongest, crossed / strongest, neglected / strongest
    )
    noise = _noise(strongest, power_max_w, noise_w, gain.dtype)
    return ScaledProblem(relative.direct, relative, noise)


def _positive(strongest: Tensor) -> Tensor:
    return torch.where(strongest > 0, strongest, torch.ones_like(strongest))


def _noise(strongest: Tensor, power_max_w: float, noise_w: float, dtype: torch.dtype) -> Tensor:
    # In float64, as the noise may lie below what float32 holds.
    return (noise_w / power_max_w / strongest.double()).clamp(*NOISE_RANGE).to(dtype)


def _require_shape(name: str, value: Tensor, gain: Gain) -> None:
    shape = tuple(gain.shape[:-1])
    try:
        fits = value.dim() >= 1 and torch.broadcast_shapes(value.shape, shape) == shape
    except RuntimeError:
        fits = False
    fits = fits and value.shape[-1] == shape[-1]
    require(fits, name, f"have the shape {shape} or broadcast to it", tuple(value.shape))


def _require_everywhere(name: str, value: Tensor) -> None:
    if value.numel() == 0:
        return
    low, high = value.aminmax()  # NaN where any value is
    if not bool((low >= 0) & (high < torch.inf)):
        valid = (value >= 0) & value.isfinite()
        require(False, name, "be finite and >= 0 everywhere", float(value[~valid][0]))
