"""Figures: they are written whole, show every policy, and name their units."""

from pathlib import Path

import torch

from metagnn.plots import figure_of, rates_per_link, save_network_map, trade_off
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


def test_network_map_is_written(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    ends = torch.rand(3, 2), torch.rand(3, 2)
    save_network_map(path, *ends, {"metagnn": torch.tensor([1.0, 2.0, 3.0])})
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]
