"""What a reader must know before believing the tables, in words."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from harness.analysis.results import Results
from harness.analysis.samples import smallest_sample
from harness.analysis.tables import finished, matters
from harness.analysis.words import names
from harness.catalogue import SHARE, Measure, show
from harness.figures import difference, share, text
from harness.study.space import Choice, Range
from harness.study.study import Study

EDGE = 0.02  # of a range, that counts as its end
OVERFIT = 0.02  # that training may be ahead of the test, of a share that is to be high
RISE = 0.001  # of a search's last quarter, that says nothing, where the noise floor is not known
RELATIVE_RISE = 0.01  # the same for a figure without a natural scale, as a share of it
NATURAL = {"dropout": 0, "momentum": 0, "weight_decay": 0, "depth": 1}  # ends that nothing lies beyond

Cells = Mapping[str, Any]
"""A row of the compare table, by column."""


def flags(results: Results, table: pd.DataFrame, tuning: pd.DataFrame) -> list[str]:
    """What to know, sentence by sentence. `table` and `tuning` are the compare table and the tuning table."""
    study = results.study
    return [
        *_of_the_whole(study, table),
        *_of_the_levels(results, table),
        *_still_rising(study, table, tuning),
        *_at_the_edge(results),
    ]


def _of_the_whole(study: Study, table: pd.DataFrame) -> Iterator[str]:
    if study.dataset != study.written_for:
        yield f"Measured on {study.dataset}; the study was written for {study.written_for}."
    if table["trials"].nunique() > 1:
        yield (
            f"The budgets are not equal yet: {table['trials'].min()} to {table['trials'].max()} search trials; "
            "a value with more trials had more chances."
        )
    seeds, comparisons = int(table["seeds"].min()), math.comb(len(table), 2)
    if comparisons and seeds and seeds < (needed := smallest_sample(comparisons)):
        one = "one comparison" if comparisons == 1 else f"{comparisons} comparisons"
        yield (
            f"{seeds} {'seed' if seeds == 1 else 'seeds'} can never make a difference significant: "
            f"at least {needed} are needed for {one}."
        )


def _of_the_levels(results: Results, table: pd.DataFrame) -> Iterator[str]:
    study = results.study
    for row, cells in enumerate(table.to_dict("records")):
        runs = results.runs[results.runs["level"] == row]
        name = study.level_name(study.levels[row])
        yield from (f"{name}: {note}" for note in _of_a_level(study, cells, runs))


def _of_a_level(study: Study, cells: Cells, runs: pd.DataFrame) -> Iterator[str]:
    if study.tune and cells["trials"] < study.budget.trials:
        yield f"{cells['trials']} of {study.budget.trials} search trials done."
    for stage, what in (("search", "search trials"), ("confirm", "confirmation runs")):
        own = runs[runs["stage"] == stage]
        yield from _failures(own, what)
        yield from _repeats(own, what)
    yield from _cut_short(finished(runs))
    yield from _overfit(study, cells)
    if cells["seeds"] < study.budget.seeds:
        yield f"{cells['seeds']} of {study.budget.seeds} confirmation runs finished."


def _failures(runs: pd.DataFrame, what: str) -> Iterator[str]:
    """How many failed or diverged, and why the first of them did: the last line of its traceback."""
    failed = runs[runs["status"].isin(["failed", "diverged"])]
    if len(failed):
        why = str(failed["reason"].iloc[0]).splitlines()[-1]
        how_many = f"{len(failed)} of {len(runs)} {what} ({share(len(failed) / len(runs))})"
        yield f"{how_many} failed or diverged, the first with: {why}"


def _repeats(runs: pd.DataFrame, what: str) -> Iterator[str]:
    repeated = runs[runs["retries"] > 0]
    if len(repeated):
        yield (
            f"{len(repeated)} of {len(runs)} {what} were trained again because a worker process was lost, "
            f"at most {int(repeated['retries'].max())} times each; that changes no figure."
        )


def _cut_short(confirmed: pd.DataFrame) -> Iterator[str]:
    """Whether most confirmation runs were still getting better when the epoch limit ended them."""
    best_at_limit = (confirmed["best_epoch"] == confirmed["epochs"]) & (confirmed["validation"] > 0)
    if best_at_limit.sum() > len(confirmed) / 2:
        yield (
            f"{best_at_limit.sum()} of {len(confirmed)} confirmation runs were at their best when the limit of "
            f"{confirmed['epochs'].iloc[0]} epochs ended them; more epochs may change the comparison."
        )


def _overfit(study: Study, cells: Cells) -> Iterator[str]:
    """Whether training is far ahead of the test: of shares that are to be high, since 0.02 of a loss may be nothing."""
    measure = study.measure
    train, test = cells[f"train_{study.metric}"], cells[f"test_{study.metric}"]
    if measure.unit is SHARE and measure.better == "higher" and train - test > OVERFIT:
        yield (
            f"training {measure.words} {text(train, SHARE)} against {text(test, SHARE)} on the test set: "
            f"it overfits by {difference(train - test, SHARE, digits=1)}."
        )


def _at_the_edge(results: Results) -> Iterator[str]:
    """Which winners' hyperparameters lie at an end of their range, where something better might lie beyond."""
    study, found = results.study, dict[tuple[str, str, str], list[int]]()
    for row in range(len(study.levels)):
        for edge in _edges(study, results.runs[(results.runs["level"] == row) & results.runs["winner"]]):
            found.setdefault(edge, []).append(row)
    for (key, side, value), rows in found.items():
        whose = "winner's" if len(rows) == 1 else "winners'"
        yield (
            f"{names(study, rows)}: the {whose} {key} = {value} lies at the {side} end of what was searched; "
            "something better may lie beyond."
        )


