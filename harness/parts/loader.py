"""Data that a user's own function gives: `load()` of a file beside the study, executed by `own.py` as it was recorded.

def load():
    return x, y                      # or x_train, y_train, x_test, y_test; or one or two torch Datasets
"""

from typing import Any

import numpy as np
from torch import Tensor

from harness.errors import UserError
from harness.parts.arrays import Array, of_arrays
from harness.parts.data import Data
from harness.parts.own import executed, told

WANTED = "x, y, or x_train, y_train, x_test, y_test, or one or two torch Datasets"


def read_loader(code_text: str, file: str, task: str) -> Data:
    """The data set that a file's text gives. Raises RaisedError for what it raises, UserError for what it gives."""
    load = getattr(executed(code_text, file, "load()"), "load", None)
    if not callable(load):
        raise UserError(f"{file}: load is no function, got {load!r}")
    with told(file, "load()"):
        given = load()
        parts = list(given) if isinstance(given, tuple | list) else [given]
        if parts and all(map(_is_dataset, parts)):
            parts = [array for dataset in parts for array in _arrays(dataset, file)]
    if len(parts) not in (2, 4) or any(isinstance(part, str | dict | set | None) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        got = f"{len(parts)} values ({kinds})" if isinstance(given, tuple | list) else f"a {type(given).__name__}"
        raise UserError(f"{file}: load() must return {WANTED}, got {got}")
    return of_arrays(file, *parts, task=task)


def _is_dataset(part: object) -> bool:
    """Whether it gives pairs by number, as a torch Dataset does."""
    return (
        not isinstance(part, Tensor | np.ndarray | list | tuple | dict | str)
        and all(hasattr(part, name) for name in ("__getitem__", "__len__"))
        and not hasattr(part, "__array__")
    )


def _arrays(dataset: Any, file: str) -> tuple[Any, Any]:
    """All inputs and targets of a dataset."""
    inputs: list[Array] = []
    found: list[Array] = []
    for number in range(len(dataset)):
        item = dataset[number]
        if not isinstance(item, tuple | list) or len(item) != 2:
            what = f"{len(item)} values" if isinstance(item, tuple | list) else f"a {type(item).__name__}"
            raise UserError(f"{file}: load() gives a Dataset whose items must be pairs (x, y), item {number} is {what}")
        x, y = (np.asarray(value) for value in item)
        if inputs and x.shape != inputs[0].shape:
            raise UserError(
                f"{file}: load() gives a Dataset whose items must be of one shape, item {number} is {x.shape}, item 0 "
                f"is {inputs[0].shape}"
            )
        inputs.append(x)
        found.append(y)
    if not inputs:
        raise UserError(f"{file}: load() gives a Dataset without items")
    return np.stack(inputs), np.stack(found)
