"""A model that a user wrote: a class in a file beside the study, read from the file's text. None of it is executed.

    own = read_own(Path("studies/mine"), "net.py")          # its one candidate class, or "net.py:Wide"
    own = parse(source, "net.py", "Wide")                   # the same of a text, as a journal holds it

A candidate has a base and an `__init__` that begins `(self, inputs, outputs, ...)`; what else that takes are its knobs.
"""

import ast
import difflib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from harness.catalogue import GENERAL, Knob, OwnModel, figure_names, training_knobs
from harness.errors import UserError, listed, nearest
from harness.study.places import file_beside

LONGEST = 100_000  # characters of a file
LONGEST_NAME = 60  # characters of a parameter
MOST_ITEMS = 1000  # of a list of whole numbers
GIVEN = ("self", "inputs", "outputs")  # what every model is built with
SIGNATURE = "def __init__(self, inputs, outputs, *, ...)"
SHAPES = ("tuple[int, ...]", "Tuple[int, ...]", "typing.Tuple[int, ...]")
KINDS = "int, float, bool, str, Literal of words, tuple[int, ...]"
TAKEN = (
    *("question", "note", "compare", "tune", "fixed", "budget", "search", "constraint", "claim", "published", "first"),
    *("level", "stage", "number", "seed", "given", "winner", "status", "state", "reason", "started", "ended", "effect"),
    *("seconds", "parameters", "best_epoch", "trained_epochs", "retries", "trials", "searches", "seeds", "pruned"),
    *("failed", "infeasible", "noise_floor", "new_low", "new_high"),
    *("target", "split_column", "test_rows"),
)
"""What study files and the columns of reports are called. Parameters called features, drop or unit are common: where a
model has them, they are what `--set` means."""
WANTED = {
    bool: "True or False",
    int: "a whole number of 64 bits",
    float: "a finite number",
    str: "a text that can be shown on one line",
    tuple: "a tuple of whole numbers",
}
"""What defaults of each type are."""
SHOWN = 12  # lines of a difference


@dataclass(frozen=True)
class Signature:
    """What a text says of a model. `apart` are the parameters that are no knobs, with the reasons."""

    own: OwnModel
    apart: tuple[tuple[str, str], ...]


def is_own(model: object) -> bool:
    """Whether a study's `model` means a file, and no built-in model."""
    return isinstance(model, str) and any(mark in model for mark in (".", ":", "/", "\\"))


def read_own(folder: Path, model: str) -> OwnModel:
    """The model "net.py" or "net.py:Wide" of the study in `folder`. Raises UserError for whatever is wrong with it."""
    file, colon, name = model.partition(":")
    try:
        if not file.endswith(".py") or (colon and not name.isidentifier()):
            raise UserError(f"must be a file beside the study, as 'net.py' or 'net.py:Net', got {model!r}")
        return parse(_read(folder, file), file, name).own
    except UserError as error:
        raise UserError(f"model: {error}") from None


def _read(folder: Path, file: str) -> str:
    """The file's text, to the last byte: what is recorded must have the file's sha256."""
    path = file_beside(folder, file)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        there = sorted(other.name for other in folder.glob("*.py"))
        raise UserError(f"there is no {path}{nearest(file, there)}") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{file}, line {line}: is not UTF-8: {error.reason}") from None
    return text


def read_loader(folder: Path, file: str) -> str:
    """The text of the study's `data.py`, none of which is executed. Raises UserError where it loads nothing."""
    try:
        source = _read(folder, file)
        parse_loader(source, file)
    except UserError as error:
        raise UserError(f"dataset: {error}") from None
    return source


@lru_cache(maxsize=64)
def parse(source: str, file: str, name: str = "") -> Signature:
    """What a file's text says of the class of that name, or of its one candidate. Raises UserError where it is none."""
    if len(source) > LONGEST:
        raise UserError(f"{file}: too long: {len(source):,} characters, at most {LONGEST:,}")
    try:
        tree = _tree(source, file)
        classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        found = _named(classes, file, name) if name else _only(classes, file)
        return _signature(found, classes, file, source)
    except RecursionError:
        raise UserError(f"{file}: nested too deeply") from None


