"""Where data comes from: every source, and what is told of every mistake in one."""

import datetime
import socket
import string
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_wine

from harness.errors import UserError
from harness.parts import images, sizes, tables
from harness.parts.data import Column, Data, MissingDataError, Split, data_of, load
from harness.parts.images import CLOTHES, FILES
from harness.parts.loader import read_loader
from harness.parts.sources import read
from harness.parts.tables import UnusableColumnError
from harness.study.own import parse_loader
from harness.study.places import data_file
from harness.study.source import Source
from harness.training.loop import train
from harness.trial import Outcome

from .conftest import make_trial
from .test_datasets import needs_mnist

STUDY = Path("studies/mine")
ROWS = 40


@pytest.fixture(autouse=True)
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a study, below the current one."""
    monkeypatch.chdir(tmp_path)
    STUDY.mkdir(parents=True)
    return STUDY


def get(name: str, task: str = "", **source: Any) -> Data:
    """The data of that name, as a study that says `source` reads them."""
    return read(name, Source(**source), partial(data_file, STUDY), task)


def told(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


# Tables


def frame(rows: int = ROWS) -> pd.DataFrame:
    """A column of each kind, the price of everything, and whether it was sold."""
    numbers = np.arange(rows)
    return pd.DataFrame(
        {
            "size": np.where(numbers % 10 == 3, np.nan, numbers * 1.5),
            "town": [("Bonn", "Aachen", None)[number % 3] for number in numbers],
            "new": numbers % 2 == 0,
            "same": "x",
            "rooms": numbers % 7,
            "price": numbers**2 + 0.25,
            "sold": ["no" if number % 4 == 0 else "yes" for number in numbers],
        }
    )


def by_file(data: Data) -> tuple[list[list[float]], list[Any]]:
    """Inputs and targets in the order of the file, by the column "rooms" and the targets of a regression."""
    order = torch.argsort(data.targets[:, 0])
    return data.inputs[order].tolist(), data.targets[order].tolist()


def test_a_table_becomes_numbers() -> None:
    frame().to_csv(STUDY / "prices.csv", index=False)
    data = get("prices.csv", target=("price",), drop=("sold",))
    assert data.columns == (
        Column("size"),
        Column("size is missing", ("no", "yes")),
        Column("town", ("Aachen", "Bonn", "missing")),
        Column("new", ("False", "True")),
        Column("rooms"),
    )
    assert (data.shape, data.task, data.target_names, data.things) == ((7,), "regression", ("price",), "rows")
    assert (len(data.train), len(data.test)) == (32, 8)
    inputs, targets = by_file(data)
    assert targets == [[number**2 + 0.25] for number in range(ROWS)]
    assert inputs[1] == [1.5, 0, 1, 0, 0, 0, 1]
    assert np.isnan(inputs[3][0])
    assert inputs[3][1:] == [1, 0, 1, 0, 0, 3]
    assert data.notes == (
        "learned as a regression, since price has numbers",
        "left out, since all rows have the same value: same",
    )
    row = next(number for number in range(ROWS) if data.targets[number, 0] == 9.25)
    shown = {"size": "missing", "size is missing": "yes", "town": "Bonn", "new": "False", "rooms": "3"}
    assert dict(data.shown(row)) == shown


def test_texts_that_are_all_numbers_are_numbers() -> None:
    """As a file has them that was written with signs around them, which no reader takes for white space but we do."""
    one = frame()
    one["rooms"] = [f"\x1c{number}" for number in one["rooms"]]
    one.to_csv(STUDY / "signs.csv", index=False)
    frame().to_csv(STUDY / "plain.csv", index=False)
    signs, plain = (get(name, target=("price",), drop=("sold",)) for name in ("signs.csv", "plain.csv"))
    assert signs.columns == plain.columns
    assert torch.equal(signs.inputs.nan_to_num(-1), plain.inputs.nan_to_num(-1))
    place = tables._Place("signs.csv", "rooms", range(1, 3))
    assert tables._plain(place, pd.Series([7, "\x1c8"], dtype=object)).tolist() == [7.0, 8.0]  # as of a file in pieces


def test_a_table_is_the_same_in_every_format() -> None:
    one = frame()
    one.to_csv(STUDY / "a.csv", index=False)
    one.to_csv(STUDY / "a.tsv", index=False, sep="\t")
    one.to_csv(STUDY / "semicolons.csv", index=False, sep=";", encoding="utf-8-sig")
    one.to_csv(STUDY / "spaces.csv", index=False, sep=" ", na_rep="NA")
    one.to_csv(STUDY / "counted.csv")  # with the first column that pandas adds
    (STUDY / "lines.csv").write_text((STUDY / "a.csv").read_text().replace("\n3.0,", "\n\n3.0,") + "\n\n")
    one.to_parquet(STUDY / "a.parquet")
    one.astype({"town": "category", "rooms": "Int64"}).to_feather(STUDY / "a.feather")
    names = ("a.csv", "a.tsv", "semicolons.csv", "spaces.csv", "counted.csv", "lines.csv", "a.parquet", "a.feather")
    read_in = {name: get(name, target=("sold",)) for name in names}
    assert len({data.fingerprint for data in read_in.values()}) == 1
    assert {data.columns for data in read_in.values()} == {read_in["a.csv"].columns}
    assert {data.classes for data in read_in.values()} == {("no", "yes")}
    assert "left out, since it has no name and counts the rows: the first column" in read_in["counted.csv"].notes


def test_values_may_be_quoted() -> None:
    lines = [f'"two\nlines, {number % 2}",{number}' for number in range(30)]
    (STUDY / "t.csv").write_text("\n".join(['"what, how",y', *lines]))
    assert get("t.csv", target=("y",)).columns == (Column("what, how", ("two\nlines, 0", "two\nlines, 1")),)


def csv(*rows: str, head: str = "a,y", count: int = 20) -> str:
    """A text of `count` rows in which y is a number, and these after them."""
    return "\n".join([head, *(f"{number % 7},{number}.5" for number in range(count)), *rows]) + "\n"


MANY = "a,y\n" + "".join(f"t{number},{number}.5\n" for number in range(101))
DATES = "a,y\n" + "".join(f"{number + 1}.3.2020,{number}.5\n" for number in range(20))
LABELS = "a,y\n" + "".join(f"{number % 7},{'uv'[number % 2]}\n" for number in range(20))
TABLES: dict[str, tuple[str, dict[str, Any], str]] = {
    "no target": (csv(), {"target": ()}, 't.csv: say which column is learned, as target = "y"; it has a, y'),
    "misspelt target": (
        csv(head="size,price"),
        {"target": ("pirce",)},
        "target: t.csv has no column pirce; did you mean price?",
    ),
    "no such column": (csv(), {"drop": ("zebra",)}, "drop: t.csv has no column zebra; it has a, y"),
    "both": (
        csv(),
        {"drop": ("a",), "features": ("a",)},
        "features and drop: only one of them can be given, since each says which columns are used",
    ),
    "both splits": (
        csv(),
        {"split_column": "a", "test_rows": "t.csv"},
        "split_column and test_rows: only one of them can be given, since each says how rows are split",
    ),
    "twice": (csv(), {"features": ("y",)}, "features: column y is named as target too; it can be one of them"),
    "empty": ("", {}, "t.csv: is empty"),
    "no rows": ("a,y\n", {}, "t.csv: has names of columns, but no rows"),
    "one name": (
        csv(head="y,y"),
        {},
        "t.csv: has two columns called y; every column needs a name of its own",
    ),
    "too many values": (csv("1,2,3"), {}, "t.csv: cannot be read as csv: Expected 2 fields in line 22, saw 3"),
    "more than names": (
        "a,y\n1,2,3\n4,5,6\n",
        {},
        "t.csv: cannot be read as csv: row 1 has 2 names of columns, but row 2 has 3 values",
    ),
    "open quote": (csv('1,"2'), {}, "t.csv: cannot be read as csv: the quotes that open in row 22 never close"),
    "missing target": (
        csv("1,"),
        {},
        "t.csv, row 22, column y: what is to be learned is missing; remove such rows",
    ),
    "missing targets": (
        csv("1,", "1,2", "1,"),
        {},
        "t.csv, row 22, column y: what is to be learned is missing, as in 1 more row; remove such rows",
    ),
    "text in numbers": (
        csv("?,3"),
        {},
        "t.csv, row 22, column a: is '?', where most are numbers; leave it empty where a number is missing, or name "
        "the column in drop",
    ),
    "after an empty line": (
        csv("", "?,3"),
        {},
        "t.csv, row 23, column a: is '?', where most are numbers; leave it empty where a number is missing, or name "
        "the column in drop",
    ),
    "decimal commas": (
        "a;y\n1,5;2\n2;3\n",
        {},
        "t.csv, row 2, column a: is '1,5', a number with a comma; write it with a decimal point and no other marks, or "
        "name the column in drop",
    ),
    "text in target": (
        csv("1,x"),
        {},
        "t.csv, row 22, column y: is 'x', where most are numbers; what is learned must be numbers or labels",
    ),
    "infinite": (csv("inf,1"), {}, "t.csv, row 22, column a: is inf, no number of 32 bits; name it in drop"),
    "infinite target": (
        csv("1,-inf"),
        {},
        "t.csv, row 22, column y: must be a finite number of 32 bits, got -inf",
    ),
    "too large": (csv("1e39,1"), {}, "t.csv, row 22, column a: is 1e+39, no number of 32 bits; name it in drop"),
    "dates": (
        DATES,
        {},
        "t.csv, column a: has dates or times (1.3.2020); write what matters as numbers (year, month, days since the "
        "first), or name it in drop",
    ),
    "many levels": (MANY, {}, "t.csv, column a: has 101 different texts, more than 100; name it in drop"),
    "nothing left": (csv(), {"drop": ("a",)}, "t.csv: no column is left to learn from"),
    "constant": (
        "a,y\n1,2.5\n1,3.5\n",
        {},
        "t.csv: no column is left to learn from: all rows have the same value in a",
    ),
    "identifier": (
        MANY,
        {"target": ("a",)},
        "t.csv, column a has 101 classes in 101 rows: it looks like an identifier, not like classes",
    ),
    "lone class": (
        LABELS + "1,w\n",
        {},
        "t.csv, row 22, column y: class w has this row only; training and test need one each",
    ),
    "one class": ("a,y\n1,u\n2,u\n", {}, "t.csv, column y has one class only, u: there is nothing to learn"),
    "one number": ("a,y\n1,.5\n2,.5\n", {}, "t.csv, column y: is 0.5 in every row: there is nothing to learn"),
    "texts as numbers": (
        LABELS,
        {"task": "regression"},
        "t.csv, row 2, column y: a regression learns numbers, got 'u'",
    ),
    "fractions as classes": (
        csv(),
        {"task": "classification"},
        "t.csv, row 2, column y: a class must be a text or a whole number, got 0.5",
    ),
    "whole numbers as classes": (
        "a,y\n" + "".join(f"{number % 7},{number}\n" for number in range(30)),
        {"task": "classification"},
        "t.csv, column y has 30 classes in 30 rows: it looks like an identifier, not like classes; numbers are "
        'learned with task = "regression"',
    ),
    "several as classes": (
        csv(),
        {"target": ("a", "y"), "task": "classification"},
        "task: several targets (a, y) can only be learned as a regression",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_cannot_be_learned_is_told(case: str) -> None:
    text, source, expected = TABLES[case]
    (STUDY / "t.csv").write_text(text)
    assert told(lambda: get("t.csv", **{"target": ("y",), **source})) == expected


def test_files_that_are_no_tables_are_told() -> None:
    (STUDY / "t.csv").write_bytes(b"a,y\n1,\xe4\n")
    assert told(lambda: get("t.csv", target=("y",))) == "t.csv: is not UTF-8: invalid continuation byte at byte 6"
    for name in ("t.parquet", "t.feather"):
        (STUDY / name).write_bytes(b"something else")
        assert told(partial(get, name, target=("y",))).startswith(f"{name}: cannot be read as {name[2:]}: ")
    (STUDY / "t.xlsx").touch()
    assert told(lambda: get("t.xlsx")) == (
        "t.xlsx: must be a folder of images or end in .csv, .tsv, .parquet, .feather, .npz, .pt"
    )
    (STUDY / "t.pkl").mkdir()
    assert told(lambda: get("t.pkl", target=("y",))) == (
        "target: is for tables (.csv, .tsv, .parquet, .feather) only, and t.pkl is none"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pd.Timestamp("2020-01-02"), "column odd: has dates or times (2020-01-02 00:00:00); write what"),
        (datetime.date(2020, 1, 2), "column odd: has dates or times (2020-01-02); write what"),
        (pd.Timedelta("1s"), "column odd: has dates or times (0 days 00:00:01); write what"),
        ([1, 2], "row 1, column odd: is neither number nor text but ndarray; name it in drop"),
        (b"x", "row 1, column odd: is neither number nor text but bytes; name it in drop"),
    ],
)
def test_columns_of_other_kinds_are_told(value: object, expected: str) -> None:
    frame().assign(odd=[value] * ROWS).to_parquet(STUDY / "t.parquet")
    with pytest.raises(UnusableColumnError) as caught:
        get("t.parquet", target=("price",))
    assert str(caught.value).startswith(f"t.parquet, {expected}")
    assert caught.value.column == "odd"
    assert caught.value.reason in expected
    assert get("t.parquet", target=("price",), drop=("odd",)).task == "regression"


@pytest.mark.parametrize(
    ("column", "values", "task", "classes", "note"),
    [
        ("t", ["b", "a"] * 20, "", ("a", "b"), "learned as a classification, since t has texts"),
        ("t", [True, False] * 20, "", ("False", "True"), "learned as a classification, since t has booleans"),
        (
            "t",
            [10, 9, 3.0, -1] * 10,
            "",
            ("-1", "3", "9", "10"),
            "learned as a classification, since t has 4 different whole numbers; if they are amounts, say "
            'task = "regression"',
        ),
        ("t", [10, 9, 3.0, -1] * 10, "regression", (), None),
        (
            "t",
            list(range(40)),
            "",
            (),
            "learned as a regression, since t has 40 different whole numbers; if they are classes, say "
            'task = "classification"',
        ),
        ("t", list(range(20)) * 2, "classification", tuple(map(str, range(20))), None),
        ("t", [0.5, 1, 2, 3] * 10, "", (), "learned as a regression, since t has numbers"),
    ],
)
def test_the_task_is_told_by_the_target(
    column: str, values: list[object], task: str, classes: tuple[str, ...], note: str | None
) -> None:
    pd.DataFrame({"a": np.arange(40) % 7, column: values}).to_csv(STUDY / "t.csv", index=False)
    data = get("t.csv", task, target=(column,))
    assert data.classes == classes
    assert data.notes == ((note,) if note else ())
    assert data.targets.dtype == (torch.int64 if classes else torch.float32)


def test_several_targets_are_a_regression() -> None:
    frame().to_csv(STUDY / "t.csv", index=False)
    data = get("t.csv", target=("price", "rooms"), features=("town", "new"))
    assert (data.task, data.target_names, data.outputs, data.notes) == ("regression", ("price", "rooms"), 2, ())
    assert by_file(data)[1][9] == [81.25, 2.0]
    assert [column.name for column in data.columns] == ["town", "new"]


# Which rows are for what


def test_a_column_says_which_rows_are_for_what() -> None:
    part = ["Train", "test", "VALIDATION", "train"] * 10
    frame().assign(part=part).to_csv(STUDY / "t.csv", index=False)
    data = get("t.csv", target=("price",), split_column="part")
    assert (data.trainable, data.validation, len(data.test)) == (30, 10, 10)
    rows = {
        name: torch.sqrt(data.targets[at, 0] - 0.25).round().int() for name, at in data.split(1, 0.2)._asdict().items()
    }
    assert sorted(rows["val"].tolist()) == list(range(2, 40, 4))
    assert sorted(rows["test"].tolist()) == list(range(1, 40, 4))
    assert "part" not in [column.name for column in data.columns]


PARTS: dict[str, tuple[list[str], str]] = {
    "other word": (
        ["train", "tset"] * 20,
        "t.csv, row 3, column part: must be one of train, validation, test, got 'tset'; did you mean test?",
    ),
    "no word": (
        ["train", ""] * 20,
        "t.csv, row 3, column part: must be one of train, validation, test, got nothing",
    ),
    "no training": (["test"] * 40, "t.csv: column part has no row 'train'"),
    "no test": (["train", "validation"] * 20, "t.csv: column part has no row 'test'"),
    "class not trained": (
        ["test", "train", "train", "train"] * 10,
        "t.csv: the training rows of part have no row of class no",
    ),
}


@pytest.mark.parametrize("case", PARTS)
def test_a_column_that_splits_no_rows_is_told(case: str) -> None:
    part, expected = PARTS[case]
    frame().assign(part=part).to_csv(STUDY / "t.csv", index=False)
    assert told(lambda: get("t.csv", target=("sold",), split_column="part")) == expected


def test_given_test_rows_are_splits_of_their_own() -> None:
    frame().to_csv(STUDY / "t.csv", index=False)
    plain = get("t.csv", target=("price",))
    (STUDY / "rows.csv").write_text("split,row\n1,5\n0,3\n0,0\n1,39\n")
    data = get("t.csv", target=("price",), test_rows="rows.csv")
    assert [rows.tolist() for rows in data.test_splits] == [[0, 3], [5, 39]]
    assert data.trainable == ROWS
    assert data.targets[:, 0].tolist() == [number**2 + 0.25 for number in range(ROWS)]
    parts = data.split(9, 0.25, pool=1)
    assert parts.test.tolist() == [5, 39]
    assert sorted(torch.cat(parts).tolist()) == list(range(ROWS))
    (STUDY / "rows.csv").write_text("split,row\n1,5\n0,3\n0,0\n1,38\n")
    assert (
        len({plain.fingerprint, data.fingerprint, get("t.csv", target=("price",), test_rows="rows.csv").fingerprint})
        == 3
    )


TEST_ROWS = {
    "split,raw\n0,1\n": "rows.csv: must have the columns split and row, got split, raw",
    "split,row\n0,1\n0,40\n": "rows.csv, row 3, column row: t.csv has the rows 0 to 39, got 40",
    "split,row\n0,-1\n": "rows.csv, row 2, column row: t.csv has the rows 0 to 39, got -1",
    "split,row\n0,1\n1,1\n0,1\n": "rows.csv, row 4, column row: row 1 stands twice in split 0",
    "split,row\n0,1.5\n": "rows.csv, row 2, column row: must be a whole number, got 1.5",
    "split,row\n0,1\n,2\n": "rows.csv, row 3, column split: must be a whole number, got nothing",
    "split,row\n": "rows.csv: has names of columns, but no rows",
    "split,row\n" + "".join(f"3,{row}\n" for row in range(39)): "rows.csv: split 3 leaves 1 rows of t.csv for training",
    "split,row\n" + "".join(f"0,{row}\n" for row in range(0, 40, 4)): "rows.csv: the training rows of split 0 have "
    "no row of class no",
}


@pytest.mark.parametrize("text", TEST_ROWS)
def test_test_rows_that_do_not_fit_are_told(text: str) -> None:
    frame().to_csv(STUDY / "t.csv", index=False)
    (STUDY / "rows.csv").write_text(text)
    assert told(lambda: get("t.csv", target=("sold",), test_rows="rows.csv")) == TEST_ROWS[text]


def test_what_fits_into_no_memory_is_told_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1e8 < sizes.free_memory() < 1e14
    monkeypatch.setattr(sizes, "free_memory", lambda: 8 * 10**9)
    for name in ("big.csv", "big.pt"):
        with (STUDY / name).open("wb") as file:
            file.truncate(20 * 10**9)  # a hole, which takes no place on the disk
    expected = (
        "{}: has 20.0 GB and would take about 60.0 GB of memory, of which 8.0 GB are free; take fewer rows or "
        "columns, or a machine with more"
    )
    assert told(lambda: get("big.csv", target=("y",))) == expected.format("big.csv")
    assert told(lambda: get("big.pt")) == expected.format("big.pt")
    np.savez_compressed(STUDY / "zeros.npz", x=np.zeros((1000, 1000)), y=np.zeros(1000))
    monkeypatch.setattr(sizes, "free_memory", lambda: 10**7)
    assert "zeros.npz: has 0.0 GB and would take about 0.0 GB" in told(lambda: get("zeros.npz"))
    monkeypatch.undo()
    monkeypatch.setattr(sizes, "MEMINFO", Path("nowhere"))
    assert 1e8 < sizes.free_memory() < 1e14, "where nobody knows more than what the machine has"


# Arrays

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (30, 3, 5, 4), dtype=np.uint8)
CLASSES = np.arange(30) % 3


def test_arrays_are_tables_or_images() -> None:
    x = RANDOM.normal(size=(30, 4)).astype(np.float32)
    np.savez(STUDY / "one.npz", X=x, Y=np.array(["b", "a", "c"])[CLASSES])
    data = get("one.npz")
    assert data.numbers is not None
    assert (data.inputs.numpy() == x[data.numbers]).all(), "an array's rows are counted from 0, as in x[7]"
    assert (data.shape, data.classes, len(data.train), len(data.test)) == ((4,), ("a", "b", "c"), 24, 6)
    assert [column.name for column in data.columns] == ["0", "1", "2", "3"]
    assert data.inputs.dtype == torch.float32
    assert torch.bincount(data.test.targets).tolist() == [2, 2, 2]
    halves: dict[str, Any] = {
        "x_train": BYTES[:20],
        "y_train": CLASSES[:20] * 5,
        "x_test": BYTES[20:],
        "y_test": CLASSES[20:] * 5,
    }
    np.savez(STUDY / "two.npz", **halves)
    torch.save({key: torch.from_numpy(value) for key, value in halves.items()}, STUDY / "two.pt")
    for name in ("two.npz", "two.pt"):
        data = get(name)
        assert (data.shape, data.white, data.classes, data.trainable) == ((3, 5, 4), 255.0, ("0", "5", "10"), 20)
        assert (data.inputs.numpy() == BYTES.reshape(30, -1)).all()
        assert data.targets.tolist() == CLASSES.tolist()
        assert data.numbers is not None
        assert data.numbers.tolist() == [*range(20), *range(10)], "each array's by itself"


@pytest.mark.parametrize(
    ("images", "shape", "white", "dtype"),
    [
        (BYTES, (3, 5, 4), 255.0, torch.uint8),
        (BYTES.transpose(0, 2, 3, 1), (3, 5, 4), 255.0, torch.uint8),
        (BYTES[:, 0], (1, 5, 4), 255.0, torch.uint8),
        (BYTES.astype(np.int64), (3, 5, 4), 255.0, torch.uint8),
        (BYTES % 16, (3, 5, 4), 255.0, torch.uint8),
        (BYTES > 99, (3, 5, 4), 1.0, torch.uint8),
        (BYTES / 255, (3, 5, 4), 1.0, torch.float32),
        (BYTES.astype(np.float64), (3, 5, 4), 255.0, torch.float32),
    ],
)
def test_images_have_channels_first(images: Any, shape: tuple[int, ...], white: float, dtype: torch.dtype) -> None:
    np.savez(STUDY / "a.npz", x=images, y=CLASSES)
    data = get("a.npz")
    assert (data.shape, data.white, data.inputs.dtype, data.columns) == (shape, white, dtype, ())
    wanted = np.moveaxis(images, 3, 1) if images.shape[3:] == (3,) else images
    found = {tuple(row) for row in data.inputs.tolist()}
    assert found == {tuple(row) for row in wanted.astype(str(dtype)[6:]).reshape(30, -1).tolist()}


@pytest.mark.parametrize(
    ("y", "task", "classes", "names"),
    [
        (RANDOM.normal(size=30), "", (), ("y",)),
        (RANDOM.normal(size=(30, 1)), "", (), ("y",)),
        (RANDOM.normal(size=(30, 2)), "", (), ("y 0", "y 1")),
        (np.stack([CLASSES, CLASSES + 1], 1), "", (), ("y 0", "y 1")),
        (CLASSES, "regression", (), ("y",)),
        (CLASSES[:, None], "", ("0", "1", "2"), ()),
        (CLASSES == 1, "", ("False", "True"), ()),
        (CLASSES * 1.0, "classification", ("0", "1", "2"), ()),
        (np.array([b"u", b"v", b"w"])[CLASSES], "", ("u", "v", "w"), ()),
    ],
)
def test_labels_say_what_is_learned(y: Any, task: str, classes: tuple[str, ...], names: tuple[str, ...]) -> None:
    np.savez(STUDY / "a.npz", x=RANDOM.normal(size=(30, 4)), y=y)
    data = get("a.npz", task)
    assert (data.classes, data.target_names) == (classes, names)
    assert bool(data.notes) == (task == "")


TABLE = RANDOM.normal(size=(30, 4))
NAN = TABLE.copy()
NAN[7, 2] = np.nan
ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "no names": ({"a": TABLE}, "must have x, y or x_train, y_train, x_test, y_test; it has a"),
    "no y": ({"x": TABLE}, "must have x, y or x_train, y_train, x_test, y_test; it has x"),
    "lengths": ({"x": TABLE, "y": CLASSES[:9]}, "x, y must have one length, got 30 and 9"),
    "one dimension": (
        {"x": CLASSES, "y": CLASSES},
        "x must be numbers of shape (rows, columns), or images (N, H, W), (N, H, W, C) or (N, C, H, W), got int64 "
        "(30,)",
    ),
    "three of y": (
        {"x": TABLE, "y": BYTES[:, 0]},
        "y must be of shape (N,), or (N, targets) of numbers, got uint8 (30, 5, 4)",
    ),
    "nothing": ({"x": TABLE[:0], "y": CLASSES[:0]}, "x has nothing in it: float64 (0, 4)"),
    "nan": ({"x": NAN, "y": CLASSES}, "x[7, 2] must be a finite number of 32 bits, got nan"),
    "nan in y": ({"x": TABLE, "y": NAN[:, 2]}, "y[7]: must be a finite number of 32 bits, got nan"),
    "infinite": ({"x": TABLE * 1e300, "y": CLASSES}, "x[0, 0] must be a finite number of 32 bits, got "),
    "objects": (
        {"x": TABLE, "y": np.array([{}] * 30, object)},
        "has an array of Python objects, which is never read; save numbers or texts",
    ),
    "complex": (
        {"x": TABLE * 1j, "y": CLASSES},
        "x must hold numbers, or labels in one dimension, got complex128 (30, 4)",
    ),
    "channels": (
        {"x": np.zeros((30, 8, 8, 5)), "y": CLASSES},
        "x has no dimension of 1 to 4 channels, got float64 (30, 8, 8, 5)",
    ),
    "one class": ({"x": TABLE, "y": CLASSES * 0}, "y has one class only, 0: there is nothing to learn"),
    "lone class": (
        {"x": TABLE, "y": np.arange(30) == 4},
        "y[4]: class True has this row only; training and test need one each",
    ),
    "identifier": (
        {"x": TABLE, "y": np.arange(30)},
        "y has 30 classes in 30 rows: it looks like an identifier, not like classes; numbers are learned with task = "
        '"regression"',
    ),
    "columns": (
        {"x_train": TABLE, "y_train": CLASSES, "x_test": TABLE[:, :3], "y_test": CLASSES},
        "x_train and x_test must be alike, got float64 (30, 4) and float64 (30, 3)",
    ),
    "labels": (
        {"x_train": TABLE, "y_train": CLASSES, "x_test": TABLE, "y_test": CLASSES.astype(str)},
        "y_train and y_test must be alike, got int64 (30,) and <U21 (30,)",
    ),
    "not trained": (
        {"x_train": TABLE, "y_train": CLASSES, "x_test": TABLE, "y_test": CLASSES + 1},
        "x_train and y_train have no row of class 3",
    ),
    "nan in the test": (
        {"x_train": TABLE, "y_train": CLASSES, "x_test": NAN, "y_test": CLASSES},
        "x_test[7, 2] must be a finite number of 32 bits, got nan",
    ),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_cannot_be_learned_are_told(case: str) -> None:
    given, expected = ARRAYS[case]
    np.savez(STUDY / "a.npz", **given)
    said = told(lambda: get("a.npz"))
    assert said.startswith(f"a.npz: {expected}")
    assert case == "infinite" or said == f"a.npz: {expected}"


def test_labels_and_tasks_that_do_not_fit_are_told() -> None:
    np.savez(STUDY / "a.npz", x=TABLE, y=CLASSES.astype(str))
    assert told(lambda: get("a.npz", "regression")) == "a.npz: y[0]: a regression learns numbers, got '0'"
    np.savez(STUDY / "a.npz", x=TABLE, y=TABLE[:, 0])
    assert told(lambda: get("a.npz", "classification")).startswith(
        "a.npz: y[0]: a class must be a text or a whole number, got -1.03"
    )
    np.savez(STUDY / "a.npz", x=TABLE, y=TABLE)
    assert told(lambda: get("a.npz", "classification")) == (
        "a.npz: y must have one class for each row, got float64 (30, 4)"
    )
    np.savez(STUDY / "a.npz", x=TABLE, y=np.ones(30))
    assert told(lambda: get("a.npz")) == "a.npz: y has one value only, 1: there is nothing to learn"
    (STUDY / "a.npz").write_bytes(b"nothing of the kind")
    assert told(lambda: get("a.npz")) == "a.npz: cannot be read as npz: File is not a zip file"


class Evil:
    """What a pickle can do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("done"),))


