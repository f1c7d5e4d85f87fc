"""What a study's models make of the classes and of single test images."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from harness.figures import SIDE_BY_SIDE
from harness.plots.base import COLOURS, DPI, STYLE, panels, shortened
from harness.trial import Example

WRITTEN = 15  # classes, above which there is no room for counts
TICKS = 26  # classes that are named on an axis


def confusion_figure(table: pd.DataFrame, names: Sequence[str], title: str, classes: Sequence[Sequence[str]]) -> Figure:
    """What each true class was taken for, in percent, a panel per compared value; `table` is `Findings.classes`. The
    diagonal, what was right, is grey: colour is for the mistakes.

    `names` are those of the values, `classes` those of each one's classes.
    """
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure, grid = panels(len(names), 2, (4.7, 4.7))
        worst = _mistakes(table)["share"].max()
        for row, (axes, name) in enumerate(zip(grid, names, strict=False)):
            axes.set(title=name, xlabel="predicted class", ylabel="true class", xticks=[], yticks=[])
            own = table[table["level"] == row]
            if len(own):
                _confusion(axes, own, worst)
                class_ticks(axes, classes[row])
        figure.suptitle(title, fontsize=11)
    return figure


def _mistakes(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["true"] != table["predicted"]]


def _confusion(axes: Axes, own: pd.DataFrame, worst: float) -> None:
    """One compared value's shares; the darkest is that of the most frequent mistake of all values."""
    shares = own.pivot_table(index="true", columns="predicted", values="share").to_numpy(float)
    is_right = np.eye(len(shares), dtype=bool)
    axes.imshow(np.where(is_right, np.nan, np.sqrt(shares)), cmap="Blues", vmin=0, vmax=np.sqrt(worst or 1.0))
    axes.imshow(np.where(is_right, 0.15, np.nan), cmap="Greys", vmin=0, vmax=1)
    if len(shares) > WRITTEN:
        return
    size = 8 if len(shares) <= 10 else 6
    for (true, predicted), share in np.ndenumerate(shares):
        text = f"{100 * share:.{0 if share >= 0.995 else 1}f}"
        if true == predicted or text != "0.0":
            colour = "white" if true != predicted and np.sqrt(share) > 0.6 * np.sqrt(worst) else "black"
            axes.text(predicted, true, text, ha="center", va="center", color=colour, fontsize=size)


def class_ticks(axes: Axes, names: Sequence[str]) -> None:
    """The names of the classes on both axes, of many only some."""
    places = range(0, len(names), -(-len(names) // TICKS))
    shown = [shortened(names[place]) for place in places]
    turned = 90 if max(map(len, shown)) > 2 else 0
    size = 7 if turned or len(names) > WRITTEN else 10
    axes.set_xticks(places, shown, rotation=turned, fontsize=size)
    axes.set_yticks(places, shown, fontsize=size)


def mistakes_figure(examples: Sequence[Example], title: str, names: Sequence[str]) -> Figure:
    """Test images that were taken for another class, those first whose class was given the lowest probability; or
    whose numbers were farthest off.

    `names` are those of the classes.
    """
    wrong = [one for one in examples[1:] if not one.unsure and (one.truth or one.predicted != one.label)]
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure, grid = panels(max(1, len(wrong)), 5, (1.8, 2.0))
        for axes, example in zip(grid, wrong, strict=False):
            _image(axes, example)
            axes.set_title(_mistake(example, names), fontsize=8)
        if not wrong:
            grid[0].axis("off")
            grid[0].text(0.5, 0.5, "no mistakes", ha="center")
        figure.suptitle(title, fontsize=10)
    return figure


def _mistake(example: Example, names: Sequence[str]) -> str:
    """What was true and what was said, in two or three lines."""
    if example.truth:
        return f"true {_listed(example.truth)}\nsaid {_listed(example.guess)}"
    true, said = shortened(names[example.label]), shortened(names[example.predicted])
    given = f"{true}: {_percent(example.probabilities[example.label])}"
    taken = f"{said}: {_percent(example.probabilities[example.predicted])}"
    return f"{given}\nsaid {taken}"


def _percent(share: float) -> str:
    """A probability beside a picture: so small a one that it would be 0 is said to be."""
    return "< 0.1 %" if share < 0.001 else f"{100 * share:.{1 if share < 0.1 else 0}f} %"


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.4g}" for number in numbers)


def probabilities_figure(examples: Sequence[Example], title: str, names: Sequence[str]) -> Figure:
    """Test images, each above its class probabilities as bars, the true class in its own colour. Of many classes the
    most probable ones.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.6), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(2, len(examples), height_ratios=[1, 1.3], squeeze=False)
        for column, example in enumerate(examples):
            _image(grid[0, column], example)
            grid[0, column].set_title(f"class {shortened(names[example.label])}", fontsize=9)
            _bars(grid[1, column], example, names)
        grid[1, 0].set_ylabel("probability")
        figure.suptitle(title, fontsize=11)
    return figure


def _bars(axes: Axes, example: Example, names: Sequence[str]) -> None:
    order = sorted(range(len(names)), key=lambda one: -example.probabilities[one])
    shown = sorted(order[:SIDE_BY_SIDE])
    colours = [COLOURS[1] if one == example.label else COLOURS[0] for one in shown]
    axes.bar(range(len(shown)), [example.probabilities[one] for one in shown], color=colours)
    axes.set_ylim(0, 1)
    axes.set_xticks(range(len(shown)), [shortened(names[one]) for one in shown])
    if max(len(names[one]) for one in shown) > 2:
        axes.tick_params(axis="x", rotation=90, labelsize=7)


def _image(axes: Axes, example: Example) -> None:
    pixels = np.frombuffer(bytes.fromhex(example.pixels), np.uint8)
    side = round(len(pixels) ** 0.5)
    channels, *sides = example.shape or (1, side, side)
    planes = pixels.reshape(channels, *sides)
    shown = planes.transpose(1, 2, 0) if channels == 3 else planes[0]  # colours, else ink on paper
    axes.imshow(shown, cmap="gray_r", vmin=0, vmax=example.white, interpolation="nearest")
    axes.grid(visible=False)
    axes.set_frame_on(False)
    axes.set(xticks=[], yticks=[])
