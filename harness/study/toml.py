"""TOML: read from anybody's hand, or refused in one line, and written. Nothing here knows what a study is."""

import json
import math
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from harness.errors import UserError

LONGEST = 100_000  # characters; a study file has a thousand
CONTROL = [chr(code) for code in range(32) if chr(code) not in "\n\t"]
DEEPEST = 8  # tables and lists within each other


def parse(text: str) -> dict[str, Any]:
    """The table that a text describes; raises UserError if it describes none."""
    if len(text) > LONGEST:
        raise UserError(f"too long: {len(text):,} characters, at most {LONGEST:,}")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UserError("not valid TOML: nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError is one; so is that of a number with too many digits
        raise UserError(f"not valid TOML: {error}") from None


def check(table: dict[str, Any]) -> None:
    """Refuse values that nobody means and that would do harm further on: in messages, tables, memory, terminals."""
    waiting: list[tuple[str, Any, int]] = [("", table, 0)]
    while waiting:  # not by recursion: dotted keys nest as deep as they like
        where, value, depth = waiting.pop()
        if depth > DEEPEST:
            raise UserError(f"{where}: nested too deeply")
        if isinstance(value, dict):
            waiting += [(f"{where}.{key}" if where else key, inner, depth + 1) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(where, inner, depth + 1) for inner in value]
        elif isinstance(value, float) and math.isnan(value) and where.startswith("published."):
            continue  # where nothing was published
        elif trouble := _trouble(value):
            raise UserError(f"{where}: {trouble}")


def key(name: str) -> str:
    """A key as it stands in a TOML file: bare where it may, else quoted."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else inline(name)


def dotted(text: str) -> tuple[list[str], str] | None:
    """The keys and the value of a line `a."b.c".d = value`, the value as it is written; None where it begins with no
    keys.
    """
    for place in (place for place, char in enumerate(text) if char == "="):
        head = text[:place]
        try:
            table: Any = tomllib.loads(f"{head} = 0") if "\n" not in head else {}
        except ValueError:  # a sign of equality within quotes
            continue
        keys = []
        while table:
            [(name, table)] = table.items()
            keys.append(name)
        return (keys, text[place + 1 :]) if keys else None
    return None


def _trouble(value: object) -> str | None:
    """What is wrong with a value that is neither a table nor a list; None if nothing is."""
    match value:
        case int() if not -(2**63) <= value < 2**63:
            return "a whole number must fit into 64 bits"
        case float() if not math.isfinite(value):
            return f"must be a finite number, got {value}"
        case str() if set(CONTROL) & set(value):
            return f"must be without control characters, got {value!r}"
    return None


def written(table: Mapping[str, Any]) -> str:
    """The text of a table, whose tables come last and hold theirs on a line. Raises UserError for what TOML lacks.

    >>> print(written({"compare": {"depth": range(1, 4)}, "dataset": "digits"}))
    dataset = "digits"
    <BLANKLINE>
    [compare]
    depth = [1, 2, 3]
    <BLANKLINE>
    """
    tables = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    lines = [_line(name, value, name) for name, value in table.items() if name not in tables]
    for of, inner in tables.items():
        lines += ["", f"[{key(of)}]", *(_line(name, value, f"{of}.{name}") for name, value in inner.items())]
    return "\n".join([*lines, ""])


def inline(value: object, where: str = "") -> str:
    """A value on one line. Texts, numbers and truths are written as JSON does; numpy's as what they hold."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, float) and not math.isfinite(plain):
        return str(plain)
    if isinstance(plain, str | bool | int | float):
        return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(plain, list | tuple | range):
        return f"[{', '.join(inline(item, where) for item in plain)}]"
    if isinstance(plain, Mapping):
        cells = [_line(name, item, f"{where}.{name}") for name, item in plain.items()]
        return f"{{ {', '.join(cells)} }}"
    raise UserError(f"{where}: must be a text, number, truth, list or dict, got {value!r}")


def _line(name: object, value: object, where: str) -> str:
    return f"{key(str(name))} = {inline(value, where)}"
