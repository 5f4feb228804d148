import csv
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from metagnn.graphs.deployment import (
    LinkBudget,
    duplex_pairs,
    link_gain,
    load_links,
    new_york_links,
)
from metagnn.graphs.link_table import LinkTable, read_link_table
from metagnn.graphs.neighbours import NeighbourGain, strongest
from metagnn.graphs.randomness import generator

DATA = files("metagnn.graphs") / "data" / "openmesh_nyc"
NEW_YORK = Path(str(DATA / "links_5ghz.csv"))
Point = tuple[float, float]


def _table(
    ends: Sequence[tuple[Point, Point]],
    frequency_mhz: Sequence[float] | None = None,
    cml_id: Sequence[str] | None = None,
    polarization: Sequence[str] | None = None,
) -> LinkTable:
    count = len(ends)
    position_m = torch.tensor(ends, dtype=torch.float64)
    return LinkTable(
        tuple(range(2, count + 2)),
        tuple(cml_id or [str(n) for n in range(count)]),
        ("",) * count,
        position_m[:, 0],
        position_m[:, 1],
        torch.tensor(frequency_mhz or [5500.0] * count, dtype=torch.float64) * 1e6,
        tuple(polarization or ("",) * count),
    )


def _db(gain: torch.Tensor) -> float:
    return 10.0 * math.log10(gain.item())


PARALLEL = [((0.0, 0.0), (0.0, 1000.0)), ((1000.0, 0.0), (1000.0, 1000.0))]
# One kilometre at 5.5 GHz: 32.45 + 20 log10(5500) = 107.26 dB.
KILOMETRE_DB = 107.255


def test_direct_gain_is_two_antennas_less_free_space() -> None:
    gain = link_gain(_table(PARALLEL))
    assert gain.dtype == torch.float64
    assert _db(gain[0, 0]) == pytest.approx(25.0 + 25.0 - KILOMETRE_DB, abs=0.01)


def test_gain_between_parallel_links_is_floor_to_floor_over_the_diagonal() -> None:
    gain = link_gain(_table(PARALLEL))
    expected_db = 50.0 - 70.0 - KILOMETRE_DB - 10.0 * math.log10(2.0)
    assert _db(gain[0, 1]) == pytest.approx(expected_db, abs=0.01)
    assert _db(gain[1, 0]) == pytest.approx(expected_db, abs=0.01)


def test_transmitter_is_the_row() -> None:
    # Link 1 runs across link 0's continuation: transmitter 0 looks straight at receiver 1, which
    # looks aside; transmitter 1 looks past receiver 0, which looks away from it.
    table = _table([((0.0, 0.0), (0.0, 1000.0)), ((1000.0, 2000.0), (0.0, 2000.0))])
    gain = link_gain(table)
    two_km_db = KILOMETRE_DB + 20.0 * math.log10(2.0)
    assert _db(gain[0, 1]) == pytest.approx(25.0 - 10.0 - two_km_db, abs=0.01)
    diagonal_db = KILOMETRE_DB + 10.0 * math.log10(2.0)
    assert _db(gain[1, 0]) == pytest.approx(-10.0 - 10.0 - diagonal_db, abs=0.01)


def test_loss_is_that_of_the_receivers_frequency() -> None:
    same = link_gain(_table(PARALLEL))
    mixed = link_gain(_table(PARALLEL, frequency_mhz=[5500.0, 5800.0]))
    step_db = 20.0 * math.log10(5800.0 / 5500.0)
    assert _db(mixed[0, 1] / same[0, 1]) == pytest.approx(-step_db)
    assert _db(mixed[1, 1] / same[1, 1]) == pytest.approx(-step_db)
    assert mixed[1, 0] == same[1, 0]


def test_links_interfere_within_the_co_channel_span_only() -> None:
    table = _table(PARALLEL, frequency_mhz=[5200.0, 5800.0])
    assert link_gain(table, LinkBudget(co_channel_span_hz=600e6))[0, 1] > 0.0
    apart = link_gain(table, LinkBudget(co_channel_span_hz=599e6))
    assert apart[0, 1] == apart[1, 0] == 0.0
    assert (apart.diagonal() > 0).all()


@pytest.mark.parametrize(
    ("polarization", "loss_db"),
    [(("h", "v"), 20.0), (("v", "v"), 0.0), (("", "v"), 0.0), (("", ""), 0.0)],
)
def test_crossed_polarisations_lose_the_discrimination(
    polarization: tuple[str, str], loss_db: float
) -> None:
    plain = link_gain(_table(PARALLEL))
    gain = link_gain(_table(PARALLEL, polarization=polarization))
    assert _db(gain[0, 1] / plain[0, 1]) == pytest.approx(-loss_db, abs=1e-9)
    assert gain[0, 0] == plain[0, 0]


