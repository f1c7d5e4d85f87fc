"""What the search did, as tables: its best so far, what each hyperparameter was worth, when each trial ran."""

import numpy as np
import pandas as pd

from harness.analysis.results import Results
from harness.analysis.samples import Sample, expected_best, expected_best_interval
from harness.analysis.tables import searched
from harness.catalogue import Measure

INDEPENDENT = ("random", "qmc")  # samplers whose trials do not depend on one another


def tuning_table(results: Results) -> pd.DataFrame:
    """The best of the study's measure on validation images after k trials, per level and k = 1, 2, ...

    `best` is that of the first k trials; `expected` is the expected best of k of all trials drawn at random, and
    `low`, `high` its 95 % bootstrap band, NaN unless the sampler draws its trials independently. A trial that did not
    finish counts as 0, or where lower is better as the worst that did.
    """
    study, tables = results.study, []
    for row, own in searched(results.runs).groupby("level"):
        values = _values(own, study.metric, study.measure)
        curves = _curves(values, study.measure.sign(), study.search.sampler in INDEPENDENT)
        tables.append(pd.DataFrame({"level": row, "k": np.arange(1, len(values) + 1), **curves}))
    columns = ["level", "k", "best", "expected", "low", "high"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns, dtype=float)


def _values(trials: pd.DataFrame, metric: str, measure: Measure) -> Sample:
    values = trials[f"val_{metric}"].where(trials["status"] == "finished")
    return np.asarray(values.fillna(0.0 if measure.better == "higher" else values.max()), float)


def _curves(values: Sample, sign: int, independent: bool) -> dict[str, Sample | float]:
    """`sign` is -1 where lower is better: then all is computed upside down."""
    gains = sign * values
    ends = expected_best_interval(gains) if independent else (np.nan, np.nan)
    low, high = (sign * end for end in ends[::sign])
    best = sign * np.maximum.accumulate(gains)
    return {"best": best, "expected": sign * expected_best(gains), "low": low, "high": high}


def importance_table(results: Results) -> pd.DataFrame:
    """How much of the variation in the study's measure each tuned hyperparameter explains, by Optuna's evaluator.

    The most important first; of equal ones the first in the study file, since Optuna's order changes between processes.
    """
    rank = list(results.study.tune).index
    rows = [
        {"level": row, "hyperparameter": name, "importance": shares[name]}
        for row, shares in results.importances.items()
        for name in sorted(shares, key=lambda name: (-shares[name], rank(name)))
    ]
    return pd.DataFrame(rows, columns=["level", "hyperparameter", "importance"])


def timeline_table(results: Results) -> pd.DataFrame:
    """When each run was trained: `level`, `stage`, `status`, `start` and `end` in minutes since the first began.

    `lane` numbers runs of a level that overlap: in a lane nothing does.
    """
    runs = results.runs[results.runs["status"] != "waiting"].sort_values(["level", "started", "number"])
    since = runs["started"].min()
    table = runs[["level", "stage", "status"]].assign(
        lane=[lane for _, own in runs.groupby("level", sort=False) for lane in _lanes(own)],
        start=(runs["started"] - since) / 60,
        end=(runs["ended"] - since) / 60,
    )
    return table.reset_index(drop=True)


def _lanes(runs: pd.DataFrame) -> list[int]:
    """For each run, in order of their starts, the first lane that is free."""
    ends: list[float] = []
    lanes = []
    for started, ended in zip(runs["started"], runs["ended"], strict=True):
        lane = next((number for number, end in enumerate(ends) if end <= started), len(ends))
        ends[lane : lane + 1] = [ended]
        lanes.append(lane)
    return lanes