def test_nothing_but_tensors_is_read_of_a_pt_file() -> None:
    torch.save({"x": Evil(), "y": torch.zeros(3)}, STUDY / "a.pt")
    assert told(lambda: get("a.pt")).startswith(
        "a.pt: must hold tensors only, as torch.save({'x': x, 'y': y}, ...): Weights only load failed"
    )
    np.savez(STUDY / "a.npz", x=TABLE, y=np.array([Evil()] * 30, object))
    told(lambda: get("a.npz"))
    assert not Path("done").exists()
    for content, kind in ((torch.zeros(3), "Tensor"), ({"x": 1}, "dict of other things"), ([1], "list")):
        torch.save(content, STUDY / "a.pt")
        assert told(lambda: get("a.pt")) == (
            f"a.pt: must hold a dict of tensors, as torch.save({{'x': x, 'y': y}}, ...), got a {kind}"
        )


# Folders of images


def paint(path: str, mode: str = "RGB", size: tuple[int, int] = (6, 5), shade: int = 0) -> None:
    where = STUDY / path
    where.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, shade if mode in ("1", "L", "I;16") else (shade, *[0] * (len(mode) - 1))).save(where)


def test_a_folder_of_images_is_read_by_class() -> None:
    for number in range(6):
        paint(f"flowers/train/{'rose' if number % 2 else 'aster'}/{number}.png", shade=number)
    paint("flowers/test/rose/9.PNG", "RGBA", shade=9)
    paint("flowers/test/aster/10.bmp", "L", shade=10)
    (STUDY / "flowers/train/rose/notes.txt").touch()
    (STUDY / "flowers/train/rose/.hidden.png").touch()
    data = get("flowers/")
    assert (data.shape, data.classes, data.trainable, data.things) == ((3, 5, 6), ("aster", "rose"), 6, "images")
    assert data.targets.tolist() == [0, 0, 0, 1, 1, 1, 0, 1]
    pixels = data.inputs.view(-1, 3, 5, 6)
    assert pixels[:, 0, 4, 5].tolist() == [0, 2, 4, 1, 3, 5, 10, 9]
    assert pixels[:, 1].flatten(1).max(1).values.tolist() == [0] * 6 + [10, 0], "grey is made a colour"


