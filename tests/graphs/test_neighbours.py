import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metagnn.graphs.geometry import cross_distance_m, drop_links
from metagnn.graphs.neighbour_search import drop_many_links, nearest_neighbours, neighbours_above
from metagnn.graphs.neighbours import NeighbourGain, Neighbours, above, strongest
from metagnn.graphs.pathloss import dual_slope_db
from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import full_power_rate, rate, sinr

POWER_MAX_W, NOISE_W = 2.0, 0.5


def _gain(num_links: int = 6, *leading: int) -> Tensor:
    source = generator(0, "neighbours", num_links)
    exponent = torch.rand((*leading, num_links, num_links), generator=source, dtype=torch.float64)
    return 10.0 ** (4.0 * exponent - 2.0)


def _faded(kept: NeighbourGain, num_samples: int) -> NeighbourGain:
    source = generator(1, "neighbours")

    def fade(gain: Tensor) -> Tensor:
        return gain * torch.rand((num_samples, *gain.shape), generator=source, dtype=gain.dtype)

    return replace(kept, direct=fade(kept.direct), crossed=fade(kept.crossed))


@pytest.mark.parametrize("num_neighbours", [1, 2, 5])
def test_the_strongest_transmitters_are_kept(num_neighbours: int) -> None:
    gain = _gain()
    kept = strongest(gain, num_neighbours)
    dense = kept.dense()
    for k in range(6):
        others = sorted((float(gain[i, k]) for i in range(6) if i != k), reverse=True)
        found = sorted((float(dense[i, k]) for i in range(6) if i != k), reverse=True)
        assert found[:num_neighbours] == others[:num_neighbours]
        assert found[num_neighbours:] == [0.0] * (5 - num_neighbours)
        assert kept.neglected[k].item() == pytest.approx(sum(others[num_neighbours:]))
        assert dense[k, k] == gain[k, k]


def test_the_threshold_is_one_on_received_power_over_noise() -> None:
    gain = torch.tensor([[9.0, 1.0, 0.2], [0.3, 9.0, 0.25], [0.1, 4.0, 9.0]])
    kept = above(gain, 1.0, POWER_MAX_W, NOISE_W)  # gains of at least 0.25
    expected = torch.tensor([[9.0, 1.0, 0.0], [0.3, 9.0, 0.25], [0.0, 4.0, 9.0]])
    assert torch.equal(kept.dense(), expected)
    torch.testing.assert_close(kept.neglected, torch.tensor([0.1, 0.0, 0.2]))
    torch.testing.assert_close(
        kept.neglected_share(POWER_MAX_W, NOISE_W), torch.tensor([0.4, 0.0, 0.8])
    )
    alone = above(gain, 1e9, POWER_MAX_W, NOISE_W)
    assert alone.neighbours.num_pairs == 0
    power = torch.full((3,), POWER_MAX_W)
    # Others are heard as noise: at equal powers nothing is lost.
    torch.testing.assert_close(sinr(alone, power, NOISE_W), sinr(gain, power, NOISE_W))
    unknown = replace(alone, neglected=torch.full((3,), math.nan))
    torch.testing.assert_close(sinr(unknown, power, NOISE_W), gain.diagonal() * 4.0)


@pytest.mark.parametrize("num_neighbours", [2, 5])
def test_rates_equal_those_of_the_dense_gains(num_neighbours: int) -> None:
    kept = _faded(strongest(_gain(), num_neighbours), 3)
    kept = replace(kept, neglected=torch.zeros(6))
    power = torch.rand((3, 6), generator=generator(2), dtype=torch.float64)
    torch.testing.assert_close(rate(kept, power, NOISE_W), rate(kept.dense(), power, NOISE_W))
    torch.testing.assert_close(
        full_power_rate(kept, POWER_MAX_W, NOISE_W),
        full_power_rate(kept.dense(), POWER_MAX_W, NOISE_W),
    )
    caused = (kept.dense() - torch.diag_embed(kept.direct)) @ power.unsqueeze(-1)
    torch.testing.assert_close(kept.caused(power), caused.squeeze(-1))
    assert len(kept) == 3
    torch.testing.assert_close(kept[1].dense(), kept.dense()[1])


def test_links_left_out_are_heard_as_noise_of_the_mean_power() -> None:
    kept = _faded(strongest(_gain(), 2), 3)
    power = torch.rand((3, 6), generator=generator(2), dtype=torch.float64)
    found, gain = sinr(kept, power, NOISE_W), kept.dense()
    for s in range(3):
        for k in range(6):
            heard = sum(gain[s, i, k] * power[s, i] for i in range(6) if i != k)
            heard += kept.neglected[0, k] * power[s].sum() / 6
            wanted = gain[s, k, k] * power[s, k] / (NOISE_W + heard)
            assert found[s, k].item() == pytest.approx(wanted.item())
    pieces = (kept[1:], kept.reshape(1, 3), kept.reshape(1, 3).transpose(0, 1)[:, 0])
    for piece, at in zip(pieces, (power[1:], power.unsqueeze(0), power), strict=True):
        wanted = found[1:] if len(at) == 2 else found.reshape(at.shape)
        torch.testing.assert_close(sinr(piece, at, NOISE_W), wanted)


