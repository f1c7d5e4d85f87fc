"""Results in, tables out: what was measured for each compared value, and which of them can be told apart.

Everything here is a pure function of `Results`. Test figures come from confirmation runs alone: fresh seeds of each
value's winner, none of which took part in choosing it. A compared value is named by its row: its index in the study's
levels, which the column `level` of all tables holds too. What the tables lead with is the study's own measure, called
m below.

Intervals and tests count units, which are searches or seeds: see `units.py`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from harness import catalogue
from harness.analysis import new_images
from harness.analysis.results import Results, Run, finished
from harness.analysis.samples import (
    CONFIDENCE,
    Sample,
    critical,
    detectable,
    holm_family,
    interquartile_mean,
    noise_floor,
    probability_of_improvement,
    standard_error,
    t_interval,
    variance_components,
)
from harness.analysis.units import by_unit, mean_of, overlap, sample_of, searched, spread_of, test_images
from harness.catalogue import RATIO, SHARE, Measure, Unit, Value, show
from harness.figures import SIDE_BY_SIDE, settled
from harness.study.published import Published, Quoted
from harness.study.space import Choice, Range
from harness.study.study import Study

Counts = tuple[tuple[int, ...], ...]
"""Of test images: rows true classes, columns predicted ones."""


def compare_table(results: Results) -> pd.DataFrame:
    """One row per compared value, in the study's order: counts, mean figures of its confirmation runs, its winner.

    `test_m_low` and `_high` bound the mean (95 %) for these test images, `new_low` and `new_high` for others of their
    kind, where m is a share of images. `searches` counts those with a finished confirmation, `trials` search trials
    with an outcome, `failed` those that failed or diverged, `infeasible` proposals that were not trained for the
    study's constraint, where it has one; `seconds` is a confirmation run's mean share of training time. `noise_floor`
    is the standard error of one `test_m` from the test set's size alone, NaN where m is no share of images.
    """
    rows = [_compare_row(results, row) for row in range(len(results.study.levels))]
    return pd.DataFrame(rows).astype({"parameters": "Int64"})


def _compare_row(results: Results, row: int) -> dict[str, object]:
    study, metric = results.study, results.study.metric
    runs = results.by_level[row]
    trials, confirmed = searched(runs), finished(runs)
    sample = sample_of(results, row, f"test_{metric}")
    return {
        **keys_of(study, row),
        **_counts(results, row, trials),
        "searches": confirmed["search"].nunique(),
        "seeds": len(confirmed),
        f"search_val_{metric}": trials.loc[trials["winner"], f"val_{metric}"].mean(),
        f"val_{metric}": mean_of(results, row, f"val_{metric}"),
        **_with_ends(f"test_{metric}", possible(study.measure.unit, estimate(sample, overlap(study, row)))),
        f"train_{metric}": mean_of(results, row, f"train_{metric}"),
        **_costs(confirmed),
        f"published_test_{metric}": _published(study, row),
        **_middles(f"test_{metric}", sample),
        **_of_images(results, row, sample),
        **{name: mean_of(results, row, name) for name in ("train_loss", "test_loss")},
        **_chosen(study, row, runs[runs["winner"] & (runs["stage"] == "search")]),
    }


def keys_of(study: Study, row: int) -> dict[str, Value]:
    """What a compared value sets, as tables hold it."""
    return {key: as_cell(value) for key, value in study.values_of(study.levels[row]).items()}


def _with_ends(name: str, known: tuple[float, ...]) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), known, strict=True))


def _middles(name: str, sample: Sample) -> dict[str, float]:
    median = float(np.median(sample)) if len(sample) else np.nan
    return {f"{name}_median": median, f"{name}_iqm": interquartile_mean(sample)}


def _of_images(results: Results, row: int, sample: Sample) -> dict[str, float]:
    """What the test images leave uncertain."""
    measure, images = results.study.measure, test_images(results, row)
    low, high = possible(measure.unit, new_images.interval(results, row))
    floor = noise_floor(sample.mean(), images) if measure.binomial and len(sample) else np.nan
    return {"noise_floor": floor, "new_low": low, "new_high": high}


def _counts(results: Results, row: int, trials: pd.DataFrame) -> dict[str, int]:
    """What came of the search trials, and of proposals for them."""
    status = trials["status"]
    failed = status.isin(["failed", "diverged"])
    counts = {"trials": len(status), "pruned": int((status == "pruned").sum()), "failed": int(failed.sum())}
    bounded = results.study.constraint.parameters is not None
    return counts | ({"infeasible": len(results.infeasible.get(row, ()))} if bounded else {})


def _costs(confirmed: pd.DataFrame) -> dict[str, object]:
    return {
        "epochs": confirmed["trained_epochs"].mean(),
        "seconds": confirmed["seconds"].mean(),
        "parameters": int(confirmed["parameters"].iloc[0]) if len(confirmed) else pd.NA,
    }


def _published(study: Study, row: int) -> float:
    published = study.published.figures.get(f"test_{study.metric}") if study.published else None
    return published[row] if published else np.nan


def _chosen(study: Study, row: int, winners: pd.DataFrame) -> dict[str, str]:
    """What a level's winners chose, search by search: the values of each, the most frequent first, or the range of
    numbers; empty where there is no winner, where it had no effect, or where the level does not search it.
    """
    space = study.space(study.levels[row])
    return {
        key: in_one(winners.loc[matters(study, winners, key, space[key]), key].tolist()) if key in space else ""
        for key in study.tuned
    }


def in_one(values: Sequence[Value]) -> str:
    """What winners chose, in one cell."""
    shown = Counter(map(show, values))
    if len(shown) > 2 and all(isinstance(value, float) for value in values):
        return f"{show(min(values))} to {show(max(values))}"
    return ", ".join(f"{value} ({count})" if len(shown) > 1 else value for value, count in shown.most_common())


def matters(study: Study, runs: pd.DataFrame, key: str, domain: Choice | Range) -> pd.Series:
    """Whether a tuned hyperparameter of that domain had any effect on each run: its `when` holds and it has layers."""
    mask = pd.Series(True, index=runs.index)
    model = None if study.own else catalogue.part("model", study.model)
    if model and key in (*model.idle, *model.idle_alone):
        hidden = runs["widths"].map(lambda widths: len(widths) if isinstance(widths, tuple) else -1)
        mask &= hidden.where(hidden >= 0, runs["depth"] - 1) > (key in model.idle_alone)
    for other, wanted in domain.when.items():
        mask &= runs[other] == wanted
    return mask


def estimate(sample: Sample, pooled: float = 0.0) -> tuple[float, float, float]:
    """The mean and its 95 % interval; NaN where too little is known. `pooled` is the `overlap` of its images."""
    low, high = t_interval(sample, pooled)
    return float(sample.mean()) if len(sample) else np.nan, low, high


def possible(unit: Unit, known: tuple[float, ...]) -> tuple[float, ...]:
    """Figures, or the ends of an interval, that can be: none but R2 is below 0, and no share, nor R2, above 1."""
    low, high = (-np.inf if unit == RATIO else 0.0), (1.0 if unit in (SHARE, RATIO) else np.inf)
    return tuple(np.clip(known, low, high).tolist())


def with_digits(study: Study, table: pd.DataFrame) -> Measure:
    """The study's measure, in a unit with as many digits as its means in the compare table need, side by side."""
    m = study.metric
    means = pd.concat([table[f"{part}_{m}"] for part in ("test", "val", "train") if f"{part}_{m}" in table])
    return replace(study.measure, unit=settled(study.measure.unit, means.astype(float)))


