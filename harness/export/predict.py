"""What an exported model says of new data: `harness predict DIR FILE`.

    table = predict(Path("depth3"), Path("new.csv"), say)      # a row of texts for each row, the first with headings

The model is built by harness's own `model.py`, not by the one in the folder. Only a network that a user wrote is
executed, from the text in the folder, whose sum `model.json` says.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from csv import writer
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import UserError, listed, nearest
from harness.export.layers import Spec
from harness.export.model import CellError, ExportedModel, load
from harness.parts.arrays import read_inputs
from harness.parts.folders import SUFFIXES, images_of
from harness.parts.own import make
from harness.parts.sizes import check_fits
from harness.parts.tables import MEMORY, frame_of
from harness.study.own import parse

Say = Callable[[str], None]
DIGITS = 7  # of a float of 32 bits


@dataclass(frozen=True)
class Inputs:
    """Rows (N, D) as the model takes them, and what each is called under a heading."""

    x: Tensor
    heading: str
    names: Sequence[object]


def predict(folder: Path, file: Path, say: Say) -> str:
    """A row of CSV for each row of the file: what it is called, the class, and the probability of each; or numbers in
    the target's unit. `say` tells what is executed and noted. Raises UserError for all that does not fit.
    """
    model = open_model(folder, say)
    inputs = read_rows(model, file, say)
    said = model.predict(inputs.x).tolist()
    text = io.StringIO()
    table = writer(text, lineterminator="\n")
    if model.classes:
        table.writerow([inputs.heading, "class", *(f"p_{name}" for name in model.classes)])
    else:
        table.writerow([inputs.heading, *model.spec["outputs"]["targets"]])
    for name, row in zip(inputs.names, said, strict=True):
        best = [model.classes[max(range(len(row)), key=row.__getitem__)]] if model.classes else []
        table.writerow([name, *best, *(f"{value:.{DIGITS}g}" for value in row)])
    return text.getvalue()


def open_model(folder: Path, say: Say) -> ExportedModel:
    """The model of a folder. Raises UserError where there is none, or where it is not what it was."""
    if not (folder / "model.json").is_file():
        raise UserError(f"{folder}: holds no exported model (no model.json); harness export writes one")
    try:
        return load(folder, partial(_own, folder, say))
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{folder}: cannot be read as an exported model: {said}") from None


def _own(folder: Path, say: Say, spec: Spec) -> nn.Module:
    """A network that a user wrote, by the text in the folder."""
    path = folder / Path(spec["file"]).name
    source = path.read_bytes()
    if (found := hashlib.sha256(source).hexdigest()) != spec["sha256"]:
        raise UserError(f"{path}: has sha256 {found[:12]}, and the model was trained with {spec['sha256'][:12]}")
    say(f"runs {path} (sha256 {found[:12]})")
    own = parse(source.decode(), path.name, spec["class"]).own
    given = {name: tuple(one) if isinstance(one, list) else one for name, one in spec["arguments"].items()}
    shape = tuple(spec["inputs"]) if isinstance(spec["inputs"], list) else (spec["inputs"],)
    return make(own, given, shape, spec["outputs"])


def read_rows(model: ExportedModel, file: Path, say: Say) -> Inputs:
    """What a file holds, as the model takes it."""
    takes, ending = model.spec["inputs"], file.suffix.lower()
    is_table = takes["kind"] == "rows"
    if not file.exists():
        raise UserError(f"{file}: there is no such file")
    try:
        if ending == ".npz":
            return _arrays(takes, file)
        if is_table and ending in MEMORY:
            return _table(model, file, say)
        if not is_table and (file.is_dir() or ending in SUFFIXES):
            return _images(takes, file)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from None
    wanted = f"a table ({listed(MEMORY)})" if is_table else f"an image ({listed(SUFFIXES)}), a folder of images"
    raise UserError(f"{file}: the model takes {wanted} or arrays (.npz)")


def _images(takes: Spec, file: Path) -> Inputs:
    """Bytes from 0 to 255, brought to the white of the training data."""
    names, pixels = images_of(str(file), file, tuple(takes["shape"]))
    return Inputs(pixels.float() * (takes["white"] / 255.0), "file", names)


def _arrays(takes: Spec, file: Path) -> Inputs:
    x, shape = read_inputs(str(file), file), tuple(takes["shape"])
    if x.shape[1:] not in (shape, (torch.Size(shape).numel(),)):
        raise UserError(f"{file}: x has rows of shape {x.shape[1:]}; the model takes {shape}")
    if any("levels" in column or "gaps" in column for column in takes.get("columns", ())):
        raise UserError(f"{file}: the model takes a table with the columns {_some(takes)}, not arrays")
    if takes.get("bytes") and (x.min() < 0 or x.max() > 255 or (x.dtype.kind == "f" and (x != x.round()).any())):
        raise UserError(f"{file}: x must have pixels as in training, whole numbers from 0 to {takes['white']:g}")
    return Inputs(torch.from_numpy(x.astype("float32")), "row", range(len(x)))


def _table(model: ExportedModel, file: Path, say: Say) -> Inputs:
    check_fits(str(file), size := file.stat().st_size, MEMORY[file.suffix.lower()] * size)
    frame = frame_of(str(file), file)
    there, known = list(frame.columns), model.spec["inputs"]["columns"]
    for column in known:
        if column["name"] not in there:
            hint = nearest(column["name"], there) or f"; it has {listed(there[:12])}"
            raise UserError(f"{file}: has no column {column['name']}, which the model learned from{hint}")
    values = {column["name"]: [_plain(value) for value in frame[column["name"]].tolist()] for column in known}
    try:
        x = model.encode(values)
    except CellError as error:
        raise UserError(f"{file}, row {frame.index[error.row]}, column {error.column}: {error.reason}") from None
    for column in known:
        gaps = sum(value is None for value in values[column["name"]])
        if gaps and "levels" not in column and not column.get("gaps"):
            say(f"note: {file}, column {column['name']}: {gaps} missing, as never in training; the median is taken")
    return Inputs(x, "row", frame.index)


def _plain(value: Any) -> object:
    """A cell without blanks around it; None where nothing stands there."""
    import pandas as pd

    if isinstance(value, str):
        return value.strip() or None
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value


def _some(takes: Spec) -> str:
    return listed(column["name"] for column in takes["columns"][:12])
