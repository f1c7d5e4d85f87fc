"""Results in, tables out: what was measured for each compared value, and which of them can be told apart.

Everything here is a pure function of `Results`. Test figures come from confirmation runs alone: fresh seeds of each
value's winner, none of which took part in choosing it. A compared value is named by its row: its index in the study's
levels, which the column `level` of all tables holds too. What the tables lead with is the study's own measure, called
m below.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from harness import catalogue
from harness.analysis.results import Results
from harness.analysis.samples import (
    Sample,
    holm,
    interquartile_mean,
    mean_interval,
    noise_floor,
    paired_p,
    probability_of_improvement,
)
from harness.catalogue import Measure, Value, show
from harness.study.study import Study

Counts = tuple[tuple[int, ...], ...]
"""Of test images: rows true classes, columns predicted ones."""


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The confirmation runs that came to their end, in order of their seeds."""
    return runs[(runs["stage"] == "confirm") & (runs["status"] == "finished")].sort_values(["level", "number"])


def searched(runs: pd.DataFrame) -> pd.DataFrame:
    """The search trials that have an outcome, in order."""
    return runs[(runs["stage"] == "search") & (runs["status"] != "waiting")].sort_values(["level", "number"])


def on_test_images(results: Results, row: int, index: str = "number") -> pd.Series:
    """A level's confirmation runs: the study's measure on the test images, by seed number or another column."""
    runs = finished(results.runs)
    return runs[runs["level"] == row].set_index(index)[f"test_{results.study.metric}"]


def test_images(results: Results, row: int) -> int:
    """How many images a level's runs were tested on; 0 while that is not known."""
    counts = [matrix for (level, _), matrix in results.confusions.items() if level == row]
    return int(np.sum(counts[0])) if counts else 0


def compare_table(results: Results) -> pd.DataFrame:
    """One row per compared value, in the study's order: counts, mean figures of its confirmation runs, its winner.

    `test_m_low` and `_high` bound the mean (95 %). `trials` counts search trials with an outcome, `failed` those that
    failed or diverged; `seconds` is a confirmation run's mean share of training time. `noise_floor` is the standard
    error of one `test_m` from the test set's size alone, NaN where m is no share of images.
    """
    rows = [_compare_row(results, row) for row in range(len(results.study.levels))]
    return pd.DataFrame(rows).astype({"parameters": "Int64"})


def _compare_row(results: Results, row: int) -> dict[str, object]:
    study, metric = results.study, results.study.metric
    runs = results.runs[results.runs["level"] == row]
    trials, confirmed = searched(runs), finished(runs)
    sample = confirmed[f"test_{metric}"].to_numpy(float)
    return {
        study.axis: as_cell(study.levels[row]),
        **_counts(trials["status"]),
        "seeds": len(confirmed),
        f"search_val_{metric}": trials.loc[trials["winner"], f"val_{metric}"].mean(),
        f"val_{metric}": confirmed[f"val_{metric}"].mean(),
        **_with_ends(f"test_{metric}", sample),
        f"train_{metric}": confirmed[f"train_{metric}"].mean(),
        **_costs(confirmed),
        f"published_test_{metric}": _published(study, row),
        **_middles(f"test_{metric}", sample),
        "noise_floor": _noise_floor(study.measure, sample, test_images(results, row)),
        "train_loss": confirmed["train_loss"].mean(),
        "test_loss": confirmed["test_loss"].mean(),
        **_chosen(study, runs[runs["winner"]]),
    }


def _with_ends(name: str, sample: Sample) -> dict[str, float]:
    mean, low, high = estimate(sample)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _middles(name: str, sample: Sample) -> dict[str, float]:
    median = float(np.median(sample)) if len(sample) else np.nan
    return {f"{name}_median": median, f"{name}_iqm": interquartile_mean(sample)}


def _noise_floor(measure: Measure, sample: Sample, images: int) -> float:
    return noise_floor(sample.mean(), images) if measure.binomial and len(sample) else np.nan


def _counts(status: pd.Series) -> dict[str, int]:
    """What came of the search trials."""
    failed = status.isin(["failed", "diverged"])
    return {"trials": len(status), "pruned": int((status == "pruned").sum()), "failed": int(failed.sum())}


