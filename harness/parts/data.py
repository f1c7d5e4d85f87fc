"""A data set as tensors that lie on the device for good, and how it is split.

    data = load("mnist", "cpu")
    data.train.inputs            # (60000, 784) uint8; made floats when a batch is cut
    train, val, test = data.split(seed=1, validation=0.2)

The test rows are a set of their own: for MNIST the published 10,000, for digits a fixed fifth, so that no seed's
training or validation rows are another seed's test rows. What makes a built-in data set is an entry of the catalogue,
what makes one of a user's file stands in `sources.py`.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness import catalogue
from harness.errors import UserError

Rows = NDArray[np.int64]
"""Indices (N,) of rows, or their classes."""

TEST_SHARE = 5
"""Where a data set has no test rows of its own, one of so many rows is: the same ones for every seed."""


class MissingDataError(UserError):
    """The data set is not on this machine and cannot be downloaded."""


@dataclass(frozen=True)
class Split:
    """Inputs as (N, D) uint8 or float32, and their targets: classes (N,) int64, or numbers (N, T) float32.

    `numbers` (N,) int64 are the rows' in the file or array that they come from.
    """

    inputs: Tensor
    targets: Tensor
    numbers: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: Tensor) -> "Split":
        """Some of the rows, indices (M,)."""
        return Split(self.inputs[rows], self.targets[rows], None if self.numbers is None else self.numbers[rows])


class Parts(NamedTuple):
    """Indices (N,) int64 into a data set's rows."""

    train: Tensor
    val: Tensor
    test: Tensor


@dataclass(frozen=True)
class Column:
    """A feature of a table: a number, or with `levels` a category, which is an input of 0 or 1 for each of them; one
    input does for two.
    """

    name: str
    levels: tuple[str, ...] = ()

    @property
    def inputs(self) -> int:
        """How many of a network's inputs it is."""
        return len(self.levels) if len(self.levels) > 2 else 1


@dataclass(frozen=True)
class Data:
    """A data set: (N, D) inputs and their (N,) or (N, T) targets, the `trainable` rows first, then the test rows.

    `shape` is that of an input: channels, height, width of an image, D of a table's row; D is its product. Inputs are
    uint8 pixels, or float32; `white` is the pixel value that becomes 1.0. A table has `columns`, in the order of its
    inputs, and NaN where a number is missing.
    `classes` are the names of the classes; of a regression there are none, and `target_names` are the names of the T
    numbers. Of the trainable rows the last `validation` are those that the data set itself gives for validation.
    `test_splits` are further ways to choose test rows, each the indices (M,) of its test rows: all others are trainable
    then. `numbers` (N,) are the rows' where they come from: of a text file as an editor counts, of an
    array from 0. `notes` are what was done to a user's data, sentence by sentence. `fingerprint` is the sha256 of
    inputs and targets, in hexadecimal.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    trainable: int
    shape: tuple[int, ...]
    fingerprint: str
    white: float = 1.0
    classes: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    validation: int = 0
    test_splits: tuple[Tensor, ...] = ()
    notes: tuple[str, ...] = ()
    numbers: Tensor | None = None

    @property
    def task(self) -> str:
        """What can be learned of it."""
        return "classification" if self.classes else "regression"

    @property
    def is_table(self) -> bool:
        """Whether its rows are rows of a table, not images."""
        return bool(self.columns)

    @property
    def things(self) -> str:
        """What its rows are called."""
        return "rows" if self.is_table else "images"

    @property
    def features(self) -> int:
        """How many numbers an input has."""
        return self.inputs.shape[1]

    @property
    def outputs(self) -> int:
        """How many numbers a network gives: one for each class, or for each target."""
        return len(self.classes) or self.targets.shape[1]

    @property
    def train(self) -> Split:
        """The rows that its makers mean for training (and validation)."""
        return Split(self.inputs[: self.trainable], self.targets[: self.trainable])

    @property
    def test(self) -> Split:
        """The rows that its makers mean for the test."""
        return Split(self.inputs[self.trainable :], self.targets[self.trainable :])

    @property
    def byte_white(self) -> float:
        """The byte that `pixels` shows as white."""
        return self.white if self.inputs.dtype == torch.uint8 else 255.0

    def pixels(self, row: int) -> str:
        """An image as bytes, in hexadecimal: channel by channel, row by row. Floats from black to white are scaled."""
        image = self.inputs[row].cpu()
        if image.dtype != torch.uint8:
            image = (image * (255.0 / self.white)).clamp(0, 255).byte()
        return image.numpy().tobytes().hex()

    def shown(self, row: int) -> tuple[tuple[str, str], ...]:
        """The columns of a table's row, each with what stands there as text."""
        inputs, at, told = self.inputs[row].tolist(), 0, []
        for column in self.columns:
            mine = inputs[at : at + column.inputs]
            at += column.inputs
            if column.levels:
                level = int(np.argmax(mine)) if column.inputs > 1 else int(mine[0])
                told.append((column.name, column.levels[level]))
            else:
                told.append((column.name, "missing" if mine[0] != mine[0] else f"{mine[0]:.6g}"))
        return tuple(told)

    def to(self, device: str | torch.device) -> "Data":
        """The same on a device."""
        moved = tuple(rows.to(device) for rows in self.test_splits)
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device), test_splits=moved)

    def split(
        self, seed: int, validation: float, pooled: float = 0.0, pool: int | None = None, stratified: bool = False
    ) -> Parts:
        """Training, validation and test rows, the first two shuffled by the seed.

        `validation` is the share of the trainable rows held out; where the data set gives its own, any share above 0
        means those. `pooled` > 0 draws the test rows anew as well: that share of all rows, by the seed `pool` if one is
        given. Of a data set with `test_splits` it is the number of one of them. `stratified` shares out the classes.
        """
        classes = self.targets.cpu().numpy() if stratified and self.classes else None
        order, test = self._order(seed, pooled, pool, classes)
        if validation and self.validation:
            given = order >= self.trainable - self.validation
            val, train = order[given], order[~given]
        else:
            val, train = _cut(order, round(len(order) * validation), classes)
        return Parts(*(torch.from_numpy(rows).to(self.targets.device) for rows in (train, val, test)))

    def _order(self, seed: int, pooled: float, pool: int | None, classes: Rows | None) -> tuple[Rows, Rows]:
        """The rows for training and validation, shuffled by the seed, and the test rows."""
        if self.test_splits:
            test = np.sort(self.test_splits[(pool or 0) % len(self.test_splits)].cpu().numpy())
            order = np.random.default_rng([seed, 0]).permutation(np.delete(np.arange(len(self.inputs)), test))
        elif pooled:
            order = np.random.default_rng([seed if pool is None else pool, 0]).permutation(len(self.inputs))
            order, test = _cut(order, len(order) - round(len(order) * pooled), classes)
            if pool is not None:
                order = np.random.default_rng([seed, 0]).permutation(order)
        else:
            order = np.random.default_rng([seed, 0]).permutation(self.trainable)
            test = np.arange(self.trainable, len(self.inputs))
        return order, test


