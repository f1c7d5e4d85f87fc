"""A user's mistake, told in one line. No dependencies, so that everybody may import it at the top."""

LONGEST = 600  # characters of a message: what a study file says may be far longer


class UserError(ValueError):
    """A mistake of the user's: told in one line, without a traceback, exit code 2."""

    code = 2

    def __init__(self, message: object) -> None:
        line = printable(str(message))
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}")


class StudyStoppedError(UserError):
    """The study cannot go on, for a reason that is not on its command line: told in one line, exit code 1."""

    code = 1


def printable(text: str) -> str:
    """A text on one line, with control characters told instead of obeyed: a terminal does what they say."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
