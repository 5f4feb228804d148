"""Directional antennas: angle off the boresight, and gain at that angle."""

import math

import torch
from torch import Tensor

from metagnn.graphs.checks import check_positive, require


def off_boresight_deg(boresight: Tensor, direction: Tensor) -> Tensor:
    """Angle [deg] in [0, 180] between where an antenna points and where it looks.

    It comes from the cross and the dot product, which is exact near 0 where the arc cosine of
    the dot product alone loses half of its digits. A vector of length zero counts as angle 0.

    Shapes:
        boresight and direction ``[..., 2]``, any length, broadcast; returns ``[...]``.
    """
    cross = boresight[..., 0] * direction[..., 1] - boresight[..., 1] * direction[..., 0]
    dot = (boresight * direction).sum(-1)
    return torch.atan2(cross.abs(), dot) * (180.0 / math.pi)


def parabolic_gain_dbi(
    angle_deg: Tensor, antenna_gain_dbi: float, beam_width_deg: float, front_to_back_db: float
) -> Tensor:
    r"""Gain of an antenna with a parabolic main lobe and a flat floor.

    .. math:: G(\varphi) = G_{\max} - \min(12 (\varphi / \varphi_{3\mathrm{dB}})^2, A_m)

    This is the horizontal cut of the 3GPP element (TR 38.901, Table 7.3-1). Side lobes and the
    vertical plane are left out: outside the main lobe all angles have the floor's gain.

    Args:
        angle_deg: Angle off the boresight [deg], any shape, which is that of the result [dBi].
        antenna_gain_dbi: Gain on the boresight [dBi].
        beam_width_deg: Full width between the half-power angles [deg], in (0, 360].
        front_to_back_db: Attenuation A_m of the floor [dB], >= 0.

    Raises:
        ValueError: If an argument is out of range.
    """
    require(math.isfinite(antenna_gain_dbi), "antenna_gain_dbi", "be finite", antenna_gain_dbi)
    check_positive("beam_width_deg", beam_width_deg)
    require(beam_width_deg <= 360.0, "beam_width_deg", "be <= 360", beam_width_deg)
    require(
        math.isfinite(front_to_back_db) and front_to_back_db >= 0.0,
        "front_to_back_db",
        "be finite and >= 0",
        front_to_back_db,
    )
    attenuation_db = 12.0 * (angle_deg / beam_width_deg).square()
    return antenna_gain_dbi - attenuation_db.clamp(max=front_to_back_db)
