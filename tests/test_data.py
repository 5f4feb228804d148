from types import SimpleNamespace

import pytest
import torch

from metagnn.data import ConfigurationData
from metagnn.graphs.dataset import NetworkSamples, draw_network


def _data(**changed: object) -> ConfigurationData:
    arguments: dict[str, object] = {
        "num_links": (2, 3),
        "test_num_links": (4, 2),
        "seed": 3,
        "tasks_per_batch": 3,
        "num_configurations": 20,
        "num_samples": 4,
        "num_adaptation_samples": 5,
        "num_test_samples": 2,
        "num_validation_networks": 2,
        "num_test_networks": 3,
    }
    return ConfigurationData(**{**arguments, **changed})  # type: ignore[arg-type]


def _same(a: NetworkSamples, b: NetworkSamples) -> bool:
    return torch.equal(a.gain, b.gain) and torch.equal(a.test_gain, b.test_gain)


def _at_epoch(data: ConfigurationData, epoch: int) -> list[list[NetworkSamples]]:
    data.trainer = SimpleNamespace(current_epoch=epoch)  # type: ignore[assignment]
    return list(data.train_dataloader())


def test_an_epoch_has_one_batch_the_outer_loop_of_its_number() -> None:
    data = _data()
    for epoch in (0, 7, 1):
        (batch,) = _at_epoch(data, epoch)
        assert len(batch) == 3
        assert all(map(_same, batch, data.training_set.batch(epoch, 3)))
        assert all(map(_same, batch, _data().training_set.batch(epoch, 3)))
    (first,), (second,) = _at_epoch(data, 0), _at_epoch(data, 1)
    assert not any(map(_same, first, second))
    assert {network.gain.shape for network in first} <= {(4, 2, 2), (4, 3, 3)}


def test_the_loader_kept_by_a_trainer_moves_on_with_the_epochs() -> None:
    data = _data()
    data.trainer = SimpleNamespace(current_epoch=0)  # type: ignore[assignment]
    loader = data.train_dataloader()
    assert len(loader) == 1
    for epoch in (0, 1, 2):
        data.trainer.current_epoch = epoch  # type: ignore[union-attr,misc]
        (batch,) = loader
        assert all(map(_same, batch, data.training_set.batch(epoch, 3)))


def test_validation_and_test_networks_are_those_of_their_splits() -> None:
    data = _data()
    for loader, split, count in (
        (data.val_dataloader(), "validation", 2),
        (data.test_dataloader(), "test", 3),
        (data.predict_dataloader(), "test", 3),
    ):
        networks = list(loader)
        wanted = [
            draw_network(data.family, num_links, 3, split, index, 5, 2)
            for num_links in (4, 2)
            for index in range(count)
        ]
        assert len(networks) == len(wanted) == len(loader)
        assert all(map(_same, networks, wanted))


def test_test_sizes_are_those_of_training_if_not_given() -> None:
    assert _data(test_num_links=None).test_num_links == (2, 3)
    assert _data().test_num_links == (4, 2)


def test_splits_and_seeds_share_no_configuration() -> None:
    met: list[NetworkSamples] = []
    for seed in (3, 4):
        data = _data(seed=seed, test_num_links=(2, 3), num_configurations=4)
        train = [
            draw_network(data.family, k, seed, "train", i, 4, 0) for k in (2, 3) for i in range(4)
        ]
        batches = [network for epoch in range(5) for network in data.training_set.batch(epoch, 3)]
        assert all(any(_same(network, known) for known in train) for network in batches)
        met += [*train, *data.val_dataloader(), *data.test_dataloader()]
    gains = [network.configuration.large_scale_gain.flatten().tolist() for network in met]
    assert len({value for row in gains for value in row}) == sum(map(len, gains))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_links", ()),
        ("num_links", (0,)),
        ("seed", -1),
        ("tasks_per_batch", 0),
        ("num_configurations", 0),
        ("num_samples", 0),
        ("num_adaptation_samples", 0),
        ("num_test_samples", 0),
        ("areas_m", (0.0,)),
        ("num_validation_networks", -1),
        ("num_test_networks", 0),
    ],
)
def test_arguments_are_checked(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must"):
        _data(**{name: value})
