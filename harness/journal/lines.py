"""The lines of a journal, each of which proves itself, and what it means that one does not.

log = Lines(journal).read(text)         # what the first line says; raises DamagedError, which names it

A line is Optuna's own, with two keys at its end that Optuna ignores: its `number` among ours, from 1, and the `crc32`
of all before that. So a byte that changed is seen, and so is a line that is missing, double or in another place. Lines
of before format 4 have neither; there only what is no line of Optuna's is seen. Lines that another program added (the
notes of optuna-dashboard, which are system attributes) are let be; any other line without a checksum is damage.

**Going on.** Optuna's trials are known by their places: the line that creates the seventh trial does not say that it is
the seventh, and the lines after it speak of "trial 6". Where a line is lost nobody can tell whether it created a trial
(nor can it be guessed from the numbers of others: who is told what decides what was asked next), and whatever follows
may speak of another trial than it seems to. So a journal counts up to its first damaged line, and no further. That is
what a kill at that moment would have left, and from any such state a study ends with the same table
(ARCHITECTURE.md, "Why a killed study ends with the same table").

What follows is not thrown away: the whole file stays beside the new one, which names it. An outcome says itself which
training it is of, wherever it stands: level, stage, search, number, seed and Config. When the driver comes to that
training again, and study and data are the same, it takes the outcome from there instead of training again
(`mending.py`). It was the same training, so this changes no figure. Where the study itself is lost it is taken from
there too, with what was settled once: its seeds, its known points, the trials that a budget in minutes had time for.

What cannot be promised: outcomes of before format 4 do not say whose they are, and are trained again; a change that
leaves such a line readable is not seen; and trained again on another machine figures may differ in their last digits.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

from harness.errors import StudyStoppedError
from harness.study.places import advice

NUMBER, CHECKSUM = b',"number":', b',"crc32":"'
END = b'"}\n'
AFTER = -len("12345678") - len(END)  # where the checksum begins, from the end of a line
TAIL = len(CHECKSUM) - AFTER
DECODE = json.JSONDecoder().raw_decode  # json.loads takes a third longer for a line
KEYS = {  # of a line, by Optuna's code for what it does
    0: {"study_name", "directions"},
    2: {"study_id", "user_attr"},
    3: {"study_id", "system_attr"},
    4: {"study_id", "datetime_start"},
    5: {"trial_id", "param_name", "param_value_internal", "distribution"},
    6: {"trial_id", "state", "values"},
    7: {"trial_id", "step", "intermediate_value"},
    8: {"trial_id", "user_attr"},
    9: {"trial_id", "system_attr"},
}
NOTES = (3, 9)
"""System attributes, which another program may write too."""


class DamagedError(StudyStoppedError):
    """A line of a journal is not what was written. `line` counts from 1; `why` says what is wrong with it."""

    def __init__(self, journal: Path, line: int, why: str) -> None:
        self.journal, self.line, self.why = journal, line, why
        super().__init__(
            f"{journal}: line {line} is damaged ({why}); {advice('run', journal)} goes on and trains again what is "
            f"lost, {advice('check', journal)} --repair mends it only"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.journal, self.line, self.why)


def sealed(log: Mapping[str, Any], number: int) -> bytes:
    """A line of a journal, with its number and its checksum."""
    text = json.dumps(log, separators=(",", ":")).encode()[:-1] + NUMBER + str(number).encode()
    return text + CHECKSUM + b"%08x" % crc32(text) + END


def number_of(text: bytes) -> int:
    """What a line with a checksum says that its number is; 0 where it says nothing."""
    said = text[text.rfind(NUMBER, 0, -TAIL) + len(NUMBER) : -TAIL]
    return int(said) if said.isdigit() else 0


class Lines:
    """Reads the lines of a journal one after the other, from its first. `line` counts all, `number` those with one."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.line = self.number = 0

    def read(self, text: bytes) -> dict[str, Any]:
        """What the next line says, which ends in a newline; raises DamagedError."""
        is_sealed = self._check_seal(text)
        try:
            said = text.decode()
            log, end = DECODE(said)
        except (ValueError, RecursionError):
            raise self._damaged("it is no JSON" if text.strip() else "it is empty") from None
        if not is_sealed:
            self._check_keys(log, said[end:])
        self.line += 1
        self.number += is_sealed
        return log  # type: ignore[no-any-return]

    def skip(self, text: bytes) -> None:
        """As `read`, for those who do not want to know what it says: lines with a checksum are not taken apart."""
        if self._check_seal(text):
            self.line += 1
            self.number += 1
        else:
            self.read(text)

    def _check_seal(self, text: bytes) -> bool:
        """Whether the line has a checksum, which then is right, and the number that follows."""
        if text[-TAIL:AFTER] != CHECKSUM:
            return False
        said = text[:-TAIL]
        if b"%08x" % crc32(said) != text[AFTER:-3] or text[-3:] != END:
            raise self._damaged("its checksum is wrong")
        if not said.endswith(b"%b%d" % (NUMBER, self.number + 1)):
            raise self._misplaced(number_of(text))
        return True

    def _misplaced(self, number: int) -> DamagedError:
        if self.line and not self.number and number > self.line:  # nothing here is older than format 4
            return DamagedError(self.journal, 1, "it has no checksum")
        if (missing := number - self.number - 1) > 0:
            return self._damaged(f"{missing} before it {'is' if missing == 1 else 'are'} missing")
        return self._damaged(f"it is number {number}, which was there before")

    def _check_keys(self, log: Any, rest: str) -> None:
        code = log.get("op_code") if isinstance(log, dict) else None
        if rest.strip() or type(code) is not int or not {"worker_id", *KEYS.get(code, {""})} <= set(log):
            raise self._damaged("no harness wrote it")
        if self.number and code not in NOTES:
            raise self._damaged("it has no checksum")

    def _damaged(self, why: str) -> DamagedError:
        return DamagedError(self.journal, self.line + 1, why)


def texts(journal: Path) -> Iterator[bytes]:
    """The whole lines of a journal: one that its driver is writing just now, or was when it was killed, is none."""
    with journal.open("rb") as file:
        yield from (text for text in file if text.endswith(b"\n"))


def sound(journal: Path) -> Iterator[dict[str, Any]]:
    """What the lines say; raises DamagedError at the first that is damaged."""
    lines = Lines(journal)
    yield from map(lines.read, texts(journal))


def legible(journal: Path) -> Iterator[dict[str, Any]]:
    """What those lines say that prove themselves on their own, whatever lies between them."""
    for text in texts(journal):
        alone = Lines(journal)
        alone.number = max(0, number_of(text) - 1)
        with suppress(DamagedError):
            yield alone.read(text)


def attributes_of(log: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a line says in words of ours, of a study or of a trial."""
    known = log.get("user_attr") or log.get("user_attrs")
    return known if isinstance(known, Mapping) else {}


def trial_of(log: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Which training a line tells the outcome of, as `level.identity` says it; None if of none, or it does not say."""
    with suppress(AttributeError, TypeError):  # without a checksum it may say anything
        of = tuple(attributes_of(log).get("outcome", {}).get("trial") or ())
        return of if hash(of) and of else None
    return None
