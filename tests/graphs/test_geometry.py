import math

import pytest
import torch

from metagnn.graphs.geometry import cross_distance_m, drop_links
from metagnn.graphs.randomness import generator


@pytest.mark.parametrize("num_links", [1, 8, 20])
def test_every_distance_is_respected(num_links: int) -> None:
    for seed in range(10):
        transmitter_m, receiver_m = drop_links(num_links, generator(seed, "drop"))
        assert transmitter_m.shape == receiver_m.shape == (num_links, 2)
        assert transmitter_m.min() >= 0.0
        assert transmitter_m.max() <= 500.0
        for i in range(num_links):
            for k in range(num_links):
                cross = math.dist(transmitter_m[i].tolist(), receiver_m[k].tolist())
                if i == k:
                    assert 10.0 - 1e-3 <= cross <= 50.0 + 1e-3
                else:
                    assert cross >= 10.0 - 1e-3
                    spacing = math.dist(transmitter_m[i].tolist(), transmitter_m[k].tolist())
                    assert spacing >= 35.0 - 1e-3


def test_crossed_pairs_keep_their_distance_on_a_crowded_square() -> None:
    for seed in range(20):
        transmitter_m, receiver_m = drop_links(
            6,
            generator(seed, "crowd"),
            area_m=120.0,
            min_transmitter_spacing_m=0.0,
            min_cross_m=25.0,
        )
        distance_m = cross_distance_m(transmitter_m, receiver_m)
        crossed = distance_m[~torch.eye(6, dtype=torch.bool)]
        assert crossed.min() >= 25.0 - 1e-3


def test_lengths_and_angles_are_uniform() -> None:
    source = generator(0, "uniform")
    drops = [drop_links(1, source) for _ in range(3000)]
    offset = torch.cat([receiver - transmitter for transmitter, receiver in drops])
    length = offset.norm(dim=1)
    assert length.mean() == pytest.approx(30.0, abs=5 * 40 / math.sqrt(12 * 3000))
    assert length.var() == pytest.approx(40.0**2 / 12.0, rel=0.1)
    direction = offset / length.unsqueeze(1)
    assert direction.mean(dim=0).abs().max() < 5 * math.sqrt(0.5 / 3000)
    transmitter = torch.cat([transmitter for transmitter, _ in drops])
    assert transmitter.mean(dim=0).tolist() == pytest.approx([250.0, 250.0], abs=14.0)


def test_cross_distance_runs_from_transmitter_row_to_receiver_column() -> None:
    transmitter_m = torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    receiver_m = torch.tensor([[0.0, 10.0], [103.0, 4.0]])
    distance = cross_distance_m(transmitter_m, receiver_m)
    assert distance[0].tolist() == pytest.approx([10.0, math.hypot(103.0, 4.0)])
    assert distance[1].tolist() == pytest.approx([math.hypot(100.0, 10.0), 5.0])


def test_close_pairs_far_from_the_origin_keep_their_distance() -> None:
    far = torch.tensor([[40_000.0, 30_000.0]])
    assert cross_distance_m(far, far + torch.tensor([[3.0, 4.0]])).item() == 5.0


def test_links_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"`num_links` must fit .*area_m.* got 30 \(placed"):
        drop_links(30, generator(0, "full"), area_m=60.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_links": 0}, "`num_links` must be an integer >= 1"),
        ({"area_m": 0.0}, "`area_m` must be finite and > 0"),
        ({"min_link_m": 0.0}, "`min_link_m` must be finite and > 0"),
        ({"max_link_m": 5.0}, r"`max_link_m` must be >= min_link_m = 10.0, got 5.0"),
        ({"max_link_m": math.inf}, "`max_link_m` must"),
        ({"max_link_m": math.nan}, "`max_link_m` must"),
        ({"min_transmitter_spacing_m": -1.0}, "`min_transmitter_spacing_m` must be"),
        ({"min_cross_m": math.nan}, "`min_cross_m` must be finite and >= 0"),
    ],
)
def test_rejected(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drop_links(**{"num_links": 2, "generator": generator(0), **arguments})  # type: ignore[arg-type]
