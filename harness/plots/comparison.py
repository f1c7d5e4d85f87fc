"""The compared values side by side: means, learning curves, differences, costs; and several studies."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from harness.catalogue import Measure, Unit, show
from harness.figures import SIDE_BY_SIDE, bracketed, interval, number
from harness.figures import axis as axis_label
from harness.plots.base import GREY, INK, POINTS, STYLE, legend_below, level_style, log_ticks, new_figure, panels

LINES: Any = {
    "train": {"marker": "s", "linestyle": "--", "color": GREY, "label": "train"},
    "val": {"marker": "^", "linestyle": "-.", "color": GREY, "label": "validation"},
    "test": {"marker": "o", "linestyle": "-", "color": INK, "label": "test"},
}
"""The means of `means_figure`, by images."""

ROOM = 60  # letters of ticks that fit beside each other

BESIDE: Any = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
"""A legend on the right of the axes."""


def means_figure(table: pd.DataFrame, seeds: pd.DataFrame, axis: str, measure: Measure, title: str) -> Figure:
    """A measure on training, validation and test images against the compared value, with the test mean's interval.

    `table` is `Findings.table`; `seeds` holds each run's `level` (a row of the table) and its figure on test images.
    """
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.4, 4.2)
        numeric = pd.api.types.is_numeric_dtype(table[axis])
        x = table[axis].to_numpy(float) if numeric else np.arange(len(table), dtype=float)
        shown = _in_units(table, measure)
        _means(axes, x, shown, numeric)
        _dots(axes, x, seeds["level"], measure.unit.factor * seeds[f"test_{measure.name}"])
        if shown["published"].notna().any():
            axes.plot(x, shown["published"], "kx", markersize=8, mew=1.5, label="published test")
        axes.set(xlabel=axis.replace("_", " "), ylabel=_label(measure), title=title)
        value_ticks(axes, x, table[axis], numeric)
        axes.legend(**BESIDE)
    return figure


def _in_units(table: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """What the compare table has of the measure, in its unit: by images, the test mean's interval, and published."""
    test = f"test_{measure.name}"
    columns = {images: f"{images}_{measure.name}" for images in LINES}
    columns |= {"low": f"{test}_low", "high": f"{test}_high", "published": f"published_{test}"}
    return measure.unit.factor * pd.DataFrame({new: table[old] for new, old in columns.items() if old in table})


def _label(measure: Measure, images: str = "") -> str:
    """An axis' label: what it shows, in which unit."""
    return axis_label(measure, images)


def _means(axes: Axes, x: Any, shown: pd.DataFrame, numeric: bool) -> None:
    """Lines between numbers; between words, which have no order, there is nothing to be joined."""
    joined = {} if numeric else {"linestyle": "none"}
    for images, style in LINES.items():
        if images != "val" or shown["val"].notna().any():  # nothing may be held out
            axes.plot(x, shown[images], markersize=5, **{**style, **joined})
    label = "95 % interval of\nthe test mean"
    if numeric and len(shown) > 1:
        axes.fill_between(x, shown["low"], shown["high"], color=INK, alpha=0.15, label=label)
    else:  # a band without width is not seen
        axes.vlines(x, shown["low"], shown["high"], color=INK, label=label)


def _dots(axes: Axes, x: Any, rows: pd.Series, figures: pd.Series) -> None:
    """A dot for each seed, in its compared value's colour."""
    if len(x) > SIDE_BY_SIDE:
        axes.plot(x[rows.to_numpy(int)], figures, ".", color=GREY, alpha=0.5, markersize=4, zorder=1)
    for row, own in figures.groupby(rows) if len(x) <= SIDE_BY_SIDE else ():
        colour = level_style(int(row))["color"]
        axes.plot(np.full(len(own), x[int(row)]), own, ".", color=colour, alpha=0.75, markersize=6, zorder=3)
    axes.plot([], [], ".", color=GREY, label="test, each seed")


def studies_figure(table: pd.DataFrame, measure: Measure, title: str, joined: bool) -> Figure:
    """Means on the test images with intervals, against the compared value where all studies compare the same thing.

    `table` is `studies_table`'s: a row for each `study` and `value` of its `axis`; `joined` says whether the values
    of a study have an order, by which a line joins them.
    """
    with mpl.rc_context(STYLE):
        same = table["axis"].nunique() == 1
        of_two = table["axis"].str.contains(",")  # such a value names its keys itself
        names = table["value"].where(same | of_two, table["axis"] + " = " + table["value"])
        values = list(dict.fromkeys(names))
        figure, axes = new_figure(max(6.4, 0.7 * len(values) + 2.5), 4.0)
        shown = _in_units(table, measure).assign(study=table["study"], x=names.map(values.index).astype(float))
        _bars(axes, shown[shown["test"].notna()], list(dict.fromkeys(table["study"])), "-" if joined else "none")
        axes.set_xticks(range(len(values)), values, rotation=30 if len("".join(values)) > 50 else 0)
        xlabel = table["axis"].iloc[0].replace("_", " ").replace(",", " and ") if same else ""
        axes.set(xlabel=xlabel, ylabel=_label(measure, "test"), title=title)
        axes.legend(**BESIDE)
    return figure


