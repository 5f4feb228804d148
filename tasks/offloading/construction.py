"""Decisions that obey C2 to C7 of paper D's problem P0 by construction, from any numbers."""

import torch
from torch import Tensor

from metagnn.graphs.checks import check_each
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


def match_channels(scores: Tensor, cell: Tensor, num_cells: int) -> Tensor:
    """Channels by the best scores, one per user and one user per cell and channel (C4, C5).

    In every cell the pair of user and channel with the highest score is taken, then the highest
    among the users and channels that are left, and so on. Where there are more users than
    channels, those who come last wait: they get none.

    Args:
        scores: Finite scores; minus infinity excludes a pair.
        cell: Site that serves each user.
        num_cells: Number of cells M.

    Shapes:
        scores ``[B, I, K]``, cell ``[I]``; returns ``[B, I]``, -1 for none.

    Raises:
        ValueError: If a score is plus infinity or not a number.
    """
    check_each("scores", scores, scores < float("inf"), "be numbers < inf")
    table = members(cell, num_cells)
    batch, num_users, num_channels = scores.shape
    # [B, M, U, K]; what stands in the place of no user is excluded.
    left = scores.detach()[:, table.clamp(min=0)].masked_fill(
        (table < 0).unsqueeze(-1), -float("inf")
    )
    size = table.shape[1]
    channel = torch.full((batch, num_users + 1), NO_CHANNEL, device=scores.device)
    users = torch.arange(size, device=scores.device).view(1, 1, -1, 1)
    channels = torch.arange(num_channels, device=scores.device).view(1, 1, 1, -1)
    for _ in range(min(size, num_channels)):
        best, place = left.flatten(2).max(-1)
        user, taken = place // num_channels, place % num_channels
        who = table.expand(batch, -1, -1).gather(-1, user.unsqueeze(-1)).squeeze(-1)
        who = torch.where(best > -float("inf"), who, num_users)
        channel.scatter_(1, who, taken)
        used = (users == user[..., None, None]) | (channels == taken[..., None, None])
        left = left.masked_fill(used, -float("inf"))
    return channel[:, :num_users]


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
    excluded = (ratio <= 0.0).unsqueeze(-1)
    channel = match_channels(scores.masked_fill(excluded, -float("inf")), cell, num_cells)
    offloads = channel != NO_CHANNEL
    index = channel.clamp(min=0).unsqueeze(-1)
    chosen_w = power_w.expand_as(scores).gather(-1, index).squeeze(-1)
    return Decision(
        torch.where(offloads, ratio, 0.0),
        channel,
        torch.where(offloads, chosen_w, 0.0),
        divide_server(log_need, offloads, cell, num_cells),
    )
