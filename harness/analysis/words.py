"""Tables in, sentences out: the answer, and how a published figure compares with what was measured."""

from collections.abc import Sequence

import pandas as pd

from harness import catalogue
from harness.analysis.samples import CONFIDENCE
from harness.analysis.tables import best_row
from harness.catalogue import show
from harness.figures import difference, interval, text
from harness.study.study import Study


def answer(study: Study, table: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """One sentence: which compared value did best, how surely, and from which others it can be told apart.

    `table` and `pairs` are the compare table and the paired table.
    """
    best = best_row(study, table)
    if best is None:
        return "No answer yet: no confirmation run has finished."
    return f"{_did_best(study, table, best)}{_how_surely(study, table, best)}{_apart(study, pairs, best)}"


def _did_best(study: Study, table: pd.DataFrame, best: int) -> str:
    measure, name = study.measure, study.level_name(study.levels[best])
    mean = text(table[f"test_{study.metric}"][best], measure.unit)
    if len(table) == 1:
        return f"{name} had a mean test {measure.words} of {mean}"
    side = "highest" if measure.better == "higher" else "lowest"
    return f"{name} had the {side} mean test {measure.words}, {mean}"


def _how_surely(study: Study, table: pd.DataFrame, best: int) -> str:
    seeds, unit = int(table["seeds"][best]), study.measure.unit
    if seeds < 2:
        unsaid = "" if len(table) == 1 else ", so nothing can be said about the differences"
        return f" in a single run: one run has no spread{unsaid}."
    low, high = (table[f"test_{study.metric}_{end}"][best] for end in ("low", "high"))
    return f" (95 % interval {interval(low, high, unit)} {unit.symbol}, n = {seeds} seeds)."


def _apart(study: Study, pairs: pd.DataFrame, best: int) -> str:
    """From which values the best can be told apart, as Holm's p-values say."""
    own = pairs[(pairs["first"] == best) | (pairs["second"] == best)]
    others = own["first"].where(own["first"] != best, own["second"])
    are_clear = own["p_holm"] < 1 - CONFIDENCE
    clear, unclear = others[are_clear].tolist(), others[~are_clear].tolist()
    parts = []
    if clear:
        parts.append(f"it is told apart from {names(study, clear)}")
    if unclear:
        parts.append(f"{'not' if clear else 'it cannot be told apart'} from {names(study, unclear)}")
    return f" Seed by seed {', '.join(parts)}." if parts else ""


def names(study: Study, rows: Sequence[int]) -> str:
    """Compared values in a row: "depth 1, 2 and 3"."""
    shown = [show(study.levels[row]) for row in sorted(rows)]
    return f"{study.axis} " + (" and ".join([", ".join(shown[:-1]), shown[-1]]) if shown[1:] else shown[0])


def verdict(cells: pd.Series) -> str:
    """A row of the published table in words: where what was measured lies."""
    if not cells["n"]:
        return "not measured"
    by = difference(abs(cells["difference"]), catalogue.figure(cells["figure"]).unit)
    side = "higher" if cells["difference"] > 0 else "lower"
    if cells["n"] < 2:
        return f"{side} by {by}; one seed has no interval"
    return "inside the interval" if cells["low"] <= cells["published"] <= cells["high"] else f"{side} by {by}"
