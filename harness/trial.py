"""The frozen records that every other module passes around.

A `Trial` is one training to be done: a `Config` and a seed. What becomes of it is told by events: `Begun`, then an
`Epoch` after every epoch, and one `Outcome` at the end. Nothing here knows how any of it is made.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

from harness.catalogue import Value, show
from harness.config import Config

MOST_PREDICTIONS = 1000
"""Test rows of a regression whose predictions are kept."""

Status = Literal["finished", "pruned", "diverged", "failed"]
Stage = Literal["search", "confirm", "ablation"]
Figures = Mapping[str, float]
"""Figures by name, as `val_loss`; see `catalogue.figure` for units. What was not measured is not there."""


@dataclass(frozen=True)
class Cell:
    """A compared value of a study that compares two keys: a value of each, in the order of the keys."""

    keys: tuple[str, ...]
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return named(dict(zip(self.keys, self.values, strict=True)))


Level = Value | Cell
"""A compared value: of the study's only key, or of each of its two."""


def named(values: Mapping[str, Value]) -> str:
    """Hyperparameters as people read them: "depth=3,dropout=0.2"."""
    return ",".join(f"{key}={show(value)}" for key, value in values.items())


@dataclass(frozen=True)
class Fold:
    """Which part of the images a training holds out: that of `number % of`, of the `of` parts that `seed` draws.

    `number` counts over all folds of a trial, from 0: further repeats go on counting, with other seeds.
    """

    number: int
    of: int
    seed: int

    @property
    def part(self) -> int:
        """The number of the part that is held out, from 0."""
        return self.number % self.of


@dataclass(frozen=True)
class Trial:
    """One training to be done.

    `level` is the compared value that it belongs to, `search` which of its searches, from 0. `stage` is "search"
    (training and validation images only), "confirm" (a fresh seed of that search's winner; reads the test images
    once) or "ablation" (the same seed of the defaults, or of what lies between them and that winner). `number` counts
    within level, search and stage, from 0: an ablation has that of the confirmation whose seed it shares. `pool` is the
    seed that draws the test images of a pooled split where that is not its own: those that its search never saw. `fold`
    is that of a training which is one of several that make up a search trial (`Study.trainings`). A confirmation that
    is `tested_each_epoch` has test figures in every Epoch; nothing is chosen by them, and it is the same trial without.
    """

    level: Level
    stage: Stage
    number: int
    seed: int
    config: Config
    search: int = 0
    pool: int | None = None
    fold: Fold | None = None
    tested_each_epoch: bool = field(default=False, compare=False)

    @property
    def is_tested(self) -> bool:
        """Whether it reads the test images."""
        return self.stage != "search"


@dataclass(frozen=True)
class Begun:
    """A trial has begun, at a Unix time; again, if its group is trained again."""

    time: float


class Figured:
    """What has figures by name."""

    figures: Figures

    def __getitem__(self, name: str) -> float:
        """A figure by name; NaN where it was not measured."""
        return self.figures.get(name, math.nan)


@dataclass(frozen=True)
class Epoch(Figured):
    """The figures of one epoch. `number` counts from 1, `time` is the Unix time of its end.

    Training figures are averaged over the epoch's batches while the weights move (dropout on); validation figures are
    those of the weights at the epoch's end, NaN where nothing is held out; so are test figures, where there are any.
    """

    number: int
    figures: Figures
    time: float


@dataclass(frozen=True)
class Example:
    """A test image or row and what a trained model makes of it: class probabilities, first to last class, or of a
    regression what is true and what it says, in the target's own unit.
    """

    index: int  # in the data set; of a table the row's number in its file
    label: int = -1
    probabilities: tuple[float, ...] = ()
    pixels: str = ""  # of an image: uint8, channel by channel, row by row, in hexadecimal
    white: float = 0.0  # the pixel value that is shown as white
    shape: tuple[int, ...] = ()  # channels, height, width; empty in old journals: one channel, square
    row: tuple[tuple[str, str], ...] = ()  # of a table: its columns with what stands there
    unsure: str = ""  # "yes" of those that are kept since the model was least sure of them
    truth: tuple[float, ...] = ()
    guess: tuple[float, ...] = ()

    def record(self) -> dict[str, Any]:
        """What it has, as JSON's own types."""
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in known.items() if name == "index" or value not in ((), "")}

    @property
    def predicted(self) -> int:
        """The most probable class."""
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)


