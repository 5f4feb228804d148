"""Random generators as functions of a seed and the position in a computation."""

import zlib

import numpy as np
import torch

from metagnn.graphs.checks import require


def generator(
    seed: int, *position: int | str, device: str | torch.device = "cpu"
) -> torch.Generator:
    """Generator whose numbers depend only on ``seed``, ``position`` and the kind of device.

    Positions of equal length give independent streams, so a killed run that starts again at
    ``(epoch, step)`` draws what it would have drawn. Zeros at the end do not count: position
    ``("a",)`` and ``("a", 0)`` are the same.

    Args:
        seed: Seed of the run, >= 0.
        position: Where in the run the numbers are used, e.g. ``("test", 12)``.
        device: Where numbers are drawn.

    Raises:
        ValueError: If ``seed`` or a number of ``position`` is negative.
    """
    require(seed >= 0, "seed", "be >= 0", seed)
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in position]
    require(min(words, default=0) >= 0, "position", "hold no negative number", position)
    state = np.random.SeedSequence([seed, *words]).generate_state(2, np.uint32)
    return torch.Generator(device).manual_seed(int(state[0]) << 31 ^ int(state[1]))