def as_cell(level: Value) -> Value:
    """A value as tables hold it: a tuple, true and false as people read them."""
    return show(level) if isinstance(level, tuple | bool) else level


def best_row(study: Study, table: pd.DataFrame) -> int | None:
    """The row of a compare table with the best mean on the test images, of values that were not stopped; None where
    nothing was measured.
    """
    going = [row for row in table.index if not study.is_stopped(study.levels[row])]
    means = study.measure.sign() * table[f"test_{study.metric}"][going]
    return None if means.isna().all() else int(means.idxmax())


def published_table(results: Results) -> pd.DataFrame:
    """A row for each published figure, and what was measured beside it, over the confirmation runs.

    `after` is how many epochs it is of, NaN at the end; `published` may have a `deviation`, that of single runs, beside
    which `spread` is that of the runs here. `mean` with its 95 % interval (`low`, `high`) over `n` units, `difference`
    is measured minus published. `predicted_low` and `_high` bound what a repetition of the published runs would report,
    from what was seen here and, where their deviation is known, there: prediction intervals that all of the table's
    hold together with 95 % (Bonferroni). Figures after more epochs than a level takes are left out.
    """
    study = results.study
    known = [
        (quoted, row)
        for quoted in (study.published.quoted() if study.published else ())
        for row, one in enumerate(quoted.values)
        if one == one and (is_measured(results, row, quoted) or quoted.after <= epochs_of(study, row))
    ]
    share = (1 - CONFIDENCE) / max(1, sum(is_measured(results, row, quoted) for quoted, row in known))
    rows = [_published_row(results, row, quoted, share) for quoted, row in known]
    columns = ["level", "figure", "after", "published", "deviation", "mean", "low", "high", "spread"]
    table = pd.DataFrame(rows, columns=[*columns, "predicted_low", "predicted_high", "n"])
    return table.assign(difference=table["mean"] - table["published"])


