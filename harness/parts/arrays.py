"""Arrays of the user's: in an .npz or .pt file, or from a loader.

    of_arrays("digits.npz", x, y)                      # a fixed fifth is the test set
    of_arrays("digits.npz", x, y, x_test, y_test)

`x` with two dimensions is a table (rows, columns); with three images (N, H, W), with four (N, H, W, C) or (N, C, H, W).
"""

import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import UserError, listed
from harness.parts import targets
from harness.parts.data import Column, Data, Split, data_of
from harness.parts.sizes import check_fits

Array = NDArray[Any]

ONE = ("x", "y")
TWO = ("x_train", "y_train", "x_test", "y_test")
CHANNELS = (1, 2, 3, 4)  # of an image in an array
MEMORY = 3.0  # bytes for each byte of the arrays: as they are read, as they are kept, and what is made on the way


def read_npz(name: str, path: Path, task: str) -> Data:
    """The arrays of a file that numpy.savez wrote. Raises UserError for all that is wrong with it."""
    return of_arrays(name, *_read(name, path, lambda there: _names(name, there)), task=task)


def read_inputs(name: str, path: Path) -> Array:
    """The array `x` of such a file, or its only one: rows (N, D), or images (N, C, H, W). Raises UserError."""

    def wanted(there: list[str]) -> list[str]:
        if len(there) != 1 and "x" not in there:
            raise UserError(f"{name}: must have an array x; it has {listed(there) or 'nothing'}")
        return ["x"] if "x" in there else there

    [x] = _read(name, path, wanted)
    if x.ndim not in (2, 3, 4) or _is_text(x) or not x.size:
        raise UserError(f"{name}: x must be numbers of shape (rows, columns), or images, got {_shape(x)}")
    _check_finite(name, "x", x)
    return x if x.ndim == 2 else _channels_first(name, "x", x)


def _read(name: str, path: Path, wanted: Callable[[list[str]], list[str]]) -> list[Array]:
    """The arrays of a file that are wanted of those that are there."""
    try:
        with zipfile.ZipFile(path) as file:
            size = sum(member.file_size for member in file.infolist())
        check_fits(name, size, MEMORY * size)
        with np.load(path, allow_pickle=False) as arrays:
            return [as_array(name, file, arrays[file]) for file in wanted(list(arrays))]
    except UserError:
        raise
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error):
            raise UserError(
                f"{name}: has an array of Python objects, which is never read; save numbers or texts"
            ) from None
        raise UserError(f"{name}: cannot be read as npz: {error}") from None


def read_pt(name: str, path: Path, task: str) -> Data:
    """The tensors of a file that torch.save wrote of a dict; nothing else in it is read. Raises UserError for all that
    is wrong with it.
    """
    check_fits(name, size := path.stat().st_size, MEMORY * size)
    try:
        tensors = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # whatever it raises of bytes that are no tensors
        said = " ".join(str(error).split()).partition(". ")[0]
        raise UserError(f"{name}: must hold tensors only, as torch.save({{'x': x, 'y': y}}, ...): {said}") from None
    if not isinstance(tensors, Mapping) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        what = type(tensors).__name__ + (" of other things" if isinstance(tensors, Mapping) else "")
        raise UserError(f"{name}: must hold a dict of tensors, as torch.save({{'x': x, 'y': y}}, ...), got a {what}")
    names = _names(name, list(map(str, tensors)))
    return of_arrays(name, *(as_array(name, file, tensors[file]) for file in names), task=task)


def _names(name: str, there: Iterable[str]) -> list[str]:
    """What the arrays are called in the file, in the order in which they are wanted."""
    known = {one.lower(): one for one in there}
    for wanted in (TWO, ONE):
        if set(wanted) <= set(known):
            return [known[one] for one in wanted]
    raise UserError(f"{name}: must have {listed(ONE)} or {listed(TWO)}; it has {listed(known.values()) or 'nothing'}")


