"""Units: decibels, dBm, watts and thermal noise."""

import math
from typing import TypeVar

from torch import Tensor

from metagnn.graphs.checks import check_non_negative, check_positive

Number = TypeVar("Number", float, Tensor)


def db_to_linear(value_db: Number) -> Number:
    """Ratio [1] of a value in decibels, or ratios of values of any shape."""
    ratio: Number = 10.0 ** (value_db / 10.0)
    return ratio


def linear_to_db(value: float) -> float:
    """Decibels of a positive ratio [1]."""
    check_positive("value", value)
    return 10.0 * math.log10(value)


def dbm_to_w(power_dbm: Number) -> Number:
    """Power [W] of a level in dBm, or powers of levels of any shape."""
    return db_to_linear(power_dbm - 30.0)


def w_to_dbm(power_w: float) -> float:
    """Level [dBm] of a positive power in watts."""
    return linear_to_db(power_w) + 30.0


def thermal_noise_w(
    bandwidth_hz: float, density_dbm_hz: float = -174.0, noise_figure_db: float = 0.0
) -> float:
    """Noise power [W] over a band: density times bandwidth times noise figure.

    Args:
        bandwidth_hz: Bandwidth [Hz].
        density_dbm_hz: Noise power spectral density [dBm/Hz].
        noise_figure_db: Receiver noise figure [dB].

    Raises:
        ValueError: If ``bandwidth_hz`` is not positive or ``noise_figure_db`` is negative.
    """
    check_positive("bandwidth_hz", bandwidth_hz)
    check_non_negative("noise_figure_db", noise_figure_db)
    return dbm_to_w(density_dbm_hz + noise_figure_db) * bandwidth_hz
