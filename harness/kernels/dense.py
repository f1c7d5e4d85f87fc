"""Forward and backward through a run of dense layers of K networks, each linear, perhaps with ReLU and dropout.

    sharing = Sharing(plan, K, N, P, memory)   # N rows of each network, whose parameters are P numbers apart
    sharing.forward()
    sharing.backward()

One network after the other goes through all the layers, so that what it needs stays in the nearest caches. `plan` is a
table of integers, a row for each layer, whose columns are named below: addresses, sizes and distances.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.kernels.compiled import compiled, within
from harness.kernels.entropy import entropies, entropy_of
from harness.kernels.products import NONE, beside, product, transposed
from harness.kernels.tiles import BYTES, LANES, numbers

(RELU, INPUTS, OUTPUTS, WEIGHT, BIAS, WEIGHT_SLOPE, BIAS_SLOPE, X, X_MODEL, X_ROW, Y, KEPT, DY, DX) = range(14)
"""Columns of a plan: whether ReLU follows; how many inputs and outputs; addresses of the first network's weight (O, D),
bias (O,) and their gradients; of x (N, D), the distance of its networks and of its rows; of y (N, O), of the mask that
dropout multiplies by, of dy (N, O) and dx (N, D). 0 is for what there is not.
"""

ALL = 1 << 40  # columns
WORTH = 2_000_000  # multiplications in a thread's share, below which it costs more than it saves


@within
def matrix(address, model, distance, row):
    """That of a network, whose columns lie side by side."""
    return (address + BYTES * model * distance, row, 1)


@within
def turned(one):
    """A matrix with its rows as columns."""
    return (one[0], one[2], one[1])


@within
def layer_forward(layer, model, columns, rows, apart, memory, known):
    """Some columns of a layer's y. `memory` is for its weights, transposed; `known` are zeros."""
    first, count = columns[0], min(columns[1], layer[OUTPUTS]) - columns[0]
    inputs, outputs = layer[INPUTS], layer[OUTPUTS]
    weight = matrix(layer[WEIGHT] + BYTES * first * inputs, model, apart, inputs)
    across = (memory, count, 1)
    transposed(weight, across, count, inputs)
    bias = (known, 0, 1)
    if layer[BIAS] != 0:
        bias = beside(matrix(layer[BIAS], model, apart, 0), first)
    x = matrix(layer[X], model, layer[X_MODEL], layer[X_ROW])
    y = beside(matrix(layer[Y], model, rows * outputs, outputs), first)
    product(x, across, bias, y, (rows, count, inputs), 0.0 if layer[RELU] else NONE)
    if layer[KEPT] != 0:
        for row in range(rows):
            at = model * rows * outputs + row * outputs + first
            some, kept = numbers(layer[Y] + BYTES * at, count), numbers(layer[KEPT] + BYTES * at, count)
            for column in range(count):
                some[column] *= kept[column]


@within
def slope_before(layer, model, columns, rows):
    """Some columns of a layer's dy become those before dropout and ReLU."""
    first, count = columns[0], min(columns[1], layer[OUTPUTS]) - columns[0]
    for row in range(rows):
        at = BYTES * ((model * rows + row) * layer[OUTPUTS] + first)
        slope = numbers(layer[DY] + at, count)
        if layer[KEPT] != 0:
            kept = numbers(layer[KEPT] + at, count)
            for column in range(count):
                slope[column] *= kept[column]
        if layer[RELU]:
            y = numbers(layer[Y] + at, count)
            for column in range(count):
                slope[column] = 0.0 if y[column] <= 0.0 else slope[column]


@within
def layer_backward(layer, model, columns, rows, apart, known):
    """Some columns of a layer's gradient of its weight and of its dx; with the first also its bias's."""
    first, count = columns[0], min(columns[1], layer[INPUTS]) - columns[0]
    inputs, outputs = layer[INPUTS], layer[OUTPUTS]
    zeros = (known, 0, 1)
    dy = matrix(layer[DY], model, rows * outputs, outputs)
    x = beside(matrix(layer[X], model, layer[X_MODEL], layer[X_ROW]), first)
    slopes = beside(matrix(layer[WEIGHT_SLOPE], model, apart, inputs), first)
    product(turned(dy), x, zeros, slopes, (outputs, count, rows), NONE)
    if layer[BIAS_SLOPE] != 0 and first == 0:
        one = (known - BYTES, 0, 0)
        product(one, dy, zeros, matrix(layer[BIAS_SLOPE], model, apart, outputs), (1, outputs, rows), NONE)
    if layer[DX] != 0:
        weight = beside(matrix(layer[WEIGHT], model, apart, inputs), first)
        dx = beside(matrix(layer[DX], model, rows * inputs, inputs), first)
        product(dy, weight, zeros, dx, (rows, count, outputs), NONE)


@within
def network_forward(model, columns, plan, rows, apart, memory, known):
    """All layers of a plan."""
    for layer in plan:
        layer_forward(layer, model, columns, rows, apart, memory, known)