def test_a_folder_without_test_images_and_colours() -> None:
    for number in range(20):
        paint(f"digits/{(10, 9)[number % 2]}/{number}.png", ("L", "1")[number % 2], shade=number)
    data = get("digits/")
    assert (data.shape, data.classes, len(data.train), len(data.test)) == ((1, 5, 6), ("9", "10"), 16, 4)
    assert torch.bincount(data.test.targets).tolist() == [2, 2]


def _other_size() -> None:
    paint("f/train/b/2.png", size=(6, 7))


def _damaged() -> None:
    (STUDY / "f/train/b/1.png").write_bytes(b"no image")


def _cut_short() -> None:
    path = STUDY / "f/train/b/1.png"
    path.write_bytes(path.read_bytes()[:45])


def _deep() -> None:
    paint("f/train/b/2.png", "I;16")


def _empty_class() -> None:
    (STUDY / "f/train/c").mkdir()


def _one_class() -> None:
    for path in (STUDY / "f/train/b").iterdir():
        path.unlink()
    (STUDY / "f/train/b").rmdir()


def _lone() -> None:
    (STUDY / "f/train/b/1.png").unlink()


def _other_class() -> None:
    for path in ("f/test/bb/0.png", "f/test/a/0.png"):
        paint(path)


def _no_train() -> None:
    (STUDY / "f/train").rename(STUDY / "f/test")


