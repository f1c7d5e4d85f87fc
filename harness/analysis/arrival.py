"""Time to target: when confirmation runs first had the validation figure that the study wants (`[claim] reach`).

A run that stopped before is not there and stays among those that are counted, later than any other: stopping early is
part of what is compared, so nothing is assumed of what it would have reached. AlgoPerf's scores (Dahl et al., 2023)
take an unreached target for an infinite time likewise.
"""

import numpy as np
import pandas as pd

from harness.analysis.results import Results
from harness.analysis.samples import Sample, median_interval
from harness.analysis.tables import keys_of
from harness.analysis.units import unit

RUN = ["level", "search", "number"]


def arrivals_table(results: Results) -> pd.DataFrame:
    """A row for each confirmation run that came to its end or diverged: `level`, `search`, `number`; `epoch`, the first
    one whose validation figure had reached the target, and `seconds`, the run's share of the training time until its
    end, all its epochs counted alike: both NaN where it was never there; `last`, how many epochs it took in all.
    """
    study, epochs, columns = results.study, results.epochs, [*RUN, "epoch", "seconds", "last"]
    runs = results.runs[(results.runs["stage"] == "confirm") & results.runs["status"].isin(["finished", "diverged"])]
    runs = runs[runs["trained_epochs"] > 0].sort_values(RUN)
    if study.reach is None or runs.empty:
        return pd.DataFrame(columns=columns, dtype=float)
    there = epochs[(epochs["stage"] == "confirm") & epochs[f"val_{study.metric}"].map(study.is_there)]
    table = runs.join(there.groupby(RUN)["epoch"].min(), on=RUN).rename(columns={"trained_epochs": "last"})
    return table.assign(seconds=table["seconds"] * table["epoch"] / table["last"])[columns].reset_index(drop=True)


def reach_table(results: Results, arrivals: pd.DataFrame) -> pd.DataFrame:
    """A row for each level, of the `arrivals_table`: of its `runs` how many were `there`, and their `share`; `epoch`
    and `seconds` are medians over `n` units (of a search the median of its runs), with the 95 % intervals `epoch_low`
    to `epoch_high` and `seconds_low` to `seconds_high` (`samples.median_interval`). A run that is not there counts as
    infinitely late, so a median is NaN unless more than half of the units are, and an end is infinite that lies beyond
    all that are. `stopped_first` and `stopped_last` are the epochs between which those ended that are not there.
    """
    return pd.DataFrame([_row(results, row, arrivals) for row in range(len(results.study.levels))])


def _row(results: Results, row: int, arrivals: pd.DataFrame) -> dict[str, object]:
    own = arrivals[arrivals["level"] == row]
    there, missing = own["epoch"].notna(), own.loc[own["epoch"].isna(), "last"]
    late = own[["epoch", "seconds"]].astype(float).fillna(np.inf)
    by_unit = late.groupby(own[unit(results.study)]).median()
    return {
        **keys_of(results.study, row),
        "runs": len(own),
        "there": int(there.sum()),
        "share": there.mean() if len(own) else np.nan,
        **{name: value for which in late for name, value in _middle(which, by_unit[which].to_numpy(float)).items()},
        "n": len(by_unit),
        "stopped_first": missing.min(),
        "stopped_last": missing.max(),
    }


def _middle(which: str, sample: Sample) -> dict[str, float]:
    """The median and its interval; NaN for what nobody has seen."""
    ordered = np.sort(sample)
    middle = np.median(sample) if len(sample) and np.isfinite(ordered[len(ordered) // 2]) else np.nan
    low, high = median_interval(sample)
    low, high = (low, high) if np.isfinite(low) else (np.nan, np.nan)
    return {which: float(middle), f"{which}_low": low, f"{which}_high": high}


def share_table(arrivals: pd.DataFrame) -> pd.DataFrame:
    """The share of runs that are there by epoch: `level`, `epoch` (from 0 to the last of all runs), `share`, and how
    many `stopped` after that epoch without having been there.
    """
    rows = []
    for row, own in arrivals.groupby("level"):
        missing = own[own["epoch"].isna()]
        for epoch in range(int(arrivals["last"].max()) + 1):
            share, stopped = (own["epoch"] <= epoch).mean(), int((missing["last"] == epoch).sum())
            rows.append((int(row), epoch, float(share), stopped))
    return pd.DataFrame(rows, columns=["level", "epoch", "share", "stopped"])
