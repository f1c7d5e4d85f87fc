"""What a reader must know before believing the tables, in words.

    flags(Seen(results, table, pairs, tuning, relevance, gaps))

How often each of them is false alarm is measured in tests/test_calibration.py.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.luck import noise_of_validation
from harness.analysis.results import Results, finished
from harness.analysis.samples import CONFIDENCE, EQUAL, Sample, outlier_p, spread_p
from harness.analysis.tables import best_row, class_table, matters, with_digits
from harness.analysis.units import mean_of, searched, spread_of, test_images
from harness.analysis.words import NAMED, names
from harness.catalogue import SHARE, Measure, is_number
from harness.figures import SIDE_BY_SIDE, difference, interval, share, text
from harness.study.notes import FEWEST, notes
from harness.study.space import Choice, Range
from harness.study.study import Study

EDGE = 0.02  # of a range, that counts as its end; with few trials more
OVERFIT = 0.02  # that values may differ in how far training is ahead of the test, of a share that is to be high
APART = 0.01  # that validation and test may be apart, of a share
RISE = 0.001  # of what half of a search's trials brought, that says nothing, where the noise floor is not known
RELATIVE_RISE = 0.01  # the same for a figure without a natural scale, as a share of it
RATIO = 3.0  # of two values' standard deviations
UNEQUAL = 0.2  # that values may differ in the share of their search trials that came to their end
LEARNED = 0.01  # an R2 below which nothing was
NATURAL = {"dropout": 0, "momentum": 0, "weight_decay": 0, "depth": 1}  # ends that nothing lies beyond

Cells = Mapping[str, Any]
"""A row of the compare table, by column."""


@dataclass(frozen=True)
class Seen:
    """What the flags are found in: results, and tables of `Findings` by their names there."""

    results: Results
    table: pd.DataFrame
    pairs: pd.DataFrame
    tuning: pd.DataFrame
    relevance: pd.DataFrame
    gaps: pd.DataFrame

    @property
    def study(self) -> Study:
        """What was asked."""
        return self.results.study

    @cached_property
    def measure(self) -> Measure:
        """What it selects by, in the unit of its table."""
        return with_digits(self.study, self.table)


def flags(seen: Seen) -> list[str]:
    """What to know, sentence by sentence."""
    kinds = (_of_the_search, _of_the_levels, _of_the_limit, _of_the_spread, _of_the_images, _still_rising, _at_the_edge)
    return [*notes(seen.study), *(note for kind in kinds for note in _not_too_many(seen.study, list(kind(seen))))]


def _not_too_many(study: Study, said: list[str]) -> list[str]:
    """Of many values the first notes of a kind, and how many more there are."""
    if len(study.levels) <= SIDE_BY_SIDE or len(said) <= SIDE_BY_SIDE:
        return said
    return [*said[:NAMED], f"{len(said) - NAMED:,} more notes of this kind, on other values."]


def _of_the_search(seen: Seen) -> Iterator[str]:
    """Whether all values had the same chances."""
    study, table = seen.study, seen.table
    compared = [bool(study.space(level)) and not study.is_stopped(level) for level in study.levels]
    trials = table["trials"][compared]
    if trials.nunique() > 1:
        yield (
            f"The budgets are not equal yet: {trials.min()} to {trials.max()} search trials; "
            "a value with more trials had more chances."
        )
    runs = searched(seen.results.runs)
    runs = runs[runs["level"].isin([row for row, is_compared in enumerate(compared) if is_compared])]
    done = runs.groupby("level")["status"].agg(lambda status: (status == "finished").mean())
    if len(done) > 1:
        most, least = int(done.idxmax()), int(done.idxmin())
        error = math.sqrt(sum(max(p * (1 - p), 0.01) / table["trials"][row] for row, p in done[[most, least]].items()))
        if done[most] - done[least] > max(UNEQUAL, 3 * error):
            yield (
                f"The chances were not equal: {share(done[most])} of the trials of {_name(study, most)} came to their "
                f"end, {share(done[least])} of those of {_name(study, least)}; only such a trial can win."
            )
    if study.is_searched and study.searches == 1:
        yield from _lucky(seen)


def _lucky(seen: Seen) -> Iterator[str]:
    """Whether the winner could as well have been another trial: told where one search decides."""
    noise = noise_of_validation(seen.results)
    rows = [row for row, close in noise.items() if close.within and close.within == close.searches]
    if rows:
        yield (
            f"{names(seen.study, rows)}: the second best trial's validation {seen.study.measure.words} lies within one "
            "standard error of the winner's; which of them won is luck."
        )


def _of_the_levels(seen: Seen) -> Iterator[str]:
    study, known = seen.study, list[tuple[int, str]]()
    for row, cells in enumerate(seen.table.to_dict("records")):
        if study.is_stopped(study.levels[row]):
            known.append((row, _stopped(study, row, cells)))
        else:
            known += [(row, note) for note in _of_a_level(study, row, cells, seen.results.by_level[row])]
    if len(study.levels) <= SIDE_BY_SIDE:
        yield from (f"{_name(study, row)}: {note}" for row, note in known)
    else:  # what is said of many is said once
        for note in dict.fromkeys(note for _, note in known):
            yield f"{names(study, [row for row, own in known if own == note])}: {note}"


def _stopped(study: Study, row: int, cells: Cells) -> str:
    """What a value had when somebody ended it."""
    planned = study.searches * study.trials if study.space(study.levels[row]) else 0
    trials = f"{cells['trials']}{'' if study.open_ended else f' of {planned}'} search trials and " if planned else ""
    return (
        f"was stopped by hand after {trials}{cells['seeds']} of {study.budget.seeds} confirmation runs. "
        "No fair comparison with it is claimed: answer, differences and their tests leave it out."
    )


def _of_a_level(study: Study, row: int, cells: Cells, runs: pd.DataFrame) -> Iterator[str]:
    is_searched = bool(study.space(study.levels[row]))
    planned = study.searches * study.trials
    if study.open_ended and is_searched:
        yield f"{cells['trials']} search trials so far; its {study.budget.minutes:g} minutes are not known to be spent."
    elif is_searched and cells["trials"] < planned:
        yield f"{cells['trials']} of {planned} search trials done."
    yield from _bounded(study, cells)
    for stage, what in (("search", "search trials"), ("confirm", "confirmation runs")):
        own = runs[runs["stage"] == stage]
        yield from _failures(own, what)
        yield from _repeats(own, what)
    yield from _far_from_validation(study, cells)
    if cells["seeds"] < study.budget.seeds:
        yield f"{cells['seeds']} of {study.budget.seeds} confirmation runs finished."


def _bounded(study: Study, cells: Cells) -> Iterator[str]:
    """Whether the constraint left little to search."""
    proposals = cells.get("infeasible", 0) + cells["trials"]
    if study.constraint.parameters is not None and cells.get("infeasible", 0) > proposals / 2:
        yield (
            f"{cells['infeasible']} of {proposals} proposals do not have {study.constraint.parameters.words()} "
            "weights; its best networks may lie outside."
        )


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


def _of_the_limit(seen: Seen) -> Iterator[str]:
    """Whether most trainings were still getting better when the limit of epochs ended them: confirmations, and winners
    where confirmations take the epochs that these were at their best at.
    """
    study = seen.study
    going = [row for row, level in enumerate(study.levels) if not study.is_stopped(level)]
    runs = {row: seen.results.by_level[row] for row in going}
    confirmed = {row: finished(own) for row, own in runs.items()}
    validated = {row: own[own["validation"] > 0] for row, own in confirmed.items()}
    yield from _at_limit(study, validated, "confirmation runs", "ended them")
    if study.is_searched and study.search.refit == "all":
        winners = {row: own[(own["stage"] == "search") & own["winner"]] for row, own in runs.items()}
        yield from _at_limit(study, winners, "winners", "ended their trainings, and were confirmed with as many")


def _at_limit(study: Study, runs: Mapping[int, pd.DataFrame], what: str, then: str) -> Iterator[str]:
    """The same of some runs of each level, said once for all levels of one limit."""
    cut: dict[int, dict[int, tuple[int, int]]] = {}  # how many of how many, by limit and level
    for row, own in runs.items():
        at_limit = int((own["best_epoch"] >= own["epochs"]).sum())
        if at_limit > len(own) / 2:
            cut.setdefault(int(own["epochs"].iloc[0]), {})[row] = at_limit, len(own)
    for limit, known in cut.items():
        some, all_of_them = (sum(counts) for counts in zip(*known.values(), strict=True))
        who = names(study, list(known)) if len(known) > 1 else _name(study, next(iter(known)))
        yield (
            f"{who}: {some} of {all_of_them} {what} were at their best when the limit of {limit} epochs {then}; "
            "more epochs may change the comparison."
        )


def _far_from_validation(study: Study, cells: Cells) -> Iterator[str]:
    """Whether the test rows are of another kind than those that were held out."""
    measure, gap = study.measure, cells[f"val_{study.metric}"] - cells[f"test_{study.metric}"]
    if abs(gap) > max(APART, 4 * cells["noise_floor"]) and pd.notna(cells["noise_floor"]):
        yield (
            f"{measure.words} is {text(cells[f'val_{study.metric}'], SHARE)} on validation {study.things} and "
            f"{text(cells[f'test_{study.metric}'], SHARE)} on test {study.things}, more than chance explains: they "
            "are not of one kind, or one of them has leaked."
        )


def _of_the_spread(seen: Seen) -> Iterator[str]:
    """What the intervals rest on, and whether it is sound."""
    study, name = seen.study, f"test_{seen.study.metric}"
    runs = {row: np.concatenate([*spread_of(seen.results, row, name), []]) for row in range(len(study.levels))}
    yield from _without_spread(seen, runs)
    yield from _unequal_spreads(seen, runs)
    for row, sample in runs.items():
        if len(sample) > FEWEST and outlier_p(sample) * len(runs) < 1 - CONFIDENCE:
            odd = sample[np.abs(sample - sample.mean()).argmax()]
            yield (
                f"{_name(study, row)}: one of {len(sample)} confirmation runs measured "
                f"{text(float(odd), seen.measure.unit)}, far from all others; the mean and its interval are not what "
                "most runs do."
            )
    yield from _unequal_overfitting(seen)


def _without_spread(seen: Seen, runs: Mapping[int, Sample]) -> Iterator[str]:
    study = seen.study
    nothing = [row for row, sample in runs.items() if len(sample) and learned_nothing(seen.results, row)]
    if nothing:
        no_better = "guessing the class" if study.task == "classification" else "the mean of what is to be learned"
        yield f"{names(study, nothing)}: nothing was learned; the runs are no better than {no_better}."
    others = {row: sample for row, sample in runs.items() if row not in nothing}
    equal = [row for row, sample in others.items() if len(sample) >= FEWEST and np.ptp(sample) < EQUAL]
    if equal:
        yield f"{names(study, equal)}: all runs measured the same; the test {study.things} are too few or too easy."
    elif ceiling := [row for row, sample in others.items() if len(sample) and _at_the_ceiling(seen, row, sample)]:
        thing = study.things.removesuffix("s")
        yield f"{names(study, ceiling)}: within one {thing} of perfect; there is nothing left to be better in."


def learned_nothing(results: Results, row: int) -> bool:
    """Whether a level's runs stay at chance: an R2 of about 0 or below; an area under the ROC curve of a half, where
    that is the metric; else a recall whose mean over the classes is that of guessing, but for two standard errors.
    """
    if results.study.task == "regression":
        return mean_of(results, row, "test_r2") < LEARNED
    table = class_table(results, row)
    if table.empty:
        return False
    sizes = table.groupby("true")["count"].sum()
    sizes = sizes[sizes > 0] / sum(level == row for level, _, _ in results.confusions)
    if results.study.metric == "auc":
        return mean_of(results, row, "test_auc") < 0.5 + 2 * _error_of_guessed_auc(sizes)
    recalls, chance = table.loc[table["true"] == table["predicted"], "share"].sum() / len(sizes), 1 / len(sizes)
    error = math.sqrt(chance * (1 - chance) * float((1 / sizes).sum())) / len(sizes)
    return len(sizes) > 1 and bool(recalls < chance + 2 * error)


def _error_of_guessed_auc(sizes: "pd.Series[float]") -> float:
    """The standard error of an area under the ROC curve where shares tell nothing, by the rank sum's (Mann and Whitney,
    1947); of several classes the root of the mean of their squares, which is no less than that of their mean.
    """
    others = sizes.sum() - sizes
    return math.sqrt(float(((sizes.sum() + 1) / (12 * sizes * others)).mean()))


def _at_the_ceiling(seen: Seen, row: int, sample: Sample) -> bool:
    measure, images = seen.study.measure, test_images(seen.results, row)
    return measure.binomial and images > 0 and bool(sample.mean() > 1 - 1 / images)


def _unequal_spreads(seen: Seen, runs: Mapping[int, Sample]) -> Iterator[str]:
    study = seen.study
    known = {row: sample for row, sample in runs.items() if len(sample) >= FEWEST}
    pairs, comparisons = list(combinations(known, 2)), len(known) * (len(known) - 1) // 2
    if len(known) > SIDE_BY_SIDE:  # of many the two that are farthest apart
        ranked = sorted(known, key=lambda row: float(known[row].var(ddof=1)))
        pairs = [(ranked[0], ranked[-1])]
    worst = min(pairs, key=lambda pair: np.nan_to_num(spread_p(known[pair[0]], known[pair[1]]), nan=1.0), default=None)
    if worst is None:
        return
    less, more = sorted(worst, key=lambda row: float(known[row].std(ddof=1)))
    spreads = [float(known[row].std(ddof=1)) for row in (less, more)]
    if spread_p(known[less], known[more]) * comparisons < 1 - CONFIDENCE and spreads[1] > RATIO * spreads[0]:
        one, two = (difference(spread, seen.measure.unit) for spread in spreads)
        yield (
            f"Runs of {_name(study, more)} spread {spreads[1] / spreads[0]:.1f} times as much as those of "
            f"{_name(study, less)} (standard deviations {two} and {one}): it is the less reliable one."
        )


def _unequal_overfitting(seen: Seen) -> Iterator[str]:
    """Whether training is farther ahead of the test for some values: part of their difference may be that."""
    study, measure = seen.study, seen.study.measure
    gaps = seen.gaps.set_index("level")[f"{study.metric}_gap"].dropna()
    if measure.unit is not SHARE or measure.better != "higher" or len(gaps) < 2:
        return
    most, least = int(gaps.idxmax()), int(gaps.idxmin())
    if gaps[most] - gaps[least] > max(OVERFIT, 3 * np.nan_to_num(seen.table["noise_floor"].max())):
        yield (
            f"Training is ahead of the test by {difference(gaps[most], SHARE, digits=1)} for {_name(study, most)}, by "
            f"{difference(gaps[least], SHARE, digits=1)} for {_name(study, least)}: they do not overfit alike, and "
            "more data or regularisation may change the comparison."
        )


def _of_the_images(seen: Seen) -> Iterator[str]:
    """What the test images leave open: differences that hold on these alone, and other studies that have read them."""
    study, measure, best = seen.study, seen.measure, best_row(seen.study, seen.table)
    for cells in seen.pairs.to_dict("records"):
        is_clear = cells["p_holm"] < 1 - CONFIDENCE
        if (
            best is not None
            and is_clear
            and best in (cells["first"], cells["second"])
            and cells["new_low"] <= 0 <= cells["new_high"]
        ):
            yield (
                f"{names(study, [cells['first'], cells['second']])} are told apart on these "
                f"{test_images(seen.results, best):,} test {study.things}; on new ones of their kind the difference "
                f"would be {interval(cells['new_low'], cells['new_high'], measure.unit, '+')} {measure.unit.gap}."
            )
    others = seen.results.others
    if others:
        yield (
            f"The same test {study.things} were read by {len(others)} other "
            f"{'study' if len(others) == 1 else 'studies'} of this folder "
            f"({', '.join(others[:5])}{', ...' if len(others) > 5 else ''}): the best of several is better "
            "by luck alone."
        )


def _at_the_edge(seen: Seen) -> Iterator[str]:
    """Which winners' hyperparameters lie at an end of their range, where something better might lie beyond."""
    study, found = seen.study, dict[tuple[str, str], list[int]]()
    relevant = seen.relevance[seen.relevance["matters"]]
    for row in range(len(study.levels)):
        runs = seen.results.runs
        winners = runs[(runs["level"] == row) & (runs["stage"] == "search") & runs["winner"]]
        for key in relevant.loc[relevant["level"] == row, "hyperparameter"]:
            for side in _sides(study, row, winners, key):
                found.setdefault((key, side), []).append(row)
    for (key, side), rows in found.items():
        yield (
            f"{names(study, rows)}: {key} makes a difference, and the winners lie at the {side} end of what was "
            "searched; something better may lie beyond."
        )