def _costs(confirmed: pd.DataFrame) -> dict[str, object]:
    return {
        "epochs": confirmed["trained_epochs"].mean(),
        "seconds": confirmed["seconds"].mean(),
        "parameters": int(confirmed["parameters"].iloc[0]) if len(confirmed) else pd.NA,
    }


def _published(study: Study, row: int) -> float:
    published = study.published.figures.get(f"test_{study.metric}") if study.published else None
    return published[row] if published else np.nan


def _chosen(study: Study, winners: pd.DataFrame) -> dict[str, str]:
    """What a level's winner chose; empty where there is no winner, or where it had no effect."""
    if winners.empty:
        return dict.fromkeys(study.tune, "")
    first = winners.iloc[0]
    return {key: show(first[key]) if matters(study, first, key) else "" for key in study.tune}


def matters(study: Study, run: pd.Series, key: str) -> bool:
    """Whether a tuned hyperparameter had any effect on a run: its `when` holds, and there are hidden layers for it."""
    hidden = len(run["widths"]) if isinstance(run["widths"], tuple) else run["depth"] - 1
    if not hidden and key in catalogue.part("model", study.model).idle:
        return False
    return all(run[other] == wanted for other, wanted in study.tune[key].when.items())


def estimate(sample: Sample) -> tuple[float, float, float]:
    """The mean and its 95 % interval; NaN where too little is known."""
    low, high = mean_interval(sample)
    return float(sample.mean()) if len(sample) else np.nan, low, high


def as_cell(level: Value) -> Value:
    """A compared value as tables hold it: a tuple as people read it."""
    return show(level) if isinstance(level, tuple) else level


def best_row(study: Study, table: pd.DataFrame) -> int | None:
    """The row of a compare table with the best mean on the test images; None where nothing was measured."""
    means = study.measure.sign() * table[f"test_{study.metric}"]
    return None if means.isna().all() else int(means.idxmax())


def published_table(results: Results) -> pd.DataFrame:
    """A row for each published figure, and what was measured beside it, over the confirmation runs.

    `mean` with its 95 % interval (`low`, `high`) over `n` seeds, `difference` is measured minus published.
    """
    study, rows = results.study, []
    for name, figures in study.published.figures.items() if study.published else ():
        for row, figure in enumerate(figures):
            sample = _measured(results, row, name)
            mean, low, high = estimate(sample)
            cells = {"level": row, "figure": name, "published": figure, "mean": mean, "low": low, "high": high}
            rows.append({**cells, "n": len(sample), "difference": mean - figure})
    columns = ["level", "figure", "published", "mean", "low", "high", "n", "difference"]
    return pd.DataFrame(rows, columns=columns)


def _measured(results: Results, row: int, name: str) -> Sample:
    """A figure of a level's confirmation runs, of those that have it."""
    runs = finished(results.runs)
    column = "trained_epochs" if name == "epochs" else name  # `epochs` is the limit
    values = runs.loc[runs["level"] == row, column].dropna() if column in runs else np.empty(0)
    return np.asarray(values, float)


def paired_table(results: Results) -> pd.DataFrame:
    """A row for each pair of compared values: their difference in m on the test images, over the seeds of both.

    `difference` is the mean of `second` minus `first` with its 95 % interval; `p` is the exact two-sided Wilcoxon
    signed-rank p-value and `p_holm` the same after Holm's (1979) correction for the number of pairs. `improvement` is
    the probability that a run of `second` is better than a run of `first`.
    """
    samples = {row: on_test_images(results, row) for row in range(len(results.study.levels))}
    known = [row for row, sample in samples.items() if len(sample)]
    rows = [
        {"first": first, "second": second, **paired(samples[first], samples[second], results.study.measure)}
        for first, second in combinations(known, 2)
    ]
    columns = ["first", "second", "n", "difference", "low", "high", "p", "improvement"]
    return with_holm(pd.DataFrame(rows, columns=columns))


def paired(first: pd.Series, second: pd.Series, measure: Measure) -> dict[str, float]:
    """Second minus first over the seeds that both have, and how often a run of the second is the better one."""
    gaps = (second - first).dropna().to_numpy(float)
    mean, low, high = estimate(gaps)
    sides = [first, second] if measure.better == "higher" else [second, first]
    improvement = probability_of_improvement(*(side.dropna().to_numpy(float) for side in sides))
    cells = {"n": len(gaps), "difference": mean, "low": low, "high": high}
    return {**cells, "p": paired_p(gaps), "improvement": improvement}


