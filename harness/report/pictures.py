"""Which pictures a report has, with their captions; each is left out where there is nothing to see."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from harness.analysis import Findings
from harness.analysis.results import finished
from harness.analysis.tables import matters
from harness.analysis.units import searched
from harness.analysis.words import NAMED
from harness.catalogue import Measure, Unit, Value, show
from harness.errors import listed
from harness.figures import SIDE_BY_SIDE, difference, text
from harness.plots import Picture
from harness.plots.closeup import Closeup, closeup, edge, ends
from harness.report.course import course_pictures
from harness.report.escape import in_picture
from harness.report.mistakes import names_of
from harness.report.reach import reach_pictures
from harness.report.worth import worth_pictures
from harness.study.labels import class_names, target_names
from harness.study.space import Choice, Range
from harness.study.study import Study
from harness.trial import Example, named

OUTSIDE = " Grey: what the constraint excludes; marks on the axis: proposals there, which were not trained."

PANELS = SIDE_BY_SIDE  # of values in one picture
ROWS = 40  # of differences or effects below each other
CONFUSED = 3  # values whose classes have a panel each; of more the best and the worst
SEVERAL = 3  # values that a caption names
UNSURE = 4  # images whose probabilities are shown
COSTS = {"seconds": "training time", "parameters": "number of parameters"}
OF_NUMBERS = ("predicted", "residuals")  # what the names of their pictures begin with

Named = Iterator[tuple[str, Picture]]
"""Pictures with their file names."""


def make_pictures(findings: Findings) -> dict[str, Picture]:
    """The pictures of the page, by their file names."""
    label = in_picture(findings.study.label)
    names = [in_picture(findings.study.level_name(level)) for level in findings.study.levels]
    parts = (
        _of_cells,
        _of_means,
        _of_effects,
        _of_differences,
        _of_costs,
        _of_classes,
        _of_numbers,
        _of_examples,
        _of_search,
        _of_slices,
        _of_time,
    )
    known = {name: picture for part in parts for name, picture in part(findings, label, names)}
    known |= course_pictures(findings, label, names) | reach_pictures(findings, label, names)
    return known | worth_pictures(findings, label, names, _best(findings))


def _best(findings: Findings) -> list[int]:
    """The rows that pictures with a panel or a line for each value show: all, or of many the best, in order."""
    study = findings.study
    figures = study.measure.sign() * findings.table[f"test_{study.metric}"].astype(float)
    if len(figures) <= PANELS:
        return list(range(len(figures)))
    return sorted(int(row) for row in figures.sort_values(ascending=False, kind="stable").index[:PANELS])


def _of_best(findings: Findings) -> str:
    """What captions of such pictures add."""
    return "" if len(findings.table) <= PANELS else f" Of the {PANELS} values that did best; tables have all."


def means_name(study: Study) -> str:
    """The file name of the picture of the means."""
    return f"{study.metric}_vs_{'_and_'.join(study.axes)}"


def _of_cells(findings: Findings, label: str, names: list[str]) -> Named:
    study, words = findings.study, findings.measure.words
    if study.is_grid and findings.best is not None:
        first, second = (key.replace("_", " ") for key in study.axes)
        yield (
            "cells",
            Picture(
                "grid:heat_figure",
                (_in_pictures(findings), study.axes, findings.measure, f"{label}: test {words}"),
                f"Mean test {words} by {first} (rows) and {second} (columns)"
                f"{_unless_few(findings, f', with the 95 % interval over {findings.unit}')}; the brighter the better, "
                "the best cell framed.",
            ),
        )


def _unless_few(findings: Findings, of_intervals: str) -> str:
    """What a caption says of intervals, where any value has one."""
    return of_intervals if findings.table[f"test_{findings.study.metric}_low"].notna().any() else ""


def _in_pictures(findings: Findings) -> pd.DataFrame:
    """The compare table of a grid, with words that are compared as pictures can show them."""
    table = findings.table
    axes = {
        key: [in_picture(one) if isinstance(one, str) else one for one in table[key]] for key in findings.study.axes
    }
    return table.assign(**axes)


def _of_means(findings: Findings, label: str, names: list[str]) -> Named:
    study, words = findings.study, findings.study.measure.words
    first, *others = (key.replace("_", " ") for key in study.axes)
    seeds = finished(findings.results.runs)[["level", f"test_{study.metric}"]]
    if others:
        yield (
            means_name(study),
            Picture(
                "grid:lines_figure",
                (_in_pictures(findings), seeds, study.axes, findings.measure, f"{label}: {words}"),
                f"Mean {words} against {first}, in the colour of its {others[0]}; "
                f"{_unless_few(findings, f'bars are the 95 % interval of the test mean over {findings.unit}, ')}"
                "each dot one seed.",
            ),
        )
    else:
        near = _near(findings)
        yield (
            means_name(study),
            Picture(
                "means:means_figure",
                (findings.table, seeds, study.axis, findings.measure, f"{label}: {words}", near),
                f"Mean {words} of each {first}"
                f"{_unless_few(findings, f', with the 95 % interval of the test mean over {findings.unit}')}; each dot "
                f"is one seed.{_enlarged(findings, near)}",
                alt=_means_said(findings),
            ),
        )
    yield (
        "learning_curves",
        Picture(
            "comparison:learning_figure",
            (
                findings.learning,
                names,
                f"{label}: loss of the confirmation runs",
                study.figure("test_loss").unit.symbol,
            ),
            "Loss per epoch of the confirmation runs, mean and range over seeds, log axis."
            if len(names) <= SIDE_BY_SIDE
            else "Loss per epoch of the confirmation runs on validation data (of training, where none is held out): a "
            "line for each value, the mean over seeds, log axis.",
            alt=f"Lines of the loss by epoch, of {_some_of(names)}.",
        ),
    )


def _near(findings: Findings) -> Closeup | None:
    """Where the best values lie on the axis of the means; None where all of it is as good."""
    name, table = f"test_{findings.study.metric}", findings.table
    runs = finished(findings.results.runs)[["level", name]].set_axis(["level", "value"], axis=1)
    means = pd.concat([table[f"{name}{end}"] for end in ("", "_low", "_high")]).astype(float)
    tests = pd.concat([runs, pd.DataFrame({"level": means.index, "value": means.to_numpy()})])
    others = table[[name.replace("test_", images) for images in ("train_", "val_")]].to_numpy(float).ravel()
    whole = ends(np.concatenate([tests["value"].to_numpy(float), others]))
    return closeup(table[name], tests, whole, findings.measure.sign())


def _means_said(findings: Findings) -> str:
    """The means in words, of many values the best and the worst."""
    study, measure = findings.study, findings.measure
    figures = findings.table[f"test_{study.metric}"].astype(float).dropna()
    if figures.empty:
        return "Chart without a test figure so far."
    rows = list(figures.index) if len(figures) <= SIDE_BY_SIDE else [figures.idxmax(), figures.idxmin()]
    told = [f"{study.level_name(study.levels[row])} {text(figures[row], measure.unit)}" for row in rows]
    return f"Chart of the mean test {measure.words}: {listed(told)}."


def _some_of(names: Sequence[str]) -> str:
    """All of the names, or the first ones and how many more there are."""
    shown = [*names[:NAMED], f"{len(names) - NAMED:,} more"] if len(names) > SIDE_BY_SIDE else names
    return listed(shown)


def _cost_said(findings: Findings) -> str:
    """Which values none beats in seconds and figure together."""
    known = [findings.study.level_name(findings.study.levels[row]) for row in findings.front("seconds").index]
    return f"Dots of figures against costs; none is better and faster than {_some_of(known)}."


def _search_said(findings: Findings) -> str:
    """What the best value's search had found first, and in the end."""
    measure, table = findings.measure, findings.tuning
    own = table[(table["level"] == (findings.best or 0)) & table["best"].notna()]
    if own.empty:
        return "Steps of the best figure so far."
    name = findings.study.level_name(findings.study.levels[findings.best or 0])
    first, last = (text(own["best"].iloc[place], measure.unit) for place in (0, -1))
    return f"Steps of the best figure so far: {name} began with {first} and had {last} in the end."


