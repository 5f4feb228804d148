"""Figures: they are written whole, show every policy, and name their units."""

from pathlib import Path

import torch
from PIL import Image

from metagnn.plots import (
    STYLES,
    Style,
    convergence,
    figure_of,
    rates_per_link,
    save_figure,
    styles,
    trade_off,
)
from metagnn.tasks.power_control.metrics import Estimate


def test_trade_off_shows_each_policy_at_its_rates() -> None:
    _, (axis,) = figure_of(4.0, 3.0, 1)
    metrics = {
        "itlinq": {"mean_rate": Estimate(3.0, 2.5, 3.5), "min_rate": Estimate(0.5, 0.4, 0.6)},
        "wmmse": {"mean_rate": Estimate(4.0, None, None), "min_rate": Estimate(0.2, None, None)},
    }
    trade_off(axis, metrics)
    points = [container[0].get_xydata()[0].tolist() for container in axis.containers]
    assert points == [[3.0, 0.5], [4.0, 0.2]]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["ITLinQ", "WMMSE"]
    assert "bit/s/Hz" in axis.get_xlabel()
    assert "bit/s/Hz" in axis.get_ylabel()


def test_rates_per_link_is_the_distribution_of_all_links() -> None:
    _, (axis,) = figure_of(4.0, 3.0, 1)
    rates_per_link(axis, {"random": [torch.tensor([3.0, 1.0]), torch.tensor([2.0, 4.0])]})
    (line,) = axis.get_lines()
    assert list(line.get_xdata()) == [1.0, 2.0, 3.0, 4.0]
    assert list(line.get_ydata()) == [0.25, 0.5, 0.75, 1.0]


def test_a_policy_looks_the_same_beside_others() -> None:
    assert styles(["wmmse", "mine"])["wmmse"] == styles(["mine", "wmmse"])["wmmse"]
    assert styles(["mine"])["mine"].label == "mine"


def test_other_names_look_unlike_each_other_and_the_policies_beside_them() -> None:
    found = styles(["metagnn", "wmmse", "mine", "itlinq", "theirs"])
    assert all(found[name] == STYLES[name] for name in ("metagnn", "wmmse", "itlinq"))
    assert (found["mine"].label, found["theirs"].label) == ("mine", "theirs")
    assert len({style.marker for style in found.values()}) == 5
    assert len({(str(style.dashes), style.colour) for style in found.values()}) == 5
    many = styles([*STYLES, *(f"mine {number}" for number in range(30))])
    assert len({str(style._replace(label="")) for style in many.values()}) == len(STYLES) + 30


def test_policies_differ_also_without_colours() -> None:
    assert len({style.marker for style in STYLES.values()}) == len(STYLES)
    compared = [style for name, style in STYLES.items() if name != "metagnn_shipped"]
    assert len({(str(style.dashes), style.colour) for style in compared}) == len(compared)


def test_convergence_draws_means_and_the_band_between_the_ends() -> None:
    _, (axis,) = figure_of(4.0, 3.0, 1)
    values = [Estimate(1.0, 0.5, 1.5), Estimate(2.0, 1.8, 2.4)]
    convergence(axis, [0, 20], values, Style("mine", "#0072B2", "--", "o"), marker="o")
    (line,) = axis.get_lines()
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 20], [1.0, 2.0])
    assert (line.get_label(), line.get_linestyle(), line.get_marker()) == ("mine", "--", "o")
    (band,) = axis.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert corners == {(0.0, 0.5), (0.0, 1.5), (20.0, 1.8), (20.0, 2.4)}


def test_convergence_has_no_band_where_an_interval_is_unknown() -> None:
    _, (axis,) = figure_of(4.0, 3.0, 1)
    values = [Estimate(1.0, 0.5, 1.5), Estimate(2.0, None, None)]
    convergence(axis, [0, 20], values, STYLES["metagnn"])
    assert len(axis.collections) == 0


def test_png_has_the_size_and_the_colours_of_the_figure(tmp_path: Path) -> None:
    figure, (axis,) = figure_of(3.0, 2.0, 1)
    axis.barh([0], [1.0], color=STYLES["wmmse"].colour)
    path = tmp_path / "figure.png"
    save_figure(figure, path)
    assert list(tmp_path.iterdir()) == [path]
    with Image.open(path) as image:
        assert image.size == (360, 240)
        red, green, blue = image.convert("RGB").getpixel((200, 100))
    assert max(abs(red - 0x00), abs(green - 0x9E), abs(blue - 0x73)) <= 4
