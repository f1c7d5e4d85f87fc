"""Named variants: whole recipes that are compared under a name, `[compare.variant]` in a study file.

dict(recipes(study))        # {"SGD, tuned": "optimizer = sgd, lr = 0.0847; searches nothing"}
check_variants(study)       # once the study is whole
"""

import re
from collections.abc import Iterator

from harness.catalogue import show
from harness.errors import UserError
from harness.study.space import describe
from harness.study.study import VARIANT, Study, place_of_variant
from harness.trial import Level

LONGEST = 80  # characters of a name, which stands in tables, pictures and file names
TAKEN = re.compile(r" (seeds|ablation|search \d+)$")  # how the parts of a journal end that belong to a compared value


def check_name(name: str) -> None:
    """A variant's name is shown on one line, and its journal's parts are told from another's. Raises UserError."""
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= LONGEST:
        raise UserError(
            f"compare.{VARIANT}: a name must be a text of one line with at most {LONGEST} characters, without blanks "
            f"around it, got {name!r}"
        )
    if TAKEN.search(name):
        raise UserError(f"{place_of_variant(name)}: a name cannot end so: the journal calls a part of a value by it")


def recipes(study: Study) -> Iterator[tuple[str, str]]:
    """The names of the variants, each with what it sets and what it searches, in words."""
    for level in _one_of_each(study):
        variant, space = study.variant(level), study.space(level)
        said = [", ".join(f"{key} = {show(value)}" for key, value in variant.sets.items()) or "as the study is"]
        if study.is_searched:
            each = ", ".join(f"{key} {describe(domain)}" for key, domain in space.items())
            said.append(f"searches {len(space)}: {each}" if space else "searches nothing")
        yield _name(study, level), "; ".join(said)


def unequal_spaces(study: Study) -> Iterator[str]:
    """Whether variants search more or fewer hyperparameters than each other, with the same number of trials."""
    by_number: dict[int, list[str]] = {}
    for level in _one_of_each(study):
        by_number.setdefault(len(study.space(level)), []).append(f'"{_name(study, level)}"')
    if len(by_number) > 1:
        counted = sorted(by_number.items(), reverse=True)
        said = ", ".join(f"{number or 'none'} by {' and '.join(names)}" for number, names in counted)
        yield (
            f"The variants' spaces differ: of hyperparameters {said.replace(' by', ' are searched by', 1)}. All that "
            "search have the same number of trials, so a difference may be one of tuning as much as of recipes."
        )


def _one_of_each(study: Study) -> Iterator[Level]:
    """The first level of each variant, in the file's order; none where none are compared."""
    seen: set[str] = set()
    for level in study.levels if study.variants else ():
        if (name := _name(study, level)) not in seen:
            seen.add(name)
            yield level


def _name(study: Study, level: Level) -> str:
    return str(study.values_of(level)[VARIANT])


def check_variants(study: Study) -> None:
    """All that is said has an effect, and no two variants say the same. Raises UserError."""
    for check in (_reachable, _different, _heard) if study.variants else ():
        check(study)


def _reachable(study: Study) -> None:
    for name, variant in study.variants.items():
        spaces = [study.space(level) for level in study.levels if _name(study, level) == name]
        for key, domain in variant.tune.items():
            if domain.when and not any(key in space for space in spaces):
                raise UserError(f"{place_of_variant(name)}.tune.{key}.when: never holds with what the variant sets")


def _different(study: Study) -> None:
    said: dict[object, str] = {}
    for level in _one_of_each(study):
        name, space = _name(study, level), sorted(study.space(level).items())
        if (first := said.setdefault((study.config(level, {}), repr(space)), name)) != name:
            raise UserError(
                f"{place_of_variant(name)}: says the same as {place_of_variant(first)}; leave one of them out"
            )


def _heard(study: Study) -> None:
    for where, key in _common(study):
        if not any(_is_heard(study, level, where, key) for level in study.levels):
            raise UserError(f"{where}.{key}: has no effect: every variant says otherwise; leave it out")


def _common(study: Study) -> Iterator[tuple[str, str]]:
    """What the study says of all variants."""
    yield from (("fixed", key) for key in study.fixed)
    yield from (("tune", key) for key in study.tune)


def _is_heard(study: Study, level: Level, where: str, key: str) -> bool:
    """Whether a level does as the study says in a table, not as its own variant does."""
    variant = study.variant(level)
    if where == "fixed":
        return key in study.settled(level) and key not in variant.sets
    return key in study.space(level) and key not in variant.tune
