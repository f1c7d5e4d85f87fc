"""What the search did: its best so far, every trial by its hyperparameters, their importance, and a timeline."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from harness.catalogue import Value, show
from harness.plots.base import GREY, STYLE, level_style, new_figure, panels

MANY = 500  # marks, above which an SVG holds them as one picture
STATES = {
    "finished": "#009E73",
    "pruned": "#E69F00",
    "diverged": "#CC79A7",
    "failed": "#000000",
}


def tuning_figure(table: pd.DataFrame, names: Sequence[str], title: str) -> Figure:
    """The best validation accuracy after k trials; `analysis.tuning_table`'s table."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.4, 3.8)
        for place, own in table.groupby("level"):
            colour = level_style(int(place))["color"]
            axes.step(own["k"], 100 * own["best"], where="post", color=colour, label=names[int(place)])
            axes.plot(own["k"], 100 * own["expected"], "--", color=colour, linewidth=1)
            axes.fill_between(
                own["k"], 100 * own["low"].astype(float), 100 * own["high"].astype(float), color=colour, alpha=0.12
            )
        worst = table.loc[table["k"] <= 2, "expected"].min() if len(table) else 0
        top = table["best"].max()
        axes.set_ylim(100 * max(worst, top - 0.25), 100 * top + 0.02 * 100 * (top - max(worst, top - 0.25)) + 1e-3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="search trials", ylabel="best validation accuracy (%)", title=title)
        handles, labels = axes.get_legend_handles_labels()
        handles += [Line2D([], [], color=GREY), Line2D([], [], color=GREY, linestyle="--", linewidth=1)]
        labels += ["so far, as searched", "expected of k trials\nin random order"]
        axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure


def slice_figure(
    runs: pd.DataFrame, scales: Mapping[str, str | tuple[Value, ...]], names: Sequence[str], title: str
) -> Figure:
    """Validation accuracy of the finished search trials against each tuned hyperparameter, a panel for each.

    `scales` says "log" or "linear" for a range, and names the choices where there are some.
    """
    with mpl.rc_context(STYLE):
        figure, grid = panels(len(scales), 3, (3.1, 2.5), sharey=True)
        for axes, (key, scale) in zip(grid, scales.items(), strict=True):
            for place, own in runs.groupby("level"):
                own = own.dropna(subset=key)
                if isinstance(scale, str):
                    x = own[key].to_numpy(float)
                else:  # levels beside each other, not on top
                    x = np.array([scale.index(value) for value in own[key]], float)
                    x += 0.6 * ((int(place) + 0.5) / len(names) - 0.5)
                dots: Any = {"linestyle": "none", "markersize": 4, "alpha": 0.8, "rasterized": len(runs) > MANY}
                axes.plot(x, 100 * own["val_accuracy"].astype(float), **dots, **level_style(int(place)))
            if isinstance(scale, str):
                axes.set_xscale(scale)
            else:
                axes.set_xticks(
                    range(len(scale)), [show(value) for value in scale], rotation=20 if len(scale) > 3 else 0
                )
                axes.set_xlim(-0.5, len(scale) - 0.5)
            axes.set_xlabel(key.replace("_", " "))
        values = 100 * runs["val_accuracy"].astype(float)
        low, high = values.quantile(0.1), values.max()
        margin = 0.05 * (high - low) or 0.5
        grid[0].set_ylim(low - margin, high + margin)
        for axes in grid[::3]:
            axes.set_ylabel("validation accuracy (%)")
        marks = [Line2D([], [], linestyle="none", label=name, **level_style(place)) for place, name in enumerate(names)]
        figure.legend(handles=marks, loc="outside lower center", ncols=5, fontsize=8)
        figure.suptitle(title)
    return figure


def importance_figure(table: pd.DataFrame, names: Sequence[str], title: str) -> Figure:
    """How important each hyperparameter was, per compared value; `analysis.importance_table`'s table."""
    with mpl.rc_context(STYLE):
        order = table.groupby("hyperparameter")["importance"].mean().sort_values().index
        levels = sorted(table["level"].unique())
        figure, axes = new_figure(6.4, 0.9 + len(order) * (0.12 * len(levels) + 0.2))
        thick = 0.8 / len(levels)
        for index, place in enumerate(levels):
            shares = table[table["level"] == place].set_index("hyperparameter")["importance"].reindex(order)
            y = np.arange(len(order)) + 0.4 - (index + 0.5) * thick
            axes.barh(y, shares, thick, color=level_style(int(place))["color"], label=names[int(place)])
        axes.set_yticks(range(len(order)), [key.replace("_", " ") for key in order])
        axes.set(xlabel="share of the importance", title=title)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure


def timeline_figure(table: pd.DataFrame, names: Sequence[str], title: str) -> Figure:
    """Which trial trained when, and what came of it; `analysis.timeline_table`'s table."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(7.2, 0.9 + 0.55 * len(names))
        longest = table["end"].max()
        unit, factor = ("hours", 1 / 60) if longest > 180 else ("minutes", 1.0) if longest > 3 else ("seconds", 60.0)
        lanes = table.groupby("level")["lane"].max() + 1
        for status, colour in STATES.items():
            for confirming in (False, True):
                part = table[(table["status"] == status) & ((table["stage"] == "confirm") == confirming)]
                if part.empty:
                    continue
                tall = 0.8 / lanes.reindex(part["level"]).to_numpy(float)
                bottom = part["level"].to_numpy(float) - 0.4 + part["lane"].to_numpy(float) * tall
                wide = factor * (part["end"] - part["start"]).to_numpy(float)
                left = factor * part["start"].to_numpy(float)
                corners = [(left, bottom), (left + wide, bottom), (left + wide, bottom + tall), (left, bottom + tall)]
                boxes = np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)
                style: Any = {
                    "facecolors": colour,
                    "alpha": 1.0 if confirming else 0.55,
                    "rasterized": len(table) > MANY,
                }
                axes.add_collection(PolyCollection(list(boxes), edgecolors="white", linewidths=0.2, **style))
        axes.autoscale_view()
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set(xlabel=f"{unit} since the first trial began", title=title)
        seen = [status for status in STATES if status in set(table["status"])]
        marks = [Patch(color=STATES[status], label=status) for status in seen]
        if (table["stage"] == "search").any():
            marks += [Patch(color=GREY, alpha=0.55, label="search"), Patch(color=GREY, label="confirmation")]
        axes.legend(handles=marks, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure
