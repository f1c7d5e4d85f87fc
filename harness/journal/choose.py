"""Finds what a command line names in a journal: a compared value, a trial of a search, a confirmation by its seed.

Raises UserError, which names what there is, if there is none.
"""

from collections.abc import Mapping, Sequence

from harness.catalogue import show
from harness.errors import UserError
from harness.journal.records import Record, Records
from harness.study.study import Study
from harness.trial import Level


def find_run(records: Records, level: Level, seed: int | None, trial: int | None, search: int = 0) -> Record:
    """A value's confirmation by its seed or place, from 1, or the trial of that number in a search of it."""
    current = [r for r in records.all if r.trial.level == level and r.current]
    name = records.study.level_name(level)
    if seed is not None:
        seeds = {r.trial.seed: r for r in current if r.trial.stage == "confirm"}
        places = dict(enumerate(seeds.values(), start=1))
        return _one_of({**places, **seeds}, seed, "seed", f"{records.journal}: no", name, sorted(seeds))
    if records.study.searches > 1:
        name = f"{name} search {search}"
    own = [r for r in current if r.trial.stage == "search" and r.trial.search == search]
    trials = {r.trial.number: r for r in own}
    return _one_of(trials, trial or 0, "trial", f"{records.journal}: no", name, sorted(trials))


def _one_of(
    known: Mapping[int, Record], number: int, what: str, nothing: str, name: str, there: Sequence[int]
) -> Record:
    if number not in known:
        has = f"{what}s {spans(there)}" if there else f"no {what}s"
        raise UserError(f"{nothing} {what} {number} of {name}, which has {has}")
    return known[number]


def find_level(study: Study, text: str | None) -> Level:
    """The level that is written "depth=3" or "3", of two keys "depth=3,dropout=0.2" in any order; the only one if none
    is named.
    """
    names = ", ".join(map(study.level_name, study.levels))
    if text is None:
        if len(study.levels) == 1:
            return study.levels[0]
        raise UserError(f"studies/{study.name}: which {' and '.join(study.axes)}? Give one of {names}")
    for level in study.levels:
        if text == show(level) or sorted(text.split(",")) == sorted(study.level_name(level).split(",")):
            return level
    raise UserError(f"studies/{study.name}: no {text} in this study; it has {names}")


def spans(numbers: Sequence[int]) -> str:
    """Sorted numbers as people write them: "1 to 3, 7"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]} to {part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
