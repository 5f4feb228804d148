import math

import pytest
import torch

from metagnn.graphs.antenna import off_boresight_deg, parabolic_gain_dbi


def test_gain_on_the_boresight_at_half_the_beam_width_and_on_the_floor() -> None:
    angle_deg = torch.tensor([0.0, 4.5, 9.0, 15.0, 90.0, 180.0])
    # 12 (4.5 / 9)^2 = 3 dB and 12 (9 / 9)^2 = 12 dB; 12 (15 / 9)^2 = 33.3 dB; then the floor
    assert parabolic_gain_dbi(angle_deg, 25.0, 9.0, 35.0).tolist() == pytest.approx(
        [25.0, 22.0, 13.0, 25.0 - 100.0 / 3.0, -10.0, -10.0], abs=1e-5
    )


def test_angles_by_hand() -> None:
    east = torch.tensor([2.0, 0.0])
    direction = torch.tensor(
        [[1.0, 0.0], [1.0, 1.0], [1.0, -1.0], [0.0, 5.0], [-3.0, 0.0], [0.0, 0.0]]
    )
    assert off_boresight_deg(east, direction).tolist() == pytest.approx(
        [0.0, 45.0, 45.0, 90.0, 180.0, 0.0], abs=1e-4
    )


def test_small_angles_keep_their_digits_in_float32() -> None:
    angle_deg = 1e-3
    direction = torch.tensor([math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))])
    measured = off_boresight_deg(torch.tensor([1.0, 0.0]), direction).item()
    assert measured == pytest.approx(angle_deg, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((math.inf, 9.0, 30.0), "`antenna_gain_dbi` must be finite, got inf"),
        ((25.0, 0.0, 30.0), "`beam_width_deg` must be finite and > 0, got 0"),
        ((25.0, 400.0, 30.0), "`beam_width_deg` must be <= 360, got 400"),
        ((25.0, 9.0, -1.0), "`front_to_back_db` must be finite and >= 0, got -1"),
    ],
)
def test_rejected(arguments: tuple[float, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parabolic_gain_dbi(torch.zeros(1), *arguments)
