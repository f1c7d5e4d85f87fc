"""Figures epoch by epoch, where the test rows were measured after each (`[budget] test_each_epoch`)."""

import numpy as np
import pandas as pd

from harness.analysis.results import Results, finished
from harness.analysis.tables import estimate, keys_of, possible
from harness.analysis.units import overlap, unit

COLUMNS = ("epoch", "images", "measure", "mean", "low", "high", "n", "runs")


def course_table(results: Results) -> pd.DataFrame:
    """A row for each level, `epoch`, `images` ("train" or "test") and `measure` (the study's, and the loss): `mean`
    over `n` units with its 95 % interval `low` to `high`, of the confirmation `runs` that took that epoch: one that
    stopped before is in no later row. Empty where no run measured test rows after each epoch.

    Training figures are those of the epoch's batches, while the weights move; there is none of most measures.
    """
    study, epochs = results.study, results.epochs
    names = [f"{images}_{name}" for images in ("train", "test") for name in dict.fromkeys((study.metric, "loss"))]
    if f"test_{study.metric}" not in epochs:
        return pd.DataFrame()
    own = epochs[(epochs["stage"] == "confirm") & epochs[f"test_{study.metric}"].notna()]
    own = own.merge(finished(results.runs)[["level", "search", "number"]])  # what diverged has no figures
    rows = []
    for (level, epoch), runs in own.groupby(["level", "epoch"]):
        for name in (name for name in names if name in runs):
            by_unit = runs.groupby(unit(study))[name].mean().to_numpy(float)
            images, _, measure = name.partition("_")
            pooled = overlap(study, int(level)) if images == "test" else 0.0
            ends = possible(study.figure(name).unit, estimate(by_unit, pooled))
            cells = (int(epoch), images, measure, *ends, len(by_unit), len(runs))
            rows.append({**keys_of(study, int(level)), "level": int(level), **dict(zip(COLUMNS, cells, strict=True))})
    return pd.DataFrame(rows)


def shown_epochs(last: int) -> list[int]:
    """The epochs that a small table has: those that papers quote, and the last one."""
    return [*(epoch for epoch in (1, 2, 5, 10, 20, 50, 100) if epoch < last), last]


def stopped_early(course: pd.DataFrame) -> bool:
    """Whether any level has fewer runs in its last epoch than in its first, or another last epoch than others."""
    last = course.groupby("level")["epoch"].max()
    fewer = course.groupby("level")["runs"].agg(np.ptp) > 0
    return bool(fewer.any() or last.nunique() > 1)