def is_measured(results: Results, row: int, quoted: Quoted) -> bool:
    """Whether any confirmation of a level has the figure."""
    return len(sample_of(results, row, quoted.name, quoted.after)) > 0


def epochs_of(study: Study, row: int) -> int:
    """The most epochs that a confirmation of a level takes."""
    return int(study.config(study.levels[row], {}).epochs)


def left_after(published: Published, table: pd.DataFrame) -> list[int]:
    """The numbers of epochs whose published figures a table leaves out, since no training takes so many."""
    return sorted({quoted.after for quoted in published.quoted() if quoted.after} - {*table["after"]})


def _published_row(results: Results, row: int, quoted: Quoted, share: float) -> dict[str, object]:
    sample, pooled = sample_of(results, row, quoted.name, quoted.after), overlap(results.study, row)
    mean, low, high = estimate(sample, pooled)
    runs = np.concatenate([*spread_of(results, row, quoted.name, quoted.after), []])
    ends = possible(results.study.figure(quoted.name).unit, _predicted(results, row, quoted, share))
    return {
        "level": row,
        "figure": quoted.name,
        "after": quoted.after or np.nan,
        "published": quoted.values[row],
        "deviation": quoted.deviations[row],
        "mean": mean,
        "low": low,
        "high": high,
        "spread": runs.std(ddof=1) if len(runs) > 1 else np.nan,
        "predicted_low": ends[0],
        "predicted_high": ends[1],
        "n": len(sample),
    }


def _predicted(results: Results, row: int, quoted: Quoted, share: float) -> tuple[float, float]:
    """What the mean of `published.runs` runs like these lies between, but for a `share` of the time.

    mean +- t sqrt(s_mean^2 + s_run^2 / runs), where s_run^2 is the variance of one run, its search's luck included.
    Where runs are what is independent and the published ones have a deviation, s_run^2 pools both variances, and so
    does s_mean^2: Student's t with the degrees of freedom of both.
    """
    study = results.study
    sample, pooled = sample_of(results, row, quoted.name, quoted.after), overlap(study, row)
    groups = spread_of(results, row, quoted.name, quoted.after)
    mean = mean_of(results, row, quoted.name, quoted.after)
    runs = study.published.runs if study.published else 1
    run, freedom = float(np.nansum(variance_components(groups))), len(sample) - 1
    error = standard_error(sample, pooled)
    if study.searches == 1 and len(sample) and not np.isnan(quoted.deviations[row]):
        run = (freedom * run + (runs - 1) * quoted.deviations[row] ** 2) / (freedom + runs - 1)
        freedom, error = freedom + runs - 1, np.sqrt(run * (1 / len(sample) + pooled))
    half = critical(freedom, share) * np.sqrt(error**2 + run / runs)
    return mean - half, mean + half


