"""Training and test figures by epoch."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.catalogue import Measure
from harness.figures import axis as axis_label
from harness.plots.base import GREY, STYLE, level_style, log_ticks, panels

KINDS: Any = {
    "train": {"linestyle": "--", "label": "training"},
    "test": {"linestyle": "-", "label": "test (mean; 95 % interval shaded)"},
}


def course_figure(table: pd.DataFrame, names: Sequence[str], measure: Measure, title: str) -> Figure:
    """A measure by epoch, a panel per compared value; `table` is `Findings.course` of that measure."""
    with mpl.rc_context(STYLE):
        columns = min(3, max(1, len(names)))
        figure, grid = panels(len(names), 3, (3.2, 2.6), sharex=True, sharey=True)
        for row, (axes, name) in enumerate(zip(grid, names, strict=True)):
            _panel(axes, table[table["level"] == row], measure, level_style(row)["color"])
            axes.set_title(name, fontsize=10)
        if measure.unit.relative:
            log_ticks(grid[0], grid[0].yaxis)
        for axes in grid[-columns:]:
            axes.set_xlabel("epoch")
            axes.tick_params(labelbottom=True)
        for axes in grid[::columns]:
            axes.set_ylabel(axis_label(measure))
        known = set(table["images"])
        lines = [Line2D([], [], color=GREY, **style) for kind, style in KINDS.items() if kind in known]
        figure.legend(handles=lines, loc="outside lower center", ncols=2)
        figure.suptitle(title)
    return figure


def _panel(axes: Axes, table: pd.DataFrame, measure: Measure, colour: str) -> None:
    for kind, style in KINDS.items():
        own = table[table["images"] == kind]
        mean, low, high = (measure.unit.factor * own[name].to_numpy(float) for name in ("mean", "low", "high"))
        marker = "." if len(own) == 1 else ""  # a line of one point is not seen
        axes.plot(own["epoch"], mean, linestyle=style["linestyle"], marker=marker, color=colour)
        axes.fill_between(own["epoch"], low, high, color=colour, alpha=0.15)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
