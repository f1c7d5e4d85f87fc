"""Which pictures a report has, with their captions; each is left out where there is nothing to see."""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from harness.analysis import Findings
from harness.analysis.results import finished
from harness.analysis.units import searched
from harness.catalogue import Value, show
from harness.figures import SIDE_BY_SIDE
from harness.plots import Picture
from harness.report.course import course_pictures
from harness.report.escape import in_picture
from harness.report.mistakes import names_of
from harness.report.reach import reach_pictures
from harness.report.worth import worth_pictures
from harness.study.labels import class_names, target_names
from harness.study.space import Choice, Range
from harness.study.study import Study
from harness.trial import named

OUTSIDE = " Grey: what the constraint excludes; marks on the axis: proposals there, which were not trained."

PANELS = SIDE_BY_SIDE  # of values in one picture
ROWS = 40  # of differences or effects below each other
OF_NUMBERS = ("predicted", "residuals")  # what the names of their pictures begin with

Named = Iterator[tuple[str, Picture]]
"""Pictures with their file names."""


def make_pictures(findings: Findings) -> dict[str, Picture]:
    """The pictures of the page, by their file names."""
    label = in_picture(findings.study.label)
    names = [findings.study.level_name(level) for level in findings.study.levels]
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
    plain = list(map(in_picture, names))
    known = {name: picture for part in parts for name, picture in part(findings, label, plain)}
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
                f"Mean test {words} by {first} (rows) and {second} (columns), with the 95 % interval over "
                f"{findings.unit}; the brighter the better, the best cell framed.",
            ),
        )


def _in_pictures(findings: Findings) -> pd.DataFrame:
    """The compare table, with words that are compared as pictures can show them."""
    table = findings.table
    words = [key for key in findings.study.axes if not pd.api.types.is_numeric_dtype(table[key])]
    return table.assign(**{key: table[key].map(lambda word: in_picture(str(word))) for key in words})


def _of_means(findings: Findings, label: str, names: list[str]) -> Named:
    study, words = findings.study, findings.study.measure.words
    first, *others = (key.replace("_", " ") for key in study.axes)
    seeds = finished(findings.results.runs)[["level", f"test_{study.metric}"]]
    numeric = pd.api.types.is_numeric_dtype(findings.table[study.axes[0]])
    each = f", a {'line' if numeric else 'mark'} for each {others[0]}" if others else ""
    shown = f"{each}; {'the band is' if numeric and not others else 'bars are'}"
    yield (
        means_name(study),
        Picture(
            "grid:lines_figure" if others else "comparison:means_figure",
            (
                _in_pictures(findings),
                seeds,
                study.axes if others else study.axis,
                findings.measure,
                f"{label}: {words}",
            ),
            f"Mean {words} against {first}{shown} the 95 % interval of the test mean over {findings.unit}, each dot "
            "one seed.",
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
        ),
    )


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
    measure, pairs = findings.measure, findings.pairs
    if not len(pairs) or pairs["n"].max() == 0:
        return
    if findings.study.is_grid or len(names) > SIDE_BY_SIDE:
        yield "differences", _below_each_other(findings, label)
    else:
        title = f"{label}: test {measure.words}, row minus column"
        yield (
            "differences",
            Picture(
                "comparison:difference_figure",
                (pairs, names, measure.unit, title),
                f"Mean paired differences in test {measure.words}, row minus column, with the simultaneous 95 % "
                "intervals of all pairs; bold: Holm's p < 0.05.",
            ),
        )


def _some(shown: pd.DataFrame, table: pd.DataFrame, which: str) -> str:
    return "" if len(shown) == len(table) else f" The {len(shown)} {which}; the table has all."


def _below_each_other(findings: Findings, label: str) -> Picture:
    """Differences within the rows and columns of a grid, or from the best of many values: in a matrix most places would
    be empty.
    """
    study, table, what = findings.study, findings.pairs, list[str]()
    if len(table) > ROWS:
        table = table.loc[sorted(table["difference"].abs().sort_values(kind="stable").index[:ROWS])]
    words, unit = findings.measure.words, findings.measure.unit
    closest = _some(table, findings.pairs, "closest to the best")
    if not study.is_grid:
        for first, second in zip(table["first"], table["second"], strict=True):
            what.append(in_picture(f"{show(study.levels[second])} − {show(study.levels[first])}"))
        return Picture(
            "grid:forest_figure",
            (table, what, unit, f"{label}: differences from the best in test {words}"),
            f"Mean paired differences in test {words} from the best {study.axis.replace('_', ' ')}, with the "
            f"simultaneous 95 % intervals of all pairs; filled: Holm's p < 0.05.{closest}",
        )
    for first, second in zip(table["first"], table["second"], strict=True):
        one, two = study.shown(study.levels[first]), study.shown(study.levels[second])
        [differs], [same] = study.differing(first, second), [key for key in one if one[key] == two[key]]
        what.append(in_picture(f"{same}={one[same]}: {differs} {two[differs]} − {one[differs]}"))
    return Picture(
        "grid:forest_figure",
        (table, what, unit, f"{label}: differences in test {words}"),
        f"Mean paired differences in test {words} within rows and columns, with the simultaneous 95 % intervals of all "
        f"of them; filled: Holm's p < 0.05.{closest}",
    )


