"""What a study's models make of the classes and of single test images."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from harness.plots.base import COLOURS, STYLE, panels, shortened
from harness.trial import Example

WRITTEN = 15  # classes, above which there is no room for counts
TICKS = 26  # classes that are named on an axis


def confusion_figure(table: pd.DataFrame, names: Sequence[str], title: str, classes: Sequence[Sequence[str]]) -> Figure:
    """Confusion counts, a panel per compared value; `table` is `Findings.classes`. The diagonal shows accuracies.

    `names` are those of the values, `classes` those of each one's classes.
    """
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure, grid = panels(len(names), 3, (4.0, 4.0))
        for row, (axes, name) in enumerate(zip(grid, names, strict=False)):
            axes.set(title=name, xlabel="predicted class", ylabel="true class", xticks=[], yticks=[])
            own = table[table["level"] == row]
            if len(own):
                _confusion(axes, own)
                class_ticks(axes, classes[row])
        figure.suptitle(title)
    return figure


def _confusion(axes: Axes, own: pd.DataFrame) -> None:
    """One compared value's counts, coloured by their share of the true class."""
    counts = own.pivot_table(index="true", columns="predicted", values="count").to_numpy(int)
    shares = own.pivot_table(index="true", columns="predicted", values="share").to_numpy(float)
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)  # the root, so that rare mistakes show
    if len(counts) > WRITTEN:
        return
    for (true, predicted), count in np.ndenumerate(counts):
        if count:
            text = f"{100 * shares[true, true]:.1f}%" if true == predicted else str(count)
            colour = "white" if shares[true, predicted] > 0.25 else "black"
            axes.text(predicted, true, text, ha="center", va="center", color=colour, fontsize=6)


def class_ticks(axes: Axes, names: Sequence[str]) -> None:
    """The names of the classes on both axes, of many only some."""
    places = range(0, len(names), -(-len(names) // TICKS))
    shown = [shortened(names[place]) for place in places]
    turned = 90 if max(map(len, shown)) > 2 else 0
    size = 7 if turned or len(names) > WRITTEN else 10
    axes.set_xticks(places, shown, rotation=turned, fontsize=size)
    axes.set_yticks(places, shown, fontsize=size)


def mistakes_figure(examples: Sequence[Example], title: str, names: Sequence[str]) -> Figure:
    """Test images that were taken for another class, or whose numbers were farthest off, the worst mistakes first.

    `names` are those of the classes.
    """
    wrong = [example for example in examples[1:] if example.truth or example.predicted != example.label]
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure, grid = panels(max(1, len(wrong)), 5, (1.35, 1.6 if max(map(len, names)) < 3 else 1.8))
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
    sure = f"with {100 * example.probabilities[example.predicted]:.0f} %"
    between = " " if len(true) + len(said) < 6 else "\n"
    return f"{true} taken for{between}{said}\n{sure}"


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.4g}" for number in numbers)


def probabilities_figure(example: Example, title: str, names: Sequence[str]) -> Figure:
    """One test image, and its class probabilities as bars: the true class in its own colour."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 2.6), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=[1, 2])
        _image(left, example)
        between = " " if len(names[example.label]) < 3 else "\n"
        left.set_title(f"test image,{between}class {shortened(names[example.label])}", fontsize=9)
        classes = range(len(example.probabilities))
        colours = [COLOURS[1] if one == example.label else COLOURS[0] for one in classes]
        right.bar(classes, example.probabilities, color=colours)
        right.set(xlabel="class", ylabel="probability", ylim=(0, 1))
        places = range(0, len(names), -(-len(names) // TICKS))
        long = max(map(len, names)) > 2
        shown = [shortened(names[place]) for place in places]
        right.set_xticks(places, shown, rotation=90 if long else 0, fontsize=8 if long else 10)
        figure.suptitle(title, fontsize=10)
    return figure


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