def _enlarged(findings: Findings, near: Closeup | None) -> str:
    """What a caption says of the panel that enlarges a part of the axis."""
    return f" On the right the same, enlarged{_without(findings, near)}." if near else ""


def _without(findings: Findings, near: Closeup) -> str:
    """Which values a part of an axis leaves out."""
    names = [findings.study.level_name(findings.study.levels[row]) for row in near.outside]
    some = f"{len(names)} values" if len(names) > SEVERAL else listed(names)
    return f", without {some}" if names else ""


def _of_effects(findings: Findings, label: str, names: list[str]) -> Named:
    study, table = findings.study, findings.effects
    if len(table):
        shown = table if len(table) <= ROWS else table.loc[sorted(table["p"].sort_values(kind="stable").index[:ROWS])]
        keys = [{key: row[key] for key in study.axes if row[key] != ""} for row in shown.to_dict("records")]
        what = [in_picture(named(own)) for own in keys]
        measure = findings.measure
        yield (
            "effects",
            Picture(
                "grid:forest_figure",
                (shown, what, measure.unit, f"{label}: effects on the mean test {measure.words}"),
                f"Main effects (black) and interactions (blue) of {' and '.join(study.axes)} with their simultaneous "
                f"95 % intervals; filled: Holm's p < 0.05.{_some(shown, table, 'with the smallest p')}",
            ),
        )


