import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from metagnn.graphs.samples import load_samples

GAIN = np.array([[[4e-9, 1e-12], [3e-11, 2e-9]], [[2e-9, 3e-12], [1e-11, 6e-9]]])


class _Planted:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def _save(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_round_trip(tmp_path: Path) -> None:
    large = np.array([[3e-9, 2e-12], [2e-11, 5e-9]])
    path = _save(tmp_path / "own.npz", gain=GAIN, large_scale_gain=large, note=np.ones(3))
    samples = load_samples(path)
    assert samples.num_samples == 2
    assert samples.num_links == 2
    assert samples.gain.dtype == samples.large_scale_gain.dtype == torch.float32
    torch.testing.assert_close(samples.gain.double(), torch.tensor(GAIN), rtol=1e-6, atol=0.0)
    torch.testing.assert_close(
        samples.large_scale_gain.double(), torch.tensor(large), rtol=1e-6, atol=0.0
    )


def test_without_large_scale_gain_the_mean_stands_in(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "own.npz", gain=GAIN)
    samples = load_samples(str(tmp_path / "own.npz"))
    torch.testing.assert_close(
        samples.large_scale_gain.double(), torch.tensor(GAIN.mean(axis=0)), rtol=1e-6, atol=0.0
    )


def test_one_link_and_gains_at_the_lower_end(tmp_path: Path) -> None:
    samples = load_samples(_save(tmp_path / "one.npz", gain=np.full((3, 1, 1), 1e-14)))
    assert samples.num_links == 1
    assert samples.large_scale_gain.item() == pytest.approx(1e-14, rel=1e-6)


def _changed(value: float) -> np.ndarray:
    gain = GAIN.copy()
    gain[1, 1, 1] = value
    return gain


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"gains": GAIN}, "must hold an array `gain`, got none"),
        (
            {"gain": GAIN[0]},
            r"`gain` must have the shape \[S, K, K\]; .*gain\[None\], got \(2, 2\)",
        ),
        ({"gain": GAIN[None]}, r"`gain` must have the shape \[S, K, K\], got \(1, 2, 2, 2\)"),
        ({"gain": GAIN[:, :1]}, r"`gain` must be square .* got \(2, 1, 2\)"),
        ({"gain": GAIN[:0]}, "`gain` must hold at least one sample and one link"),
        ({"gain": GAIN[:, :0, :0]}, "`gain` must hold at least one sample and one link"),
        ({"gain": _changed(np.nan)}, "`gain` must be finite everywhere, got nan"),
        ({"gain": _changed(np.inf)}, "`gain` must be finite everywhere, got inf"),
        ({"gain": _changed(-1e-9)}, r"`gain` must be >= 0 everywhere .* got -1e-09"),
        ({"gain": _changed(0.0)}, "`gain` must be > 0 on the diagonal"),
        ({"gain": _changed(1e-60)}, r"`gain` must be >= 1\.175e-38 on the diagonal.* got 1e-60"),
        ({"gain": 10 * np.log10(GAIN)}, r"look like dB: convert with 10 \*\* \(gain_db / 10\)"),
        ({"gain": GAIN.astype(complex)}, "`gain` must hold real numbers .* got 'complex128'"),
        (
            {"gain": GAIN, "large_scale_gain": np.ones((3, 3))},
            r"`large_scale_gain` must have the K = 2 links of `gain`, got \(3, 3\)",
        ),
        (
            {"gain": GAIN, "large_scale_gain": GAIN},
            r"`large_scale_gain` must have the shape \[K, K\], got \(2, 2, 2\)",
        ),
        (
            {"gain": GAIN, "large_scale_gain": _changed(np.nan)[1]},
            "`large_scale_gain` must be finite everywhere, got nan",
        ),
    ],
)
def test_rejected_arrays(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^own\.npz.*{message}"):
        load_samples(_save(tmp_path / "own.npz", **arrays))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"`path` must name an existing file, got .*no\.npz"
    ):
        load_samples(tmp_path / "no.npz")


def test_a_folder_text_a_single_array_and_an_empty_file_are_no_npz(tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, GAIN)
    contents = {"text.npz": b"gain,1,2", "empty.npz": b"", "array.npz": array.getvalue()}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} must be an intact \.npz file, got no zip"):
            load_samples(tmp_path / name)
    with pytest.raises(ValueError, match=r"must be an intact \.npz file"):
        load_samples(tmp_path)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    content = _save(tmp_path / "whole.npz", gain=GAIN).read_bytes()
    for length in range(0, len(content) - 1, 7):
        (tmp_path / "cut.npz").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.npz must be an intact \.npz file"):
            load_samples(tmp_path / "cut.npz")


def test_flipped_bits_of_the_numbers_are_noticed(tmp_path: Path) -> None:
    path = _save(tmp_path / "whole.npz", gain=GAIN)
    content = path.read_bytes()
    start = content.index(GAIN.tobytes())
    for position in range(start, start + GAIN.nbytes, 5):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        path.write_bytes(bytes(damaged))
        with pytest.raises(ValueError, match=r"must be an intact \.npz file, got Bad CRC-32"):
            load_samples(path)


def test_pickled_objects_are_refused_and_never_run(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    objects = np.empty((1, 1, 1), dtype=object)
    objects[0, 0, 0] = _Planted(planted)
    path = _save(tmp_path / "evil.npz", gain=objects)
    with pytest.raises(ValueError, match="got pickled objects, which are never loaded"):
        load_samples(path)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(_Planted(planted)))
    with pytest.raises(ValueError, match=r"must be an intact \.npz file"):
        load_samples(tmp_path / "pickle.npz")
    with zipfile.ZipFile(tmp_path / "raw.npz", "w") as archive:
        archive.writestr("gain", pickle.dumps(_Planted(planted)))
    with pytest.raises(ValueError, match=r"raw\.npz"):
        load_samples(tmp_path / "raw.npz")
    assert not planted.exists()


def test_dense_gains_beside_lists_and_no_known_sample_are_refused(tmp_path: Path) -> None:
    lists = {
        "source": [1],
        "target": [0],
        "direct_gain": GAIN[:, 0],
        "crossed_gain": GAIN[:, 0, :1],
    }
    both = _save(tmp_path / "both.npz", gain=GAIN, **lists)
    with pytest.raises(ValueError, match="`gain` must be left out beside neighbour lists"):
        load_samples(both)
    large = _save(tmp_path / "large.npz", large_scale_gain=GAIN[0], **lists)
    with pytest.raises(ValueError, match="`large_scale_gain` must be left out beside neighbour"):
        load_samples(large)
    one = _save(tmp_path / "one.npz", gain=GAIN)
    with pytest.raises(ValueError, match="`num_known` must be an integer >= 1, got 0"):
        load_samples(one, num_known=0)
