"""Where a study's files lie: below the current folder. A name or a symbolic link that leads out of it is refused."""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from harness.errors import UserError, nearest


def study_folder(path: Path) -> Path:
    """The folder of a study that is named by its folder or by its file; raises UserError if anything leads out."""
    folder = path.parent if path.name == "study.toml" else path
    return _inside(folder, ("study.toml", "journal*", "weights*", "checkpoints*", "checkpoints*/*"))


def folder_named(name: str) -> Path:
    """Where a study of that name is written; raises UserError where that is no folder's name, or if it leads out."""
    if name in ("", ".", "..") or any(mark in name for mark in "/\\@") or not name.isprintable():
        raise UserError(f"name: must be that of a folder, without / and @, got {name!r}")
    return study_folder(Path("studies") / name)


def file_beside(folder: Path, name: str) -> Path:
    """The file of that name below a study's folder; raises UserError if anything leads out of that folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not name.isprintable():
        raise UserError(f"must be a file below the study's folder, named from there, got {name!r}")
    try:
        end = (folder / path).resolve()
        if not end.is_relative_to(folder.resolve()):
            raise UserError(f"{name} leads out of the study's folder, to {end}")
    except (OSError, RuntimeError) as error:  # too long; links in a circle
        raise UserError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return folder / path


def data_file(folder: Path, name: str) -> Path:
    """The user's data of that name, a file or a folder: beside the study in `folder`, else below the current folder,
    else below HARNESS_DATA_DIR. A program lies beside its study. Raises UserError if there is none, or if it leads out.
    """
    roots, path = _data_folders(folder, name), PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts or not name.isprintable():
        raise UserError(f"dataset: must be named from {next(iter(roots))} or another folder of data, got {name!r}")
    try:
        for root in roots.values():
            if (root / path).exists():
                return _kept_in(root / path, roots.values())
        there = {other.name for root in roots.values() for other in (root / path).parent.glob("*")}
    except (OSError, RuntimeError) as error:  # too long; links in a circle
        raise UserError(f"dataset: {name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    raise UserError(f"dataset: there is no {name} {', '.join(roots)}{nearest(path.name, sorted(there))}")


def _data_folders(folder: Path, name: str) -> dict[str, Path]:
    """Where data of that name may lie, in words."""
    beside = {f"beside the study ({folder})": folder}
    if name.endswith(".py"):
        return beside
    given = os.environ.get("HARNESS_DATA_DIR")
    more = {f"below HARNESS_DATA_DIR ({given})": Path(given).expanduser()} if given else {}
    return beside | {"below the current folder": Path()} | more


def _kept_in(path: Path, roots: Iterable[Path]) -> Path:
    end = path.resolve()
    if not any(end.is_relative_to(root.resolve()) for root in roots):
        raise UserError(f"dataset: {path} leads out of the folders of data, to {end}")
    return path


def beside_journal(journal: Path, what: str) -> Path:
    """Where "weights" or "checkpoints" of the study and the data set lie whose journal that is: weights-iris of
    journal-iris.log.
    """
    return journal.with_name(f"{what}{journal.stem.removeprefix('journal')}")


def advice(command: str, journal: Path) -> str:
    """What to type for a command on the study and the data set whose journal that is, quoted for a shell."""
    dataset = journal.stem.removeprefix("journal").removeprefix("-")
    words = ["harness", command, str(journal.parent), *(["--dataset", dataset] if dataset else [])]
    return shlex.join(words)


def named_by(argument: str) -> tuple[str, str | None]:
    """The study's folder and the data set of studies/a@digits, if no folder is called so."""
    path, _, dataset = argument.rpartition("@")
    is_folder = (Path(argument) / "study.toml").is_file()
    return (argument, None) if is_folder or not path else (path, dataset or None)


def check_label(folder: Path, label: str) -> None:
    """What a study in `folder` is called on a data set must not be what another study beside it is called: they would
    share report and experiment. Raises UserError.
    """
    name = folder.resolve().name
    if label != name and (folder.parent / label / "study.toml").is_file():
        raise UserError(
            f"{folder}: on this data set it is called {label}, as is the study {folder.parent / label}, and they would "
            "share report and experiment; rename one of the two folders"
        )
    for other in folder.parent.glob("*/journal-*.log"):
        of = other.parent.name
        if label == name != of and f"{of}{other.stem.removeprefix('journal')}" == name:
            raise UserError(
                f"{folder}: {other.parent} on other data ({other.name}) is called {name} too, and they would share "
                "report and experiment; rename this folder"
            )


def check_copy(folder: Path, name: str) -> None:
    """A journal that was copied from the study called `name`, beside this one, would write into that one's report.
    Raises UserError.
    """
    if name != folder.resolve().name and (folder.parent / name / "study.toml").is_file():
        raise UserError(
            f"{folder}: its journal is a copy of that of {folder.parent / name}, whose report it would overwrite; "
            "remove the journal here, or start anew with --fresh"
        )


def report_folder(name: str) -> Path:
    """Where the report of that name goes; raises UserError if anything leads out."""
    return _inside(Path("reports") / name, ("**/*",))


def studies_folder(path: Path) -> Path:
    """A folder of studies; raises UserError if it leads out."""
    return _inside(path, ())


def _inside(folder: Path, ours: Iterable[str]) -> Path:
    """`folder`, once it is known that neither it nor one of our files in it leads out of the current folder."""
    try:
        here = Path.cwd().resolve()
        _check(folder, here)  # before anybody looks into it
        for pattern in ours:
            for path in folder.glob(pattern):
                _check(path, here)
    except (OSError, RuntimeError, ValueError) as error:  # too long, unreadable; links in a circle; NUL
        if isinstance(error, UserError):
            raise
        why = error.strerror if isinstance(error, OSError) else None
        raise UserError(f"{folder}: cannot be read: {why or error}") from None
    return folder


def _check(path: Path, here: Path) -> None:
    end = path.resolve()
    if not end.is_relative_to(here):
        raise UserError(f"{path}: leads out of the current folder, to {end}; harness stays below {here}")