def _cut(order: Rows, size: int, classes: Rows | None) -> tuple[Rows, Rows]:
    """The first `size` of some rows, and the others; with classes, that the rows index, as many of each as can be."""
    if classes is None:
        return order[:size], order[size:]
    by_class = order[np.argsort(classes[order], kind="stable")]
    steps = np.arange(len(order) + 1) * size // max(1, len(order))
    is_first = np.diff(steps) > 0
    return by_class[is_first], by_class[~is_first]


def load(name: str, device: str | torch.device) -> Data:
    """The built-in data set on the device; raises MissingDataError or, for a damaged file, UserError."""
    make: Callable[[], Data] = catalogue.built_by("dataset", name)
    return make().to(device)


def data_of(
    name: str,
    train: Split,
    test: Split | None,
    shape: tuple[int, ...],
    *,
    white: float = 1.0,
    classes: Iterable[object] = (),
    target_names: Iterable[str] = (),
    columns: tuple[Column, ...] = (),
    notes: Iterable[str] = (),
    validation: int = 0,
    test_splits: tuple[Tensor, ...] = (),
    stratified: bool = False,
) -> Data:
    """The data set of that name, of training and test rows. Without test rows a fixed part of the others is them, of
    tables of classes, and of others if `stratified`, with the same share of each class; with `test_splits` none is.
    """
    if test_splits:
        test = train.take(torch.arange(0))
    if test is None:
        train, test = _apart(train, stratified=(stratified or bool(columns)) and train.targets.dim() == 1)
    return Data(
        name=name,
        inputs=torch.cat([train.inputs, test.inputs]),
        targets=torch.cat([train.targets, test.targets]),
        trainable=len(train),
        shape=shape,
        fingerprint=_fingerprint((train, test), test_splits),
        white=white,
        classes=tuple(map(str, classes)),
        target_names=tuple(target_names),
        columns=columns,
        notes=tuple(notes),
        validation=validation,
        test_splits=test_splits,
        numbers=None if train.numbers is None or test.numbers is None else torch.cat([train.numbers, test.numbers]),
    )


def _fingerprint(parts: Iterable[Split], test_splits: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.inputs.numpy().tobytes())
        digest.update(part.targets.numpy().tobytes())
    for rows in test_splits:
        digest.update(b"test rows" + rows.numpy().tobytes())
    return digest.hexdigest()


def _apart(rows: Split, stratified: bool) -> tuple[Split, Split]:
    order = np.random.default_rng(0).permutation(len(rows))
    classes = rows.targets.numpy() if stratified else None
    test, train = (torch.from_numpy(part) for part in _cut(order, len(order) // TEST_SHARE, classes))
    return rows.take(train), rows.take(test)