@dataclass(frozen=True)
class OfFold(Figured):
    """What came of one fold of a search trial, as an Outcome says it."""

    status: Status
    epochs: int
    best_epoch: int
    seconds: float
    figures: Figures


@dataclass(frozen=True)
class FoldsEnded:
    """Folds of a trial that is still at work have come to their end: their figures, by the folds' numbers."""

    figures: Mapping[int, Figures]


@dataclass(frozen=True)
class Outcome(Figured):
    """What came of a trial. Figures belong to the weights of `best_epoch`: that of the lowest validation loss, or
    the last one where nothing is held out. In a confirmation the training figures are measured anew, without dropout,
    on the training images or an even sample of them.

    `seconds` is the trial's share of the training time: an epoch of a stack is shared equally by the models in it.
    `confusion` counts test images, rows true classes, columns predicted ones; `hits` has a bit for each of them, in
    their order: whether it was put into its class (`pack` makes it of an array), and `misses` are the classes into
    which the others were put (`pack_classes`). A regression has none of them; of a value's
    first seed `predictions` are, target by target, what was true of test rows and what the model said, at most
    `MOST_PREDICTIONS` of them, evenly spread. `weights` (a state dict of the network) stays with the process, or in a
    file of that `weights_sha256` beside the journal; everything else is kept in the journal.

    Of a search trial with folds, `folds` are these; figures are their means, `best_epoch` is the mean, rounded, and
    `history` has the means of the epochs that all of them took part in.
    """

    status: Status
    reason: str
    started: float  # Unix time, seconds
    ended: float
    seconds: float = 0.0
    parameters: int = 0
    best_epoch: int = 0
    figures: Figures = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] | None = None
    hits: str = ""
    examples: tuple[Example, ...] = ()  # of a first seed: the first test image, the worst mistakes, the least sure
    misses: str = ""
    predictions: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()
    history: tuple[Epoch, ...] = ()
    retries: int = 0  # how often it was trained again because its worker was lost
    folds: tuple[OfFold, ...] = ()
    weights: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    weights_sha256: str = field(default="", compare=False)

    @property
    def epochs(self) -> int:
        """How many epochs were trained; of folds the mean, rounded."""
        return rounded([fold.epochs for fold in self.folds]) if self.folds else len(self.history)

    def without_weights(self) -> Self:
        """The same, as far as the journal keeps it."""
        return self if self.weights is None else replace(self, weights=None)

    def record(self) -> dict[str, Any]:
        """All but the weights, as JSON's own types; figures that are not finite become None."""
        apart = ("weights", "history", "examples", "folds", *SELDOM)
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in apart}
        folds = [{**vars(fold), "figures": _to_json(fold.figures)} for fold in self.folds]
        return {
            **kept,
            **({"folds": folds} if folds else {}),
            **{name: value for name in SELDOM if (value := getattr(self, name))},
            "figures": _to_json(self.figures),
            "history": _columns(self.history),
            "examples": [example.record() for example in self.examples],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The outcome that `record()` was made of, without its weights; also of a journal before format 2."""
        known = dict(record if "figures" in record else _from_format_1(record))
        for of_trial in ("config", "trial"):  # lie beside it
            known.pop(of_trial, None)
        known["figures"] = _from_json(known["figures"])
        known["history"] = tuple(_epochs(known["history"]))
        known["examples"] = tuple(map(_example, known.get("examples", ())))
        known["folds"] = tuple(_fold(fold) for fold in known.get("folds", ()))
        pairs = known.get("predictions", ())
        known["predictions"] = tuple((tuple(truth), tuple(guess)) for truth, guess in pairs)
        if known["confusion"] is not None:
            known["confusion"] = tuple(tuple(row) for row in known["confusion"])
        return cls(**known)


def rounded(numbers: Sequence[float]) -> int:
    """The mean of some numbers above 0 as a whole one, halves up."""
    return math.floor(sum(numbers) / len(numbers) + 0.5)


def pack(hits: Any) -> str:
    """Booleans (N,) as text: their number, then eight in a byte, in base64."""
    import numpy as np  # here and below: a tenth of a second, which commands without figures need not wait for

    return f"{len(hits)}:{base64.b64encode(np.packbits(hits).tobytes()).decode()}"


def unpack(text: str) -> Any:
    """The booleans (N,) that `pack` made text of."""
    import numpy as np

    size, _, coded = text.partition(":")
    return np.unpackbits(np.frombuffer(base64.b64decode(coded), np.uint8), count=int(size)).astype(bool)


def pack_classes(classes: Any) -> str:
    """Classes (N,) as text: a byte for each, or two where any is above 255, in base64; "" of none."""
    import numpy as np

    if not len(classes):
        return ""
    width = "<u2" if int(np.max(classes)) > 255 else "u1"
    return f"{width}:{base64.b64encode(np.asarray(classes).astype(width).tobytes()).decode()}"


def unpack_classes(text: str) -> Any:
    """The classes (N,) that `pack_classes` made text of."""
    import numpy as np

    width, _, coded = text.partition(":")
    return np.frombuffer(base64.b64decode(coded), width or "u1").astype(np.int64)


Event = Begun | Epoch | Outcome
"""What becomes of a training, in this order."""

Told = Event | FoldsEnded
"""What becomes of a trial, which may have folds."""


SELDOM = ("misses", "predictions", "weights_sha256")
"""What an outcome's record has only where there is any."""

OF_EPOCHS_1 = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
OF_OUTCOMES_1 = (*OF_EPOCHS_1, "test_loss", "test_accuracy", "untrained_accuracy")
"""The figures that an outcome had in format 1, where they were fields, and an epoch a bare list of values."""


def _from_format_1(record: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in record.items() if name not in OF_OUTCOMES_1}
    known["figures"] = {name: record[name] for name in OF_OUTCOMES_1 if name in record}
    columns = ("number", *OF_EPOCHS_1, "time")
    known["history"] = dict(zip(columns, zip(*record["history"], strict=True), strict=False))
    return known


def _columns(history: Sequence[Epoch]) -> dict[str, list[Any]]:
    """Epochs by the names of their figures: a list for each, first to last epoch."""
    names = tuple(history[0].figures) if history else ()
    figures = {name: [_finite(epoch[name]) for epoch in history] for name in names}
    return {"number": [epoch.number for epoch in history], **figures, "time": [epoch.time for epoch in history]}


def _epochs(columns: Mapping[str, Sequence[Any]]) -> list[Epoch]:
    names = [name for name in columns if name not in ("number", "time")]
    rows = zip(*(columns[name] for name in names), strict=True) if names else ((),) * len(columns.get("number", ()))
    whole = zip(columns.get("number", ()), rows, columns.get("time", ()), strict=True)
    return [Epoch(number, _from_json(dict(zip(names, row, strict=True))), ended) for number, row, ended in whole]


def _example(record: Mapping[str, Any]) -> Example:
    lists = {name: tuple(value) for name, value in record.items() if isinstance(value, list)}
    if "row" in lists:
        lists["row"] = tuple((name, text) for name, text in lists["row"])
    return Example(**{**record, **lists})


def _fold(record: Mapping[str, Any]) -> OfFold:
    return OfFold(**{**record, "figures": _from_json(record["figures"])})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _to_json(figures: Figures) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in figures.items()}


def _from_json(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in figures.items()}
