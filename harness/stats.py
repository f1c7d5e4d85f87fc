"""Results in, tables out: what was measured for each compared value, and which of them can be told apart.

Everything here is a pure function of `Results`. Test figures come from confirmation runs alone: fresh seeds of each
value's winner, none of which took part in choosing it.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from harness.search.results import Results
from harness.study import Study, show

CONFIDENCE = 0.95


def compare_table(results: Results) -> pd.DataFrame:
    """One row per compared value, in the study's order: counts, mean figures of its confirmation runs, its winner.

    Accuracies lie in [0, 1]; `test_accuracy_low` and `_high` bound the mean (95 %). `trials` counts search trials with
    an outcome, `failed` those that failed or diverged; `seconds` is a confirmation run's mean share of training time.
    """
    rows = [_compare_row(results, place) for place in range(len(results.study.levels))]
    return pd.DataFrame(rows)


def _compare_row(results: Results, place: int) -> dict[str, object]:
    study, runs = results.study, results.runs[results.runs["level"] == place]
    search = runs[(runs["stage"] == "search") & (runs["status"] != "waiting")]
    confirmed = finished(runs)
    low, high = mean_interval(confirmed["test_accuracy"].to_numpy(float))
    winners = runs[runs["winner"].astype(bool)]
    published = study.published.figures.get("test_accuracy") if study.published else None
    return {
        study.axis: show(study.levels[place]) if isinstance(study.levels[place], tuple) else study.levels[place],
        "trials": len(search),
        "pruned": int((search["status"] == "pruned").sum()),
        "failed": int(search["status"].isin(["failed", "diverged"]).sum()),
        "seeds": len(confirmed),
        "search_val_accuracy": search.loc[search["winner"].astype(bool), "val_accuracy"].astype(float).mean(),
        "val_accuracy": confirmed["val_accuracy"].astype(float).mean(),
        "test_accuracy": confirmed["test_accuracy"].astype(float).mean(),
        "test_accuracy_low": low,
        "test_accuracy_high": high,
        "train_accuracy": confirmed["train_accuracy"].astype(float).mean(),
        "epochs": confirmed["trained_epochs"].astype(float).mean(),
        "seconds": confirmed["seconds"].astype(float).mean(),
        "parameters": confirmed["parameters"].iloc[0] if len(confirmed) else pd.NA,
        "published_test_accuracy": published[place] if published else np.nan,
        **_hyperparameters(study, winners),
    }


def _hyperparameters(study: Study, winners: pd.DataFrame) -> dict[str, str]:
    """What a level's winner chose; empty where there is no winner, or where a `when` says that it does not matter."""
    if winners.empty:
        return dict.fromkeys(study.tune, "")
    first = winners.iloc[0]
    matters = {key: all(first[k] == v for k, v in domain.when.items()) for key, domain in study.tune.items()}
    return {key: show(first[key]) if matters[key] else "" for key in study.tune}


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The confirmation runs that came to their end, in order of their seeds."""
    return runs[(runs["stage"] == "confirm") & (runs["status"] == "finished")].sort_values(["level", "number"])


def mean_interval(sample: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % BCa bootstrap interval of the mean (Efron, 1987); NaN for fewer than two values."""
    if len(sample) < 2:
        return np.nan, np.nan
    if np.ptp(sample) == 0.0:
        return float(sample[0]), float(sample[0])
    found = stats.bootstrap(
        (sample,), np.mean, confidence_level=CONFIDENCE, method="BCa", n_resamples=9999, rng=np.random.default_rng(0)
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def published_table(results: Results) -> pd.DataFrame:
    """A row for each published figure: what was measured beside it, over the confirmation runs, and a verdict.

    `mean` with its 95 % interval (`low`, `high`) over `n` seeds, `difference` is measured minus published.
    """
    rows = []
    study, runs = results.study, finished(results.runs)
    for name, figures in study.published.figures.items() if study.published else ():
        for place, figure in enumerate(figures):
            column = "trained_epochs" if name == "epochs" else name
            measured = runs.loc[runs["level"] == place, column].to_numpy(float)
            low, high = mean_interval(measured)
            mean = measured.mean() if len(measured) else np.nan
            row = {"level": place, "figure": name, "published": figure, "mean": mean, "low": low, "high": high}
            row |= {"n": len(measured), "difference": mean - figure}
            rows.append({**row, "verdict": _verdict(name, figure, measured, low, high)})
    columns = ["level", "figure", "published", "mean", "low", "high", "n", "difference", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _verdict(name: str, published: float, measured: NDArray[np.float64], low: float, high: float) -> str:
    if not len(measured):
        return "not measured"
    by = difference_in_words(name, abs(measured.mean() - published))
    side = "higher" if measured.mean() > published else "lower"
    if len(measured) < 2:
        return f"{side} by {by}; one seed has no interval"
    return "inside the interval" if low <= published <= high else f"{side} by {by}"


def difference_in_words(name: str, difference: float) -> str:
    """A difference of two figures of that name, with its unit."""
    if name.endswith("accuracy"):
        return f"{100 * difference:.2f} points"
    if name.endswith("loss"):
        return f"{difference:.4f} nats"
    return f"{difference:.1f} {'s' if name == 'seconds' else 'epochs'}"


def paired_table(results: Results) -> pd.DataFrame:
    """A row for each pair of compared values: their difference in test accuracy over the seeds that both have.

    `difference` is the mean of `second` minus `first` with its 95 % interval; `p` is the exact two-sided Wilcoxon
    signed-rank p-value and `p_holm` the same after Holm's (1979) correction for the number of pairs.
    """
    wide = finished(results.runs).pivot_table(index="number", columns="level", values="test_accuracy", aggfunc="first")
    rows = []
    for first, second in combinations(wide.columns, 2):
        gaps = (wide[second] - wide[first]).dropna().to_numpy(float)
        low, high = mean_interval(gaps)
        rows.append(
            {"first": first, "second": second, "n": len(gaps), "difference": gaps.mean() if len(gaps) else np.nan}
            | {"low": low, "high": high, "p": _signed_rank(gaps)}
        )
    table = pd.DataFrame(rows, columns=["first", "second", "n", "difference", "low", "high", "p"])
    return table.assign(p_holm=holm(table["p"].to_numpy(float)))


def _signed_rank(gaps: NDArray[np.float64]) -> float:
    """Exact over all 2^n signs, ties and zeros included, which scipy does by permutation."""
    if len(gaps) < 2 or not gaps.any():
        return 1.0 if len(gaps) else np.nan
    exact = stats.PermutationMethod(n_resamples=2 ** min(len(gaps), 14), rng=np.random.default_rng(0))
    return float(stats.wilcoxon(gaps, zero_method="pratt", method=exact).pvalue)


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down correction (Holm, 1979): p-values that keep the family-wise error rate."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def answer(results: Results) -> str:
    """One sentence: which compared value did best, how surely, and from which others it can be told apart."""
    table, study = compare_table(results), results.study
    if table["test_accuracy"].isna().all():
        return "No answer yet: no confirmation run has finished."
    best = int(table["test_accuracy"].idxmax())
    row = table.iloc[best]
    text = (
        f"{study.level_name(study.levels[best])} had the highest mean test accuracy, {_percent(row['test_accuracy'])}"
    )
    if row["seeds"] < 2:
        return text + " in a single run: one run has no spread, so nothing can be said about the differences."
    text += f" (95 % interval {100 * row['test_accuracy_low']:.2f} to {_percent(row['test_accuracy_high'])}"
    text += f", n = {row['seeds']} seeds)."
    pairs = paired_table(results)
    pairs = pairs[(pairs["first"] == best) | (pairs["second"] == best)]
    other = [int(r["second"] if r["first"] == best else r["first"]) for _, r in pairs.iterrows()]
    clear = [o for o, p in zip(other, pairs["p_holm"], strict=True) if p < 1 - CONFIDENCE]
    unclear = [o for o in other if o not in clear]
    parts = []
    if clear:
        parts.append(f"it is told apart from {_names(results, clear)}")
    if unclear:
        parts.append(f"{'not' if clear else 'it cannot be told apart'} from {_names(results, unclear)}")
    return f"{text} Seed by seed {', '.join(parts)}." if parts else text


def _names(results: Results, places: Sequence[int]) -> str:
    names = [show(results.study.levels[place]) for place in sorted(places)]
    return f"{results.study.axis} " + (" and ".join([", ".join(names[:-1]), names[-1]]) if names[1:] else names[0])


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def caveats(results: Results) -> list[str]:
    """What to know before believing the table, in words: gaps in the budget, failures, trainings cut short."""
    study, notes = results.study, []
    for row in compare_table(results).itertuples():
        name = study.level_name(study.levels[row.Index])
        if study.tune and row.trials < study.budget.trials:
            notes.append(f"{name}: {row.trials} of {study.budget.trials} search trials done.")
        level = results.runs[results.runs["level"] == row.Index]
        for stage, what in (("search", "search trials"), ("confirm", "confirmation runs")):
            notes += [f"{name}: {note}" for note in _failures(level[level["stage"] == stage], what)]
        notes += [f"{name}: {note}" for note in _cut_short(finished(level))]
        if row.seeds < study.budget.seeds:
            notes.append(f"{name}: {row.seeds} of {study.budget.seeds} confirmation runs finished.")
    return notes


def _failures(runs: pd.DataFrame, what: str) -> list[str]:
    """How many failed or diverged, and why the first of them did: the last line of its traceback."""
    failed = runs[runs["status"].isin(["failed", "diverged"])]
    if failed.empty:
        return []
    why = str(failed["reason"].iloc[0]).splitlines()[-1]
    return [f"{len(failed)} of {len(runs)} {what} failed or diverged, the first with: {why}"]


def _cut_short(confirmed: pd.DataFrame) -> list[str]:
    """Whether most confirmation runs were still getting better when the epoch limit ended them."""
    best_at_limit = (confirmed["best_epoch"] == confirmed["epochs"]) & (confirmed["validation"] > 0)
    if best_at_limit.sum() <= len(confirmed) / 2:
        return []
    return [
        f"{best_at_limit.sum()} of {len(confirmed)} confirmation runs were at their best when the limit of "
        f"{confirmed['epochs'].iloc[0]} epochs ended them; more epochs may change the comparison."
    ]


def class_table(results: Results) -> pd.DataFrame:
    """Confusion counts summed over a value's seeds: `level`, `true`, `predicted`, `count`, `share` of the class."""
    rows = []
    for place in range(len(results.study.levels)):
        matrices = [matrix for (level, _), matrix in results.confusions.items() if level == place]
        if matrices:
            total = np.sum(matrices, axis=0)
            of_class = np.maximum(total.sum(1), 1)
            for (true, predicted), count in np.ndenumerate(total):
                row = {"level": place, "true": true, "predicted": predicted, "count": int(count)}
                rows.append({**row, "share": count / of_class[true]})
    return pd.DataFrame(rows, columns=["level", "true", "predicted", "count", "share"])


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
