"""What each of two compared keys does, and whether they act on each other: effects in a grid of cells.

    effects_table(results)      # depth=3: +0.41 points; depth=3 with dropout=0.2: -0.02 points
    left_out(results)           # the values without effects, because a cell of theirs was not measured

The arithmetic is that of a two-way table whose cells have the same weight (Fisher, 1925): the main effect of a value is
the mean of its cells less the grand mean, the interaction of two values their cell less the mean of its row, less that
of its column, plus the grand mean. Each is taken unit by unit, in a search or a seed that all cells share, so that an
interval rests on what is independent; see `units.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.results import Results
from harness.analysis.samples import Sample, standard_error
from harness.analysis.tables import as_cell, as_family
from harness.analysis.units import by_unit, overlap
from harness.catalogue import Value
from harness.study.study import Study
from harness.trial import named

Place = tuple[int, int]
"""Of an effect: the indices of both keys' values; `ALL` for the key that it is the mean over."""

ALL = -1


@dataclass(frozen=True)
class Whole:
    """The part of a grid that was measured in every cell: `rows` and `columns` are indices of both keys' values.

    `figures` (units, rows, columns) are those of the units that all of these cells share.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    figures: NDArray[np.float64]


def effects_table(results: Results) -> pd.DataFrame:
    """A row for each main effect and interaction in the study's measure on the test images, in its own unit.

    `effect` is "main" or "interaction"; the key that a main effect is the mean over has an empty cell. `difference` is
    the effect over `n` units, `p`, `p_holm`, `low`, `high` and `detectable` are as in a paired table: all effects are
    one family. Of a key of two values the effects are each other's opposite, which is one question and counts once.
    Empty unless two keys are compared.
    """
    study = results.study
    columns = ["effect", *study.axes, "n", "difference", "low", "high", "p", "p_holm", "detectable"]
    whole = measured(results) if study.is_grid else None
    if whole is None or whole.figures[0].size == 1:
        return pd.DataFrame(columns=columns)
    sizes = len(whole.rows), len(whole.columns)
    samples = dict(contrasts(whole.figures))
    asked = [place for place in samples if place == _asked(place, sizes)[0]]
    pooled = max(overlap(study, row) for row in range(len(study.levels)))
    tested = as_family(pd.DataFrame([_tested(samples[place], pooled) for place in asked]))
    found = dict(zip(asked, tested.to_dict("records"), strict=True))
    rows = []
    for place in samples:
        same, sign = _asked(place, sizes)
        rows.append({**_named(study, whole, place), **_turned(found[same], sign)})
    return pd.DataFrame(rows, columns=columns)


def contrasts(figures: NDArray[np.float64]) -> Iterator[tuple[Place, Sample]]:
    """Every effect (units,) of figures (units, rows, columns): main effects first, none of a key with one value."""
    rows, columns, grand = figures.mean(axis=2), figures.mean(axis=1), figures.mean(axis=(1, 2))
    of_rows, of_columns = rows - grand[:, None], columns - grand[:, None]
    both = figures - rows[:, :, None] - columns[:, None, :] + grand[:, None, None]
    sizes = figures.shape[1:]
    if sizes[0] > 1:
        yield from (((row, ALL), of_rows[:, row]) for row in range(sizes[0]))
    if sizes[1] > 1:
        yield from (((ALL, column), of_columns[:, column]) for column in range(sizes[1]))
    if min(sizes) > 1:
        yield from (((row, column), both[:, row, column]) for row, column in np.ndindex(*sizes))


def measured(results: Results) -> Whole | None:
    """The grid without the rows and columns that `whole_of` leaves out; None where nothing is left, or in no unit."""
    study, name = results.study, f"test_{results.study.metric}"
    own = pd.concat([by_unit(results, row, name) for row in range(len(study.levels))], axis=1)
    sizes = [len(values) for values in study.compared.values()]
    rows, columns = whole_of(own.notna().any().to_numpy().reshape(sizes))
    if not rows or not columns:
        return None
    figures = own.to_numpy(float).reshape(-1, *sizes)[:, rows][:, :, columns]
    shared = figures[~np.isnan(figures).any(axis=(1, 2))]
    return Whole(tuple(rows), tuple(columns), shared) if len(shared) else None


def whole_of(known: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """The rows and columns of a grid (rows, columns) in all of whose cells something is known.

    Each unknown cell takes the row or column with it that has most of them, the shorter one if both have as many.
    """
    rows, columns = (list(range(size)) for size in known.shape)
    while rows and columns and not known[np.ix_(rows, columns)].all():
        missing = ~known[np.ix_(rows, columns)]
        of_rows, of_columns = missing.sum(axis=1), missing.sum(axis=0)
        if (of_rows.max(), -len(columns)) >= (of_columns.max(), -len(rows)):
            del rows[int(of_rows.argmax())]
        else:
            del columns[int(of_columns.argmax())]
    return rows, columns


def left_out(results: Results) -> list[str]:
    """The values of both keys that have no effects, as "depth=3", because a cell of theirs was not measured."""
    if not results.study.is_grid:
        return []
    whole, (first, second) = measured(results), results.study.compared.items()
    rows, columns = (whole.rows, whole.columns) if whole else ((), ())
    return [
        named({key: value})
        for (key, values), kept in ((first, rows), (second, columns))
        for index, value in enumerate(values)
        if index not in kept
    ]


def _asked(place: Place, sizes: Place) -> tuple[Place, int]:
    """The effect that answers the same question, and the sign between the two: of a key of two values the first's."""
    flips = sum(index == 1 and size == 2 for index, size in zip(place, sizes, strict=True))
    row, column = (0 if index == 1 and size == 2 else index for index, size in zip(place, sizes, strict=True))
    return (row, column), -1 if flips == 1 else 1


def _tested(sample: Sample, pooled: float) -> dict[str, float]:
    return {"n": len(sample), "difference": float(sample.mean()), "error": standard_error(sample, pooled)}


def _turned(cells: dict[str, float], sign: int) -> dict[str, float]:
    if sign > 0:
        return cells
    return {**cells, "difference": -cells["difference"], "low": -cells["high"], "high": -cells["low"]}


def _named(study: Study, whole: Whole, place: Place) -> dict[str, Value]:
    """What an effect is of."""
    (first, rows), (second, columns) = study.compared.items()
    row, column = place
    return {
        "effect": "main" if ALL in place else "interaction",
        first: "" if row == ALL else as_cell(rows[whole.rows[row]]),
        second: "" if column == ALL else as_cell(columns[whole.columns[column]]),
    }
