"""Channel samples of a user's own network, read from an `.npz` file."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import is_zipfile

import numpy as np
import torch
from torch import Tensor

from metagnn.graphs.checks import (
    check_count,
    check_crossed_gain,
    check_direct_gain,
    check_gain,
    require,
)
from metagnn.graphs.neighbours import (
    Gain,
    NeighbourGain,
    Neighbours,
    on_neighbours_if_large,
)

_LISTS = ("source", "target", "direct_gain", "crossed_gain")
_LARGE_SCALE_LISTS = ("large_scale_direct_gain", "large_scale_crossed_gain", "neglected_gain")


@dataclass(frozen=True)
class Samples:
    """Channel samples of one network, dense or on neighbour lists.

    Attributes:
        gain: Channel power gains ``[S, K, K]`` [1], transmitter (row) to receiver (column).
        large_scale_gain: Gains without fading ``[K, K]`` [1].
    """

    gain: Gain
    large_scale_gain: Gain

    @property
    def num_samples(self) -> int:
        """Number of samples S."""
        return int(self.gain.shape[0])

    @property
    def num_links(self) -> int:
        """Number of links K."""
        return int(self.gain.shape[-1])


def load_samples(
    path: str | Path,
    of: Gain | None = None,
    num_neighbours: int | None = None,
    num_known: int | None = None,
) -> Samples:
    """Read samples from an ``.npz`` file; nothing in the file is unpickled or executed.

    The file holds ``gain [S, K, K]`` and optionally ``large_scale_gain [K, K]``: linear power
    gains [1], transmitter (row) to receiver (column), any real number type; they become float32.
    Without ``large_scale_gain`` the mean over the known samples stands in for it. Of more than
    `DENSE_LINKS` links only the `NUM_NEIGHBOURS` strongest transmitters at each receiver are kept.

    Or it holds neighbour lists: ``source [E]`` and ``target [E]``, the transmitter and the
    receiver (links from 0 to K - 1, ascending by receiver) of each pair, ``direct_gain [S, K]``
    and ``crossed_gain [S, E]``; optionally ``large_scale_direct_gain [K]`` and
    ``large_scale_crossed_gain [E]``, and ``neglected_gain [K]``, a bound on the mean of the gains
    at each receiver that were left out.

    Other arrays in the file are ignored and not read.

    Args:
        path: The file, as ``numpy.savez`` or ``numpy.savez_compressed`` write it.
        of: Gains of the same network, on whose neighbour lists the samples are put, if it has any.
        num_neighbours: Strongest transmitters to keep at each receiver, whatever the size.
        num_known: First samples that are known beforehand; all if None.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no intact ``.npz``, lacks ``gain`` or holds pickled objects; if
            ``gain`` is not ``[S, K, K]`` or ``large_scale_gain`` not ``[K, K]`` with the same K;
            if one of them breaks a rule of `check_gain`; if lists break a rule of `Neighbours`;
            if there are not more links than neighbours; or if the network is not that of ``of``.
    """
    if num_known is not None:
        check_count("num_known", num_known)
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"`path` must name an existing file, got {str(path)!r}")
    if path.is_dir():
        raise ValueError(f"`path` must be an intact .npz file, got the folder {str(path)!r}")
    names = ("gain", "large_scale_gain", *_LISTS, *_LARGE_SCALE_LISTS)
    arrays = _read_arrays(path, names)
    if "gain" not in arrays and "source" not in arrays:
        raise ValueError(f"{path.name} must hold an array `gain`, got none of that name")
    try:
        _check_one_form(arrays)
        samples = (_dense if "gain" in arrays else _lists)(arrays, num_known)
        if of is not None:
            return _like(samples, of)
        return _on_neighbours_if_large(samples, num_neighbours)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _check_one_form(arrays: dict[str, np.ndarray]) -> None:
    """Require arrays of dense gains or of lists, not some of both."""
    dense = [name for name in ("gain", "large_scale_gain") if name in arrays]
    lists = [name for name in (*_LISTS, *_LARGE_SCALE_LISTS) if name in arrays]
    if dense and lists:
        require(False, dense[0], "be left out beside neighbour lists", f"`{lists[0]}` too")


def _dense(arrays: dict[str, np.ndarray], num_known: int | None) -> Samples:
    gain = check_gain("gain", _with_dims(arrays["gain"], "gain", 3, "[S, K, K]"))
    if "large_scale_gain" not in arrays:
        return Samples(gain, check_gain("gain", gain[:num_known].double().mean(dim=0)))
    large_scale_gain = check_gain(
        "large_scale_gain",
        _with_dims(arrays["large_scale_gain"], "large_scale_gain", 2, "[K, K]"),
    )
    if large_scale_gain.shape[-1] != gain.shape[-1]:
        raise ValueError(
            f"`large_scale_gain` must have the K = {gain.shape[-1]} links of `gain`, "
            f"got {tuple(large_scale_gain.shape)}"
        )
    return Samples(gain, large_scale_gain)


def _lists(arrays: dict[str, np.ndarray], num_known: int | None) -> Samples:
    for name in _LISTS:
        require(name in arrays, name, "stand beside the other lists", "none of that name")
    ends = []
    for name in ("source", "target"):
        array = arrays[name]
        require(array.dtype.kind in "iu", name, "hold whole numbers", str(array.dtype))
        ends.append(torch.from_numpy(array.astype(np.int64)))
    direct = _with_dims(arrays["direct_gain"], "direct_gain", 2, "[S, K]")
    pairs = Neighbours(direct.shape[1], *ends)
    crossed = _with_dims(arrays["crossed_gain"], "crossed_gain", 2, "[S, E]")
    for name, length in zip(
        _LARGE_SCALE_LISTS, (pairs.num_links, pairs.num_pairs, pairs.num_links), strict=True
    ):
        shape = arrays[name].shape if name in arrays else (length,)
        require(shape == (length,), name, f"have the shape {(length,)}", shape)
    neglected = torch.full((pairs.num_links,), math.nan)
    if "neglected_gain" in arrays:
        neglected = check_crossed_gain("neglected_gain", arrays["neglected_gain"])
    samples = NeighbourGain(
        pairs,
        check_direct_gain("direct_gain", direct),
        check_crossed_gain("crossed_gain", crossed),
        neglected,
    )
    known = samples[:num_known]
    mean = [value.double().mean(0).float() for value in (known.direct, known.crossed)]
    if "large_scale_direct_gain" in arrays or "large_scale_crossed_gain" in arrays:
        for name in _LARGE_SCALE_LISTS[:2]:
            require(name in arrays, name, "stand beside the other one", "none of that name")
        direct_name, crossed_name = _LARGE_SCALE_LISTS[:2]
        mean = [
            check_direct_gain(direct_name, arrays[direct_name]),
            check_crossed_gain(crossed_name, arrays[crossed_name]),
        ]
    return Samples(samples, NeighbourGain(pairs, mean[0], mean[1], neglected))


def _like(samples: Samples, of: Gain) -> Samples:
    """The samples on the neighbour lists of the same network, or dense as it is."""
    rule = f"have the {of.shape[-1]} links of the network's other samples"
    require(samples.num_links == of.shape[-1], "gain", rule, samples.num_links)
    gain, large_scale_gain = samples.gain, samples.large_scale_gain
    if isinstance(gain, Tensor) and isinstance(large_scale_gain, Tensor):
        if isinstance(of, Tensor):
            return samples
        return Samples(of.samples(gain), of.samples(large_scale_gain))
    assert isinstance(gain, NeighbourGain)
    assert isinstance(large_scale_gain, NeighbourGain)
    require(isinstance(of, NeighbourGain), "source", "be left out beside dense samples", "lists")
    assert isinstance(of, NeighbourGain)
    same = torch.equal(gain.neighbours.source, of.neighbours.source) and torch.equal(
        gain.neighbours.target, of.neighbours.target
    )
    require(same, "source", "name the pairs of the network's other samples", "others")
    neglected, of_others = (g.neglected.reshape(-1, g.num_links)[0] for g in (gain, of))
    if not bool(neglected.isnan().all()):
        rule = "be that of the network's other samples, or be left out"
        alike = torch.equal(neglected, of_others)
        require(alike, "neglected_gain", rule, float(neglected[neglected != of_others][:1].sum()))
    return Samples(
        replace(gain, neglected=of_others),
        replace(large_scale_gain, neglected=of_others),
    )


def _on_neighbours_if_large(samples: Samples, num_neighbours: int | None) -> Samples:
    large_scale_gain = on_neighbours_if_large(samples.large_scale_gain, num_neighbours)
    if isinstance(samples.gain, Tensor) and isinstance(large_scale_gain, NeighbourGain):
        return Samples(large_scale_gain.samples(samples.gain), large_scale_gain)
    return samples


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
