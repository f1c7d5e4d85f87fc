"""A table of the user's: which columns are learned, which are learned from, and what becomes of them.

Numbers stay as they are, with NaN where one is missing and a column "... is missing" beside; texts and booleans are
categories, one input for each level, or one for two. Whatever cannot be used is told with file, row and column. Rows
are counted as an editor counts lines: of a text file the names are row 1; of others the first row is row 1.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.catalogue import TABLE_FILES
from harness.errors import UserError, listed, nearest
from harness.parts import targets
from harness.parts.data import Column, Data, Split, data_of
from harness.parts.sizes import check_fits

Frame = Any
"""A pandas DataFrame, whose index are the rows as they are told."""
Series = Any
"""A column of one."""
Numbers = NDArray[np.float64]

MOST_LEVELS = 100  # of a category
MEMORY = dict(zip(TABLE_FILES, (3.0, 3.0, 5.0, 4.0), strict=True))
"""Bytes of memory for each byte of a file, about: text becomes 8 bytes a number and then 4, parquet is compressed."""
FEW = 20  # different whole numbers, at most, that are taken as classes
NAMELESS = ("column 1", "Unnamed: 0")
PARTS = ("train", "validation", "test")
DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})|\d{1,2}:\d\d(:\d\d)?"
    r"|\d{1,2}[. -]+[A-Za-z]{3,9}[. -]+\d{2,4}|[A-Za-z]{3,9} \d{1,2},? \d{4})([T ].*)?"
)


DECIMAL_COMMA = re.compile(r"[-+]?\d[\d.]*,\d+")


class UnusableColumnError(UserError):
    """A column that a table cannot be learned from; without it the table may be as it should."""

    def __init__(self, where: str, column: str, reason: str, hint: str) -> None:
        super().__init__(f"{where}: {reason}; {hint}")
        self.where, self.column, self.reason = where, column, reason


@dataclass(frozen=True)
class _Place:
    """A column, as it is told; `rows` are the numbers of its rows."""

    file: str
    column: str
    rows: Sequence[int]

    def row(self, number: int) -> str:
        """One of its values."""
        return f"{self.file}, row {self.rows[number]}, column {self.column}"

    def unusable(self, reason: str, hint: str = "name it in drop", row: int | None = None) -> UnusableColumnError:
        """Why it cannot be learned from."""
        where = f"{self.file}, column {self.column}" if row is None else self.row(row)
        return UnusableColumnError(where, self.column, reason, hint)

    def dates(self, value: object) -> UnusableColumnError:
        """That it has dates or times."""
        hint = "write what matters as numbers (year, month, days since the first), or name it in drop"
        return self.unusable(f"has dates or times ({value})", hint)


class Asked(Protocol):
    """What a study says of a table; see `study/source.py`."""

    @property
    def target(self) -> tuple[str, ...]:
        """The columns to be learned."""

    @property
    def features(self) -> tuple[str, ...]:
        """Those to learn from, if not all others."""

    @property
    def drop(self) -> tuple[str, ...]:
        """Those to leave out."""

    @property
    def split_column(self) -> str | None:
        """The one that says which rows are for training, validation and test."""

    @property
    def test_rows(self) -> str | None:
        """The file of several choices of test rows."""


@dataclass(frozen=True)
class _Learned:
    """The targets (N,) or (N, T) of all rows, and the names of their classes, if they are classes."""

    values: NDArray[Any]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_table(name: str, path: Path, asked: Asked, task: str, test_rows: Path | None = None) -> Data:
    """The table in a file; `test_rows` is the file that `asked.test_rows` names. Raises UserError for all that is wrong
    with it.
    """
    check_fits(name, size := path.stat().st_size, MEMORY[path.suffix.lower()] * size)
    frame = frame_of(name, path)
    splits = None if test_rows is None else frame_of(asked.test_rows or test_rows.name, test_rows)
    return table_of(name, frame, asked, task, splits)


def table_of(name: str, frame: Frame, asked: Asked, task: str = "", splits: Frame | None = None) -> Data:
    """The data set of that name from a DataFrame; `splits` are the columns split and row of `asked.test_rows`."""
    _check_names(name, frame, asked)
    learned = _learned(name, frame, asked.target, task)
    columns, inputs, notes = _features(name, frame, _chosen(frame, asked))
    whole, validation = Split(*map(torch.from_numpy, (inputs, learned.values, np.array(frame.index)))), 0
    train, test = whole, None
    if asked.split_column:
        rows = _by_column(name, frame, asked.split_column, learned)
        order = np.concatenate([rows["train"], rows["validation"], rows["test"]])
        cut, validation = len(order) - len(rows["test"]), len(rows["validation"])
        train, test = (whole.take(torch.from_numpy(part)) for part in (order[:cut], order[cut:]))
    choices = () if splits is None else _choices(asked.test_rows or "", splits, name, learned)
    return data_of(
        name,
        train,
        test,
        inputs.shape[1:],
        classes=learned.classes,
        target_names=() if learned.classes else asked.target,
        columns=columns,
        notes=(*learned.notes, *notes),
        validation=validation,
        test_splits=choices,
    )


# Files


def frame_of(name: str, path: Path) -> Frame:
    """A file's table, rows without any value left out; raises UserError where it cannot be read or has no rows."""
    import pandas as pd  # half a second, which images need not wait for

    read = {".parquet": pd.read_parquet, ".feather": pd.read_feather}.get(path.suffix.lower(), _text)
    try:
        frame, is_text = read(path), read is _text
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is not UTF-8: {error.reason} at byte {error.start:,}") from None
    except (ValueError, OSError, ImportError, NotImplementedError) as error:
        what = path.suffix.lower().removeprefix(".")
        raise UserError(f"{name}: cannot be read as {what}: {_said(error)}") from None
    columns = [" ".join(str(column).split()) for column in frame.columns]
    if len(set(columns)) < len(columns):
        twice = next(column for column in columns if columns.count(column) > 1)
        raise UserError(f"{name}: has two columns called {twice}; every column needs a name of its own")
    frame.columns = columns
    frame.index = range(1 + is_text, 1 + is_text + len(frame))
    frame = frame.dropna(how="all").infer_objects()  # an empty line had made objects of booleans
    if frame.empty:
        raise UserError(f"{name}: {'has names of columns, but no rows' if columns else 'is empty'}")
    return frame


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".").removeprefix("Error tokenizing data. C error: ")
    if opened := re.fullmatch(r"EOF inside string starting at row (\d+)", text):
        return f"the quotes that open in row {int(opened[1]) + 1} never close"
    return text


