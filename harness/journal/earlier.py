"""Where a search begins that is told of an earlier study: `[search] from = "studies/other"`.

study = with_earlier(study, folder)         # once, before its journal begins: `Study.found` is a fact from then on
"""

from collections.abc import Iterator
from pathlib import Path

from harness.errors import UserError
from harness.journal.file import find_journal
from harness.journal.records import Records
from harness.journal.sampling import from_optuna
from harness.study.file import read_study
from harness.study.places import study_folder
from harness.study.space import holds
from harness.study.study import Point, Study
from harness.trial import Level


def with_earlier(study: Study, folder: Path) -> Study:
    """The study in `folder`, which has not begun, with what the winners of `search.earlier` tell it.

    Of each value that was compared there it is the best search's winner, the best first; of each the hyperparameters
    that this study tunes too and that lie in its space. At most `search.generation` points, so that searching remains.
    Raises UserError where there is no such study, or nothing of it fits.
    """
    if study.search.earlier is None:
        return study
    try:
        place = study_folder(Path(study.search.earlier))
        other = read_study(place)
        if place.resolve() == folder.resolve():
            raise UserError("is this study itself")
        records = Records(find_journal(other, place))
    except UserError as error:
        raise UserError(f"search.from: {error}") from None
    room = min(study.search.generation, study.room_for_points - len(study.search.first))
    points: list[Point] = []
    for winner in _winners(records):
        point = fitting(study, winner)
        if point and point not in (*points, *study.search.first) and len(points) < room:
            points.append(point)
    if not points:
        raise UserError(f"search.from: no winner of {place} fits what this study tunes, or there is no room for one")
    return study.model_copy(update={"found": tuple(points)})


def _winners(records: Records) -> Iterator[Point]:
    """What was chosen for each compared value, by its best search; the best value's first."""
    sign = records.study.measure.sign()
    chosen: dict[Level, tuple[float, Point]] = {}
    for (level, search), trials in records.searches.items():
        number = records.winner(level, search)
        if number is not None and number >= 0:
            gain = sign * (trials.search[number].value or 0.0)
            if level not in chosen or gain > chosen[level][0]:
                chosen[level] = gain, from_optuna(trials.search[number].params, records.study)
    yield from (point for _, point in sorted(chosen.values(), key=lambda one: -one[0]))


def fitting(study: Study, point: Point) -> Point:
    """The part of a point that means something in the space of a level, and lies in it."""
    found: Point = {}
    for level in study.searching:
        space = study.space(level)
        inside = {key: value for key, value in point.items() if key in space and holds(space[key], value)}
        known = {**study.settled(level), **inside}
        of_level = [key for key in inside if all(known.get(other) == one for other, one in space[key].when.items())]
        found |= {key: point[key] for key in of_level}
    return {key: value for key, value in point.items() if key in found}
