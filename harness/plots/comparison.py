"""The compared values side by side: learning curves and costs; and several studies."""

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

from harness.catalogue import Measure
from harness.figures import SIDE_BY_SIDE, bracketed
from harness.figures import axis as axis_label
from harness.plots.base import BESIDE, GREY, INK, STYLE, legend_below, level_style, log_ticks, new_figure, panels
from harness.plots.closeup import Closeup
from harness.plots.means import in_units


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
        shown = in_units(table, measure).assign(study=table["study"], x=names.map(values.index).astype(float))
        _bars(axes, shown[shown["test"].notna()], list(dict.fromkeys(table["study"])), "-" if joined else "none")
        axes.set_xticks(range(len(values)), values, rotation=30 if len("".join(values)) > 50 else 0)
        xlabel = table["axis"].iloc[0].replace("_", " ").replace(",", " and ") if same else ""
        axes.set(xlabel=xlabel, ylabel=axis_label(measure, "test"), title=title)
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


HOLLOW: Any = {"markerfacecolor": "none", "markersize": 7, "mew": 1.5}  # marks on one spot are all seen
FRONT: Any = {"color": GREY, "linestyle": ":"}
COSTS = {"seconds": "seconds of training, one model", "parameters": "parameters"}


def cost_figure(
    table: pd.DataFrame,
    fronts: Mapping[str, pd.DataFrame],
    names: Sequence[str],
    measure: Measure,
    title: str,
    bounds: tuple[int | None, int | None],
    infeasible: Sequence[int],
    near: Closeup | None,
) -> Figure:
    """Means on the test images against what they cost, a panel per cost (a column of the table), with Pareto fronts.

    `bounds` are those of the number of parameters, low and high; `infeasible` are numbers that lie outside. `near` is
    what is shown of the figures: values outside it are named at the edge.
    """
    with mpl.rc_context(STYLE):
        figure, grid = panels(len(fronts), 2, (4.6, 3.4), sharey=True)
        shown = in_units(table, measure)
        for axes, (cost, front) in zip(grid, fronts.items(), strict=True):
            axes.step(front[cost], in_units(front, measure)["test"], where="post", zorder=1, **FRONT)
            _points(axes, table[cost], shown, names)
            if cost == "parameters":
                _cost_ticks(axes, [*table[cost].dropna(), *infeasible])
                _outside(axes, bounds, infeasible)
            else:
                _cost_ticks(axes, [*table[cost].dropna()])
            axes.set_xlabel(COSTS[cost])
            if near:
                _cut(axes, near, measure, table[cost])
        grid[0].set_ylabel(axis_label(measure, "test"))
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
            axes.errorbar(
                x, [cells["test"]], yerr=bars, linestyle="none", label=names[row], **HOLLOW, **level_style(row)
            )


def _cut(axes: Axes, near: Closeup, measure: Measure, costs: pd.Series) -> None:
    """Show the part of the axis in which the best values lie, and where the others would be."""
    low, high = (measure.unit.factor * end for end in (near.low, near.high))
    axes.set_ylim(low, high)
    side, marker = (low, r"$\downarrow$") if measure.better == "higher" else (high, r"$\uparrow$")
    for row in near.outside:
        x = [float(costs[row])]
        axes.plot(x, [side], marker=marker, color=level_style(row)["color"], markersize=11, clip_on=False)


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


def _cost_ticks(axes: Axes, costs: Sequence[float]) -> None:
    if max(costs) > 5 * min(costs):
        log_ticks(axes, axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