def spread_table(results: Results) -> pd.DataFrame:
    """Where the spread of m on the test images comes from, per level: standard deviations, in m's own unit.

    `search` is that of another search's winner, `seed` that of one more training of the same, `images` the standard
    error that other test images would add to the mean; NaN where it cannot be told. `search_share`, `seed_share` and
    `images_share` are their parts of the variance of the mean that is reported, for new images.
    """
    rows = []
    for row in range(len(results.study.levels)):
        groups = spread_of(results, row, f"test_{results.study.metric}")
        between, within = variance_components(groups)
        runs, images = sum(map(len, groups)), new_images.error(results, row)
        parts = {"search": between / max(1, len(groups)), "seed": within / max(1, runs), "images": images**2}
        total = np.nansum(list(parts.values()))
        shares = {f"{name}_share": part / total if total else np.nan for name, part in parts.items()}
        rows.append({"level": row, "search": between**0.5, "seed": within**0.5, "images": images, **shares})
    return pd.DataFrame(rows)


MOST_PAIRS = SIDE_BY_SIDE * (SIDE_BY_SIDE - 1) // 2


def tested_pairs(results: Results) -> list[tuple[int, int]]:
    """All pairs of values that were measured, and that nobody has stopped. Of two keys those that differ in one of
    them: within the columns of the grid, then within its rows.
    """
    study = results.study
    rows = [row for row, level in enumerate(study.levels) if not study.is_stopped(level)]
    known = [row for row in rows if len(by_unit(results, row, f"test_{study.metric}"))]
    if not study.is_grid:
        return list(combinations(known, 2))
    differing = {pair: study.differing(*pair) for pair in combinations(known, 2)}
    return [pair for key in study.axes for pair, keys in differing.items() if keys == (key,)]


def paired_table(results: Results, is_whole: bool = False) -> pd.DataFrame:
    """A row for each of the `tested_pairs`: their difference in m on the test images, over the units of both. Of more
    than `MOST_PAIRS` those with the best value, unless the table is to be whole.

    `difference` is the mean of `second` minus `first`; `p` is that of the paired t-test and `p_holm` the same after
    Holm's (1979) correction for the number of pairs, `low` and `high` the simultaneous 95 % interval that belongs to
    it. Both count all pairs, also those that are not shown: each could have been one with the best. `new_low` and
    `new_high` bound it for other test images of their kind, by itself. `detectable` is the smallest true difference
    that this comparison would have found with 80 % power. `improvement` is the probability that a run
    of `second` is better than a run of `first`.
    """
    name = f"test_{results.study.metric}"
    pairs = shown = tested_pairs(results)
    if len(pairs) > MOST_PAIRS and not is_whole:
        means = pd.DataFrame({name: [mean_of(results, row, name) for row in range(len(results.study.levels))]})
        best = best_row(results.study, means)
        shown = [pair for pair in pairs if best in pair]
    rows = []
    for first, second in shown:
        gaps = (by_unit(results, second, name) - by_unit(results, first, name)).dropna().to_numpy(float)
        runs = [np.concatenate(spread_of(results, row, name)) for row in (first, second)]
        cells = paired(gaps, runs, results.study.measure, overlap(results.study, first))
        ends = new_images.interval_of_difference(results, first, second)
        rows.append({"first": first, "second": second, **cells, "new_low": ends[0], "new_high": ends[1]})
    columns = ["first", "second", *PAIRED, "new_low", "new_high"]
    return as_family(pd.DataFrame(rows, columns=columns), len(pairs) if len(shown) < len(pairs) else 0)


PAIRED = ("n", "difference", "error", "improvement")


def paired(gaps: Sample, runs: Sequence[Sample], measure: Measure, pooled: float = 0.0) -> dict[str, float]:
    """Second minus first over the units that both have, and how often a run of the second is the better one."""
    first, second = runs if measure.better == "higher" else runs[::-1]
    return {
        "n": len(gaps),
        "difference": float(gaps.mean()) if len(gaps) else np.nan,
        "error": standard_error(gaps, pooled),
        "improvement": probability_of_improvement(first, second),
    }


