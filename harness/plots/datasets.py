"""Compared values over several data sets: the critical-difference diagram, and performance profiles."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.catalogue import Measure
from harness.figures import axis as axis_label
from harness.plots.base import GREY, INK, STYLE, legend_below, level_style, line_style, log_ticks, new_figure, panels

STEP = 0.32  # between two names, in units of the rank axis' height


def ranks_figure(
    ranks: Sequence[tuple[str, float]], groups: Sequence[Sequence[str]], critical: float, title: str
) -> Figure:
    """Demsar's (2006) critical-difference diagram: average ranks on one line, the best on the left; bars join values
    that cannot be told apart. `ranks` are in the order of the study, which colours go by.
    """
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        count = len(ranks)
        rows = (count + 1) // 2 + len(groups)
        figure, axes = new_figure(7.2, 1.5 + 0.34 * rows)
        axes.set(xlim=(1 - 0.35 * (count - 1), count + 0.35 * (count - 1)), ylim=(-STEP * (rows + 1), 1.0))
        axes.set_axis_off()
        _rank_axis(axes, count, critical)
        order = sorted(range(count), key=lambda row: (ranks[row][1], row))
        places = dict(ranks)
        for index, group in enumerate(groups):
            ends = [places[name] for name in group]
            y = -STEP * (index + 0.6)
            axes.plot([min(ends) - 0.03, max(ends) + 0.03], [y, y], color=INK, linewidth=4, solid_capstyle="butt")
        for place, row in enumerate(order):
            _rank_name(axes, (*ranks[row], level_style(row)["color"]), place, count, len(groups))
        axes.set_title(title, fontsize=11)
    return figure


def _rank_axis(axes: Axes, count: int, critical: float) -> None:
    """The line of ranks, and the critical difference above it, as far as ranks can differ."""
    axes.plot([1, count], [0, 0], color=INK, linewidth=1)
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [0, 0.12], color=INK, linewidth=1)
        axes.text(rank, 0.16, str(rank), ha="center", va="bottom", fontsize=9)
    end = min(1 + critical, count)
    axes.plot([1, end], [0.62, 0.62], color=GREY, linewidth=1.5, marker="|", markersize=8)
    more = ", more than ranks can differ" if critical > count - 1 else ""
    axes.text((1 + end) / 2, 0.68, f"critical difference {critical:.2f}{more}", ha="center", fontsize=8, color=GREY)


def _rank_name(axes: Axes, value: tuple[str, float, str], place: int, count: int, groups: int) -> None:
    """A value's name with its rank: the better half on the left, each led to its place on the line."""
    name, rank, colour = value
    left = place < (count + 1) // 2
    depth = place if left else count - 1 - place
    y = -STEP * (groups + depth + 0.7)
    x = 1 - 0.05 * (count - 1) if left else count + 0.05 * (count - 1)
    axes.plot([rank, rank, x], [0, y, y], color=colour, linewidth=1.2, zorder=1)
    axes.plot([rank], [0], color=colour, marker="o", markersize=5, zorder=3)
    text = f"{name}  {rank:.2f} " if left else f" {rank:.2f}  {name}"
    axes.text(x, y, text, ha="right" if left else "left", va="center", fontsize=9)


def profiles_figure(table: pd.DataFrame, values: Sequence[str], measure: Measure, title: str) -> Figure:
    """The profiles of `Across.profiles`: of data sets by ratio to the best, of runs by what they reach, and where there
    are targets of data sets by the time until them.
    """
    with mpl.rc_context(STYLE):
        has_times = bool((table["kind"] == "time").any())
        figure, (left, right, *rest) = panels(2 + has_times, 2 + has_times, (4.0, 3.2), sharey=True)
        _ratio_steps(left, table[table["kind"] == "ratio"], values)
        for row, value in enumerate(values):
            runs = table[(table["kind"] == "runs") & (table["value"] == value)]
            right.plot(measure.unit.factor * runs["at"], runs["share"], **line_style(row))
        for axes in rest:
            _ratio_steps(axes, table[table["kind"] == "time"], values)
            axes.set(xlabel="times the epochs of the first at the target", ylabel="share of data sets")
        what = "errors" if measure.better == "higher" else measure.words
        beyond = "above" if measure.better == "higher" else "below"
        left.set(xlabel=f"times the {what} of the best", ylabel="share of data sets", ylim=(-0.03, 1.03))
        right.set(xlabel=axis_label(measure, "test"), ylabel=f"share of runs {beyond} it")
        legend_below(figure, left.get_legend_handles_labels()[0])
        figure.suptitle(title, fontsize=11)
    return figure


def _ratio_steps(axes: Axes, table: pd.DataFrame, values: Sequence[str]) -> None:
    """A line of steps for each value, all up to one end."""
    end = max(1.1, 1.05 * float(table["at"].max()))
    for row, value in enumerate(values):
        own = table[table["value"] == value]
        x, y = np.append(own["at"], end), np.append(own["share"], own["share"].iloc[-1])
        axes.step(x, y, where="post", label=value, **line_style(row))
    if end > 4:
        log_ticks(axes, axes.xaxis)