def _bars(axes: Axes, shown: pd.DataFrame, studies: Sequence[str], line: str) -> None:
    """Each study's means with intervals, beside those of the others."""
    for index, study in enumerate(studies):
        own = shown[shown["study"] == study]
        x = own["x"] + 0.3 * ((index + 0.5) / len(studies) - 0.5)
        bars = np.nan_to_num([own["test"] - own["low"], own["high"] - own["test"]])
        axes.errorbar(x, own["test"], yerr=bars, label=study, linestyle=line, linewidth=1, **level_style(index))


KINDS: Any = {
    "train": {"linestyle": "--", "label": "training (mean; range over seeds shaded)"},
    "val": {"linestyle": "-", "label": "validation"},
}


def learning_figure(table: pd.DataFrame, names: Sequence[str], title: str, unit: str = "nats") -> Figure:
    """Training and validation loss by epoch, a panel per compared value; `table` is `Findings.learning`, `unit` that of
    the loss. Of many values a line for each, in one panel.
    """
    if len(names) > SIDE_BY_SIDE:
        return _learning_in_one(table, names, title, unit)
    with mpl.rc_context(STYLE):
        columns = min(3, max(1, len(names)))
        figure, grid = panels(len(names), 3, (3.2, 2.6), sharex=True, sharey=True)
        for row, (axes, name) in enumerate(zip(grid, names, strict=True)):
            _learning_panel(axes, table[table["level"] == row], name, level_style(row)["color"])
        for axes in grid[-columns:]:
            axes.set_xlabel("epoch")
            axes.tick_params(labelbottom=True)
        for axes in grid[::columns]:
            axes.set_ylabel(bracketed("loss", unit))
        lines = [Line2D([], [], color=GREY, **style) for kind, style in KINDS.items() if (table["kind"] == kind).any()]
        if lines:
            figure.legend(handles=lines, loc="outside lower center", ncols=2)
        figure.suptitle(title)
    return figure


def _learning_in_one(table: pd.DataFrame, names: Sequence[str], title: str, unit: str) -> Figure:
    """A line for each value, coloured by its place among them."""
    kind = "val" if (table["kind"] == "val").any() else "train"
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.4, 4.2)
        colours = ScalarMappable(Normalize(0, len(names) - 1), "viridis")
        own = table[table["kind"] == kind]
        lines = {int(row): line[["epoch", "mean"]].to_numpy(float) for row, line in own.groupby("level")}
        axes.add_collection(
            LineCollection(list(lines.values()), colors=colours.to_rgba(np.array(list(lines))), linewidths=0.8)
        )
        axes.scatter(own["epoch"], own["mean"], s=4, c=colours.to_rgba(own["level"]))
        if len(own):
            log_ticks(axes, axes.yaxis)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        bar = figure.colorbar(colours, ax=axes)
        bar.set_ticks([0, len(names) - 1], labels=[names[0], names[-1]])
        words = "validation loss" if kind == "val" else "training loss"
        axes.set(xlabel="epoch", ylabel=bracketed(words, unit), title=title)
    return figure