def _of_costs(findings: Findings, label: str, names: list[str]) -> Named:
    measure, table = findings.measure, findings.table
    if findings.best is not None and len(table) > 1:
        fronts = {cost: findings.front(cost) for cost in ("seconds", "parameters")}
        wanted = measure.words if measure.better == "higher" else f"a low {measure.words}"
        yield (
            "cost",
            Picture(
                "comparison:cost_figure",
                (table, fronts, names, measure, f"{label}: what {wanted} costs", *_outside(findings)),
                f"Mean test {measure.words} against training time and number of parameters; dotted: the Pareto front."
                f"{OUTSIDE if findings.study.constraint.parameters else ''}",
            ),
        )


def _outside(findings: Findings) -> tuple[tuple[int | None, int | None], list[int]] | tuple[()]:
    """The bounds of the number of weights, and that of all proposals which lie outside; nothing where all may be."""
    bounds = findings.study.constraint.parameters
    if bounds is None:
        return ()
    return (bounds.low, bounds.high), [one for known in findings.results.infeasible.values() for one in known]


def _of_classes(findings: Findings, label: str, names: list[str]) -> Named:
    if not findings.classes.empty:
        things, rows, table = findings.study.things, _best(findings), findings.classes
        classes = [_classes(findings, row) for row in rows]
        if len(rows) < len(names):
            table = table[table["level"].isin(rows)].assign(level=lambda own: own["level"].map(rows.index))
        yield (
            "confusion",
            Picture(
                "classes:confusion_figure",
                (table, [names[row] for row in rows], f"{label}: test {things} of all seeds, by class", classes),
                "Confusion counts of all seeds: rows true classes, columns predicted; the diagonal shows accuracies."
                f"{_of_best(findings)}",
            ),
        )


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
            ),
        )
        yield (
            f"residuals{which}",
            Picture(
                "numbers:residuals_figure",
                (*arguments, f"{label}: residuals{titled}"),
                f"Predicted minus true against predicted {target}, of the same {things}.",
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
            f"The test {things} that {name} got most wrong in its first seed, worst first.",
        ),
    )
    if shown[0].truth:
        return
    yield (
        "probabilities",
        Picture(
            "classes:probabilities_figure",
            (shown[0], f"{label}: {names[best]}, first seed", classes),
            f"The first test image, of class {classes[shown[0].label]}, and the class probabilities that {name} gives "
            "it.",
        ),
    )


def _of_search(findings: Findings, label: str, names: list[str]) -> Named:
    measure = findings.measure
    if findings.tuning["best"].notna().any():
        yield (
            "tuning",
            Picture(
                "search:tuning_figure",
                (_only(findings.tuning, _best(findings)), names, measure, f"{label}: what the search found"),
                f"Best validation {measure.words} after k search trials{_over_searches(findings)}.{_of_best(findings)}",
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
            ),
        )


def _with_relevance(findings: Findings) -> pd.DataFrame:
    """Importances, and whether the hyperparameter `matters`: whether any effect of it was seen."""
    relevance = findings.relevance.drop(columns="p")
    return findings.importance.merge(relevance, how="left", on=["level", "hyperparameter"])


def _only(table: pd.DataFrame, rows: list[int]) -> pd.DataFrame:
    """What a table has of those levels."""
    return table if set(table["level"]) <= set(rows) else table[table["level"].isin(rows)]


def _over_searches(findings: Findings) -> str:
    if findings.study.searches == 1:
        return ""
    return ", mean over the searches; the band is its 95 % interval"


def _of_slices(findings: Findings, label: str, names: list[str]) -> Named:
    study = findings.study
    done = _where_it_matters(study, _only(searched(findings.results.runs), _best(findings)))
    if len(done):
        spaces = list(map(study.space, study.levels))
        scales = {key: _scale([space[key] for space in spaces if key in space]) for key in study.tuned}
        measure = findings.measure
        side = "below" if measure.better == "higher" else "above"
        cut = "log axis" if measure.unit.relative else f"the worst tenth lies {side}"
        yield (
            "slices",
            Picture(
                "search:slice_figure",
                (done, scales, names, measure, f"{label}: finished search trials"),
                f"Validation {measure.words} of each finished search trial by its hyperparameters; {cut}."
                f"{_of_best(findings)}",
            ),
        )


def _where_it_matters(study: Study, trials: pd.DataFrame) -> pd.DataFrame:
    """The finished trials; a hyperparameter whose condition does not hold means nothing, and is missing, as is one that
    a level does not search.
    """
    done = trials[trials["status"] == "finished"].copy()
    for row in done["level"].unique():
        own, space = done["level"] == row, study.space(study.levels[int(row)])
        for key in study.tuned:
            if key not in space:
                done[key] = done[key].where(~own)
            for other, wanted in space[key].when.items() if key in space else ():
                done[key] = done[key].where(~own | (done[other] == wanted))
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
            ),
        )
