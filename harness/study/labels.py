"""What a study asks, for programs; and what is known of its data sets by their names: what their classes and targets
are called, and what a record of the environment says of each.
"""

from collections.abc import Mapping
from typing import Any

from harness.catalogue import SHARE, Measure
from harness.figures import bracketed
from harness.study.study import Study
from harness.trial import Level


def by_dataset(environment: Mapping[str, Any], key: str) -> dict[str, str]:
    """What a record of the environment says of each data set under a key, as "data_sha256"; of those it says it of."""
    names, values = (str(environment.get(one, "")).split(", ") for one in ("data", key))
    return {name: value for name, value in zip(names, values, strict=False) if value}


def class_names(study: Study, level: Level, count: int) -> tuple[str, ...]:
    """The names of a level's classes, of which there are so many; their numbers where no names are known."""
    known = study.class_names(_dataset_of(study, level))
    return known if len(known) == count else tuple(map(str, range(count)))


def target_names(study: Study, level: Level, count: int) -> tuple[str, ...]:
    """The names of the numbers that are to be learned, with their unit."""
    known = study.about_data(_dataset_of(study, level))
    given = known.target_names if known else ()
    if len(given) != count:
        given = ("target",) if count == 1 else tuple(f"target {number + 1}" for number in range(count))
    return tuple(bracketed(name, study.figure("test_rmse").unit.symbol) for name in given)


def _dataset_of(study: Study, level: Level) -> str:
    return str(study.config(level, {}).dataset)


def asked(study: Study) -> dict[str, Any]:
    """What a study asks: what it compares, on which data, by which measure."""
    return {
        "study": study.label,
        "question": study.question,
        "data": list(study.datasets),
        "model": study.model,
        "compares": list(study.axes),
        "levels": [study.level_name(level) for level in study.levels],
        "metric": metric(study.measure) if study.metric else None,  # which the data may have to tell
    }


def metric(measure: Measure) -> dict[str, str]:
    """What a study selects by. Its unit is "share", of which 1 is all, or that of the figure itself, if it has one."""
    unit = "share" if measure.unit.symbol == SHARE.symbol else measure.unit.symbol
    return {"name": measure.name, "unit": unit, "better": measure.better}