def as_family(table: pd.DataFrame, of: int = 0) -> pd.DataFrame:
    """The table of differences with what is said of all rows together: intervals, p-values, what could be found.

    `of` is the number of all where the table has but some; see `holm_family`.
    """
    mean, error, n = (table[name].to_numpy(float) for name in ("difference", "error", "n"))
    family, comparisons = holm_family(mean, error, n, of), max(int((~np.isnan(error)).sum()), of)
    found = [detectable(one, int(size), comparisons) for one, size in zip(error, n, strict=True)]
    known = table.drop(columns="error").assign(low=family.low, high=family.high, p=family.p, p_holm=family.p_holm)
    return known.assign(detectable=found)


def class_table(results: Results, *rows: int) -> pd.DataFrame:
    """Confusion counts summed over a value's seeds: `level`, `true`, `predicted`, `count`, `share` of the class. Of all
    levels, or of those in `rows`.
    """
    parts = [_class_rows(results.confusions, row) for row in rows or range(len(results.study.levels))]
    columns = ["level", "true", "predicted", "count", "share"]
    return pd.DataFrame([cells for part in parts for cells in part], columns=columns)


def _class_rows(confusions: Mapping[Run, Counts], row: int) -> list[dict[str, float]]:
    matrices = [matrix for (level, _, _), matrix in confusions.items() if level == row]
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
    long = confirmed.melt(["level", "search", "number", "epoch"], ["train_loss", "val_loss"], "kind", "loss")
    long["kind"] = long["kind"].str.removesuffix("_loss")
    long = long.dropna(subset="loss")  # nothing held out
    table = long.groupby(["level", "kind", "epoch"])["loss"].agg(["mean", "min", "max", "size"]).reset_index()
    runs = table.groupby("level")["size"].transform("max")
    table = table[table["size"] >= runs / 2].rename(columns={"min": "low", "max": "high"})
    return table.drop(columns="size").reset_index(drop=True)


def gap_table(results: Results) -> pd.DataFrame:
    """How much worse the test is than the training, per level: in loss and in m, with 95 % intervals over `n` units.

    `loss_gap` is test minus training loss, `m_gap` what m is better in training, both of the same weights.
    """
    measures = {name: catalogue.measure(name) for name in ("loss", results.study.metric)}
    rows = []
    for row in range(len(results.study.levels)):
        cells: dict[str, object] = {"level": row, "n": len(sample_of(results, row, "test_loss"))}
        for name, measure in measures.items():
            gaps = by_unit(results, row, f"train_{name}") - by_unit(results, row, f"test_{name}")
            sample = measure.sign() * gaps.dropna().to_numpy(float)
            cells |= _with_ends(f"{name}_gap", estimate(sample, overlap(results.study, row)))
        rows.append(cells)
    return pd.DataFrame(rows)


def measures_table(results: Results) -> pd.DataFrame:
    """Every measure that was taken on test images, for each value: `level`, `measure`, `n`, `mean`, `low`, `high`."""
    study = results.study
    measured = [name for name in catalogue.task(study.task).measures if f"test_{name}" in results.runs]
    rows = []
    for row in range(len(study.levels)):
        for name in measured:
            sample = sample_of(results, row, f"test_{name}")
            mean, low, high = possible(study.figure(f"test_{name}").unit, estimate(sample, overlap(study, row)))
            rows.append({"level": row, "measure": name, "n": len(sample), "mean": mean, "low": low, "high": high})
    table = pd.DataFrame(rows, columns=["level", "measure", "n", "mean", "low", "high"])
    return table[table["n"] > 0].reset_index(drop=True)


def front(study: Study, table: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The rows of a compare table that none beats in both `cost` (lower) and the mean test figure, cheapest first."""
    name, sign = f"test_{study.metric}", study.measure.sign()
    known = table.dropna(subset=[cost, name]).sort_values([cost, name], ascending=[True, sign < 0])
    means = sign * known[name]
    return known[means > means.cummax().shift(fill_value=-np.inf)]