def as_array(name: str, what: str, values: Any) -> Array:
    """Anything that numpy understands, as an array of numbers, booleans or texts."""
    try:
        made = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of unlike lengths, types that numpy lacks
        raise UserError(f"{name}: {what} is no array: {' '.join(str(error).split())}") from None
    if made.dtype == object and made.ndim == 1 and all(isinstance(value, str) for value in made):
        made = made.astype(str)
    if made.dtype.kind not in "biufUS" or (made.dtype.kind in "US" and made.ndim != 1):
        raise UserError(f"{name}: {what} must hold numbers, or labels in one dimension, got {_shape(made)}")
    return made.astype(str) if made.dtype.kind == "S" else made


def of_arrays(name: str, x: Any, y: Any, x_test: Any = None, y_test: Any = None, *, task: str = "") -> Data:
    """The data set of that name from arrays or tensors; `task` "" is told by `y`: floats are a regression. Raises
    UserError where they do not fit.
    """
    given = x_test is not None
    if given != (y_test is not None):
        raise UserError(f"{name}: x_test and y_test belong together, got only one of them")
    names = TWO if given else ONE
    parts = [as_array(name, *both) for both in zip(names, (x, y, x_test, y_test), strict=False)]
    _check(name, names, parts)
    inputs, shape, white = _inputs(name, names[::2], parts[::2])
    values, classes, notes = _targets(name, names[1::2], parts[1::2], task)
    train, test = _halves(inputs, values, len(parts[0]))
    if given and classes:
        targets.check_all_trained(train.targets.numpy(), classes, f"{name}: x_train and y_train")
    return data_of(
        name,
        train,
        test if given else None,
        shape,
        white=white,
        classes=classes,
        target_names=() if classes else _target_names(values.shape[1]),
        columns=tuple(Column(str(number)) for number in range(shape[0])) if len(shape) == 1 else (),
        notes=notes,
        stratified=True,
    )


def _halves(inputs: Tensor, values: Tensor, count: int) -> tuple[Split, Split]:
    """The first `count` rows and the others, each numbered from 0 as its array is."""
    first, others = ((inputs[cut], values[cut]) for cut in (slice(count), slice(count, None)))
    return Split(*first, torch.arange(count)), Split(*others, torch.arange(len(values) - count))


def _shape(array: Array) -> str:
    return f"{array.dtype} {array.shape}"


def _is_text(array: Array) -> bool:
    return array.dtype.kind == "U"


def _target_names(count: int) -> tuple[str, ...]:
    return ("y",) if count == 1 else tuple(f"y {number}" for number in range(count))


def _check(name: str, names: tuple[str, ...], parts: list[Array]) -> None:
    for place in range(0, len(parts), 2):
        _check_lengths(name, names[place : place + 2], parts[place : place + 2])
    for place in range(len(parts) - 2):
        train, test = parts[place], parts[place + 2]
        if train.shape[1:] != test.shape[1:] or _is_text(train) != _is_text(test):
            both = f"{names[place]} and {names[place + 2]}"
            raise UserError(f"{name}: {both} must be alike, got {_shape(train)} and {_shape(test)}")


def _check_lengths(name: str, names: tuple[str, ...], parts: list[Array]) -> None:
    x, y = parts
    if x.ndim not in (2, 3, 4) or _is_text(x):
        raise UserError(
            f"{name}: {names[0]} must be numbers of shape (rows, columns), or images (N, H, W), (N, H, W, C) or "
            f"(N, C, H, W), got {_shape(x)}"
        )
    if y.ndim not in (1, 2):
        raise UserError(f"{name}: {names[1]} must be of shape (N,), or (N, targets) of numbers, got {_shape(y)}")
    if len(x) != len(y):
        raise UserError(f"{name}: {listed(names)} must have one length, got {len(x):,} and {len(y):,}")
    if not x.size or not y.size:
        raise UserError(f"{name}: {names[0]} has nothing in it: {_shape(x)}")


