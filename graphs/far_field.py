"""Sums of gains from all far transmitters, by a quadtree: K log K in place of K x K."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.graphs.neighbours import Neighbours

# Cells up to this many away along each axis are looked into; a farther one counts as a whole.
_NEAR_CELLS = 2
_TRANSMITTERS_PER_CELL = 0.1
_MAX_DEPTH = 10
_RECEIVERS_AT_ONCE = 4096


@dataclass(frozen=True)
class FarField:
    """Gains from all transmitters but the known ones, summed at each receiver.

    Attributes:
        estimate: With the transmitters of a cell at their mean position ``[K]`` [1].
        bound: With them at the nearest point of their cell, so never too small ``[K]`` [1].
    """

    estimate: Tensor
    bound: Tensor


def far_field(
    transmitter_m: Tensor,
    receiver_m: Tensor,
    known: Neighbours,
    nearest_m: Tensor,
    gain_of: Callable[[Tensor], Tensor],
) -> FarField:
    """Sum of the gains at each receiver from all transmitters but its own and the known.

    The square is cut into 4, 16, 64, ... cells. At each depth a receiver counts the cells that
    are more than `_NEAR_CELLS` away from its own, if they were not at the depth before, and at the
    last, of rarely more than one transmitter each, also those that are near.

    Args:
        transmitter_m: Positions of the transmitters [m].
        receiver_m: Positions of the receivers [m].
        known: Pairs to leave out beside the own links.
        nearest_m: A distance that no other transmitter falls short of [m].
        gain_of: Gain [1] of distances [m], falling.

    Shapes:
        transmitter_m and receiver_m ``[K, 2]``, nearest_m ``[K]``.
    """
    low = torch.minimum(transmitter_m.amin(0), receiver_m.amin(0))
    high = torch.maximum(transmitter_m.amax(0), receiver_m.amax(0))
    side_m = max(1e-3, float((high - low).max()))
    transmitter, receiver = (transmitter_m - low).float(), (receiver_m - low).float()
    depth = math.ceil(math.log(max(4.0, len(transmitter) / _TRANSMITTERS_PER_CELL), 4))
    depth = min(depth, _MAX_DEPTH)
    sums = torch.zeros(2, len(receiver), dtype=torch.float64)
    for level in range(1, depth + 1):
        cells = _Cells(transmitter, side_m, 2**level, level == depth)
        for first in range(0, len(receiver), _RECEIVERS_AT_ONCE):
            rows = torch.arange(first, min(first + _RECEIVERS_AT_ONCE, len(receiver)))
            at, nearest = receiver[rows], nearest_m[rows].float()
            own = cells.of(at)
            of = cells.counted(own)
            gain = cells.gain(of, at.unsqueeze(1), nearest.unsqueeze(1), gain_of)
            total = (gain * cells.num_transmitters(of)).sum(-1, dtype=torch.float64)
            ends = torch.searchsorted(known.target, torch.tensor([first, first + len(rows)]))
            pairs = slice(*ends.tolist())
            row = torch.cat([known.target[pairs], rows]) - first
            of = cells.of(transmitter[torch.cat([known.source[pairs], rows])])
            here = cells.are_counted(of, own[row])
            row, of = row[here], of[here]
            gain = cells.gain(of, at[row], nearest[row], gain_of)
            sums[:, rows] += total.index_add(1, row, gain.double(), alpha=-1.0)
    estimate, bound = sums.clamp(min=0.0).to(transmitter_m.dtype)
    return FarField(estimate, bound)


class _Cells:
    """The square at one depth; cells are columns and rows ``[..., 2]``, also outside of it."""

    def __init__(self, transmitter: Tensor, side_m: float, num_cells: int, is_last: bool) -> None:
        self.width_m, self.largest, self.is_last = side_m / num_cells, num_cells - 1, is_last
        number = self._number(self.of(transmitter))
        self.count = torch.bincount(number, minlength=num_cells**2)
        total = torch.zeros(num_cells**2, 2, dtype=torch.float64)
        total.index_add_(0, number, transmitter.double())
        self.mean_m = (total / self.count.clamp(min=1).unsqueeze(1)).float()
        # From a cell, those that it counts, by whether its own column and row are odd.
        reach = torch.arange(-2 * _NEAR_CELLS - 1, 2 * _NEAR_CELLS + 2)
        around = torch.cartesian_prod(reach, reach)
        odd = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
        kept = [around[self.are_counted(around + o, o)] for o in odd]
        self.around = torch.stack(kept)

    def of(self, position: Tensor) -> Tensor:
        """Cells of positions ``[..., 2]`` [m]."""
        return (position / self.width_m).long().clamp(max=self.largest)

    def _number(self, cell: Tensor) -> Tensor:
        inside = cell.clamp(0, self.largest)
        return inside[..., 0] * (self.largest + 1) + inside[..., 1]

    def are_counted(self, cell: Tensor, own: Tensor) -> Tensor:
        """Whether a receiver in ``own`` counts a cell at this depth."""
        of_near_parent = ((cell >> 1) - (own >> 1)).abs().amax(-1) <= _NEAR_CELLS
        if self.is_last:
            return of_near_parent
        return of_near_parent & ((cell - own).abs().amax(-1) > _NEAR_CELLS)

    def counted(self, own: Tensor) -> Tensor:
        """Cells that a receiver in ``own [R, 2]`` counts at this depth ``[R, N, 2]``."""
        odd = own % 2
        return own.unsqueeze(1) + self.around[2 * odd[:, 0] + odd[:, 1]]

    def num_transmitters(self, cell: Tensor) -> Tensor:
        """Transmitters in cells."""
        inside = ((cell >= 0) & (cell <= self.largest)).all(-1)
        return self.count[self._number(cell)] * inside

    def gain(
        self,
        cell: Tensor,
        position: Tensor,
        nearest_m: Tensor,
        gain_of: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Gain of one transmitter of a cell, estimate and bound ``[2, ...]``."""
        corner = cell * self.width_m
        closest = torch.maximum(torch.minimum(position, corner + self.width_m), corner)
        points = torch.stack([self.mean_m[self._number(cell)], closest])
        return gain_of(torch.maximum((position - points).norm(dim=-1), nearest_m))
