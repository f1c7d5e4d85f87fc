"""Data sets of images: MNIST and its kin by torchvision's files, others by torchvision, and scikit-learn's digits.

All but the digits come from HARNESS_DATA_DIR, else the user's cache directory, else a download that torchvision
checks. Each function is named in the catalogue and returns a `Data` that lies in the processor's memory.
"""

import contextlib
import gzip
import hashlib
import os
import socket
import string
import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray

from harness.errors import UserError
from harness.parts.data import Data, MissingDataError, Split, data_of


def digits() -> Data:
    """scikit-learn's 1,797 real 8x8 images of handwritten digits; a fixed fifth of them is the test set."""
    table = _digits_table()
    images = torch.from_numpy(table[:, :-1].astype(np.uint8))
    labels = torch.from_numpy(table[:, -1].astype(np.int64))
    return data_of("digits", Split(images, labels), None, (1, 8, 8), white=16.0, classes=range(10))


def _digits_table() -> NDArray[np.float64]:
    """64 pixels and a label for each image. scikit-learn's file is read without it: it takes a second to import, and no
    other data set of images needs it.
    """
    package = find_spec("sklearn")
    file = Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if package else Path()
    if file.is_file():
        with gzip.open(file, "rt") as text:
            return np.loadtxt(text, delimiter=",")
    from sklearn.datasets import load_digits  # where its files lie elsewhere

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target])


def mnist() -> Data:
    """MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28."""
    return _idx("mnist", "MNIST", range(10))


def fashion_mnist() -> Data:
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28x28."""
    return _idx("fashion_mnist", "FashionMNIST", CLOTHES)


def kmnist() -> Data:
    """Kuzushiji-MNIST: 60,000 training and 10,000 test images of cursive Japanese characters, 28x28."""
    return _idx("kmnist", "KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"))


def emnist_balanced() -> Data:
    """EMNIST's letters and digits, as many of each: 47 classes, since some small letters look like large ones."""
    return _emnist("balanced", MERGED, 112_800, 18_800)


def emnist_byclass() -> Data:
    """EMNIST's letters and digits as they occur, 62 classes."""
    return _emnist("byclass", CHARACTERS, 697_932, 116_323)


def emnist_bymerge() -> Data:
    """EMNIST's letters and digits as they occur, 47 classes, since some small letters look like large ones."""
    return _emnist("bymerge", MERGED, 697_932, 116_323)


def emnist_digits() -> Data:
    """EMNIST's digits, as many of each."""
    return _emnist("digits", string.digits, 240_000, 40_000)


def emnist_letters() -> Data:
    """EMNIST's letters, small and large in one class, as many of each."""
    return _emnist("letters", string.ascii_lowercase, 124_800, 20_800)


def emnist_mnist() -> Data:
    """EMNIST's digits, as many as MNIST has."""
    return _emnist("mnist", string.digits, 60_000, 10_000)


def cifar10() -> Data:
    """CIFAR-10: 50,000 training and 10,000 test images of things and animals in colour, 32x32."""
    return _cifar("cifar10", "CIFAR10")


def cifar100() -> Data:
    """CIFAR-100: as CIFAR-10, of 100 classes."""
    return _cifar("cifar100", "CIFAR100")


def svhn() -> Data:
    """SVHN: 73,257 training and 26,032 test images of house numbers, cropped to a digit, in colour, 32x32."""
    train, test = _by_torchvision("SVHN", {"split": "train"}, {"split": "test"})
    first, second = (_colour(part.data, part.labels) for part in (train, test))
    return data_of("svhn", first, second, (3, 32, 32), white=255.0, classes=range(10))


CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
MERGED = "".join(char for char in CHARACTERS if char not in "cijklmopsuvwxyz")

FILES = {
    "train-images-idx3-ubyte": 16 + 60_000 * 784,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 784,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}
"""The uncompressed files of MNIST and of data sets of its size, and their sizes in bytes."""