def _beside() -> None:
    paint("f/val/a/0.png")


def _link() -> None:
    Image.new("RGB", (6, 5)).save("out.png")
    (STUDY / "f/train/b/2.png").symlink_to(Path("out.png").resolve())


FOLDERS: dict[str, tuple[Callable[[], None], str]] = {
    "size": (_other_size, "f/train/b/2.png is 6x7, but f/train/a/0.png is 6x5; all images must be of one size"),
    "damaged": (_damaged, "f/train/b/1.png: cannot be read as an image: cannot identify image file '1.png'"),
    "cut short": (_cut_short, "f/train/b/1.png: cannot be read as an image: "),
    "16 bits": (_deep, "f/train/b/2.png: has more than 8 bits a pixel (I;16); save it with 8"),
    "no images": (_empty_class, "f/train/c: has no images (.png, .jpg, "),
    "one class": (_one_class, "f/train: needs a folder of images for each class; it has a"),
    "lone": (_lone, "f/train/b: has one image only; training and test need one each"),
    "other class": (_other_class, "f/test/bb: train has no class of that name; did you mean b?"),
    "no train": (_no_train, "f: has a folder test, but none called train; it has test"),
    "beside": (_beside, "f: has train beside val; only test may be there too"),
    "link": (_link, "f/train/b/2.png: leads out of the folder, to "),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_cannot_be_learned_is_told(case: str) -> None:
    for number in range(2):
        paint(f"f/train/a/{number}.png")
        paint(f"f/train/b/{number}.png")
    spoil, expected = FOLDERS[case]
    spoil()
    assert told(lambda: get("f")).startswith(expected)
    assert told(lambda: get("f", "regression")) == "task: f is a folder of classes, which no regression can learn"


# A user's own function

LOADER = """import numpy as np, torch
from torch.utils.data import TensorDataset
x, y = np.arange(120.0).reshape(30, 4), np.arange(30) % 3
def load():
    return """


@pytest.mark.parametrize(
    "given",
    [
        "x, y",
        "[torch.tensor(x), torch.tensor(y)]",
        "x.tolist(), y.tolist()",
        "TensorDataset(torch.tensor(x), torch.tensor(y))",
        "[(row, label) for row, label in zip(x, y)] and x, y",
    ],
)
def test_a_loader_gives_the_data(given: str) -> None:
    text = LOADER + given
    parse_loader(text, "data.py")
    data = read_loader(text, "data.py", "")
    assert (data.shape, data.classes, len(data.train), len(data.test)) == ((4,), ("0", "1", "2"), 24, 6)
    (STUDY / "data.py").write_text(text)
    assert told(lambda: get("data.py")) == "data.py: is a program, which is executed by run, replay and export only"


def test_a_loader_gives_test_rows_too() -> None:
    arrays = read_loader(LOADER + "x[:20], y[:20], x[20:], y[20:]", "data.py", "")
    halves = "tuple(TensorDataset(torch.tensor(x[part]), torch.tensor(y[part])) for part in (slice(20), slice(20, 30)))"
    datasets = read_loader(LOADER + halves, "data.py", "")
    assert arrays.fingerprint == datasets.fingerprint
    assert (arrays.trainable, arrays.inputs[29].tolist()) == (20, [116.0, 117.0, 118.0, 119.0])
    numbers = read_loader(LOADER + "x, y", "data.py", "regression")
    assert numbers.target_names == ("y",)


WANTED = "data.py: load() must return x, y, or x_train, y_train, x_test, y_test, or one or two torch Datasets, got "
LOADERS = {
    "None": f"{WANTED}a NoneType",
    "x": f"{WANTED}a ndarray",
    "x, y, x": f"{WANTED}3 values (ndarray, ndarray, ndarray)",
    "x, None": f"{WANTED}2 values (ndarray, NoneType)",
    "{'x': x, 'y': y}": f"{WANTED}a dict",
    "x, 'labels'": f"{WANTED}2 values (ndarray, str)",
    "x, y[:3]": "data.py: x, y must have one length, got 30 and 3",
    "x, y, x[:, :2], y": "data.py: x_train and x_test must be alike, got float64 (30, 4) and float64 (30, 2)",
    "[[1], [1, 2]], [0, 1]": "data.py: x is no array: setting an array element with a sequence. ",
    "x, object()": "data.py: y must hold numbers, or labels in one dimension, got object ()",
    "1 / 0": "data.py, line 5: load(): ZeroDivisionError: division by zero",
    "exit()": "data.py, line 5: load(): SystemExit",
    "TensorDataset(torch.tensor(x))": "data.py: load() gives a Dataset whose items must be pairs (x, y), item 0 is 1 "
    "values",
    "TensorDataset(torch.zeros(0, 2), torch.zeros(0))": "data.py: load() gives a Dataset without items",
}


@pytest.mark.parametrize("given", LOADERS)
def test_a_loader_that_gives_something_else_is_told(given: str) -> None:
    assert told(lambda: read_loader(LOADER + given, "data.py", "")).startswith(LOADERS[given])


def test_items_of_unlike_shapes_are_told() -> None:
    text = "import torch\nclass Pairs:\n    def __len__(self): return 3\n    def __getitem__(self, i):\n"
    text += "        return torch.zeros(4 if i < 2 else 5), i\ndef load(): return Pairs()\n"
    assert told(lambda: read_loader(text, "data.py", "")) == (
        "data.py: load() gives a Dataset whose items must be of one shape, item 2 is (5,), item 0 is (4,)"
    )
    assert told(lambda: read_loader("load = 3", "data.py", "")) == "data.py: load is no function, got 3"
    assert told(lambda: read_loader("import nowhere_at_all", "data.py", "")) == (
        "data.py, line 1: load(): ModuleNotFoundError: No module named 'nowhere_at_all'"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def lode(): ...", "data.py has no def load(), which gives the data; did you mean lode?"),
        ("x = 1", "data.py has no def load(), which gives the data; it has no function"),
        ("class A:\n    def load(): ...", "data.py has no def load(), which gives the data; it has no function"),
        ("\ndef load(path): ...", "data.py, line 2: must be def load(), without parameters that it needs"),
        ("def load(*, path): ...", "data.py, line 1: must be def load(), without parameters that it needs"),
        ("async def load(): ...", "data.py, line 1: must be def load(), without parameters that it needs"),
        ("def load(: ...", "data.py, line 1: is not Python: invalid syntax"),
        ("#" * 100_001, "data.py: too long: 100,001 characters, at most 100,000"),
    ],
)
def test_a_text_without_a_loader_is_told(text: str, expected: str) -> None:
    assert told(lambda: parse_loader(text, "data.py")) == expected
    parse_loader("raise SystemExit\ndef load(path='a', *, n=3, **rest): ...", "data.py")  # is not executed


