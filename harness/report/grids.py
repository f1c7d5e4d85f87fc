"""Tables as people read them: percentages, an interval in one cell, a dash where nothing was measured."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from harness import analysis
from harness.analysis.results import Results
from harness.catalogue import show
from harness.study.study import Study

NONE = "–"
PERCENT = ("search_val_accuracy", "val_accuracy", "test_accuracy", "train_accuracy", "published_test_accuracy")
HEADINGS = {
    "trials": "trials",
    "pruned": "pruned",
    "failed": "failed",
    "seeds": "seeds",
    "val_accuracy": "validation %",
    "test_accuracy": "test %",
    "interval": "95 % interval",
    "train_accuracy": "train %",
    "published_test_accuracy": "published test %",
    "epochs": "epochs",
    "seconds": "seconds",
    "parameters": "parameters",
}


def display_table(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The compare table."""
    rows = []
    for row, level in zip(table.to_dict("records"), study.levels, strict=True):
        cells = {study.axis: show(level)}
        for key, heading in HEADINGS.items():
            if key in ("published_test_accuracy", "val_accuracy") and table[key].isna().all():
                continue
            if key in ("trials", "pruned", "failed") and not study.tune:
                continue
            cells[heading] = _cell(key, row)
        rows.append(cells)
    return pd.DataFrame(rows)


def _cell(key: str, row: Mapping[str, Any]) -> str:
    if key == "interval":
        return interval(row["test_accuracy_low"], row["test_accuracy_high"], "accuracy")
    value = row[key]
    if pd.isna(value):
        return NONE
    if key in PERCENT:
        return f"{100 * value:.2f}"
    if key == "seconds":
        return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
    return f"{value:.1f}" if key == "epochs" else f"{int(value):,}"


def seeds_table(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Other middles than the mean, and what the test set's size alone makes uncertain."""
    columns = {
        "test_accuracy": "mean %",
        "test_accuracy_median": "median %",
        "test_accuracy_iqm": "interquartile mean %",
    }
    columns["noise_floor"] = "noise floor (points)"
    rows = [
        {study.axis: show(level)} | {new: figure("accuracy", row[old]) for old, new in columns.items()}
        for row, level in zip(table.to_dict("records"), study.levels, strict=True)
    ]
    return pd.DataFrame(rows)


def winners_table(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """What the search chose for each compared value; a dash where it had no effect."""
    rows = [
        {study.axis: show(level)} | {key: str(row[key]) or NONE for key in study.tune}
        for row, level in zip(table.to_dict("records"), study.levels, strict=True)
    ]
    return pd.DataFrame(rows, columns=[study.axis, *study.tune])


def published_grid(results: Results) -> pd.DataFrame:
    """Published and measured figures, with a verdict in words."""
    study, rows = results.study, []
    for _, row in analysis.published_table(results).iterrows():
        name = row["figure"]
        rows.append(
            {
                study.axis: show(study.levels[row["level"]]),
                "figure": name.replace("_", " ") + (" %" if name.endswith("accuracy") else ""),
                "published": figure(name, row["published"]),
                "measured mean": figure(name, row["mean"]),
                "95 % interval": interval(row["low"], row["high"], name),
                "n": str(row["n"]),
                "difference": figure(name, row["difference"], sign="+"),
                "measured is": analysis.verdict(row),
            }
        )
    return pd.DataFrame(rows)


def pairs_grid(pairs: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Differences between compared values, seed by seed."""
    rows = []
    for row in pairs.to_dict("records"):
        first, second = (show(study.levels[int(row[side])]) for side in ("first", "second"))
        rows.append(
            {
                study.axis: f"{second} − {first}",
                "n": str(row["n"]),
                "mean difference (points)": figure("accuracy", row["difference"], sign="+"),
                "95 % interval": interval(row["low"], row["high"], "accuracy", sign="+"),
                "p": _p(row["p"]),
                "p (Holm)": _p(row["p_holm"]),
                "better in": NONE if math.isnan(row["improvement"]) else f"{100 * row['improvement']:.0f} %",
            }
        )
    return pd.DataFrame(rows)


def gaps_grid(results: Results, table: pd.DataFrame) -> pd.DataFrame:
    """How far the test is behind the training, in loss and accuracy."""
    rows = []
    for row, gap in zip(table.to_dict("records"), analysis.gap_table(results).to_dict("records"), strict=True):
        rows.append(
            {
                results.study.axis: show(results.study.levels[gap["level"]]),
                "train loss": figure("loss", row["train_loss"]),
                "test loss": figure("loss", row["test_loss"]),
                "test − train loss": figure("loss", gap["loss_gap"], sign="+"),
                "95 % interval": interval(gap["loss_gap_low"], gap["loss_gap_high"], "loss", sign="+"),
                "train − test accuracy (points)": figure("accuracy", gap["accuracy_gap"], sign="+"),
            }
        )
    return pd.DataFrame(rows)


def classes_grid(results: Results) -> pd.DataFrame:
    """Accuracy on each class, in percent, over all seeds."""
    table, study = analysis.class_table(results), results.study
    right = table[table["true"] == table["predicted"]]
    rows = [
        {study.axis: show(study.levels[int(place)])}
        | {f"class {row.true} %": f"{100 * row.share:.2f}" for row in own.itertuples()}
        for place, own in right.groupby("level")
    ]
    return pd.DataFrame(rows)


def interval(low: float, high: float, name: str, sign: str = "") -> str:
    """Both ends of an interval of a figure of that name."""
    return NONE if math.isnan(low) else f"{figure(name, low, sign)} to {figure(name, high, sign)}"


def figure(name: str, value: float, sign: str = "") -> str:
    """A figure of that name: accuracies in percent, losses to four digits."""
    if pd.isna(value):
        return NONE
    if name.endswith("accuracy"):
        return f"{100 * value:{sign}.2f}"
    return f"{value:{sign}.4f}" if name.endswith("loss") else f"{value:{sign}.1f}"


def _p(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.3g}"
