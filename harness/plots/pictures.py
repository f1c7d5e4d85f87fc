"""Pictures of a report: what is to be drawn, drawn only where that has changed. Does not import matplotlib.

    picture = Picture("comparison:learning_figure", (table, names, "depth: loss"), "Loss per epoch.")
    save_all({"learning_curves": picture}, Path("reports/depth/plots"))

Both files of a picture carry a seal: a digest over what it was drawn from and over the file itself. A file whose seal
holds is left alone, so a report that has no news never imports matplotlib; a file that is missing, edited, cut short or
drawn from anything else is drawn anew. Drawn or left alone, the same picture has the same bytes.
"""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from harness.plots.second import Second

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY = 4  # pictures, from which on a second process is ready before this one has drawn them all
END = 12  # bytes of a PNG's last chunk, IEND


@dataclass(frozen=True)
class Picture:
    """A figure, and what it shows in words: its caption, and in `alt` what a reader is told who cannot see it. The
    colours of a `photo` stay as they are where the page is dark.

    `draw` names the function of this package that makes the figure, as "comparison:means_figure"; `arguments` are
    tables, arrays, words, numbers, frozen dataclasses, and what is made of them: nothing else has a digest.
    """

    draw: str
    arguments: tuple[object, ...]
    caption: str
    alt: str = ""
    photo: bool = False

    def figure(self) -> "Figure":
        """The figure, drawn anew."""
        draw: Callable[..., Figure] = resolve_name(f"harness.plots.{self.draw}")
        return draw(*self.arguments)

    def png(self) -> bytes:
        """The figure as a PNG, drawn anew."""
        from harness.plots.base import png

        return png(self.figure())

    def digest(self) -> bytes:
        """Of what the figure's look depends on: function, arguments, the code of this package, and its libraries."""
        from harness.plots.digests import digest_of

        return digest_of((self.draw, self.arguments))


def save_all(pictures: Mapping[str, Picture], folder: Path, second: Second | None = None) -> None:
    """See to it that `folder` has `<name>.png` and `<name>.svg` of each picture. Raises OSError if it cannot.

    Many are drawn together with a second process: with `second`, or one that is begun for them.
    """
    drawings = [Drawing(picture, picture.digest(), folder / name) for name, picture in pictures.items()]
    jobs = [drawing for drawing in drawings if not drawing.is_there()]
    if jobs:
        folder.mkdir(parents=True, exist_ok=True)
    if second is not None:
        second.draw(jobs)
    elif len(jobs) >= MANY and _cores() > 1:
        with Second() as begun:
            begun.draw(jobs)
    else:
        for job in jobs:
            job.draw()


@contextmanager
def begun_early(page: Path, journal: Path) -> Iterator[Second | None]:
    """A second process, begun now, if the report's `page` is older than the `journal`, or not there; else None.

    A guess at whether there will be anything to draw: a wrong one costs time and nothing else.
    """
    news = journal.exists() and not (page.exists() and page.stat().st_mtime > journal.stat().st_mtime)
    if news and _cores() > 1:
        with Second() as second:
            yield second
    else:
        yield None


@dataclass(frozen=True)
class Drawing:
    """A picture and where its files are to be: `path`.png and `path`.svg."""

    picture: Picture
    digest: bytes
    path: Path

    def is_there(self) -> bool:
        """Whether both files are there, as they were drawn from what has that digest."""
        return all(_holds(self.path.with_suffix(f".{kind}"), kind, self.digest) for kind in SEALS)

    def draw(self) -> None:
        """Draw the picture and write both files."""
        from harness.plots.base import both

        for kind, content in both(self.picture.figure()).items():
            file = self.path.with_suffix(f".{kind}")
            part = file.with_name(f".{file.name}.{os.getpid()}.part")
            part.write_bytes(SEALS[kind](content, self.digest))
            part.replace(file)  # never half a picture


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
