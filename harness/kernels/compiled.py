"""Python functions of numbers and addresses as machine code, by numba; kept for the next process.

What is kept lies in the user's cache folder, in a folder of its own for every state of this room: numba looks at the
file of a function only, and these functions consist of one another.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs
from numba import config, njit
from numba.core.caching import FunctionCache
from numba.extending import register_jitable


class KeptCode(FunctionCache):  # type: ignore[misc]
    """What numba keeps of a function. A full disk or a broken file costs the time of compiling, not the training."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was kept, if it can be read."""
        try:
            return super().load_overload(sig, target_context)
        except OSError:
            return None
        except Exception:  # whatever a cut pickle may raise
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep it, if that is possible."""
        with suppress(OSError):
            super().save_overload(sig, data)


def compiled(function: Callable[..., None]) -> Any:
    """The function, compiled when it is first called on a machine, which takes a second or two. It lets go of Python's
    lock.
    """
    made = njit(nogil=True)(function)
    before, config.CACHE_DIR = config.CACHE_DIR, _folder()  # read at once, and else the user's own business
    try:
        made._cache = KeptCode(function)
    except RuntimeError:  # there is no folder that can be written
        pass
    finally:
        config.CACHE_DIR = before
    return made


def within(function: Callable[..., Any]) -> Any:
    """A part of such functions."""
    return register_jitable(function)


@cache
def _folder() -> str:
    texts = (path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return str(
        Path(platformdirs.user_cache_dir("harness")) / "kernels" / hashlib.sha256(b"".join(texts)).hexdigest()[:16]
    )