def _of_differences(findings: Findings, label: str, names: list[str]) -> Named:
    pairs = findings.pairs
    if not len(pairs) or pairs["n"].max() == 0:
        return
    if len(pairs) > 1:  # a single one is a row of the table
        yield "differences", _below_each_other(findings, label)


def _some(shown: pd.DataFrame, table: pd.DataFrame, which: str) -> str:
    return "" if len(shown) == len(table) else f" The {len(shown)} {which}; the table has all."


def _below_each_other(findings: Findings, label: str) -> Picture:
    """Each pair once: of few values all pairs, of many those with the best, of a grid those within its rows and
    columns.
    """
    study, table = findings.study, findings.pairs
    if len(table) > ROWS:
        table = table.loc[sorted(table["difference"].abs().sort_values(kind="stable").index[:ROWS])]
    words, unit, what = findings.measure.words, findings.measure.unit, _of_what(study, table)
    of, which = "", " of all pairs"
    if study.is_grid:
        of, which = " within rows and columns", " of all of them"
    elif len(findings.pairs) < findings.tested_pairs:
        of = f" from the best {study.axis.replace('_', ' ')}"
    intervals = f", with the simultaneous 95 % intervals{which}; filled: Holm's p < 0.05"
    return Picture(
        "grid:forest_figure",
        (table, list(map(in_picture, what)), unit, f"{label}: differences in test {words}"),
        f"Mean paired differences in test {words}{of}{_unless_few(findings, intervals)}."
        f"{_some(table, findings.pairs, 'closest to the best')}"
        f"{' An arrow: far beyond the others.' if _has_outlier(table) else ''}",
        alt=_largest(table, what, unit),
    )


def _of_what(study: Study, table: pd.DataFrame) -> list[str]:
    """What each row's difference is between."""
    what = []
    for first, second in zip(table["first"], table["second"], strict=True):
        one, two = study.shown(study.levels[first]), study.shown(study.levels[second])
        if study.is_grid:
            [differs], [same] = study.differing(first, second), [key for key in one if one[key] == two[key]]
            what.append(f"{same}={one[same]}: {differs} {two[differs]} − {one[differs]}")
        else:
            what.append(f"{show(study.levels[second])} − {show(study.levels[first])}")
    return what


