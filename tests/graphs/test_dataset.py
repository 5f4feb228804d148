from dataclasses import replace
from itertools import combinations

import pytest
import torch

from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.dataset import SPLITS, NetworkSamples, TrainingSet, draw_network

FAMILY = ChannelFamily()


def _same(a: NetworkSamples, b: NetworkSamples) -> bool:
    return (
        torch.equal(a.configuration.large_scale_gain, b.configuration.large_scale_gain)
        and torch.equal(a.gain, b.gain)
        and torch.equal(a.test_gain, b.test_gain)
    )


def test_a_network_is_a_function_of_its_arguments() -> None:
    first = draw_network(FAMILY, 3, 1, "test", 5, num_samples=8, num_test_samples=4)
    torch.rand(10)  # the global stream plays no part
    second = draw_network(FAMILY, 3, 1, "test", 5, num_samples=8, num_test_samples=4)
    assert first.gain.shape == (8, 3, 3)
    assert first.test_gain.shape == (4, 3, 3)
    assert _same(first, second)


def test_samples_for_scoring_are_others_than_those_for_adaptation() -> None:
    network = draw_network(FAMILY, 2, 0, "test", 0, num_samples=16, num_test_samples=16)
    adapting, scoring = set(network.gain.flatten().tolist()), network.test_gain.flatten().tolist()
    assert adapting.isdisjoint(scoring)


def test_splits_seeds_numbers_and_sizes_never_share_a_draw() -> None:
    drawn = [
        draw_network(FAMILY, num_links, seed, split, index, 2, 1)
        for num_links in (2, 3)
        for seed in (0, 1)
        for split in SPLITS
        for index in (0, 1)
    ]
    large = [n.configuration.large_scale_gain.flatten() for n in drawn]
    fading = [(n.gain / n.configuration.large_scale_gain).flatten() for n in drawn]
    for values in (large, fading):
        for a, b in combinations(values, 2):
            assert not torch.isclose(a[:4], b[:4], rtol=1e-3, atol=0.0).all()


def test_samples_have_the_large_scale_gains_as_their_mean() -> None:
    network = draw_network(FAMILY, 2, 0, "train", 0, num_samples=20_000, num_test_samples=0)
    assert network.test_gain.shape == (0, 2, 2)
    ratio = network.gain.mean(0) / network.configuration.large_scale_gain
    torch.testing.assert_close(ratio, torch.ones(2, 2), atol=0.05, rtol=0.0)


def test_a_network_moves_with_all_its_tensors() -> None:
    network = draw_network(FAMILY, 2, 0, "test", 0, num_samples=2, num_test_samples=1)
    assert _same(network.to("cpu"), network)
    moved = network.to(torch.device("meta"))
    configuration = moved.configuration
    tensors = (configuration.large_scale_gain, configuration.transmitter_m, moved.gain)
    assert all(t.is_meta for t in (*tensors, configuration.receiver_m, moved.test_gain))
    assert not network.gain.is_meta


def test_batches_are_functions_of_seed_and_epoch() -> None:
    training = TrainingSet(FAMILY, (2, 3), seed=4, num_configurations=50, num_samples=2)
    again = TrainingSet(FAMILY, (2, 3), seed=4, num_configurations=50, num_samples=2)
    training.batch(0, 3)  # the order of calls plays no part
    assert all(map(_same, training.batch(7, 3), again.batch(7, 3)))
    assert not all(map(_same, training.batch(7, 3), training.batch(8, 3)))
    other = replace(training, seed=5)
    assert not any(map(_same, training.batch(7, 3), other.batch(7, 3)))


def test_batches_hold_networks_of_the_training_split() -> None:
    training = TrainingSet(FAMILY, (2, 4), seed=0, num_configurations=3, num_samples=2)
    known = [draw_network(FAMILY, k, 0, "train", i, 2, 0) for k in (2, 4) for i in range(3)]
    met = [network for epoch in range(6) for network in training.batch(epoch, 4)]
    found = [next(i for i, n in enumerate(known) if _same(n, network)) for network in met]
    assert set(found) == set(range(6))


def test_areas_change_the_square_of_a_drop() -> None:
    areas = TrainingSet(FAMILY, (3,), seed=0, num_samples=1, areas_m=(300.0, 30_000.0))
    networks = [network for epoch in range(4) for network in areas.batch(epoch, 4)]
    spread = [n.configuration.transmitter_m.abs().max().item() for n in networks]
    assert min(spread) < 300.0
    assert max(spread) > 500.0


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("split", {"split": "tset"}),
        ("num_samples", {"num_samples": 0}),
        ("num_test_samples", {"num_test_samples": -1}),
        ("num_links", {"num_links": 0}),
        ("index", {"index": -1}),
        ("seed", {"seed": -1}),
    ],
)
def test_arguments_are_checked(name: str, changed: dict[str, int | str]) -> None:
    arguments: dict[str, int | str] = {"num_links": 2, "seed": 0, "split": "test", "index": 0}
    with pytest.raises(ValueError, match=rf"`{name}` must"):
        draw_network(FAMILY, **{**arguments, **changed})  # type: ignore[arg-type]


def test_batches_share_few_sizes() -> None:
    own = TrainingSet(FAMILY, (2, 3, 4, 5), seed=0, num_samples=1)
    shared = TrainingSet(FAMILY, (2, 3, 4, 5), seed=0, num_samples=1, num_sizes=2)
    sizes = [[len(n.configuration.large_scale_gain) for n in shared.batch(e, 6)] for e in range(8)]
    for batch in sizes:
        assert batch == batch[:2] * 3
    assert {size for batch in sizes for size in batch} == {2, 3, 4, 5}
    own_sizes = [len(n.configuration.large_scale_gain) for n in own.batch(0, 6)]
    assert own_sizes[:2] == sizes[0][:2]
    assert own_sizes != sizes[0]
