"""Checks at the door: each error names the argument, the rule and the value."""

import math

import numpy as np
import torch
from torch import Tensor

_FROM_DB = "; these look like dB: convert with 10 ** (gain_db / 10)"
# Path losses of a radio network in dB. Gains that all lie there would amplify at least 13 dB.
_LOSS_DB = (20, 300)


def require(condition: bool, name: str, rule: str, value: object) -> None:
    """Raise ``ValueError`` saying that ``name`` must obey ``rule``, unless ``condition`` holds."""
    if not condition:
        raise ValueError(f"`{name}` must {rule}, got {value!r}")


def check_finite(name: str, value: float) -> None:
    """Require a finite number."""
    require(math.isfinite(value), name, "be finite", value)


def check_positive(name: str, value: float) -> None:
    """Require a finite number above zero."""
    require(math.isfinite(value) and value > 0, name, "be finite and > 0", value)


def check_non_negative(name: str, value: float) -> None:
    """Require a finite number that is not negative."""
    require(math.isfinite(value) and value >= 0, name, "be finite and >= 0", value)


def check_count(name: str, value: int, minimum: int = 1) -> None:
    """Require an integer of at least ``minimum``."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    require(is_integer and value >= minimum, name, f"be an integer >= {minimum}", value)


def check_each(name: str, value: Tensor, fits: Tensor, rule: str) -> None:
    """Require that all numbers of ``value`` fit; the error says the first one that does not.

    Shapes:
        value and fits ``[...]``.
    """
    if not bool(fits.all()):
        require(False, name, rule, value[~fits][0].item())


def check_pair(name: str, value: object, rule: str) -> None:
    """Require two values."""
    require(isinstance(value, tuple | list) and len(value) == 2, name, rule, value)


def check_square(name: str, gain: Tensor) -> None:
    """Require at least two dimensions, the last two of equal size."""
    require(
        gain.dim() >= 2 and gain.shape[-1] == gain.shape[-2],
        name,
        "be square in its last two dimensions",
        tuple(gain.shape),
    )


def check_gain(name: str, gain: object) -> Tensor:
    """Check channel power gains that a user hands in, and return them as a float32 tensor.

    Args:
        name: What the caller calls the argument.
        gain: Linear power gains [1], transmitter (row) to receiver (column).

    Shapes:
        gain ``[..., K, K]`` with at least one link; returns the same shape.

    Raises:
        ValueError: If the gains are not real numbers, not square, empty, not finite or negative,
            zero on the diagonal, or beyond what float32 holds (a gain between links that is too
            small for float32 becomes 0).
    """
    array = _real_numbers(name, gain)
    require(
        array.ndim >= 2 and array.shape[-1] == array.shape[-2],
        name,
        "be square in its last two dimensions",
        array.shape,
    )
    require(array.size > 0, name, "hold at least one sample and one link", array.shape)
    single = _power_gains(name, array)
    _check_direct(
        name, np.diagonal(array, axis1=-2, axis2=-1), "on the diagonal (the direct links)"
    )
    return torch.from_numpy(np.ascontiguousarray(single))


def check_direct_gain(name: str, gain: np.ndarray | Tensor) -> Tensor:
    """`check_gain` for gains of direct links only ``[..., K]``."""
    array = _real_numbers(name, gain)
    require(array.size > 0, name, "hold at least one sample and one link", array.shape)
    single = _power_gains(name, array)
    _check_direct(name, array, "everywhere")
    return torch.from_numpy(np.ascontiguousarray(single))


def check_crossed_gain(name: str, gain: np.ndarray | Tensor) -> Tensor:
    """`check_gain` for gains between different links only ``[..., E]``, of which there may be 0."""
    array = _real_numbers(name, gain)
    return torch.from_numpy(np.ascontiguousarray(_power_gains(name, array)))


def _real_numbers(name: str, gain: object) -> np.ndarray:
    if isinstance(gain, Tensor):
        gain = gain.detach().cpu()
        array = (gain.float() if gain.dtype == torch.bfloat16 else gain).numpy()
    else:
        array = np.asarray(gain)
    require(
        array.dtype.kind in "fiu",
        name,
        "hold real numbers (power gains |h|^2; square the magnitude of complex amplitudes)",
        str(array.dtype),
    )
    return array


def _power_gains(name: str, array: np.ndarray) -> np.ndarray:
    """Linear gains as float32."""
    finite = np.isfinite(array)
    if not finite.all():
        hint = _FROM_DB if np.isneginf(array).any() else ""
        raise ValueError(
            f"`{name}` must be finite everywhere{hint}, got {_first(array, ~finite)!r}"
        )
    negative = array < 0
    if negative.any():
        hint = _FROM_DB if array.min() <= -1 else ""
        rule = f"be >= 0 everywhere (linear power gains){hint}"
        raise ValueError(f"`{name}` must {rule}, got {_first(array, negative)!r}")
    if array.size > 1 and array.min() >= _LOSS_DB[0] and array.max() <= _LOSS_DB[1]:
        raise ValueError(
            f"`{name}` must be linear power gains; numbers that all lie between {_LOSS_DB[0]} and "
            f"{_LOSS_DB[1]} look like path losses in dB: convert with 10 ** (-loss_db / 10), "
            f"got {float(array.flat[0])!r}"
        )
    largest = np.finfo(np.float32).max
    with np.errstate(over="ignore", under="ignore"):
        single = array.astype(np.float32)
    if not bool((single <= largest).all()):
        require(False, name, f"be <= {largest:.4g}", float(array.max()))
    return single


def _check_direct(name: str, direct: np.ndarray, where: str) -> None:
    smallest, tiny = float(direct.min()), np.finfo(np.float32).tiny
    require(smallest > 0, name, f"be > 0 {where}", smallest)
    where = where.removesuffix(" (the direct links)")
    rule = f"be >= {tiny:.4g} {where} (smaller gains are lost in float32)"
    require(float(np.float32(smallest)) >= float(tiny), name, rule, smallest)


def _first(array: np.ndarray, where: np.ndarray) -> float:
    return float(array[where][0])
