"""Scenarios and their channels: who serves whom, what is drawn, fading and shadowing in time."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from metagnn.graphs.iab_deployment import new_york_mesh, new_york_trees
from metagnn.graphs.randomness import generator
from metagnn.graphs.tr38901 import PROPAGATION, Site
from metagnn.tasks.spectrum_allocation.channel import SLOTS_PER_MOVE, Channel
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily
from metagnn.tasks.spectrum_allocation.terrain import TERRAINS

FAMILY = ScenarioFamily()


def test_gains_are_those_of_tr_38901() -> None:
    drawn = FAMILY.draw(6, 2, generator(1))
    networks = drawn.networks
    gain_db = drawn.gain_db(networks.user_m, drawn.shadowing)
    assert gain_db.shape == (6, 5, 12)
    for copy in range(6):
        terrain = TERRAINS[int(drawn.terrain[copy])]
        model = PROPAGATION[terrain.propagation]
        # First the nodes, then the incumbents.
        sender_m = torch.cat([networks.node_m[copy], drawn.incumbent_m[copy]])
        for node in range(5):
            for link in range(12):
                relay = link < 2
                if relay and link + 1 == node:
                    continue
                end = networks.node_m[copy, link + 1] if relay else networks.user_m[copy, link - 2]
                distance_m = (sender_m[node] - end).norm().clamp(min=10.0)
                site = Site(terrain.base_height_m, 10.0 if relay else 1.5, 3.5e9)
                seen = drawn.sight[copy, node, link] < model.los_probability(distance_m)
                loss_db = (model.los_db if seen else model.nlos_db)(distance_m, site)
                std_db = model.los_shadowing_db if seen else model.nlos_shadowing_db
                wanted = -loss_db - std_db * drawn.shadowing[copy, node, link]
                torch.testing.assert_close(gain_db[copy, node, link], wanted, rtol=0, atol=1e-3)


def test_users_are_served_by_the_strongest_and_two_nodes_hear_each_other_alike() -> None:
    drawn = FAMILY.draw(50, 2, generator(2))
    networks = drawn.networks
    gain_db = drawn.gain_db(networks.user_m, drawn.shadowing)
    assert torch.equal(networks.server, gain_db[:, :3, 2:].argmax(1))
    # From node 1 to node 2 (link 1) and back (link 0).
    torch.testing.assert_close(gain_db[:, 1, 1], gain_db[:, 2, 0])
    from_donor_m = networks.node_m.norm(dim=-1)
    for copy in range(50):
        far = int(from_donor_m[copy, 1:].argmax()) + 1
        near = 3 - far
        assert networks.parent[copy, near] == 0
        stronger = gain_db[copy, near, far - 1] > gain_db[copy, 0, far - 1]
        assert networks.parent[copy, far] == (near if stronger else 0)


def test_what_is_drawn_varies_within_its_limits() -> None:
    drawn = FAMILY.draw(400, 2, generator(3))
    found = drawn.attributes
    assert {name: sorted(set(value.tolist())) for name, value in found.items()} == {
        "terrain": [0, 1, 2],
        "depth": [1, 2],
        "load": [0, 1, 2],
        "failures": [0, 1],
        "incumbents": [0, 1, 2],
    }
    for value in found.values():
        assert min(torch.bincount(value)[value.min() :]) > 40
    area_m = torch.tensor([terrain.area_m for terrain in TERRAINS])[found["terrain"]]
    assert torch.equal(drawn.area_m, area_m)
    assert bool((drawn.networks.user_m.abs().amax((1, 2)) <= 0.5 * area_m).all())
    low, high = FAMILY.load_mbit_s
    assert 0.5e6 * low <= float(drawn.load_bit_s.min()) < 0.6e6 * low
    assert 1.4e6 * high < float(drawn.load_bit_s.max()) <= 1.5e6 * high
    heavy = drawn.load_bit_s.mean(1)[found["load"] == 2].mean()
    assert float(heavy) == pytest.approx(1e6 * (low + (high - low) * 5 / 6), rel=0.03)
    assert 14.0 < float(drawn.speed_m_s.max()) <= 15.0
    assert bool(((drawn.failure > 0) == (found["failures"] == 1)).all())
    assert float(drawn.failure.max()) <= FAMILY.failure_max
    assert torch.equal(found["incumbents"], (drawn.incumbent_duty > 0).sum(-1))
    duty = drawn.incumbent_duty[drawn.incumbent_duty > 0]
    assert len(duty) == pytest.approx(0.6 * 800, rel=0.1)
    assert 0.8 <= float(duty.min()) < 0.81
    assert 0.98 < float(duty.max()) <= 1.0
    reach = drawn.incumbent_m.abs().amax((1, 2)) / (0.5 * area_m)
    assert 0.95 < float(reach.max()) <= 1.0
    # The donor serves some users itself.
    assert 0.2 < float((drawn.networks.server == 0).float().mean()) < 0.6


def test_equal_seeds_draw_equal_scenarios() -> None:
    first, second, other = (FAMILY.draw(5, 2, generator(seed)) for seed in (7, 7, 8))
    names = ("terrain", "sight", "shadowing", "load_bit_s", "speed_m_s", "failure")
    for name in (*names, "incumbent_m", "incumbent_duty"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert torch.equal(first.networks.user_m, second.networks.user_m)
    assert not torch.equal(first.networks.user_m, other.networks.user_m)


def test_networks_of_new_york_are_trees_of_real_links() -> None:
    family = ScenarioFamily(num_nodes=4, network="nycmesh", terrains=("urban_micro",))
    drawn = family.draw(40, 2, generator(4))
    networks, mesh = drawn.networks, new_york_mesh()
    assert set(networks.depth.amax(-1).tolist()) >= {1, 2}
    lengths_m = mesh.length_m
    for copy in range(40):
        for node in range(1, 4):
            parent = int(networks.parent[copy, node])
            length_m = (networks.node_m[copy, node] - networks.node_m[copy, parent]).norm()
            # There is a link of this length, to the error of the plane.
            assert float((lengths_m - length_m).abs().min()) < 2e-3 * float(length_m) + 0.2
            assert drawn.sight[copy, parent, node - 1] == 0.0
    nearest_m = torch.cdist(networks.user_m, networks.node_m).amin(-1)
    assert float(nearest_m.max()) <= 100.0 * math.sqrt(2.0)
    assert bool((networks.user_m.abs().amax((1, 2)) <= 0.5 * drawn.area_m).all())


def test_there_is_no_countryside_in_new_york_unless_it_is_asked_for() -> None:
    def places(**values: Any) -> set[int]:
        drawn = ScenarioFamily(num_nodes=3, network="nycmesh", **values).draw(60, 2, generator(4))
        return set(drawn.terrain.tolist())

    assert places() == {0, 1}
    assert places(terrains=("rural_macro",)) == {2}
    assert set(FAMILY.draw(60, 2, generator(4)).terrain.tolist()) == {0, 1, 2}


def test_parts_of_new_york_have_no_roof_in_common() -> None:
    family = ScenarioFamily(num_nodes=3, network="nycmesh")
    assert family.part == "west"
    for part in ("west", "east"):
        drawn = replace(family, part=part).draw(60, 2, generator(4))  # type: ignore[arg-type]
        shapes = {tuple(tree.flatten().tolist()) for tree in new_york_trees(3, part).node_m}  # type: ignore[arg-type]
        found = {tuple(tree.flatten().tolist()) for tree in drawn.networks.node_m}
        assert len(found) > 20
        assert found <= shapes


def test_fading_has_unit_power_and_its_coherence() -> None:
    still = replace(FAMILY, speed_max_m_s=0.0).draw(200, 5, generator(5))
    channel = Channel(still, Radio(), generator(6))
    power = []
    for _ in range(2):
        power.append((channel.gain / channel.mean_gain.unsqueeze(1)).nan_to_num(1.0))
        channel.advance()
    ratios = [one - 1.0 for one in power]
    assert float(power[1].mean()) == pytest.approx(1.0, abs=0.01)
    # Powers of complex normal amplitudes correlate with the square of the amplitudes' coherence.
    users = [ratio[..., 2:] for ratio in ratios]
    assert float((users[0] * users[1]).mean()) == pytest.approx(0.81, abs=0.05)
    bands = (users[0][:, 0] * users[0][:, 1]).mean()
    assert float(bands) == pytest.approx(0.0, abs=0.03)


def test_path_gains_follow_users_every_so_many_slots() -> None:
    drawn = replace(FAMILY, terrains=("urban_micro",)).draw(100, 5, generator(7))
    channel = Channel(drawn, Radio(), generator(8))
    first, begin_m = channel.mean_gain, channel.user_m
    of_incumbents = channel.incumbent_gain
    for _ in range(SLOTS_PER_MOVE - 1):
        channel.advance()
    assert torch.equal(channel.mean_gain, first)
    channel.advance()
    assert torch.equal(channel.mean_gain[..., :2], first[..., :2])
    assert not torch.equal(channel.mean_gain[..., 2:], first[..., 2:])
    assert torch.equal(channel.incumbent_gain[:, :2], of_incumbents[:, :2])
    assert not torch.equal(channel.incumbent_gain[:, 2:], of_incumbents[:, 2:])
    moved_m = (channel.user_m - begin_m).norm(dim=-1)
    inside = (channel.user_m.abs() < 248.0).all(-1)
    torch.testing.assert_close(moved_m[inside], 0.1 * drawn.speed_m_s[inside], rtol=0, atol=1e-3)
    for _ in range(100 * SLOTS_PER_MOVE):
        channel.advance()
    assert bool((channel.user_m.abs() <= 250.0).all())
    # 150 m on, and more, the shadowing is another, of the same spread.
    fast = drawn.speed_m_s > 7.5
    first_shadow, shadow = (
        value[:, 0, 2:][fast] for value in (drawn.shadowing, channel._shadowing)
    )
    assert float(shadow.std()) == pytest.approx(1.0, abs=0.1)
    assert abs(float((first_shadow * shadow).mean())) < 0.15


def test_incumbents_are_heard_with_the_receivers_antennas_alone() -> None:
    drawn = FAMILY.draw(4, 3, generator(9))
    radio = Radio(num_bands=3, node_antenna_gain_db=8.0, user_antenna_gain_db=2.0)
    channel = Channel(drawn, radio, generator(0))
    assert channel.incumbent_gain.shape == (4, 12, 3)
    path_db = drawn.gain_db(drawn.networks.user_m, drawn.shadowing)
    for copy in range(4):
        for link in range(12):
            antenna_db = 8.0 if link < 2 else 2.0
            for band in range(3):
                wanted = float(path_db[copy, 3 + band, link]) + antenna_db
                found = float(channel.incumbent_gain[copy, link, band])
                assert 10 * math.log10(found) == pytest.approx(wanted, abs=1e-3)
    # Nodes have their own antennas as well.
    wanted = float(path_db[0, 0, 5]) + 8.0 + 2.0
    assert 10 * math.log10(float(channel.mean_gain[0, 0, 5])) == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"num_nodes": 0}, "`num_nodes` must be an integer >= 1, got 0"),
        ({"num_users": 0}, "`num_users` must be an integer >= 1, got 0"),
        ({"network": "grid"}, r"`network` must be one of \('random', 'nycmesh'\), got 'grid'"),
        ({"part": "south"}, r"`part` must be one of \('all', 'west', 'east'\), got 'south'"),
        ({"terrains": ("sea",)}, r"`terrains` must be some of \['urban_micro', .*got \('sea',\)"),
        ({"terrains": ()}, r"`terrains` must be some of .*, got \(\)"),
        ({"frequency_hz": 0.0}, "`frequency_hz` must be finite and > 0, got 0.0"),
        ({"load_mbit_s": (3.0, 2.0)}, r"`load_mbit_s` must be a range .*, got \(3.0, 2.0\)"),
        ({"load_mbit_s": (1.0, 1e20)}, r"`load_mbit_s` must be at most 1e\+06 Mbit/s, got 1e\+20"),
        ({"load_mbit_s": (0.0, 2.0)}, "`load_mbit_s` must be finite and > 0, got 0.0"),
        ({"speed_max_m_s": -1.0}, "`speed_max_m_s` must be finite and >= 0, got -1.0"),
        ({"load_swing": 1.5}, r"`load_swing` must be in \[0, 1\], got 1.5"),
        ({"load_switch": -0.1}, r"`load_switch` must be in \[0, 1\], got -0.1"),
        ({"failure_share": 2.0}, r"`failure_share` must be in \[0, 1\], got 2.0"),
        ({"failure_max": math.nan}, r"`failure_max` must be in \[0, 1\], got nan"),
        ({"incumbent_share": 1.1}, r"`incumbent_share` must be in \[0, 1\], got 1.1"),
        ({"incumbent_duty": (0.0, 1.0)}, r"`incumbent_duty` must be a range in \(0, 1\], got"),
        ({"incumbent_duty": (0.6, 0.5)}, r"`incumbent_duty` must be a range in \(0, 1\], got"),
        ({"incumbent_slots": 0.5}, "`incumbent_slots` must be >= 1, got 0.5"),
        ({"incumbent_slots": math.nan}, "`incumbent_slots` must be finite, got nan"),
        ({"incumbent_dbm": math.inf}, "`incumbent_dbm` must be finite, got inf"),
        ({"failure_slots": (5, 4)}, r"`failure_slots` must be a range .*, got \(5, 4\)"),
        ({"failure_slots": (0, 4)}, "`failure_slots` must be an integer >= 1, got 0"),
        ({"packet_bit": 0}, "`packet_bit` must be an integer >= 1, got 0"),
        ({"buffer_bit": 1.5}, "`buffer_bit` must be an integer >= 1, got 1.5"),
    ],
)
def test_families_that_are_refused(changed: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ScenarioFamily(**changed)
    with pytest.raises(ValueError, match="`batch` must be an integer >= 1, got 0"):
        FAMILY.draw(0, 2, generator(0))
    with pytest.raises(ValueError, match="`num_bands` must be an integer >= 1, got 0"):
        FAMILY.draw(2, 0, generator(0))