SHA256 = {
    "MNIST/train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "MNIST/train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "MNIST/t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "MNIST/t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Sums of uncompressed files that are known; the archives are checked by torchvision when they are downloaded."""


def _idx(name: str, kind: str, classes: Iterable[object]) -> Data:
    """One of torchvision's data sets of 28x28 images, read from its files as they lie in its own layout."""
    raw = _folder(kind, FILES)
    images, labels, test_images, test_labels = (np.fromfile(raw / file, np.uint8) for file in FILES)
    return data_of(
        name, _split(images, labels), _split(test_images, test_labels), (1, 28, 28), white=255.0, classes=classes
    )


def _split(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
    """Two files in MNIST's IDX format: 16 and 8 bytes of header, then a byte for each pixel and for each label."""
    return Split(torch.from_numpy(images[16:].reshape(-1, 784)), torch.from_numpy(labels[8:].astype(np.int64)))


def _emnist(split: str, classes: Iterable[str], train: int, test: int) -> Data:
    """One of EMNIST's six selections, so many images of each. Its files have the images lying on their sides, rows and
    columns exchanged, and number the letters from 1.
    """
    counts = {"train": train, "test": test}
    sizes = {f"emnist-{split}-{part}-images-idx3-ubyte": 16 + count * 784 for part, count in counts.items()}
    sizes |= {f"emnist-{split}-{part}-labels-idx1-ubyte": 8 + count for part, count in counts.items()}
    raw = _folder("EMNIST", sizes, split)
    parts = []
    for part in counts:
        images, labels = (
            np.fromfile(raw / f"emnist-{split}-{part}-{what}-ubyte", np.uint8)
            for what in ("images-idx3", "labels-idx1")
        )
        lying = _split(images, labels)
        upright = lying.inputs.view(-1, 28, 28).transpose(1, 2).flatten(1)
        parts.append(Split(upright, lying.targets - int(split == "letters")))
    return data_of(f"emnist_{split}", parts[0], parts[1], (1, 28, 28), white=255.0, classes=classes)


def _cifar(name: str, kind: str) -> Data:
    train, test = _by_torchvision(kind, {"train": True}, {"train": False})
    first, second = (_colour(part.data.transpose(0, 3, 1, 2), part.targets) for part in (train, test))
    return data_of(name, first, second, (3, 32, 32), white=255.0, classes=train.classes)


def _colour(images: NDArray[np.uint8], labels: Iterable[int]) -> Split:
    """Images (N, 3, H, W), and the number of each one's class."""
    return Split(torch.from_numpy(np.ascontiguousarray(images)).flatten(1), torch.tensor([int(one) for one in labels]))


def _by_torchvision(kind: str, *parts: dict[str, object]) -> list[Any]:
    """Parts of a data set as torchvision's class reads them, from files whose checksums it knows."""
    from torchvision import datasets as vision  # seconds to import

    make = getattr(vision, kind)
    for root in _roots():
        with contextlib.suppress(RuntimeError):  # not there, or damaged
            return [make(str(root), download=False, **part) for part in parts]
    cache = _roots()[-1]
    for part in parts:
        _download(kind, cache, part)
    return [make(str(cache), download=False, **part) for part in parts]


FIRST = {
    "mnist": "MNIST/raw/train-images-idx3-ubyte",
    "fashion_mnist": "FashionMNIST/raw/train-images-idx3-ubyte",
    "kmnist": "KMNIST/raw/train-images-idx3-ubyte",
    "emnist": "EMNIST/raw/emnist-{split}-train-images-idx3-ubyte",
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "svhn": "train_32x32.mat",
}
"""A file or folder that is there where a data set is, in torchvision's layout."""


def found_in(name: str) -> str:
    """Where a built-in data set lies, in words; "" where it is still to be downloaded. Nothing of it is read."""
    kind, _, split = name.partition("_") if name.startswith("emnist_") else (name, "", "")
    if kind not in FIRST:
        return "comes with scikit-learn"
    return next((str(root) for root in _roots() if (root / FIRST[kind].format(split=split)).exists()), "")


def _roots() -> list[Path]:
    """Where data sets may lie; downloads go to the last."""
    cache = Path(platformdirs.user_cache_dir("harness"))
    given = os.environ.get("HARNESS_DATA_DIR")
    return [Path(given).expanduser(), cache] if given else [cache]


def _folder(kind: str, files: Mapping[str, int], split: str = "") -> Path:
    """The first folder that holds these files of a data set, filled by a download if none does."""
    roots = _roots()
    for raw in (root / kind / "raw" for root in roots):
        if all((raw / file).exists() for file in files):
            _check_files(raw, files)
            return raw
    _download(kind, roots[-1], {"split": split} if split else {})
    return roots[-1] / kind / "raw"


def _check_files(raw: Path, files: Mapping[str, int]) -> None:
    for file, size in files.items():
        path = raw / file
        if path.stat().st_size != size:
            raise UserError(f"{path}: damaged: {path.stat().st_size:,} bytes instead of {size:,}; remove it")
        known = SHA256.get(f"{raw.parent.name}/{file}")
        if known and hashlib.sha256(path.read_bytes()).hexdigest() != known:
            raise UserError(f"{path}: damaged: its sha256 is not {known[:16]}...; remove it")


def _download(kind: str, root: Path, part: Mapping[str, object]) -> None:
    """Download a data set by torchvision, which checks the archives; `part` are the arguments that name one."""
    from torchvision import datasets as vision  # seconds to import, for a download only

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # a network that swallows packets must not hold a study for ever
    try:
        with contextlib.redirect_stdout(sys.stderr):
            getattr(vision, kind)(str(root), download=True, **part)
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(":")
        raise MissingDataError(
            f"{kind}: neither in HARNESS_DATA_DIR nor in {root}, and not to be downloaded: {reason}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
