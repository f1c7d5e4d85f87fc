"""The frozen records that every other module passes around.

A `Trial` is one training to be done: a `Config` and a seed. Training yields an `Epoch` after every epoch
and one `Outcome` at the end. Nothing here knows how any of it is made, so everything may import it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field

Dataset = Literal["mnist", "fashion_mnist", "digits"]
Model = Literal["mlp", "cnn"]
Activation = Literal["relu", "leaky_relu", "tanh", "gelu", "silu"]
Optimizer = Literal["sgd", "adam", "adamw", "rmsprop"]
Taper = Literal["constant", "halving"]
Normalisation = Literal["scale", "half", "standard"]
TestSplit = Literal["fixed", "pooled"]
Precision = Literal["fp32", "tf32", "bf16"]
Status = Literal["finished", "pruned", "diverged", "failed"]
Value = int | float | str | tuple[int, ...]
"""What a hyperparameter can be set to."""

Count = Annotated[int, Field(ge=1, le=1_000_000)]  # a slip of the keyboard must not take all memory
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Config:
    """Everything that decides how one model is trained, except its seed.

    `depth` counts linear layers, as the published studies do: 1 is input-classes. `width` is the first hidden
    layer's; `taper` says how it goes on. `widths` names every hidden layer and replaces the three. Of a cnn they
    describe the dense layers behind the convolutions.
    """

    dataset: Dataset = "mnist"
    model: Model = "mlp"
    depth: Annotated[int, Field(ge=1, le=1000)] = 2
    width: Count = 128
    taper: Taper = "constant"
    widths: Annotated[tuple[Count, ...], Field(max_length=1000)] | None = None
    channels: Annotated[tuple[Count, ...], Field(min_length=1, max_length=1000)] = (64, 128)  # cnn: of each convolution
    kernel: Count = 3  # cnn: the side of every convolution's kernel
    pool: Count = 2  # cnn: the side of the max-pooling after every convolution
    activation: Activation = "relu"
    dropout: Fraction = 0.0
    optimizer: Optimizer = "adam"
    lr: Positive = 1e-3
    momentum: Fraction = 0.0  # sgd and rmsprop
    weight_decay: NonNegative = 0.0
    batch_size: Count = 256
    epochs: Count = 20
    patience: Count = 10  # epochs without a lower validation loss
    validation: Fraction = 0.2  # the share of the training images held out; 0: nothing stops, the last epoch counts
    split: TestSplit = "fixed"  # pooled: the seed draws the test images anew, from all images
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 1 / 7  # their share, with split = "pooled"
    normalisation: Normalisation = "scale"  # of pixels: to [0, 1]; half: to [-1, 1]; standard: mean 0, deviation 1
    precision: Precision = "fp32"  # of matrix products; tf32 exists on GPUs only

    @property
    def hidden(self) -> tuple[int, ...]:
        """The widths of the hidden layers, first to last: `depth - 1` of them."""
        if self.widths is not None:
            return self.widths
        if self.taper == "halving":
            return tuple(max(1, self.width >> layer) for layer in range(self.depth - 1))
        return (self.width,) * (self.depth - 1)

    @property
    def shape(self) -> "Config":
        """What the models of one stack have in common; two configs may share a stack if their shapes are equal."""
        free: dict[str, Any] = {f.name: f.default for f in fields(self) if f.name in FREE_IN_STACK}
        return replace(self, **free, widths=self.hidden)


FREE_IN_STACK = frozenset(
    {"depth", "width", "taper", "dropout", "lr", "momentum", "weight_decay", "epochs", "patience"}
)
"""What may differ between the models of a stack; of the first three only what they come to, `hidden`, must agree."""

OF_CNN = ("channels", "kernel", "pool")
"""What only a cnn has."""

HYPERPARAMETERS = tuple(f.name for f in fields(Config) if f.name not in ("dataset", "model"))


@dataclass(frozen=True)
class Trial:
    """One training to be done.

    `level` is the compared value that it belongs to. `stage` is "search" (training and validation images only)
    or "confirm" (a fresh seed of the level's winner; reads the test images once). `number` counts within
    level and stage, from 0.
    """

    level: Value
    stage: Literal["search", "confirm"]
    number: int
    seed: int
    config: Config


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch: losses are mean cross-entropies in nats, accuracies lie in [0, 1].

    Training figures are averaged over the epoch's batches while the weights move (dropout on); validation figures are
    those of the weights at the epoch's end, NaN where nothing is held out. `time` is the Unix time of that end.
    """

    number: int  # from 1
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    time: float


@dataclass(frozen=True)
class Example:
    """A test image and what a trained model makes of it: class probabilities, first to last class."""

    index: int  # in the data set
    label: int
    probabilities: tuple[float, ...]
    pixels: str  # uint8, row by row, in hexadecimal
    white: float  # the pixel value that is shown as white

    @property
    def predicted(self) -> int:
        """The most probable class."""
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)


@dataclass(frozen=True)
class Outcome:
    """What came of a trial. Figures belong to the weights of `best_epoch`: that of the lowest validation loss, or
    the last one where nothing is held out. In a confirmation the training figures are measured anew, without dropout,
    on the training images or an even sample of them.

    `seconds` is the trial's share of the training time: an epoch of a stack is shared equally by the models in it.
    `confusion` counts test images, rows true classes, columns predicted ones. `weights` (a state dict of the
    network) stays with the process; everything else is kept in the journal.
    """

    status: Status
    reason: str
    started: float  # Unix time, seconds
    ended: float
    seconds: float = 0.0
    parameters: int = 0
    best_epoch: int = 0
    val_loss: float = math.nan
    val_accuracy: float = math.nan
    train_loss: float = math.nan
    train_accuracy: float = math.nan
    test_loss: float = math.nan
    test_accuracy: float = math.nan
    untrained_accuracy: float = math.nan  # test accuracy of the initial weights
    confusion: tuple[tuple[int, ...], ...] | None = None
    examples: tuple[Example, ...] = ()  # of a value's first seed: the first test image, then the worst mistakes
    history: tuple[Epoch, ...] = ()
    retries: int = 0  # how often it was trained again because its worker was lost
    weights: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def epochs(self) -> int:
        """How many epochs were trained."""
        return len(self.history)

    def record(self) -> dict[str, Any]:
        """All but the weights, as JSON's own types; figures that are not finite become None."""
        record = asdict(replace(self, weights=None))
        del record["weights"]
        record["history"] = [[_to_json(value) for value in asdict(epoch).values()] for epoch in self.history]
        return {key: _to_json(value) for key, value in record.items()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The outcome that `record()` was made of, without its weights."""
        known: dict[str, Any] = {
            key: math.nan if value is None and key != "confusion" else value for key, value in record.items()
        }
        known["history"] = tuple(map(_epoch, record["history"]))
        known["examples"] = tuple(map(_example, record.get("examples", ())))
        if record["confusion"] is not None:
            known["confusion"] = tuple(tuple(row) for row in record["confusion"])
        return cls(**known)


Event = Epoch | Outcome | None
"""What becomes of a trial: None when it begins, then its Epochs, then its Outcome."""


def _epoch(values: Sequence[Any]) -> Epoch:
    number, *figures = (math.nan if value is None else value for value in values)
    return Epoch(int(number), *figures)


def _example(record: Mapping[str, Any]) -> Example:
    return Example(**{**record, "probabilities": tuple(record["probabilities"])})


def _to_json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
