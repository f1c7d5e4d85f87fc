"""The benchmark's picture."""

from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from harness.plots.base import COLOURS, MARKERS, STYLE

ACROSS = 3  # panels beside each other: what a page is wide


def bench_figure(table: pd.DataFrame, throughput: pd.DataFrame) -> Figure:
    """Ratios to the bare loop, a panel per work, and model-epochs a second against the size of a stack."""
    with mpl.rc_context(STYLE):
        works = list(table["work"].unique())
        count, across = len(works) + 1, min(ACROSS, len(works) + 1)
        down = -(-count // across)
        figure = Figure(figsize=(3.2 * across + 2.2, 3.2 * down), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        every = figure.subplots(down, across, squeeze=False).flatten()
        grid, empty = every[:count], every[count:]
        for axes in empty:
            axes.remove()
        names = list(table["name"].unique())[::-1]
        for axes, work in zip(grid, works, strict=False):
            _ratios(axes, table[table["work"] == work].set_index("name").reindex(names), work)
            axes.set_xlim(0.6 * table["ratio_low"].min(), 2 * table["ratio_high"].max())  # the same for all works
            axes.tick_params(labelleft=axes in every[::across])
        _throughput(grid[-1], throughput)
    return figure


def _ratios(axes: Axes, part: pd.DataFrame, work: str) -> None:
    """A bar for each contender, from below; one that did not take part has none."""
    names = list(part.index)
    colours = [COLOURS[1] if name.startswith("harness") else COLOURS[0] for name in names]
    axes.barh(range(len(names)), part["ratio"], color=colours, height=0.6)
    low, high = part["ratio"] - part["ratio_low"], part["ratio_high"] - part["ratio"]
    axes.errorbar(part["ratio"], range(len(names)), xerr=[low, high], fmt="none", ecolor="0.3", capsize=2)
    for place, ratio in enumerate(part["ratio"]):
        if ratio == ratio:
            axes.annotate(f"{ratio:.2f}", (ratio, place), (4, 5), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", title=work, xlabel="time, bare loop = 1")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.2)  # also where the first or the last has no bar
    axes.axvline(1, color="0.3", linewidth=1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def _throughput(axes: Axes, throughput: pd.DataFrame) -> None:
    for index, (dataset, part) in enumerate(throughput.groupby("dataset", sort=False)):
        style: Any = {"marker": MARKERS[index], "color": COLOURS[index], "label": dataset}
        axes.plot(part["K"], part["model_epochs_per_second"], **style)
    axes.set(xscale="log", yscale="log", xlabel="trainings together, K", title="model-epochs per second")
    axes.set_xticks(throughput["K"].unique(), [str(size) for size in throughput["K"].unique()])
    axes.minorticks_off()
    axes.legend()
