"""A folder of images by class: `train/<class>/*.png` and `test/<class>/*.png`, or `<class>/*.png` alone.

Grey images are (1, H, W), others are read as red, green and blue (3, H, W). All must be of one size.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.errors import UserError, listed
from harness.parts import targets
from harness.parts.data import Data, Split, data_of
from harness.parts.sizes import check_fits

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
GREY = ("1", "L", "LA")
DEEP = ("I", "F")  # how the names of Pillow's modes of more than 8 bits begin


@dataclass(frozen=True)
class _Folder:
    """The user's folder, as it is named and where it lies."""

    name: str
    path: Path

    def said(self, path: Path) -> str:
        """A file or folder in it, as it is told."""
        return f"{self.name}/{path.relative_to(self.path)}"

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
    top = folder.folders(path)
    if "test" in top and "train" not in top:
        raise UserError(f"{folder.name}: has a folder test, but none called train; it has {listed(top)}")
    parts: dict[str, Path] = {part: top[part] for part in ("train", "test") if part in top} or {"": path}
    if "" not in parts and (others := sorted(set(top) - set(parts))):
        raise UserError(f"{folder.name}: has train beside {listed(others)}; only test may be there too")
    files = {part: _by_class(folder, where) for part, where in parts.items()}
    names = targets.in_order(next(iter(files.values())))
    for other in set(files.get("test", {})) - set(names):
        raise UserError(f"{folder.said(parts['test'] / other)}: has no class of that name in train: {listed(names)}")
    images = [(file, names.index(label)) for part in files.values() for label in part for file in part[label]]
    counts = {label: sum(len(part.get(label, ())) for part in files.values()) for label in names}
    if lone := [label for label in names if counts[label] < 2]:
        raise UserError(f"{folder.name}: class {lone[0]} has one image only; training and test need one each")
    shape = _shape(folder, [file for file, _ in images])
    pixels = np.empty((len(images), *shape), np.uint8)
    for row, (file, _) in enumerate(images):
        pixels[row] = _pixels(folder, file, shape[0])
    labels = torch.tensor([number for _, number in images])
    inputs, cut = torch.from_numpy(pixels).flatten(1), sum(map(len, next(iter(files.values())).values()))
    train, test = Split(inputs[:cut], labels[:cut]), Split(inputs[cut:], labels[cut:])
    return data_of(name, train, test if "test" in parts else None, shape, white=255.0, classes=names, stratified=True)


def _by_class(folder: _Folder, path: Path) -> dict[str, list[Path]]:
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
