"""TOML from anybody's hand: read, or refused in one line. Nothing here knows what a study is."""

import json
import math
import re
import tomllib
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
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


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
