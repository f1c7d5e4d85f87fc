"""What the search did, as tables: its best so far, what each hyperparameter was worth, when each trial ran."""

import numpy as np
import pandas as pd

from harness.analysis.results import Results
from harness.analysis.samples import expected_best, expected_best_interval

INDEPENDENT = ("random", "qmc")  # samplers whose trials do not depend on one another


def searched(results: Results) -> pd.DataFrame:
    """The search trials that have an outcome, in order."""
    runs = results.runs
    return runs[(runs["stage"] == "search") & (runs["status"] != "waiting")].sort_values(["level", "number"])


def tuning_table(results: Results) -> pd.DataFrame:
    """The best validation accuracy after k trials, per level and k = 1, 2, ...: a trial without one counts as 0.

    `best` is that of the first k trials; `expected` is the expected best of k of all trials drawn at random, and
    `low`, `high` its 95 % bootstrap band, NaN unless the sampler draws its trials independently.
    """
    tables, independent = [], results.study.search.sampler in INDEPENDENT
    for place, own in searched(results).groupby("level"):
        finished = own["status"] == "finished"
        values = own["val_accuracy"].where(finished, 0.0).astype(float).fillna(0.0).to_numpy()
        low, high = expected_best_interval(values) if independent else (np.nan, np.nan)
        curves = {"level": place, "k": np.arange(1, len(values) + 1), "best": np.maximum.accumulate(values)}
        tables.append(pd.DataFrame({**curves, "expected": expected_best(values), "low": low, "high": high}))
    columns = ["level", "k", "best", "expected", "low", "high"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns, dtype=float)


def importance_table(results: Results) -> pd.DataFrame:
    """How much of the variation in validation accuracy each tuned hyperparameter explains, by Optuna's evaluator."""
    rows = [
        {"level": place, "hyperparameter": name, "importance": share}
        for place, shares in results.importances.items()
        for name, share in shares.items()
    ]
    return pd.DataFrame(rows, columns=["level", "hyperparameter", "importance"])


def timeline_table(results: Results) -> pd.DataFrame:
    """When each run was trained: `level`, `stage`, `status`, `start` and `end` in minutes since the first began.

    `lane` numbers runs of a level that overlap: in a lane nothing does.
    """
    runs = results.runs[results.runs["status"] != "waiting"].sort_values(["level", "started", "number"])
    origin = runs["started"].min()
    lanes: dict[int, list[float]] = {}
    rows = []
    for run in runs.itertuples():
        ends = lanes.setdefault(int(run.level), [])
        lane = next((number for number, end in enumerate(ends) if end <= run.started), len(ends))
        ends[lane : lane + 1] = [run.ended]
        start, end = (run.started - origin) / 60, (run.ended - origin) / 60
        rows.append(
            {"level": run.level, "stage": run.stage, "status": run.status, "lane": lane, "start": start, "end": end}
        )
    return pd.DataFrame(rows, columns=["level", "stage", "status", "lane", "start", "end"])
