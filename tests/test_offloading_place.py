"""Networks of offloading by name: which are the same, what they hold, what is refused."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from metagnn.graphs.randomness import generator
from metagnn.graphs.small_cells import SmallCells, melbourne_cells
from metagnn.offloading_place import Network, Place
from metagnn.tasks.offloading.environment import NUM_FEATURES
from metagnn.tasks.offloading.scenario import Computing, Radio

SMALL: dict[str, Any] = {"num_cells": 3, "users_per_cell": 2, "radio": Radio(num_channels=4)}


def _drawn(place: Place, batch: int = 2, seed: int = 0) -> SmallCells:
    return place.networks()(batch, generator(seed))


def test_random_networks_are_of_the_source_and_differ() -> None:
    place = Place(**SMALL)
    first, again, other = (_drawn(place, seed=seed) for seed in (0, 0, 1))
    assert first.site_m.shape == (2, 3, 2)
    assert first.user_m.shape == (2, 6, 2)
    assert torch.equal(first.site_m, again.site_m)
    assert not torch.equal(first.site_m, other.site_m)
    assert not torch.equal(first.site_m[0], first.site_m[1])
    # Two episodes of one environment, as one source goes on.
    environment, source = place.environment(2), generator(0)
    gains = []
    for _ in range(2):
        environment.reset(2, source)
        gains.append(environment.large_scale_gain)
    assert not torch.equal(*gains)
    # The seed of a fixed network does not matter.
    assert torch.equal(_drawn(Place(**SMALL, network_seed=7)).site_m, first.site_m)


def test_a_fixed_network_is_the_same_for_copies_and_episodes() -> None:
    place = Place("fixed", **SMALL, network_seed=3)
    environment = place.environment(2)
    gains = []
    for seed in (0, 1):
        environment.reset(4, generator(seed))
        gains.append(environment.large_scale_gain)
        assert gains[-1].shape == (4, 6, 3)
        # Only what fades differs between copies.
        assert not torch.equal(environment.slot.gain[0], environment.slot.gain[1])
    assert torch.equal(*gains)
    assert torch.equal(gains[0], gains[0][:1].expand(4, -1, -1))
    assert torch.equal(place.cells().site_m, _drawn(place, 5, 9).site_m)


def test_fixed_networks_are_of_their_seed() -> None:
    first, again, other = (Place("fixed", **SMALL, network_seed=seed).cells() for seed in (3, 3, 4))
    assert torch.equal(first.user_m, again.user_m)
    assert not torch.equal(first.site_m, other.site_m)


@pytest.mark.parametrize("network", ["random", "fixed"])
def test_networks_have_the_wanted_cells(network: Network) -> None:
    place = Place(network, **SMALL, area_m=(300.0, 20.0), radius_m=40.0)
    cells = _drawn(place, 50)
    assert cells.cell.tolist() == [0, 0, 1, 1, 2, 2]
    site_m = cells.site_m.view(-1, 2)
    assert float(site_m[:, 0].min()) >= 0.0
    assert 20.0 < float(site_m[:, 0].max()) <= 300.0
    assert 0.0 <= float(site_m[:, 1].min()) <= float(site_m[:, 1].max()) <= 20.0
    from_site_m = (cells.user_m - cells.site_m[:, cells.cell]).norm(dim=-1)
    assert 10.0 <= float(from_site_m.min()) <= float(from_site_m.max()) <= 40.0 + 1e-3


def test_the_real_network_is_that_of_the_data() -> None:
    # Numbers of random cells do not count.
    place = Place("melbourne", num_cells=2, users_per_cell=1, radio=Radio(num_channels=2))
    wanted = melbourne_cells()
    for found in (place.cells(), _drawn(place, 3, 5)):
        assert torch.equal(found.site_m, wanted.site_m)
        assert torch.equal(found.user_m, wanted.user_m)
        assert torch.equal(found.cell, wanted.cell)
    environment = place.environment(1)
    graph = environment.reset(2, generator(0))
    assert graph.node.shape == (2, 816, 2, NUM_FEATURES)
    assert environment.large_scale_gain.shape == (2, 816, 125)


def test_a_deployment_is_read_from_its_folder(tmp_path: Path) -> None:
    # A hundredth of a degree is about a kilometre.
    (tmp_path / "sites.csv").write_text("Latitude,Longitude\n48.00,8.00\n48.00,8.02\n")
    rows = ["48.001,8.019", "48.001,8.001", "47.999,8.021", "48.002,8.019"]
    (tmp_path / "users.csv").write_text("\n".join(["latitude,longitude", *rows, ""]))
    place = Place("deployment", str(tmp_path))
    cells = place.cells()
    assert cells.cell.tolist() == [1, 0, 1, 1]
    site_m = cells.site_m.view(-1, 2)
    # 0.02 degrees of longitude at 48 degrees of latitude.
    wanted_m = math.radians(0.02) * 6_371_000.0 * math.cos(math.radians(48.0))
    assert float((site_m[1] - site_m[0]).norm()) == pytest.approx(wanted_m, rel=5e-3)
    environment = place.environment(1)
    assert environment.reset(3, generator(0)).node.shape == (3, 4, 16, NUM_FEATURES)
    assert Place("deployment", f"{tmp_path}/../{tmp_path.name}/") == place
    (tmp_path / "users.csv").unlink()
    # It was read once, so that a run does not change on its way.
    assert environment.reset(3, generator(0)).node.shape == (3, 4, 16, NUM_FEATURES)
    with pytest.raises(FileNotFoundError, match=r"users\.csv"):
        Place("deployment", str(tmp_path))
    for name in ("sites", "users"):
        (tmp_path / f"{name}.csv").write_text("latitude,longitude\n48.0,8.0\n48.0,8.0\n")
    rule = r"sites\.csv, line 3: `latitude`, `longitude` must differ between sites"
    with pytest.raises(ValueError, match=rule):
        Place("deployment", str(tmp_path))


@pytest.mark.parametrize("network", ["random", "fixed", "melbourne"])
def test_the_environment_has_the_wanted_constants(network: Network) -> None:
    place = Place(network, radio=Radio(num_channels=5), revenue=0.75, patience=2.5)
    environment = place.environment(7)
    assert environment.radio.num_channels == 5
    assert environment.num_steps == 7
    assert environment.revenue == 0.75
    assert environment.patience == 2.5
    cells, found = place.cells(), environment.networks(1, generator(0))
    assert torch.equal(cells.cell, found.cell)
    assert cells.num_cells == found.num_cells


def test_tasks_and_processors_are_those_that_are_wanted() -> None:
    computing = Computing(user_hz=(3e9, 4e9), size_bit=(1e6, 1e6), deadline_share=0.5)
    radio = Radio(num_channels=4, bandwidth_hz=1e6)
    environment = Place(num_cells=2, radio=radio, computing=computing).environment(1)
    environment.reset(5, generator(0))
    user_hz = environment.slot.devices.user_hz
    assert 3e9 <= float(user_hz.min()) < float(user_hz.max()) <= 4e9
    tasks = environment.slot.tasks
    assert tasks.size_bit.unique().tolist() == [1e6]
    torch.testing.assert_close(tasks.deadline_s, 0.5 * tasks.cycles / user_hz)
    assert environment.radio == radio


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": "sydney"}, "`network` must be one of .*, got 'sydney'"),
        ({"network": "deployment"}, "`folder` must be given with the network deployment, got ''"),
        ({"folder": "city"}, "`folder` must be empty with the network random, got 'city'"),
        ({"network_seed": -1}, "`network_seed` must be an integer >= 0, got -1"),
        ({"num_cells": 0}, "`num_cells` must be an integer >= 1, got 0"),
        ({"users_per_cell": 0}, "`users_per_cell` must be an integer >= 1, got 0"),
        ({"users_per_cell": (1, 2)}, "`users_per_cell` must hold a number for each of 6 cells"),
        ({"area_m": (100.0, 0.0)}, "`area_m` must be finite and > 0, got 0.0"),
        ({"radius_m": 10.0}, "`radius_m` must be finite and > 10 m, got 10.0"),
        ({"network": "fixed", "radius_m": 10.0}, "`radius_m` must be finite and > 10 m, got 10.0"),
        ({"revenue": float("nan")}, "`revenue` must be finite and > 0, got nan"),
        ({"patience": 0.5}, "`patience` must be >= 1, got 0.5"),
    ],
)
def test_places_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Place(**changed)


def test_episodes_without_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="`num_steps` must be an integer >= 1, got 0"):
        Place(**SMALL).environment(0)


@pytest.mark.parametrize("users", [2, 10, 16])
def test_edges_sum_up_alike_in_cells_of_any_size(users: int) -> None:
    environment = Place(num_cells=2, users_per_cell=users).environment(1)
    weight = environment.reset(20, generator(0)).edge_weight
    # Of two users one hears the other by as much as it is heard less.
    sums = weight.sum((1, 2)) / (2 * users)
    torch.testing.assert_close(sums, torch.full((20,), 1.125))


def test_features_of_the_server_follow_from_an_equal_share() -> None:
    servers = [
        Place(num_cells=1, users_per_cell=users).environment(1).reset(400, generator(0)).node
        for users in (8, 16)
    ]
    few, many = (node[..., 5].mean() for node in servers)
    assert float(many - few) == pytest.approx(math.log(2.0), abs=0.02)