# Where files lie


def test_data_is_found_beside_the_study_below_here_and_in_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("HARNESS_DATA_DIR", str(store))
    (store / "uci").mkdir(parents=True)
    for place in (store, Path(), STUDY):
        (place / "uci").mkdir(exist_ok=True)
        (place / "uci" / "t.csv").write_text("")
        assert data_file(STUDY, "uci/t.csv") == place / "uci" / "t.csv"
    Path("linked.csv").symlink_to(store / "uci" / "t.csv")
    assert data_file(STUDY, "linked.csv") == Path("linked.csv")  # from one folder of data into another
    Path("data.py").touch()
    assert told(lambda: data_file(STUDY, "data.py")) == ("dataset: there is no data.py beside the study (studies/mine)")


def test_names_that_lead_elsewhere_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "inside"
    (inside / STUDY).mkdir(parents=True)
    monkeypatch.chdir(inside)
    (tmp_path / "t.csv").write_text("")
    for name in ("../t.csv", str(tmp_path / "t.csv"), "a\\t.csv", ".", "a\nb.csv"):
        assert told(partial(data_file, STUDY, name)) == (
            f"dataset: must be named from beside the study (studies/mine) or another folder of data, got {name!r}"
        )
    (STUDY / "t.csv").symlink_to(tmp_path / "t.csv")
    assert told(lambda: data_file(STUDY, "t.csv")) == (
        f"dataset: studies/mine/t.csv leads out of the folders of data, to {tmp_path / 't.csv'}"
    )
    (STUDY / "round.csv").symlink_to("round.csv")
    assert "round.csv" in told(lambda: data_file(STUDY, "round.csv"))
    assert told(lambda: data_file(STUDY, "x" * 300 + ".csv")).endswith("cannot be read: File name too long")
    monkeypatch.setenv("HARNESS_DATA_DIR", "store")
    Path("prices.csv").touch()
    assert told(lambda: data_file(STUDY, "price.csv")) == (
        "dataset: there is no price.csv beside the study (studies/mine), below the current folder, below "
        "HARNESS_DATA_DIR (store); did you mean prices.csv?"
    )


