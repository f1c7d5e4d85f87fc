"""How images are cut into folds: parts of equal size, each of which is held out by one training of a trial.

train, val = held_out(rows, data.targets, Fold(number=2, of=5, seed=1))

The trainings of a trial are rows of one stack, so their parts must be of one size. Where the images cannot be shared
out evenly, the few that are left (fewer than there are parts) are trained on by all and held out by none.
"""

import numpy as np
import torch
from torch import Tensor

from harness.trial import Fold


def held_out(rows: Tensor, labels: Tensor | None, fold: Fold) -> tuple[Tensor, Tensor]:
    """Of some images (N,), indices in any order: those that a fold trains on, and the N // of that it holds out.

    With `labels`, which `rows` index, classes are shared out too: two folds hold out as many images of a class, or one
    of them one more. The parts depend on which images there are, on `fold.of` and on `fold.seed`, on nothing else.
    """
    images = np.sort(rows.cpu().numpy())
    parts = partition(None if labels is None else labels.cpu().numpy()[images], len(images), fold.of, fold.seed)
    val = parts == fold.part
    return tuple(torch.from_numpy(images[chosen]).to(rows.device) for chosen in (~val, val))  # type: ignore[return-value]


def partition(labels: np.ndarray | None, size: int, of: int, seed: int) -> np.ndarray:
    """The part of each of so many images (N,): 0 to `of` - 1, or -1 for the N % of that are left over.

    Images are shuffled, sorted by class (labels (N,), if any) and dealt out in turn.
    """
    order = np.random.default_rng([seed, 0]).permutation(size)[size % of :]
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    parts = np.full(size, -1)
    parts[order] = np.arange(len(order)) % of
    return parts


def rarest(rows: Tensor, labels: Tensor) -> int:
    """How many of some images (N,), indices, are of the rarest class among them."""
    return int(labels[rows].unique(return_counts=True)[1].min())
