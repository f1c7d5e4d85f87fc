"""Tables as people read them: figures in their units, an interval in one cell, a dash where nothing was measured."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from harness import catalogue
from harness.analysis import Findings
from harness.analysis.words import verdict
from harness.catalogue import COUNT, EPOCHS, NATS, SECONDS, SHARE, Unit, show
from harness.figures import NONE, interval, number, probability, share
from harness.study.study import Study

COUNTED = ("searches", "trials", "pruned", "failed", "infeasible", "seeds")
INTERVAL = "95 % interval"
ON_NEW = "on new images"
SEARCHED = ("searches", "trials", "pruned", "failed")  # says nothing of a study without a search

Cells = Mapping[str, Any]
"""A row of a table, by column."""


def compare_grid(findings: Findings) -> pd.DataFrame:
    """The compare table."""
    study, table = findings.study, findings.table
    columns = {key: heading for key, heading in _headings(study).items() if _is_shown(study, table, key)}
    rows = [{heading: _cell(study, cells, key) for key, heading in columns.items()} for cells in records(table)]
    return _by_level(study, rows)


def narrow_grid(findings: Findings) -> pd.DataFrame:
    """The compare table without the columns that would not fit a printed page."""
    wide = [*SEARCHED, "infeasible", f"validation {findings.study.measure.unit.symbol}", "epochs", "seconds"]
    return compare_grid(findings).drop(columns=wide, errors="ignore")


def _headings(study: Study) -> dict[str, str]:
    m, symbol = study.metric, study.measure.unit.symbol
    return {
        **{name: name for name in COUNTED},
        f"val_{m}": f"validation {symbol}",
        f"test_{m}": f"test {symbol}",
        "interval": INTERVAL,
        f"train_{m}": f"train {symbol}",
        f"published_test_{m}": f"published test {symbol}",
        **{name: name for name in ("epochs", "seconds", "parameters")},
    }


def _is_shown(study: Study, table: pd.DataFrame, key: str) -> bool:
    """Nothing may be held out, or published, or searched."""
    if key in SEARCHED:
        return bool(study.tune)
    if key == "infeasible":
        return study.constraint.parameters is not None
    return not key.startswith(("val_", "published_")) or bool(table[key].notna().any())


def _cell(study: Study, cells: Cells, key: str) -> str:
    unit = {"epochs": EPOCHS, "seconds": SECONDS, "parameters": COUNT}.get(key, study.measure.unit)
    if key == "interval":
        low, high = (cells[f"test_{study.metric}_{end}"] for end in ("low", "high"))
        return interval(low, high, unit)
    if pd.isna(cells[key]):
        return NONE
    return number(cells[key], COUNT if key in COUNTED else unit)


def middles_grid(findings: Findings) -> pd.DataFrame:
    """Other middles than the mean, and what the test set's size alone makes uncertain where that is known."""
    study, unit = findings.study, findings.study.measure.unit
    names = {"": "mean", "_median": "median", "_iqm": "interquartile mean"}
    columns = {f"test_{study.metric}{end}": f"{name} {unit.symbol}" for end, name in names.items()}
    if findings.has_noise_floor:
        columns["noise_floor"] = f"noise floor ({unit.gap})"
    rows = [{new: number(cells[old], unit) for old, new in columns.items()} for cells in records(findings.table)]
    return _by_level(study, rows)


def winners_grid(findings: Findings) -> pd.DataFrame:
    """What the search chose for each compared value; a dash where it had no effect."""
    study = findings.study
    rows = [{key: str(cells[key]) or NONE for key in study.tune} for cells in records(findings.table)]
    return _by_level(study, rows)


def published_grid(findings: Findings) -> pd.DataFrame:
    """Published and measured figures, with a verdict in words."""
    study = findings.study
    rows = [
        {**study.shown(study.levels[cells["level"]]), **_published_cells(cells)}
        for _, cells in findings.published.iterrows()
    ]
    return pd.DataFrame(rows)


def _published_cells(cells: pd.Series) -> dict[str, str]:
    figure = catalogue.figure(cells["figure"])
    return {
        "figure": f"{figure.words} %" if figure.unit is SHARE else figure.words,
        "published": number(cells["published"], figure.unit),
        "measured mean": number(cells["mean"], figure.unit),
        "prediction interval": interval(cells["predicted_low"], cells["predicted_high"], figure.unit),
        "n": str(cells["n"]),
        "difference": number(cells["difference"], figure.unit, sign="+"),
        "measured is": verdict(cells),
    }


def pairs_grid(findings: Findings) -> pd.DataFrame:
    """Differences between compared values, search by search or seed by seed; of two keys within rows and columns."""
    study, rows = findings.study, []
    for cells in records(findings.pairs):
        gap = gap_cells(cells, study.measure.unit)
        new = interval(cells["new_low"], cells["new_high"], study.measure.unit, sign="+")
        rows.append({**_pair(study, int(cells["first"]), int(cells["second"])), **gap, ON_NEW: new})
    return _without_dashes(pd.DataFrame(rows), ON_NEW)


def _pair(study: Study, first: int, second: int) -> dict[str, str]:
    """Which two values are compared: a minus where they differ; of two keys the other one has one value."""
    one, two = (study.shown(study.levels[row]) for row in (first, second))
    return {key: two[key] if one[key] == two[key] else f"{two[key]} − {one[key]}" for key in one}