def test_search_by_position_equals_brute_force() -> None:
    source = generator(0, "search")
    transmitter_m, receiver_m = drop_links(40, source, 700.0)
    kept = nearest_neighbours(transmitter_m, receiver_m, dual_slope_db, 9, 0.0, source)
    distance = cross_distance_m(transmitter_m, receiver_m)
    gain = 10.0 ** (-dual_slope_db(distance) / 10.0)
    wanted = strongest(gain, 9)
    torch.testing.assert_close(kept.dense(), wanted.dense(), rtol=1e-4, atol=0.0)
    torch.testing.assert_close(kept.neglected, wanted.neglected, rtol=0.05, atol=0.0)
    assert kept.neglected_bound is not None
    assert (kept.neglected_bound >= 0.999 * wanted.neglected).all()
    assert (kept.neglected_bound <= 2.0 * wanted.neglected).all()


def test_the_bound_holds_for_the_mean_over_far_shadowing() -> None:
    source = generator(0, "search")
    transmitter_m, receiver_m = drop_links(60, source, 900.0)
    distance = cross_distance_m(transmitter_m, receiver_m).fill_diagonal_(0.0)
    far = distance.sort(dim=0).values[5:]  # beyond the own transmitter and four candidates
    mean_shadow = math.exp(0.5 * (0.8 * math.log(10.0)) ** 2)
    mean_far = mean_shadow * (10.0 ** (-dual_slope_db(far) / 10.0)).sum(0)
    lists = [
        nearest_neighbours(transmitter_m, receiver_m, dual_slope_db, 1, 8.0, generator(n))
        for n in range(20)
    ]
    bounds = torch.stack(
        [kept.neglected_bound for kept in lists if kept.neglected_bound is not None]
    )
    assert len(bounds) == 20
    assert (bounds >= 0.999 * mean_far).all()
    # What is left out of the candidates comes on top.
    assert (bounds.amin(0) <= 3.0 * mean_far).all()
    assert (torch.stack([kept.neglected for kept in lists]).amin(0) >= 0.9 * mean_far).all()


@pytest.mark.parametrize("min_inr", [1e-3, 1.0, 1e3])
def test_threshold_search_by_position_equals_brute_force(min_inr: float) -> None:
    source = generator(0, "search")
    transmitter_m, receiver_m = drop_links(40, source, 900.0)
    powers = 0.01, 4e-14
    kept = neighbours_above(
        transmitter_m, receiver_m, dual_slope_db, min_inr, *powers, 0.0, generator(0)
    )
    distance = cross_distance_m(transmitter_m, receiver_m)
    wanted = above(10.0 ** (-dual_slope_db(distance) / 10.0), min_inr, *powers)
    assert 0 < wanted.neighbours.num_pairs <= 40 * 39
    assert torch.equal(kept.neighbours.source, wanted.neighbours.source)
    assert torch.equal(kept.neighbours.target, wanted.neighbours.target)
    torch.testing.assert_close(kept.dense(), wanted.dense(), rtol=1e-4, atol=0.0)
    tiny = 1e-6 * float(wanted.direct.max())
    torch.testing.assert_close(kept.neglected, wanted.neglected, rtol=0.1, atol=tiny)
    assert kept.neglected_bound is not None
    assert (kept.neglected_bound >= 0.999 * wanted.neglected).all()


def test_threshold_search_finds_what_shadowing_lifts() -> None:
    source = generator(0, "search")
    positions = drop_links(60, source, 900.0)
    powers = 0.01, 4e-14

    def search(min_inr: float, std_db: float, seed: int) -> NeighbourGain:
        given = (dual_slope_db, min_inr, *powers, std_db, generator(seed))
        return neighbours_above(*positions, *given)

    kept, plain = search(30.0, 8.0, 5), search(30.0, 0.0, 5)
    assert (kept.crossed * powers[0] / powers[1] >= 30.0).all()
    distance = cross_distance_m(*positions)[kept.neighbours.source, kept.neighbours.target]
    reach = cross_distance_m(*positions)[plain.neighbours.source, plain.neighbours.target].max()
    assert distance.max() > reach
    assert torch.equal(kept.dense(), search(30.0, 8.0, 5).dense())
    # Kept and left out together are all that is heard, on average over the shadowing.
    heard = torch.stack(
        [
            k.neglected + k.neighbours.into_targets(k.crossed)
            for k in (search(30.0, 3.0, seed) for seed in range(200))
        ]
    ).mean(0)
    mean_shadow = math.exp(0.5 * (0.3 * math.log(10.0)) ** 2)
    gain = 10.0 ** (-dual_slope_db(cross_distance_m(*positions)) / 10.0)
    all_heard = mean_shadow * (gain.sum(0) - gain.diagonal())
    assert (heard.sum() / all_heard.sum()).item() == pytest.approx(1.0, rel=0.03)
    alone = search(1e12, 8.0, 0)
    assert alone.neighbours.num_pairs == 0
    assert (alone.neglected > 0.0).all()


