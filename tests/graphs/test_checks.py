import numpy as np
import pytest
import torch

from metagnn.graphs.checks import (
    check_count,
    check_each,
    check_gain,
    check_non_negative,
    check_pair,
    check_positive,
    check_square,
    require,
)


def test_error_names_argument_rule_and_value() -> None:
    with pytest.raises(ValueError, match=r"^`noise_w` must be finite and > 0, got -1\.0$"):
        check_positive("noise_w", -1.0)
    with pytest.raises(ValueError, match=r"^`x` must be even, got 3$"):
        require(3 % 2 == 0, "x", "be even", 3)
    require(True, "x", "be even", 2)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), float("-inf")])
def test_positive_rejects(value: float) -> None:
    with pytest.raises(ValueError, match="`x` must be finite and > 0"):
        check_positive("x", value)


@pytest.mark.parametrize("value", [-1e-9, float("nan"), float("inf")])
def test_non_negative_rejects(value: float) -> None:
    check_non_negative("x", 0.0)
    with pytest.raises(ValueError, match="`x` must be finite and >= 0"):
        check_non_negative("x", value)


@pytest.mark.parametrize("value", [0, -3, 2.0, True])
def test_count_rejects(value: int) -> None:
    check_count("x", 1)
    check_count("x", 0, minimum=0)
    with pytest.raises(ValueError, match="`x` must be an integer >= 1"):
        check_count("x", value)


def test_each_says_the_first_number_that_does_not_fit() -> None:
    value = torch.tensor([[1.0, 2.0], [-3.0, -4.0]])
    check_each("x", value, value < 3, "be < 3")
    with pytest.raises(ValueError, match=r"^`x` must be > 0, got -3\.0$"):
        check_each("x", value, value > 0, "be > 0")


@pytest.mark.parametrize("value", [1.0, (1.0,), (1.0, 2.0, 3.0), None])
def test_pair_rejects(value: object) -> None:
    check_pair("x", (1.0, 2.0), "be two numbers")
    check_pair("x", [1.0, 2.0], "be two numbers")
    with pytest.raises(ValueError, match="`x` must be two numbers, got "):
        check_pair("x", value, "be two numbers")


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (3, 3, 2)])
def test_square_rejects(shape: tuple[int, ...]) -> None:
    check_square("gain", torch.ones(5, 2, 2))
    with pytest.raises(ValueError, match="`gain` must be square in its last two dimensions"):
        check_square("gain", torch.ones(shape))


@pytest.mark.parametrize(
    "gain",
    [
        np.array([[1.0, 0.25], [0.5, 2.0]]),
        np.array([[1.0, 0.25], [0.5, 2.0]], dtype=np.float16),
        torch.tensor([[1.0, 0.25], [0.5, 2.0]], dtype=torch.float64, requires_grad=True),
        torch.tensor([[1.0, 0.25], [0.5, 2.0]], dtype=torch.bfloat16),
        [[1.0, 0.25], [0.5, 2.0]],
    ],
)
def test_gain_is_returned_as_float32_in_place(gain: object) -> None:
    checked = check_gain("gain", gain)
    assert checked.dtype == torch.float32
    assert not checked.requires_grad
    assert checked.tolist() == [[1.0, 0.25], [0.5, 2.0]]


def test_gain_accepts_integers_one_link_zero_crossings_and_reversed_views() -> None:
    assert check_gain("gain", np.array([[3, 0], [1, 2]])).tolist() == [[3.0, 0.0], [1.0, 2.0]]
    assert check_gain("gain", np.full((4, 1, 1), 1e-14)).shape == (4, 1, 1)
    flipped = np.array([[[1.0, 0.1], [0.2, 2.0]], [[3.0, 0.3], [0.4, 4.0]]])[::-1]
    assert check_gain("gain", flipped)[0].tolist()[0][0] == 3.0


def _with(value: float, at: tuple[int, ...] = (0, 1)) -> np.ndarray:
    gain = np.ones((2, 2))
    gain[at] = value
    return gain


@pytest.mark.parametrize(
    ("gain", "rule"),
    [
        (np.ones((2, 2), dtype=complex), r"real numbers .*square the magnitude.*got 'complex128'"),
        (np.ones((2, 2), dtype=bool), "real numbers"),
        (np.array([["1", "2"], ["3", "4"]]), "real numbers"),
        (np.array(1.0), r"square in its last two dimensions, got \(\)"),
        (np.ones(4), r"square in its last two dimensions, got \(4,\)"),
        (np.ones((5, 2, 3)), r"square in its last two dimensions, got \(5, 2, 3\)"),
        (np.ones((0, 2, 2)), r"at least one sample and one link, got \(0, 2, 2\)"),
        (np.ones((3, 0, 0)), r"at least one sample and one link, got \(3, 0, 0\)"),
        (_with(np.nan), "finite everywhere, got nan"),
        (_with(np.inf), "finite everywhere, got inf"),
        (_with(-0.5), r">= 0 everywhere \(linear power gains\), got -0\.5"),
        (
            np.full((2, 2), -90.0),
            r"look like dB: convert with 10 \*\* \(gain_db / 10\), got -90\.0",
        ),
        (_with(0.0, (1, 1)), r"> 0 on the diagonal \(the direct links\), got 0\.0"),
        (_with(1e40), r"be <= 3\.403e\+38, got 1e\+40"),
        (_with(1e-60, (1, 1)), r">= 1\.175e-38 on the diagonal .*float32\), got 1e-60"),
        (_with(1e-42, (1, 1)), r">= 1\.175e-38 on the diagonal .*float32\), got 1e-42"),
    ],
)
def test_gain_rejects(gain: np.ndarray, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^`g` must .*{rule}"):
        check_gain("g", gain)


@pytest.mark.parametrize(
    "gain",
    [
        np.array([[20.0, -3.0], [4.0, 25.0]]),  # SNR in dB, less than half of it negative
        np.array([[-90.0, -np.inf], [-120.0, -80.0]]),  # a disconnected pair
        np.array([[70.0, 110.0], [95.0, 62.5]]),  # path losses
    ],
)
def test_decibels_of_any_kind_are_hinted_at(gain: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"dB: convert with 10 \*\* \(-?(gain|loss)_db / 10\)"):
        check_gain("gain", gain)


def test_large_gains_are_not_taken_for_decibels() -> None:
    for gain in (np.array([[50.0]]), np.array([[400.0, 25.0], [30.0, 90.0]]), np.ones((2, 2))):
        assert check_gain("gain", gain).shape == gain.shape


def test_single_negative_gain_is_not_taken_for_decibels() -> None:
    with pytest.raises(ValueError, match="linear power gains") as caught:
        check_gain("gain", _with(-0.5))
    assert "dB" not in str(caught.value)


def test_tiny_gain_between_links_becomes_zero() -> None:
    assert check_gain("gain", _with(1e-60))[0, 1] == 0.0
