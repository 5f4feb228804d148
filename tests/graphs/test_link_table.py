from pathlib import Path

import pytest

from metagnn.graphs import link_table
from metagnn.graphs.link_table import read_link_table

HEADER = "cml_id,sublink_id,site_0_lat,site_0_lon,site_1_lat,site_1_lon,frequency,polarization"
FIRST = "1,a,40.70,-74.00,40.71,-74.00,5500,v"
SECOND = "1,b,40.71,-74.00,40.70,-74.00,5600,H"


def _write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "links.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_rows_become_links_in_order(tmp_path: Path) -> None:
    table = read_link_table(_write(tmp_path, HEADER, FIRST, "", SECOND))
    assert table.num_links == 2
    assert table.line == (2, 4)
    assert table.cml_id == ("1", "1")
    assert table.sublink_id == ("a", "b")
    assert table.polarization == ("v", "h")
    assert table.frequency_hz.tolist() == [5.5e9, 5.6e9]
    # 0.01 degrees of latitude are 6371.0088 km * pi / 180 * 0.01 = 1111.95 m
    along = table.receiver_m - table.transmitter_m
    assert along.flatten().tolist() == pytest.approx([0.0, 1111.95, 0.0, -1111.95], abs=0.01)


def test_a_degree_of_longitude_shrinks_with_the_latitude(tmp_path: Path) -> None:
    table = read_link_table(_write(tmp_path, HEADER, "1,a,60.0,10.0,60.0,10.01,5500,v"))
    east, north = (table.receiver_m - table.transmitter_m)[0].tolist()
    assert east == pytest.approx(1111.95 / 2.0, abs=0.01)
    assert north == pytest.approx(0.0, abs=1e-6)


def test_sites_on_both_sides_of_the_180th_meridian_are_neighbours(tmp_path: Path) -> None:
    table = read_link_table(_write(tmp_path, HEADER, "1,a,0.0,179.995,0.0,-179.995,5500,v"))
    assert (table.receiver_m - table.transmitter_m)[0, 0].item() == pytest.approx(1111.95, abs=0.01)


def test_only_the_required_columns_in_any_order_with_spaces_and_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "links.csv"
    text = "frequency, site_1_lon,site_1_lat,site_0_lon,site_0_lat,colour\r\n"
    path.write_text("\ufeff" + text + "5500,-74.0,40.71, -74.0,40.7,red\r\n", encoding="utf-8")
    table = read_link_table(path)
    assert table.cml_id == table.sublink_id == table.polarization == ("",)
    assert (table.receiver_m - table.transmitter_m)[0, 1] > 0


def test_links_without_names_are_not_duplicates(tmp_path: Path) -> None:
    nameless = ",," + FIRST.split(",", 2)[2]
    assert read_link_table(_write(tmp_path, HEADER, nameless, nameless)).num_links == 2


def test_frequency_range_keeps_both_ends_and_all_rows_share_one_plane(tmp_path: Path) -> None:
    path = _write(tmp_path, HEADER, FIRST, SECOND)
    both = read_link_table(path, (5500.0, 5600.0))
    one = read_link_table(path, (5550.0, 5600.0))
    assert both.num_links == 2
    assert one.sublink_id == ("b",)
    assert one.transmitter_m.tolist() == both.transmitter_m[1:].tolist()
    with pytest.raises(ValueError, match=r"`frequency_range_mhz` must hold at least one link"):
        read_link_table(path, (6000.0, 7000.0))


def _row(**changes: str) -> str:
    fields = dict(zip(HEADER.split(","), FIRST.split(","), strict=True))
    return ",".join({**fields, "sublink_id": "c", **changes}.values())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_row(sublink_id="a"), r"`cml_id` and `sublink_id` must .*got \('1', 'a'\) again .*line 2"),
        (_row(site_0_lat="91"), r"`site_0_lat` must be a number in \[-90, 90\], got '91'"),
        (_row(site_1_lat="-90.5"), r"`site_1_lat` must be a number in \[-90, 90\], got '-90.5'"),
        (_row(site_0_lon="181"), r"`site_0_lon` must be a number in \[-180, 180\], got '181'"),
        (_row(site_1_lon="east"), r"`site_1_lon` must be a number in .* got 'east'"),
        (_row(site_1_lon=""), r"`site_1_lon` must be a number in .* got ''"),
        (_row(site_0_lat="nan"), r"`site_0_lat` must be a number in .* got 'nan'"),
        (_row(frequency="0"), "`frequency` must be > 0 and at most 300000 MHz, got '0'"),
        (_row(frequency="-5500"), "`frequency` must be > 0 .* got '-5500'"),
        (_row(frequency="5.5e9"), "`frequency` must be > 0 and at most 300000 MHz, got '5.5e9'"),
        (_row(frequency="nan"), "`frequency` must be > 0 .* got 'nan'"),
        (_row(frequency="5 GHz"), "`frequency` must be > 0 .* got '5 GHz'"),
        (_row(polarization="x"), "`polarization` must be h, v or empty, got 'x'"),
        (_row(site_1_lat="40.70"), r"must lie at least 1 m from site 0 .*got \(40\.7, -74\.0\)"),
        (_row(site_1_lat="-40.7"), r"`site_1_lat`, `site_1_lon` must lie within 200 km"),
        (FIRST + ",7", r"must have as many fields as the header \(8\), got 9"),
        ("1,c,40.70", r"must have as many fields as the header \(8\), got 3"),
    ],
)
def test_rejected_rows_are_named_by_their_line(tmp_path: Path, row: str, message: str) -> None:
    path = _write(tmp_path, HEADER, FIRST, SECOND, row)
    with pytest.raises(ValueError, match=rf"^links\.csv, line 4: .*{message}"):
        read_link_table(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER], "must hold at least one link, got only a header"),
        ([], "must begin with a header line"),
        (["", FIRST], "must begin with a header line"),
        (
            [HEADER.replace("frequency", "freq"), FIRST],
            "must have the column `frequency`, got only",
        ),
        ([HEADER.replace(",", ";"), FIRST], "must have the column `site_0_lat`"),
        ([HEADER.replace("cml_id", "frequency"), FIRST], "name each column once, got 'frequency'"),
    ],
)
def test_rejected_files(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^links\.csv .*{message}"):
        read_link_table(_write(tmp_path, *lines))


@pytest.mark.parametrize("column", link_table.REQUIRED_COLUMNS)
def test_every_required_column_is_required(tmp_path: Path, column: str) -> None:
    header = HEADER.replace(column, "other")
    with pytest.raises(ValueError, match=f"must have the column `{column}`"):
        read_link_table(_write(tmp_path, header, FIRST))


def test_no_file_a_folder_binary_text_and_an_endless_field(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`path` must name an existing file"):
        read_link_table(tmp_path / "no.csv")
    with pytest.raises(ValueError, match="must be a readable CSV"):
        read_link_table(tmp_path)
    path = tmp_path / "links.csv"
    path.write_bytes(HEADER.encode("utf-16"))
    with pytest.raises(ValueError, match=r"links\.csv must be UTF-8 text"):
        read_link_table(path)
    path.write_text(HEADER + "\n" + "1" * 200_000)
    with pytest.raises(ValueError, match=r"links\.csv must be a readable CSV"):
        read_link_table(path)


def test_too_many_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_table, "MAX_LINKS", 2)
    assert read_link_table(_write(tmp_path, HEADER, FIRST, SECOND)).num_links == 2
    with pytest.raises(ValueError, match=r"must hold at most 2 links .* got more in line 4"):
        read_link_table(_write(tmp_path, HEADER, FIRST, SECOND, _row()))
