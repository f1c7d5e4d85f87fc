"""Tables in, sentences out: the answer, and how a published figure compares with what was measured."""

from collections.abc import Sequence

import pandas as pd

from harness.analysis.samples import CONFIDENCE, EQUAL
from harness.analysis.tables import best_row, with_digits
from harness.catalogue import Measure, Unit
from harness.figures import SIDE_BY_SIDE, difference, interval, reach, text
from harness.study.notes import FEWEST
from harness.study.study import Study
from harness.trial import named

NAMED = 5  # of more values than fit into a sentence


def answer(study: Study, table: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """In a few sentences: which compared value did best, how surely, from which others it can be told apart and by how
    much, which it cannot be told from, and what this study could have seen.

    `table` and `pairs` are the compare table and the paired table.
    """
    best = best_row(study, table)
    if best is None:
        return "No answer yet: no confirmation run has finished."
    own, measure = _of_the_best(study, pairs, best), with_digits(study, table)
    parts = [
        f"{_did_best(study, measure, table, best)}{_how_surely(study, measure.unit, table.loc[best])}",
        *_clear(study, measure.unit, own),
        *_unclear(study, measure.unit, best, own),
        *_unmeasured(study, table),
    ]
    return " ".join(parts)


def units(study: Study, count: int = 2) -> str:
    """What intervals and tests count."""
    one, several = ("search", "searches") if study.searches > 1 else ("seed", "seeds")
    return one if count == 1 else several


def _did_best(study: Study, measure: Measure, table: pd.DataFrame, best: int) -> str:
    figure = f"test_{study.metric}"
    mean = text(table[figure][best], measure.unit)
    if len(table) == 1:
        return f"{study.level_name(study.levels[best])} had a mean test {measure.words} of {mean}"
    side = "highest" if measure.better == "higher" else "lowest"
    ties = [row for row in table.index if abs(table[figure][row] - table[figure][best]) < EQUAL]
    if len(ties) > 1:
        return f"{names(study, ties)} had the same {side} mean test {measure.words}, {mean}"
    return f"{study.level_name(study.levels[best])} had the {side} mean test {measure.words}, {mean}"


def _how_surely(study: Study, unit: Unit, cells: pd.Series) -> str:
    """The interval, over how many searches or seeds, and how many of them there should have been."""
    count = int(cells["searches"] if study.searches > 1 else cells["seeds"])
    n = f"n = {count} {units(study, count)}"
    lost = study.budget.seeds - int(cells["seeds"])
    less = f", {lost} of {study.budget.seeds} runs missing" if lost else ""
    found = ", as found by one search" if study.is_searched and study.searches == 1 else ""
    low, high = (cells[f"test_{study.metric}_{end}"] for end in ("low", "high"))
    if pd.notna(low):
        return f"{found} (95 % interval {reach(low, high, unit)}, {n}{less})."
    if count < FEWEST:
        return f"{found} ({n}{less}, too few for an interval or a test)."
    return f"{found} (no spread, {n}{less})."


def _of_the_best(study: Study, pairs: pd.DataFrame, best: int) -> pd.DataFrame:
    """The best's rows of the paired table: the `other` value, by how much the best is ahead, and the interval of it."""
    own = pairs[(pairs["first"] == best) | (pairs["second"] == best)]
    is_second = own["second"] == best
    sign = study.measure.sign() * is_second.map({True: 1, False: -1})
    ends = pd.DataFrame({"one": sign * own["low"], "two": sign * own["high"]})
    return own.assign(
        other=own["first"].where(is_second, own["second"]),
        ahead=sign * own["difference"],
        least=ends.min(axis=1),
        most=ends.max(axis=1),
        is_clear=own["p_holm"] < 1 - CONFIDENCE,
    )


def _clear(study: Study, unit: Unit, own: pd.DataFrame) -> list[str]:
    """From which values it is told apart, and by how much."""
    parts = []
    for cells in own[own["is_clear"]].to_dict("records"):
        small = study.matters is not None and cells["ahead"] < study.matters
        ends = interval(cells["least"], cells["most"], unit)
        aside = ", too small to matter" if small else ""
        parts.append(
            f"{study.in_words(study.levels[cells['other']])} (by {difference(cells['ahead'], unit)}, {ends}{aside})"
        )
    return [f"{_within(study, 'It')} is told apart from {_lead(study)}{_listed(parts)}."] if parts else []


def _unclear(study: Study, unit: Unit, best: int, own: pd.DataFrame) -> list[str]:
    """Which values it cannot be told from, and what difference would have been seen."""
    others = own[~own["is_clear"] & own["ahead"].notna()]
    if others.empty:
        return []
    said = [f"{_within(study, names(study, [best, *others['other']]))} cannot be told apart."]
    if study.matters is not None:
        same = others[(others["most"] < study.matters) & (others["least"] > -study.matters)]
        if len(same):
            limit = difference(study.matters, unit)
            said.append(f"Its difference from {names(study, same['other'])} is below the {limit} that matter.")
    if others["detectable"].notna().any():
        seen = difference(others["detectable"].max(), unit)
        said.append(f"A true difference of {seen} would have been seen in 80 % of such studies.")
    return said


def interaction(study: Study, effects: pd.DataFrame, unit: Unit) -> list[str]:
    """A sentence that says whether two compared keys can be seen to act on each other; none where nothing was measured.

    `effects` is the table of that name, `unit` that of its differences.
    """
    own, both = effects[effects["effect"] == "interaction"], " and ".join(study.axes)
    if own.empty:
        return []
    if own["p_holm"].isna().all():
        return [f"Whether {both} act on each other cannot be told."]
    cells = own.loc[own["p_holm"].idxmin()]
    if cells["p_holm"] >= 1 - CONFIDENCE:
        seen = difference(own["detectable"].max(), unit)
        return [f"No interaction of {both} can be seen; one of {seen} would have been seen in 80 % of such studies."]
    cell = named({key: cells[key] for key in study.axes})
    least, most = sorted(abs(cells[end]) for end in ("low", "high"))
    side = "above" if cells["difference"] > 0 else "below"
    return [
        f"{both} act on each other: the mean of {cell} lies {difference(abs(cells['difference']), unit)} "
        f"({interval(least, most, unit)}) {side} what the effects of both add up to."
    ]


def _unmeasured(study: Study, table: pd.DataFrame) -> list[str]:
    stopped = [row for row in table.index if study.is_stopped(study.levels[row])]
    missing = [row for row in table.index if not table["seeds"][row] and row not in stopped]
    said = [f"{names(study, missing)} {'has' if len(missing) == 1 else 'have'} no finished run."] if missing else []
    how = "was stopped by hand and is" if len(stopped) == 1 else "were stopped by hand and are"
    return [*said, f"{names(study, stopped)} {how} not compared."] if stopped else said


def names(study: Study, rows: Sequence[int]) -> str:
    """Compared values in a row: "depth 1, 2 and 3", of two keys each by its name."""
    return f"{_lead(study)}{_listed([study.in_words(study.levels[row]) for row in sorted(rows)])}"


def _within(study: Study, subject: str) -> str:
    """What a sentence about differences begins with: of two keys only cells that differ in one are compared."""
    return f"Within its row and column {subject[0].lower()}{subject[1:]}" if study.is_grid else subject


def _lead(study: Study) -> str:
    """What stands before values that do not name their keys themselves."""
    return "" if study.is_grid else f"{study.axis} "


def _listed(parts: Sequence[str]) -> str:
    """All of them, or the first and how many more."""
    if len(parts) > SIDE_BY_SIDE:
        parts = [*parts[:NAMED], f"{len(parts) - NAMED:,} others"]
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if parts[1:] else parts[0]


def verdict(cells: pd.Series, unit: Unit) -> str:
    """A row of the published table in words: whether what was published is what these runs would repeat; `unit` is
    that of its figure.
    """
    if not cells["n"]:
        return "not measured"
    by = difference(abs(cells["difference"]), unit)
    side = "higher" if cells["difference"] > 0 else "lower"
    if pd.isna(cells["predicted_low"]):
        return f"{side} by {by}; no interval"
    inside = cells["predicted_low"] <= cells["published"] <= cells["predicted_high"]
    return "as expected of a repetition" if inside else f"{side} by {by}"
