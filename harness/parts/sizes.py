"""Whether a file fits into memory, told before it is read."""

import os
import re
from pathlib import Path

from harness.errors import UserError

MEMINFO = Path("/proc/meminfo")  # of Linux, where it counts what caches would give back


def free_memory() -> int:
    """Bytes that can be had without anything being moved to disk; where nobody knows, all that the machine has."""
    if MEMINFO.exists() and (found := re.search(r"MemAvailable:\s+(\d+) kB", MEMINFO.read_text())):
        return int(found[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_fits(name: str, size: int, needed: float) -> None:
    """Raises UserError where reading what has that many bytes needs more of them than are free."""
    if needed > (free := free_memory()):
        raise UserError(
            f"{name}: has {size / 1e9:,.1f} GB and would take about {needed / 1e9:,.1f} GB of memory, of which "
            f"{free / 1e9:,.1f} GB are free; take fewer rows or columns, or a machine with more"
        )
