import csv
import errno
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from metagnn.files import write_atomically, write_csv, write_json, write_npz, written_together


def test_parts_are_joined_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old and longer than the new")
    write_atomically(path, b"ab", memoryview(b"cd"), bytearray(b"e"))
    assert path.read_bytes() == b"abcde"
    assert os.listdir(tmp_path) == ["file.bin"]


def test_mode_follows_the_umask(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    write_atomically(tmp_path / "atomic", b"x")
    assert stat.S_IMODE((tmp_path / "atomic").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_bytes_then_name_then_folder_reach_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        folder = stat.S_ISDIR(status.st_mode)
        events.append("fsync folder" if folder else f"fsync {status.st_size} bytes")
        fsync(descriptor)

    def spy_replace(source: Path, target: Path) -> None:
        assert Path(source).parent == Path(target).parent
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    write_atomically(tmp_path / "file", b"12345")
    assert events == ["fsync 5 bytes", "replace", "fsync folder"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_failure_keeps_the_old_file(
    function: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        assert len(os.listdir(tmp_path)) == 2  # the temporary file is there now
        raise error

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_keeps_the_old_file_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    real_open = os.open

    def open_on_full_disk(name: object, flags: int, *mode: int) -> int:
        os.close(real_open(name, flags, *mode))  # type: ignore[arg-type]
        return real_open("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(os, "open", open_on_full_disk)
    with pytest.raises(OSError, match=r"No space left on device.*file") as caught:
        write_atomically(path, b"new" * 100_000)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_folder_missing_or_a_file_or_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = r"`out` must lie in a folder that exists and can be written, got '.*x'"
    (tmp_path / "file").write_bytes(b"")
    for parent in ("missing", "file"):
        with pytest.raises(ValueError, match=rule):
            write_atomically(tmp_path / parent / "x", b"", name="out")

    def refuse(*_: object) -> int:  # the superuser is never refused for real
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ValueError, match=rule):
        write_atomically(tmp_path / "x", b"", name="out")
    assert os.listdir(tmp_path) == ["file"]


def test_other_errors_of_the_folder_surface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", exhausted)
    with pytest.raises(OSError, match="Too many open files"):
        write_atomically(tmp_path / "x", b"")


def test_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`path` must be a file, not a folder, got '"):
        write_atomically(tmp_path, b"")


def _write_and_fail(out: Path) -> None:
    with written_together(out) as folder:
        (folder / "a").write_text("3")
        raise OSError("disk full")


def _write_two(out: Path) -> None:
    with written_together(out) as folder:
        (folder / "a").write_text("1")
        (folder / "b").write_text("2")


def test_files_written_together_appear_together(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with written_together(out) as folder:
        (folder / "a").write_text("1")
        write_json(folder / "b.json", 2)
        assert not (out / "a").exists()
    assert sorted(os.listdir(out)) == ["a", "b.json"]
    with pytest.raises(OSError, match="disk full"):
        _write_and_fail(out)
    assert (out / "a").read_text() == "1"
    assert sorted(os.listdir(out)) == ["a", "b.json"]


def test_a_folder_made_in_vain_goes_again(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"):
        _write_and_fail(tmp_path / "new" / "out")
    assert os.listdir(tmp_path) == []


def test_no_file_moves_where_one_cannot(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="must be a file, not a folder"):
        _write_two(tmp_path)
    assert os.listdir(tmp_path) == ["b"]


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"mean_rate": 3.8, "name": "Zürich", "ci95": [1.0, None]}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert text.endswith("}\n")
    assert "Zürich" in text


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_refuses_what_json_lacks(number: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`value` must be JSON .* got dict for '.*a\.json'"):
        write_json(tmp_path / "a.json", {"x": number})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"x": object()})
    assert os.listdir(tmp_path) == []


def test_csv_round_trip_and_ragged_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, ["policy", "rate"], [["a,b", 1.5], ["c", 0.1]])
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["policy", "rate"], ["a,b", "1.5"], ["c", "0.1"]]
    with pytest.raises(ValueError, match=r"`rows` must have 2 fields each, got \['x'\]"):
        write_csv(path, ["policy", "rate"], [["x"]])
    assert path.read_text().startswith("policy,rate\n")


def test_npz_round_trip_without_pickle(tmp_path: Path) -> None:
    power_w = np.array([[0.01, 0.0]], dtype=np.float32)
    write_npz(tmp_path / "power.npz", power_w=power_w, path=np.arange(3))
    with np.load(tmp_path / "power.npz", allow_pickle=False) as arrays:
        assert arrays["power_w"].dtype == np.float32
        assert np.array_equal(arrays["power_w"], power_w)
        assert arrays["path"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="`power_w` must hold numbers, got dtype 'object'"):
        write_npz(tmp_path / "other.npz", power_w=np.array([object()]))
    assert os.listdir(tmp_path) == ["power.npz"]
