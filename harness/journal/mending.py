"""A damaged journal goes on: mended into a new file, and what the old one still says is taken from there.

    told = make_whole(journal)              # before a driver goes on: None, or what was damaged and what becomes of it
    kept = Kept(journal, environment)       # what the files say that the journal was mended from
    kept.study, kept.outcome(trial)

`lines.py` says why a journal counts up to its first damaged line only.
"""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.config import Config
from harness.journal.file import aside, cut_torn_line, open_journal
from harness.journal.level import identity
from harness.journal.lines import DamagedError, Lines, attributes_of, legible, sealed, texts, trial_of
from harness.study.study import Study
from harness.trial import Outcome, Trial

WORD = ".damaged"  # in the names of those that are put aside


def damage_in(journal: Path) -> DamagedError | None:
    """The first damage in a journal; None where there is none."""
    lines, found = Lines(journal), None
    try:
        for text in texts(journal):
            lines.skip(text)
    except DamagedError as damage:
        found = damage
    if lines.number < lines.line:  # nothing says of lines without a checksum that they mean something
        try:
            open_journal(journal)
        except DamagedError as damage:
            return damage
    return found


def make_whole(journal: Path) -> str | None:
    """Mend a journal, of which the caller is the only writer: up to its first damaged line it goes on in a new file,
    and the old one stays beside it as it is. What was damaged, and what becomes of it, in one line; None where nothing
    was.
    """
    if not journal.is_file():
        return None
    cut_torn_line(journal)
    damage = damage_in(journal)
    return mend(damage) if damage else None


def mend(damage: DamagedError) -> str:
    """Put the damaged file aside and make a sound one in its place; what was done, in one line.

    The copy is whole before anything is changed, and the new file before it takes the old one's place.
    """
    journal, old = damage.journal, aside(damage.journal, WORD)
    shutil.copy2(journal, old)
    lines = Lines(journal)
    kept = [text for _, text in zip(range(damage.line - 1), texts(journal), strict=False)]
    for text in kept:
        lines.skip(text)
    note = {"op_code": 3, "worker_id": "harness", "study_id": 0, "system_attr": {"mended": old.name}}
    part = journal.with_name(f"{journal.name}.part")
    with part.open("wb") as file:
        file.write(b"".join([*kept, sealed(note, lines.number + 1)]))
        file.flush()
        os.fsync(file.fileno())
    part.replace(journal)
    later = later_outcomes(old, damage.line)
    return (
        f"{journal}: line {damage.line} is damaged ({damage.why}); the file is kept as {old.name}, and a new one goes "
        f"on from the {damage.line - 1} lines before; {later} outcomes after it can still be read and are taken from "
        "there when their trainings are due, what else is lost is trained again"
    )


def later_outcomes(journal: Path, line: int) -> int:
    """How many trainings have an outcome that can be read, and none before that line."""
    before = {trial_of(json.loads(text)) for _, text in zip(range(line - 1), texts(journal), strict=False)}
    return len(set(map(trial_of, legible(journal))) - before - {None})


class Kept:
    """What the files say that a journal was mended from: `study` and `id` as they were, and outcomes. Nothing where it
    never was damaged. Outcomes are those of the data in `environment` only.
    """

    def __init__(self, journal: Path, environment: Mapping[str, Any]) -> None:
        self.study: Study | None = None
        self.id: str | None = None
        self._outcomes: dict[tuple[Any, ...], Mapping[str, Any]] = {}
        files = journal.parent.glob(f"{journal.stem}.old*{WORD}.log")
        named = b""
        for old in sorted(files, key=lambda file: (len(file.name), file.name), reverse=True):
            named = named or (journal.read_bytes() if journal.is_file() else b"-")
            if f'"mended":{json.dumps(old.name)}'.encode() in named:  # else that of a journal before --fresh
                self._read(old, environment.get("data_sha256"))
                named += old.read_bytes()  # it may have been mended itself

    def _read(self, old: Path, data: Any) -> None:
        outcomes: dict[tuple[Any, ...], Mapping[str, Any]] = {}
        study: Study | None = None
        then: Any = data
        for log in legible(old):
            attributes = attributes_of(log)
            if "study" in attributes:
                with suppress(ValueError):
                    study = Study.model_validate_json(attributes["study"])
            self.id = self.id or attributes.get("journal")
            then = attributes.get("environment", {}).get("data_sha256", then)
            if of := trial_of(log):
                outcomes[of] = attributes["outcome"]
        self.study = self.study or study  # the newest file is read first
        if then == data:
            self._outcomes = outcomes | self._outcomes

    def outcome(self, trial: Trial) -> Outcome | None:
        """What came of exactly this training; None where that is lost."""
        record = self._outcomes.get(identity(trial))
        if record is None or Config.from_record(record["config"], trial.config.own) != trial.config:
            return None
        return Outcome.from_record(record)
