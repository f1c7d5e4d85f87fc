"""Runs of convolutions on a CPU, each perhaps with max-pooling and an activation behind it, as one layer.

layers = merged(layers)          # that do the same, with runs in the place of what they consist of

One network after the other goes through all of a run with a few images at a time, channels last. So what a convolution
gives its pooling stays in the processor's cache and is never written to memory (of the published CNN's first one that
is as much as a third of a step), pooling goes along vectors of channels, and oneDNN's products are what is left.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.training.layers import (
    ELU,
    SELU,
    Conv2d,
    Layer,
    LeakyReLU,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Softsign,
    Tanh,
    aten,
)
from harness.training.runs import in_runs

BYTES = 2**22  # of the largest that a convolution gives for the images that go through together: of the cache's size
PIXELS = 512  # that it gives at least, or the sums over its weights would cost more than the products
ACTIVATIONS = (ReLU, LeakyReLU, Tanh, Sigmoid, ELU, SELU, Softsign)
"""Those that are computed in place, and whose output `y` tells their slope."""

Sides = tuple[int, ...]
"""Channels, height and width."""


@dataclass
class Block:
    """A convolution and what follows it, of which pooling comes first: the larger of two numbers after ReLU is ReLU of
    the larger.
    """

    conv: Conv2d
    pool: MaxPool2d | None = None
    activation: Layer | None = None

    def sides(self, shape: Sides) -> tuple[Sides, Sides]:
        """What the convolution makes of an image, and what is left of that."""
        outputs, _, *kernel = self.conv.parameters["weight"].shape[1:]
        each = zip(shape[1:], kernel, *self.conv.steps, strict=True)
        wide = [(side + 2 * edge - size) // step + 1 for side, size, step, edge in each]
        pooled = 1 if self.pool is None else self.pool.side
        return (outputs, *wide), (outputs, *(side // pooled for side in wide))

    def weights(self, row: int) -> tuple[Tensor, Tensor | None]:
        """A network's weight, channels last, and bias."""
        bias = self.conv.parameters.get("bias")
        return _as_channels_last(self.conv.parameters["weight"][row]), None if bias is None else bias[row]

    def forward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        y: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Of some images of one network. What the way back needs is kept in y, and in `places` where in each window
        of pooling its largest was.
        """
        made = torch.conv2d(x, weight, bias, *self.conv.steps)
        if self.pool is None:
            made = made if y is None else y.copy_(made)
        elif y is None:
            made = torch.max_pool2d(made, self.pool.side)
        else:
            made, _ = aten.max_pool2d_with_indices.out(made, [self.pool.side] * 2, out=y, indices=places)
        return made if self.activation is None else self.activation.forward(made, None)

    def backward(
        self, x: Tensor, weight: Tensor, y: Tensor, places: Tensor | None, dy: Tensor, needs_dx: bool
    ) -> tuple[Tensor, ...]:
        """The slopes with regard to x, weight and bias; what is not needed is undefined. dy is overwritten."""
        if self.activation is not None:
            self.activation.y = y  # type: ignore[attr-defined]  # all of `ACTIVATIONS` have it
            self.activation.backward(dy)
        if self.pool is not None:
            outputs, high, wide = self.sides(tuple(x.shape[1:]))[0]
            like = _channels_last(self.conv.memory((self.conv, "like"), len(x), high, wide, outputs))
            side = [self.pool.side] * 2
            dy = aten.max_pool2d_with_indices_backward(dy, like, side, side, [0, 0], [1, 1], False, places)
        return self.conv.slopes(dy, x, weight, 1, needs_dx)


@dataclass(eq=False)
class ConvRun(Layer):
    """Some of them, one after the other. x: (K or 1, B, C, H, W) -> (K, B, C', H', W'), which lies channels last."""

    def __post_init__(self) -> None:
        self.blocks: list[Block] = []
        for part in self.parts:
            if isinstance(part, Conv2d):
                self.blocks.append(Block(part))
            elif isinstance(part, MaxPool2d):
                self.blocks[-1].pool = part
            else:
                self.blocks[-1].activation = part

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        self.x = x.expand(self.models, *x.shape[1:])
        return self._run(keeps=noise is not None)

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        if not self.keeps:
            self._run(keeps=True)
        models, images, channels, *sides = self.x.shape
        dx = _channels_last(self.memory((self, "dx"), models, images, *sides, channels)) if needs_dx else None
        for row, some, weights in self._pieces():
            slope = _as_channels_last(dy[row, some])
            for place in reversed(range(len(self.blocks))):
                block, (y, places) = self.blocks[place], self._kept(place, row, some)
                x = self._kept(place - 1, row, some)[0] if place else _as_channels_last(self.x[row, some])
                slope, *found = block.backward(x, weights[place][0], y, places, slope, needs_dx or place > 0)
                for gradient, one in zip(block.conv.gradients.values(), found, strict=False):
                    gradient[row].add_(one) if some.start else gradient[row].copy_(one)
            if dx is not None:
                dx[row, some] = slope
        return dx

    def _run(self, keeps: bool) -> Tensor:
        """Forward; `keeps` what the way back needs."""
        self.keeps, self.sides = keeps, [self.blocks[0].sides(tuple(self.x.shape[2:]))]
        for block in self.blocks[1:]:
            self.sides.append(block.sides(self.sides[-1][1]))
        every = range(len(self.blocks) if keeps else 0)
        self.ys = [self._memory("y", place) for place in every]
        self.places = [
            None if self.blocks[place].pool is None else self._memory("places", place, torch.int64) for place in every
        ]
        y = self._memory("y", len(self.blocks) - 1)
        for row, some, weights in self._pieces():
            x = _as_channels_last(self.x[row, some])
            for place, block in enumerate(self.blocks):
                x = block.forward(x, *weights[place], *(self._kept(place, row, some) if keeps else ()))
            if not keeps:
                y[row, some] = x
        return y

    def _pieces(self) -> Iterator[tuple[int, slice, list[tuple[Tensor, Tensor | None]]]]:
        """A network, some of its images, in order, and each block's weight and bias."""
        pixels = min(math.prod(wide[1:]) for wide, _ in self.sides)
        largest = max(math.prod(wide) for wide, _ in self.sides)
        size = max(BYTES // (4 * largest), PIXELS // pixels, 1)
        for row in range(self.models):
            weights = [block.weights(row) for block in self.blocks]  # once: laid out anew they are copies
            for start in range(0, self.x.shape[1], size):
                yield row, slice(start, start + size), weights

    def _kept(self, place: int, row: int, some: slice) -> tuple[Tensor, Tensor | None]:
        """What a block gave for some images of a network, and where its pooling found it."""
        places = self.places[place]
        return self.ys[place][row, some], None if places is None else places[row, some]

    def _memory(self, what: str, place: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """(K, B, C, H, W), for what a block gives."""
        outputs, *sides = self.sides[place][1]
        return _channels_last(self.memory((self, what, place), *self.x.shape[:2], *sides, outputs, dtype=dtype))


def merged(parts: Sequence[Layer]) -> list[Layer]:
    """Layers that do the same on a CPU, with a run in the place of each convolution and what goes with it."""
    return in_runs(parts, Conv2d, _continues, ConvRun)


def _continues(run: Sequence[Layer], part: Layer) -> bool:
    """Whether a layer belongs to the run that ends with these."""
    before, last = (None, *(type(one) for one in run))[-2:]
    if isinstance(part, MaxPool2d):
        return last is Conv2d or (last is ReLU and before is Conv2d)
    if isinstance(part, ACTIVATIONS):
        return last is Conv2d or (last is MaxPool2d and before is Conv2d)
    return isinstance(part, Conv2d)


def _channels_last(x: Tensor) -> Tensor:
    """(..., H, W, C) -> (..., C, H, W), the same numbers."""
    return x.movedim(-1, -3)


def _as_channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W), the same numbers with a pixel's channels side by side. One channel is so already, but torch takes a
    tensor's strides for the sign.
    """
    if x.shape[1] > 1:
        return x.contiguous(memory_format=torch.channels_last)
    high, wide = x.shape[2:]
    return x.contiguous().as_strided(x.shape, (high * wide, 1, wide, 1))
