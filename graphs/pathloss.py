"""Path loss models."""

import math

import torch
from torch import Tensor


def dual_slope_db(distance_m: Tensor) -> Tensor:
    r"""Dual-slope path loss of the paper's channel family, slopes 2 and 4, break at 100 m.

    .. math:: L(d) = 39 + 20 \log_{10} d \ (d \le 100), \qquad 39 + 40 \log_{10} d - 40 \ (d > 100)

    Args:
        distance_m: Distances [m], > 0; any shape, which is the shape of the result [dB].
    """
    decades = torch.log10(distance_m)
    return 39.0 + torch.where(distance_m <= 100.0, 20.0 * decades, 40.0 * decades - 40.0)


def free_space_db(distance_m: Tensor, frequency_hz: Tensor) -> Tensor:
    """Free-space path loss [dB] (ITU-R P.525): ``20 log10(4 pi d f / c)``, shapes broadcast."""
    return 20.0 * torch.log10(4.0 * math.pi * distance_m * frequency_hz / 299_792_458.0)


def short_range_itu_db(
    distance_m: Tensor,
    frequency_hz: float = 2.4e9,
    antenna_height_m: float = 1.5,
) -> Tensor:
    r"""Short-range outdoor line-of-sight model (ITU-R P.1411).

    Median of the two-slope model with break point :math:`R_b = 4 h^2 / \lambda` and loss at it
    :math:`L_b = |20 \log_{10}(\lambda^2 / (8 \pi h^2))|`:

    .. math:: L(d) = L_b + 6 + 20 \log_{10}(d / R_b) \ (d \le R_b), \quad
              L_b + 6 + 40 \log_{10}(d / R_b) \ (d > R_b)

    Args:
        distance_m: Distances [m], > 0.
        frequency_hz: Carrier [Hz].
        antenna_height_m: Height of both antennas [m].
    """
    wavelength_m = 299_792_458.0 / frequency_hz
    break_m = 4.0 * antenna_height_m**2 / wavelength_m
    at_break_db = abs(20.0 * math.log10(wavelength_m**2 / (8.0 * math.pi * antenna_height_m**2)))
    ratio = torch.log10(distance_m / break_m)
    slope = torch.where(distance_m <= break_m, 20.0, 40.0)
    return at_break_db + 6.0 + slope * ratio


def okumura_hata_db(distance_m: Tensor) -> Tensor:
    r"""Okumura-Hata path loss with the constants of paper D (Section V-A).

    .. math:: L(d) = 137.74 + 35.22 \log_{10}(d / 1\,\mathrm{km})

    Args:
        distance_m: Distances [m], > 0; any shape, which is the shape of the result [dB].
    """
    return 137.74 + 35.22 * torch.log10(distance_m / 1e3)
