"""Memory that is used again, for what every step of a training computes anew."""

import contextlib
import ctypes

import torch
from torch import Tensor

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h


class Memory:
    """Tensors by owner and shape, taken once and never moved: what one held is gone when it is asked for again.

    Fresh memory costs a page fault a page, which for small networks on a CPU is more than the products themselves;
    and a captured CUDA graph wants fixed addresses.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._held: dict[object, Tensor] = {}

    def __call__(self, owner: object, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The tensor of that shape that belongs to `owner` (any hashable)."""
        key = (owner, shape)
        if key not in self._held:
            self._held[key] = torch.empty(shape, dtype=dtype, device=self.device)
        return self._held[key]


def keep_freed_memory() -> None:
    """Let glibc keep what is freed: it gives blocks of megabytes back at once, and fresh pages must be zeroed again.

    That took a third of a CNN's step. All threads share one arena, since those of threads hold no large blocks: so this
    must come before the first threads. With another C library nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            mallopt(option, 2**30)
        mallopt(M_ARENA_MAX, 1)
