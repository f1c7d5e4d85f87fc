"""What programs read: JSON, alone on standard output.

with alone() as write:                       # prints of libraries and of a user's code go to standard error
    write({"event": "begun", "study": "depth"})
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from harness.errors import UserError
from harness.masking import without_secrets

Write = Callable[[Mapping[str, Any] | list[Any]], None]


@contextmanager
def alone(lines: bool = False) -> Iterator[Write]:
    """Gives what writes a value to standard output: one on a line, or indented for people who look at it.

    What anything else prints there meanwhile goes to standard error, also what libraries and processes of ours print.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    out = os.fdopen(kept, "w", encoding="utf-8", closefd=False)
    try:
        with redirect_stdout(sys.stderr):
            yield lambda value: _write(out, kept, json.dumps(value, allow_nan=False, indent=None if lines else 2))
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _write(out: TextIO, descriptor: int, text: str) -> None:
    try:
        out.write(f"{text}\n")
        out.flush()
    except BrokenPipeError:  # whoever read it has left, which stops no study
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), descriptor)


def error(trouble: BaseException, code: int) -> dict[str, Any]:
    """What a program is told of what ended a command, and the exit code that it has."""
    below = list(trouble.below) if isinstance(trouble, UserError) else []
    said = str(trouble) if isinstance(trouble, UserError) else f"{type(trouble).__name__}: {trouble}".removesuffix(": ")
    message, below = without_secrets(said), [without_secrets(line) for line in below]
    return {"event": "error", "message": message, "below": below, "exit_code": code}