def _text(path: Path) -> Frame:
    """A text file's table. Its first row are the names of the columns; where these are not separated by commas (or, of
    .tsv, tabs) but by semicolons, tabs or spaces, so are the rows.
    """
    import pandas as pd

    with path.open(encoding="utf-8-sig") as file:
        first, second = file.readline(), file.readline()
    if not first.strip():
        return pd.DataFrame()
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    separator = max((usual, ",", ";", "\t"), key=first.count)
    if separator not in first and " " in first.strip():
        separator = r"\s+"
    how: dict[str, Any] = {"sep": separator, "encoding": "utf-8-sig", "skipinitialspace": True}
    names = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, **how).iloc[0].tolist()
    names = [name.strip() or f"column {place}" for place, name in enumerate(names, 1)]
    if len(set(names)) < len(names):
        return pd.DataFrame(columns=names)  # whoever asked tells it
    count = 0
    if second.strip():
        count = pd.read_csv(path, header=None, skiprows=1, nrows=1, dtype=str, **how).shape[1]
    if count > len(names):  # which pandas would cut off
        raise ValueError(f"row 1 has {len(names)} names of columns, but row 2 has {count} values")
    return pd.read_csv(path, names=names, skiprows=1, index_col=False, skip_blank_lines=False, low_memory=False, **how)


# Columns


def _check_names(name: str, frame: Frame, asked: Asked) -> None:
    columns = list(frame.columns)
    if not asked.target:
        raise UserError(f'{name}: say which column is learned, as target = "{columns[-1]}"; it has {_some(columns)}')
    if asked.features and asked.drop:
        raise UserError("features and drop: only one of them can be given, since each says which columns are used")
    if asked.split_column and asked.test_rows:
        raise UserError("split_column and test_rows: only one of them can be given, since each says how rows are split")
    split = (asked.split_column,) if asked.split_column else ()
    keys = {"target": asked.target, "features": asked.features, "split_column": split, "drop": asked.drop}
    owners: dict[str, str] = {}
    for key, wanted in keys.items():
        for column in wanted:
            if column not in columns:
                there = nearest(column, columns) or f"; it has {_some(columns)}"
                raise UserError(f"{key}: {name} has no column {column}{there}")
            if (owner := owners.setdefault(column, key)) != key:
                raise UserError(f"{key}: column {column} is named as {owner} too; it can be one of them")


