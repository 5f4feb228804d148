"""Maps and graphs: links stand where they are, as large and as dark as what is drawn of them."""

import math
from pathlib import Path

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.text import Annotation
from torch import Tensor

from metagnn.plots import figure_of
from metagnn.plots_networks import (
    AREAS,
    WIDTHS,
    interference_graph,
    link_map,
    network_maps,
    save_network_map,
)

TRANSMITTER_M = torch.tensor([[0.0, 0.0], [100.0, 50.0], [200.0, 0.0]])
RECEIVER_M = torch.tensor([[10.0, 20.0], [110.0, 40.0], [200.0, 30.0]])


def axis_of() -> Axes:
    return figure_of(4.0, 3.0, 1)[1][0]


def arrows(axis: Axes) -> list[Annotation]:
    return [text for text in axis.texts if text.arrow_patch is not None]


def words(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts if text.arrow_patch is None]


def darkness(colour: tuple[float, ...]) -> float:
    """1 for black, 0 for white, as a grey print shows a colour."""
    red, green, blue = colour[:3]
    return 1.0 - (0.299 * red + 0.587 * green + 0.114 * blue)


def test_arrows_lead_from_transmitter_to_receiver() -> None:
    axis = axis_of()
    assert link_map(axis, TRANSMITTER_M, RECEIVER_M, labels=["a", "b", "c"]) is None
    assert [list(arrow.xyann) for arrow in arrows(axis)] == TRANSMITTER_M.tolist()
    assert [list(arrow.xy) for arrow in arrows(axis)] == RECEIVER_M.tolist()
    assert words(axis) == ["a", "b", "c"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("east [m]", "north [m]")
    low, high = axis.get_xlim()
    assert low <= 0.0
    assert high >= 200.0


def test_large_networks_are_in_kilometres() -> None:
    axis = axis_of()
    link_map(axis, 100 * TRANSMITTER_M, 100 * RECEIVER_M)
    assert list(arrows(axis)[1].xy) == pytest.approx([11.0, 4.0])
    assert "[km]" in axis.get_xlabel()


def test_power_sets_the_sizes_and_rate_the_colours() -> None:
    axis = axis_of()
    share, rate = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, 4.0, 8.0])
    scale = link_map(axis, TRANSMITTER_M, RECEIVER_M, share, rate, highest_rate=4.0)
    widths = [arrow.arrow_patch.get_linewidth() for arrow in arrows(axis)]
    assert widths == pytest.approx([WIDTHS[0], sum(WIDTHS) / 2, WIDTHS[1]])
    transmitters, _, receivers, _ = axis.collections
    assert list(transmitters.get_sizes()) == pytest.approx([AREAS[0], sum(AREAS) / 2, AREAS[1]])
    assert transmitters.get_offsets().tolist() == TRANSMITTER_M.tolist()
    assert receivers.get_offsets().tolist() == RECEIVER_M.tolist()
    assert scale is not None
    assert scale.get_clim() == (0.0, 4.0)
    slow, fast, faster = (tuple(colour) for colour in receivers.get_facecolors())
    assert slow == pytest.approx(scale.to_rgba(1.0))
    assert fast == faster
    assert arrows(axis)[0].arrow_patch.get_edgecolor() == pytest.approx(slow)
    assert darkness(slow) > darkness(fast) > 0.2
    _, names = axis.get_legend_handles_labels()
    assert names[:2] == ["transmitter", "receiver"]
    assert names[2:] == [f"{part} % of largest power".replace(" %", "%") for part in (0, 50, 100)]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("transmitter_m", {"transmitter_m": torch.zeros(3)}),
        ("receiver_m", {"receiver_m": RECEIVER_M[:2]}),
        ("power_share", {"power_share": torch.tensor([0.0, 0.5])}),
        ("power_share", {"power_share": torch.tensor([0.0, 0.5, 1.5])}),
        ("rate", {"rate": torch.tensor([0.0, math.nan, 1.0])}),
        ("labels", {"labels": ["a"]}),
    ],
)
def test_what_does_not_fit_is_refused(name: str, arguments: dict[str, Tensor]) -> None:
    given = {"transmitter_m": TRANSMITTER_M, "receiver_m": RECEIVER_M, **arguments}
    with pytest.raises(ValueError, match=f"`{name}`"):
        link_map(axis_of(), **given)


def test_maps_of_policies_share_one_scale() -> None:
    rates = {"metagnn": torch.tensor([1.0, 2.0, 3.0]), "wmmse": torch.tensor([0.5, 2.0, 5.0])}
    figure = network_maps(TRANSMITTER_M, RECEIVER_M, rates)
    first, second, bar = figure.axes
    assert first.get_title() == "MetaGNN, adapted\nminimum 1.00, mean 2.00 bit/s/Hz"
    assert second.get_title().startswith("WMMSE\nminimum 0.50")
    assert "bit/s/Hz" in bar.get_ylabel()
    same = [axis.collections[2].get_facecolors()[1].tolist() for axis in (first, second)]
    assert same[0] == same[1]
    with pytest.raises(ValueError, match="`rates` must name at least one policy"):
        network_maps(TRANSMITTER_M, RECEIVER_M, {})


def test_network_map_is_written(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    rates = {"metagnn": torch.tensor([1.0, 2.0, 3.0])}
    save_network_map(path, TRANSMITTER_M, RECEIVER_M, rates)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]


def test_graph_has_an_arrow_for_each_gain_above_the_floor() -> None:
    # Over the noise: 30, 20 and 25 dB of signal; interference 10, 5 and -10 dB, and none.
    level_db = torch.tensor([[30.0, 10.0, -10.0], [5.0, 20.0, -400.0], [-400.0, -400.0, 25.0]])
    gain = torch.where(level_db > -300, 10 ** (level_db / 10) * 1e-9, 0.0)
    axis = axis_of()
    scale = interference_graph(axis, gain, 0.01, 1e-11, TRANSMITTER_M, floor_db=0.0)
    # The strongest is drawn last, above the others.
    ends = [(list(arrow.xyann), list(arrow.xy)) for arrow in arrows(axis)]
    nodes = TRANSMITTER_M.tolist()
    assert ends == [(nodes[1], nodes[0]), (nodes[0], nodes[1])]
    weak, strong = (arrow.arrow_patch for arrow in arrows(axis))
    assert strong.get_linewidth() > weak.get_linewidth()
    assert darkness(strong.get_edgecolor()) > darkness(weak.get_edgecolor())
    assert scale.get_clim() == pytest.approx((0.0, 30.0), abs=1e-4)
    (points,) = axis.collections
    assert points.get_offsets().tolist() == nodes
    expected = [scale.to_rgba(level) for level in (30.0, 20.0, 25.0)]
    assert points.get_facecolors().tolist() == [pytest.approx(colour) for colour in expected]
    assert words(axis) == ["0", "1", "2"]


def test_numbers_of_nodes_contrast_with_them() -> None:
    gain = torch.diag(torch.tensor([1e-6, 1e-8]))
    axis = axis_of()
    scale = interference_graph(axis, gain, 0.01, 1e-11, TRANSMITTER_M[:2])
    for text, level in zip(axis.texts, (30.0, 10.0), strict=True):
        assert abs(darkness(to_rgba(text.get_color())) - darkness(scale.to_rgba(level))) > 0.35


def test_graph_refuses_positions_of_another_number() -> None:
    gain = torch.eye(2) * 1e-8
    with pytest.raises(ValueError, match=r"`position_m` must have the shape \(2, 2\)"):
        interference_graph(axis_of(), gain, 0.01, 1e-11, TRANSMITTER_M)
