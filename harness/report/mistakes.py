"""The worst mistakes of a value's first seed as rows of a table: what stands in them, what was true, what was said."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.analysis import Findings
from harness.catalogue import TARGET
from harness.figures import number, settled, share
from harness.study.labels import class_names, target_names
from harness.study.study import Study
from harness.trial import Example, Level

COLUMNS = 8  # of the data that are shown
BOTH = ("true", "predicted")


@dataclass(frozen=True)
class Worst:
    """Of a level's first seed the examples that it got wrong, worst first, the names of their classes or targets, and
    what they are in words.
    """

    study: Study
    examples: Sequence[Example]
    names: tuple[str, ...]
    words: str


def worst_rows(findings: Findings) -> Worst | None:
    """Those of the best value; None where mistakes are images that have a picture, or none were kept."""
    examples = findings.results.examples
    best = findings.best_among(examples)
    if best is None or not (examples[best][0].row or examples[best][0].truth):
        return None
    study, level, first, *others = findings.study, findings.study.levels[best], *examples[best]
    others = [one for one in others if not one.unsure]
    if not first.truth:
        others = [one for one in others if one.predicted != one.label]
    return Worst(study, others, names_of(study, level, first), _words(study, level, first, others))


def names_of(study: Study, level: Level, example: Example) -> tuple[str, ...]:
    """The names of an example's classes, or of its targets."""
    if example.truth:
        return target_names(study, level, len(example.truth))
    return class_names(study, level, len(example.probabilities))


def _words(study: Study, level: Level, first: Example, others: Sequence[Example]) -> str:
    name = study.level_name(level)
    if not others:
        return f"{name} made no mistakes in its first seed."
    said = f"The test {study.things} that {name} got most wrong in its first seed, worst first."
    if len(first.row) > COLUMNS:
        said += f" Of {len(first.row)} columns the first {COLUMNS} are shown, {len(first.row) - COLUMNS} more are not."
    return said


def mistakes_grid(worst: Worst) -> pd.DataFrame:
    """A line for each mistake, the features first."""
    guesses = _of_numbers(worst) if worst.examples and worst.examples[0].truth else _of_classes(worst)
    pairs = zip(worst.examples, guesses, strict=True)
    rows = [{"row": str(one.index), **dict(one.row[:COLUMNS]), **guess} for one, guess in pairs]
    return pd.DataFrame(rows)


def _of_classes(worst: Worst) -> list[dict[str, str]]:
    return [
        {
            "true class": worst.names[one.label],
            "predicted class": worst.names[one.predicted],
            "probability": share(one.probabilities[one.predicted]),
        }
        for one in worst.examples
    ]


def _of_numbers(worst: Worst) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = [{} for _ in worst.examples]
    for place, name in enumerate(worst.names):
        values = [(one.truth[place], one.guess[place]) for one in worst.examples]
        unit = settled(TARGET, np.ravel(values).tolist())
        for row, (truth, guess) in zip(rows, values, strict=True):
            row[f"true {name}"], row["predicted" if len(worst.names) == 1 else f"predicted {name}"] = (
                number(truth, unit),
                number(guess, unit),
            )
            row["error" if len(worst.names) == 1 else f"error of {name}"] = number(guess - truth, unit, sign="+")
    return rows


def mistakes_table(worst: Worst) -> pd.DataFrame:
    """The same for programs: every column of the data, and figures that are not rounded."""
    rows, said = [], dict[str, object]()
    for one in worst.examples:
        if one.truth:
            pairs = zip(worst.names, one.truth, one.guess, strict=True)
            said = {f"{what} {name}": value for name, *both in pairs for what, value in zip(BOTH, both, strict=True)}
        else:
            sure = one.probabilities[one.predicted]
            said = {"true": worst.names[one.label], "predicted": worst.names[one.predicted], "probability": sure}
        rows.append({"row": one.index, **dict(one.row), **said})
    return pd.DataFrame(rows)


def predictions_table(findings: Findings) -> pd.DataFrame:
    """What the first seed of each value said of test rows: `level`, `target`, `true`, `predicted`."""
    study, rows = findings.study, []
    for row, targets in findings.results.predictions.items():
        names = target_names(study, study.levels[row], len(targets))
        for name, (truths, guesses) in zip(names, targets, strict=True):
            rows += [(row, name, truth, guess) for truth, guess in zip(truths, guesses, strict=True)]
    return pd.DataFrame(rows, columns=["level", "target", *BOTH])


def named_classes(findings: Findings) -> pd.DataFrame:
    """Confusion counts, with the names of the classes where these are no mere numbers."""
    table, study = findings.classes, findings.study
    names = []
    for row, own in table.groupby("level"):
        known = class_names(study, study.levels[int(row)], int(len(own) ** 0.5))
        numbers = dict(enumerate(known))
        names.append(pd.DataFrame({f"{what}_class": own[what].map(numbers) for what in BOTH}))
    if not names or all(name.isdecimal() for part in names for name in part["true_class"]):
        return table
    return pd.concat([table, pd.concat(names)], axis=1)