def parse_loader(source: str, file: str) -> None:
    """Raises UserError where a file's text has no function `load` that can be called as `load()`."""
    if len(source) > LONGEST:
        raise UserError(f"{file}: too long: {len(source):,} characters, at most {LONGEST:,}")
    try:
        body = _tree(source, file).body
    except RecursionError:
        raise UserError(f"{file}: nested too deeply") from None
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    load = functions.get("load")
    if load is None:
        there = f"it has {listed(functions)}" if functions else "it has no function"
        raise UserError(
            f"{file} has no def load(), which gives the data{nearest('load', list(functions)) or f'; {there}'}"
        )
    needed = len(_positional(load)) - len(load.args.defaults) + load.args.kw_defaults.count(None)
    if isinstance(load, ast.AsyncFunctionDef) or needed:
        raise UserError(f"{file}, line {load.lineno}: must be def load(), without parameters that it needs")


def _tree(source: str, file: str) -> ast.Module:
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes, which whoever runs it will see
            return ast.parse(source)
    except SyntaxError as error:
        raise UserError(f"{file}, line {error.lineno or 1}: is not Python: {error.msg}") from None
    except (ValueError, MemoryError) as error:
        raise UserError(f"{file}: is not Python: {str(error) or 'nested too deeply'}") from None


Classes = dict[str, ast.ClassDef]


def _only(classes: Classes, file: str) -> ast.ClassDef:
    """The one candidate."""
    found = [node for node in classes.values() if node.bases and _begins_right(_init(node, classes))]
    if len(found) > 1:
        names = [node.name for node in found]
        raise UserError(f"{file} has {len(found)} models, {listed(names)}; say which, as model = '{file}:{names[0]}'")
    if not found:
        there = f"it has {listed(classes)}" if classes else "it has no class"
        raise UserError(f"{file} has no model: a class of torch's nn.Module with {SIGNATURE}; {there}")
    return found[0]


def _named(classes: Classes, file: str, name: str) -> ast.ClassDef:
    """The class of that name, which must be a candidate."""
    if name not in classes:
        there = f"it has {listed(classes)}" if classes else "it has no class"
        raise UserError(f"{file} has no class {name}{nearest(name, tuple(classes)) or f'; {there}'}")
    node = classes[name]
    if not node.bases:
        raise UserError(f"{file}, line {node.lineno}: {name} must be a module of torch, as class {name}(nn.Module)")
    init = _init(node, classes)
    if init is None:
        raise UserError(f"{file}, line {node.lineno}: {name} must have {SIGNATURE}, and has no __init__ in {file}")
    if not _begins_right(init):
        got = listed(arg.arg for arg in _positional(init))
        raise UserError(f"{file}, line {init.lineno}: {name} must have {SIGNATURE}, got ({got})")
    return node


