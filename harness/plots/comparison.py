"""Tables in, figures out: the pictures of a study. Our window on matplotlib; the same picture from the same table."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from harness.catalogue import show
from harness.plots.base import GREY, INK, STYLE, level_style, new_figure, panels, png, save

__all__ = [
    "Figure",
    "accuracy_figure",
    "cost_figure",
    "difference_figure",
    "learning_figure",
    "png",
    "save",
    "studies_figure",
]


def accuracy_figure(table: pd.DataFrame, seeds: pd.DataFrame, axis: str, title: str) -> Figure:
    """Train, validation and test accuracy against the compared value, with the test mean's interval.

    `table` is `analysis.compare_table`'s; `seeds` holds each run's `level` (a row of the table) and `test_accuracy`.
    """
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.4, 4.2)
        numeric = pd.api.types.is_numeric_dtype(table[axis])
        x = table[axis].to_numpy(float) if numeric else np.arange(len(table), dtype=float)
        for column, label, marker, style, colour in (
            ("train_accuracy", "train", "s", "--", GREY),
            ("val_accuracy", "validation", "^", "-.", GREY),
            ("test_accuracy", "test", "o", "-", INK),
        ):
            if column == "val_accuracy" and table[column].isna().all():
                continue  # nothing was held out
            axes.plot(x, 100 * table[column], marker=marker, markersize=5, linestyle=style, color=colour, label=label)
        low, high = 100 * table["test_accuracy_low"].to_numpy(float), 100 * table["test_accuracy_high"].to_numpy(float)
        axes.fill_between(x, low, high, color=INK, alpha=0.15, label="95 % interval of\nthe test mean")
        if len(table) == 1:  # a band without width is not seen
            axes.vlines(x, low, high, color=INK)
        for level, own in seeds.groupby("level"):
            dots = 100 * own["test_accuracy"].to_numpy(float)
            colour = level_style(int(level))["color"]
            axes.plot(np.full(len(dots), x[int(level)]), dots, ".", color=colour, alpha=0.75, markersize=6, zorder=3)
        axes.plot([], [], ".", color=GREY, label="test, each seed")
        if table["published_test_accuracy"].notna().any():
            axes.plot(x, 100 * table["published_test_accuracy"], "kx", markersize=8, mew=1.5, label="published test")
        axes.set(xlabel=axis.replace("_", " "), ylabel="accuracy (%)", title=title)
        _ticks(axes, x, table[axis], numeric)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure


def studies_figure(table: pd.DataFrame, title: str) -> Figure:
    """Mean test accuracy with intervals, against the compared value where all studies compare the same thing.

    `table` has a row for each `study` and `value` of its `axis`, and the columns of `analysis.compare_table`.
    """
    with mpl.rc_context(STYLE):
        same = table["axis"].nunique() == 1
        values = list(dict.fromkeys(table["value"] if same else table["axis"] + " = " + table["value"]))
        figure, axes = new_figure(max(6.4, 0.7 * len(values) + 2.5), 4.0)
        studies = list(dict.fromkeys(table["study"]))
        for place, study in enumerate(studies):
            own = table[(table["study"] == study) & table["test_accuracy"].notna()]
            names = own["value"] if same else own["axis"] + " = " + own["value"]
            x = names.map(values.index).to_numpy(float) + 0.3 * ((place + 0.5) / len(studies) - 0.5)
            mean = 100 * own["test_accuracy"].to_numpy(float)
            low, high = (100 * own[f"test_accuracy_{end}"].to_numpy(float) for end in ("low", "high"))
            bars = np.nan_to_num([mean - low, high - mean])
            line = "-" if same else "none"
            axes.errorbar(x, mean, yerr=bars, label=study, linestyle=line, linewidth=1, **level_style(place))
        axes.set_xticks(range(len(values)), values, rotation=30 if len("".join(values)) > 50 else 0)
        axes.set(
            xlabel=table["axis"].iloc[0].replace("_", " ") if same else "", ylabel="test accuracy (%)", title=title
        )
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure


def learning_figure(table: pd.DataFrame, names: Sequence[str], title: str) -> Figure:
    """Training and validation loss against the epoch, a panel per compared value; `analysis.learning_table`'s table."""
    with mpl.rc_context(STYLE):
        columns = min(3, max(1, len(names)))
        figure, grid = panels(len(names), 3, (3.2, 2.6), sharex=True, sharey=True)
        for place, (axes, name) in enumerate(zip(grid, names, strict=True)):
            _learning_panel(axes, table[table["level"] == place], name, level_style(place)["color"])
        for axes in grid[-columns:]:
            axes.set_xlabel("epoch")
            axes.tick_params(labelbottom=True)
        for axes in grid[::columns]:
            axes.set_ylabel("loss (nats)")
        styles: Any = {"train": ("--", "training (mean; range over seeds shaded)"), "val": ("-", "validation")}
        kinds = [kind for kind in styles if kind in set(table["kind"])]
        lines = [Line2D([], [], color=GREY, linestyle=styles[kind][0], label=styles[kind][1]) for kind in kinds]
        if lines:
            figure.legend(handles=lines, loc="outside lower center", ncols=2)
        figure.suptitle(title)
    return figure


