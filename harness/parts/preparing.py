"""What models see of a data set: scaled by what their own training rows say, and by no other row.

    seen = prepare(data, config, train)           # train (R, N): the training rows of each model
    seen.inputs, seen.affine, seen.first          # how a `Feed` makes a batch of it

Images lie once, for all models, and each model has a factor and an offset for them. A table is small: each model has a
copy of its own, filled in and scaled by scikit-learn's transformers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.config import Config
from harness.parts.data import Data

Affine = tuple[Tensor, Tensor]
"""A factor and an offset."""

QUANTILES = 1000  # of a feature, at most; no more than there are training rows


@dataclass(frozen=True)
class Prepared:
    """What R models (or one for all, R = 1) see of N rows.

    `inputs` is (N, D), for all of them, with `affine` (R, 1, 1) of each; or (R N, D), and the rows of a model begin at
    its `first` (R, 1). `targets` are the data set's own. `unit` are the deviation and the mean (R, 1, T) of
    the training rows' numbers, which a regression learns as standard scores. `weights` (R, C) are those of classes.
    """

    inputs: Tensor
    targets: Tensor
    affine: Affine | None = None
    first: Tensor | None = None
    unit: Affine | None = None
    weights: Tensor | None = None

    def only(self, models: Sequence[int]) -> "Prepared":
        """What some of the models see."""
        rows = list(models)
        return replace(
            self,
            affine=_rows(self.affine, rows),
            first=None if self.first is None else self.first[rows],
            unit=_rows(self.unit, rows),
            weights=None if self.weights is None else self.weights[rows],
        )


def prepare(data: Data, config: Config, train: Tensor) -> Prepared:
    """What models see whose training rows are `train` (R, N); all share a `Config.shape`."""
    unit = weights = None
    if data.task == "regression":
        unit = standard_scores(data.targets, train)
    elif config.class_weight == "balanced":
        weights = balanced(data.targets, train, data.outputs)
    if not data.is_table:
        affine = pixels(data, config.normalisation, train)
        return Prepared(data.inputs, data.targets, affine, unit=unit, weights=weights)
    copies = torch.cat([scaled(data, config.scaling, rows) for rows in train])
    first = torch.arange(len(train), device=train.device)[:, None] * len(data.inputs)
    return Prepared(copies, data.targets, first=first, unit=unit, weights=weights)


def pixels(data: Data, normalisation: str, train: Tensor) -> Affine:
    """Factor and offset (R, 1, 1) that make pixels the network's inputs.

    "scale" maps them to [0, 1]; "half" then takes 0.5 off and divides by 0.5; "standard" takes off the mean of the
    model's own training images (R, N) and divides by their standard deviation.
    """
    mean = std = torch.full((len(train), 1, 1), 0.5 if normalisation == "half" else 0.0, device=train.device)
    if normalisation == "scale":
        std = mean + 1.0
    elif normalisation == "standard":
        first, second = (data.inputs.double().pow(power).mean(1)[train].mean(1) for power in (1, 2))
        mean = (first / data.white).float()[:, None, None]
        std = ((second - first**2).sqrt() / data.white).float()[:, None, None]
    return 1.0 / (data.white * std), -mean / std


def floats(data: Data, inputs: Tensor) -> Tensor:
    """Pixels as float32 in [0, 1]."""
    return inputs.float().mul_(1.0 / data.white)


def scaled(data: Data, scaling: str, train: Tensor) -> Tensor:
    """A table (N, D) by the rows (M,) that a model trains on: numbers filled in with their median and scaled, 0 and 1
    of categories as they are.
    """
    table, numbers = data.inputs.cpu().numpy().astype(np.float64), number_inputs(data)
    if len(numbers):
        table[:, numbers] = fitted(data, scaling, train).transform(table[:, numbers])
    return torch.from_numpy(table.astype(np.float32)).to(data.inputs.device)


def number_inputs(data: Data) -> NDArray[np.int64]:
    """Which inputs of a table are numbers."""
    return np.flatnonzero([not column.levels for column in data.columns for _ in range(column.inputs)])


def fitted(data: Data, scaling: str, train: Tensor) -> Any:
    """What fills in and scales the numbers of a table (N, M), as its training rows (M,) say: a pipeline of
    scikit-learn's transformers, the first of which fills in.
    """
    from sklearn.impute import SimpleImputer  # seconds to import, which images need not wait for
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler

    rows = data.inputs.cpu().numpy()[train.cpu().numpy()][:, number_inputs(data)].astype(np.float64)
    steps: dict[str, list[Any]] = {
        "none": [],
        "standard": [StandardScaler()],
        "minmax": [MinMaxScaler()],
        "quantile": [
            QuantileTransformer(n_quantiles=min(QUANTILES, len(rows)), output_distribution="normal", random_state=0)
        ],
    }
    filled = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(filled, *steps[scaling]).fit(rows)


def standard_scores(numbers: Tensor, train: Tensor) -> Affine:
    """Deviation and mean (R, 1, T) of numbers (N, T) over each model's training rows (R, M); 1 where all are equal."""
    own = numbers.double()[train]
    deviation = own.std(1, correction=0, keepdim=True).float()
    return torch.where(deviation > 0, deviation, 1.0), own.mean(1, keepdim=True).float()


def balanced(targets: Tensor, train: Tensor, classes: int) -> Tensor:
    """Weights (R, C) by which every class counts alike: N / (C n_c), as scikit-learn's "balanced"; 0 without a row."""
    own = targets[train]
    counts = torch.zeros(len(own), classes, device=own.device).scatter_add_(
        1, own, torch.ones(own.shape, device=own.device)
    )
    return torch.where(counts > 0, train.shape[1] / (classes * counts.clamp(min=1)), 0.0).float()


def _rows(affine: Affine | None, models: list[int]) -> Affine | None:
    return None if affine is None else (affine[0][models], affine[1][models])