def _largest(table: pd.DataFrame, what: list[str], unit: Unit) -> str:
    """The largest difference in words, and how many there are."""
    place = int(table["difference"].abs().fillna(-1.0).to_numpy().argmax())
    largest = difference(table["difference"].iloc[place], unit)
    return f"Chart of {len(table)} differences, the largest of which is {what[place]}: {largest}."


def _has_outlier(table: pd.DataFrame) -> bool:
    """Whether the picture cuts any of the differences off."""
    return bool((table["difference"].abs() > edge(table[["low", "difference", "high"]].to_numpy(float))).any())


def _of_costs(findings: Findings, label: str, names: list[str]) -> Named:
    measure, table = findings.measure, findings.table
    if findings.best is not None and len(table) > 1:
        near = _near(findings) if len(table) <= SIDE_BY_SIDE else None
        cut = f" Enlarged to where the best values lie{_without(findings, near)}." if near else ""
        costs = ("seconds", "parameters") if table["parameters"].nunique() > 1 else ("seconds",)
        fronts = {cost: findings.front(cost) for cost in costs}
        wanted = measure.words if measure.better == "higher" else f"a low {measure.words}"
        yield (
            "cost",
            Picture(
                "comparison:cost_figure",
                (table, fronts, names, measure, f"{label}: what {wanted} costs", *_outside(findings), near),
                f"Mean test {measure.words} against {' and '.join(COSTS[one] for one in costs)}; dotted: Pareto front."
                f"{cut}{OUTSIDE if findings.study.constraint.parameters else ''}",
                alt=_cost_said(findings),
            ),
        )


def _outside(findings: Findings) -> tuple[tuple[int | None, int | None], list[int]]:
    """The bounds of the number of weights, and that of all proposals which lie outside; nothing where all may be."""
    bounds = findings.study.constraint.parameters
    if bounds is None:
        return (None, None), []
    return (bounds.low, bounds.high), [one for known in findings.results.infeasible.values() for one in known]


def _of_classes(findings: Findings, label: str, names: list[str]) -> Named:
    if not findings.classes.empty:
        things, rows, table = findings.study.things, _extremes(findings), findings.classes
        classes = [_classes(findings, row) for row in rows]
        if rows != list(range(len(names))):
            table = table[table["level"].isin(rows)].assign(level=lambda own: own["level"].map(rows.index))
        yield (
            "confusion",
            Picture(
                "classes:confusion_figure",
                (table, [names[row] for row in rows], f"{label}: test {things} of all seeds, % of each class", classes),
                "What each true class (a row) was taken for, in percent over all seeds; grey: what was right; empty: "
                f"below 0.05 %.{' The best and the worst value; tables have all.' if len(rows) < len(names) else ''}",
                alt=f"Squares of shares, a row for each of {len(classes[0])} true classes and a column for each that "
                f"was said, of {_some_of([names[row] for row in rows])}.",
            ),
        )


def _extremes(findings: Findings) -> list[int]:
    """The rows whose classes are shown: of many the best and the worst, so that numbers can be read."""
    measured = findings.table.index.isin(findings.classes["level"].unique())
    figures = findings.measure.sign() * findings.table[f"test_{findings.study.metric}"].astype(float)[measured]
    rows = [int(row) for row in figures.sort_values(ascending=False, kind="stable").index]
    return rows if len(rows) <= CONFUSED else [rows[0], rows[-1]]


def _classes(findings: Findings, row: int) -> list[str]:
    """The names of a level's classes."""
    count = int((findings.classes["level"] == row).sum() ** 0.5)
    return list(class_names(findings.study, findings.study.levels[row], count))


