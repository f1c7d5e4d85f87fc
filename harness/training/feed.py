"""Batches for a stack: which rows of a data set each model sees, in which order, as floats."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from harness.parts.preparing import Prepared
from harness.training.augment import Augment
from harness.training.memory import Memory


class Feed:
    """The rows in the order in which each model of a stack sees them.

    `rows` (R, N) index the data set: R is 1 where all models see the same (equal seeds), which saves cutting each batch
    K times, else R is K; `seen` is what these models see of it. A feed with `orders` is shuffled each epoch, and
    `augment` changes its images.
    """

    def __init__(
        self,
        seen: Prepared,
        rows: Tensor,
        orders: Sequence[torch.Generator] = (),
        augment: Augment | None = None,
    ) -> None:
        self.seen, self.rows, self.orders, self.augment = seen, rows, list(orders), augment
        # known here: a step must not wait for the host
        self.shifted = seen.affine is not None and bool(seen.affine[1].any())
        self.memory = Memory(rows.device)

    def __len__(self) -> int:
        return self.rows.shape[1]

    def batches(self, size: int) -> Iterator[Tensor]:
        """Indices (R, B) of rows, shuffled anew if there are generators to do it."""
        rows = self.rows
        if self.orders:
            orders = [torch.randperm(rows.shape[1], generator=g, device=rows.device) for g in self.orders]
            rows = rows.gather(1, torch.stack(orders))
        yield from rows.split(size, dim=1)

    def cut(self, batch: Tensor, noise: Sequence[torch.Generator] = ()) -> tuple[Tensor, Tensor]:
        """Inputs (R, B, D) as floats and targets (R, B) or (R, B, T) of a batch of indices; valid until the next call.

        Numbers to be learned come as standard scores. `noise` is what random changes of images are drawn by.
        """
        seen = self.seen
        x = self._floats(batch if seen.first is None else batch + seen.first)
        if self.augment is not None:
            x = self.augment(x, noise)
        if seen.affine is not None:
            factor, offset = seen.affine
            x.mul_(factor)
            if self.shifted:
                x.add_(offset)
        y = seen.targets.index_select(0, batch.flatten()).view(*batch.shape, *seen.targets.shape[1:])
        return x, y if seen.unit is None else y.sub_(seen.unit[1]).div_(seen.unit[0])

    def _floats(self, index: Tensor) -> Tensor:
        """Inputs (R, B, D) of indices (R, B) into `seen.inputs`."""
        source = self.seen.inputs
        inputs = self.memory("inputs", *index.shape, source.shape[1])
        if source.dtype == torch.float32:
            torch.index_select(source, 0, index.flatten(), out=inputs.view(-1, source.shape[1]))
        else:  # moved as bytes: a quarter of the floats' memory
            pixels = self.memory("pixels", index.numel(), source.shape[1], dtype=source.dtype)
            torch.index_select(source, 0, index.flatten(), out=pixels)
            inputs.copy_(pixels.view_as(inputs))
        return inputs

    def sample(self, images: int) -> "Feed":
        """At least so many of the rows (all, if there are fewer), evenly spread, in order and unchanged."""
        step = max(1, len(self) // max(1, images))
        return Feed(self.seen, self.rows[:, ::step])

    def only(self, models: Sequence[int]) -> "Feed":
        """The feed of some of the models; it goes on with their orders where this one stopped."""
        if len(self.rows) == 1:
            return self
        models = list(models)
        orders = [self.orders[model] for model in models] if self.orders else []
        return Feed(self.seen.only(models), self.rows[models], orders, self.augment)
