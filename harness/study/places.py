"""Where a study's files lie: below the current folder. A name or a symbolic link that leads out of it is refused."""

import shlex
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from harness.errors import UserError


def study_folder(path: Path) -> Path:
    """The folder of a study that is named by its folder or by its file; raises UserError if anything leads out."""
    folder = path.parent if path.name == "study.toml" else path
    return _inside(folder, ("study.toml", "journal*"))


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


def advice(command: str, journal: Path) -> str:
    """What to type for a command on the study and the data set whose journal that is, quoted for a shell."""
    dataset = journal.stem.removeprefix("journal").removeprefix("-")
    words = ["harness", command, str(journal.parent), *(["--dataset", dataset] if dataset else [])]
    return shlex.join(words)


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
