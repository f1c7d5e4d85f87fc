"""Cross-entropy of few classes: what torch does in a dozen passes, each of which costs more than its work."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
import math

import numpy as np
import torch
from torch import Tensor

from harness.kernels.compiled import compiled, within
from harness.kernels.tiles import BYTES, as_number, numbers, whole_numbers

CLASSES = 256
"""At most: what else torch's passes cost is little with more."""

LEAST = np.float32(-88.0)  # whose exponential is 0, near enough
PER_TWO, MAGIC = np.float32(1.0 / math.log(2.0)), np.float32(1.5 * 2**23)
TWO_HIGH, TWO_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # log(2), in two parts
SERIES = tuple(
    np.float32(one)
    for one in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)


def fits(logits: Tensor) -> bool:
    """Whether this is for logits (K, B, C)."""
    return logits.dtype == torch.float32 and logits.shape[2] <= CLASSES and logits.is_contiguous()


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `tasks.cross_entropy`: sums of losses (K,) and hits (K,), and the slope of the mean (K, B, C)."""
    models, rows, classes = logits.shape
    slope, sums = torch.empty_like(logits), torch.zeros(2, models)
    labels = with_rows(labels)
    entropies(places(logits, labels, slope, sums), models, rows, classes)
    return sums[0], sums[1], slope


def with_rows(labels: Tensor) -> Tensor:
    """Labels (K, B), those of a model side by side."""
    return labels if labels.stride(1) == 1 else labels.contiguous()


def places(logits: Tensor, labels: Tensor, slope: Tensor, sums: Tensor) -> tuple[int, int, int, int, int]:
    """Where everything stands, and how far apart the models' labels are."""
    return logits.data_ptr(), labels.data_ptr(), labels.stride(0), slope.data_ptr(), sums.data_ptr()


@compiled
def entropies(places, models, rows, classes):
    """Of all models."""
    for model in range(models):
        entropy_of(model, places, models, rows, classes)


@within
def entropy_of(model, places, models, rows, classes):
    """Of one model: its losses and hits are added to `sums` (2, K), its slope is written to `slope`."""
    logits, labels, apart, slope, sums = places
    found, count = numbers(sums, 2 * models), rows * classes
    own = whole_numbers(labels + 2 * BYTES * model * apart, rows)
    given, shares = numbers(logits + BYTES * model * count, count), numbers(slope + BYTES * model * count, count)
    loss, hits = 0.0, 0
    for row in range(rows):
        if not 0 <= own[row] < classes:
            raise IndexError("a label is of no class")
        one, first = row * classes, _highest(given[row * classes : (row + 1) * classes])
        hits += first == own[row]
        peak = given[one + first]
        loss += peak - given[one + own[row]]
        for place in range(one, one + classes):
            shares[place] = given[place] - peak
    exponentials(shares)
    for row in range(rows):
        some = shares[row * classes : (row + 1) * classes]
        total = some.sum()
        loss += math.log(total)
        some *= np.float32(1.0) / (total * np.float32(rows))
        some[own[row]] -= np.float32(1.0 / rows)
    found[model] += loss
    found[models + model] += hits


@within
def _highest(logits):
    """The first of the highest; as torch has it, what is no number is higher than any."""
    best = 0
    for place in range(1, len(logits)):
        if not logits[place] <= logits[best] and logits[best] == logits[best]:
            best = place
    return best


@within
def exponentials(values):
    """Those of numbers of at most 0, in place, to the last but one bit; several at once, as torch computes them.

    exp(x) = 2^n exp(r), n a whole number, |r| <= log(2) / 2; exp(r) by the first terms of its series, as in Cephes.
    """
    for place in range(len(values)):
        x = max(values[place], LEAST) if values[place] == values[place] else values[place]
        n = (x * PER_TWO + MAGIC) - MAGIC  # rounded: what is lost beside the large number is the fraction
        r = (x - n * TWO_HIGH) - n * TWO_LOW
        series = SERIES[0]
        for term in SERIES[1:]:
            series = series * r + term
        values[place] = (series * r * r + r + np.float32(1.0)) * as_number(np.int32((np.int32(n) + 127) << 23))
