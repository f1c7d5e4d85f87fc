"""What a study says of the user's own data: which columns are learned, from which, and which rows are for what.

    dataset = "prices.csv"
    target = "price"

Read and checked here as words only; what the file holds is known when a study is run (`parts/sources.py`).
"""

import re
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field

from harness import catalogue
from harness.catalogue import TABLE_FILES
from harness.errors import UserError, listed
from harness.study.space import Table

Name = Annotated[str, Field(min_length=1, max_length=1000)]

LONGEST = 200  # characters of a name, which is part of the names of a journal and a report


class Source(Table):
    """Of a table: the columns to be learned (`target`), those to learn from (`features`, or all but `drop`), the column
    that says which rows are for training, validation and test (`split_column`), and the file of several such choices of
    test rows (`test_rows`, a CSV file with the columns split and row). `unit` is that of a regression's target.
    """

    target: tuple[Name, ...] = ()
    features: tuple[Name, ...] = ()
    drop: tuple[Name, ...] = ()
    split_column: Name | None = None
    test_rows: Name | None = None
    unit: Annotated[str, Field(max_length=20)] = ""


KEYS = tuple(Source.model_fields)
LISTS = ("target", "features", "drop")
OF_COLUMNS = (*LISTS, "split_column")


def is_built_in(name: object) -> bool:
    """Whether a data set is of the catalogue; all others are the user's own."""
    return name in catalogue.names("dataset")


def means_file(name: object) -> bool:
    """Whether a study's `dataset` can be nothing but a file or folder of the user's, by how it is written."""
    return not is_built_in(name) and isinstance(name, str) and any(mark in name for mark in (".", "/", "\\", ":"))


def is_loader(name: str) -> bool:
    """Whether a data set is what a program of the user's returns."""
    return not is_built_in(name) and name.endswith(".py")


def is_table(name: str) -> bool:
    """Whether a data set is a file that has columns."""
    return not is_built_in(name) and PurePosixPath(name).suffix.lower() in TABLE_FILES


def check_name(name: str) -> str:
    """The name of a data set, which may come from somebody else's journal. Raises UserError if it may lead anywhere."""
    path = PurePosixPath(name)
    leads_out = path.is_absolute() or ".." in path.parts or re.search(r"[\\:]", name) or name in ("", ".")
    if leads_out or not name.isprintable():
        raise UserError(f"must be a file or folder named from the study's or the current folder, with /, got {name!r}")
    if "," in name or len(name) > LONGEST:
        raise UserError(f"must be named without commas, with at most {LONGEST} characters, got {name!r}")
    return name


def file_name(dataset: str) -> str:
    """A data set as part of a file's name: prices.csv in data is data-prices.csv."""
    return dataset.replace("/", "-")


def check_source(source: Source, given: Collection[str], datasets: Sequence[str]) -> None:
    """What a study says of its data must be of such data, and not contradict itself. Raises UserError."""
    own = [name for name in datasets if not is_built_in(name)]
    tables = [name for name in own if is_table(name)]
    for key in given:
        if not own:
            raise UserError(
                f"{key}: {datasets[0]} is built in; only data of your own has it, as dataset = 'prices.csv'"
            )
        if key != "unit" and not tables:
            raise UserError(f"{key}: is of tables, whose names end in {listed(TABLE_FILES)}, and {own[0]!r} is none")
    if tables and not source.target:
        raise UserError(f"target: missing; which column of {tables[0]} is to be learned? As in target = 'price'")
    if source.test_rows is not None and len(datasets) > 1:
        raise UserError(f"test_rows: are of one data set, and {len(datasets)} are compared")
    _check_columns(source)
    if not source.unit.isprintable():
        raise UserError(f"unit: must be a text that can be shown on one line, got {source.unit!r}")


def _check_columns(source: Source) -> None:
    """Each column is for one thing."""
    if source.features and source.drop:
        raise UserError("drop: features names all columns that are learned from; give one of the two")
    if source.split_column is not None and source.test_rows is not None:
        raise UserError("test_rows: split_column says already which rows are for the test; give one of the two")
    seen: dict[str, str] = {}
    for key in OF_COLUMNS:
        value = getattr(source, key)
        for column in (value,) if isinstance(value, str) else value or ():
            if column in seen:
                where = "twice" if seen[column] == key else f"in {seen[column]} already"
                raise UserError(f"{key}: {column!r} stands {where}")
            seen[column] = key