# Inputs


def _inputs(name: str, names: tuple[str, ...], parts: list[Array]) -> tuple[Tensor, tuple[int, ...], float]:
    """All rows (N, D), the shape of one, and what is white."""
    for what, part in zip(names, parts, strict=True):
        _check_finite(name, what, part)
    whole = np.concatenate(parts)
    if whole.ndim == 2:
        return torch.from_numpy(whole.astype(np.float32)), whole.shape[1:], 1.0
    whole, white = _pixels(_channels_first(name, names[0], whole))
    flat = torch.from_numpy(np.ascontiguousarray(whole)).flatten(1)
    return flat, whole.shape[1:], white


def _check_finite(name: str, what: str, part: Array) -> None:
    if part.dtype.kind == "f":
        with np.errstate(over="ignore"):
            fits = np.isfinite(part.astype(np.float32, copy=False))
        if not fits.all():
            place = tuple(map(int, np.argwhere(~fits)[0]))
            index = listed(place)
            raise UserError(f"{name}: {what}[{index}] must be a finite number of 32 bits, got {part[place]}")


def _channels_first(name: str, what: str, images: Array) -> Array:
    """Images (N, C, H, W)."""
    if images.ndim == 3:
        return images[:, None]
    if images.shape[1] in CHANNELS:
        return images
    if images.shape[3] in CHANNELS:
        return images.transpose(0, 3, 1, 2)
    raise UserError(f"{name}: {what} has no dimension of 1 to {max(CHANNELS)} channels, got {_shape(images)}")


def _pixels(images: Array) -> tuple[Array, float]:
    """Images as uint8 or float32, and what is white: whole numbers are bytes where they fit."""
    if images.dtype == bool:
        return images.astype(np.uint8), 1.0
    if images.dtype == np.uint8:
        return images, 255.0
    if images.dtype.kind in "iu" and images.min() >= 0 and images.max() <= 255:
        return images.astype(np.uint8), 255.0
    return images.astype(np.float32), max(1.0, float(images.max()))


# Targets


def _targets(
    name: str, names: tuple[str, ...], parts: list[Array], task: str
) -> tuple[Tensor, tuple[str, ...], tuple[str, ...]]:
    """All targets, (N,) classes or (N, T) numbers, with the names of the classes, and notes."""
    whole = np.concatenate(parts)
    count, notes = len(parts[0]), tuple[str, ...]()
    if whole.ndim == 2 and whole.shape[1] == 1:
        whole = whole[:, 0]

    def where(row: int) -> str:
        part = int(row >= count)
        return f"{name}: {names[part]}[{row - count * part}]"

    if not task:
        task = "regression" if whole.dtype.kind == "f" or whole.ndim == 2 else "classification"
        kind = "several numbers a row" if whole.ndim == 2 else _kind(whole)
        notes = (f"learned as a {task}, since {names[0]} has {kind}",)
    if task == "classification":
        if whole.ndim == 2:
            raise UserError(f"{name}: {names[0]} must have one class for each row, got {_shape(parts[0])}")
        values, classes = targets.classes(whole.tolist(), where, f"{name}: {names[0]}")
        return torch.from_numpy(values), classes, notes
    if _is_text(whole):
        raise targets.NoNumbersError(f"{where(0)}: a regression learns numbers, got {whole.tolist()[0]!r}")
    columns = whole.reshape(len(whole), -1)
    made = np.column_stack([targets.numbers(column, where) for column in columns.T])
    if len(same := np.flatnonzero(np.ptp(made, axis=0) == 0)):
        raise UserError(f"{name}: {names[0]} has one value only, {made[0, same[0]]:g}: there is nothing to learn")
    return torch.from_numpy(made), (), notes


def _kind(labels: Array) -> str:
    return {"f": "fractions", "b": "booleans", "U": "texts"}.get(labels.dtype.kind, "whole numbers")
