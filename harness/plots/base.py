"""What all figures share: colours, style, and how they are written. Agg only, no pyplot.

The colours are Okabe and Ito's (2008), told apart by colour-blind readers; line styles and markers do it in grey. A
compared value has the same colour and marker in every picture.
"""

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Figure
from PIL import Image

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 10,
    "legend.frameon": False,
    "svg.hashsalt": "harness",
}


INK, GREY = "#222222", "#777777"  # what belongs to no compared value


def level_style(place: int) -> Any:
    """Colour and marker of the compared value at that place of the study."""
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]}


def panels(
    count: int, most: int, size: tuple[float, float], sharex: bool = False, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, at most so many in a row, each of so many inches."""
    columns = min(most, max(1, count))
    rows = -(-max(1, count) // columns)
    wide = max(size[0] * columns, 5.6)  # room for title and legend
    figure = Figure(figsize=(wide, size[1] * rows + 0.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = list(figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).flatten())
    for axes in grid[count:]:
        axes.remove()
    return figure, grid[:count]


def new_figure(width: float, height: float, dpi: int = 150, layout: Any = "constrained") -> tuple[Figure, Axes]:
    """A figure of so many inches, and its axes."""
    figure = Figure(figsize=(width, height), dpi=dpi, layout=layout)
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, of 256 colours: a third of the size, and nothing that the eye sees is lost."""
    canvas: Any = FigureCanvasAgg(figure)  # its own calls have no types
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    buffer = io.BytesIO()
    dpi = (figure.dpi, figure.dpi)
    picture.quantize(256, dither=Image.Dither.NONE).save(buffer, "png", optimize=True, dpi=dpi)
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write `path`.png and `path`.svg."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".png").write_bytes(png(figure))
    with mpl.rc_context(STYLE):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
