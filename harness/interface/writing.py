"""A study of a program's own classes and arrays: written as a study folder, and run as every other one.

    study = WrittenStudy(name="moons", compare={"depth": [1, 2, 3]}, data=(x, y), model=MyNet)
    findings = study.run()

`studies/moons` then has `study.toml`, `data.npz` (or `data.csv`) and `net.py`, so the command can go on with it, replay
its runs and report them too. Files that somebody else wrote, or changed, are never overwritten: what is written
here begins with a line that has the sha256 of the rest.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.crews.how import How
from harness.errors import UserError
from harness.study.places import folder_named

if TYPE_CHECKING:
    from harness.interface.findings import ShownFindings

Table = Mapping[str, object]
SEAL = "# written by harness.Study (sha256 {})\n"
SEALED = re.compile(rb"# written by harness\.Study \(sha256 ([0-9a-f]{16})\)\n")
ARRAYS = {2: ("x", "y"), 4: ("x_train", "y_train", "x_test", "y_test")}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class WrittenStudy:
    """A study that needs no file: every argument but `name`, `data` and `model` is the key or table of that name of a
    study file (docs/studies.md), with lists for choices and dicts for ranges.

    `data` is a built-in data set's name, arrays or tensors (x, y) or (x_train, y_train, x_test, y_test), or a pandas
    DataFrame whose column `target` is learned; (DataFrame, y) too. `model` is a built-in model's name or a class of
    torch's nn.Module with `__init__(self, inputs, outputs, ...)`, whose other parameters are hyperparameters.

    >>> import harness
    >>> study = harness.Study(
    ...     name="two_depths",
    ...     compare={"depth": [1, 2]},
    ...     tune={"lr": {"low": 1e-3, "high": 1e-1, "log": True}},
    ...     fixed={"width": 8, "epochs": 2},
    ...     budget={"trials": 2, "searches": 1, "seeds": 2},
    ...     data="digits",
    ... )
    >>> findings = study.run(offline=True, quiet=True)
    >>> len(findings.table)
    2
    """

    name: str
    compare: Table
    tune: Table = field(default_factory=dict)
    fixed: Table = field(default_factory=dict)
    data: Any = None
    model: Any = None
    budget: Table = field(default_factory=dict)
    search: Table = field(default_factory=dict)
    constraint: Table = field(default_factory=dict)
    claim: Table = field(default_factory=dict)
    published: Table = field(default_factory=dict)
    question: str = ""
    note: str = ""
    task: str = ""
    metric: str = ""
    target: str | Sequence[str] = ()
    features: Sequence[str] = ()
    drop: Sequence[str] = ()
    split_column: str = ""
    unit: str = ""

    @property
    def folder(self) -> Path:
        """Where it is written. Raises UserError where its name is no folder's."""
        return folder_named(self.name)

    def write(self) -> Path:
        """Write the folder, which is returned: `harness run` can run it. Raises UserError for what cannot be written,
        and where that would overwrite what others wrote.
        """
        folder = self.folder
        files = dict(self._files(folder))
        for name in files:
            _check_ours(folder, name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                _write(folder / name, content)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from error
        return folder

    def run(
        self,
        *,
        device: str = "auto",
        stack: int | None = None,
        workers: int | None = None,
        ray: str | None = None,
        crew: str | None = None,
        offline: bool = False,
        fresh: bool = False,
        quiet: bool = False,
    ) -> "ShownFindings":
        """Write and run it, or go on with it; arguments and errors are those of `harness.run`."""
        from harness.interface.running import prepared, run_checked

        how = How(device, stack, workers, ray, crew, offline, fresh, quiet, is_guest=True)
        return run_checked(*prepared(self.write(), [], None, how), how)

    def load(self) -> "ShownFindings":
        """What came of it so far; see `harness.load`."""
        from harness.interface.running import load

        return load(self.folder)

    def __repr__(self) -> str:
        return f"Study {self.name}: compares {' and '.join(self.compare)}, in {self.folder}"

    def _files(self, folder: Path) -> Iterator[tuple[str, bytes]]:
        """What is written, by name: the study file first, since it says that the others are ours."""
        from harness.study.toml import written

        dataset, said, data = self._data()
        model, net = self.model, ""
        if isinstance(model, type):
            from harness.interface.sources import text_of

            net = text_of(model, str(folder / "net.py"))
            model = f"net.py:{model.__name__}"
        words = ("question", "note", "task", "metric", "target", "features", "drop", "split_column", "unit")
        tables = ("compare", "tune", "fixed", "budget", "search", "constraint", "claim", "published")
        keys = {"dataset": dataset, "model": model, **{word: getattr(self, word) for word in words}, **said}
        keys |= {table: getattr(self, table) for table in tables}
        yield "study.toml", _sealed(written({key: value for key, value in keys.items() if _is_said(value)}))
        yield from data.items()
        if net:
            yield "net.py", _sealed(net)

    def _data(self) -> tuple[str | None, Mapping[str, str], Mapping[str, bytes]]:
        """What the study file calls the data, what else it says of them, and the file that holds them."""
        given = self.data
        if given is None or isinstance(given, str):
            return given, {}, {}
        if _is_frame(given):
            return "data.csv", {}, {"data.csv": _csv(given)}
        parts = list(given) if isinstance(given, tuple | list) else []
        if len(parts) not in ARRAYS:
            what = f"{len(parts)} values" if parts else f"a {type(given).__name__}"
            raise UserError(
                f"data: must be the name of a data set, (x, y), (x_train, y_train, x_test, y_test) or a DataFrame, got "
                f"{what}"
            )
        if len(parts) == 2 and _is_frame(parts[0]):
            frame, target = parts[0], str(getattr(parts[1], "name", None) or "y")
            if target in frame.columns:
                raise UserError(
                    f"data: x has a column {target!r} already, which is what y is called; rename one of them"
                )
            return "data.csv", {"target": target}, {"data.csv": _csv(frame.assign(**{target: _bare(parts[1])}))}
        return "data.npz", {}, {"data.npz": _npz(dict(zip(ARRAYS[len(parts)], parts, strict=True)))}


def _is_said(value: object) -> bool:
    return value is not None and not (isinstance(value, str | Mapping | Sequence) and not len(value))


def _is_frame(value: object) -> bool:
    """Whether it is a pandas DataFrame, or what says it is one."""
    return hasattr(value, "to_csv") and hasattr(value, "columns")


def _csv(frame: Any) -> bytes:
    return str(frame.to_csv(index=False)).encode()


def _bare(column: Any) -> Any:
    """Without an index of its own: rows belong together by their place."""
    import numpy as np

    return np.asarray(column)


def _npz(arrays: Mapping[str, Any]) -> bytes:
    """The same arrays make the same bytes."""
    import numpy as np

    from harness.parts.arrays import as_array

    buffer = io.BytesIO()
    savez: Any = np.savez  # whose types take the arrays for its options
    savez(buffer, **{name: as_array("data", name, array) for name, array in arrays.items()})
    return buffer.getvalue()


def _sealed(text: str) -> bytes:
    return SEAL.format(_digest(text.encode())).encode() + text.encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _check_ours(folder: Path, name: str) -> None:
    """Raises UserError where a file would be overwritten that was not written here, or was changed since."""
    path = folder / name
    if not os.path.lexists(path):
        return
    way_out = f"choose another name, or run it as it is: harness.run({str(folder)!r})"
    if not name.endswith((".toml", ".py")):
        if not _seal(folder / "study.toml"):
            raise UserError(f"{path}: is there, and not written by harness.Study; choose another name")
    elif not (seal := _seal(path)):
        raise UserError(f"{path}: is there, and not written by harness.Study; {way_out}")
    elif seal != _digest(SEALED.sub(b"", path.read_bytes(), count=1)):
        raise UserError(f"{path}: was changed since harness.Study wrote it; remove it, {way_out}")


def _seal(path: Path) -> str | None:
    """What a file's first line says of the rest; None where it was not written here."""
    try:
        found = SEALED.match(path.read_bytes())
    except OSError:
        return None
    return found[1].decode() if found else None


def _write(path: Path, content: bytes) -> None:
    """Never half a file, and none that is there already."""
    if path.is_file() and path.read_bytes() == content:
        return
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)
