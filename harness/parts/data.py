"""A data set by name, as tensors that lie on the device for good.

    data = load("mnist", "cpu")
    data.train.images            # (60000, 784) uint8; made floats when a batch is cut
    train, val, test = data.split(seed=1, validation=0.2)

MNIST and Fashion-MNIST come through torchvision, from HARNESS_DATA_DIR, else the user's cache directory, else a
checked download. scikit-learn's digits come with it. The test images are a set of their own: for MNIST the published
10,000, for digits a fixed fifth, so that no seed's training or validation images are another seed's test images.
"""

import contextlib
import hashlib
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray
from torch import Tensor

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

    `white` is the pixel value that becomes 1.0; `fingerprint` is the sha256 of images and labels, in hexadecimal.
    """

    name: str
    images: Tensor
    labels: Tensor
    trainable: int
    classes: int
    white: float
    fingerprint: str

    @property
    def train(self) -> Split:
        """The images that its makers mean for training (and validation)."""
        return Split(self.images[: self.trainable], self.labels[: self.trainable])

    @property
    def test(self) -> Split:
        """The images that its makers mean for the test."""
        return Split(self.images[self.trainable :], self.labels[self.trainable :])

    def split(self, seed: int, validation: float, pooled: float = 0.0) -> Parts:
        """Training, validation and test images, the first two shuffled by the seed.

        `validation` is the share of the training images held out. `pooled` > 0 draws the test images anew as well: that
        share of all images.
        """
        if pooled:
            order = np.random.default_rng([seed, 0]).permutation(len(self.images))
            order, test = np.split(order, [len(order) - round(len(order) * pooled)])
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
    data = DATASETS[name]()
    return replace(data, images=data.images.to(device), labels=data.labels.to(device))


def digits() -> Data:
    """scikit-learn's 1,797 real 8x8 images of handwritten digits; a fixed fifth of them is the test set."""
    from sklearn.datasets import load_digits  # seconds to import, and no other data set needs it

    bunch = load_digits()
    images = torch.from_numpy(bunch.images.astype(np.uint8)).flatten(1)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
    test, train = order[: len(order) // 5], order[len(order) // 5 :]
    return _data("digits", Split(images[train], labels[train]), Split(images[test], labels[test]), white=16.0)


def mnist() -> Data:
    """MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28."""
    return _torchvision("mnist", "MNIST")


def fashion_mnist() -> Data:
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28x28."""
    return _torchvision("fashion_mnist", "FashionMNIST")


DATASETS: dict[str, Callable[[], Data]] = {"mnist": mnist, "fashion_mnist": fashion_mnist, "digits": digits}


FILES = {
    "train-images-idx3-ubyte": 16 + 60_000 * 784,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 784,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}
"""The uncompressed files of MNIST and of Fashion-MNIST, and their sizes in bytes."""

SHA256 = {
    "MNIST/train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "MNIST/train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "MNIST/t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "MNIST/t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Sums of uncompressed files that are known; the archives are checked by torchvision when they are downloaded."""


def _torchvision(name: str, kind: str) -> Data:
    """One of torchvision's data sets of 28x28 images, read from its files as they lie in its own layout."""
    raw = _folder(kind)
    images, labels, test_images, test_labels = (np.fromfile(raw / file, np.uint8) for file in FILES)
    return _data(name, _split(images, labels), _split(test_images, test_labels), white=255.0)


def _split(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
    """Two files in MNIST's IDX format: 16 and 8 bytes of header, then a byte for each pixel and for each label."""
    return Split(torch.from_numpy(images[16:].reshape(-1, 784)), torch.from_numpy(labels[8:].astype(np.int64)))


def _folder(kind: str) -> Path:
    """The first folder that holds the data set's files, filled by a download if none does."""
    cache = Path(platformdirs.user_cache_dir("harness"))
    given = os.environ.get("HARNESS_DATA_DIR")
    roots = [Path(given).expanduser(), cache] if given else [cache]
    for raw in (root / kind / "raw" for root in roots):
        if all((raw / file).exists() for file in FILES):
            _check_files(raw)
            return raw
    _download(kind, cache)
    return cache / kind / "raw"


def _check_files(raw: Path) -> None:
    for file, size in FILES.items():
        path = raw / file
        if path.stat().st_size != size:
            raise UserError(f"{path}: damaged: {path.stat().st_size:,} bytes instead of {size:,}; remove it")
        known = SHA256.get(f"{raw.parent.name}/{file}")
        if known and hashlib.sha256(path.read_bytes()).hexdigest() != known:
            raise UserError(f"{path}: damaged: its sha256 is not {known[:16]}...; remove it")


def _download(kind: str, root: Path) -> None:
    from torchvision import datasets as vision  # seconds to import, for a download only

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # a network that swallows packets must not hold a study for ever
    try:
        with contextlib.redirect_stdout(sys.stderr):
            getattr(vision, kind)(str(root), download=True)
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(":")
        raise MissingDataError(
            f"{kind}: neither in HARNESS_DATA_DIR nor in {root}, and not to be downloaded: {reason}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _data(name: str, train: Split, test: Split, white: float) -> Data:
    digest = hashlib.sha256()
    for part in (train, test):
        digest.update(part.images.numpy().tobytes())
        digest.update(part.labels.numpy().tobytes())
    images, labels = torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels])
    return Data(name, images, labels, len(train), int(labels.max()) + 1, white, digest.hexdigest())
