"""What classes and targets of a study's data are called: as its data set calls them, where that is known."""

from harness.figures import bracketed
from harness.study.study import Study
from harness.trial import Level


def dataset_of(study: Study, level: Level) -> str:
    """The data set that a level is trained on."""
    return str(study.config(level, {}).dataset)


def class_names(study: Study, level: Level, count: int) -> tuple[str, ...]:
    """The names of a level's classes, of which there are so many; their numbers where no names are known."""
    known = study.about.get(dataset_of(study, level))
    return known.classes if known and len(known.classes) == count else tuple(map(str, range(count)))


def target_names(study: Study, level: Level, count: int) -> tuple[str, ...]:
    """The names of the numbers that are to be learned, with their unit."""
    known, unit = study.about.get(dataset_of(study, level)), study.figure("test_rmse").unit.symbol
    several = ("target",) if count == 1 else tuple(f"target {number + 1}" for number in range(count))
    given = known.target_names if known and len(known.target_names) == count else several
    return tuple(bracketed(name, unit) for name in given)
