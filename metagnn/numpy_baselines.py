"""WMMSE and ITLinQ the ordinary way, one sample at a time in NumPy: what `bench` times against."""

import numpy as np
from numpy.typing import NDArray


def numpy_wmmse(
    gain: NDArray[np.float64], power_max_w: float, noise_w: float, num_iterations: int = 100
) -> NDArray[np.float64]:
    """WMMSE of one sample ``[K, K]``, the ordinary way; `wmmse` says what is computed."""
    direct = np.diag(gain)
    v = np.full(len(gain), 0.5 * power_max_w**0.5)
    for _ in range(num_iterations):
        total = noise_w + v**2 @ gain
        u = np.sqrt(direct) * v / total
        w = 1.0 + direct * v**2 / (total - direct * v**2)
        v = np.clip(w * u * np.sqrt(direct) / (gain @ (w * u**2)), 0.0, power_max_w**0.5)
    power: NDArray[np.float64] = v**2
    return power


def numpy_itlinq(
    gain: NDArray[np.float64], power_max_w: float, noise_w: float
) -> NDArray[np.float64]:
    """ITLinQ of one sample ``[K, K]``, the ordinary way; `itlinq` says what is computed."""
    inr = gain * power_max_w / noise_w
    snr = np.diag(inr)
    priority = np.log2(1.0 + snr / (1.0 + inr.sum(0) - snr))
    on: list[int] = []
    for k in np.argsort(-priority, kind="stable"):
        bound = 10**2.5 * snr[k] ** 0.5
        if not on or np.maximum(inr[on, k], inr[k, on]).max() <= bound:
            on.append(int(k))
    power = np.zeros(len(gain))
    power[on] = power_max_w
    return power