def _edges(study: Study, winners: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Key, end and value of the winner's hyperparameters that lie at one."""
    if winners.empty:
        return
    winner = winners.iloc[0]
    for key, domain in study.tune.items():
        side = _edge(domain, winner[key]) if matters(study, winner, key) else None
        if side and not (side == "lower" and NATURAL.get(key) == winner[key]):
            yield key, side, show(winner[key])


def _edge(domain: Choice | Range, value: float) -> str | None:
    """At which end of its domain a value lies, "lower" or "upper", if at one."""
    return _edge_of_choice(domain, value) if isinstance(domain, Choice) else _edge_of_range(domain, value)


def _edge_of_choice(domain: Choice, value: float) -> str | None:
    """Three numbers or more to choose from have ends."""
    numbers = [one for one in domain.values if isinstance(one, int | float)]
    if len(numbers) < max(3, len(domain.values)):
        return None
    return "lower" if value == min(numbers) else "upper" if value == max(numbers) else None


def _edge_of_range(domain: Range, value: float) -> str | None:
    if domain.low == domain.high:
        return None
    low, high, at = (math.log(x) if domain.log else x for x in (domain.low, domain.high, value))
    way = (at - low) / (high - low)
    return "lower" if way <= EDGE else "upper" if way >= 1 - EDGE else None


def _still_rising(study: Study, table: pd.DataFrame, tuning: pd.DataFrame) -> Iterator[str]:
    """Levels whose best trial was found in the search's last quarter, and was better by more than the noise."""
    measure = study.measure
    verb = "rising" if measure.better == "higher" else "falling"
    for row, curve in tuning.groupby("level"):
        best = curve["best"].to_numpy(float)
        rise = measure.sign() * (best[-1] - best[math.ceil(0.75 * len(best)) - 1])
        if len(best) >= 4 and rise > _noise(measure, table["noise_floor"][row], best[-1]):
            yield (
                f"{study.level_name(study.levels[int(row)])}: its best trial was still {verb} at the end of the "
                f"search, by {difference(rise, measure.unit)} in the last quarter of {len(best)} trials; a larger "
                "budget may find better."
            )


def _noise(measure: Measure, floor: float, best: float) -> float:
    """How much better may be luck."""
    if measure.unit.relative:
        return RELATIVE_RISE * abs(best)
    return floor if floor > 0 else RISE
