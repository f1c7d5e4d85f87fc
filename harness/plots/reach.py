"""Time to target: the share of runs that are there, by epoch."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.plots.base import GREY, STYLE, legend_below, line_style, new_figure

APART = 0.02  # between the first line and the last, which would else hide each other: as a share of runs


def reach_figure(table: pd.DataFrame, names: Sequence[str], title: str) -> Figure:
    """A step line for each compared value, a cross where runs stopped that were not there.

    `table` is `Findings.share_there`; `names` are those of the levels.
    """
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.4, 4.0)
        levels = list(table["level"].unique())
        for place, row in enumerate(levels):
            aside = APART * (place / max(1, len(levels) - 1) - 0.5)
            _steps(axes, table[table["level"] == row], aside, names[int(row)], line_style(int(row)))
        axes.set(xlabel="epoch", ylabel="runs there (%)", ylim=(-4, 104), xlim=(0, 1.02 * table["epoch"].max()))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        lines = axes.get_legend_handles_labels()[0]
        if (table["stopped"] > 0).any():
            lines.append(Line2D([], [], linestyle="none", marker="x", color=GREY, label="stopped, not there"))
        legend_below(figure, lines)
        axes.set_title(title, fontsize=11)
    return figure


def _steps(axes: Axes, own: pd.DataFrame, aside: float, name: str, style: Any) -> None:
    """The line of one value, so much above or below its shares."""
    line, stopped = 100 * (own["share"] + aside), own["stopped"] > 0
    axes.plot(own["epoch"], line, drawstyle="steps-post", label=name, **style)
    axes.plot(own.loc[stopped, "epoch"], line[stopped], "x", color=style["color"], markersize=7)
