"""Time to target: the share of runs that are there, by epoch."""

from collections.abc import Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.plots.base import DASHES, GREY, STYLE, legend_below, level_style, new_figure

APART = 0.02  # between the first line and the last, which would else hide each other: as a share of runs


def reach_figure(table: pd.DataFrame, names: Sequence[str], title: str) -> Figure:
    """A step line for each compared value, a cross where runs stopped that were not there.

    `table` is `Findings.share_there`; `names` are those of the levels.
    """
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.4, 4.0)
        levels = list(table["level"].unique())
        for place, row in enumerate(levels):
            own, colour = table[table["level"] == row], level_style(int(row))["color"]
            line = 100 * (own["share"] + APART * (place / max(1, len(levels) - 1) - 0.5))
            style = DASHES[int(row) % len(DASHES)]
            axes.plot(own["epoch"], line, style, drawstyle="steps-post", color=colour, label=names[int(row)])
            stopped = own["stopped"] > 0
            axes.plot(own.loc[stopped, "epoch"], line[stopped], "x", color=colour, markersize=7)
        axes.set(xlabel="epoch", ylabel="runs there (%)", ylim=(-4, 104), xlim=(0, 1.02 * table["epoch"].max()))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        lines = list(axes.get_lines()[::2])
        if (table["stopped"] > 0).any():
            lines.append(Line2D([], [], linestyle="none", marker="x", color=GREY, label="stopped, not there"))
        legend_below(figure, lines)
        axes.set_title(title, fontsize=11)
    return figure