def _some(columns: Sequence[str]) -> str:
    return listed(columns) if len(columns) <= 12 else f"{listed(columns[:12])} and {len(columns) - 12} more"


def _chosen(frame: Frame, asked: Asked) -> list[str]:
    """The columns to learn from, in the file's order."""
    apart = {*asked.target, *asked.drop, asked.split_column}
    return [name for name in frame.columns if (name in asked.features if asked.features else name not in apart)]


def _at(name: str, frame: Frame, column: str) -> _Place:
    return _Place(name, column, frame.index)


def _features(
    name: str, frame: Frame, chosen: Sequence[str]
) -> tuple[tuple[Column, ...], NDArray[np.float32], list[str]]:
    """The columns that are learned from, what stands in them (N, D), and notes on those that are left out."""
    columns: list[Column] = []
    inputs: list[Numbers] = []
    constant, notes = [], []
    for column in chosen:
        place = _at(name, frame, column)
        values = _plain(place, frame[column])
        missing = _missing(values)
        if column in NAMELESS and _counts_rows(values):
            notes.append("left out, since it has no name and counts the rows: the first column")
        elif missing.all() or not (missing.any() or (values != values[0]).any()):
            constant.append(column)
        elif values.dtype == np.float64:
            _add_numbers(place, values, columns, inputs)
        else:
            _add_category(place, values, columns, inputs)
    if not columns:
        why = f": all rows have the same value in {_some(constant)}" if constant else ""
        raise UserError(f"{name}: no column is left to learn from{why}")
    notes += [f"left out, since all rows have the same value: {_some(constant)}"] if constant else []
    return tuple(columns), np.column_stack(inputs).astype(np.float32), notes


def _counts_rows(values: NDArray[Any]) -> bool:
    """Whether it is what pandas writes beside a table: 0, 1, 2 and so on."""
    return values.dtype == np.float64 and any(np.array_equal(values, np.arange(len(values)) + one) for one in (0, 1))


def _add_numbers(place: _Place, values: Numbers, columns: list[Column], inputs: list[Numbers]) -> None:
    missing = np.isnan(values)
    if len(large := np.flatnonzero(np.abs(values) > targets.LARGEST)):
        raise place.unusable(f"is {values[large[0]]}, no number of 32 bits", row=int(large[0]))
    columns.append(Column(place.column))
    inputs.append(values)
    if missing.any():
        columns.append(gaps_of(place.column))
        inputs.append(missing.astype(np.float64))


def gaps_of(column: str) -> Column:
    """What says where a number is missing: the column behind its own."""
    return Column(f"{column} is missing", ("no", "yes"))


def _add_category(place: _Place, values: NDArray[Any], columns: list[Column], inputs: list[Numbers]) -> None:
    missing = _missing(values)
    levels = targets.in_order(set(values[~missing].tolist()))
    if len(levels) > MOST_LEVELS:
        raise place.unusable(f"has {len(levels):,} different texts, more than {MOST_LEVELS}")
    if len(levels) > max(2, (~missing).sum() / 2):
        raise place.unusable(
            f"has {len(levels)} different texts in {(~missing).sum()} rows: it looks like an identifier"
        )
    numbers = {level: number for number, level in enumerate(levels)}
    found = np.array([len(levels) if gone else numbers[value] for value, gone in zip(values, missing, strict=True)])
    made = Column(place.column, (*levels, "missing") if missing.any() else levels)
    columns.append(made)
    inputs.append(found.astype(np.float64) if made.inputs == 1 else np.eye(made.inputs)[found])


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values (N,) are missing."""
    return np.isnan(values) if values.dtype == np.float64 else np.array([value is None for value in values], bool)


def _plain(place: _Place, series: Series) -> NDArray[Any]:
    """A column's values (N,): float64 with NaN where one is missing, or texts with None. Raises UnusableColumnError."""
    import pandas as pd
    from pandas.api import types

    if types.is_datetime64_any_dtype(series) or types.is_timedelta64_dtype(series):
        raise place.dates(series.dropna().iloc[0])
    if types.is_complex_dtype(series):
        raise place.unusable("has complex numbers")
    if types.is_numeric_dtype(series) and not types.is_bool_dtype(series):
        return np.asarray(series.to_numpy(np.float64, na_value=np.nan), np.float64)
    values = [None if types.is_scalar(value) and pd.isna(value) else value for value in series.tolist()]
    return _texts(place, [value.strip() or None if isinstance(value, str) else value for value in values])


