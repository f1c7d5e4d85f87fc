"""Results in, tables out: what was measured for each compared value, and which of them can be told apart.

Everything here is a pure function of `Results`. Test figures come from confirmation runs alone: fresh seeds of each
value's winner, none of which took part in choosing it.
"""

from itertools import combinations

import numpy as np
import pandas as pd

from harness.analysis.results import Results
from harness.analysis.samples import (
    holm,
    interquartile_mean,
    mean_interval,
    noise_floor,
    paired_p,
    probability_of_improvement,
)
from harness.catalogue import show
from harness.study.study import Study

OF_HIDDEN_LAYERS = ("width", "taper", "activation", "dropout")  # nothing to a network that has none


def compare_table(results: Results) -> pd.DataFrame:
    """One row per compared value, in the study's order: counts, mean figures of its confirmation runs, its winner.

    Accuracies lie in [0, 1]; `test_accuracy_low` and `_high` bound the mean (95 %). `trials` counts search trials with
    an outcome, `failed` those that failed or diverged; `seconds` is a confirmation run's mean share of training time.
    `noise_floor` is the binomial standard error of one test accuracy, from the test set's size alone.
    """
    rows = [_compare_row(results, place) for place in range(len(results.study.levels))]
    return pd.DataFrame(rows)


def _compare_row(results: Results, place: int) -> dict[str, object]:
    study, runs = results.study, results.runs[results.runs["level"] == place]
    search = runs[(runs["stage"] == "search") & (runs["status"] != "waiting")]
    confirmed = finished(runs)
    tests = confirmed["test_accuracy"].to_numpy(float)
    low, high = mean_interval(tests)
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
        "test_accuracy": tests.mean() if len(tests) else np.nan,
        "test_accuracy_low": low,
        "test_accuracy_high": high,
        "train_accuracy": confirmed["train_accuracy"].astype(float).mean(),
        "epochs": confirmed["trained_epochs"].astype(float).mean(),
        "seconds": confirmed["seconds"].astype(float).mean(),
        "parameters": confirmed["parameters"].iloc[0] if len(confirmed) else pd.NA,
        "published_test_accuracy": published[place] if published else np.nan,
        "test_accuracy_median": np.median(tests) if len(tests) else np.nan,
        "test_accuracy_iqm": interquartile_mean(tests),
        "noise_floor": noise_floor(tests.mean(), test_images(results, place)) if len(tests) else np.nan,
        "train_loss": confirmed["train_loss"].astype(float).mean(),
        "test_loss": confirmed["test_loss"].astype(float).mean(),
        **_hyperparameters(study, winners),
    }


def _hyperparameters(study: Study, winners: pd.DataFrame) -> dict[str, str]:
    """What a level's winner chose; empty where there is no winner, or where it had no effect."""
    if winners.empty:
        return dict.fromkeys(study.tune, "")
    first = winners.iloc[0]
    return {key: show(first[key]) if matters(study, first, key) else "" for key in study.tune}


def matters(study: Study, run: pd.Series, key: str) -> bool:
    """Whether a tuned hyperparameter had any effect on a run: its `when` holds, and there are hidden layers for it."""
    hidden = len(run["widths"]) if isinstance(run["widths"], tuple) else run["depth"] - 1
    if key in OF_HIDDEN_LAYERS and study.model == "mlp" and not hidden:
        return False
    return all(run[other] == wanted for other, wanted in study.tune[key].when.items())


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The confirmation runs that came to their end, in order of their seeds."""
    return runs[(runs["stage"] == "confirm") & (runs["status"] == "finished")].sort_values(["level", "number"])


def test_images(results: Results, place: int) -> int:
    """How many images a level's runs were tested on; 0 while that is not known."""
    counts = [matrix for (level, _), matrix in results.confusions.items() if level == place]
    return int(np.sum(counts[0])) if counts else 0


def published_table(results: Results) -> pd.DataFrame:
    """A row for each published figure, and what was measured beside it, over the confirmation runs.

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
            rows.append(row)
    columns = ["level", "figure", "published", "mean", "low", "high", "n", "difference"]
    return pd.DataFrame(rows, columns=columns)


def paired_table(results: Results) -> pd.DataFrame:
    """A row for each pair of compared values: their difference in test accuracy over the seeds that both have.

    `difference` is the mean of `second` minus `first` with its 95 % interval; `p` is the exact two-sided Wilcoxon
    signed-rank p-value and `p_holm` the same after Holm's (1979) correction for the number of pairs. `improvement` is
    the probability that a run of `second` is better than a run of `first`.
    """
    wide = finished(results.runs).pivot_table(index="number", columns="level", values="test_accuracy", aggfunc="first")
    rows = []
    for first, second in combinations(wide.columns, 2):
        gaps = (wide[second] - wide[first]).dropna().to_numpy(float)
        low, high = mean_interval(gaps)
        rows.append(
            {"first": first, "second": second, "n": len(gaps), "difference": gaps.mean() if len(gaps) else np.nan}
            | {"low": low, "high": high, "p": paired_p(gaps)}
            | {"improvement": probability_of_improvement(*(wide[side].dropna().to_numpy() for side in (first, second)))}
        )
    table = pd.DataFrame(rows, columns=["first", "second", "n", "difference", "low", "high", "p", "improvement"])
    return table.assign(p_holm=holm(table["p"].to_numpy(float)))


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


def gap_table(results: Results) -> pd.DataFrame:
    """How much worse the test is than the training, per level: loss and accuracy gaps with 95 % intervals, over seeds.

    `loss_gap` is test minus training loss (nats), `accuracy_gap` training minus test accuracy, of the same weights.
    """
    rows, runs = [], finished(results.runs)
    for place in range(len(results.study.levels)):
        own = runs[runs["level"] == place]
        losses = (own["test_loss"] - own["train_loss"]).to_numpy(float)
        accuracies = (own["train_accuracy"] - own["test_accuracy"]).to_numpy(float)
        row: dict[str, object] = {"level": place, "n": len(own)}
        for name, gaps in (("loss_gap", losses), ("accuracy_gap", accuracies)):
            low, high = mean_interval(gaps)
            row |= {name: gaps.mean() if len(gaps) else np.nan, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def front(table: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The rows of a compare table that none beats in both `cost` (lower) and mean test accuracy, cheapest first."""
    known = table.dropna(subset=[cost, "test_accuracy"]).sort_values([cost, "test_accuracy"], ascending=[True, False])
    best = known["test_accuracy"].cummax()
    return known[known["test_accuracy"] > best.shift(fill_value=-np.inf)]
