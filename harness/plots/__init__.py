"""Tables in, figures out: the pictures of a study. Our window on matplotlib; the same picture from the same table."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.plots.base import COLOURS, STYLE, new_figure, png, save

__all__ = ["Figure", "accuracy_figure", "learning_figure", "png", "save"]


def accuracy_figure(table: pd.DataFrame, seeds: pd.DataFrame, axis: str, title: str) -> Figure:
    """Train, validation and test accuracy against the compared value, with the test mean's interval.

    `table` is `stats.compare_table`'s; `seeds` holds each run's `level` (a row of the table) and `test_accuracy`.
    """
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.4, 4.2)
        numeric = pd.api.types.is_numeric_dtype(table[axis])
        x = table[axis].to_numpy(float) if numeric else np.arange(len(table), dtype=float)
        for column, label, marker, style, colour in (
            ("train_accuracy", "train", "s", "--", COLOURS[0]),
            ("val_accuracy", "validation", "^", "-.", COLOURS[2]),
            ("test_accuracy", "test", "o", "-", COLOURS[1]),
        ):
            if column == "val_accuracy" and table[column].isna().all():
                continue  # nothing was held out
            axes.plot(x, 100 * table[column], marker=marker, linestyle=style, color=colour, label=label)
        low, high = 100 * table["test_accuracy_low"], 100 * table["test_accuracy_high"]
        axes.fill_between(
            x,
            low.to_numpy(float),
            high.to_numpy(float),
            color=COLOURS[1],
            alpha=0.2,
            label="95 % interval of\nthe test mean",
        )
        axes.plot(
            x[seeds["level"].to_numpy(int)],
            100 * seeds["test_accuracy"].to_numpy(float),
            "_",
            color=COLOURS[1],
            alpha=0.6,
            markersize=9,
            label="test, each seed",
        )
        if table["published_test_accuracy"].notna().any():
            axes.plot(x, 100 * table["published_test_accuracy"], "kx", markersize=7, label="published test")
        axes.set(xlabel=axis.replace("_", " "), ylabel="accuracy (%)", title=title)
        _ticks(axes, x, table[axis], numeric)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure


def learning_figure(table: pd.DataFrame, names: Sequence[str], title: str) -> Figure:
    """Training and validation loss against the epoch, a panel per compared value; `stats.learning_table`'s table."""
    with mpl.rc_context(STYLE):
        columns = min(3, max(1, len(names)))
        rows = -(-len(names) // columns)
        figure = Figure(figsize=(3.1 * columns + 0.4, 2.5 * rows + 0.5), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for place, (axes, name) in enumerate(zip(grid, names, strict=False)):
            _learning_panel(axes, table[table["level"] == place], name)
        for axes in grid[len(names) :]:
            axes.remove()
        for place in range(max(0, len(names) - columns), len(names)):
            grid[place].set_xlabel("epoch")
            grid[place].tick_params(labelbottom=True)
        for axes in grid[: len(names) : columns]:
            axes.set_ylabel("loss (nats)")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        figure.suptitle(title)
    return figure


def _learning_panel(axes: Axes, table: pd.DataFrame, name: str) -> None:
    for kind, label, style, colour in (
        ("train", "training (mean, range over seeds)", "--", COLOURS[0]),
        ("val", "validation", "-", COLOURS[1]),
    ):
        part = table[table["kind"] == kind]
        if part.empty and not table.empty:
            continue  # nothing was held out
        axes.plot(part["epoch"], part["mean"], linestyle=style, color=colour, label=label)
        axes.fill_between(part["epoch"], part["low"], part["high"], color=colour, alpha=0.15)
    if not table.empty:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(name, fontsize=10)


def _ticks(axes: Axes, x: Any, values: pd.Series, numeric: bool) -> None:
    """A tick at every compared value: there are few, and they are what the reader looks for."""
    if numeric and len(x) > 2 and (x > 0).all() and np.ptp(np.diff(np.log(x))) < 0.1 < np.ptp(np.diff(x)):
        axes.set_xscale("log")  # 16, 32, 64, ...: evenly spaced by ratio
    axes.set_xticks(x, [str(value) for value in values])
    axes.minorticks_off()
