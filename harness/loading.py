"""A study's data: built in, or the user's own; loaded, told, and what it settles.

    study, data = load_study(study, folder, device, say)

Files and folders are read by `parts/sources.py`; a program of the user's is executed as the text that the study holds,
and only for `run`, `replay` and `export`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from harness import catalogue
from harness.errors import UserError, listed, printable
from harness.parts.data import Column, Data, MissingDataError, load
from harness.parts.loader import read_loader
from harness.parts.sources import read
from harness.parts.targets import NoNumbersError
from harness.study.places import data_file
from harness.study.settle import settled, uses
from harness.study.source import is_built_in, is_loader
from harness.study.study import About, Study

Say = Callable[[str], None]

BANNER = """\
==============================================================================
 NOT {dataset}: this runs on scikit-learn's small digits (1,797 images, 8x8).
 {missing}
 Journal, MLflow runs and report are labelled "{label}".
=============================================================================="""


def load_study(study: Study, folder: Path, device: torch.device, say: Say) -> tuple[Study, dict[str, Data]]:
    """The study in `folder`, settled, and its data by name; of the user's own it is told what was found in it.

    Without files and network a study of built-in images goes to the digits that scikit-learn brings, labelled so.
    Raises UserError where data is missing, damaged or not what the study says of it.
    """
    try:
        data = {name: load_data(study, name, folder, device) for name in study.datasets}
    except NoNumbersError as error:
        raise UserError(f"{error}{_asked_for(study)}") from None
    except MissingDataError as missing:
        if study.dataset != study.written_for or "dataset" in study.axes or not _is_of_images(study.dataset):
            raise  # asked for by name, or nothing like digits
        study = study.model_copy(update={"dataset": "digits"})
        say(BANNER.format(missing=missing, dataset=study.written_for, label=study.label))
        data = {"digits": load("digits", device)}
    study = settled(study, [about(one) for one in data.values()])
    for name, one in data.items():
        if not is_built_in(name):
            say(told(one, study.source.unit))
        for note in one.notes:
            say(f"note: {name}: {note}")
    return study, data


def _asked_for(study: Study) -> str:
    """What of the study makes it a regression, where it does not say so itself."""
    said = [f"{where} = {loss!r}" for where, loss in uses(study, "loss")]
    said = said or ([f"metric = {study.metric!r}"] if study.metric else [])
    return (
        f"; the study asks for one by {listed(dict.fromkeys(said))}, so leave that out to learn classes" if said else ""
    )


def _is_of_images(name: str) -> bool:
    part = catalogue.part("dataset", name) if is_built_in(name) else None
    return isinstance(part, catalogue.Dataset) and part.things == "images"


def load_data(study: Study, name: str, folder: Path, device: torch.device) -> Data:
    """A data set of the study in `folder`, on the device."""
    if is_built_in(name):
        return load(name, device)
    if is_loader(name):
        assert study.loader is not None, "read with the study file"
        data = read_loader(study.loader.source, name, study.task)
    else:
        data = read(name, study.source, lambda file: data_file(folder, file), study.task)
    return data.to(device)


Stamps = Mapping[str, tuple[int, ...]]
"""Of files, by their names: what is another once one is written to or replaced."""


@dataclass(frozen=True)
class Files:
    """The files that the user's own data are read from, as they were before. What a program loads is not known."""

    study: Study
    folder: Path
    stamps: Mapping[str, Stamps]  # by data set

    @classmethod
    def of(cls, study: Study, folder: Path) -> "Files":
        """Those of the study in `folder`; of what is not there none."""
        own = [name for name in study.datasets if not is_built_in(name) and not is_loader(name)]
        return cls(study, folder, {name: _stamps(study, name, folder) for name in own})

    def tell_changed(self, data: Mapping[str, Data], say: Say) -> None:
        """Which of them hold something else than `data`, which was read from them, in one line for each data set. They
        are read again only where they were written to.
        """
        for name, before in self.stamps.items():
            now = _stamps(self.study, name, self.folder)
            files = sorted(file for file in before.keys() | now.keys() if before.get(file) != now.get(file))
            if name in data and files and (how := _difference(self.study, data[name], self.folder)):
                more = f" and {len(files) - FEW} files more" if len(files) > FEW else ""
                which = ", ".join(files[:FEW]) + more if more else listed(files)
                told = printable(
                    f"{self.folder}: {which} changed while this study ran: {how}; what was trained and measured is of "
                    "what was read when it began; put it back as it was, or start anew with --fresh"
                )
                say(f"warning: {told}")


FEW = 3
"""Files that are named, at most."""


def _stamps(study: Study, name: str, folder: Path) -> Stamps:
    found: dict[str, tuple[int, ...]] = {}
    for one in filter(None, (name, study.source.test_rows)):
        try:
            path = data_file(folder, one)
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                known, where = file.stat(), file.relative_to(path)
                found[one if file == path else f"{one}/{where}"] = (known.st_ino, known.st_size, known.st_mtime_ns)
        except (UserError, OSError):
            continue  # gone, which is another stamp
    return found


def _difference(study: Study, data: Data, folder: Path) -> str:
    """What the data set is now, if that is not what it was."""
    try:
        now = load_data(study, data.name, folder, torch.device("cpu")).fingerprint
    except UserError as error:
        return f"it cannot be read any more ({error})"
    return "" if now == data.fingerprint else f"{data.name} had sha256 {data.fingerprint[:12]}, has {now[:12]}"


def about(data: Data) -> About:
    """What the journal keeps of a data set."""
    tests = [len(rows) for rows in data.test_splits] or [len(data.inputs) - data.trainable]
    return About(
        name=data.name,
        task=data.task,
        things="rows" if data.is_table else "images",
        classes=data.classes,
        target_names=data.target_names,
        rows=len(data.inputs),
        test_rows=round(sum(tests) / len(tests)),
        test_splits=len(data.test_splits),
        features=data.features,
        notes=data.notes,
    )


def _counted(columns: Sequence[Column]) -> str:
    """How many columns a table has, and of how many another one says where they are empty."""
    gaps = sum(later.name == f"{one.name} is missing" for one, later in pairwise(columns))
    own = len(columns) - gaps
    return f"{own} column{'s' * (own > 1)}{f' ({gaps} with gaps)' if gaps else ''}"


def told(data: Data, unit: str) -> str:
    """What was found in data of the user's own, on a line."""
    known = about(data)
    inputs = _counted(data.columns) if data.is_table else f"{'x'.join(map(str, data.shape))} numbers each"
    if data.classes:
        learned = f"classification: {len(data.classes)} classes"
    else:
        learned = f"regression of {listed(data.target_names)}{f' in {unit}' if unit else ''}"
    tests = f"{known.test_rows:,} for the test"
    if data.test_splits:
        tests = f"{known.test_splits} ways to choose {tests}"
    return f"data     {data.name}: {known.rows:,} {known.things}, {tests}; {inputs}; {learned}"
