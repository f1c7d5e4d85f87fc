"""Tables as people read them: figures in their units, an interval in one cell, a dash where nothing was measured."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis import Findings
from harness.analysis.words import verdict
from harness.catalogue import COUNT, EPOCHS, SECONDS, SHARE, Unit, show
from harness.figures import NONE, bracketed, heading, interval, number, probability, settled, share
from harness.study.labels import class_names
from harness.study.study import Study
from harness.trial import named

COUNTED = ("searches", "trials", "pruned", "failed", "infeasible", "seeds")
INTERVAL = "95 % interval"
MANY_CLASSES = 20  # that do not fit beside each other
SEARCHED = ("searches", "trials", "pruned", "failed")  # says nothing of a study without a search

Cells = Mapping[str, Any]
"""A row of a table, by column."""


def compare_grid(findings: Findings) -> pd.DataFrame:
    """The compare table."""
    study, table = findings.study, findings.table
    columns = {key: title for key, title in _headings(findings).items() if _is_shown(study, table, key)}
    rows = [{title: _cell(findings, cells, key) for key, title in columns.items()} for cells in records(table)]
    return _by_level(study, rows)


def narrow_grid(findings: Findings) -> pd.DataFrame:
    """The compare table without the columns that would not fit a printed page."""
    wide = [*SEARCHED, "infeasible", heading("validation", findings.measure), "epochs", "seconds"]
    return compare_grid(findings).drop(columns=wide, errors="ignore")


def _headings(findings: Findings) -> dict[str, str]:
    m, measure = findings.study.metric, findings.measure
    return {
        f"test_{m}": heading("test", measure),
        "interval": INTERVAL,
        f"published_test_{m}": heading("published test", measure),
        f"val_{m}": heading("validation", measure),
        f"train_{m}": heading("train", measure),
        **{name: name for name in COUNTED},
        **{name: name for name in ("epochs", "seconds", "parameters")},
    }


def _is_shown(study: Study, table: pd.DataFrame, key: str) -> bool:
    """Nothing may be held out, or published, or searched."""
    if key in SEARCHED:
        return study.is_searched
    if key == "infeasible":
        return study.constraint.parameters is not None
    return not key.startswith(("val_", "published_")) or bool(table[key].notna().any())


def _cell(findings: Findings, cells: Cells, key: str) -> str:
    unit = {"epochs": EPOCHS, "seconds": SECONDS, "parameters": COUNT}.get(key, findings.measure.unit)
    if key == "interval":
        low, high = (cells[f"test_{findings.study.metric}_{end}"] for end in ("low", "high"))
        return interval(low, high, unit)
    if pd.isna(cells[key]):
        return NONE
    return number(cells[key], COUNT if key in COUNTED else unit)


def middles_grid(findings: Findings) -> pd.DataFrame:
    """Other middles than the mean, and what the test set's size alone makes uncertain where that is known."""
    study, measure, unit = findings.study, findings.measure, findings.measure.unit
    names = {"": "mean", "_median": "median", "_iqm": "interquartile mean"}
    columns = {f"test_{study.metric}{end}": heading(name, measure) for end, name in names.items()}
    if findings.has_noise_floor:
        columns["noise_floor"] = f"noise floor ({unit.gap})"
    rows = [{new: number(cells[old], unit) for old, new in columns.items()} for cells in records(findings.table)]
    return _by_level(study, rows)


def winners_grid(findings: Findings) -> pd.DataFrame:
    """What the search chose for each compared value; a dash where it had no effect."""
    study = findings.study
    rows = [{key: str(cells[key]) or NONE for key in study.tuned} for cells in records(findings.table)]
    return _by_level(study, rows)


def published_grid(findings: Findings) -> pd.DataFrame:
    """Published and measured figures, with a verdict in words; those after some epochs, and deviations, where there are
    such.
    """
    study, table = findings.study, findings.published
    known = {name: pd.concat([own["published"], own["mean"]]) for name, own in table.groupby("figure")}
    units = {name: settled(study.figure(name).unit, values.astype(float)) for name, values in known.items()}
    rows = [
        {**study.shown(study.levels[cells["level"]]), **_published_cells(study, cells, units[cells["figure"]])}
        for _, cells in table.iterrows()
    ]
    grid = pd.DataFrame(rows)
    return grid if table["after"].notna().any() else grid.drop(columns="after epochs", errors="ignore")


