"""Large networks as neighbour lists: the gains between links that matter, never K x K of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, check_positive, check_square, require

# Networks of more links are put on neighbour lists where nobody asks for the one or the other.
DENSE_LINKS = 256
NUM_NEIGHBOURS = 16
_PAIRS_AT_ONCE = 2**22


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Which links disturb which: pairs of different links, sorted by receiver.

    Attributes:
        num_links: Number of links K.
        source: Transmitter of each pair ``[E]``.
        target: Receiver of each pair ``[E]``, ascending.

    Raises:
        ValueError: If a pair is out of range, of a link with itself, or not in order.
    """

    num_links: int
    source: Tensor
    target: Tensor

    def __post_init__(self) -> None:
        check_count("num_links", self.num_links)
        for name in ("source", "target"):
            ends = getattr(self, name)
            require(ends.dim() == 1, name, "have the shape [E]", tuple(ends.shape))
            require(ends.dtype == torch.int64, name, "be of int64", ends.dtype)
            outside = ends[(ends < 0) | (ends >= self.num_links)]
            rule = f"hold links from 0 to {self.num_links - 1}"
            require(len(outside) == 0, name, rule, outside[:1].tolist())
        shapes = tuple(self.source.shape), tuple(self.target.shape)
        require(shapes[0] == shapes[1], "source", f"have the shape {shapes[1]}", shapes[0])
        looped = self.source[self.source == self.target]
        require(len(looped) == 0, "source", "differ from target", looped[:1].tolist())
        falls = self.target[1:][self.target.diff() < 0]
        require(len(falls) == 0, "target", "be in ascending order", falls[:1].tolist())
        pair = (self.target * self.num_links + self.source).sort().values
        twice = pair[1:][pair.diff() == 0] % self.num_links
        require(len(twice) == 0, "source", "name each pair once", twice[:1].tolist())

    @property
    def num_pairs(self) -> int:
        """Number of pairs E."""
        return len(self.source)

    @cached_property
    def by_source(self) -> Tensor:
        """Order of the pairs by transmitter ``[E]``."""
        return self.source.argsort(stable=True)

    def into_targets(self, value: Tensor) -> Tensor:
        """Sums over the pairs of each receiver: ``[..., E]`` to ``[..., K]``."""
        return _sums(value, self.target, self.num_links)

    def into_sources(self, value: Tensor) -> Tensor:
        """Sums over the pairs of each transmitter: ``[..., E]`` to ``[..., K]``."""
        return _sums(value, self.source, self.num_links)


