"""How many trainings a GPU is best given at once: as many as still make it faster, and as its memory bears.

    best_size(50, lambda size: ..., Gpu())       # seconds of a group of that size; 32

On a CPU the cache decides, without a measurement (`grouping.group_size`). What is measured once is kept with the study:
in another company a training's last digits could differ.
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch

FIRST = 16  # trainings that are tried first; fewer than that may train together without being tried
GAIN = 1.1  # how many times as fast twice the size must be
SHARE = 0.8  # of the memory that a group may take: evaluation and the best weights come on top


class Room(Protocol):
    """The memory of a device, in bytes."""

    def begin(self) -> None:
        """Count the most that is taken from now on."""

    def peak(self) -> int:
        """The most that was taken since."""

    def free(self) -> int:
        """What this process could take in all."""


class Gpu:
    """Of torch's current GPU."""

    def begin(self) -> None:
        """Count from now on, without what nobody holds any more."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int:
        """The most that tensors took since."""
        return torch.cuda.max_memory_allocated()

    def free(self) -> int:
        """What is free, and what this process has."""
        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()


def best_size(most: int, seconds: Callable[[int], float | None], room: Room) -> int:
    """The size of a group, at most `most`: it is doubled as long as that trains faster and twice the memory is there.

    `seconds` trains some of a group of that size and says how long all of it would take; None where it cannot be
    trained, as for lack of memory. Then it is halved.
    """

    def timed(size: int) -> float | None:
        room.begin()
        return seconds(size)

    size = min(FIRST, most)
    took = timed(size)
    while took is None and size > 1:
        size = most = size // 2
        took = timed(size)
    while took is not None and size < most:
        larger = min(2 * size, most)
        if room.peak() * larger > SHARE * room.free() * size:
            break
        longer = timed(larger)
        if longer is None or larger / longer < size / took * GAIN ** math.log2(larger / size):
            break
        size, took = larger, longer
    return size
