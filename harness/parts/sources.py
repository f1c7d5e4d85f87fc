"""A user's own data, read as what its name says it is.

data = read("prices.csv", source, find)         # find("prices.csv") is where it lies
"""

from collections.abc import Callable
from pathlib import Path

from harness.errors import UserError, listed, nearest
from harness.parts import arrays, folders, tables
from harness.parts.data import Data
from harness.parts.tables import Asked

KEYS = ("target", "features", "drop", "split_column", "test_rows")


KINDS: dict[str, Callable[[str, Path, str], Data]] = {
    ".npz": arrays.read_npz,
    ".pt": arrays.read_pt,
}
"""What reads a file that is no table, by how its name ends. A program is executed as a study holds it: `loader.py`."""


def read(name: str, source: Asked, find: Callable[[str], Path], task: str = "") -> Data:
    """The data of that name in the processor's memory; `find` says where a name lies (`study.places.data_file`), and
    `task` "" means the one that the data suggest. Raises UserError for all that is wrong with it.
    """
    path, ending = find(name), Path(name).suffix.lower()
    try:
        if path.is_file() and ending in tables.MEMORY:
            test_rows = find(source.test_rows) if source.test_rows else None
            return tables.read_table(name, path, source, task, test_rows)
        if given := [key for key in KEYS if getattr(source, key)]:
            raise UserError(f"{given[0]}: is for tables ({listed(tables.MEMORY)}) only, and {name} is none")
        if path.is_dir():
            return folders.read_folder(name, path, task)
        if ending in KINDS:
            return KINDS[ending](name, path, task)
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror or error}") from None
    if ending == ".py":
        raise UserError(f"{name}: is a program, which is executed by run, replay and export only")
    known = [*tables.MEMORY, *KINDS]
    raise UserError(f"{name}: must be a folder of images or end in {listed(known)}{nearest(ending, known)}")
