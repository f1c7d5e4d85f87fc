"""The compared values' means: along an axis of numbers, or one below the other; enlarged where others press them."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from harness.catalogue import Measure, in_order, show
from harness.figures import SIDE_BY_SIDE
from harness.figures import axis as axis_label
from harness.plots.base import GREY, INK, LONGEST, STYLE, legend_below, level_style, panels, shortened, value_ticks
from harness.plots.closeup import Closeup

LINES: Any = {
    "train": {"marker": "s", "linestyle": "--", "color": GREY, "label": "train", "markerfacecolor": "white"},
    "val": {"marker": "^", "linestyle": "-.", "color": GREY, "label": "validation", "markerfacecolor": "white"},
    "test": {"marker": "o", "linestyle": "-", "color": INK, "label": "test, with its 95 % interval"},
}
"""The means of `means_figure`, by images."""

PUBLISHED: Any = {"linestyle": "none", "marker": "x", "color": INK, "markersize": 7, "mew": 1.5, "label": "published"}
SEED: Any = {"linestyle": "none", "marker": "o", "color": GREY, "alpha": 0.8, "markersize": 3.2, "mew": 0}
ASIDE = (0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0)  # where seeds' dots lie beside each other, in turn
BETWEEN = 2.2  # points from one dot to the next
ABOVE = 0.2  # how far training and validation lie above a row's middle, and seeds below it: an interval covers neither


def means_figure(
    table: pd.DataFrame, seeds: pd.DataFrame, axis: str, measure: Measure, title: str, near: Closeup | None = None
) -> Figure:
    """A measure on training, validation and test images for each compared value, with the test mean's interval and its
    runs. Numbers lie along an axis and are joined; names, and a single value, lie one below the other.

    `table` is `Findings.table`; `seeds` holds each run's `level` (a row of the table) and its figure on test images;
    `near` is what a second panel enlarges, in the measure's own terms.
    """
    numbered = in_order(table[axis]) and len(table) > 1
    shown, dots = in_units(table, measure), measure.unit.factor * seeds[f"test_{measure.name}"]
    with mpl.rc_context(STYLE):
        tall = 3.4 if numbered else 0.9 + 0.5 * min(len(table), SIDE_BY_SIDE)
        wide = 4.6 if near else 6.4
        figure, grid = panels(2 if near else 1, 2, (wide, tall), sharey=not numbered and near is not None)
        draw = _along if numbered else _below
        for axes in grid:
            draw(axes, shown, seeds["level"], dots, table[axis], axis)
        if near:
            _enlarge(grid[1], near, measure, numbered)
        for axes in grid if not numbered else grid[:1]:
            (axes.set_ylabel if numbered else axes.set_xlabel)(axis_label(measure))
        legend_below(figure, _marks(shown, numbered), most=5)
        figure.suptitle(title, fontsize=11)
    return figure


def in_units(table: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """What the compare table has of the measure, in its unit: by images, the test mean's interval, and published."""
    test = f"test_{measure.name}"
    columns = {images: f"{images}_{measure.name}" for images in LINES}
    columns |= {"low": f"{test}_low", "high": f"{test}_high", "published": f"published_{test}"}
    return measure.unit.factor * pd.DataFrame({new: table[old] for new, old in columns.items() if old in table})


def _along(axes: Axes, shown: pd.DataFrame, rows: pd.Series, dots: pd.Series, values: pd.Series, axis: str) -> None:
    """Means as lines along the axis of the compared numbers, the test's with a band."""
    x = values.to_numpy(float)
    for images, style in LINES.items():
        if images in _measured(shown):
            axes.plot(x, shown[images], markersize=5, **style)
    axes.fill_between(x, shown["low"], shown["high"], color=INK, alpha=0.15, linewidth=0)
    _dots(axes, x[rows.to_numpy(int)], dots.to_numpy(float), rows, across=True)
    axes.plot(x, shown["published"], **PUBLISHED)
    value_ticks(axes, x, values, True)
    axes.set_xlabel(axis.replace("_", " "))