# Built-in data sets


@pytest.mark.parametrize(
    ("name", "rows", "features", "classes", "first"),
    [
        ("iris", 150, 4, ("setosa", "versicolor", "virginica"), "sepal length (cm)"),
        ("wine", 178, 13, ("class_0", "class_1", "class_2"), "alcohol"),
        ("breast_cancer", 569, 30, ("malignant", "benign"), "mean radius"),
        ("diabetes", 442, 10, (), "age"),
    ],
)
def test_tables_of_scikit_learn(name: str, rows: int, features: int, classes: tuple[str, ...], first: str) -> None:
    data = load(name, "cpu")
    assert (len(data.inputs), data.shape, data.classes) == (rows, (features,), classes)
    assert len(data.test) == rows // 5
    assert data.columns[0] == Column(first)
    assert data.target_names == (() if classes else ("progression",))


def test_a_bundled_table_is_scikit_learns() -> None:
    data, bunch = load("wine", "cpu"), load_wine()
    ours = sorted((*row, label) for row, label in zip(data.inputs.tolist(), data.targets.tolist(), strict=True))
    theirs = bunch.data.astype(np.float32).tolist()
    assert ours == sorted((*row, label) for row, label in zip(theirs, bunch.target.tolist(), strict=True))


@needs_mnist
def test_fashion_mnist_has_names() -> None:
    data = load("fashion_mnist", "cpu")
    assert data.classes == CLOTHES
    assert (data.classes[9], data.targets[0].item()) == ("Ankle boot", 9)