@dataclass(frozen=True, eq=False)
class NeighbourGain:
    """Power gains of a network, or of consecutive samples of it, on neighbour lists.

    Links that are not neighbours are heard together: as noise of their gains' sum at the mean
    power of all links.

    Attributes:
        neighbours: The pairs of links that are kept.
        direct: Gains of the direct links ``[..., K]`` [1].
        crossed: Gains of the pairs ``[..., E]`` [1].
        neglected: Sum of the large-scale gains left out at each receiver ``[..., K]`` or ``[K]``
            [1], NaN where it is unknown, which is heard as 0.
        neglected_bound: Upper bound of that sum ``[K]`` [1] where it is an estimate, else None.

    Raises:
        ValueError: If shapes do not fit.
    """

    neighbours: Neighbours
    direct: Tensor
    crossed: Tensor
    neglected: Tensor
    neglected_bound: Tensor | None = None

    def __post_init__(self) -> None:
        leading = tuple(self.direct.shape[:-1])
        pairs = self.neighbours
        for name, wanted in (
            ("direct", (*leading, pairs.num_links)),
            ("crossed", (*leading, pairs.num_pairs)),
        ):
            shape = tuple(getattr(self, name).shape)
            require(shape == wanted, name, f"have the shape {wanted}", shape)
        shapes = (pairs.num_links,), tuple(self.direct.shape)
        shape = tuple(self.neglected.shape)
        require(shape in shapes, "neglected", f"have the shape {shapes[0]}", shape)
        if self.neglected_bound is not None:
            shape = tuple(self.neglected_bound.shape)
            require(shape == shapes[0], "neglected_bound", f"have the shape {shapes[0]}", shape)
        object.__setattr__(self, "neglected", self.neglected.expand(self.direct.shape))

    @property
    def num_links(self) -> int:
        """Number of links K."""
        return self.neighbours.num_links

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the same gains without neighbour lists, ``[..., K, K]``."""
        return (*self.direct.shape, self.num_links)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the gains."""
        return self.direct.dtype

    @property
    def device(self) -> torch.device:
        """Device of the gains."""
        return self.direct.device

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.direct)

    def __getitem__(self, index: int | slice) -> "NeighbourGain":
        """Samples at ``index``."""
        return self._each(lambda value: value[index])

    def reshape(self, *leading: int) -> "NeighbourGain":
        """The same samples with other leading axes."""
        return self._each(lambda value: value.reshape(*leading, value.shape[-1]))

    def transpose(self, first: int, second: int) -> "NeighbourGain":
        """The same samples with two leading axes exchanged."""
        return self._each(lambda value: value.transpose(first, second))

    def to(self, device: torch.device | str) -> "NeighbourGain":
        """The same gains on a device."""
        pairs = self.neighbours
        return NeighbourGain(
            Neighbours(pairs.num_links, pairs.source.to(device), pairs.target.to(device)),
            self.direct.to(device),
            self.crossed.to(device),
            self.neglected.to(device),
            None if self.neglected_bound is None else self.neglected_bound.to(device),
        )

    def clone(self) -> "NeighbourGain":
        """A copy, pairs included."""
        pairs = self.neighbours
        return NeighbourGain(
            Neighbours(pairs.num_links, pairs.source.clone(), pairs.target.clone()),
            self.direct.clone(),
            self.crossed.clone(),
            self.neglected.clone(),
            None if self.neglected_bound is None else self.neglected_bound.clone(),
        )

    def samples(self, gain: Tensor) -> "NeighbourGain":
        """Dense samples ``[..., K, K]`` [1] on the same pairs.

        Raises:
            ValueError: If ``gain`` has another number of links.
        """
        check_square("gain", gain)
        rule = f"have the {self.num_links} links of the neighbour lists"
        require(gain.shape[-1] == self.num_links, "gain", rule, gain.shape[-1])
        direct = torch.diagonal(gain, dim1=-2, dim2=-1).clone()
        crossed = gain[..., self.neighbours.source, self.neighbours.target]
        neglected = self.neglected.reshape(-1, self.num_links)[0]
        return replace(self, direct=direct, crossed=crossed, neglected=neglected)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "NeighbourGain":
        return replace(
            self,
            direct=change(self.direct),
            crossed=change(self.crossed),
            neglected=change(self.neglected),
        )

    def received(self, power_w: Tensor) -> Tensor:
        """Power that each receiver gets from other links, ``[..., K]`` to ``[..., K]`` [W]."""
        of_neighbours = self.crossed * power_w[..., self.neighbours.source]
        of_others = self.neglected.nan_to_num(0.0) * power_w.mean(-1, keepdim=True)
        return self.neighbours.into_targets(of_neighbours) + of_others

    def caused(self, value: Tensor) -> Tensor:
        """Sum over receivers k of the gain to k times ``value[..., k]``, ``[..., K]``.

        Where ``value`` is the price of power received at k, the price of power sent, by all that
        `received` counts.
        """
        to_neighbours = self.crossed * value[..., self.neighbours.target]
        to_others = (self.neglected.nan_to_num(0.0) * value).mean(-1, keepdim=True)
        return self.neighbours.into_sources(to_neighbours) + to_others

    def dense(self) -> Tensor:
        """The pairs' gains as ``[..., K, K]``, with 0 where pairs were left out."""
        gain = torch.diag_embed(self.direct)
        gain[..., self.neighbours.source, self.neighbours.target] = self.crossed
        return gain

    def neglected_share(self, power_max_w: float, noise_w: float) -> Tensor:
        """Bound on the mean interference left out, over noise, ``[..., K]`` [1], at full power."""
        bound = self.neglected if self.neglected_bound is None else self.neglected_bound
        return bound * (power_max_w / noise_w)


# Gains of a network or of samples of it: ``[..., K, K]``, or on neighbour lists.
Gain = Tensor | NeighbourGain


def strongest(large_scale_gain: Tensor, num_neighbours: int) -> NeighbourGain:
    """Neighbour lists of the ``num_neighbours`` strongest transmitters at each receiver.

    Args:
        large_scale_gain: Power gains ``[K, K]`` [1].
        num_neighbours: Neighbours of each receiver.

    Raises:
        ValueError: If there are not more links than neighbours.
    """
    _check_one_network(large_scale_gain)
    num_links = len(large_scale_gain)
    return strongest_by_receiver(lambda k: large_scale_gain[:, k], num_links, num_neighbours)