def _sides(study: Study, row: int, winners: pd.DataFrame, key: str) -> Iterator[str]:
    """At which end of its domain a hyperparameter of most winners of a level lies."""
    domain = study.space(study.levels[row])[key]
    values = winners.loc[matters(study, winners, key, domain), key].tolist()
    trials = study.searches * study.trials
    for side in ("lower", "upper"):
        at_end = sum(_edge(domain, value, max(EDGE, 2 / trials)) == side for value in values)
        natural = side == "lower" and key in NATURAL and _lowest(domain) == NATURAL[key]
        if at_end > len(winners) / 2 and not natural:
            yield side


def _lowest(domain: Choice | Range) -> object:
    return min(domain.values, key=str) if isinstance(domain, Choice) else domain.low


def _edge(domain: Choice | Range, value: float, margin: float) -> str | None:
    """At which end of its domain a value lies, "lower" or "upper", if at one."""
    return _edge_of_choice(domain, value) if isinstance(domain, Choice) else _edge_of_range(domain, value, margin)


def _edge_of_choice(domain: Choice, value: float) -> str | None:
    """Several numbers to choose from have ends."""
    numbers = [one for one in domain.values if is_number(one)]
    if len(numbers) < max(2, len(domain.values)):
        return None
    return "lower" if value == min(numbers) else "upper" if value == max(numbers) else None