def test_shadowing_chooses_among_the_candidates() -> None:
    source = generator(0, "search")
    transmitter_m, receiver_m = drop_links(60, source, 900.0)
    plain = nearest_neighbours(transmitter_m, receiver_m, dual_slope_db, 5, 0.0, source)
    kept = nearest_neighbours(transmitter_m, receiver_m, dual_slope_db, 5, 8.0, generator(5))
    again = nearest_neighbours(transmitter_m, receiver_m, dual_slope_db, 5, 8.0, generator(5))
    assert torch.equal(kept.dense(), again.dense())
    assert not torch.equal(kept.neighbours.source, plain.neighbours.source)
    count = torch.bincount(kept.neighbours.target, minlength=60)
    assert torch.equal(count, torch.full((60,), 5))


def test_all_other_links_may_be_neighbours() -> None:
    source = generator(0, "search")
    transmitter_m, receiver_m = drop_links(5, source)
    kept = nearest_neighbours(transmitter_m, receiver_m, dual_slope_db, 4, 0.0, source)
    assert (kept.dense() > 0).all()
    # Nothing is left out but rounding.
    assert (kept.neglected <= 1e-5 * kept.dense().sum(0)).all()


def test_many_links_keep_their_distances() -> None:
    tx, rx = drop_many_links(400, generator(0), 2200.0, 10.0, 50.0, 35.0, 10.0)
    own = torch.eye(400, dtype=torch.bool)
    assert torch.cdist(tx, tx).masked_fill(own, 1e9).min() >= 35.0 - 1e-3
    assert torch.cdist(tx, rx).masked_fill(own, 1e9).min() >= 10.0 - 1e-3
    length = (tx - rx).norm(dim=1)
    assert 10.0 - 1e-3 <= length.min() < length.max() <= 50.0 + 1e-3
    assert ((tx >= 0) & (tx <= 2200.0)).all()
    with pytest.raises(ValueError, match="`num_links` must fit on the square"):
        drop_many_links(400, generator(0), 300.0, 10.0, 50.0, 35.0, 10.0)


def test_errors_name_argument_rule_and_value() -> None:
    gain, positions = _gain(4), torch.rand(5, 2)
    with pytest.raises(ValueError, match=r"`num_neighbours` must be <= 3, the number .*, got 4"):
        strongest(gain, 4)
    with pytest.raises(ValueError, match=r"`min_inr` must be finite and > 0, got 0.0"):
        above(gain, 0.0, 1.0, 1.0)
    for lists in (lambda g: strongest(g, 2), lambda g: above(g, 1.0, 1.0, 1.0)):
        with pytest.raises(ValueError, match=r"have the shape \[K, K\], got \(3, 4, 4\)"):
            lists(_gain(4, 3))
    on_another = positions.roll(1, 0)
    with pytest.raises(
        ValueError, match=r"`receiver_m` must lie where the path loss .*a distance of 0 m"
    ):
        nearest_neighbours(positions, on_another, dual_slope_db, 2, 0.0, generator(0))
    with pytest.raises(ValueError, match=r"`num_neighbours` must be <= 4, the number .*, got 9"):
        nearest_neighbours(positions, positions, dual_slope_db, 9, 0.0, generator(0))
    with pytest.raises(ValueError, match=r"`min_inr` must be finite and > 0, got -1.0"):
        neighbours_above(positions, positions, dual_slope_db, -1.0, 1.0, 1.0, 0.0, generator(0))
    with pytest.raises(ValueError, match=r"`min_link_m` must be finite and > 0, got -1.0"):
        drop_many_links(5, generator(0), 500.0, -1.0, 50.0, 35.0, 10.0)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ([0, 1], [2, 0], r"`target` must be in ascending order, got \[0\]"),
        ([1], [1], r"`source` must differ from target, got \[1\]"),
        ([3], [1], r"`source` must hold links from 0 to 2, got \[3\]"),
        ([0, 0], [1, 1], r"`source` must name each pair once, got \[0\]"),
        ([0, 1], [2], r"`source` must have the shape \(1,\), got \(2,\)"),
        ([0.5], [1.0], r"`source` must be of int64, got torch.float32"),
    ],
)
def test_pairs_are_checked(source: list[int], target: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Neighbours(3, torch.tensor(source), torch.tensor(target))


def test_gains_must_fit_the_pairs() -> None:
    kept = strongest(_gain(4), 2)
    with pytest.raises(ValueError, match=r"`crossed` must have the shape \(3, 8\), got \(8,\)"):
        replace(kept, direct=kept.direct.expand(3, 4))
    with pytest.raises(ValueError, match=r"`neglected` must have the shape \(4,\), got \(3,\)"):
        replace(kept, neglected=kept.neglected[:3])
    with pytest.raises(ValueError, match=r"`neglected_bound` must have the shape \(4,\), got \(3,"):
        replace(kept, neglected_bound=kept.neglected[:3])
