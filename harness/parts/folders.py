"""A folder of images by class: `train/<class>/*.png` and `test/<class>/*.png`, or `<class>/*.png` alone.

Grey images are (1, H, W), others are read as red, green and blue (3, H, W). All must be of one size.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from harness.errors import UserError, listed, nearest
from harness.parts import targets
from harness.parts.data import Data, Split, data_of
from harness.parts.sizes import check_fits

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
GREY = ("1", "L", "LA")
DEEP = ("I", "F")  # how the names of Pillow's modes of more than 8 bits begin


ByClass = dict[str, list[Path]]
"""The images of each class."""


@dataclass(frozen=True)
class _Folder:
    """The user's folder, as it is named and where it lies."""

    name: str
    path: Path

    def said(self, path: Path) -> str:
        """A file or folder in it, as it is told."""
        return self.name if path == self.path else f"{self.name}/{path.relative_to(self.path)}"

    def inside(self, path: Path) -> list[Path]:
        """What lies in a folder, in order; hidden files are none of it. Raises UserError if a link leads out."""
        found = sorted(other for other in path.iterdir() if not other.name.startswith("."))
        for other in found:
            if other.is_symlink() and not other.resolve().is_relative_to(self.path.resolve()):
                raise UserError(f"{self.said(other)}: leads out of the folder, to {other.resolve()}")
        return found

    def folders(self, path: Path) -> dict[str, Path]:
        """The folders in a folder, by name."""
        return {other.name: other for other in self.inside(path) if other.is_dir()}

    def images(self, path: Path) -> list[Path]:
        """The images of a class."""
        return [other for other in self.inside(path) if other.suffix.lower() in SUFFIXES and other.is_file()]


def read_folder(name: str, path: Path, task: str) -> Data:
    """The images of a folder and its classes. Raises UserError for all that is wrong with it."""
    if task == "regression":
        raise UserError(f"task: {name} is a folder of classes, which no regression can learn")
    folder = _Folder(name.rstrip("/"), path)
    train, *tests = (_by_class(folder, where) for where in _parts(folder))
    names = targets.in_order(train)
    _check_classes(folder, train, tests)
    files = [(file, names.index(label)) for part in (train, *tests) for label in part for file in part[label]]
    shape = _shape(folder, [file for file, _ in files])
    pixels = np.empty((len(files), *shape), np.uint8)
    for row, (file, _) in enumerate(files):
        pixels[row] = _pixels(folder, file, shape[0])
    inputs, labels = torch.from_numpy(pixels).flatten(1), torch.tensor([number for _, number in files])
    cut = sum(map(len, train.values()))
    test = Split(inputs[cut:], labels[cut:]) if tests else None
    return data_of(name, Split(inputs[:cut], labels[:cut]), test, shape, white=255.0, classes=names, stratified=True)


def _parts(folder: _Folder) -> list[Path]:
    """The folder whose folders are the classes of training images, and that of test images if there is one."""
    top = folder.folders(folder.path)
    if "train" not in top:
        if "test" in top:
            raise UserError(f"{folder.name}: has a folder test, but none called train; it has {listed(top)}")
        return [folder.path]
    if others := [one for one in top if one not in ("train", "test")]:
        raise UserError(f"{folder.name}: has train beside {listed(others)}; only test may be there too")
    return [top[part] for part in ("train", "test") if part in top]


def _check_classes(folder: _Folder, train: ByClass, tests: list[ByClass]) -> None:
    for part in tests:
        for label, (file, *_) in part.items():
            if label not in train:
                where = folder.said(file.parent)
                raise UserError(f"{where}: train has no class of that name{nearest(label, list(train))}")
    for images in train.values():
        if len(images) < 2 and not tests:
            raise UserError(f"{folder.said(images[0].parent)}: has one image only; training and test need one each")


def _by_class(folder: _Folder, path: Path) -> ByClass:
    """The images in each folder of classes."""
    classes = folder.folders(path)
    if len(classes) < 2:
        there = f"it has {listed(classes)}" if classes else "it has none"
        raise UserError(f"{folder.said(path).removesuffix('/.')}: needs a folder of images for each class; {there}")
    found = {label: folder.images(where) for label, where in classes.items()}
    for label, images in found.items():
        if not images:
            raise UserError(f"{folder.said(classes[label])}: has no images ({listed(SUFFIXES)})")
    return found


def _shape(folder: _Folder, files: list[Path]) -> tuple[int, int, int]:
    """Channels, height and width of all images, by their first bytes; raises UserError where they differ in size."""
    first, channels = files[0], 1
    with _opened(folder, first) as image:
        size = image.size
    for file in files:
        with _opened(folder, file) as image:
            if image.size != size:
                (w, h), (wide, high) = size, image.size
                raise UserError(
                    f"{folder.said(file)} is {wide}x{high}, but {folder.said(first)} is {w}x{h}; all images must be "
                    "of one size"
                )
            if image.mode.startswith(DEEP):
                raise UserError(f"{folder.said(file)}: has more than 8 bits a pixel ({image.mode}); save it with 8")
            channels = channels if image.mode in GREY else 3
    count = len(files) * channels * size[0] * size[1]
    check_fits(folder.name, count, 2.0 * count)
    return channels, size[1], size[0]


def _opened(folder: _Folder, file: Path) -> "Image.Image":
    from PIL import Image

    try:
        return Image.open(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _damaged(folder, file, error) from None


def _pixels(folder: _Folder, file: Path, channels: int) -> "np.typing.NDArray[np.uint8]":
    """An image (C, H, W)."""
    with _opened(folder, file) as image:
        try:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), np.uint8)
        except (OSError, SyntaxError, ValueError) as error:
            raise _damaged(folder, file, error) from None
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _damaged(folder: _Folder, file: Path, error: Exception) -> UserError:
    said = str(error).replace(str(file), file.name)
    return UserError(f"{folder.said(file)}: cannot be read as an image: {' '.join(said.split())}")


def images_of(name: str, path: Path, shape: tuple[int, ...]) -> tuple[list[str], Tensor]:
    """The images of a file, or of a folder and all folders in it, each as it is told, and their pixels (N, D) as bytes.
    Raises UserError unless all have that shape (C, H, W); grey ones may stand for coloured ones.
    """
    folder = _Folder(name.rstrip("/"), path)
    files = [path] if path.is_file() else _all_images(folder, path)
    if not files:
        raise UserError(f"{name}: has no images ({listed(SUFFIXES)})")
    channels, high, wide = shape
    made = np.empty((len(files), *shape), np.uint8)
    for row, file in enumerate(files):
        with _opened(folder, file) as image:
            if image.size != (wide, high):
                there = "x".join(map(str, image.size))
                raise UserError(f"{folder.said(file)} is {there}; the model takes images of {wide}x{high}")
            if channels == 1 and image.mode not in GREY:
                raise UserError(f"{folder.said(file)} is in colour ({image.mode}); the model takes grey images")
        made[row] = _pixels(folder, file, channels)
    return [folder.said(file) for file in files], torch.from_numpy(made).flatten(1)


def _all_images(folder: _Folder, path: Path) -> list[Path]:
    deeper = [image for inner in folder.folders(path).values() for image in _all_images(folder, inner)]
    return [*folder.images(path), *deeper]