def strongest_by_receiver(
    gain_to: Callable[[Tensor], Tensor], num_links: int, num_neighbours: int
) -> NeighbourGain:
    """`strongest` where gains are made for a block of receivers at a time, never K x K of them.

    Args:
        gain_to: Power gains ``[K, R]`` [1] to receivers ``[R]``.
        num_links: Number of links K.
        num_neighbours: Neighbours of each receiver.

    Raises:
        ValueError: If there are not more links than neighbours.
    """
    check_count("num_neighbours", num_neighbours)
    rule = f"be <= {num_links - 1}, the number of other links"
    require(num_neighbours < num_links, "num_neighbours", rule, num_neighbours)
    sources, direct, crossed, left_out = [], [], [], []
    for receivers in torch.arange(num_links).split(max(1, _PAIRS_AT_ONCE // num_links)):
        gain, own = gain_to(receivers), receivers.unsqueeze(0)
        direct.append(gain.gather(0, own.to(gain.device)).squeeze(0))
        others = gain.scatter(0, own.to(gain.device), -1.0)
        source = others.topk(num_neighbours, dim=0).indices.sort(dim=0).values
        sources.append(source.T.flatten())
        crossed.append(others.gather(0, source).T.flatten())
        left_out.append(others.scatter(0, source, 0.0).clamp(min=0.0).sum(0))
    source = torch.cat(sources)
    target = torch.arange(num_links, device=source.device).repeat_interleave(num_neighbours)
    return NeighbourGain(
        Neighbours(num_links, source, target),
        torch.cat(direct),
        torch.cat(crossed),
        torch.cat(left_out),
    )


def neighbours_for(num_links: int, num_neighbours: int | None = None) -> int | None:
    """Neighbours of each receiver, or None for dense gains: by size where none are asked for."""
    if num_neighbours is None and num_links > DENSE_LINKS:
        return NUM_NEIGHBOURS
    return num_neighbours


def on_neighbours_if_large(large_scale_gain: Gain, num_neighbours: int | None = None) -> Gain:
    """Dense gains on lists where `neighbours_for` says so; other gains as they are.

    Raises:
        ValueError: If neighbours are asked for and the gains are on lists already, or there are
            not more links than neighbours.
    """
    if isinstance(large_scale_gain, NeighbourGain):
        rule = "be left out with gains that are on neighbour lists"
        require(num_neighbours is None, "num_neighbours", rule, num_neighbours)
        return large_scale_gain
    wanted = neighbours_for(len(large_scale_gain), num_neighbours)
    return large_scale_gain if wanted is None else strongest(large_scale_gain, wanted)


def above(
    large_scale_gain: Tensor, min_inr: float, power_max_w: float, noise_w: float
) -> NeighbourGain:
    """Neighbour lists of the transmitters that are heard above a threshold relative to noise.

    Args:
        large_scale_gain: Power gains ``[K, K]`` [1].
        min_inr: Smallest interference-to-noise ratio of a neighbour at full power [1].
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W].

    Raises:
        ValueError: If an argument is not positive or ``large_scale_gain`` is not square. A
            threshold that cuts every pair leaves isolated links, which is no error.
    """
    _check_one_network(large_scale_gain)
    check_positive("min_inr", min_inr)
    check_positive("power_max_w", power_max_w)
    check_positive("noise_w", noise_w)
    own = torch.eye(len(large_scale_gain), dtype=torch.bool, device=large_scale_gain.device)
    keep = (large_scale_gain * (power_max_w / noise_w) >= min_inr) & ~own
    return _kept(large_scale_gain, keep)


def _check_one_network(gain: Tensor) -> None:
    shape = tuple(gain.shape)
    square = len(shape) == 2 and shape[0] == shape[1]
    require(square, "large_scale_gain", "have the shape [K, K]", shape)


def _kept(gain: Tensor, keep: Tensor) -> NeighbourGain:
    target, source = keep.mT.nonzero(as_tuple=True)
    neighbours = Neighbours(len(gain), source, target)
    left_out = gain.masked_fill(keep, 0.0).fill_diagonal_(0.0).sum(0)
    return NeighbourGain(neighbours, gain.diagonal().clone(), gain[source, target], left_out)


def _sums(value: Tensor, index: Tensor, size: int) -> Tensor:
    return value.new_zeros(*value.shape[:-1], size).index_add(-1, index, value)