def _below(axes: Axes, shown: pd.DataFrame, rows: pd.Series, dots: pd.Series, values: pd.Series, axis: str) -> None:
    """A row for each value: its mean and interval in the middle, training and validation above, seeds below."""
    y, many = np.arange(len(shown), dtype=float), len(shown) > SIDE_BY_SIDE
    aside = 0.0 if many else ABOVE
    for images in ("train", "val"):
        if images in _measured(shown):
            axes.plot(shown[images], y - aside, markersize=5, **{**LINES[images], "linestyle": "none"})
    for row, cells in enumerate(shown.to_dict("records")):
        style = {"color": INK, "marker": "o"} if many else level_style(row)
        axes.plot([cells["low"], cells["high"]], [row, row], color=style["color"], linewidth=1.6)
        axes.plot([cells["test"]], [row], linestyle="none", markersize=4 if many else 7, **style)
    _dots(axes, dots.to_numpy(float), rows.to_numpy(float) + aside, rows, across=False)
    axes.plot(shown["published"], y, **PUBLISHED)
    _rows_named(axes, values, axis)


def _rows_named(axes: Axes, values: pd.Series, axis: str) -> None:
    """Each row's value beside it, from above to below; of many some."""
    step = -(-len(values) // SIDE_BY_SIDE)
    axes.set_yticks(range(0, len(values), step), [shortened(show(value), 2 * LONGEST) for value in values[::step]])
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_ylabel(axis.replace("_", " "))


def _dots(axes: Axes, x: Any, y: Any, rows: pd.Series, across: bool) -> None:
    """A dot for each run, beside those of the same value, so that equal figures are told apart."""
    turn = rows.groupby(rows).cumcount().to_numpy() % len(ASIDE)
    few = rows.max() < SIDE_BY_SIDE
    figure = axes.get_figure(root=True)
    for place in range(len(ASIDE)):
        shift = BETWEEN * ASIDE[place] / 72 if few else 0.0
        moved = ScaledTranslation(*((shift, 0.0) if across else (0.0, shift)), figure.dpi_scale_trans)  # type: ignore[union-attr]
        own = turn == place
        axes.plot(x[own], y[own], zorder=3, transform=axes.transData + moved, **SEED)


def _enlarge(axes: Axes, near: Closeup, measure: Measure, numbered: bool) -> None:
    """The part of the panel in which the best values lie; whoever lies outside is said to, at the edge."""
    low, high = (measure.unit.factor * end for end in (near.low, near.high))
    (axes.set_ylim if numbered else axes.set_xlim)(low, high)
    axes.set_title("enlarged", fontsize=10, color=GREY)
    if numbered:
        return
    axes.set_ylabel("")
    side = low if measure.better == "higher" else high
    marker = "$\\leftarrow$" if measure.better == "higher" else "$\\rightarrow$"
    for row in near.outside:
        axes.plot([side], [row], marker=marker, color=level_style(row)["color"], markersize=11, clip_on=False)


def _measured(shown: pd.DataFrame) -> list[str]:
    """On which images: nothing may be held out."""
    return [images for images in LINES if images != "val" or shown["val"].notna().any()]


def _marks(shown: pd.DataFrame, numbered: bool) -> list[Any]:
    joined = (lambda style: style) if numbered else (lambda style: {**style, "linestyle": "none"})
    marks: list[Any] = [Line2D([], [], markersize=5, **joined(LINES[images])) for images in _measured(shown)]
    with_interval = shown["low"].notna().any()
    if not with_interval:
        marks[-1].set_label("test")
    marks.append(Line2D([], [], **SEED, label="test, each seed"))
    if shown["published"].notna().any():
        marks.append(Line2D([], [], **PUBLISHED))
    return [*marks, Patch(color=INK, alpha=0.15, label="95 % interval")] if numbered and with_interval else marks
