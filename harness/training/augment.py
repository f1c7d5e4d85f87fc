"""Random changes of training images, made on the device: each model draws its own, whatever its company.

    augment = augment_of(config, data)            # None where nothing is changed
    x = augment(x, noise)                         # (R, B, D) pixels; noise: a generator for each of the K models

A window of each image is cut out and scaled back to its size (crop), moved by some pixels with black at the edges
(shift) and mirrored (flip), in that order, by one gather of nearest pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.config import Config
from harness.parts.data import Data

DRAWN = 6  # numbers for each image: side and place of the window (3), shift (2), flip


class Augment:
    """`shift` is in pixels, `crop` the largest share of its sides that an image loses, `shape` that of an image."""

    def __init__(self, shape: tuple[int, ...], shift: int, crop: float, flip: bool, device: torch.device) -> None:
        self.shape, self.shift, self.crop, self.flip = shape, shift, crop, flip
        self.rows, self.columns = (torch.arange(side, device=device) for side in shape[1:])
        self.noise: Sequence[torch.Generator] | None = None

    def __call__(self, x: Tensor, noise: Sequence[torch.Generator]) -> Tensor:
        """The images (R, B, D) changed; R is 1 where all models have one generator. (1, B, D), which models share that
        draw differently (some drop nothing), become (K, B, D).
        """
        u = self._numbers(x.shape[0], x.shape[1], noise)
        x = x.expand(len(u), -1, -1)
        side = 1.0 - self.crop * u[..., 0]
        y, y_in = self._places(self.rows, side, u[..., 1], u[..., 3])
        columns = self.columns
        if self.flip:
            columns = torch.where(u[..., 5, None] < 0.5, columns.flip(0), columns)
        z, z_in = self._places(columns, side, u[..., 2], u[..., 4])
        source = (y[..., :, None] * self.shape[2] + z[..., None, :]).flatten(2)
        seen = (y_in[..., :, None] & z_in[..., None, :]).flatten(2)
        images = x.unflatten(2, (self.shape[0], -1))
        changed = images.gather(3, source[:, :, None].expand_as(images)).mul_(seen[:, :, None])
        flat: Tensor = changed.flatten(2)
        return flat

    def _places(self, to: Tensor, side: Tensor, corner: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
        """Where the pixels of one direction (S,) or (R, B, S) come from, and whether that lies in the image."""
        size = len(self.rows) if to is self.rows else len(self.columns)
        by = (moved * (2 * self.shift + 1)).floor().clamp(max=2 * self.shift) - self.shift
        at = to - by[..., None]
        start = corner * size * (1.0 - side)
        source = (start[..., None] + (at + 0.5) * side[..., None]).floor().long()
        return source.clamp(0, size - 1), (at >= 0) & (at < size)

    def _numbers(self, models: int, images: int, noise: Sequence[torch.Generator]) -> Tensor:
        """In [0, 1): (R, B, DRAWN); models of one seed have one generator, whose numbers are drawn once."""
        if noise is not self.noise:
            self.noise = noise
            self.generators = list(dict.fromkeys(noise))
            places = [self.generators.index(one) for one in noise]
            self.places = torch.tensor(places, device=self.rows.device)
        drawn = torch.empty(len(self.generators), images, DRAWN, device=self.rows.device)
        for row, generator in zip(drawn.unbind(), self.generators, strict=True):
            row.uniform_(generator=generator)
        return drawn if len(drawn) == models else drawn.index_select(0, self.places)


def augment_of(config: Config, data: Data) -> Augment | None:
    """The changes that a config wants; None where it wants none."""
    shift, crop, flip = int(config.augment_shift), float(config.augment_crop), bool(config.augment_flip)
    if not (shift or crop or flip):
        return None
    assert not data.is_table, "of a table `checks` refuses it"
    return Augment(data.shape, shift, crop, flip, data.inputs.device)