def _published_cells(study: Study, cells: pd.Series, unit: Unit) -> dict[str, str]:
    figure = study.figure(cells["figure"])
    in_target = bool(figure.unit.significant and unit.symbol)
    is_spread = pd.notna(cells["deviation"])
    return {
        "figure": f"{figure.words} %" if unit is SHARE else bracketed(figure.words, unit.symbol if in_target else ""),
        "after epochs": NONE if pd.isna(cells["after"]) else number(cells["after"], COUNT),
        "published": _with_deviation(cells["published"], cells["deviation"], unit),
        "measured mean": _with_deviation(cells["mean"], cells["spread"] if is_spread else np.nan, unit),
        "prediction interval": interval(cells["predicted_low"], cells["predicted_high"], unit),
        "n": str(cells["n"]),
        "difference": number(cells["difference"], unit, sign="+"),
        "measured is": verdict(cells, unit),
    }


def _with_deviation(mean: float, deviation: float, unit: Unit) -> str:
    return number(mean, unit) if pd.isna(deviation) else f"{number(mean, unit)} ± {number(deviation, unit)}"


def pairs_grid(findings: Findings) -> pd.DataFrame:
    """Differences between compared values, search by search or seed by seed; of two keys within rows and columns."""
    study, unit, rows, on_new = findings.study, findings.measure.unit, [], f"on new {findings.study.things}"
    for cells in records(findings.pairs):
        gap = gap_cells(cells, unit)
        new = interval(cells["new_low"], cells["new_high"], unit, sign="+")
        rows.append({**_pair(study, int(cells["first"]), int(cells["second"])), **gap, on_new: new})
    return _without_dashes(pd.DataFrame(rows), on_new)


def _pair(study: Study, first: int, second: int) -> dict[str, str]:
    """Which two values are compared: a minus where they differ; of two keys the other one has one value."""
    one, two = (study.shown(study.levels[row]) for row in (first, second))
    return {key: two[key] if one[key] == two[key] else f"{two[key]} − {one[key]}" for key in one}


def cells_grid(findings: Findings) -> pd.DataFrame:
    """Means on the test images with intervals, the first key's values below and the second's beside each other; empty
    unless two keys are compared.
    """
    study, unit, name = findings.study, findings.measure.unit, f"test_{findings.study.metric}"
    if not study.is_grid:
        return pd.DataFrame()
    first, second = study.axes
    rows: dict[str, dict[str, str]] = {}
    for level, cells in zip(study.levels, records(findings.table), strict=True):
        key = study.shown(level)
        known = {"mean": cells[name], "low": cells[f"{name}_low"], "high": cells[f"{name}_high"]}
        rows.setdefault(key[first], {})[bracketed(f"{second}={key[second]}", unit.symbol)] = _with_interval(known, unit)
    return pd.DataFrame([{first: value, **row} for value, row in rows.items()])


def effects_grid(findings: Findings) -> pd.DataFrame:
    """Main effects and interactions."""
    study, unit = findings.study, findings.measure.unit
    rows = [
        {
            "effect": cells["effect"],
            **{key: "all" if cells[key] == "" else show(cells[key]) for key in study.axes},
            "n": str(cells["n"]),
            bracketed("effect on the mean", unit.gap): number(cells["difference"], unit, sign="+"),
            INTERVAL: interval(cells["low"], cells["high"], unit, sign="+"),
            "p": probability(cells["p"]),
            "p (Holm)": probability(cells["p_holm"]),
            bracketed("detectable", unit.gap): number(cells["detectable"], unit),
        }
        for cells in records(findings.effects)
    ]
    return pd.DataFrame(rows)


def gap_cells(cells: Cells, unit: Unit) -> dict[str, str]:
    """A paired difference, as a paired table has it."""
    return {
        "n": str(cells["n"]),
        bracketed("mean difference", unit.gap): number(cells["difference"], unit, sign="+"),
        INTERVAL: interval(cells["low"], cells["high"], unit, sign="+"),
        "p": probability(cells["p"]),
        "p (Holm)": probability(cells["p_holm"]),
        "better in": share(cells["improvement"]),
        bracketed("detectable", unit.gap): number(cells["detectable"], unit),
    }


def spread_grid(findings: Findings) -> pd.DataFrame:
    """Where the spread of the study's measure comes from, and the interval for other test images."""
    study, unit, things = findings.study, findings.measure.unit, findings.study.things
    rows = []
    for means, cells in zip(records(findings.table), records(findings.spread), strict=True):
        one = {name: number(cells[name], unit) for name in ("search", "seed", "images")}
        of_mean = {name: share(cells[f"{name}_share"]) for name in one if pd.notna(cells[f"{name}_share"])}
        of_mean = {things if name == "images" else name: part for name, part in of_mean.items()}
        rows.append(
            {
                bracketed("searches", unit.gap): one["search"],
                bracketed("seeds", unit.gap): one["seed"],
                bracketed(f"test {things}", unit.gap): one["images"],
                "of the mean's variance": ", ".join(f"{name} {part}" for name, part in of_mean.items()),
                f"{INTERVAL} on new {things}": interval(means["new_low"], means["new_high"], unit),
            }
        )
    table = _by_level(study, rows)
    return _without_dashes(table, *table.columns[1:])


