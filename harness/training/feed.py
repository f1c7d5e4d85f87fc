"""Batches for a stack: which images each model sees, in which order, as floats."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from harness.parts.data import Data
from harness.training.memory import Memory


class Feed:
    """The images in the order in which each model of a stack sees them.

    `rows` (R, N) index the data set's images: R is 1 where all models see the same (equal seeds), which saves cutting
    each batch K times, else R is K. `affine` is `Data.affine` of the models' training images.
    """

    def __init__(
        self, data: Data, rows: Tensor, affine: tuple[Tensor, Tensor], orders: Sequence[torch.Generator] = ()
    ) -> None:
        self.data, self.rows, self.affine, self.orders = data, rows, affine, list(orders)
        self.shifted = bool(affine[1].any())  # known here: a step must not wait for the host
        self.memory = Memory(rows.device)

    def __len__(self) -> int:
        return self.rows.shape[1]

    def batches(self, size: int) -> Iterator[Tensor]:
        """Indices (R, B) of images, shuffled anew if there are generators to do it."""
        rows = self.rows
        if self.orders:
            orders = [torch.randperm(rows.shape[1], generator=g, device=rows.device) for g in self.orders]
            rows = rows.gather(1, torch.stack(orders))
        yield from rows.split(size, dim=1)

    def cut(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (R, B, D) as floats and labels (R, B) of a batch of indices; valid until the next call."""
        index, images = batch.flatten(), self.data.images
        pixels = self.memory("pixels", len(index), images.shape[1], dtype=images.dtype)
        torch.index_select(images, 0, index, out=pixels)  # moved as bytes: a quarter of the floats' memory
        factor, offset = self.affine
        inputs = self.memory("inputs", *batch.shape, images.shape[1])
        inputs.copy_(pixels.view_as(inputs)).mul_(factor)
        if self.shifted:
            inputs.add_(offset)
        return inputs, self.data.labels.index_select(0, index).view_as(batch)

    def sample(self, images: int) -> "Feed":
        """At least so many of the images (all, if there are fewer), evenly spread and in order."""
        step = max(1, len(self) // max(1, images))
        return Feed(self.data, self.rows[:, ::step], self.affine)

    def only(self, models: Sequence[int]) -> "Feed":
        """The feed of some of the models; it goes on with their orders where this one stopped."""
        if len(self.rows) == 1:
            return self
        models = list(models)
        orders = [self.orders[model] for model in models] if self.orders else []
        factor, offset = self.affine
        return Feed(self.data, self.rows[models], (factor[models], offset[models]), orders)
