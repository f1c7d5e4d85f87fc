"""Two compared keys: a heat map of the cells, the means as a line for each of the second key's values, and effects."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from harness.catalogue import Measure, Unit, in_order, show
from harness.figures import SIDE_BY_SIDE, interval, number
from harness.figures import axis as axis_label
from harness.plots.base import BESIDE, COLOURS, GREY, INK, STYLE, level_style, new_figure, value_ticks
from harness.plots.closeup import edge

IN_CELL: Any = {"ha": "center", "va": "center", "linespacing": 1.4}
BESIDE_EACH_OTHER = 0.05  # of the distance of the closest values of the first key: else intervals hide each other
DARK = 0.5  # of the colour scale, from the dark end: there figures are written in white


def heat_figure(table: pd.DataFrame, keys: Sequence[str], measure: Measure, title: str) -> Figure:
    """The mean of a measure on the test images in each cell, with its interval; brighter is better, the best framed.

    `table` is `Findings.table`, row by row; `keys` are the two that are compared: rows and columns of the map.
    """
    names = [list(dict.fromkeys(map(show, table[key]))) for key in keys]
    shape = len(names[0]), len(names[1])
    means = measure.unit.factor * table[f"test_{measure.name}"].to_numpy(float).reshape(shape)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = new_figure(
            max(4.6, 1.25 * min(shape[1], SIDE_BY_SIDE) + 2.4), max(2.6, 0.75 * min(shape[0], SIDE_BY_SIDE) + 1.5)
        )
        colours = "cividis" if measure.better == "higher" else "cividis_r"
        picture = axes.imshow(means, cmap=colours, aspect="auto")
        figure.colorbar(picture, label=axis_label(measure, "test"))
        if max(shape) <= SIDE_BY_SIDE:  # else there is no room
            _written(axes, means, table, measure)
        _frame(axes, measure.sign() * means)
        down, across = (-(-size // SIDE_BY_SIDE) for size in shape)
        axes.set_xticks(range(0, shape[1], across), names[1][::across])
        axes.set_yticks(range(0, shape[0], down), names[0][::down])
        axes.set(ylabel=keys[0].replace("_", " "), xlabel=keys[1].replace("_", " "))
        axes.set_title(title, fontsize=10)
    return figure


def _written(axes: Axes, means: Any, table: pd.DataFrame, measure: Measure) -> None:
    """The figures in their cells, in white where these are dark."""
    for (row, column), cells in zip(np.ndindex(*means.shape), table.to_dict("records"), strict=True):
        shade = _shade(means, means[row, column])
        dark = shade < DARK if measure.better == "higher" else np.isfinite(means[row, column]) and shade > 1 - DARK
        axes.text(column, row, _cell(cells, measure), color="white" if dark else "black", fontsize=8, **IN_CELL)


def _shade(means: Any, mean: float) -> float:
    """Where on the colour scale a mean lies, from 0 to 1; 1, which is bright, where nothing was measured."""
    low, high = np.nanmin(means), np.nanmax(means)
    return float((mean - low) / (high - low)) if np.isfinite(mean) and high > low else 1.0


def _cell(cells: Any, measure: Measure) -> str:
    """A mean, and its interval below it where there is one."""
    name = f"test_{measure.name}"
    ends = interval(cells[f"{name}_low"], cells[f"{name}_high"], measure.unit)
    mean = number(cells[name], measure.unit)
    return mean if np.isnan(cells[f"{name}_low"]) else f"{mean}\n{ends}"


def _frame(axes: Axes, gains: Any) -> None:
    """Around the best cell, where anything was measured."""
    if np.isfinite(gains).any():
        row, column = np.unravel_index(np.nanargmax(gains), gains.shape)
        corner = float(column) - 0.49, float(row) - 0.48
        axes.add_patch(Rectangle(corner, 0.98, 0.96, fill=False, edgecolor=COLOURS[1], linewidth=2))


def lines_figure(table: pd.DataFrame, seeds: pd.DataFrame, keys: Sequence[str], measure: Measure, title: str) -> Figure:
    """The mean on the test images against the first key, a line (of words marks) for each value of the second, with
    intervals and seeds.

    `table` is `Findings.table`, row by row; `seeds` holds each run's `level` (a row of the table) and its figure.
    """
    first, second = keys
    lines = list(table.groupby(table[second].map(show), sort=False))
    values = lines[0][1][first]  # every line has all of them
    numeric = in_order(values)
    x = values.to_numpy(float) if numeric else np.arange(len(values), dtype=float)
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.6, 4.2)
        step = -(-len(lines) // SIDE_BY_SIDE)  # of many lines some are named
        for index, (name, own) in enumerate(lines):
            aside = BESIDE_EACH_OTHER * _closest(x) * (index - (len(lines) - 1) / 2)
            style = {**level_style(index), "label": None if index % step else name}
            style |= {} if numeric else {"linestyle": "none"}  # words have no order: there is nothing to be joined
            _line(axes, x + aside, own, seeds, measure, style)
        value_ticks(axes, x, values, numeric)
        axes.plot([], [], ".", color=GREY, label="each seed")
        if table[f"published_test_{measure.name}"].notna().any():
            axes.plot([], [], "x", color=GREY, mew=1.5, label="published")
        axes.set(xlabel=first.replace("_", " "), ylabel=axis_label(measure, "test"), title=title)
        axes.legend(title=second.replace("_", " "), **BESIDE)
    return figure


def _closest(x: Any) -> float:
    """How far apart the two values are that are closest to each other; 1 where there is one value."""
    return float(np.diff(np.sort(x)).min()) if len(x) > 1 else 1.0


def _line(axes: Axes, x: Any, own: pd.DataFrame, seeds: pd.DataFrame, measure: Measure, style: Any) -> None:
    """The cells of one value of the second key."""
    name, factor = f"test_{measure.name}", measure.unit.factor
    means, low, high = (factor * own[f"{name}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    bars = np.nan_to_num([means - low, high - means])
    axes.errorbar(x, means, yerr=bars, markersize=5, linewidth=1.2, capsize=2, zorder=3, **style)
    for place, row in zip(x, own.index, strict=True):
        dots = factor * seeds.loc[seeds["level"] == row, name]
        axes.plot(np.full(len(dots), place), dots, ".", color=style["color"], alpha=0.5, markersize=4)
    axes.plot(x, factor * own[f"published_{name}"], "x", color=style["color"], markersize=8, mew=1.5)


def forest_figure(table: pd.DataFrame, names: Sequence[str], unit: Unit, title: str) -> Figure:
    """Effects or differences below each other, with their simultaneous 95 % intervals; filled where Holm's p is below
    0.05.

    `table` is `Findings.effects` or `Findings.pairs`, `names` what each of its rows is of; interactions are blue. What
    lies far beyond the others is cut off at the edge, with an arrow and its figure.
    """
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.4, max(2.4, 0.24 * len(table) + 1.2))
        axes.axvline(0, color=GREY, linewidth=1)
        limit = edge(unit.factor * table[["low", "difference", "high"]].to_numpy(float))
        for place, cells in enumerate(table.to_dict("records")):
            _difference(axes, place, cells, unit, limit)
        axes.set_yticks(range(len(table)), names, fontsize=8)
        axes.set_ylim(len(table) - 0.4, -0.6)
        if np.isfinite(limit):
            axes.set_xlim(-limit, limit)
        axes.set_xlabel(unit.gap)
        axes.set_title(title, fontsize=10)
    return figure


def _difference(axes: Axes, place: int, cells: Any, unit: Unit, limit: float) -> None:
    """One of them with its interval; an arrow where it lies beyond the limit."""
    low, middle, high = (unit.factor * cells[end] for end in ("low", "difference", "high"))
    colour = COLOURS[0] if cells.get("effect") == "interaction" else INK
    axes.hlines(place, low, high, color=colour, linewidth=1.4)
    fill = colour if cells["p_holm"] < 0.05 else "white"
    if abs(middle) <= limit:
        axes.plot(middle, place, "o", color=colour, markerfacecolor=fill, markersize=5)
    else:
        _beyond(axes, np.copysign(limit, middle), place, number(cells["difference"], unit, "+"))


def _beyond(axes: Axes, side: float, place: int, told: str) -> None:
    """An arrow at the edge, and the figure that lies beyond it."""
    left = side < 0
    axes.plot(
        [side], [place], marker=r"$\leftarrow$" if left else r"$\rightarrow$", color=INK, markersize=10, clip_on=False
    )
    aside = (8 if left else -8, 0)
    style: Any = {"textcoords": "offset points", "fontsize": 8, "va": "center", "ha": "left" if left else "right"}
    axes.annotate(told, (side, place), aside, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}, **style)
