"""What the search did, as tables: its best so far, what each hyperparameter was worth, when each trial ran."""

from collections.abc import Sequence
from heapq import heappop, heappush

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.results import Results
from harness.analysis.samples import CONFIDENCE, Sample, expected_best, explained_p, t_interval
from harness.analysis.tables import matters
from harness.analysis.units import searched
from harness.study.space import Choice, Range
from harness.study.study import Study


def tuning_table(results: Results) -> pd.DataFrame:
    """The best of the study's measure on validation images after k trials, per level and k = 1, 2, ...

    `best` is that of the first k trials, its mean over the level's searches; `low` and `high` are the 95 % interval of
    that mean, k by k, NaN below three searches. `expected` is the expected best of k of a search's trials drawn at
    random, its mean likewise. A pruned trial counts with what it had reached, one that failed or diverged as the worst.
    """
    study, tables = results.study, []
    for row, own in searched(results.runs).groupby("level"):
        gains = [study.measure.sign() * _values(trials, study) for _, trials in own.groupby("search")]
        tables.append(_curves(gains, study.measure.sign()).assign(level=row))
    columns = ["level", "k", "best", "expected", "low", "high"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns, dtype=float)


def _values(trials: pd.DataFrame, study: Study) -> Sample:
    """What each trial of a search had reached on validation images."""
    values = trials[f"val_{study.metric}"].where(trials["status"].isin(["finished", "pruned"]))
    worst = values.min() if study.measure.better == "higher" else values.max()
    return np.asarray(values.fillna(worst), float)


def _curves(gains: Sequence[Sample], sign: int) -> pd.DataFrame:
    """`gains` of each search are to be high; `sign` turns them back. As far as all searches have come."""
    length = min(map(len, gains))
    best = np.array([np.maximum.accumulate(own[:length]) for own in gains])  # (searches, k)
    ends = np.array([t_interval(column) for column in best.T]).reshape(-1, 2)
    low, high = (sign * end for end in ends.T[::sign])
    expected = np.mean([expected_best(own[:length]) for own in gains], axis=0)
    curves = {"best": sign * best.mean(axis=0), "expected": sign * expected, "low": low, "high": high}
    return pd.DataFrame({"k": np.arange(1, length + 1), **curves})


def relevance_table(results: Results) -> pd.DataFrame:
    """Whether a tuned hyperparameter made any difference: `level`, `hyperparameter`, `p` (Bonferroni-corrected) and
    `matters`, whether that is below 0.05.

    By ranks, over the finished trials of all searches: of choices each is a group, of a range each third (Kruskal and
    Wallis, 1952). Shares of importance add up to 1 even where nothing mattered; this says whether something did.
    """
    study, rows = results.study, []
    done = searched(results.runs)
    done = done[done["status"] == "finished"]
    for row, own in done.groupby("level"):
        space = study.space(study.levels[int(row)])
        for key, domain in space.items():
            trials = own[matters(study, own, key, domain)]
            p = explained_p(trials[f"val_{study.metric}"].to_numpy(float), _groups(domain, trials[key]))
            rows.append({"level": int(row), "hyperparameter": key, "p": min(1.0, p * len(space))})
    table = pd.DataFrame(rows, columns=["level", "hyperparameter", "p"])
    return table.assign(matters=table["p"] < 1 - CONFIDENCE)


def _groups(domain: Choice | Range, values: pd.Series) -> NDArray[np.int64]:
    if isinstance(domain, Choice):
        return np.array([domain.values.index(value) for value in values], dtype=np.int64)
    ranks = values.to_numpy(float).argsort(kind="stable").argsort(kind="stable")
    return np.asarray(ranks * 3 // max(1, len(values)))


def importance_table(results: Results) -> pd.DataFrame:
    """How much of the variation in the study's measure each tuned hyperparameter explains, by Optuna's evaluator.

    One that no trial of a level has (its networks have no hidden layer) is left out; shares add up to 1 without it.
    The most important first; of equal ones the first in the study file, since Optuna's order changes between processes.
    """
    rank, rows = results.study.tuned.index, []
    for row, known in results.importances.items():
        own, space = searched(results.by_level[row]), results.study.space(results.study.levels[row])
        shares = {
            name: share
            for name, share in known.items()
            if name in space and matters(results.study, own, name, space[name]).any()
        }
        whole = sum(shares.values()) or 1.0
        for name in sorted(shares, key=lambda name: (-shares[name], rank(name))):
            rows.append({"level": row, "hyperparameter": name, "importance": shares[name] / whole})
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
    busy, free, lanes = list[tuple[float, int]](), list[int](), list[int]()  # until when which is, as heaps
    for started, ended in zip(runs["started"], runs["ended"], strict=True):
        while busy and busy[0][0] <= started:
            heappush(free, heappop(busy)[1])
        lane = heappop(free) if free else len(busy)
        heappush(busy, (ended, lane))
        lanes.append(lane)
    return lanes
