"""Decisions that obey C2 to C7 of paper D's problem P0 by construction, from any numbers."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from metagnn.graphs.checks import check_each, require
from metagnn.tasks.offloading.cost import NO_CHANNEL, Decision

# Needs differ by at most a factor of exp(2 * 6) = 160,000, so that no share vanishes in float32.
MAX_LOG_NEED = 6.0


def members(cell: Tensor, num_cells: int) -> Tensor:
    """Users of each cell ``[M, U]`` for cells of users ``[I]``; rows are filled up with -1."""
    counts = torch.bincount(cell, minlength=num_cells)
    order = cell.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(cell), device=cell.device) - starts[cell[order]]
    table = torch.full((num_cells, int(counts.max())), -1, device=cell.device)
    table[cell[order], place] = order
    return table


def match_channels(
    scores: Tensor, cell: Tensor, num_cells: int, wanted: Tensor | None = None
) -> Tensor:
    """Channels of the largest sum of scores: one per user, one user per cell and channel (C4, C5).

    Every cell is matched by the Hungarian method. Where there are more users than channels, those
    wait who would add least: they get none.

    Args:
        scores: Finite scores.
        cell: Site that serves each user.
        num_cells: Number of cells M.
        wanted: Who wants a channel; None for all.

    Shapes:
        scores ``[B, I, K]``, cell ``[I]``, wanted ``[B, I]``; returns ``[B, I]``, -1 for none.

    Raises:
        ValueError: If a score is not finite, or ``wanted`` is not a mask of the users.
    """
    check_each("scores", scores, scores.isfinite(), "be finite")
    if wanted is not None:
        found_kind = (wanted.dtype, tuple(wanted.shape))
        rule = f"be a mask (torch.bool) of shape {tuple(scores.shape[:2])}"
        require(found_kind == (torch.bool, tuple(scores.shape[:2])), "wanted", rule, found_kind)
    given = scores.detach().double().cpu().numpy()
    wants = np.ones(given.shape[:2], bool) if wanted is None else wanted.cpu().numpy()
    found = np.full(given.shape[:2], NO_CHANNEL)
    for row in members(cell, num_cells).cpu().numpy():
        for copy, who in enumerate(wants[:, row[row >= 0]]):
            users = row[row >= 0][who]
            rows, columns = linear_sum_assignment(given[copy, users], maximize=True)
            found[copy, users[rows]] = columns
    return torch.from_numpy(found).to(scores.device)


def divide_server(log_need: Tensor, offloads: Tensor, cell: Tensor, num_cells: int) -> Tensor:
    """Shares of the servers, in proportion to the needs of those who offload (C7).

    Shares of a cell sum to 1; logarithms of needs count within [-6, 6].

    Shapes:
        log_need and offloads ``[B, I]``, cell ``[I]``; returns ``[B, I]``.
    """
    need = log_need.clamp(-MAX_LOG_NEED, MAX_LOG_NEED).exp() * offloads
    total = need.new_zeros(len(need), num_cells).index_add(1, cell, need)
    return torch.where(offloads, need / total[:, cell].clamp(min=1e-9), 0.0)


def construct(
    ratio: Tensor,
    scores: Tensor,
    power_w: Tensor,
    log_need: Tensor,
    cell: Tensor,
    num_cells: int,
) -> Decision:
    """Decision from ratios, scores of channels, powers on channels and needs.

    A user whose ratio is 0 takes no channel. One that gets none computes all of its task locally.

    Shapes:
        ratio and log_need ``[B, I]``, scores ``[B, I, K]``, power_w ``[B, I, K]`` [W] or
        ``[B, I, 1]`` where it is the same on all channels, cell ``[I]``.
    """
    channel = match_channels(scores, cell, num_cells, wanted=ratio > 0.0)
    offloads = channel != NO_CHANNEL
    index = channel.clamp(min=0).unsqueeze(-1)
    chosen_w = power_w.expand_as(scores).gather(-1, index).squeeze(-1)
    return Decision(
        torch.where(offloads, ratio, 0.0),
        channel,
        torch.where(offloads, chosen_w, 0.0),
        divide_server(log_need, offloads, cell, num_cells),
    )