@within
def network_backward(model, columns, plan, rows, apart, known):
    """All layers of a plan, from the last to the first."""
    for place in range(len(plan) - 1, -1, -1):
        slope_before(plan[place], model, columns, rows)
        layer_backward(plan[place], model, columns, rows, apart, known)


@compiled
def forward(models, columns, plan, rows, apart, memory, known):
    """All layers of a plan, of some networks."""
    for model in range(models[0], models[1]):
        network_forward(model, columns, plan, rows, apart, memory, known)


@compiled
def before(models, columns, plan, rows, apart, memory, known):
    """The slopes of one layer before its dropout and ReLU."""
    for model in range(models[0], models[1]):
        slope_before(plan[0], model, columns, rows)


@compiled
def slopes(models, columns, plan, rows, apart, memory, known):
    """The gradients of one layer, whose dy is that before its dropout and ReLU."""
    for model in range(models[0], models[1]):
        layer_backward(plan[0], model, columns, rows, apart, known)


@compiled
def backward(models, columns, plan, rows, apart, memory, known):
    """All layers of a plan, from the last to the first, of some networks."""
    for model in range(models[0], models[1]):
        network_backward(model, columns, plan, rows, apart, known)


@compiled
def learn(models, columns, plan, rows, apart, memory, known, places, number):
    """All layers of a plan, their cross-entropy (its places as entropy.py has them), and all layers back."""
    for model in range(models[0], models[1]):
        network_forward(model, columns, plan, rows, apart, memory, known)
        entropy_of(model, places, number, rows, plan[-1, OUTPUTS])
        network_backward(model, columns, plan, rows, apart, known)


class Sharing:
    """A plan for K networks whose parameters are `apart`, shared out between threads where that is worth it.

    `memory` is what a thread may use meanwhile: (threads, the largest weight).
    """

    def __init__(self, plan: NDArray[np.int64], models: int, rows: int, apart: int, memory: torch.Tensor) -> None:
        self.plan, self.models, self.rows, self.apart, self.memory = plan, models, rows, apart, memory
        widest = int(plan[:, [INPUTS, OUTPUTS]].max())
        self.zeros = known(widest)  # held here: that of another thread may take its place
        self.known = self.zeros.ctypes.data + BYTES
        self.threads = len(memory)

    def forward(self) -> None:
        """Every layer's y."""
        if self.models >= self.threads:
            self.run(forward, self.plan)
        else:
            for place in range(len(self.plan)):
                self.run(forward, self.plan[place : place + 1], OUTPUTS)

    def backward(self) -> None:
        """Every layer's gradients, and dx."""
        if self.models >= self.threads:
            self.run(backward, self.plan)
        else:
            for place in reversed(range(len(self.plan))):
                self.run(before, self.plan[place : place + 1], OUTPUTS)
                self.run(slopes, self.plan[place : place + 1], INPUTS)

    def learn(self, places: tuple[int, ...]) -> None:
        """Every layer's y, the cross-entropy, and every layer's gradients."""
        if self.models >= self.threads:
            self.run(learn, self.plan, None, places, self.models)
        else:
            self.forward()
            entropies(places, self.models, self.rows, int(self.plan[-1, OUTPUTS]))
            self.backward()

    def run(self, function: Callable[..., None], plan: NDArray[np.int64], by: int | None = None, *more: Any) -> None:
        """A function with a share for each thread: of the networks, or of columns, INPUTS or OUTPUTS."""
        all_columns = 0 if by is None else int(plan[0, by])
        shares = of_columns(self.models, all_columns, self.threads) if by else of_models(self.models, self.threads)
        place, size = self.memory.data_ptr(), BYTES * self.memory.stride(0)
        tasks = [
            (*share, plan, self.rows, self.apart, place + number * size, self.known, *more)
            for number, share in enumerate(shares)
        ]
        begun = [pool().submit(function, *task) for task in tasks[1:]]
        try:
            function(*tasks[0])
        finally:  # what the others read and write must not go before they end
            wait(begun)
        for one in begun:
            one.result()


def threads_for(work: int) -> int:
    """How many threads are worth it for so many multiplications."""
    return max(1, min(torch.get_num_threads(), work // WORTH))


def of_models(models: int, threads: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Shares of networks, with all columns."""
    yield from ((cut, (0, ALL)) for cut in pairwise(models * part // threads for part in range(threads + 1)))


def of_columns(models: int, columns: int, threads: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Shares of columns, whole vectors, with all networks."""
    wide = -(-columns // (threads * LANES)) * LANES
    yield from (((0, models), (first, min(first + wide, columns))) for first in range(0, columns, wide))


@cache
def known(width: int) -> NDArray[np.float32]:
    """A one, and as many zeros as a row has."""
    numbers = np.zeros(width + 1, dtype=np.float32)
    numbers[0] = 1.0
    return numbers


@cache
def pool() -> ThreadPoolExecutor:
    """Threads that wait for something to do."""
    return ThreadPoolExecutor(thread_name_prefix="dense")
