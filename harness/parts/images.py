"""Data sets of images: MNIST and Fashion-MNIST by torchvision's files, and scikit-learn's digits.

MNIST and Fashion-MNIST come from HARNESS_DATA_DIR, else the user's cache directory, else a download that torchvision
checks. Each function is named in the catalogue and returns a `Data` that lies in the processor's memory.
"""

import contextlib
import hashlib
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray

from harness.errors import UserError
from harness.parts.data import Data, MissingDataError, Split, data_of


def digits() -> Data:
    """scikit-learn's 1,797 real 8x8 images of handwritten digits; a fixed fifth of them is the test set."""
    from sklearn.datasets import load_digits  # seconds to import, and no other data set needs it

    bunch = load_digits()
    images = torch.from_numpy(bunch.images.astype(np.uint8)).flatten(1)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    return data_of("digits", Split(images, labels), None, (1, 8, 8), white=16.0, classes=range(10))


def mnist() -> Data:
    """MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28."""
    return _torchvision("mnist", "MNIST", range(10))


def fashion_mnist() -> Data:
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28x28."""
    return _torchvision("fashion_mnist", "FashionMNIST", CLOTHES)


CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

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


def _torchvision(name: str, kind: str, classes: Iterable[object]) -> Data:
    """One of torchvision's data sets of 28x28 images, read from its files as they lie in its own layout."""
    raw = _folder(kind)
    images, labels, test_images, test_labels = (np.fromfile(raw / file, np.uint8) for file in FILES)
    return data_of(
        name, _split(images, labels), _split(test_images, test_labels), (1, 28, 28), white=255.0, classes=classes
    )


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
