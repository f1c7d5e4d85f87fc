"""Where to look closer: the part of an axis in which the best values lie, when others press them together."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BEYOND = 2.5  # times the usual size of a difference and its interval, from which on one is cut off
FAR = 3  # times the median distance from the best, beyond which a value is left out
WORTH = 0.4  # of the whole axis, from which on a closer look shows nothing more
ROOM = 0.06  # of the part that is shown, on either side


@dataclass(frozen=True)
class Closeup:
    """A part of an axis, from `low` to `high`, and the rows of the values whose means lie `outside` it."""

    low: float
    high: float
    outside: tuple[int, ...]


def closeup(means: pd.Series, drawn: pd.DataFrame, whole: tuple[float, float], sign: float) -> Closeup | None:
    """Where the best values lie; None where that is not much less than the `whole` axis, or nothing was measured.

    `means` are those of the values, row by row, higher better with `sign` 1 and lower with -1. `drawn` holds what is
    drawn of them: its `level` (a row) and a `value`, as an interval's end or a run's figure.
    """
    gains = sign * means.dropna().astype(float)
    if gains.empty:
        return None
    behind = gains.max() - gains
    kept = behind[behind <= FAR * float(behind[behind > 0].median())] if (behind > 0).any() else behind
    low, high = ends(drawn.loc[drawn["level"].isin(kept.index), "value"].to_numpy(float))
    if not 0 < high - low < WORTH * (whole[1] - whole[0]):
        return None
    room = ROOM * (high - low)
    low, high = low - room, high + room
    seen = sign * gains
    return Closeup(low, high, tuple(int(row) for row in seen.index[(seen < low) | (seen > high)]))


def edge(rows: NDArray[np.float64]) -> float:
    """How far from 0 an axis of differences reaches where few of them, `rows` (N, 3), lie far beyond the others; else
    infinity.
    """
    sizes = np.nan_to_num(np.abs(rows)).max(axis=1, initial=0.0)
    usual = BEYOND * float(np.median(sizes)) if len(sizes) else 0.0
    return usual if 0 < usual < float(sizes.max()) / 1.5 else np.inf


def ends(values: NDArray[np.float64]) -> tuple[float, float]:
    """The least and the greatest of values that are known; 0 and 0 where none is."""
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