def _texts(place: _Place, values: Sequence[Any]) -> NDArray[Any]:
    """Values of any kind, None where one is missing: as numbers if all are, as texts if they are; else it is told."""
    there = [value for value in values if value is not None]
    if all(map(_means_number, there)):
        return np.array([np.nan if value is None else float(value) for value in values], np.float64)
    _check_kinds(place, values)
    texts = [None if value is None else str(value) for value in values]
    _check_texts(place, texts)
    return np.array(texts, object)


def _check_kinds(place: _Place, values: Sequence[Any]) -> None:
    """None may be a date, or what is neither number nor text."""
    there = [value for value in values if value is not None]
    if dates := [value for value in there if hasattr(value, "isoformat")] or _written_dates(there):
        raise place.dates(dates[0])
    if (row := _with_comma(values)) is not None:
        hint = "write it with a decimal point and no other marks, or name the column in drop"
        raise place.unusable(f"is {values[row]!r}, a number with a comma", hint, row)
    for row, value in enumerate(values):
        if not isinstance(value, str | bool | int | float | None):
            raise place.unusable(f"is neither number nor text but {type(value).__name__}", row=row)


def _check_texts(place: _Place, texts: Sequence[str | None]) -> None:
    """Few of them may be numbers: else the others are mistakes."""
    no_number = [row for row, text in enumerate(texts) if text is not None and not _is_number(text)]
    if len(no_number) < (len(texts) - texts.count(None)) / 2:
        hint = "leave it empty where a number is missing, or name the column in drop"
        raise place.unusable(f"is {texts[no_number[0]]!r}, where most are numbers", hint, no_number[0])


def _written_dates(values: Sequence[Any]) -> Sequence[Any]:
    """The values, if all are texts that mean dates or times."""
    return values if all(DATE.fullmatch(str(value)) for value in values) else ()


def _with_comma(values: Sequence[Any]) -> int | None:
    """The first row of a number that is written with a comma, where all values are numbers but for their marks."""
    texts = [str(value) for value in values if value is not None]
    if not all(_is_number(re.sub("[.,]", "", text)) for text in texts):
        return None
    return next((row for row, value in enumerate(values) if DECIMAL_COMMA.fullmatch(str(value))), None)


def _means_number(value: Any) -> bool:
    """Whether a value is a number, or a text that is one: with signs around it, say."""
    if isinstance(value, str):
        return _is_number(value)
    return isinstance(value, int | float | Decimal) and type(value) is not bool


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# What is learned


def _learned(name: str, frame: Frame, wanted: tuple[str, ...], task: str) -> _Learned:
    """The targets as a task learns them; with task "" as what stands there suggests, which is noted."""
    columns = [_target(_at(name, frame, column), frame[column]) for column in wanted]
    notes: tuple[str, ...] = ()
    if len(wanted) > 1:
        if task == "classification":
            raise UserError(f"task: several targets ({listed(wanted)}) can only be learned as a regression")
        task = "regression"
    elif not task:
        task, why = _inferred(columns[0])
        notes = (f"learned as a {task}, since {wanted[0]} has {why}",)
    places = [_at(name, frame, column) for column in wanted]
    if task == "classification":
        values, classes = targets.classes(columns[0].tolist(), places[0].row, f"{name}, column {wanted[0]}")
        return _Learned(values, classes, notes)
    made = []
    for place, values in zip(places, columns, strict=True):
        if values.dtype == object:
            raise targets.NoNumbersError(f"{place.row(0)}: a regression learns numbers, got {values[0]!r}")
        made.append(targets.numbers(values, place.row))
        if not np.ptp(made[-1]):
            raise UserError(
                f"{name}, column {place.column}: is {made[-1][0]:g} in every row: there is nothing to learn"
            )
    return _Learned(np.column_stack(made), (), notes)


