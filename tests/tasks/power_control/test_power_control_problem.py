"""Problem (3) and its resilient form (4) against values worked out by hand."""

import pytest
import torch

from metagnn.tasks.power_control.problem import (
    is_feasible,
    minimum_rate,
    resilient_objective,
    smallest_slack,
)


@pytest.mark.parametrize(
    ("best", "threshold", "expected"),
    [
        (2.5, 3.0, 3.0),  # halves go up, where the even neighbour is 2
        (0.5, 3.0, 1.0),  # and here 0
        (1.49, 3.0, 1.0),
        (0.49999997, 3.0, 0.0),  # adding 0.5 in float32 gives 1
        (0.2, 3.0, 0.0),
        (1.6, 1.7, 2.0),  # as printed, above the threshold
        (1.8, 1.7, 1.7),
        (3.0, 3.0, 3.0),
        (2.5, 2.5, 3.0),  # a rate at the threshold is rounded
    ],
)
def test_minimum_rate_follows_eq_34(best: float, threshold: float, expected: float) -> None:
    got = minimum_rate(torch.tensor([0.1, best, 0.0]), threshold)
    assert got.shape == ()
    assert got.item() == pytest.approx(expected)


def test_minimum_rate_is_taken_per_configuration() -> None:
    rate = torch.tensor([[[0.2, 0.9], [1.4, 0.1]], [[9.0, 9.0], [0.4, 0.3]]])
    assert minimum_rate(rate, 2.0).tolist() == [[1.0, 1.0], [2.0, 0.0]]


def test_resilient_objective_by_hand() -> None:
    rate = torch.tensor([[1.0, 2.0], [0.5, 0.0]])
    slack = torch.tensor([[0.0, 0.5], [1.0, 2.0]])
    # 3 - 2 * 0.25 and 0.5 - 2 * 5
    assert resilient_objective(rate, slack, 4.0).tolist() == [2.5, -9.5]


def test_smallest_slack_by_hand() -> None:
    rate = torch.tensor([[1.0, 0.25], [3.0, 0.5]])
    assert smallest_slack(rate, 1.0).tolist() == [[0.0, 0.75], [0.0, 0.5]]
    per_configuration = torch.tensor([0.5, 4.0])
    assert smallest_slack(rate, per_configuration).tolist() == [[0.0, 0.25], [1.0, 3.5]]
    per_link = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    assert smallest_slack(rate, per_link).tolist() == [[1.0, 0.0], [0.0, 1.5]]
    assert smallest_slack(rate[0], torch.tensor(1.0)).tolist() == [0.0, 0.75]


def test_feasible_with_the_smallest_slack_and_with_no_less() -> None:
    rate = torch.tensor([[1.0, 0.25], [3.0, 2.0]])
    minimum = torch.tensor([1.0, 1.0])
    assert is_feasible(rate, minimum).tolist() == [False, True]
    slack = smallest_slack(rate, minimum)
    assert is_feasible(rate, minimum, slack).tolist() == [True, True]
    less = slack - torch.tensor([0.0, 0.01])
    assert is_feasible(rate, minimum, less).tolist() == [False, False]  # s >= 0 in the second
    assert is_feasible(rate, minimum, less, tolerance=0.02).tolist() == [True, True]


def test_bad_arguments_are_named() -> None:
    rate = torch.ones(2, 3)
    with pytest.raises(ValueError, match="`threshold` must be finite and > 0, got -1"):
        minimum_rate(rate, -1.0)
    with pytest.raises(ValueError, match="`initial_rate` must hold a link"):
        minimum_rate(torch.ones(2, 0), 1.0)
    with pytest.raises(ValueError, match="`alpha` must be finite and > 0, got 0"):
        resilient_objective(rate, rate, 0.0)
    with pytest.raises(ValueError, match=r"`slack` must have the shape \(2, 3\), got \(2, 2\)"):
        resilient_objective(rate, rate[:, :2], 1.0)
    with pytest.raises(ValueError, match="`minimum_rate` must be one number or"):
        smallest_slack(rate, torch.ones(3))
    with pytest.raises(ValueError, match="`slack` must have the shape"):
        is_feasible(rate, 1.0, rate[:1])
    with pytest.raises(ValueError, match="`tolerance` must be finite and >= 0"):
        is_feasible(rate, 1.0, tolerance=-1.0)
