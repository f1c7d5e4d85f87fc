"""What the search did: its best so far, every trial by its hyperparameters, their importance, and a timeline."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from harness.catalogue import Measure, Value, show
from harness.figures import SIDE_BY_SIDE
from harness.figures import axis as axis_label
from harness.plots.base import GREY, STYLE, from_below, legend_below, level_style, log_ticks, new_figure, panels

CURVES = ("best", "expected", "low", "high")
MANY = 500  # marks, above which an SVG holds them as one picture
STATES = {
    "finished": "#009E73",
    "pruned": "#E69F00",
    "diverged": "#CC79A7",
    "failed": "#000000",
}
ALPHA = {"search": 0.55, "confirm": 1.0}


def tuning_figure(table: pd.DataFrame, names: Sequence[str], measure: Measure, title: str) -> Figure:
    """The best of a measure on validation images after k trials; `table` is `Findings.tuning`."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.4, 3.8)
        shown = table.assign(**{name: measure.unit.factor * table[name] for name in CURVES})
        for row, own in shown.groupby("level"):
            _curves(axes, own, level_style(int(row))["color"], names[int(row)])
        if measure.unit.relative:
            log_ticks(axes, axes.yaxis)
        else:
            if measure.better == "higher":
                from_below(axes, measure.unit.factor)
            axes.set_ylim(*_tuning_limits(shown, measure))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        ylabel = axis_label(measure, "best validation")
        axes.set(xlabel="search trials", ylabel=ylabel, title=title)
        handles, labels = axes.get_legend_handles_labels()
        handles += [Line2D([], [], color=GREY), Line2D([], [], color=GREY, linestyle="--", linewidth=1)]
        labels += ["so far, as searched", "expected of k trials\nin random order"]
        axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure


def _curves(axes: Axes, own: pd.DataFrame, colour: str, name: str) -> None:
    """A compared value's best so far with its interval, and what to expect of it in random order."""
    axes.step(own["k"], own["best"], where="post", color=colour, label=name)
    axes.plot(own["k"], own["expected"], "--", color=colour, linewidth=1)
    axes.fill_between(own["k"], own["low"], own["high"], color=colour, alpha=0.12)


def _tuning_limits(shown: pd.DataFrame, measure: Measure) -> list[float]:
    """From what one or two trials find to the best, and to perfection at most."""
    sign = measure.sign()
    best = (sign * shown["best"]).max()
    worst = (sign * shown.loc[shown["k"] <= 2, "expected"]).min()
    margin = 0.02 * (best - worst) + 1e-5 * measure.unit.factor
    end = best + margin
    if sign > 0:
        end = min(end, best + 0.2 * (measure.unit.factor - best) + 1e-5 * measure.unit.factor)
    return sorted([sign * worst, sign * end])


def slice_figure(
    runs: pd.DataFrame,
    scales: Mapping[str, str | tuple[Value, ...]],
    names: Sequence[str],
    measure: Measure,
    title: str,
) -> Figure:
    """A measure of the finished search trials on validation images against each tuned hyperparameter, a panel each.

    `scales` says "log" or "linear" for a range, and names the choices where there are some.
    """
    with mpl.rc_context(STYLE):
        figure, grid = panels(len(scales), 3, (3.1, 2.5), sharey=True)
        figures = measure.unit.factor * runs[f"val_{measure.name}"]
        for axes, (key, scale) in zip(grid, scales.items(), strict=True):
            _slice(axes, runs.assign(y=figures).dropna(subset=key), key, scale, len(names))
            _slice_ticks(axes, scale)
            axes.set_xlabel(key.replace("_", " "))
        if measure.unit.relative:
            log_ticks(grid[0], grid[0].yaxis)
        else:
            grid[0].set_ylim(*_slice_limits(figures, measure))
        for axes in grid[::3]:
            axes.set_ylabel(axis_label(measure, "validation"))
        legend_below(figure, _level_marks(names, set(runs["level"])), most=5)
        figure.suptitle(title)
    return figure


def _level_marks(names: Sequence[str], rows: Container[int]) -> list[Line2D]:
    """Of many values those that are drawn."""
    few = len(names) <= SIDE_BY_SIDE
    shown = [(row, name) for row, name in enumerate(names) if few or row in rows]
    return [Line2D([], [], linestyle="none", label=name, **level_style(row)) for row, name in shown]