def _target(place: _Place, series: Series) -> NDArray[Any]:
    try:
        values = _plain(place, series)
    except UnusableColumnError as error:
        raise UserError(f"{error.where}: {error.reason}; what is learned must be numbers or labels") from None
    if len(gone := np.flatnonzero(_missing(values))):
        others = len(gone) - 1
        more = f", as in {others:,} more row{'s' * (others > 1)}" if others else ""
        raise UserError(f"{place.row(gone[0])}: what is to be learned is missing{more}; remove such rows")
    return values


def _inferred(values: NDArray[Any]) -> tuple[str, str]:
    """The task that a column suggests, and why."""
    if values.dtype == object:
        return "classification", "texts" if set(values) - {"False", "True"} else "booleans"
    different = len(np.unique(values))
    whole = bool((values == np.floor(values)).all())
    if whole and different <= min(FEW, len(values) / 4):
        return "classification", f'{different} different whole numbers; if they are amounts, say task = "regression"'
    if whole:
        hint = '; if they are classes, say task = "classification"'
        return "regression", f"{different:,} different whole numbers{hint}"
    return "regression", "numbers"


# Which rows are for what


def _by_column(name: str, frame: Frame, column: str, learned: _Learned) -> dict[str, NDArray[np.int64]]:
    """The rows for training, validation and test, as a column says."""
    import pandas as pd

    words = ["" if pd.isna(value) else str(value).strip().lower() for value in frame[column].tolist()]
    for row, word in enumerate(words):
        if word not in PARTS:
            got = f"got {word!r}{nearest(word, PARTS)}" if word else "got nothing"
            raise UserError(f"{_at(name, frame, column).row(row)}: must be one of {listed(PARTS)}, {got}")
    found = np.array(words)
    rows = {part: np.flatnonzero(found == part) for part in PARTS}
    for part in ("train", "test"):
        if not len(rows[part]):
            raise UserError(f"{name}: column {column} has no row {part!r}")
    if learned.classes:
        what = f"{name}: the training rows of {column}"
        targets.check_all_trained(learned.values[rows["train"]], learned.classes, what)
    return rows


def _choices(name: str, splits: Frame, table: str, learned: _Learned) -> tuple[Tensor, ...]:
    """The test rows (M,) of each split, in the order of their numbers."""
    if set(splits.columns) != {"split", "row"}:
        raise UserError(f"{name}: must have the columns split and row, got {_some(list(splits.columns))}")
    split, row = (_whole(_at(name, splits, column), splits[column]) for column in ("split", "row"))
    count = len(learned.values)
    if len(out := np.flatnonzero((row < 0) | (row >= count))):
        place = out[0]
        raise UserError(
            f"{_at(name, splits, 'row').row(place)}: {table} has the rows 0 to {count - 1:,}, got {row[place]}"
        )
    seen: set[tuple[int, int]] = set()
    for place, pair in enumerate(zip(split.tolist(), row.tolist(), strict=True)):
        if pair in seen:
            raise UserError(f"{_at(name, splits, 'row').row(place)}: row {pair[1]} stands twice in split {pair[0]}")
        seen.add(pair)
    found = []
    for number in np.unique(split):
        found.append(np.sort(row[split == number]))
        rest = np.delete(learned.values, found[-1], axis=0)
        if len(rest) < 2:
            raise UserError(f"{name}: split {number} leaves {len(rest)} rows of {table} for training")
        if learned.classes:
            targets.check_all_trained(rest, learned.classes, f"{name}: the training rows of split {number}")
    return tuple(map(torch.from_numpy, found))


def _whole(place: _Place, series: Series) -> NDArray[np.int64]:
    values = _plain(place, series)
    for row, value in enumerate(values.tolist()):
        if not isinstance(value, float) or not value.is_integer():
            got = "nothing" if value is None or value != value else repr(value)
            raise UserError(f"{place.row(row)}: must be a whole number, got {got}")
    return values.astype(np.int64)
