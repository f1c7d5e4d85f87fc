"""What small and medium networks spend their time on, compiled for the processor at hand: on a CPU, in float32."""

from functools import cache
from importlib.util import find_spec


@cache
def present() -> bool:
    """Whether numba is there: on a GPU, which needs none of this, it may be left out."""
    return find_spec("numba") is not None
