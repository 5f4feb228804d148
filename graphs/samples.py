"""Channel samples of a user's own network, read from an `.npz` file."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import is_zipfile

import numpy as np
from torch import Tensor

from metagnn.graphs.checks import check_gain


@dataclass(frozen=True)
class Samples:
    """Channel samples of one network.

    Attributes:
        gain: Channel power gains ``[S, K, K]`` [1], transmitter (row) to receiver (column).
        large_scale_gain: Gains without fading ``[K, K]`` [1].
    """

    gain: Tensor
    large_scale_gain: Tensor

    @property
    def num_samples(self) -> int:
        """Number of samples S."""
        return int(self.gain.shape[0])

    @property
    def num_links(self) -> int:
        """Number of links K."""
        return int(self.gain.shape[-1])


def load_samples(path: str | Path) -> Samples:
    """Read samples from an ``.npz`` file; nothing in the file is unpickled or executed.

    The file holds ``gain [S, K, K]`` and optionally ``large_scale_gain [K, K]``: linear power
    gains [1], transmitter (row) to receiver (column), any real number type; they become float32.
    Without ``large_scale_gain`` the mean over the samples stands in for it. Other arrays in the
    file are ignored and not read.

    Args:
        path: The file, as ``numpy.savez`` or ``numpy.savez_compressed`` write it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no intact ``.npz``, lacks ``gain`` or holds pickled objects; if
            ``gain`` is not ``[S, K, K]`` or ``large_scale_gain`` not ``[K, K]`` with the same K;
            or if one of them breaks a rule of `check_gain`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"`path` must name an existing file, got {str(path)!r}")
    if path.is_dir():
        raise ValueError(f"`path` must be an intact .npz file, got the folder {str(path)!r}")
    arrays = _read_arrays(path, ("gain", "large_scale_gain"))
    if "gain" not in arrays:
        raise ValueError(f"{path.name} must hold an array `gain`, got none of that name")
    try:
        gain = check_gain("gain", _with_dims(arrays["gain"], "gain", 3, "[S, K, K]"))
        if "large_scale_gain" not in arrays:
            return Samples(gain, check_gain("gain", gain.double().mean(dim=0)))
        large_scale_gain = check_gain(
            "large_scale_gain",
            _with_dims(arrays["large_scale_gain"], "large_scale_gain", 2, "[K, K]"),
        )
        if large_scale_gain.shape[-1] != gain.shape[-1]:
            raise ValueError(
                f"`large_scale_gain` must have the K = {gain.shape[-1]} links of `gain`, "
                f"got {tuple(large_scale_gain.shape)}"
            )
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return Samples(gain, large_scale_gain)


def _with_dims(array: np.ndarray, name: str, num_dims: int, shape: str) -> np.ndarray:
    if array.ndim != num_dims:
        hint = "; for a single sample use gain[None]" if (num_dims, array.ndim) == (3, 2) else ""
        raise ValueError(f"`{name}` must have the shape {shape}{hint}, got {array.shape}")
    return array


def _read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        if not is_zipfile(path):
            raise ValueError("no zip archive (numpy.savez writes one)")
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name]) for name in names if name in archive.files}
    # A damaged archive ends in any of a dozen types, from BadZipFile and zlib.error to EOFError,
    # NotImplementedError and MemoryError; for the reader of the file they are one.
    except Exception as error:
        reason = str(error) or type(error).__name__
        if "allow_pickle" in reason:
            reason = "pickled objects, which are never loaded; save plain numeric arrays"
        raise ValueError(f"{path.name} must be an intact .npz file, got {reason}") from error