def idx(folder: Path, prefix: str, pixels: np.ndarray[Any, Any], labels: list[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / prefix.format("images", 3)).write_bytes(bytes(16) + pixels.astype(np.uint8).tobytes())
    (folder / prefix.format("labels", 1)).write_bytes(bytes(8) + bytes(labels))


def test_idx_files_of_other_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path))
    image = np.arange(784).reshape(28, 28) % 256
    for part, labels in (("train", [9, 3, 0]), ("t10k", [1, 2])):
        idx(tmp_path / "KMNIST" / "raw", part + "-{}-idx{}-ubyte", np.stack([image] * len(labels)), labels)
    counts = zip(FILES, (3, 3, 2, 2), strict=True)
    monkeypatch.setattr(images, "FILES", {name: 16 + n * 784 if "images" in name else 8 + n for name, n in counts})
    data = load("kmnist", "cpu")
    assert [data.classes[label] for label in data.targets] == ["wo", "tsu", "o", "ki", "su"]
    assert data.inputs[4].view(28, 28).tolist() == image.tolist()
    for part, labels in (("train", [1, 26, 2]), ("test", [5, 5])):
        lying = np.stack([image.T] * len(labels))
        idx(tmp_path / "EMNIST" / "raw", f"emnist-letters-{part}-{{}}-idx{{}}-ubyte", lying, labels)
    data = images._emnist("letters", string.ascii_lowercase, 3, 2)
    assert [data.classes[label] for label in data.targets] == list("azbee")
    assert data.inputs[3].view(28, 28).tolist() == image.tolist(), "upright"
    assert (data.name, data.trainable, data.shape) == ("emnist_letters", 3, (1, 28, 28))
    assert told(lambda: images._emnist("letters", string.ascii_lowercase, 4, 2)).endswith("remove it")