def _init(node: ast.ClassDef, classes: Classes) -> ast.FunctionDef | None:
    """The `__init__` of a class, or of the first of its bases in the same file that has one."""
    waiting, seen = [node], set[str]()
    while waiting:
        one = waiting.pop(0)
        own = [item for item in one.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
        if own:
            return own[-1]
        seen.add(one.name)
        bases = [base.id for base in one.bases if isinstance(base, ast.Name)]
        waiting = [classes[base] for base in bases if base in classes and base not in seen] + waiting
    return None


def _positional(init: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    return [*init.args.posonlyargs, *init.args.args]


def _begins_right(init: ast.FunctionDef | None) -> bool:
    return init is not None and tuple(arg.arg for arg in _positional(init)[: len(GIVEN)]) == GIVEN


def _signature(node: ast.ClassDef, classes: Classes, file: str, source: str) -> Signature:
    init = _init(node, classes)
    assert init is not None, "a candidate has one"
    knobs: list[Knob] = []
    apart: list[tuple[str, str]] = []
    for arg, default in _others(init):
        told = _Parameter(arg, default, node.name, file).knob(arg in init.args.posonlyargs)
        if isinstance(told, Knob):
            knobs.append(told)
        else:
            apart.append((arg.arg, told))
    doc = (ast.get_docstring(node) or "").strip().partition("\n")[0]
    own = OwnModel(
        kind="model",
        name=f"{file}:{node.name}",
        build="harness.parts.own:load_class",
        doc=doc,
        knobs=tuple(knobs),
        source=source,
        shaped=_wants_shape(init, file),
    )
    return Signature(own, (*apart, *_gathered(init)))


def _others(init: ast.FunctionDef) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """What `__init__` takes beyond `GIVEN`, with defaults."""
    args, positional = init.args, _positional(init)
    lacking = len(positional) - len(args.defaults)
    for place, arg in enumerate(positional):
        if place >= len(GIVEN):
            yield arg, args.defaults[place - lacking] if place >= lacking else None
    yield from zip(args.kwonlyargs, args.kw_defaults, strict=True)


def _gathered(init: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    for arg, stars in ((init.args.vararg, "*"), (init.args.kwarg, "**")):
        if arg is not None:
            yield arg.arg, f"{stars}{arg.arg} takes whatever there is"


def _wants_shape(init: ast.FunctionDef, file: str) -> bool:
    """Whether `inputs` is to be the shape of an input; else it is how many numbers one has."""
    shaped = False
    for arg in _positional(init)[1 : len(GIVEN)]:
        written = _unquoted(arg.annotation) if arg.annotation else None
        said = ast.unparse(written) if written else "int"
        is_shape = arg.arg == "inputs" and said in SHAPES
        shaped |= is_shape
        if said != "int" and not is_shape:
            rule = "int or tuple[int, ...]" if arg.arg == "inputs" else "int"
            raise UserError(f"{file}, line {arg.lineno}: {arg.arg} must be annotated {rule}, or not at all, got {said}")
    return shaped


@dataclass(frozen=True)
class _Kind:
    """What values a parameter takes."""

    type: type
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Parameter:
    """One of a class's `__init__`."""

    arg: ast.arg
    default: ast.expr | None
    class_name: str
    file: str

    @property
    def where(self) -> str:
        """Where it stands."""
        return f"{self.file}, line {self.arg.lineno}: {self.class_name}'s {self.arg.arg}"

    def knob(self, positional_only: bool) -> Knob | str:
        """The knob that it is, or why it is none. Raises UserError where a study must set it and cannot."""
        kind: _Kind | str = self._kind()
        if positional_only:
            kind = "it cannot be given by name"
        if self.arg.arg.startswith("_"):
            kind = "its name begins with an underscore"
        if isinstance(kind, str):
            if self.default is None:
                raise UserError(f"{self.where} must have a default, since no study can set it: {kind}")
            return kind
        self._check_name()
        knob = Knob(
            name=self.arg.arg,
            type=kind.type,
            default=None,
            doc=f"of {self.class_name}, {self.file} line {self.arg.lineno}",
            choices=kind.choices,
            required=self.default is None,
        )
        return knob if self.default is None else self._with_default(knob, kind)

    def _kind(self) -> _Kind | str:
        if self.arg.annotation is not None:
            return _kind_of(self.arg.annotation)
        value = _literal(self.default) if self.default is not None else None
        if type(value) in (bool, int, float, str):
            return _Kind(type(value))
        if isinstance(value, tuple) and all(type(item) is int for item in value):
            return _Kind(tuple)
        return "it has no type" if self.default is None else "it has no type, and its default tells none"

    def _check_name(self) -> None:
        name = self.arg.arg
        if name in {knob.name for knob in training_knobs()}:
            raise UserError(f"{self.where} is the name of a hyperparameter of training; call it something else")
        if name in (*TAKEN, *figure_names(), *(knob.name for knob in GENERAL)):
            raise UserError(f"{self.where} is a name that study files or reports use; call it something else")
        if len(name) > LONGEST_NAME:
            raise UserError(f"{self.where}: a name may have {LONGEST_NAME} characters, this one has {len(name)}")

    def _with_default(self, knob: Knob, kind: _Kind) -> Knob:
        value = _literal(self.default)
        if value is NOT_WRITTEN_OUT:
            raise UserError(
                f"{self.where} must have a default that is written out, as 64, since nothing is executed to know it; "
                f"got {ast.unparse(self.default or ast.Constant(None))}"
            )
        if value is None:
            return knob
        if not _fits(kind, value):
            wanted = f"one of {listed(kind.choices)}" if kind.choices else WANTED[kind.type]
            raise UserError(f"{self.where}: its default must be {wanted}, got {value!r}")
        return replace(knob, default=float(value) if kind.type is float else value)


NOT_WRITTEN_OUT = object()


def _literal(node: ast.expr | None) -> Any:
    """The value of a literal; `NOT_WRITTEN_OUT` of anything else."""
    try:
        return ast.literal_eval(node) if node is not None else NOT_WRITTEN_OUT
    except (ValueError, TypeError, SyntaxError, MemoryError):
        return NOT_WRITTEN_OUT


def _fits(kind: _Kind, value: Any) -> bool:
    """Whether a default is of its type, and such that journals, tables and terminals can hold it."""
    if kind.type is float:
        return type(value) in (int, float) and abs(value) < 1e300
    if type(value) is not kind.type:
        return False
    if isinstance(value, str):
        return value.isprintable() and (not kind.choices or value in kind.choices)
    items = value if isinstance(value, tuple) else (value,)
    return len(items) <= MOST_ITEMS and all(type(item) in (bool, int) and -(2**63) <= item < 2**63 for item in items)


def _kind_of(annotation: ast.expr) -> _Kind | str:
    """What values an annotation means, or why a study can set none."""
    node = _unquoted(annotation)
    if isinstance(node, ast.Name) and node.id in ("int", "float", "bool", "str"):
        return _Kind({"int": int, "float": float, "bool": bool, "str": str}[node.id])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _either([node.left, node.right], node)
    if isinstance(node, ast.Subscript):
        head = node.value.attr if isinstance(node.value, ast.Attribute) else ast.unparse(node.value)
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if head == "Literal":
            return _words(items)
        if head == "Optional":
            return _either([*items, ast.Constant(None)], node)
        if head == "Union":
            return _either(items, node)
        if ast.unparse(node) in SHAPES:
            return _Kind(tuple)
    return _no_kind(node)


def _no_kind(node: ast.expr) -> str:
    return f"its type is {ast.unparse(node)}, none of {KINDS}"


def _either(items: Sequence[ast.expr], node: ast.expr) -> _Kind | str:
    """A type or None."""
    types = [item for item in items if not (isinstance(item, ast.Constant) and item.value is None)]
    return _kind_of(types[0]) if len(types) == 1 and len(items) == 2 else _no_kind(node)


def _words(items: Sequence[ast.expr]) -> _Kind | str:
    words = [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    if len(words) < len(items):
        return "its Literal has other values than words"
    if not all(word and word.isprintable() for word in words):
        return "its Literal has words that cannot be shown"
    return _Kind(str, tuple(dict.fromkeys(words)))


def _unquoted(node: ast.expr) -> ast.expr:
    """An annotation that may be written as text."""
    while isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            node = ast.parse(node.value.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError):
            break
    return node


def why_not(own: OwnModel, name: str) -> str | None:
    """Why a parameter of a model's class is none that a study can set; None where there is no such parameter."""
    return dict(parse(own.source, own.file, own.class_name).apart).get(name)


class Program(Protocol):
    """What a user wrote: a model, or what loads data."""

    @property
    def file(self) -> str:
        """The file's name, below the study's folder."""

    @property
    def source(self) -> str:
        """Its text."""

    @property
    def sha256(self) -> str:
        """Of the file, in hexadecimal."""


def difference(then: Program, now: Program) -> list[str]:
    """The lines in which two texts of a program differ, as diff shows them: the first few of many."""
    recorded, present = f"{then.file} as recorded", f"{now.file} as it is now"
    old, new = then.source.split("\n"), now.source.split("\n")
    lines = list(difflib.unified_diff(old, new, recorded, present, lineterm="", n=1))
    more = len(lines) - SHOWN
    return lines if more <= 1 else [*lines[:SHOWN], f"... {more} more lines"]
