"""Ends one compared value of a study: what it has stays, what remains of it is not begun, all others go on.

The driver alone writes a journal, so it is asked by a file beside that, which it looks for while it trains. Where
nobody runs the study the journal is held and written here. A value stays stopped until `harness run --resume` names it.
"""

import time
from contextlib import suppress
from pathlib import Path

import optuna

from harness.errors import StudyStoppedError, UserError
from harness.journal.choose import find_level
from harness.journal.file import hold, holder, open_journal, open_to_read
from harness.journal.records import Records
from harness.study.places import advice
from harness.study.study import Study
from harness.trial import Level

LOOK = 0.1  # seconds between two looks whether the driver has heard


def asked_file(journal: Path) -> Path:
    """What asks the driver to stop values: a name on each line."""
    return journal.with_suffix(".stop")


def asked(journal: Path) -> list[str]:
    """The names of the values that somebody wants to be stopped."""
    try:
        return asked_file(journal).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def stop_level(journal: Path, wanted: str, patience: float = 60.0) -> str:
    """Stop the value that is written so; what came of it, in words. Raises UserError where there is none of that name
    that lacks anything, StudyStoppedError where the driver has not answered in time.
    """
    records = Records(journal)
    study, level = records.study, find_level(records.study, wanted)
    name = study.level_name(level)
    if study.is_stopped(level):
        raise UserError(f"{journal.parent}: {name} is stopped already; {resuming(journal, name)}")
    if not lacks(records, level):
        raise UserError(f"{journal.parent}: {name} has all its trainings; nothing of it is left to be stopped")
    if holder(journal):
        _ask(journal, name, patience)
    else:
        with hold(journal):
            storage = open_journal(journal)
            note(storage, study.stop(level, time.time()))
    goes_on = f"the others go on; {resuming(journal, name)}"
    return f"{name} is stopped: it has {has(Records(journal), level)}; {goes_on}"


def resuming(journal: Path, name: str) -> str:
    """How a stopped value goes on, in words."""
    return f"{advice('run', journal)} --resume {name} takes it up again"


def _ask(journal: Path, name: str, patience: float) -> None:
    """Ask the driver, and wait until the journal says so. What is asked while the driver takes note of something else
    may go with that, so it is asked again.
    """
    until = time.monotonic() + patience
    while name not in _stopped(journal):
        if name not in asked(journal):
            with asked_file(journal).open("a", encoding="utf-8") as file:
                file.write(f"{name}\n")
        if holder(journal) is None:
            asked_file(journal).unlink(missing_ok=True)
            raise StudyStoppedError(f"{journal.parent}: its run has ended meanwhile, and {name} was not stopped")
        if time.monotonic() > until:
            raise StudyStoppedError(
                f"{journal.parent}: was asked to stop {name}, and will when an epoch ends: none did in {patience:g} s"
            )
        time.sleep(LOOK)
    if asked(journal) == [name]:  # asked once more than was needed
        forget(journal)


def _stopped(journal: Path) -> dict[str, float]:
    """What is stopped by now."""
    _, attributes = open_to_read(journal)
    text = next(known["study"] for known in attributes.values() if "study" in known)
    return Study.model_validate_json(text).stopped


def note(storage: optuna.storages.JournalStorage, study: Study) -> None:
    """Write the study into its journal, where readers look for it."""
    for one in storage.get_all_studies():
        if "study" in one.user_attrs:
            storage.set_study_user_attr(one._study_id, "study", study.model_dump_json())
            return


def lacks(records: Records, level: Level) -> bool:
    """Whether anything of a value is still to be trained."""
    searched, confirmed = done(records, level)
    return records.study.open_ended or (searched, confirmed) != planned(records.study, level)


def done(records: Records, level: Level) -> tuple[int, int]:
    """How many search trials and confirmations of a value have an outcome."""
    own = [r.trial.stage for r in records.all if r.trial.level == level and r.current and r.outcome]
    return own.count("search"), own.count("confirm")


def planned(study: Study, level: Level) -> tuple[int, int]:
    """How many there are to be."""
    return (study.searches * study.trials if study.space(level) else 0), study.budget.seeds


def has(records: Records, level: Level) -> str:
    """What a value has, in words: "12 of 40 search trials and 0 of 10 confirmation runs"."""
    (searched, confirmed), (trials, seeds) = done(records, level), planned(records.study, level)
    of = "" if records.study.open_ended else f" of {trials}"
    return f"{searched}{of} search trials and {confirmed} of {seeds} confirmation runs"


def forget(journal: Path) -> None:
    """What was asked for is done."""
    with suppress(FileNotFoundError):
        asked_file(journal).unlink()