def with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `p_holm`: its p-values after Holm's correction for all rows."""
    return table.assign(p_holm=holm(table["p"].to_numpy(float)))


def class_table(results: Results) -> pd.DataFrame:
    """Confusion counts summed over a value's seeds: `level`, `true`, `predicted`, `count`, `share` of the class."""
    parts = [_class_rows(results.confusions, row) for row in range(len(results.study.levels))]
    columns = ["level", "true", "predicted", "count", "share"]
    return pd.DataFrame([cells for part in parts for cells in part], columns=columns)


def _class_rows(confusions: Mapping[tuple[int, int], Counts], row: int) -> list[dict[str, float]]:
    matrices = [matrix for (level, _), matrix in confusions.items() if level == row]
    if not matrices:
        return []
    total = np.sum(matrices, axis=0)
    of_class = np.maximum(total.sum(1), 1)
    return [
        {"level": row, "true": true, "predicted": predicted, "count": int(count), "share": count / of_class[true]}
        for (true, predicted), count in np.ndenumerate(total)
    ]


def learning_table(results: Results) -> pd.DataFrame:
    """Mean, lowest and highest loss over a value's confirmation runs, by level, epoch and kind ("train" or "val").

    Runs that stopped early are missing from later epochs; an epoch that fewer than half of them reached is left out.
    """
    if results.epochs.empty:
        return pd.DataFrame(columns=["level", "kind", "epoch", "mean", "low", "high"], dtype=float)
    confirmed = results.epochs[results.epochs["stage"] == "confirm"]
    long = confirmed.melt(["level", "number", "epoch"], ["train_loss", "val_loss"], "kind", "loss")
    long["kind"] = long["kind"].str.removesuffix("_loss")
    long = long.dropna(subset="loss")  # nothing held out
    table = long.groupby(["level", "kind", "epoch"])["loss"].agg(["mean", "min", "max", "size"]).reset_index()
    runs = table.groupby("level")["size"].transform("max")
    table = table[table["size"] >= runs / 2].rename(columns={"min": "low", "max": "high"})
    return table.drop(columns="size").reset_index(drop=True)


def gap_table(results: Results) -> pd.DataFrame:
    """How much worse the test is than the training, per level: in loss and in m, with 95 % intervals, over seeds.

    `loss_gap` is test minus training loss (nats), `m_gap` what m is better in training, both of the same weights.
    """
    measures = {name: catalogue.measure(name) for name in ("loss", results.study.metric)}
    rows, runs = [], finished(results.runs)
    for row in range(len(results.study.levels)):
        own = runs[runs["level"] == row]
        cells: dict[str, object] = {"level": row, "n": len(own)}
        for name, measure in measures.items():
            gaps = measure.sign() * (own[f"train_{name}"] - own[f"test_{name}"]).to_numpy(float)
            gap, low, high = estimate(gaps)
            cells |= {f"{name}_gap": gap, f"{name}_gap_low": low, f"{name}_gap_high": high}
        rows.append(cells)
    return pd.DataFrame(rows)


def measures_table(results: Results) -> pd.DataFrame:
    """Every measure that was taken on test images, for each value: `level`, `measure`, `n`, `mean`, `low`, `high`."""
    measured = [name for name in catalogue.task().measures if f"test_{name}" in results.runs]
    rows = []
    for row in range(len(results.study.levels)):
        for name in measured:
            sample = _measured(results, row, f"test_{name}")
            mean, low, high = estimate(sample)
            rows.append({"level": row, "measure": name, "n": len(sample), "mean": mean, "low": low, "high": high})
    table = pd.DataFrame(rows, columns=["level", "measure", "n", "mean", "low", "high"])
    return table[table["n"] > 0].reset_index(drop=True)


def front(study: Study, table: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The rows of a compare table that none beats in both `cost` (lower) and the mean test figure, cheapest first."""
    name, sign = f"test_{study.metric}", study.measure.sign()
    known = table.dropna(subset=[cost, name]).sort_values([cost, name], ascending=[True, sign < 0])
    means = sign * known[name]
    return known[means > means.cummax().shift(fill_value=-np.inf)]
