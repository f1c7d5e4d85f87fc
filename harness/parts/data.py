"""A data set as tensors that lie on the device for good, and how it is split.

    data = load("mnist", "cpu")
    data.train.images            # (60000, 784) uint8; made floats when a batch is cut
    train, val, test = data.split(seed=1, validation=0.2)

The test images are a set of their own: for MNIST the published 10,000, for digits a fixed fifth, so that no seed's
training or validation images are another seed's test images. What makes a data set is an entry of the catalogue.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness import catalogue
from harness.errors import UserError


class MissingDataError(UserError):
    """The data set is not on this machine and cannot be downloaded."""


@dataclass(frozen=True)
class Split:
    """Images as (N, D) uint8 and their labels as (N,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class Parts(NamedTuple):
    """Indices (N,) int64 into a data set's images."""

    train: Tensor
    val: Tensor
    test: Tensor


@dataclass(frozen=True)
class Data:
    """A data set: (N, D) uint8 images and their (N,) int64 labels, the `trainable` ones first, then the test images.

    `shape` is that of an image: channels, height, width; D is their product. `white` is the pixel value that becomes
    1.0; `fingerprint` is the sha256 of images and labels, in hexadecimal.
    """

    name: str
    images: Tensor
    labels: Tensor
    trainable: int
    classes: int
    shape: tuple[int, ...]
    white: float
    fingerprint: str

    @property
    def features(self) -> int:
        """How many numbers an image has."""
        return self.images.shape[1]

    @property
    def train(self) -> Split:
        """The images that its makers mean for training (and validation)."""
        return Split(self.images[: self.trainable], self.labels[: self.trainable])

    @property
    def test(self) -> Split:
        """The images that its makers mean for the test."""
        return Split(self.images[self.trainable :], self.labels[self.trainable :])

    def split(self, seed: int, validation: float, pooled: float = 0.0, pool: int | None = None) -> Parts:
        """Training, validation and test images, the first two shuffled by the seed.

        `validation` is the share of the training images held out. `pooled` > 0 draws the test images anew as well: that
        share of all images, by the seed `pool` if one is given.
        """
        if pooled:
            order = np.random.default_rng([seed if pool is None else pool, 0]).permutation(len(self.images))
            order, test = np.split(order, [len(order) - round(len(order) * pooled)])
            if pool is not None:
                order = np.random.default_rng([seed, 0]).permutation(order)
        else:
            order = np.random.default_rng([seed, 0]).permutation(self.trainable)
            test = np.arange(self.trainable, len(self.images))
        val, train = np.split(order, [round(len(order) * validation)])
        return Parts(*(torch.from_numpy(rows).to(self.labels.device) for rows in (train, val, test)))

    def floats(self, images: Tensor) -> Tensor:
        """uint8 pixels as float32 in [0, 1]."""
        return images.float().mul_(1.0 / self.white)

    def affine(self, normalisation: str, train: Tensor) -> tuple[Tensor, Tensor]:
        """Factor and offset (R, 1, 1) that make uint8 pixels the network's inputs.

        "scale" maps them to [0, 1]; "half" then takes 0.5 off and divides by 0.5; "standard" takes off the mean of the
        model's own training images (R, N) and divides by their standard deviation.
        """
        mean = std = torch.full((len(train), 1, 1), 0.5 if normalisation == "half" else 0.0, device=train.device)
        if normalisation == "scale":
            std = mean + 1.0
        elif normalisation == "standard":
            first, second = (self.images.double().pow(power).mean(1)[train].mean(1) for power in (1, 2))
            mean = (first / self.white).float()[:, None, None]
            std = ((second - first**2).sqrt() / self.white).float()[:, None, None]
        return 1.0 / (self.white * std), -mean / std


def load(name: str, device: str | torch.device) -> Data:
    """The data set on the device; raises MissingDataError or, for a damaged file, UserError."""
    make: Callable[[], Data] = catalogue.built_by("dataset", name)
    data = make()
    return replace(data, images=data.images.to(device), labels=data.labels.to(device))


def data_of(name: str, train: Split, test: Split, shape: tuple[int, ...], white: float) -> Data:
    """The data set of that name, of training and test images that are (channels, height, width) each."""
    digest = hashlib.sha256()
    for part in (train, test):
        digest.update(part.images.numpy().tobytes())
        digest.update(part.labels.numpy().tobytes())
    images, labels = torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels])
    return Data(name, images, labels, len(train), int(labels.max()) + 1, shape, white, digest.hexdigest())
