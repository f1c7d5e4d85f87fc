"""What is to be learned, made classes or numbers: the same for tables and for arrays.

classes(["no", "yes", "no"], where)       # array([0, 1, 0]), ("no", "yes")
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError

Where = Callable[[int], str]
"""The words for where the value with an index stands: "prices.csv, row 7, column price"."""

LARGEST = float(np.finfo(np.float32).max)


def classes(values: Sequence[object], where: Where, what: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The class (N,) of each value and the classes' names in order, numbers by size; `what` is what holds the values.

    Raises UserError where a value is no label, or where the labels are no classes that could be learned.
    """
    labels = [_label(value) for value in values]
    if None in labels:
        row = labels.index(None)
        raise UserError(f"{where(row)}: a class must be a text or a whole number, got {values[row]!r}")
    names = in_order({label for label in labels if label is not None})
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(names)}
    found = np.array([numbers[label] for label in labels], np.int64)
    _check_classes(found, names, where, what)
    return found, names


def _label(value: object) -> str | None:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return str(value) if isinstance(value, int) else None


def _check_classes(found: NDArray[np.int64], names: tuple[str, ...], where: Where, what: str) -> None:
    if len(names) == 1:
        raise UserError(f"{what} has one class only, {names[0]}: there is nothing to learn")
    if len(names) > len(found) / 2:
        hint = '; numbers are learned with task = "regression"' if names[0].lstrip("-").isdigit() else ""
        raise UserError(
            f"{what} has {len(names):,} classes in {len(found):,} rows: it looks like an identifier, not like classes"
            f"{hint}"
        )
    counts = np.bincount(found)
    if counts.min() == 1:
        number = int(counts.argmin())
        row = int(np.flatnonzero(found == number)[0])
        raise UserError(f"{where(row)}: class {names[number]} has this row only; training and test need one each")


class NoNumbersError(UserError):
    """What is to be learned by a regression are no numbers."""


def check_all_trained(train: NDArray[np.int64], names: tuple[str, ...], what: str) -> None:
    """Every class must have a row among the classes (N,) of training rows, which are called `what`."""
    counts = np.bincount(train, minlength=len(names))
    if not counts.all():
        raise UserError(f"{what} have no row of class {names[int(counts.argmin())]}")


def numbers(values: NDArray[Any], where: Where) -> NDArray[np.float32]:
    """The same (N,) as float32; raises UserError where one is missing or no finite number of 32 bits."""
    made = values.astype(np.float64)
    if len(bad := np.flatnonzero(~(np.abs(made) <= LARGEST))):
        row = int(bad[0])
        raise UserError(f"{where(row)}: must be a finite number of 32 bits, got {made[row]}")
    return made.astype(np.float32)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names sorted, by size if they are numbers."""
    try:
        return tuple(sorted(sorted(names), key=float))
    except ValueError:
        return tuple(sorted(names))