def _slice(axes: Axes, runs: pd.DataFrame, key: str, scale: str | tuple[Value, ...], levels: int) -> None:
    dots: Any = {"linestyle": "none", "markersize": 4, "alpha": 0.8, "rasterized": len(runs) > MANY}
    for row, own in runs.groupby("level"):
        if isinstance(scale, str):
            x = own[key].to_numpy(float)
        else:  # levels beside each other, not on top
            x = np.array([scale.index(value) for value in own[key]], float)
            x += 0.6 * ((int(row) + 0.5) / levels - 0.5)
        axes.plot(x, own["y"], **dots, **level_style(int(row)))


def _slice_ticks(axes: Axes, scale: str | tuple[Value, ...]) -> None:
    if scale == "log":
        log_ticks(axes, axes.xaxis)
    elif not isinstance(scale, str):
        axes.set_xticks(range(len(scale)), [show(value) for value in scale], rotation=20 if len(scale) > 3 else 0)
        axes.set_xlim(-0.5, len(scale) - 0.5)


def _slice_limits(figures: pd.Series, measure: Measure) -> tuple[float, float]:
    """All but the worst tenth."""
    low, high = figures.quantile([0.1, 1.0] if measure.better == "higher" else [0.0, 0.9])
    margin = 0.05 * (high - low) or 0.005 * measure.unit.factor
    return low - margin, high + margin


def importance_figure(table: pd.DataFrame, names: Sequence[str], title: str) -> Figure:
    """How important each hyperparameter was, per compared value; faded where no effect of it was seen.

    `table` is `Findings.importance` with a column `matters`.
    """
    with mpl.rc_context(STYLE):
        order = table.groupby("hyperparameter")["importance"].mean().sort_values().index
        levels = sorted(table["level"].unique())
        figure, axes = new_figure(6.4, 0.9 + len(order) * (0.12 * len(levels) + 0.2))
        thick = 0.8 / len(levels)
        for index, row in enumerate(levels):
            own = table[table["level"] == row].set_index("hyperparameter").reindex(order)
            y = np.arange(len(order)) + 0.4 - (index + 0.5) * thick
            colours = [to_rgba(level_style(int(row))["color"], 0.9 if seen else 0.25) for seen in own["matters"] == 1]
            axes.barh(y, own["importance"], thick, color=colours)
            axes.barh([0], [0], 0, color=level_style(int(row))["color"], label=names[int(row)])
        axes.set_yticks(range(len(order)), [key.replace("_", " ") for key in order])
        axes.set(xlabel="share of the importance", title=title)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure


def timeline_figure(table: pd.DataFrame, names: Sequence[str], title: str) -> Figure:
    """Which trial trained when, and what came of it; `table` is `Findings.timeline`."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(7.2, 0.9 + 0.55 * min(len(names), SIDE_BY_SIDE))
        unit, factor = _time_unit(table["end"].max())
        boxes = _boxes(table, factor)
        for status, colour in STATES.items():
            for stage, alpha in ALPHA.items():
                chosen = boxes[((table["status"] == status) & (table["stage"] == stage)).to_numpy()]
                if len(chosen):
                    style: Any = {"facecolors": colour, "alpha": alpha, "rasterized": len(table) > MANY}
                    axes.add_collection(PolyCollection(list(chosen), edgecolors="white", linewidths=0.2, **style))
        axes.autoscale_view()
        step = -(-len(names) // SIDE_BY_SIDE)
        axes.set_yticks(range(0, len(names), step), names[::step])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set(xlabel=f"{unit} since the first trial began", title=title)
        axes.legend(handles=_marks(table), loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure


def _time_unit(longest: float) -> tuple[str, float]:
    """What so many minutes are told in, and how many of it are a minute."""
    if longest > 180:
        return "hours", 1 / 60
    return ("minutes", 1.0) if longest > 3 else ("seconds", 60.0)


def _boxes(table: pd.DataFrame, factor: float) -> NDArray[np.float64]:
    """A box for each run (N, 4, 2): its time from left to right, its lane of its level from top to bottom."""
    lanes = table.groupby("level")["lane"].max() + 1
    tall = 0.8 / lanes.reindex(table["level"]).to_numpy(float)
    bottom = table["level"].to_numpy(float) - 0.4 + table["lane"].to_numpy(float) * tall
    left, right = (factor * table[end].to_numpy(float) for end in ("start", "end"))
    corners = [(left, bottom), (right, bottom), (right, bottom + tall), (left, bottom + tall)]
    return np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)


def _marks(table: pd.DataFrame) -> list[Patch]:
    """The legend of the timeline: states that there are, and stages where there are two."""
    marks = [Patch(color=colour, label=state) for state, colour in STATES.items() if (table["status"] == state).any()]
    if (table["stage"] == "search").any():
        named = {"search": "search", "confirm": "confirmation"}
        marks += [Patch(color=GREY, alpha=ALPHA[stage], label=name) for stage, name in named.items()]
    return marks