def _edge_of_range(domain: Range, value: float, margin: float) -> str | None:
    if domain.low == domain.high:
        return None
    low, high, at = (math.log(x) if domain.log else x for x in (domain.low, domain.high, value))
    way = (at - low) / (high - low)
    return "lower" if way <= margin else "upper" if way >= 1 - margin else None


def _still_rising(seen: Seen) -> Iterator[str]:
    """Levels for which the second half of a search's budget still brought more than matters, in the mean.

    By the expected best of k trials, which does not depend on when the best one came.
    """
    study, measure, rises, trials = seen.study, seen.measure, dict[int, float](), 0
    for row, curve in seen.tuning.groupby("level"):
        expected = curve["expected"].to_numpy(float)
        rise = measure.sign() * (expected[-1] - expected[max(0, len(expected) // 2 - 1)])
        if len(expected) >= 4 and rise > _unimportant(study, seen.table["noise_floor"][row], expected[-1]):
            rises[int(row)], trials = rise, max(trials, len(expected))
    if rises:
        least, most = (difference(rise, measure.unit) for rise in (min(rises.values()), max(rises.values())))
        brought = least if least == most else f"{least.split()[0]} to {most}"
        yield (
            f"{names(study, list(rises))}: the second half of a search's {trials} trials brought {brought} of "
            f"validation {measure.words}; a larger budget may bring as much again."
        )


def _unimportant(study: Study, floor: float, best: float) -> float:
    """How much better need not concern the reader."""
    if study.matters is not None:
        return study.matters
    if study.measure.unit.relative:
        return RELATIVE_RISE * abs(best)
    return floor if floor > 0 else RISE


def _name(study: Study, row: int) -> str:
    return study.level_name(study.levels[row])
