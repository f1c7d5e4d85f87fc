"""Which runs count, and what of them is independent of each other.

The unit of all intervals and tests is the search, whose figure is the mean over its confirmations: another search would
have found another winner. Where a value was searched once, or nothing is searched, it is the seed.
"""

import numpy as np
import pandas as pd

from harness.analysis.results import Results
from harness.analysis.samples import Sample
from harness.study.study import Study


def searched(runs: pd.DataFrame) -> pd.DataFrame:
    """The search trials that have an outcome, in order."""
    return runs[(runs["stage"] == "search") & (runs["status"] != "waiting")].sort_values(["level", "search", "number"])


def figures_of(results: Results, row: int, name: str, after: int = 0) -> pd.Series:
    """A figure of a level's confirmations, of those that have it, by `search` and `number`: in the end, or `after` so
    many epochs.
    """
    column = "trained_epochs" if name == "epochs" else name  # `epochs` is the limit
    own = results.after(after).get(row) if after else results.confirmed.get(row)
    if own is None or column not in own:
        return pd.Series(index=pd.MultiIndex.from_arrays([[], []], names=["search", "number"]), dtype=float)
    return own[column].astype(float).dropna()


def by_unit(results: Results, row: int, name: str, after: int = 0) -> pd.Series:
    """A figure of a level's confirmations by what is independent: search by search its mean, or seed by seed."""
    key = row, name, after
    if key not in results.seen:
        runs, alone = figures_of(results, row, name, after), results.study.searches == 1  # then each run is a unit
        results.seen[key] = runs.droplevel("search") if alone else runs.groupby(level="search").mean()
    return results.seen[key]


def unit(study: Study) -> str:
    """The column of `runs` that numbers what is independent."""
    return "search" if study.searches > 1 else "number"


def overlap(study: Study, row: int) -> float:
    """Test over training images of a level whose seeds draw their test images from one pool, or take one of several
    given choices of them, else 0; see `samples`.
    """
    config = study.config(study.levels[row], {})
    known = study.about_data(config.dataset)
    if known and known.test_splits > 1:
        test = known.test_rows / known.rows
    elif config.split == "pooled":
        test = float(config.test_fraction)
    else:
        return 0.0
    return test / ((1 - test) * (1 - study.held_out(config)))


def test_images(results: Results, row: int) -> int:
    """How many images a level's runs were tested on; 0 while that is not known."""
    counts = [matrix for (level, _, _), matrix in results.confusions.items() if level == row]
    return int(np.sum(counts[0])) if counts else 0


def sample_of(results: Results, row: int, name: str, after: int = 0) -> Sample:
    """A figure of a level, one value for each unit."""
    return np.asarray(by_unit(results, row, name, after), float)


def mean_of(results: Results, row: int, name: str, after: int = 0) -> float:
    """The mean of a figure of a level, over its units."""
    sample = sample_of(results, row, name, after)
    return float(sample.mean()) if len(sample) else np.nan


def spread_of(results: Results, row: int, name: str, after: int = 0) -> list[Sample]:
    """A figure of a level's confirmations, search by search."""
    return [own.to_numpy(float) for _, own in figures_of(results, row, name, after).groupby(level="search")]
