"""A trained model that needs torch alone, in the folder that `harness export` wrote.

    from model import load                     # this file, beside model.json and the weights

    model = load()                             # of this folder; load("elsewhere") of another
    model.predict(images)                      # (N, C, H, W) in the pixels of the training data -> (N, classes)
    model.predict(model.encode({"age": [30, None], "colour": ["red", "blue"]}))      # of a table

`model.json` says everything else: inputs, classes or targets, how inputs are scaled, layers, hyperparameters, figures
on test rows. A model of several runs gives the mean of their probabilities, or of their numbers.
"""

import hashlib
import importlib.util
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FORMAT = 1
LAYERS = (
    *("Linear", "Conv2d", "MaxPool2d", "AdaptiveAvgPool2d", "Flatten", "Unflatten", "Dropout", "Sequential"),
    *("BatchNorm1d", "BatchNorm2d", "GroupNorm", "LayerNorm", "RMSNorm"),
    *("ReLU", "LeakyReLU", "Tanh", "GELU", "SiLU", "ELU", "SELU", "Sigmoid", "Softplus", "Softsign", "Mish"),
    *("Hardswish", "Identity"),
)
"""Those of torch.nn that a network may consist of, beside `Shortcut`."""
TYPES = {"F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16}
TYPES |= {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8}
TYPES |= {"BOOL": torch.bool}
EDGE = 1e-7  # of a quantile transform, as scikit-learn has it; and the lowest and highest value that it gives
INNER = EDGE - torch.finfo(torch.float64).eps
LOWEST, HIGHEST = torch.special.ndtri(torch.tensor([INNER, 1 - INNER], dtype=torch.float64)).tolist()
BATCH = 1000  # rows at a time

Spec = Mapping[str, Any]
"""A part of model.json."""


class CellError(ValueError):
    """What stands in a table that the model cannot take: `row` counts from 0."""

    def __init__(self, column: str, row: int, reason: str) -> None:
        super().__init__(f"column {column}, row {row}: {reason}")
        self.column, self.row, self.reason = column, row, reason


class Shortcut(nn.Sequential):
    """Its layers, and an identity around them: x + f(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, ...), the same."""
        y: Tensor = x + super().forward(x)  # type: ignore[no-untyped-call]
        return y


class Scaling(nn.Module):
    """What comes before the network: (N, D) as the data has it, NaN where a number is missing -> (N, D) float32.

    Images have a factor and an offset. Rows are filled in and scaled by what the training rows of the run said, in 64
    bits as scikit-learn does.
    """

    factor: Tensor
    offset: Tensor
    fill: Tensor
    mean: Tensor
    deviation: Tensor
    columns: Tensor
    quantiles: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.kind = str(spec["kind"])
        for name, value in spec.items():
            if name != "kind":
                exact = torch.float32 if self.kind == "pixels" else torch.float64
                whole = name == "columns"
                self.register_buffer(name, torch.tensor(value, dtype=torch.int64 if whole else exact), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        if self.kind == "pixels":
            return x.float() * self.factor + self.offset
        x = x.float().double()
        x = torch.where(x.isnan(), self.fill, x)
        if self.kind == "standard":
            x = (x - self.mean) / self.deviation
        elif self.kind == "minmax":
            x = x * self.factor + self.offset
        elif self.kind == "quantile":
            x = x.index_copy(1, self.columns, self._normal(x[:, self.columns]))
        return x.float()

    def _normal(self, x: Tensor) -> Tensor:
        """Numbers (N, M) by their quantiles (M, Q) in the training rows, as a normal distribution has these."""
        x, known = x.T.contiguous(), self.quantiles
        shares = torch.linspace(0, 1, known.shape[1], dtype=x.dtype, device=x.device).expand_as(known)
        ranks = 0.5 * (_between(x, known, shares) - _between(-x, -known.flip(1), -shares.flip(1)))
        ranks = torch.where(x + EDGE > known[:, -1:], 1.0, ranks)
        ranks = torch.where(x - EDGE < known[:, :1], 0.0, ranks)
        normal: Tensor = torch.special.ndtri(ranks).clamp(LOWEST, HIGHEST)
        return normal.T


def _between(x: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """numpy.interp, row by row: the line through the points (known, values) (M, Q), at x (M, N)."""
    place = (torch.searchsorted(known, x, right=True) - 1).clamp(0, known.shape[1] - 2)
    left, right = known.gather(1, place), known.gather(1, place + 1)
    low, high = values.gather(1, place), values.gather(1, place + 1)
    slope = torch.where(right > left, (high - low) / (right - left), 0.0)
    line = torch.where(x >= right, high, slope * (x - left) + low)
    return torch.where(x < known[:, :1], values[:, :1], torch.where(x >= known[:, -1:], values[:, -1:], line))


class OneRun(nn.Module):
    """The network of one training, with what comes before and after it."""

    deviation: Tensor
    mean: Tensor

    def __init__(self, spec: Spec, network: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        self.scaling, self.network, self.shape = Scaling(spec["preprocessing"]), network, tuple(shape)
        target = spec.get("target")
        self.is_regression = target is not None
        for name, value in (target or {}).items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> class probabilities (N, C), or numbers (N, T) in the target's unit."""
        y: Tensor = self.network(self.scaling(x).reshape(-1, *self.shape))
        return y * self.deviation + self.mean if self.is_regression else y.softmax(1)


class ExportedModel(nn.Module):
    """A model as `model.json` describes it (`spec`); `runs` are its networks."""

    def __init__(self, spec: Spec, runs: Sequence[OneRun]) -> None:
        super().__init__()
        self.spec, self.runs = spec, nn.ModuleList(runs)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the probabilities; empty of a regression."""
        return list(self.spec["outputs"].get("classes", ()))

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (N, ...) -> class probabilities (N, C), or numbers (N, T) in the target's unit."""
        x = x.flatten(1)
        return torch.stack([run(x) for run in self.runs]).mean(0)

    def predict(self, x: Tensor) -> Tensor:
        """The same for any number of rows, without gradients, on the device of the weights."""
        device = next(iter(self.parameters())).device
        with torch.no_grad():
            return torch.cat([self(part.to(device)) for part in x.split(BATCH)])

    def encode(self, table: Mapping[str, Sequence[object]]) -> Tensor:
        """Columns of values (N each), None or NaN where one is missing, as inputs (N, D). Raises CellError for what the
        model cannot take, KeyError for a column that is missing.
        """
        made: list[Tensor] = []
        for column in self.spec["inputs"]["columns"]:
            values = [None if value is None or value != value else value for value in table[column["name"]]]
            made += _category(column, values) if "levels" in column else _numbers(column, values)
        return torch.stack(made, dim=1)


def _numbers(column: Spec, values: Sequence[object]) -> list[Tensor]:
    """A number is an input; where some were missing in training, a second one says whether it is."""
    found = [math.nan if value is None else _number(column["name"], row, value) for row, value in enumerate(values)]
    missing = [float(value is None) for value in values]
    return [torch.tensor(found), *([torch.tensor(missing)] if column.get("gaps") else [])]


def _number(name: str, row: int, value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise CellError(name, row, f"must be a number, got {value!r}") from None
    if not abs(found) <= torch.finfo(torch.float32).max:
        raise CellError(name, row, f"must be a finite number of 32 bits, got {found}")
    return found


def _category(column: Spec, values: Sequence[object]) -> list[Tensor]:
    """An input of 0 or 1 for each level, of two levels one; missing is a level where some were in training."""
    levels = list(column["levels"])
    numbers = {level: number for number, level in enumerate(levels)}
    found = []
    for row, value in enumerate(values):
        text = "missing" if value is None else str(value).strip()
        if text not in numbers and isinstance(value, float) and value.is_integer():
            text = str(int(value))
        if text not in numbers:
            what = "is missing" if value is None else f"is {text!r}"
            raise CellError(column["name"], row, f"{what}, and in training it was one of {', '.join(levels)}")
        found.append(numbers[text])
    places = torch.tensor(found)
    return [(places == level).float() for level in (range(len(levels)) if len(levels) > 2 else [1])]


def load(folder: str | Path | None = None, build: Callable[[Spec], nn.Module] | None = None) -> ExportedModel:
    """The model of a folder, ready to predict. `build` makes the network of a model that a user wrote; else the file
    `network.py` of the folder is executed, which is a program. Raises ValueError where a file is not what it was.
    """
    place = Path(__file__).parent if folder is None else Path(folder)
    spec = json.loads((place / "model.json").read_text(encoding="utf-8"))
    if spec["format"] != FORMAT:
        raise ValueError(f"model.json has format {spec['format']}, and this program reads {FORMAT}")
    return ExportedModel(spec, [_run(place, one, build) for one in spec["runs"]]).eval()


def _run(folder: Path, spec: Spec, build: Callable[[Spec], nn.Module] | None) -> OneRun:
    wanted = spec["network"]
    own = build or partial(_own, folder)
    network = own(wanted) if "class" in wanted else _layer(wanted)
    network.load_state_dict(read_weights(_checked(folder, spec["weights"], spec["sha256"])))
    return OneRun(spec, network, spec["takes"])


def _layer(spec: Spec) -> nn.Module:
    """A layer of torch.nn, with its arguments by name, or what consists of several."""
    kind = spec["layer"]
    if kind not in (*LAYERS, "Shortcut"):
        raise ValueError(f"model.json has a layer {kind}, which is none of {', '.join(LAYERS)}")
    whole = Shortcut() if kind == "Shortcut" else nn.Sequential() if kind == "Sequential" else None
    if whole is None:
        given = {name: value for name, value in spec.items() if name != "layer"}
        made: nn.Module = getattr(nn, kind)(**given)
        return made
    for name, part in spec["parts"].items():
        whole.add_module(name, _layer(part))
    return whole


def _own(folder: Path, spec: Spec) -> nn.Module:
    """A network of a class that a user wrote: executes its file."""
    path = _checked(folder, spec["file"], spec["sha256"])
    found = importlib.util.spec_from_file_location(f"network_{spec['sha256'][:16]}", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    arguments = {name: tuple(one) if isinstance(one, list) else one for name, one in spec["arguments"].items()}
    inputs = tuple(spec["inputs"]) if isinstance(spec["inputs"], list) else spec["inputs"]
    made: nn.Module = getattr(module, spec["class"])(inputs, spec["outputs"], **arguments)
    return made


def _checked(folder: Path, name: str, sha256: str) -> Path:
    """A file of the folder, which must be what it was."""
    path = folder / Path(name).name
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ValueError(f"{path.name} is not what model.json says: its sha256 is another")
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file: eight bytes, how long the JSON behind them is, which says where each lies."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    head = json.loads(data[8:start])
    head.pop("__metadata__", None)
    return {name: _tensor(data, start, one) for name, one in head.items()}


def _tensor(data: bytearray, start: int, one: Spec) -> Tensor:
    dtype, shape, count = TYPES[one["dtype"]], one["shape"], math.prod(one["shape"])
    if not count:
        return torch.empty(shape, dtype=dtype)
    at = start + one["data_offsets"][0]
    return torch.frombuffer(data, dtype=dtype, count=count, offset=at).reshape(shape).clone()


class Served:
    """The model as MLflow asks it (`mlflow.pyfunc`): a DataFrame of a table, else an array."""

    def __init__(self, model: ExportedModel) -> None:
        self.model = model

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """An array (N, classes) of probabilities, or (N, T) of numbers."""
        if self.model.spec["inputs"]["kind"] == "rows" and hasattr(data, "columns"):
            x = self.model.encode({str(name): data[name].tolist() for name in data.columns})
        else:
            x = torch.as_tensor(data)
        return self.model.predict(x).cpu().numpy()


def _load_pyfunc(path: str) -> Served:
    """What MLflow calls."""
    return Served(load(path))
