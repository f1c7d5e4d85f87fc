"""A user's mistake, told in one line, with the nearest right name. No dependencies: everybody may import it."""

import difflib
from collections.abc import Iterable, Sequence

INTERRUPTED = 130  # the exit code of what was told to stop, as shells have it for Ctrl-C
LONGEST = 600  # characters of a message: what a study file says may be far longer


class UserError(ValueError):
    """A mistake of the user's: told in one line, without a traceback, exit code 2.

    `below` are lines to be shown under it, as those of a text that differ.
    """

    code = 2

    def __init__(self, message: object, below: Iterable[str] = ()) -> None:
        line = printable(str(message))
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}")
        self.below = tuple(map(printable, below))
        for told in self.below:
            self.add_note(told)  # where it is raised in somebody's program, Python shows them


class StudyStoppedError(UserError):
    """The study cannot go on, for a reason that is not on its command line: told in one line, exit code 1."""

    code = 1


def printable(text: str) -> str:
    """A text on one line, with control characters told instead of obeyed: a terminal does what they say."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def nearest(name: object, names: Sequence[str]) -> str:
    """ "; did you mean lr?", or nothing where no name is near."""
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def listed(names: Iterable[object]) -> str:
    """Names in a row, separated by commas."""
    return ", ".join(map(str, names))


def one_of(value: object, names: Sequence[str]) -> UserError:
    """What to say of a value that is none of the names."""
    return UserError(f"must be one of {listed(names)}, got {value!r}{nearest(value, names)}")
