"""What is done around a rule's step, for each model by its own settings: clipping, limits of weights, averages.

    around = around_of(configs, stack)          # of what is in use only: what is off costs nothing
    StackOptimizer(..., around=around)

Each is held against torch's own function by the tests: `clip_grad_norm_`, `clip_grad_value_`, `renorm` and
`swa_utils.AveragedModel`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Self

import torch
from torch import Tensor

from harness.config import Config
from harness.training.optim import Around, Shape
from harness.training.stack import Stack

SMALLEST = 1e-6  # added to a norm that is divided by, as torch.nn.utils does
SMALLEST_OF_UNIT = 1e-7  # the same, as torch.renorm does


class ModelLimit:
    """A number per model; infinite where a model has none, which changes nothing."""

    def __init__(self, limits: Tensor) -> None:
        self.limits = limits  # (K, 1)

    @classmethod
    def of(cls, numbers: Sequence[float], device: torch.device) -> Self:
        """Of numbers of which 0 means none."""
        return cls(torch.tensor([number or math.inf for number in numbers], device=device)[:, None])

    def before(self, gradient: Tensor) -> None:
        """Leave the gradient as it is."""

    def after(self, flat: Tensor) -> None:
        """Leave the parameters as they are."""

    def only(self, rows: Sequence[int]) -> "Around":
        """That of some of the models."""
        return type(self)(self.limits[list(rows)])

    def kept(self, flat: Tensor) -> Mapping[str, Tensor]:
        """Nothing."""
        return {}


class ClipNorm(ModelLimit):
    """The norm of each model's gradient is at most its limit."""

    def before(self, gradient: Tensor) -> None:
        norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
        gradient.mul_((self.limits / (norm + SMALLEST)).clamp_(max=1.0))


class ClipValue(ModelLimit):
    """No entry of a model's gradient is larger than its limit."""

    def before(self, gradient: Tensor) -> None:
        torch.clamp(gradient, -self.limits, self.limits, out=gradient)


class MaxNorm(ModelLimit):
    """No unit's incoming weights, a row of a matrix or a kernel, have a larger norm (Srivastava et al., 2014)."""

    shapes: Sequence[Shape] = ()

    def after(self, flat: Tensor) -> None:
        ends = accumulate((math.prod(shape) for shape in self.shapes), initial=0)
        for (start, stop), shape in zip(pairwise(ends), self.shapes, strict=True):
            if len(shape) > 1:
                rows = flat[:, start:stop].view(len(flat), shape[0], -1)
                norms = torch.linalg.vector_norm(rows, dim=2)  # (K, rows)
                rows.mul_((self.limits / (norms + SMALLEST_OF_UNIT)).clamp_(max=1.0)[..., None])

    def only(self, rows: Sequence[int]) -> "Around":
        part = MaxNorm(self.limits[list(rows)])
        part.shapes = self.shapes
        return part


class Average(ModelLimit):
    """An exponential moving average of each model's parameters after its steps; the first is taken as it is.

    `limits` are 1 less its decays here; with a decay of 0 the average is the parameters themselves.
    """

    def __init__(self, limits: Tensor) -> None:
        super().__init__(limits)
        self.before_first = torch.ones((), device=limits.device)  # 0 after it
        self.mean: Tensor | None = None

    @classmethod
    def of(cls, numbers: Sequence[float], device: torch.device) -> Self:
        return cls(torch.tensor([1.0 - number for number in numbers], device=device)[:, None])

    def after(self, flat: Tensor) -> None:
        if self.mean is None:
            self.mean = flat.clone()
        self.mean.lerp_(flat, torch.maximum(self.limits, self.before_first))
        self.before_first.zero_()

    def only(self, rows: Sequence[int]) -> "Average":
        part = Average(self.limits[list(rows)])
        part.before_first = self.before_first.clone()
        part.mean = None if self.mean is None else self.mean[list(rows)]
        return part

    def kept(self, flat: Tensor) -> Mapping[str, Tensor]:
        if self.mean is None:
            self.mean = flat.clone()
        return {"mean": self.mean, "before_first": self.before_first}

    @contextmanager
    def judged(self, flat: Tensor) -> Iterator[None]:
        """The averages stand in the place of the parameters (K, P) meanwhile."""
        if self.mean is None:
            yield
            return
        training = flat.clone()
        flat.copy_(self.mean)
        try:
            yield
        finally:
            flat.copy_(training)


def around_of(configs: Sequence[Config], stack: Stack) -> list[Around]:
    """All that at least one of the models has in use: gradients are clipped by norm, then by value."""
    kinds = {"clip_norm": ClipNorm, "clip_value": ClipValue, "max_norm": MaxNorm, "ema": Average}
    found: list[Around] = []
    for name, kind in kinds.items():
        numbers = [float(config[name]) for config in configs]
        if any(numbers):
            one = kind.of(numbers, stack.flat.device)
            if isinstance(one, MaxNorm):
                one.shapes = stack.shapes
            found.append(one)
    return found