def _learning_panel(axes: Axes, table: pd.DataFrame, name: str, colour: str) -> None:
    for kind, style in KINDS.items():
        part = table[table["kind"] == kind]
        axes.plot(part["epoch"], part["mean"], linestyle=style["linestyle"], color=colour)
        axes.fill_between(part["epoch"], part["low"], part["high"], color=colour, alpha=0.15)
    if not table.empty:
        log_ticks(axes, axes.yaxis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(name, fontsize=10)


def difference_figure(pairs: pd.DataFrame, names: Sequence[str], unit: Unit, title: str) -> Figure:
    """Row minus column on the test images, with 95 % intervals; bold where Holm's p is below 0.05.

    `pairs` is `Findings.pairs`.
    """
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        side = 1.15 * len(names) + 1.4
        letters = max(len(line) for name in names for line in name.split("\n"))
        more = max(0.0, letters - USUAL) * POINTS / 72  # inches beside the cells
        figure, axes = new_figure(max(side, 4.6) + more, max(side * 0.8, 3.0) + more / 2)
        gaps = np.full((len(names), len(names)), np.nan)
        for pair in pairs.itertuples():
            for row, column, sign in ((pair.second, pair.first, 1), (pair.first, pair.second, -1)):
                gaps[row, column] = unit.factor * sign * pair.difference
                weight = "bold" if pair.p_holm < 0.05 else "normal"
                axes.text(column, row, _gap(pair, unit, sign), weight=weight, **IN_CELL)
        _gap_colours(axes, gaps, unit.gap)
        _gap_ticks(axes, names)
        axes.set_title(title, fontsize=10)
    return figure


USUAL = 10  # letters of a name that there is room for
WIDEST = 16  # characters that fit into a cell of the differences
IN_CELL: Any = {"ha": "center", "va": "center", "fontsize": 7}


def _gap(pair: Any, unit: Unit, sign: int) -> str:
    """A difference, and its interval below it where there is one."""
    low, high = sorted((sign * pair.low, sign * pair.high))
    mean = number(sign * pair.difference, unit, "+")
    ends = interval(low, high, unit, "+")
    lines = [ends] if len(ends) <= WIDEST else ends.replace(" to ", " to /").split("/")
    return mean if np.isnan(low) else "\n".join([mean, *lines])


def _gap_colours(axes: Axes, gaps: NDArray[np.float64], unit: str) -> None:
    largest = np.nanmax(np.abs(gaps)) or 1.0
    picture = axes.imshow(gaps, cmap="PuOr", vmin=-1.6 * largest, vmax=1.6 * largest)
    axes.get_figure().colorbar(picture, label=unit, shrink=0.8)  # type: ignore[union-attr]


def _gap_ticks(axes: Axes, names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)


FRONT: Any = {"color": GREY, "linestyle": ":"}
COSTS = {"seconds": "seconds of training, one model", "parameters": "parameters"}


def cost_figure(
    table: pd.DataFrame,
    fronts: Mapping[str, pd.DataFrame],
    names: Sequence[str],
    measure: Measure,
    title: str,
    bounds: tuple[int | None, int | None] = (None, None),
    infeasible: Sequence[int] = (),
) -> Figure:
    """Means on the test images against what they cost, a panel per cost (a column of the table), with Pareto fronts.

    `bounds` are those of the number of parameters, low and high; `infeasible` are numbers that lie outside.
    """
    with mpl.rc_context(STYLE):
        figure, grid = panels(len(fronts), 2, (3.7, 3.2), sharey=True)
        for axes, (cost, front) in zip(grid, fronts.items(), strict=True):
            axes.step(front[cost], _in_units(front, measure)["test"], where="post", zorder=1, **FRONT)
            _points(axes, table[cost], _in_units(table, measure), names)
            outside = infeasible if cost == "parameters" else ()
            _cost_ticks(axes, pd.concat([table[cost].dropna().astype(float), pd.Series(outside, dtype=float)]))
            if cost == "parameters":
                _outside(axes, bounds, infeasible)
            axes.set_xlabel(COSTS[cost])
        grid[0].set_ylabel(_label(measure, "test"))
        marks = [*grid[0].get_legend_handles_labels()[0], Line2D([], [], **FRONT, label="Pareto front")]
        legend_below(figure, marks)
        figure.suptitle(title, fontsize=11)
    return figure


def _points(axes: Axes, costs: pd.Series, shown: pd.DataFrame, names: Sequence[str]) -> None:
    """A mark with its interval for each compared value that was measured; of many all alike."""
    if len(shown) > SIDE_BY_SIDE:
        own = shown[shown["test"].notna()]
        bars = np.nan_to_num([own["test"] - own["low"], own["high"] - own["test"]])
        style: Any = {"color": INK, "alpha": 0.5, "markersize": 3, "label": "a compared value"}
        axes.errorbar(costs[own.index].astype(float), own["test"], yerr=bars, fmt="o", **style)
        return
    for row, cells in enumerate(shown.to_dict("records")):
        if not np.isnan(cells["test"]):
            bars = np.nan_to_num([[cells["test"] - cells["low"]], [cells["high"] - cells["test"]]])
            x = [float(costs[row])]
            axes.errorbar(x, [cells["test"]], yerr=bars, linestyle="none", label=names[row], **level_style(row))


def _outside(axes: Axes, bounds: tuple[int | None, int | None], infeasible: Sequence[int]) -> None:
    """What a constraint excludes, in grey, and what was proposed there, as marks on the axis."""
    for count in sorted(set(infeasible)):
        axes.plot([count], [0.0], "|", color=GREY, markersize=9, transform=axes.get_xaxis_transform(), clip_on=False)
    low, high = axes.get_xlim()
    ends = ((low, bounds[0]), (bounds[1], high))
    for one, other in ends:
        if one is not None and other is not None and one < other:
            axes.axvspan(one, other, color=GREY, alpha=0.15, linewidth=0, zorder=0)
    axes.set_xlim(low, high)


def _cost_ticks(axes: Axes, costs: pd.Series) -> None:
    if costs.max() > 5 * costs.min():
        log_ticks(axes, axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))


def value_ticks(axes: Axes, x: Any, values: pd.Series, numeric: bool) -> None:
    """A tick at every compared value: they are what the reader looks for. Of many some."""
    step = 1 if len(x) <= SIDE_BY_SIDE else -(-len(x) // SIDE_BY_SIDE)
    if numeric and len(x) > 2 and (x > 0).all() and np.ptp(np.diff(np.log(x))) < 0.1 < np.ptp(np.diff(x)):
        axes.set_xscale("log")  # 16, 32, 64, ...: evenly spaced by ratio
    words = [show(value) for value in values[::step]]
    turned: Any = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"} if len("".join(words)) > ROOM else {}
    axes.set_xticks(x[::step], words, **turned)
    axes.minorticks_off()