def vote_grid(findings: Findings) -> pd.DataFrame:
    """The share of test images that the vote of a value's runs puts into their class."""
    study, rows = findings.study, []
    for cells in records(findings.vote):
        known = {
            "runs": str(cells["runs"]),
            f"mean of single runs {SHARE.symbol}": number(cells["mean"], SHARE),
            f"vote {SHARE.symbol}": number(cells["vote"], SHARE),
            f"{INTERVAL} on new {study.things}": interval(cells["low"], cells["high"], SHARE),
            bracketed("vote − mean", SHARE.gap): number(cells["vote"] - cells["mean"], SHARE, sign="+"),
        }
        rows.append({**study.shown(study.levels[int(cells["level"])]), **known})
    return pd.DataFrame(rows)


def _without_dashes(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The table without those of the columns in which nothing stands."""
    empty = [name for name in columns if name in table and table[name].isin([NONE, ""]).all()]
    return table.drop(columns=empty)


def gaps_grid(findings: Findings) -> pd.DataFrame:
    """How far the test is behind the training, in loss and in the study's measure."""
    both = zip(records(findings.table), records(findings.gaps), strict=True)
    return _by_level(findings.study, [_gaps_cells(findings, means, gaps) for means, gaps in both])


def _gaps_cells(findings: Findings, means: Cells, gaps: Cells) -> dict[str, str]:
    study, measure = findings.study, findings.measure
    of_loss = study.figure("test_loss").unit
    cells = {
        "train loss": number(means["train_loss"], of_loss),
        "test loss": number(means["test_loss"], of_loss),
        "test − train loss": number(gaps["loss_gap"], of_loss, sign="+"),
        INTERVAL: interval(gaps["loss_gap_low"], gaps["loss_gap_high"], of_loss, sign="+"),
    }
    if study.metric == "loss":
        return cells
    sides = "train − test" if measure.better == "higher" else "test − train"
    gap = number(gaps[f"{study.metric}_gap"], measure.unit, sign="+")
    return {**cells, bracketed(f"{sides} {measure.words}", measure.unit.gap): gap}


def measures_grid(findings: Findings) -> pd.DataFrame:
    """What else was measured on the test images, with intervals; empty where nothing was."""
    study, others = findings.study, findings.other_measures
    rows = [dict[str, str]() for _ in study.levels]
    for name, own in others.groupby("measure", sort=False):
        figure = study.figure(f"test_{name}")
        unit, words = settled(figure.unit, own["mean"].astype(float)), figure.words.removeprefix("test ")
        title = f"{words} %" if unit is SHARE else bracketed(words, unit.symbol)
        for cells in records(own):
            rows[cells["level"]][title] = _with_interval(cells, unit)
    return _by_level(study, rows) if len(others) else pd.DataFrame()


def _with_interval(cells: Cells, unit: Unit) -> str:
    mean, ends = number(cells["mean"], unit), interval(cells["low"], cells["high"], unit)
    return mean if ends == NONE else f"{mean} ({ends})"


def classes_grid(findings: Findings) -> pd.DataFrame:
    """Accuracy on each class, in percent, over all seeds."""
    table, study = findings.classes, findings.study
    right = table[table["true"] == table["predicted"]]
    rows = []
    for row, own in right.groupby("level"):
        level, classes = study.levels[int(row)], class_names(study, study.levels[int(row)], len(own))
        known = {f"{_class(classes[cells.true])} %": number(cells.share, SHARE) for cells in own.itertuples()}
        rows.append({**study.shown(level), **known})
    grid = pd.DataFrame(rows).fillna(NONE)
    many = len(grid.columns) - len(study.axes) > MANY_CLASSES
    return _on_its_side(grid, study) if many else grid


def _class(name: str) -> str:
    """As a heading: a number alone says too little."""
    return f"class {name}" if name.isdecimal() else name


def _on_its_side(grid: pd.DataFrame, study: Study) -> pd.DataFrame:
    """A row for each class, where these are too many to stand beside each other."""
    values = [named(dict(zip(study.axes, cells, strict=True))) for cells in grid[list(study.axes)].to_numpy().tolist()]
    turned = grid.drop(columns=list(study.axes)).T.set_axis([f"{value} %" for value in values], axis=1)
    classes = [name.removesuffix(" %") for name in turned.index]
    return pd.DataFrame({"class": classes, **{name: turned[name].tolist() for name in turned}})


def _by_level(study: Study, rows: Iterable[Mapping[str, str]]) -> pd.DataFrame:
    """A row of cells for each compared value, which comes first; a dash for a cell that it lacks."""
    levels = zip(study.levels, rows, strict=True)
    return pd.DataFrame([{**study.shown(level), **cells} for level, cells in levels]).fillna(NONE)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table."""
    return table.to_dict("records")  # type: ignore[no-any-return]
