"""What tuning was worth: from the defaults to the winners, one hyperparameter at a time."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.catalogue import Measure
from harness.figures import axis as axis_label
from harness.plots.base import GREY, INK, STYLE, level_style, panels


def ablation_figure(table: pd.DataFrame, names: Sequence[str], measure: Measure, title: str) -> Figure:
    """A panel per compared value: a bar for what each step brought, from the mean before it to that after it.

    `table` is `Findings.ablation`; `names` are those of the levels. The line across a bar's end is the gain's
    interval, cut off where it reaches beyond all means.
    """
    levels = sorted(table["level"].unique())
    most = int(table.groupby("level").size().max())
    with mpl.rc_context(STYLE):
        figure, grid = panels(len(levels), 2, (4.2, 0.7 + 0.3 * most), sharex=True)
        for axes, row in zip(grid, levels, strict=True):
            _steps(axes, table[table["level"] == row].sort_values("step"), measure, level_style(row)["color"])
            axes.set_title(names[row], fontsize=10)
        seen = measure.unit.factor * table["mean"]  # wide intervals are cut off: the steps are what is to be seen
        room = 0.1 * float(np.ptp(seen)) or 1.0
        grid[0].set_xlim(seen.min() - room, seen.max() + room)
        for axes in grid[-2:]:
            axes.set_xlabel(axis_label(measure, "test"))
            axes.tick_params(labelbottom=True)
        figure.suptitle(title, fontsize=11)
    return figure


def _steps(axes: Axes, own: pd.DataFrame, measure: Measure, colour: str) -> None:
    """The defaults' mean as a line, then the steps from above to below."""
    means = measure.unit.factor * own["mean"].to_numpy(float)
    ends = measure.unit.factor * own[["low", "high"]].to_numpy(float)
    axes.axvline(means[0], color=GREY, linewidth=1, linestyle=":")
    axes.plot([means[0]], [0], marker="o", color=GREY)
    for place in range(1, len(own)):
        gain = means[place] - means[place - 1]
        better = measure.sign() * gain >= 0
        axes.barh(place, gain, left=means[place - 1], height=0.6, color=colour if better else GREY, alpha=0.75)
        axes.plot([means[place]] * 2, [place - 0.3, place + 0.3], color=INK, linewidth=0.8)
        axes.plot(means[place - 1] + ends[place], [place, place], color=INK, linewidth=1.2, marker="|", markersize=6)
    axes.set_yticks(range(len(own)), ["defaults", *own["hyperparameter"].iloc[1:].str.replace("_", " ")], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
