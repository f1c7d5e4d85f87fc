"""The text of a file that makes a class of the user's: the class, and all of the user's own that it needs.

    text = text_of(MyNet)           # imports, constants, functions and classes that it uses, then the class itself

Nothing is executed. What the class uses is known from its text (`symtable`) and looked up where it was written: what is
installed is imported by its name, numbers and words are written out, functions and classes of the user's own are taken
along, and anything else is refused with the way out.
"""

import __future__

import ast
import inspect
import linecache
import symtable
import sys
import sysconfig
import textwrap
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from harness.errors import UserError

STDLIB = sysconfig.get_path("stdlib")
INSTALLED = {"site-packages", "dist-packages"}
WAY_OUT = "write the class with all that it needs into {file}, and say model = 'net.py'"


def text_of(kind: type, file: str) -> str:
    """The text of a file that has the class `kind`; `file` is where the user is advised to write what cannot be taken
    along. Raises UserError for that.
    """
    text = _Text(kind.__name__, WAY_OUT.format(file=file))
    text.take(kind)
    return text.whole()


@dataclass
class _Text:
    """What is written, in order: a name is bound before the text that may need it."""

    name: str  # of the class that is wanted
    way_out: str
    bound: dict[str, object] = field(default_factory=dict)
    imports: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    postponed: bool = False  # whether annotations are not to be executed

    def take(self, thing: Any) -> None:
        """A class or function of the user's, after all that it uses."""
        source, code = _source(thing), _code(thing)
        if source is None or code is None:
            raise self._refused(f"the source text of {thing.__name__} cannot be read")
        if free := [name for name in _free(thing) if name != "__class__"]:
            raise self._refused(f"{thing.__name__} uses {free[0]}, which is a local variable of a function")
        self.postponed |= bool(code.co_flags & __future__.annotations.compiler_flag)
        self.bound[thing.__name__] = thing
        around = _globals(thing)
        for name in _used(source):
            if name in around and around[name] is not thing:
                self.bind(name, around[name])
        self.bodies.append(source)

    def bind(self, name: str, value: Any) -> None:
        """See to it that the name means that value."""
        if name in self.bound:
            if self.bound[name] is not value:
                raise self._refused(f"two of the things that it uses are called {name}")
            return
        self.bound[name] = value
        if line := _import_of(name, value):
            self.imports.append(line)
        elif isinstance(value, type | FunctionType) and _is_own(value.__module__):
            if value.__name__ != name:
                raise self._refused(f"{value.__name__} is called {name} where it is used")
            self.take(value)
        elif _is_constant(value):
            self.bodies.append(f"{name} = {value!r}")
        else:
            raise self._refused(f"it uses {name}, a {type(value).__name__}")

    def whole(self) -> str:
        """The whole text."""
        head = ["from __future__ import annotations"] if self.postponed else []
        imports = "\n".join([*head, *sorted(self.imports)])
        return "\n\n\n".join([imports, *self.bodies] if imports else self.bodies) + "\n"

    def _refused(self, why: str) -> UserError:
        return UserError(f"model: {self.name} cannot be written to a file: {why}; {self.way_out}")


def _is_own(module: str) -> bool:
    """Whether a module is the user's own: neither Python's nor an installed distribution's, wherever that lies."""
    if module == "__main__":
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or file.startswith(STDLIB) or INSTALLED & set(Path(file).parts):
        return False
    return module.partition(".")[0] not in _distributed()


@cache
def _distributed() -> Collection[str]:
    """The packages of all distributions, also of those that are installed where they are written."""
    return metadata.packages_distributions().keys()


def _functions(thing: Any) -> Iterator[FunctionType]:
    """A function itself; of a class what is written in it."""
    if isinstance(thing, FunctionType):
        yield inspect.unwrap(thing)
        return
    for value in vars(thing).values():
        bare = getattr(value, "fget", None) or getattr(value, "__func__", value)
        if isinstance(bare, FunctionType) and bare.__qualname__.startswith(f"{thing.__qualname__}."):
            yield bare


def _code(thing: Any) -> CodeType | None:
    return next((function.__code__ for function in _functions(thing)), None)


def _globals(thing: Any) -> Mapping[str, Any]:
    return next(_functions(thing)).__globals__


def _free(thing: Any) -> list[str]:
    """Local variables of a function around it that it uses."""
    return [name for function in _functions(thing) for name in function.__code__.co_freevars]


def _source(thing: Any) -> str | None:
    """The text of a class or function, by the lines of its code: of a notebook's class nothing else knows them."""
    code = _code(thing)
    if code is None:
        return None
    lines = linecache.getlines(code.co_filename, dict(_globals(thing)))
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        return None
    kinds = (ast.ClassDef,) if isinstance(thing, type) else (ast.FunctionDef,)
    for node in reversed([node for node in ast.walk(tree) if isinstance(node, kinds)]):
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        if node.name == thing.__name__ and first <= code.co_firstlineno <= (node.end_lineno or 0):
            return textwrap.dedent("".join(lines[first - 1 : node.end_lineno])).rstrip()
    return None


def _used(source: str) -> list[str]:
    """The names that a text uses and does not bind itself."""
    whole = symtable.symtable(source, "class", "exec")
    found = [one.get_name() for one in whole.get_symbols() if one.is_referenced() and not one.is_assigned()]
    waiting = list(whole.get_children())
    while waiting:
        table = waiting.pop()
        found += [one.get_name() for one in table.get_symbols() if one.is_global()]
        waiting += table.get_children()
    return sorted(set(found))


def _import_of(name: str, value: Any) -> str | None:
    """The line that binds the name to something that is installed; None where it is not."""
    if isinstance(value, ModuleType):
        line, called = f"import {value.__name__}", value.__name__
        if _is_own(called):
            return None
    elif origin := _origin(value, name):
        line, called = f"from {origin[0]} import {origin[1]}", origin[1]
    else:
        return None
    return line if called == name else f"{line} as {name}"


def _origin(value: Any, name: str) -> tuple[str, str] | None:
    """The module and the name that something can be imported by."""
    module = getattr(value, "__module__", None)
    for called in (getattr(value, "__name__", None), getattr(value, "_name", None), name):
        for place in (module, "builtins"):
            there = sys.modules.get(place) if isinstance(place, str) else None
            if not isinstance(called, str) or there is None or _is_own(there.__name__):
                continue
            if getattr(there, called, None) is value:
                return there.__name__, called
    return None


def _is_constant(value: object) -> bool:
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