def cells_grid(findings: Findings) -> pd.DataFrame:
    """Means on the test images with intervals, the first key's values below and the second's beside each other; empty
    unless two keys are compared.
    """
    study, unit, name = findings.study, findings.study.measure.unit, f"test_{findings.study.metric}"
    if not study.is_grid:
        return pd.DataFrame()
    first, second = study.axes
    rows: dict[str, dict[str, str]] = {}
    for level, cells in zip(study.levels, records(findings.table), strict=True):
        key = study.shown(level)
        known = {"mean": cells[name], "low": cells[f"{name}_low"], "high": cells[f"{name}_high"]}
        rows.setdefault(key[first], {})[f"{second}={key[second]} ({unit.symbol})"] = _with_interval(known, unit)
    return pd.DataFrame([{first: value, **row} for value, row in rows.items()])


def effects_grid(findings: Findings) -> pd.DataFrame:
    """Main effects and interactions."""
    study, unit = findings.study, findings.study.measure.unit
    rows = [
        {
            "effect": cells["effect"],
            **{key: "all" if cells[key] == "" else show(cells[key]) for key in study.axes},
            "n": str(cells["n"]),
            f"effect on the mean ({unit.gap})": number(cells["difference"], unit, sign="+"),
            INTERVAL: interval(cells["low"], cells["high"], unit, sign="+"),
            "p": probability(cells["p"]),
            "p (Holm)": probability(cells["p_holm"]),
            f"detectable ({unit.gap})": number(cells["detectable"], unit),
        }
        for cells in records(findings.effects)
    ]
    return pd.DataFrame(rows)


def gap_cells(cells: Cells, unit: Unit) -> dict[str, str]:
    """A paired difference, as a paired table has it."""
    return {
        "n": str(cells["n"]),
        f"mean difference ({unit.gap})": number(cells["difference"], unit, sign="+"),
        INTERVAL: interval(cells["low"], cells["high"], unit, sign="+"),
        "p": probability(cells["p"]),
        "p (Holm)": probability(cells["p_holm"]),
        "better in": share(cells["improvement"]),
        f"detectable ({unit.gap})": number(cells["detectable"], unit),
    }


def spread_grid(findings: Findings) -> pd.DataFrame:
    """Where the spread of the study's measure comes from, and the interval for other test images."""
    study, unit = findings.study, findings.study.measure.unit
    rows = []
    for means, cells in zip(records(findings.table), records(findings.spread), strict=True):
        one = {name: number(cells[name], unit) for name in ("search", "seed", "images")}
        of_mean = {name: share(cells[f"{name}_share"]) for name in one if pd.notna(cells[f"{name}_share"])}
        rows.append(
            {
                f"searches ({unit.gap})": one["search"],
                f"seeds ({unit.gap})": one["seed"],
                f"test images ({unit.gap})": one["images"],
                "of the mean's variance": ", ".join(f"{name} {part}" for name, part in of_mean.items()),
                f"{INTERVAL} {ON_NEW}": interval(means["new_low"], means["new_high"], unit),
            }
        )
    table = _by_level(study, rows)
    return _without_dashes(table, *table.columns[1:])


def _without_dashes(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The table without those of the columns in which nothing stands."""
    empty = [name for name in columns if name in table and table[name].isin([NONE, ""]).all()]
    return table.drop(columns=empty)


def gaps_grid(findings: Findings) -> pd.DataFrame:
    """How far the test is behind the training, in loss and in the study's measure."""
    both = zip(records(findings.table), records(findings.gaps), strict=True)
    return _by_level(findings.study, [_gaps_cells(findings.study, means, gaps) for means, gaps in both])


def _gaps_cells(study: Study, means: Cells, gaps: Cells) -> dict[str, str]:
    cells = {
        "train loss": number(means["train_loss"], NATS),
        "test loss": number(means["test_loss"], NATS),
        "test − train loss": number(gaps["loss_gap"], NATS, sign="+"),
        INTERVAL: interval(gaps["loss_gap_low"], gaps["loss_gap_high"], NATS, sign="+"),
    }
    if study.metric == "loss":
        return cells
    measure = study.measure
    sides = "train − test" if measure.better == "higher" else "test − train"
    gap = number(gaps[f"{study.metric}_gap"], measure.unit, sign="+")
    return {**cells, f"{sides} {measure.words} ({measure.unit.gap})": gap}


def measures_grid(findings: Findings) -> pd.DataFrame:
    """What else was measured on the test images, with intervals; empty where nothing was."""
    study, others = findings.study, findings.other_measures
    rows = [dict[str, str]() for _ in study.levels]
    for cells in records(others):
        measure = catalogue.measure(cells["measure"])
        rows[cells["level"]][f"{measure.words} {measure.unit.symbol}"] = _with_interval(cells, measure.unit)
    return _by_level(study, rows) if len(others) else pd.DataFrame()


def _with_interval(cells: Cells, unit: Unit) -> str:
    mean, ends = number(cells["mean"], unit), interval(cells["low"], cells["high"], unit)
    return mean if ends == NONE else f"{mean} ({ends})"


def classes_grid(findings: Findings) -> pd.DataFrame:
    """Accuracy on each class, in percent, over all seeds."""
    table, study = findings.classes, findings.study
    right = table[table["true"] == table["predicted"]]
    rows = [
        study.shown(study.levels[int(row)])
        | {f"class {cells.true} %": number(cells.share, SHARE) for cells in own.itertuples()}
        for row, own in right.groupby("level")
    ]
    return pd.DataFrame(rows)


def _by_level(study: Study, rows: Iterable[Mapping[str, str]]) -> pd.DataFrame:
    """A row of cells for each compared value, which comes first; a dash for a cell that it lacks."""
    levels = zip(study.levels, rows, strict=True)
    return pd.DataFrame([{**study.shown(level), **cells} for level, cells in levels]).fillna(NONE)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table."""
    return table.to_dict("records")  # type: ignore[no-any-return]
