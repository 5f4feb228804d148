"""Figures of gaps: bars end where the bounds are, and parts add up."""

import pytest
import torch
from matplotlib.axes import Axes

from metagnn.duality import Interval
from metagnn.kkt import KktResiduals
from metagnn.plots import figure_of
from metagnn.plots_duality import gap_intervals, gap_parts, slackness


def axis_of() -> Axes:
    return figure_of(4.0, 3.0, 1)[1][0]


def interval(primal: float, best_known: float, dual: float) -> Interval:
    one = torch.ones(2)
    return Interval(primal, best_known, dual, "exact", one, one, one, dual, dual)


def spans(bars: object) -> list[list[float]]:
    return [[bar.get_x(), bar.get_x() + bar.get_width()] for bar in bars]  # type: ignore[attr-defined]


def test_bars_and_markers_stand_at_shares_of_the_bound() -> None:
    axis = axis_of()
    intervals = {"first": interval(8.0, 9.0, 10.0), "second": interval(15.0, 20.0, 20.0)}
    values = {"metagnn": [8.0, 15.0], "wmmse": [9.0, -10.0]}
    gap_intervals(axis, intervals, values, lowest=10.0)
    certified, open_part = axis.containers
    assert spans(certified) == [pytest.approx([80.0, 100.0]), pytest.approx([75.0, 100.0])]
    assert spans(open_part) == [pytest.approx([90.0, 100.0]), pytest.approx([100.0, 100.0])]
    policy, wmmse, _ = axis.get_lines()
    assert list(policy.get_xdata()) == pytest.approx([80.0, 75.0])
    # What lies beyond the edge stands there with its number.
    assert list(wmmse.get_xdata()) == pytest.approx([90.0, 10.0])
    assert [text.get_text() for text in axis.texts] == ["-50 %"]
    assert axis.get_xlim()[0] == 10.0
    assert [label.get_text() for label in axis.get_yticklabels()] == ["first", "second"]
    assert "%" in axis.get_xlabel()
    # Markers of one row do not hide each other where their values are the same.
    assert set(policy.get_ydata()).isdisjoint(wmmse.get_ydata())
    rows = zip(policy.get_ydata(), wmmse.get_ydata(), strict=True)
    assert all(abs(y - row) < 0.35 for row, pair in enumerate(rows) for y in pair)


def test_values_must_fit_the_intervals_and_bounds_be_positive() -> None:
    with pytest.raises(ValueError, match=r"`values\['wmmse'\]` must hold 1 numbers, got 2"):
        gap_intervals(axis_of(), {"first": interval(8.0, 9.0, 10.0)}, {"wmmse": [1.0, 2.0]})
    with pytest.raises(ValueError, match="`intervals` must have positive bounds"):
        gap_intervals(axis_of(), {"first": interval(-2.0, -2.0, -1.0)}, {})


def test_parts_stand_one_after_the_other_and_end_at_the_gap() -> None:
    axis = axis_of()
    parts = {
        "first": KktResiduals(0.0, 0.0, 0.0, 1.0, 0.5, 0.25),
        "second": KktResiduals(0.0, 0.0, 0.0, 2.0, 0.0, 1.0),
    }
    gap_parts(axis, parts)
    powers, complementary, slack = map(spans, axis.containers)
    assert powers == [[0.0, 1.0], [0.0, 2.0]]
    assert complementary == [[1.0, 1.5], [2.0, 2.0]]
    assert slack == [[1.5, parts["first"].gap], [2.0, parts["second"].gap]]
    assert "bit/s/Hz" in axis.get_xlabel()


def test_slackness_shows_alpha_times_the_slack_and_the_multipliers() -> None:
    axis = axis_of()
    slack = torch.tensor([0.0, 2.0])
    slackness(axis, slack, {"learned": torch.tensor([0.1, 1.5])}, alpha=0.5)
    (bars,) = axis.containers
    assert [bar.get_height() for bar in bars] == [0.0, 1.0]
    (line,) = axis.get_lines()
    assert list(line.get_ydata()) == pytest.approx([0.1, 1.5])
    assert line.get_label() == "learned"
    with pytest.raises(ValueError, match=r"`mu\['learned'\]` must have the shape \(2,\)"):
        slackness(axis_of(), slack, {"learned": torch.ones(3)}, alpha=0.5)
