"""Writes a study file for a user's data that runs as it is: `harness new prices --data prices.csv --target price`.

Task, sizes and unusable columns are what the data says; space and budget are such that the whole takes minutes.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from harness import catalogue
from harness.catalogue import Task, Value
from harness.errors import UserError, nearest
from harness.parts.data import Data
from harness.parts.sources import read
from harness.parts.tables import UnusableColumnError
from harness.study.file import read_study
from harness.study.places import data_file, folder_named
from harness.study.source import Source
from harness.study.toml import inline

AXES: dict[str, tuple[Value, ...]] = {
    "depth": (1, 2, 3, 4),
    "width": (16, 32, 64, 128, 256),
    "dropout": (0.0, 0.2, 0.5),
    "batch_size": (16, 32, 64, 128),
    "weight_decay": (0.0, 1e-4, 1e-2),
    "label_smoothing": (0.0, 0.1, 0.2),
    "augment_shift": (0, 1, 2),
}
"""Values that are worth comparing; of words and of yes or no it is all that there are."""
TUNED = {
    "lr": "{ low = 1e-4, high = 3e-2, log = true }",
    "width": "[32, 64, 128]",
    "dropout": "{ low = 0.0, high = 0.5 }",
    "weight_decay": "{ low = 1e-6, high = 1e-2, log = true }",
}
FEW, MANY = 2_000, 20_000  # training rows


def write_study(name: str, file: str, target: str, compare: str = "depth", task: str = "") -> Path:
    """Write `studies/<name>/study.toml`; its path.

    `file` is a data file below the current folder or HARNESS_DATA_DIR. Raises UserError for whatever is wrong with
    name, file, target or compared key, and where the study is there already.
    """
    folder = folder_named(name)
    path = folder / "study.toml"
    if path.exists():
        raise UserError(f"{path}: is there already; choose another name")
    said = _below(file)
    targets = tuple(one.strip() for one in target.split(",") if one.strip())
    data, dropped = _read(said, targets, folder, task)
    levels = _levels(compare, data)
    text = _text(said, targets, dropped, data, compare, levels)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    read_study(folder)  # what it cannot be is told now
    return path


def _below(file: str) -> str:
    """The file's name as a study says it: from the current folder where it lies below that."""
    path = Path(file)
    if path.is_absolute():
        if not path.resolve().is_relative_to(Path.cwd().resolve()):
            raise UserError(
                f"{file}: lies outside of the current folder; copy it here, or set HARNESS_DATA_DIR to its folder and "
                "name it from there"
            )
        path = path.resolve().relative_to(Path.cwd().resolve())
    return path.as_posix()


def _read(file: str, targets: tuple[str, ...], folder: Path, task: str) -> tuple[Data, dict[str, str]]:
    """The data without the columns that cannot be learned from, and why not, by column."""
    dropped: dict[str, str] = {}
    while True:
        try:
            return read(file, Source(target=targets, drop=tuple(dropped)), partial(data_file, folder), task), dropped
        except UnusableColumnError as error:
            dropped[error.column] = error.reason


def _levels(compare: str, data: Data) -> tuple[Value, ...]:
    known = [key for key in catalogue.hyperparameters() if _values(key)]
    if compare not in known:
        raise UserError(
            f"--compare: must be a hyperparameter, as depth or activation, got {compare!r}{nearest(compare, known)}"
        )
    owners = catalogue.owners(compare, "model")
    if owners and "mlp" not in owners:
        raise UserError(f"--compare: {compare} is of model = {owners[0]!r}, and the file that is written has an mlp")
    if compare == "loss":
        return catalogue.task(data.task).losses
    return _values(compare)


def _values(key: str) -> tuple[Value, ...]:
    knob = catalogue.knob(key)
    return AXES.get(key) or ((False, True) if knob.type is bool else knob.words)


def _text(
    file: str,
    targets: tuple[str, ...],
    dropped: Mapping[str, str],
    data: Data,
    compare: str,
    levels: tuple[Value, ...],
) -> str:
    """The study file, with reasons."""
    what = " and ".join(targets) or file
    tuned = {key: domain for key, domain in TUNED.items() if key != compare}
    lines = [
        f"question = {inline(f'Which {compare} is best for {what}?')}",
        _line(
            f"dataset = {inline(file)}",
            f"{data.trainable:,} {data.things} to train on, {len(data.test):,} for the test",
        ),
        *_of_target(targets, data),
        *([f"drop = {inline(list(dropped))}"] if dropped else []),
        *(f"# {name}: {reason}" for name, reason in dropped.items()),
        *_of_task(catalogue.task(data.task)),
        "",
        _line("[compare]", "never searched: every value gets the same budget of its own"),
        f"{compare} = {inline(list(levels))}",
        "",
        _line("[tune]", "searched by Optuna, for each compared value by itself"),
        *(f"{key} = {domain}" for key, domain in tuned.items()),
        "",
        "[fixed]",
        *_fixed(compare, data),
        "",
        "[budget]",
        _line(
            f"trials = {_by_size(data, 16, 8, 4)}", "of each search; five searches of each value, if nothing is said"
        ),
        _line("seeds = 10", "fresh ones for each value, shared out among the winners of the searches"),
    ]
    return "\n".join(lines) + "\n"


def _of_target(targets: tuple[str, ...], data: Data) -> list[str]:
    if not targets:
        return []
    said = inline(targets[0] if len(targets) == 1 else list(targets))
    return [_line(f"target = {said}", f"{len(data.classes)} classes" if data.classes else "numbers")]


def _of_task(task: Task) -> list[str]:
    others = ", ".join(name for name in task.measures if name != task.metric)
    lines = [
        _line(f"task = {inline(task.name)}", task.doc),
        _line(f"metric = {inline(task.metric)}", f"selects the winners and leads the tables; or {others}"),
    ]
    if task.name == "regression":
        lines.append(_line('unit = ""', 'of the target, as "MPa"'))
    return lines


def _fixed(compare: str, data: Data) -> list[str]:
    known: dict[str, tuple[Value, str]] = {
        "depth": (3, "linear layers: two hidden ones"),
        "batch_size": (_by_size(data, 32, 128, 512), ""),
        "epochs": (_by_size(data, 100, 50, 20), "at most"),
        "patience": (_by_size(data, 15, 8, 4), "epochs without a lower validation loss"),
    }
    if data.is_table:
        known["scaling"] = ("standard", "of numbers, by the training rows; or quantile, minmax, none")
    return [_line(f"{key} = {inline(value)}", why) for key, (value, why) in known.items() if key != compare]


def _by_size(data: Data, few: int, some: int, many: int) -> int:
    """A setting for so much data."""
    return few if data.trainable < FEW else some if data.trainable < MANY else many


def _line(said: str, why: str) -> str:
    return f"{said:<25} # {why}" if why else said
