"""Runs of dense layers, each linear, perhaps with ReLU and dropout behind it, as one layer of compiled code.

layers = merged(layers)          # that do the same, with runs in the place of what they consist of
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.kernels import dense, entropy
from harness.training.layers import Dropout, Layer, Linear, ReLU, as_rows
from harness.training.runs import in_runs


@dataclass
class Dense:
    """A linear layer and what follows it."""

    linear: Linear
    relu: ReLU | None = None
    dropout: Dropout | None = None

    @property
    def inputs(self) -> int:
        """Numbers in a row of x."""
        return self.linear.parameters["weight"].shape[2]

    @property
    def outputs(self) -> int:
        """Numbers in a row of y."""
        return self.linear.parameters["weight"].shape[1]


@dataclass(eq=False)
class DenseRun(Layer):
    """Some of them, one after the other. x: (K or 1, B, ..., D) -> (K, B, ..., O)."""

    def __post_init__(self) -> None:
        self.each: list[Dense] = []
        for part in self.parts:
            if isinstance(part, Linear):
                self.each.append(Dense(part))
            elif isinstance(part, ReLU):
                self.each[-1].relu = part
            elif isinstance(part, Dropout):
                self.each[-1].dropout = part
        self.prepared: dict[int, dense.Sharing] = {}

    @property
    def learns(self) -> bool:
        """Whether `learn` is for so many classes."""
        return self.each[-1].outputs <= entropy.CLASSES

    def learn(self, x: Tensor, labels: Tensor, noise: Sequence[torch.Generator], sums: Tensor) -> None:
        """Forward, cross-entropy and backward at once, one network after the other. x: (K or 1, B, D), labels: (K, B).
        Losses and hits are added to `sums` (2, K).
        """
        y, labels = self._begin(x, noise), entropy.with_rows(labels)
        slope = self.memory((self, "slope"), *y.shape)
        self.sharing.plan[-1, dense.DY], self.sharing.plan[0, dense.DX] = slope.data_ptr(), 0
        self.sharing.learn(entropy.places(y, labels, slope, sums))

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        y = self._begin(x, noise)
        self.sharing.forward()
        return y

    def _begin(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        self.x, shape = _contiguous_rows(x), x.shape[1:-1]
        rows, width = self.x.shape[1:]
        if width != self.each[0].inputs or x.dtype != torch.float32:  # compiled code would read what is not there
            raise ValueError(f"a layer of {self.each[0].inputs} inputs got {width}, {x.dtype}")
        self.sharing = self.prepared.get(rows) or self._prepare(rows)
        distance = 0 if len(self.x) < self.models else self.x.stride(0)
        self.sharing.plan[0, dense.X : dense.X_ROW + 1] = self.x.data_ptr(), distance, self.x.stride(1)
        for place, one in enumerate(self.each):
            if one.dropout is not None:
                mask = None if noise is None else one.dropout.masks.draw(noise, (self.models, *shape, one.outputs))
                self.sharing.plan[place, dense.KEPT] = 0 if mask is None else mask.data_ptr()
        return self._y(len(self.each) - 1, rows).view(self.models, *shape, -1)

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        plan, rows = self.sharing.plan, self.x.shape[1]
        if dy.dtype != torch.float32 or dy.numel() != self.models * rows * self.each[-1].outputs:
            raise ValueError(f"a layer of {self.each[-1].outputs} outputs got slopes {tuple(dy.shape)}, {dy.dtype}")
        slope = dy.contiguous()
        plan[-1, dense.DY] = slope.data_ptr()
        dx = self._dx(0, rows) if needs_dx else None
        plan[0, dense.DX] = 0 if dx is None else dx.data_ptr()
        self.sharing.backward()
        return dx if dx is None else dx.view(*dy.shape[:-1], -1)

    def _prepare(self, rows: int) -> dense.Sharing:
        """The plan for so many rows of each network."""
        sizes = [one.inputs * one.outputs for one in self.each]
        threads = dense.threads_for(self.models * rows * sum(sizes))
        plan = np.zeros((len(self.each), dense.DX + 1), dtype=np.int64)
        for place, one in enumerate(self.each):
            self._describe(plan[place], one)
            plan[place, dense.Y] = self._y(place, rows).data_ptr()
            if place:
                x, dx = self._y(place - 1, rows), self._dx(place, rows)
                plan[place, dense.X : dense.X_ROW + 1] = x.data_ptr(), x.stride(0), x.stride(1)
                plan[place, dense.DX] = plan[place - 1, dense.DY] = dx.data_ptr()
        apart = self.each[0].linear.parameters["weight"].stride(0)
        memory = self.memory((self, "turned"), threads, max(sizes))
        made = self.prepared[rows] = dense.Sharing(plan, self.models, rows, apart, memory)
        return made

    def _describe(self, line: np.ndarray[tuple[int], np.dtype[np.int64]], one: Dense) -> None:
        line[[dense.INPUTS, dense.OUTPUTS, dense.RELU]] = one.inputs, one.outputs, one.relu is not None
        places = {"weight": (dense.WEIGHT, dense.WEIGHT_SLOPE), "bias": (dense.BIAS, dense.BIAS_SLOPE)}
        for name, (value, slope) in places.items():
            if name in one.linear.parameters:
                line[value] = one.linear.parameters[name].data_ptr()
                line[slope] = one.linear.gradients[name].data_ptr()

    def _y(self, place: int, rows: int) -> Tensor:
        return self.memory((self, "y", place), self.models, rows, self.each[place].outputs)

    def _dx(self, place: int, rows: int) -> Tensor:
        return self.memory((self, "dx", place), self.models, rows, self.each[place].inputs)


def merged(parts: Sequence[Layer]) -> list[Layer]:
    """Layers that do the same on a CPU, with a run in the place of each linear layer and what goes with it."""
    return in_runs(parts, Linear, _continues, DenseRun)


def _continues(run: Sequence[Layer], part: Layer) -> bool:
    """Whether a layer belongs to the run that ends with these."""
    last = type(run[-1])
    if type(part) is Linear:
        return part.parameters["weight"].shape[2] == _width(run)
    return (type(part) is ReLU and last is Linear) or (type(part) is Dropout and last in (Linear, ReLU))


def _width(run: Sequence[Layer]) -> int:
    [*_, last] = (one for one in run if isinstance(one, Linear))
    return last.parameters["weight"].shape[1]


def _contiguous_rows(x: Tensor) -> Tensor:
    """(K, B, ..., D) -> (K, N, D), the numbers of a row side by side."""
    rows = as_rows(x)
    return rows if rows.stride(2) == 1 else rows.contiguous()
