"""Images of assignments: choices stand on their squares, and those who collide are crossed."""

import pytest
import torch
from matplotlib.axes import Axes
from torch import Tensor

from metagnn.plots import figure_of
from metagnn.plots_assignment import assignment_image

VALUE = torch.tensor([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0], [0.0, 5.0, 0.0, 2.0]])
CHANNEL = torch.tensor([1, 3, 1])


def axis_of() -> Axes:
    return figure_of(4.0, 3.0, 1)[1][0]


def test_choices_are_marked_and_crossed_where_users_share() -> None:
    axis = axis_of()
    assignment_image(axis, VALUE, CHANNEL)
    marks = [(line.get_marker(), *line.get_xydata()[0].tolist()) for line in axis.lines]
    assert marks == [("X", 1.5, 0.5), ("o", 3.5, 1.5), ("X", 1.5, 2.5)]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "1", "2", "3"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["0", "1", "2"]
    # The first user stands above.
    bottom, top = axis.get_ylim()
    assert bottom > top


def test_values_are_those_of_the_squares_and_the_largest_is_the_brightest() -> None:
    axis = axis_of()
    scale = assignment_image(axis, VALUE, CHANNEL, highest=4.0, labels=list("abcd"))
    (image,) = axis.collections
    found = image.get_array()
    assert found is not None
    assert found.tolist() == VALUE.tolist()
    assert image.get_clim() == scale.get_clim() == (0.0, 4.0)
    grey = torch.tensor(scale.to_rgba(torch.linspace(0.0, 4.0, 9).numpy()))[:, :3].mean(-1)
    assert bool((grey.diff() > 0.0).all())
    assert [label.get_text() for label in axis.get_xticklabels()] == list("abcd")


@pytest.mark.parametrize(
    ("value", "channel", "labels", "message"),
    [
        (VALUE[0], CHANNEL, None, r"`value` must have the shape \[I, N\], got \(4,\)"),
        (VALUE, CHANNEL[:2], None, r"`channel` must have the shape \(3,\), got \(2,\)"),
        (VALUE, torch.tensor([0, 4, 1]), None, r"`channel` must lie in \[0, 3\]"),
        (VALUE, torch.tensor([0, -1, 1]), None, r"`channel` must lie in \[0, 3\]"),
        (VALUE, CHANNEL, ["a"], "`labels` must hold 4 words"),
    ],
)
def test_what_does_not_fit_is_named(
    value: Tensor, channel: Tensor, labels: list[str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        assignment_image(axis_of(), value, channel, labels=labels)
