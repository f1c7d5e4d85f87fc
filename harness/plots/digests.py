"""What a picture is drawn from, as one digest: the same content, the same digest, in every process."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from harness import catalogue, figures

LIBRARIES = ("matplotlib", "numpy", "pillow")
SOURCES = (*sorted(Path(__file__).parent.glob("*.py")), Path(catalogue.__file__), Path(figures.__file__))
"""What draws, and whose words and figures stand in pictures."""


def digest_of(thing: object) -> bytes:
    """Of everything that the look of what is drawn from `thing` depends on, this package and its libraries included.

    `thing` may be tables, arrays, words, numbers, dataclasses and what is made of them. Raises TypeError for others.
    """
    sha = hashlib.sha256(_drawn_with())
    for piece in _pieces(thing):
        sha.update(piece)
    return sha.digest()


@cache
def _drawn_with() -> bytes:
    sums = [hashlib.sha256(source.read_bytes()).hexdigest() for source in SOURCES]
    return repr([[version(name) for name in LIBRARIES], sums]).encode()


def _pieces(thing: object) -> Iterator[bytes]:
    """Bytes that two things share only if nobody who draws them could tell them apart."""
    match thing:
        case pd.DataFrame():
            yield f"table {thing.shape}".encode()
            yield from _pieces(thing.index)
            for name, column in thing.items():
                yield from _pieces((name, column.array))
        case pd.Index() | pd.api.extensions.ExtensionArray():
            yield f"{thing.dtype}".encode()
            yield from _pieces(thing.to_numpy())
        case np.ndarray() if thing.dtype != object:
            yield f"{thing.dtype.str} {thing.shape}".encode()
            yield np.ascontiguousarray(thing).tobytes()
        case Mapping():
            yield from _pieces(list(thing.items()))
        case list() | tuple() | np.ndarray():
            yield f"{len(thing)} of".encode()
            for one in thing:
                yield from _pieces(one)
        case _:
            yield from _single(thing)


def _single(thing: object) -> Iterator[bytes]:
    match thing:
        case None | bool() | int() | float() | str() | np.generic():
            yield f"{thing!r},".encode()
        case _ if thing is pd.NA or thing is pd.NaT:
            yield f"{thing!r},".encode()
        case _ if is_dataclass(thing):
            yield type(thing).__name__.encode()
            yield from _pieces([getattr(thing, field.name) for field in fields(thing)])
        case _:
            raise TypeError(f"nothing can be drawn from a {type(thing).__name__}: it has no digest")
