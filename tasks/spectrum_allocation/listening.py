"""What nodes make of incumbents from what receivers report of each slot."""

from dataclasses import dataclass

import torch
from torch import Tensor

# An incumbent is heard where what nodes do not explain is so many times that, or noise.
CLEAR = 5.0
# It is heard to be silent where a report is less than this share of what it was.
FAINT = 0.3
# The band then counts as free for so many slots.
FREE_SLOTS = 16


@dataclass(frozen=True)
class Heard:
    """What is known of the incumbents, of which each band has one at most.

    Attributes:
        level_w: What receivers hear when it sends ``[B, L, N]`` [W], 0 as long as they never did.
        free_slots: Slots for which the band still counts as free ``[B, N]``.
    """

    level_w: Tensor
    free_slots: Tensor

    @property
    def outside_w(self) -> Tensor:
        """What receivers are to expect of incumbents ``[B, L, N]`` [W]."""
        return torch.where(self.free_slots.unsqueeze(1) > 0, 0.0, self.level_w)


def listen(
    known: Heard, reports: Tensor, reported_w: Tensor, explained_w: Tensor, noise_w: float
) -> Heard:
    """What is known after a slot.

    A receiver that clearly hears more than the nodes explain hears the incumbent; one that hears
    much less than that was before hears its silence, and doubts that it was one: what it remembers
    of it halves. For how long a band is free all know, how loud an incumbent is only who heard it.

    Args:
        known: What was known before.
        reports: Which receivers report ``[B, L, N]``.
        reported_w: What they heard but their own agent ``[B, L, N]`` [W].
        explained_w: That of it which nodes sent, if there was no fading ``[B, L, N]`` [W].
        noise_w: Noise [W].
    """
    left_w = reported_w - explained_w
    sends = reports & (left_w > CLEAR * explained_w.clamp(min=noise_w))
    silent = reports & ~sends & (reported_w < FAINT * known.level_w)
    before_w = torch.where(known.level_w > 0, known.level_w, left_w)
    level_w = torch.where(silent, 0.5 * known.level_w, known.level_w)
    level_w = torch.where(sends, 0.5 * (before_w + left_w), level_w)
    free_slots = (known.free_slots - 1).clamp(min=0)
    free_slots = torch.where(silent.any(1), FREE_SLOTS, free_slots)
    return Heard(level_w, torch.where(sends.any(1), 0, free_slots))
