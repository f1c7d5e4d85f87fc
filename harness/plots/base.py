"""What all figures share: colours, style, and how they are written. Agg only, no pyplot.

The colours are Okabe and Ito's (2008), told apart by colour-blind readers; line styles and markers do it in grey. A
compared value has the same colour and marker in every picture.
"""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Figure
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray
from PIL import Image

from harness.catalogue import show
from harness.figures import SIDE_BY_SIDE

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")  # of lines that may lie on each other
POINTS = 4.5  # that a letter is wide, at size 8
STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 10,
    "legend.frameon": False,
    "svg.hashsalt": "harness",
}


ROOM = 60  # letters of ticks that fit beside each other
DPI = 192  # twice the dots of a page: sharp on screens that have as many
BESIDE: Any = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
"""A legend on the right of the axes."""

LONGEST = 12  # letters of a class's name in a picture
INK, GREY = "#222222", "#777777"  # what belongs to no compared value


def level_style(row: int) -> Any:
    """Colour and marker of the compared value at that row of the study."""
    return {"color": COLOURS[row % len(COLOURS)], "marker": MARKERS[(row + row // len(COLOURS)) % len(MARKERS)]}


def line_style(row: int) -> Any:
    """Colour and dashes of a value's line, which leave those below it to be seen."""
    return {"color": COLOURS[row % len(COLOURS)], "linestyle": DASHES[row % len(DASHES)]}


def shortened(name: str, longest: int = LONGEST) -> str:
    """A name that fits beside others, in so many letters, and is no formula."""
    return (name if len(name) <= longest else f"{name[: longest - 1]}…").replace("$", r"\$")


def panels(
    count: int, most: int, size: tuple[float, float], sharex: bool = False, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, at most so many in a row, each of so many inches."""
    columns = min(most, max(1, count))
    rows = -(-max(1, count) // columns)
    wide = max(size[0] * columns, 5.6)  # room for title and legend
    figure = Figure(figsize=(wide, size[1] * rows + 0.4), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = list(figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).flatten())
    for axes in grid[count:]:
        axes.remove()
    return figure, grid[:count]


def new_figure(width: float, height: float, dpi: int = DPI, layout: Any = "constrained") -> tuple[Figure, Axes]:
    """A figure of so many inches, and its axes."""
    figure = Figure(figsize=(width, height), dpi=dpi, layout=layout)
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def legend_below(figure: Figure, handles: Sequence[Artist], most: int = 4) -> None:
    """A legend under the figure, in as many columns as its words leave room for."""
    longest = max((len(str(handle.get_label())) for handle in handles), default=1)
    room = figure.get_figwidth() * 72 / (POINTS * longest + 40)  # a mark and gaps take 40 points
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, min(most, int(room))), fontsize=8)


class FewTicks(LogLocator):
    """Ticks of a log scale: 1, 2, 5, 10; over three decades and more powers of ten alone."""

    def __init__(self) -> None:
        super().__init__(numticks=6)

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """The ticks between two ends."""
        self.set_params(subs=(1,) if vmax > 1000 * vmin else (1, 2, 5))
        ticks: Sequence[float] = super().tick_values(vmin, vmax)
        return ticks


def log_ticks(axes: Axes, side: Axis) -> None:
    """A log scale with plain numbers: 0.1, 0.2, 0.5, 1."""
    axes.set(**{"xscale" if side is axes.xaxis else "yscale": "log"})
    side.set_major_locator(FewTicks())
    side.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    side.set_minor_locator(NullLocator())


class FromBelow(Locator):
    """Ticks of a scale on which what is missing to `top` is logarithmic: 50, 80, 90, 95, 98 of 100. Where fewer than
    three of these are in sight, those of any axis.
    """

    SHARES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0)
    APART = 1 / 9  # of the axis, at least

    def __init__(self, top: float) -> None:
        self.top = top

    def __call__(self) -> Sequence[float]:
        """The ticks of the axis that it belongs to."""
        assert self.axis is not None
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """The ticks between two ends."""
        shown = [self.top * share for share in self.SHARES if vmin <= self.top * share <= vmax]
        if len(shown) < 3:
            return [tick for tick in MaxNLocator(5).tick_values(vmin, vmax) if vmin <= tick <= vmax]
        least = self.APART * (self.place(vmax) - self.place(vmin))
        kept = shown[-1:]
        for tick in reversed(shown[:-1]):
            kept += [tick] if self.place(kept[-1]) - self.place(tick) >= least else []
        return kept[::-1]

    def place(self, value: Any) -> Any:
        """Of a figure on the scale; `top` itself has one too."""
        return -np.log(np.maximum(self.top - value, 0.0) + self.top / 1000)

    def value(self, place: Any) -> Any:
        """The figure at a place."""
        return self.top + self.top / 1000 - np.exp(-place)


def from_below(axes: Axes, top: float) -> None:
    """A y axis for figures of which none is above `top`, with what is missing to that on a log scale: from 97 to 98 %
    of 100 is as far as from 40 to 60.
    """
    ticks = FromBelow(top)
    axes.set_yscale("function", functions=(ticks.place, ticks.value))
    axes.yaxis.set_major_locator(ticks)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _short(value: float) -> str:
    """A number that fits between its neighbours: 0.1, 5,000, 20k, 3M."""
    if value >= 1e6:
        return f"{value / 1e6:,.6g}M"
    return f"{value / 1e3:.6g}k" if value >= 1e4 else f"{value:,.6g}"


def both(figure: Figure) -> dict[str, bytes]:
    """The figure as PNG and SVG, by their names. Laid out once, for the PNG: that is half of the work."""
    image, buffer = png(figure), io.BytesIO()
    figure.set_layout_engine("none")
    canvas: Any = FigureCanvasSVG(figure)  # savefig would draw it once more, to lay it out
    with mpl.rc_context(STYLE):
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
    return {"png": image, "svg": buffer.getvalue()}


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, of 256 colours: a third of the size, and nothing that the eye sees is lost."""
    canvas: Any = FigureCanvasAgg(figure)  # its own calls have no types
    canvas.draw()
    buffer = io.BytesIO()
    dpi = (figure.dpi, figure.dpi)
    _in_256_colours(np.asarray(canvas.buffer_rgba())).save(buffer, "png", dpi=dpi, compress_level=8)
    return buffer.getvalue()


def _in_256_colours(rgba: NDArray[np.uint8]) -> Image.Image:
    """An image (H, W, 4) with a palette, by median cut.

    A colour counts as often as the square root of its pixels. Pillow counts every pixel: four times slower, and the
    rare colours of edges come out worse.
    """
    pixels = rgba.view("<u4")[..., 0] & 0xFFFFFF  # opaque
    colours, counts = np.unique(pixels, return_counts=True)
    times = np.ceil(np.sqrt(counts)).astype(int)
    sample = np.repeat(colours.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3], times, axis=0)
    cut = Image.frombytes("RGB", (len(sample), 1), sample.tobytes()).quantize(256, dither=Image.Dither.NONE)
    places = np.zeros(1 << 24, np.uint8)
    places[colours] = np.asarray(cut)[0, np.cumsum(times) - 1]
    image = Image.frombytes("P", pixels.shape[::-1], places[pixels].tobytes())
    image.putpalette(cut.getpalette() or [])
    return image


def value_ticks(axes: Axes, x: Any, values: pd.Series, numeric: bool) -> None:
    """A tick at every compared value: they are what the reader looks for. Of many some."""
    step = 1 if len(x) <= SIDE_BY_SIDE else -(-len(x) // SIDE_BY_SIDE)
    if numeric and len(x) > 2 and (x > 0).all() and np.ptp(np.diff(np.log(x))) < 0.1 < np.ptp(np.diff(x)):
        axes.set_xscale("log")  # 16, 32, 64, ...: evenly spaced by ratio
    words = [show(value) for value in values[::step]]
    turned: Any = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"} if len("".join(words)) > ROOM else {}
    axes.set_xticks(x[::step], words, **turned)
    axes.minorticks_off()
