"""How a command tells people what it does: results on standard output, what is being done now on standard error.

say = Teller()
say("opening MLflow …")               # a line that ends so is overwritten on a terminal, and has its time in a log
say("report   reports/depth/report.html")
"""

import shutil
import sys
import textwrap
from collections.abc import Callable
from datetime import datetime

Say = Callable[[str], None]

NOW = "…"
"""What a line ends with that says what is being done now."""
CLEAR = "\r\x1b[2K"


class Teller:
    """Says lines; nothing if it is `quiet`."""

    is_passing = False  # whether a line stands on the terminal that is to be overwritten: there is one terminal

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def __call__(self, line: str) -> None:
        """Say a line, folded between words where a terminal shows it."""
        if self.quiet:
            return
        if line.endswith(NOW):
            self._pass(line)
            return
        self.clear()
        print(folded(line) if sys.stdout.isatty() else line, flush=True)

    def _pass(self, line: str) -> None:
        """Say what is being done now."""
        if not sys.stderr.isatty():
            print(timed(line), file=sys.stderr, flush=True)
            return
        self.clear()
        print(line[: shutil.get_terminal_size().columns - 1], end="", file=sys.stderr, flush=True)
        Teller.is_passing = True

    @classmethod
    def clear(cls) -> None:
        """Take away what was being done, before anything else is shown there."""
        if cls.is_passing:
            print(CLEAR, end="", file=sys.stderr, flush=True)
            Teller.is_passing = False


def done_only(say: Say) -> Say:
    """One that leaves out what is being done now, as a program that is told by `print` wants it."""
    return lambda line: None if line.endswith(NOW) else say(line)


def timed(line: str) -> str:
    """A line of a log, with the time of day."""
    return f"{datetime.now():%H:%M:%S}  {line}"


def folded(line: str) -> str:
    """A line that may be too long for the terminal; paths and other long words stay whole."""
    return textwrap.fill(
        line,
        shutil.get_terminal_size().columns,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        drop_whitespace=True,
    )
