"""Networks and what they see, as plain numbers and words: what `model.json` says of a run.

layers(network)                   # {"layer": "Sequential", "parts": {"0": {"layer": "Linear", "in_features": 64, ...}}}
preprocessing(data, config, train)
"""

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from harness.catalogue import OwnModel
from harness.config import Config
from harness.parts.data import Data
from harness.parts.models import Residual
from harness.parts.preparing import fitted, number_inputs, pixels, standard_scores
from harness.parts.tables import gaps_of

Spec = dict[str, Any]


def layers(network: nn.Module) -> Spec:
    """A layer of torch.nn by its name and those arguments that are not torch's own defaults, or what it consists of."""
    if isinstance(network, nn.Sequential):
        kind = "Shortcut" if isinstance(network, Residual) else "Sequential"
        return {"layer": kind, "parts": {name: layers(part) for name, part in network.named_children()}}
    return {"layer": type(network).__name__, **dict(_arguments(network))}


def _arguments(layer: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, parameter in inspect.signature(type(layer)).parameters.items():
        if name in ("device", "dtype") or not hasattr(layer, name):
            continue
        value = getattr(layer, name)
        value = value is not None if name == "bias" else value
        if value != parameter.default:
            yield name, value


def own_network(own: OwnModel, config: Config, data: Data, file: str) -> Spec:
    """A network of a class that a user wrote, whose text lies in that file of the folder."""
    return {
        "class": own.class_name,
        "file": file,
        "sha256": own.sha256,
        "inputs": list(data.shape) if own.shaped else data.features,
        "outputs": data.outputs,
        "arguments": {knob.name: config[knob.name] for knob in own.knobs},
    }


def preprocessing(data: Data, config: Config, train: Tensor) -> Spec:
    """What becomes of inputs before the network of a run that was trained on those rows (M,)."""
    if not data.is_table:
        factor, offset = pixels(data, config.normalisation, train[None])
        return {"kind": "pixels", "factor": factor.item(), "offset": offset.item()}
    numbers, width = number_inputs(data), data.features
    if not len(numbers):
        return {"kind": "none", "fill": [0.0] * width}
    filling, *others = (step for _, step in fitted(data, config.scaling, train).steps)
    known: Spec = {"kind": config.scaling, "fill": _spread(filling.statistics_, numbers, width, 0.0)}
    if config.scaling == "standard":
        known["mean"] = _spread(others[0].mean_, numbers, width, 0.0)
        known["deviation"] = _spread(others[0].scale_, numbers, width, 1.0)
    elif config.scaling == "minmax":
        known["factor"] = _spread(others[0].scale_, numbers, width, 1.0)
        known["offset"] = _spread(others[0].min_, numbers, width, 0.0)
    elif config.scaling == "quantile":
        known |= {"columns": numbers.tolist(), "quantiles": others[0].quantiles_.T.tolist()}
    return known


def _spread(values: Any, numbers: Any, width: int, other: float) -> list[float]:
    """The values of the inputs that are numbers, and another one for all others: one for each input."""
    whole = np.full(width, other)
    whole[numbers] = values
    return [float(value) for value in whole]


def target(data: Data, train: Tensor) -> Spec:
    """What makes a regression's outputs numbers in their own unit."""
    deviation, mean = standard_scores(data.targets, train[None])
    return {"deviation": deviation[0, 0].tolist(), "mean": mean[0, 0].tolist()}


def inputs_of(data: Data) -> Spec:
    """What the model takes."""
    if not data.is_table:
        is_bytes = not data.inputs.dtype.is_floating_point
        return {"kind": "images", "shape": list(data.shape), "bytes": is_bytes, "white": data.white}
    return {"kind": "rows", "shape": list(data.shape), "columns": list(_columns(data))}


def _columns(data: Data) -> Iterator[Spec]:
    """Those of the user's table: what says that a number is missing is a part of that number's."""
    left = list(data.columns)
    while left:
        column = left.pop(0)
        gaps = not column.levels and left[:1] == [gaps_of(column.name)]
        left = left[gaps:]
        levels = {"levels": list(column.levels)} if column.levels else {}
        yield {"name": column.name, **levels, **({"gaps": True} if gaps else {})}


def outputs_of(data: Data, unit: str) -> Spec:
    """What it gives."""
    if data.classes:
        return {"classes": list(data.classes)}
    return {"targets": list(data.target_names), **({"unit": unit} if unit else {})}