def test_radios_of_one_roof_couple_off_the_main_lobe_with_isolation_and_minimum_distance() -> None:
    # Receiver 0 and transmitter 1 stand 3 m apart, in line, each looking at the other.
    table = _table([((0.0, -1000.0), (0.0, 0.0)), ((0.0, -3.0), (1.0, -900.0))])
    gain = link_gain(table)
    ten_metres_db = KILOMETRE_DB - 40.0
    assert _db(gain[1, 0]) == pytest.approx(-10.0 - 10.0 - ten_metres_db - 20.0, abs=0.01)
    bare = link_gain(table, LinkBudget(same_site_isolation_db=0.0, min_distance_m=1.0))
    three_metres_db = KILOMETRE_DB + 20.0 * math.log10(3.0 / 1000.0)
    assert _db(bare[1, 0]) == pytest.approx(-10.0 - 10.0 - three_metres_db, abs=0.01)


def test_radios_at_the_same_point_have_a_finite_gain() -> None:
    table = _table([((0.0, 0.0), (0.0, 1000.0)), ((0.0, 1000.0), (0.0, 2000.0))])
    gain = link_gain(table)
    assert gain.isfinite().all()
    assert _db(gain[1, 0]) == pytest.approx(-20.0 - (KILOMETRE_DB - 40.0) - 20.0, abs=0.01)


THERE = ((0.0, 0.0), (0.0, 1000.0))
BACK = ((20.0, 1010.0), (-20.0, 30.0))
FAR_BACK = ((80.0, 1010.0), (0.0, 30.0))


@pytest.mark.parametrize(
    ("ends", "cml_id", "pair"),
    [
        ([THERE, BACK], ["1", "2"], True),  # ends swapped on the same roofs
        ([THERE, FAR_BACK], ["1", "2"], False),  # one end is another roof
        ([THERE, FAR_BACK], ["1", "1"], True),  # but the file says it is one link
        ([THERE, FAR_BACK], ["", ""], False),  # nameless links are not one link
        ([THERE, THERE], ["1", "1"], False),  # two carriers in the same direction do interfere
    ],
)
def test_the_two_directions_of_a_link_do_not_disturb_each_other(
    ends: list[tuple[Point, Point]], cml_id: list[str], pair: bool
) -> None:
    table = _table(ends, cml_id=cml_id)
    assert duplex_pairs(table, 50.0).tolist() == [[False, pair], [pair, False]]
    gain = link_gain(table)
    assert (gain[0, 1] == 0.0) == pair
    assert (gain[1, 0] == 0.0) == pair
    assert (gain.diagonal() > 0).all()


def _gain_by_loop(table: LinkTable, i: int, k: int) -> float:
    """The definition for one pair, in scalars and complex numbers, defaults of the budget."""
    transmitter = [complex(*point) for point in table.transmitter_m.tolist()]
    receiver = [complex(*point) for point in table.receiver_m.tolist()]
    frequency_hz = table.frequency_hz.tolist()
    path = receiver[k] - transmitter[i]
    if i != k:
        if abs(frequency_hz[i] - frequency_hz[k]) > 600e6:
            return 0.0
        ahead = (receiver[i] - transmitter[i]) / (receiver[k] - transmitter[k])
        swapped = abs(path) <= 50.0 and abs(receiver[i] - transmitter[k]) <= 50.0
        if ahead.real < 0 and (swapped or table.cml_id[i] == table.cml_id[k]):
            return 0.0
    gain_db = -20 * math.log10(4 * math.pi * max(abs(path), 10.0) * frequency_hz[k] / 299_792_458)
    if i != k and abs(path) <= 50.0:
        return float(10 ** ((gain_db + 2 * (25.0 - 35.0) - 20.0) / 10))
    for boresight, direction in (
        (receiver[i] - transmitter[i], path),
        (transmitter[k] - receiver[k], -path),
    ):
        cosine = (boresight.conjugate() * direction).real / abs(boresight) / abs(direction)
        angle_deg = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
        gain_db += 25.0 - min(12.0 * (angle_deg / 9.0) ** 2, 35.0)
    return float(10 ** (gain_db / 10))


def test_real_links_equal_a_plain_loop() -> None:
    table = read_link_table(NEW_YORK)
    expected = torch.tensor(
        [[_gain_by_loop(table, i, k) for k in range(59)] for i in range(59)], dtype=torch.float64
    )
    gain = link_gain(table)
    torch.testing.assert_close(gain, expected, rtol=1e-6, atol=0.0)
    assert not torch.allclose(gain, gain.T, rtol=0.1, atol=0.0)
    torch.testing.assert_close(new_york_links().large_scale_gain, expected.float())