def _of_numbers(findings: Findings, label: str, names: list[str]) -> Named:
    """Of a regression, target by target, what the first seeds of the values predicted: of the best if they are many."""
    study, known = findings.study, findings.results.predictions
    figures = study.measure.sign() * findings.table[f"test_{study.metric}"].astype(float)
    rows = sorted(sorted(known, key=lambda row: -figures[row] if figures[row] == figures[row] else math.inf)[:PANELS])
    of = f" of the {len(rows)} best values" if len(rows) < len(known) else " of each value"
    things, targets = study.things, len(known[rows[0]]) if rows else 0
    for place in range(targets):
        numbers = {row: known[row][place] for row in rows if place < len(known[row])}
        target = in_picture(target_names(study, study.levels[rows[0]], targets)[place])
        which, titled = (f"_{place + 1}", f", {target}") if targets > 1 else ("", "")
        arguments = numbers, names, target
        yield (
            f"predicted{which}",
            Picture(
                "numbers:predicted_figure",
                (*arguments, f"{label}: predicted and true{titled}"),
                f"Predicted against true {target} of test {things}, by the first seed{of}; dotted: where both are "
                "equal.",
                alt=f"Dots along a diagonal, one for each of the test {things}.",
            ),
        )
        yield (
            f"residuals{which}",
            Picture(
                "numbers:residuals_figure",
                (*arguments, f"{label}: residuals{titled}"),
                f"Predicted minus true against predicted {target}, of the same {things}.",
                alt="Dots around a line at 0.",
            ),
        )


def _of_examples(findings: Findings, label: str, names: list[str]) -> Named:
    examples = findings.results.examples
    best = findings.best_among(examples)
    if best is None:
        return
    level, things, shown = findings.study.levels[best], findings.study.things, examples[best]
    name = findings.study.level_name(level)
    if shown[0].row or not shown[0].pixels:  # a table says it
        return
    classes = list(names_of(findings.study, findings.study.levels[best], shown[0]))
    yield (
        "mistakes",
        Picture(
            "classes:mistakes_figure",
            (shown, f"{label}: the worst mistakes of {names[best]}, first seed", classes),
            f"The test {things} that {name} got most wrong in its first seed, worst first"
            f"{'.' if shown[0].truth else ': those whose true class it gave the lowest probability.'}",
            alt=f"Test {things} that were taken for another class, each with what was said of it.",
            photo=_in_colour(shown[0]),
        ),
    )
    if shown[0].truth:
        return
    unsure = [one for one in shown if one.unsure]
    kept = unsure or sorted(shown, key=lambda one: max(one.probabilities))[:UNSURE]  # a journal may be older
    of = "" if unsure else "kept "
    yield (
        "probabilities",
        Picture(
            "classes:probabilities_figure",
            (tuple(kept), f"{label}: where {names[best]} is least sure, first seed", classes),
            f"The {of}test {things} of which {name} is least sure in its first seed, and the probabilities of their "
            f"{'' if len(classes) <= SIDE_BY_SIDE else f'{SIDE_BY_SIDE} most probable '}classes; orange: the true one.",
            alt=f"{len(kept)} test {things} above bars of class probabilities.",
            photo=_in_colour(shown[0]),
        ),
    )


def _in_colour(example: Example) -> bool:
    return bool(example.shape) and example.shape[0] > 1


def _of_search(findings: Findings, label: str, names: list[str]) -> Named:
    measure = findings.measure
    if findings.tuning["best"].notna().any():
        yield (
            "tuning",
            Picture(
                "search:tuning_figure",
                (_only(findings.tuning, _best(findings)), names, measure, f"{label}: what the search found"),
                f"Best validation {measure.words} after k search trials{_over_searches(findings)}."
                f"{_of_scale(measure)}{_of_best(findings)}",
                alt=_search_said(findings),
            ),
        )
    rows = _best(findings)
    if len(findings.importance):
        yield (
            "importance",
            Picture(
                "search:importance_figure",
                (
                    _only(_with_relevance(findings), rows),
                    names,
                    f"{label}: importance of the hyperparameters",
                ),
                "Importance of each hyperparameter within its range (Optuna's PED-ANOVA on the finished trials). "
                f"Faded: no effect was seen; shares add up to 1 even where nothing matters.{_of_best(findings)}",
                alt=f"Squares of the importance of each of {_some_of(findings.study.tuned)}.",
            ),
        )


