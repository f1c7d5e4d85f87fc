"""Pictures of a report: what is to be drawn, drawn only where that has changed. Does not import matplotlib.

    picture = Picture("comparison:learning_figure", (table, names, "depth: loss"), "Loss per epoch.")
    save_all({"learning_curves": picture}, Path("reports/depth/plots"))

Both files of a picture carry a seal: a digest over what it was drawn from and over the file itself. A file whose seal
holds is left alone, so a report that has no news never imports matplotlib; a file that is missing, edited, cut short or
drawn from anything else is drawn anew. Drawn or left alone, the same picture has the same bytes.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, is_dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAW_WITH = ("matplotlib", "numpy", "pillow", "harness")  # what else a picture's bytes depend on
END = 12  # bytes of a PNG's last chunk, IEND


@dataclass(frozen=True)
class Picture:
    """A figure, and what it shows in words: its caption, and what a reader is told who cannot see it.

    `draw` names the function of this package that makes the figure, as "comparison:means_figure"; `arguments` are
    tables, arrays, words, numbers, frozen dataclasses, and what is made of them: nothing else has a digest.
    """

    draw: str
    arguments: tuple[object, ...]
    caption: str

    def figure(self) -> "Figure":
        """The figure, drawn anew."""
        draw: Callable[..., Figure] = resolve_name(f"harness.plots.{self.draw}")
        return draw(*self.arguments)

    def digest(self) -> bytes:
        """Of what the figure's look depends on: function, arguments, the code of this package, and its libraries."""
        sha = hashlib.sha256(_drawn_with())
        for piece in _pieces((self.draw, self.arguments)):
            sha.update(piece)
        return sha.digest()


def save_all(pictures: Mapping[str, Picture], folder: Path) -> None:
    """See to it that `folder` has `<name>.png` and `<name>.svg` of each picture. Raises OSError if it cannot."""
    for name, picture in pictures.items():
        digest = picture.digest()
        if not is_drawn(folder / name, digest):
            _draw(picture, digest, folder / name)


def _draw(picture: Picture, digest: bytes, path: Path) -> None:
    from harness.plots.base import both

    path.parent.mkdir(parents=True, exist_ok=True)
    for kind, content in both(picture.figure()).items():
        path.with_suffix(f".{kind}").write_bytes(SEALS[kind](content, digest))


def is_drawn(path: Path, digest: bytes) -> bool:
    """Whether both files of a picture are there, as they were drawn from what has that digest."""
    return all(_holds(path.with_suffix(f".{kind}"), kind, digest) for kind in SEALS)


def _holds(file: Path, kind: str, digest: bytes) -> bool:
    try:
        content = file.read_bytes()
    except OSError:
        return False
    seal = len(SEALS[kind](bytes(END), digest)) - END
    end = len(content) - (END if kind == "png" else 0)
    return content == SEALS[kind](content[: end - seal] + content[end:], digest)


def _png(content: bytes, digest: bytes) -> bytes:
    """A PNG with its seal as a text chunk named harness, before the last chunk."""
    chunk = b"tEXtharness\0" + _seal(content, digest)
    size, check = len(chunk) - 4, zlib.crc32(chunk)
    return content[:-END] + size.to_bytes(4, "big") + chunk + check.to_bytes(4, "big") + content[-END:]


def _svg(content: bytes, digest: bytes) -> bytes:
    """An SVG with its seal as a comment at its end."""
    return content + b"<!-- harness " + _seal(content, digest) + b" -->\n"


def _seal(content: bytes, digest: bytes) -> bytes:
    return hashlib.sha256(digest + content).hexdigest().encode()


SEALS: dict[str, Callable[[bytes, bytes], bytes]] = {"png": _png, "svg": _svg}


@cache
def _drawn_with() -> bytes:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    sums = [hashlib.sha256(source.read_bytes()).hexdigest() for source in sources]
    return repr([[version(name) for name in DRAW_WITH], sums]).encode()


def _pieces(thing: object) -> Iterable[bytes]:
    """Bytes that two things share only if they are the same to whoever draws them."""
    match thing:
        case pd.DataFrame():
            yield f"DataFrame {len(thing)}".encode()
            yield from _pieces(thing.index)
            for name, column in thing.items():
                yield from _pieces((name, column.array))
        case pd.Index() | pd.api.extensions.ExtensionArray():
            yield f"{type(thing).__name__} {thing.dtype}".encode()
            yield from _pieces(thing.to_numpy())
        case np.ndarray() if thing.dtype == object:
            yield from _pieces(thing.tolist())
        case np.ndarray():
            yield f"{thing.dtype.str} {thing.shape}".encode()
            yield np.ascontiguousarray(thing).tobytes()
        case Mapping():
            yield from _pieces(list(thing.items()))
        case list() | tuple():
            yield f"{len(thing)} of".encode()
            for one in thing:
                yield from _pieces(one)
        case _:
            yield from _single(thing)


def _single(thing: object) -> Iterable[bytes]:
    match thing:
        case None | bool() | int() | float() | str() | np.generic():
            yield f"{thing!r},".encode()
        case _ if is_dataclass(thing) and not isinstance(thing, type):
            yield from _pieces((type(thing).__name__, *astuple(thing)))
        case _:
            yield repr(_missing(thing)).encode()


def _missing(thing: object) -> object:
    if thing is pd.NA or thing is pd.NaT:
        return thing
    raise TypeError(f"a picture cannot be drawn from {type(thing).__name__}: it has no digest")