def test_new_york_links_have_sensible_levels() -> None:
    network = new_york_links()
    assert network.num_links == 59
    assert network.transmitter_m.shape == network.receiver_m.shape == (59, 2)
    assert network.large_scale_gain.dtype == torch.float32
    gain = network.large_scale_gain.double()
    snr_db = 10.0 * torch.log10(gain.diagonal() * 0.01 / 10**-13.4)  # 10 dBm, -104 dBm
    assert snr_db.min() > 40.0
    assert snr_db.max() < 95.0
    crossed = gain - torch.diag(gain.diagonal())
    sir_db = 10.0 * torch.log10(gain.diagonal() / crossed.sum(dim=0))
    assert 5 <= int((sir_db < 10.0).sum()) <= 20
    # 8 links of the selection have both their directions in it
    assert int((crossed == 0).sum()) - 59 == 16
    assert network.sample(3, generator(0)).shape == (3, 59, 59)


def test_shipped_lengths_agree_with_the_coordinates_and_the_rows_with_the_selection() -> None:
    table = read_link_table(NEW_YORK)
    with NEW_YORK.open(newline="") as file:
        rows = list(csv.DictReader(file))
    length_m = (table.receiver_m - table.transmitter_m).norm(dim=1).tolist()
    assert length_m == pytest.approx([float(row["length"]) for row in rows], rel=0.005)
    assert all(5000 <= float(row["frequency"]) <= 6000 for row in rows)
    assert len(rows) == 59


def test_licence_and_attribution_are_beside_the_data() -> None:
    attribution = (DATA / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for words in ("CC BY 4.0", "10.5281/zenodo.15287692", "Change", "Jacoby"):
        assert words in attribution
    assert "Attribution 4.0 International" in (DATA / "CC-BY-4.0.txt").read_text(encoding="utf-8")


def test_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    header, *rows = NEW_YORK.read_text().splitlines()
    order = torch.randperm(59, generator=generator(1, "rows")).tolist()
    path = tmp_path / "shuffled.csv"
    path.write_text("\n".join([header] + [rows[n] for n in order]))
    shuffled = load_links(path).large_scale_gain
    expected = new_york_links().large_scale_gain[order][:, order]
    torch.testing.assert_close(shuffled, expected, rtol=1e-4, atol=0.0)


def test_range_of_frequencies_and_budget_are_passed_on() -> None:
    part = load_links(NEW_YORK, LinkBudget(antenna_gain_dbi=20.0), (5000.0, 5400.0))
    whole = read_link_table(NEW_YORK, (5000.0, 5400.0))
    assert 0 < part.num_links == whole.num_links < 59
    expected = link_gain(whole, LinkBudget(antenna_gain_dbi=20.0))
    torch.testing.assert_close(part.large_scale_gain, expected.float())


def test_lists_of_real_links_equal_the_dense_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metagnn.graphs.neighbours._PAIRS_AT_ONCE", 59 * 7)
    lists = load_links(NEW_YORK, num_neighbours=9).large_scale_gain
    wanted = strongest(link_gain(read_link_table(NEW_YORK)), 9)
    assert isinstance(lists, NeighbourGain)
    assert torch.equal(lists.neighbours.source, wanted.neighbours.source)
    assert torch.equal(lists.neighbours.target, wanted.neighbours.target)
    for name in ("direct", "crossed", "neglected"):
        torch.testing.assert_close(getattr(lists, name), getattr(wanted, name).float())
    with pytest.raises(ValueError, match=r"`num_neighbours` must be <= 58, .*, got 59"):
        load_links(NEW_YORK, num_neighbours=59)


def test_direct_gain_below_float32_is_reported() -> None:
    with pytest.raises(ValueError, match=r"`large_scale_gain` must be >= .* on the diagonal"):
        load_links(NEW_YORK, LinkBudget(antenna_gain_dbi=-200.0))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`path` must name an existing file"):
        load_links(tmp_path / "no.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"antenna_gain_dbi": math.nan}, "`antenna_gain_dbi` must be finite, got nan"),
        ({"beam_width_deg": 0.0}, "`beam_width_deg` must be finite and > 0"),
        ({"beam_width_deg": 361.0}, "`beam_width_deg` must be <= 360"),
        ({"front_to_back_db": -1.0}, "`front_to_back_db` must be finite and >= 0"),
        ({"min_distance_m": 0.0}, "`min_distance_m` must be finite and > 0"),
        ({"site_radius_m": -1.0}, "`site_radius_m` must be finite and >= 0"),
        ({"same_site_isolation_db": math.inf}, "`same_site_isolation_db` must be finite"),
        ({"cross_polar_discrimination_db": -3.0}, "`cross_polar_discrimination_db` must be"),
        ({"co_channel_span_hz": -1.0}, "`co_channel_span_hz` must be finite and >= 0"),
    ],
)
def test_budget_rejects(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinkBudget(**arguments)
