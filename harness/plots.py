"""Tables in, figures out. Our window on matplotlib: Agg only, no pyplot, the same picture from the same table.

The colours are Okabe and Ito's (2008), told apart by colour-blind readers; line styles and markers do it in grey.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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


def accuracy_figure(table: pd.DataFrame, seeds: pd.DataFrame, axis: str, title: str) -> Figure:
    """Train, validation and test accuracy against the compared value, with the test mean's interval.

    `table` is `stats.compare_table`'s; `seeds` holds each run's `level` (a row of the table) and `test_accuracy`.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _figure(6.4, 4.2)
        numeric = pd.api.types.is_numeric_dtype(table[axis])
        x = table[axis].to_numpy(float) if numeric else np.arange(len(table), dtype=float)
        for column, label, marker, style, colour in (
            ("train_accuracy", "train", "s", "--", COLOURS[0]),
            ("val_accuracy", "validation", "^", "-.", COLOURS[2]),
            ("test_accuracy", "test", "o", "-", COLOURS[1]),
        ):
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
        axes.plot(part["epoch"], part["mean"], linestyle=style, color=colour, label=label)
        axes.fill_between(part["epoch"], part["low"], part["high"], color=colour, alpha=0.15)
    if not table.empty:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(name, fontsize=10)


class RunPictures:
    """The two pictures of a run. Their figures are made once and drawn with each run's data: a fifth of the time."""

    def __init__(self) -> None:
        with mpl.rc_context(STYLE):
            self._loss, axes = _figure(4.8, 3.2, dpi=100, layout="none")
            self._loss.subplots_adjust(0.15, 0.16, 0.97, 0.9)
            self._training = axes.plot([1], [1], "--", color=COLOURS[0], label="training")[0]
            self._validation = axes.plot([1], [1], "-", color=COLOURS[1], label="validation")[0]
            self._best = axes.axvline(1, color="0.5", linewidth=1, linestyle=":", label="restored")
            axes.set(xlabel="epoch", ylabel="loss (nats)", yscale="log")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend(loc="upper right")
        with mpl.rc_context({**STYLE, "axes.grid": False}):
            self._confusion, axes = _figure(4.8, 4.4, dpi=100, layout="none")
            self._confusion.subplots_adjust(0.1, 0.11, 0.98, 0.93)
            self._image = axes.imshow([[0.0]], cmap="Blues")
            axes.set(xlabel="predicted class", ylabel="true class")

    def loss(self, history: Sequence[Mapping[str, float]], best_epoch: int, title: str) -> bytes:
        """Training and validation loss against the epoch, the restored one marked; PNG."""
        axes = self._loss.axes[0]
        epochs = [epoch["number"] for epoch in history]
        self._training.set_data(epochs, [epoch["train_loss"] for epoch in history])
        self._validation.set_data(epochs, [epoch["val_loss"] for epoch in history])
        self._best.set_xdata([best_epoch, best_epoch])
        axes.set_title(f"{title}, best epoch {best_epoch}")
        axes.relim()
        axes.autoscale_view()
        return png(self._loss)

    def confusion(self, counts: Sequence[Sequence[int]], title: str) -> bytes:
        """Confusion counts, rows true and columns predicted, written where they are not zero; PNG."""
        axes, matrix = self._confusion.axes[0], np.asarray(counts)
        edge = len(matrix) - 0.5
        self._image.set(data=np.sqrt(matrix), extent=(-0.5, edge, edge, -0.5))  # the root, so that rare mistakes show
        self._image.set_clim(0, np.sqrt(matrix.max()))
        axes.set_title(title)
        if len(axes.get_xticks()) != len(matrix):
            axes.set(xticks=range(len(matrix)), yticks=range(len(matrix)))
        for text in list(axes.texts):
            text.remove()
        for row, column in np.argwhere(matrix):
            count = matrix[row, column]
            colour = "white" if np.sqrt(count) > np.sqrt(matrix.max()) / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
        return png(self._confusion)


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write `path`.png and `path`.svg."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".png").write_bytes(png(figure))
    with mpl.rc_context(STYLE):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})


def _figure(width: float, height: float, dpi: int = 150, layout: Any = "constrained") -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=dpi, layout=layout)
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _ticks(axes: Axes, x: Any, values: pd.Series, numeric: bool) -> None:
    """A tick at every compared value: there are few, and they are what the reader looks for."""
    if numeric and len(x) > 2 and (x > 0).all() and np.ptp(np.diff(np.log(x))) < 0.1 < np.ptp(np.diff(x)):
        axes.set_xscale("log")  # 16, 32, 64, ...: evenly spaced by ratio
    axes.set_xticks(x, [str(value) for value in values])
    axes.minorticks_off()
