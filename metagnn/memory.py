"""Memory of tensors: what one frees, the next one gets."""

import ctypes

# Parameters of glibc's mallopt, from malloc.h, and the most that it takes for the second by itself.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20


def keep_freed_memory(num_bytes: int = 512 * 2**20) -> None:
    """Let the process keep this much freed memory rather than give it back at once.

    Tensors of some MB come and go in every step, and the system clears each page that it hands out
    again: with an unlucky layout of the heap, ITLinQ on a batch of 50 links takes twice as long.
    Where the C library is not glibc, nothing happens.

    Args:
        num_bytes: Freed memory to keep [B].
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (AttributeError, OSError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    mallopt(_TRIM_THRESHOLD, num_bytes)
