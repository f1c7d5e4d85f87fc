"""What a regression's models make of test rows: predicted against true, and residuals against predicted."""

from collections.abc import Collection, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.plots.base import GREY, STYLE, level_style, new_figure, panels

Numbers = tuple[tuple[float, ...], tuple[float, ...]]
"""What was true, and what was predicted."""

MANY = 200  # dots, above which an SVG holds them as one picture


def predicted_figure(known: Mapping[int, Numbers], names: Sequence[str], target: str, title: str) -> Figure:
    """Predicted against true, a panel for each level of `known`, with the diagonal; all panels have one scale.

    `names` are those of all levels; `target` is what was learned, with its unit.
    """
    low, high = _ends(known.values())
    with mpl.rc_context(STYLE):
        figure, grid = panels(len(known), 3, (3.0, 3.3), sharex=True, sharey=True)
        for axes, (row, (truth, guess)) in zip(grid, known.items(), strict=True):
            axes.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle=":")
            _dots(axes, truth, guess, level_style(row)["color"])
            axes.set_title(names[row], fontsize=10)
            axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
        _labels(grid, f"true {target}", f"predicted {target}")
        figure.suptitle(title, fontsize=11)
    return figure


def residuals_figure(known: Mapping[int, Numbers], names: Sequence[str], target: str, title: str) -> Figure:
    """Predicted minus true against predicted, panel by panel as in `predicted_figure`."""
    with mpl.rc_context(STYLE):
        figure, grid = panels(len(known), 3, (3.0, 2.5), sharex=True, sharey=True)
        for axes, (row, (truth, guess)) in zip(grid, known.items(), strict=True):
            axes.axhline(0, color=GREY, linewidth=1, linestyle=":")
            _dots(axes, guess, np.subtract(guess, truth).tolist(), level_style(row)["color"])
            axes.set_title(names[row], fontsize=10)
        _labels(grid, f"predicted {target}", "predicted − true")
        figure.suptitle(title, fontsize=11)
    return figure


def run_figure(numbers: Numbers, target: str, title: str) -> Figure:
    """Predicted against true of a single run."""
    low, high = _ends([numbers])
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(4.8, 4.4, dpi=100)
        axes.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle=":")
        _dots(axes, *numbers, level_style(0)["color"])
        axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1, title=title)
        _labels([axes], f"true {target}", f"predicted {target}")
    return figure


def _ends(pairs: Collection[Numbers]) -> tuple[float, float]:
    """What all that is true lies between, and nearly all that is predicted: a wild one hides nothing."""
    truths = np.concatenate([truth for truth, _ in pairs])
    guesses = np.concatenate([guess for _, guess in pairs])
    inner = np.quantile(guesses[np.isfinite(guesses)], [0.01, 0.99]) if np.isfinite(guesses).any() else truths
    low, high = min(truths.min(), np.min(inner)), max(truths.max(), np.max(inner))
    room = 0.04 * float(high - low) or 1.0
    return float(low) - room, float(high) + room


def _dots(axes: Axes, x: Sequence[float], y: Sequence[float], colour: str) -> None:
    size = 4 if len(x) <= MANY else 2.5
    axes.plot(x, y, "o", color=colour, alpha=0.5, markersize=size, mew=0, rasterized=len(x) > MANY)


def _labels(grid: Sequence[Axes], x: str, y: str) -> None:
    """On the outer axes alone: below the last of each column, and on the left."""
    columns = min(3, len(grid))
    for axes in grid:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    for axes in grid[-columns:]:
        axes.set_xlabel(x)
        axes.tick_params(labelbottom=True)
    for axes in grid[::columns]:
        axes.set_ylabel(y)
