"""Python functions of numbers and addresses as machine code, by numba; kept for the next process.

What is kept lies in the user's cache folder, in a folder of its own for every state of this room: numba looks at the
file of a function only, and these functions consist of one another.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs
from numba import config, njit
from numba.extending import register_jitable


def compiled(function: Callable[..., None]) -> Any:
    """The function, compiled when it is first called on a machine, which takes a second or two. It lets go of Python's
    lock.
    """
    before, config.CACHE_DIR = config.CACHE_DIR, _folder()  # read at once, and else the user's own business
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is no folder that can be written
        return njit(nogil=True)(function)
    finally:
        config.CACHE_DIR = before


def within(function: Callable[..., Any]) -> Any:
    """A part of such functions."""
    return register_jitable(function)


@cache
def _folder() -> str:
    texts = (path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return str(
        Path(platformdirs.user_cache_dir("harness")) / "kernels" / hashlib.sha256(b"".join(texts)).hexdigest()[:16]
    )