def _learning_panel(axes: Axes, table: pd.DataFrame, name: str, colour: str) -> None:
    for kind, style in (("train", "--"), ("val", "-")):
        part = table[table["kind"] == kind]
        axes.plot(part["epoch"], part["mean"], linestyle=style, color=colour)
        axes.fill_between(part["epoch"], part["low"], part["high"], color=colour, alpha=0.15)
    if not table.empty:
        _log_ticks(axes, axes.yaxis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(name, fontsize=10)


def difference_figure(pairs: pd.DataFrame, names: Sequence[str], title: str) -> Figure:
    """Row minus column in test accuracy, in points, with 95 % intervals; bold where Holm's p is below 0.05.

    `pairs` is `analysis.paired_table`'s.
    """
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        side = 1.15 * len(names) + 1.4
        figure, axes = new_figure(max(side, 4.6), max(side * 0.8, 3.0))
        gaps = np.full((len(names), len(names)), np.nan)
        for pair in pairs.itertuples():
            for row, column, sign in ((pair.second, pair.first, 1), (pair.first, pair.second, -1)):
                gaps[row, column] = 100 * sign * pair.difference
                low, high = sorted((100 * sign * pair.low, 100 * sign * pair.high))
                text = f"{gaps[row, column]:+.2f}" + ("" if np.isnan(low) else f"\n{low:+.2f} to {high:+.2f}")
                weight = "bold" if pair.p_holm < 0.05 else "normal"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, weight=weight)
        largest = np.nanmax(np.abs(gaps)) or 1.0
        picture = axes.imshow(gaps, cmap="PuOr", vmin=-1.6 * largest, vmax=1.6 * largest)
        figure.colorbar(picture, label="points", shrink=0.8)
        places = range(len(names))
        axes.set_xticks(places, names, rotation=30, ha="right", fontsize=8)
        axes.set_yticks(places, names, fontsize=8)
        axes.set_title(title, fontsize=10)
    return figure


def cost_figure(table: pd.DataFrame, fronts: dict[str, pd.DataFrame], names: Sequence[str], title: str) -> Figure:
    """Test accuracy against what it costs, a panel per cost (a column of the compare table), with its Pareto front."""
    with mpl.rc_context(STYLE):
        figure, grid = panels(len(fronts), 2, (3.7, 3.2), sharey=True)
        for axes, (cost, front) in zip(grid, fronts.items(), strict=True):
            axes.step(front[cost], 100 * front["test_accuracy"], where="post", color=GREY, linestyle=":", zorder=1)
            for place, row in enumerate(table.to_dict("records")):
                if pd.isna(row["test_accuracy"]):
                    continue
                low, high = (abs(row[f"test_accuracy_{end}"] - row["test_accuracy"]) for end in ("low", "high"))
                bars: Any = [[100 * np.nan_to_num(low)], [100 * np.nan_to_num(high)]]
                where = [float(row[cost])], [100 * row["test_accuracy"]]
                axes.errorbar(*where, yerr=bars, linestyle="none", label=names[place], **level_style(place))
            costs = table[cost].dropna().astype(float)
            if costs.max() > 5 * costs.min():
                _log_ticks(axes, axes.xaxis)
            else:
                axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.set_xlabel({"seconds": "seconds of training, one model", "parameters": "parameters"}[cost])
        grid[0].set_ylabel("test accuracy (%)")
        handles, labels = grid[0].get_legend_handles_labels()
        handles.append(Line2D([], [], color=GREY, linestyle=":"))
        figure.legend(handles, [*labels, "Pareto front"], loc="outside lower center", ncols=4, fontsize=8)
        figure.suptitle(title, fontsize=11)
    return figure


def _log_ticks(axes: Axes, side: Axis) -> None:
    """A log scale with plain numbers: 0.1, 0.2, 0.5, 1."""
    axes.set(**{"xscale" if side is axes.xaxis else "yscale": "log"})
    side.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    side.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    side.set_minor_locator(NullLocator())


def _short(value: float) -> str:
    """A number that fits between its neighbours: 0.1, 5,000, 20k, 3M."""
    if value >= 1e6:
        return f"{value / 1e6:,.6g}M"
    return f"{value / 1e3:.6g}k" if value >= 1e4 else f"{value:,.6g}"


def _ticks(axes: Axes, x: Any, values: pd.Series, numeric: bool) -> None:
    """A tick at every compared value: there are few, and they are what the reader looks for."""
    if numeric and len(x) > 2 and (x > 0).all() and np.ptp(np.diff(np.log(x))) < 0.1 < np.ptp(np.diff(x)):
        axes.set_xscale("log")  # 16, 32, 64, ...: evenly spaced by ratio
    axes.set_xticks(x, [show(value) for value in values])
    axes.minorticks_off()