@pytest.mark.parametrize("name", ["balanced", "byclass", "bymerge", "digits", "letters", "mnist"])
def test_emnists_classes_are_torchvisions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import EMNIST

    made: list[tuple[Any, ...]] = []
    monkeypatch.setattr(images, "_emnist", lambda *given: made.append(given))
    getattr(images, f"emnist_{name}")()
    assert (made[0][0], list(made[0][1])) == (name, [one for one in EMNIST.classes_split_dict[name] if one != "N/A"])


class FakeCifar:
    """What torchvision's CIFAR10 and SVHN give, where the real ones cannot be read: there is no network for tests, and
    their files are not on this machine.
    """

    downloads: ClassVar[list[str]] = []
    classes = ("plane", "car")

    def __init__(self, root: str, train: bool = True, split: str = "train", download: bool = False) -> None:
        if download:
            self.downloads.append(root)
            Path(root).mkdir(parents=True, exist_ok=True)
            Path(root, "there").touch()
        elif not Path(root, "there").exists():
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        count = 6 if train and split == "train" else 4
        colours = np.arange(count * 3 * 32 * 32).reshape(count, 3, 32, 32).astype(np.uint8)
        self.labels = np.arange(count) % 2
        self.targets = self.labels.tolist()
        self.data = colours


class FakeCifarLast(FakeCifar):
    """CIFAR's channels come last."""

    def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
        super().__init__(root, train, download=download)
        self.data = self.data.transpose(0, 2, 3, 1)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_colour_images_come_by_torchvision(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCifar if name == "svhn" else FakeCifarLast
    monkeypatch.setattr(f"torchvision.datasets.{name.upper()}", fake)
    monkeypatch.setattr(fake, "downloads", [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path / "given"))
    data = load(name, "cpu")
    assert (data.shape, data.trainable, len(data.test), data.white) == ((3, 32, 32), 6, 4, 255.0)
    assert data.classes[:2] == (("0", "1") if name == "svhn" else ("plane", "car"))
    assert data.inputs[1].tolist() == (np.arange(3072, 6144) % 256).tolist()
    assert set(fake.downloads) == {str(tmp_path / "cache" / "harness")}
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "there").touch()
    fake.downloads.clear()
    assert load(name, "cpu").fingerprint == data.fingerprint
    assert fake.downloads == []


@pytest.mark.parametrize("name", ["kmnist", "emnist_digits", "cifar10", "cifar100", "svhn"])
def test_without_files_and_network_it_is_said(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path))
    with pytest.raises(
        MissingDataError, match=r"^[A-Z0-9]+: neither in HARNESS_DATA_DIR nor in .* not to be downloaded"
    ):
        load(name, "cpu")


# They train


def test_colour_images_train_with_a_cnn() -> None:
    for number in range(40):
        paint(f"f/{'ab'[number % 2]}/{number}.png", size=(8, 8), shade=200 * (number % 2) + number)
    data = get("f/")
    trial = make_trial(stage="confirm", model="cnn", channels=(4,), epochs=1, width=8, batch_size=8, validation=0.25)
    [outcome] = [event for _, event in train([trial], data) if isinstance(event, Outcome)]
    assert outcome.status == "finished", outcome
    assert np.isfinite(outcome["test_loss"])


def test_a_table_with_categories_and_gaps_trains() -> None:
    frame(200).to_csv(STUDY / "t.csv", index=False)
    data = get("t.csv", target=("price",), drop=("sold",))
    how: dict[str, Any] = {"task": "regression", "metric": "rmse", "epochs": 40, "lr": 0.01, "batch_size": 16}
    trial = make_trial(stage="confirm", **how)
    [outcome] = [event for _, event in train([trial], data) if isinstance(event, Outcome)]
    assert outcome["test_r2"] > 0.8
    assert dict(outcome.examples[0].row).keys() == {"size", "size is missing", "town", "new", "rooms"}


def test_only_test_splits_add_to_a_fingerprint() -> None:
    rows = Split(torch.zeros(10, 2), torch.zeros(10, dtype=torch.int64))
    plain = data_of("a", rows, Split(rows.inputs[:0], rows.targets[:0]), (2,), classes="ab")
    given = data_of("a", rows, None, (2,), classes="ab", test_splits=(torch.arange(3),))
    assert plain.fingerprint != given.fingerprint
    assert given.trainable == 10
