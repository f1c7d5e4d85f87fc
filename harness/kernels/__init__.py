"""What small and medium networks spend their time on, compiled for the processor at hand: on a CPU, in float32."""

import warnings
from functools import cache
from importlib.util import find_spec


@cache
def present() -> bool:
    """Whether numba is there and works with what else is installed: on a GPU it may be left out."""
    try:
        import numba  # noqa: F401
    except Exception as error:  # ImportError, or whatever it raises where NumPy is too new for it
        if find_spec("numba") is not None:
            warnings.warn(f"numba cannot be imported, training goes on more slowly: {error}", stacklevel=2)
        return False
    return True