def _with_relevance(findings: Findings) -> pd.DataFrame:
    """Importances, and whether the hyperparameter `matters`: whether any effect of it was seen."""
    relevance = findings.relevance.drop(columns="p")
    return findings.importance.merge(relevance, how="left", on=["level", "hyperparameter"])


def _only(table: pd.DataFrame, rows: list[int]) -> pd.DataFrame:
    """What a table has of those levels."""
    return table if set(table["level"]) <= set(rows) else table[table["level"].isin(rows)]


def _of_scale(measure: Measure) -> str:
    """What a reader must know of the axis of the search (`plots.base.from_below`)."""
    if measure.unit.relative or measure.better == "lower":
        return ""
    top = f"{measure.unit.factor:g} {measure.unit.symbol}".strip()
    return f" What is missing to {top} is drawn on a log scale: late gains are seen too."


def _over_searches(findings: Findings) -> str:
    if findings.study.searches == 1:
        return ""
    band = "; the band is its 95 % interval" if findings.tuning["low"].notna().any() else ""
    return f", mean over the searches{band}"


def _of_slices(findings: Findings, label: str, names: list[str]) -> Named:
    study = findings.study
    done = _where_it_matters(study, _only(searched(findings.results.runs), _best(findings)))
    if len(done):
        spaces = list(map(study.space, study.levels))
        scales = {key: _scale([space[key] for space in spaces if key in space]) for key in study.tuned}
        measure = findings.measure
        side = "below" if measure.better == "higher" else "above"
        cut = "log axis" if measure.unit.relative else f"the worst tenth lies {side}, where it is not shown"
        yield (
            "slices",
            Picture(
                "search:slice_figure",
                (done, scales, names, measure, f"{label}: finished search trials"),
                f"Validation {measure.words} of each finished search trial by its hyperparameters; {cut}."
                f"{_shared(done, list(study.tuned))}{_of_best(findings)}",
                alt=f"{len(done)} dots against each of {_some_of(study.tuned)}.",
            ),
        )


def _shared(done: pd.DataFrame, keys: list[str]) -> str:
    """Why points of several values have the same hyperparameters, where many do."""
    points = done[keys].map(str).agg(" ".join, axis=1)
    same = int(points.map(done["level"].groupby(points).nunique()).gt(1).sum())
    if same < 2:
        return ""
    return (
        f" {same} of the {len(done)} trials have hyperparameters that another value's trial has too: searches of the "
        "same number share the sampler's seed, so that values are compared on the same proposals until their results "
        "lead them apart."
    )


def _where_it_matters(study: Study, trials: pd.DataFrame) -> pd.DataFrame:
    """The finished trials; a hyperparameter that a trial does not have (a condition does not hold, a network has no
    hidden layer) means nothing, and is missing.
    """
    done = trials[trials["status"] == "finished"].copy()
    for row in done["level"].unique():
        own, space = done["level"] == row, study.space(study.levels[int(row)])
        for key in study.tuned:
            has = matters(study, done, key, space[key]) if key in space else ~own
            done[key] = done[key].where(~own | has)
    return done[["level", *study.tuned, f"val_{study.metric}"]]


def _scale(domains: Sequence[Choice | Range]) -> str | tuple[Value, ...]:
    """How a hyperparameter is drawn: choices one after the other, numbers on the scale of a range."""
    ranges = [domain for domain in domains if isinstance(domain, Range)]
    if ranges:
        return "log" if all(domain.log for domain in ranges) else "linear"
    return tuple(dict.fromkeys(value for domain in domains if isinstance(domain, Choice) for value in domain.values))


def _of_time(findings: Findings, label: str, names: list[str]) -> Named:
    if len(findings.timeline):
        yield (
            "timeline",
            Picture(
                "search:timeline_figure",
                (findings.timeline, names, f"{label}: when each trial ran"),
                "Every trial from its start to its end, coloured by what came of it.",
                alt=f"{len(findings.timeline)} bars, one for each trial, against time.",
            ),
        )
