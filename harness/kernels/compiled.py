"""Python functions of numbers and addresses as machine code, by numba; kept for the next process."""

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.extending import register_jitable


def compiled(function: Callable[..., None]) -> Any:
    """The function, compiled when it is first called on a machine, which takes a second or two. It lets go of Python's
    lock.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is no folder that it could be kept in
        return njit(nogil=True)(function)


def within(function: Callable[..., Any]) -> Any:
    """A part of such functions."""
    return register_jitable(function)
