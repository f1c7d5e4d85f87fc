"""Tables in, sentences out: the answer, the verdicts, and what a reader must know before believing them."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from harness.analysis.results import Results
from harness.analysis.samples import CONFIDENCE, smallest_sample
from harness.analysis.search import searched, tuning_table
from harness.analysis.tables import finished, matters
from harness.catalogue import show
from harness.study.space import Choice, Range
from harness.study.study import Study

EDGE = 0.02  # of a range, that counts as its end
OVERFIT = 0.02  # accuracy that training may be ahead of the test
NATURAL = {"dropout": 0, "momentum": 0, "weight_decay": 0, "depth": 1}  # ends that nothing lies beyond


def answer(results: Results, table: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """One sentence: which compared value did best, how surely, and from which others it can be told apart.

    `table` and `pairs` are the compare table and the paired table.
    """
    study = results.study
    if table["test_accuracy"].isna().all():
        return "No answer yet: no confirmation run has finished."
    best = int(table["test_accuracy"].idxmax())
    row = table.iloc[best]
    if len(table) == 1:
        text = f"{study.level_name(study.levels[best])} had a mean test accuracy of {_percent(row['test_accuracy'])}"
    else:
        text = (
            f"{study.level_name(study.levels[best])} had the highest mean test accuracy, "
            f"{_percent(row['test_accuracy'])}"
        )
    if row["seeds"] < 2:
        said = "" if len(table) == 1 else ", so nothing can be said about the differences"
        return f"{text} in a single run: one run has no spread{said}."
    text += f" (95 % interval {100 * row['test_accuracy_low']:.2f} to {_percent(row['test_accuracy_high'])}"
    text += f", n = {int(row['seeds'])} seeds)."
    pairs = pairs[(pairs["first"] == best) | (pairs["second"] == best)]
    other = [int(r["second"] if r["first"] == best else r["first"]) for _, r in pairs.iterrows()]
    clear = [o for o, p in zip(other, pairs["p_holm"], strict=True) if p < 1 - CONFIDENCE]
    unclear = [o for o in other if o not in clear]
    parts = []
    if clear:
        parts.append(f"it is told apart from {_names(results, clear)}")
    if unclear:
        parts.append(f"{'not' if clear else 'it cannot be told apart'} from {_names(results, unclear)}")
    return f"{text} Seed by seed {', '.join(parts)}." if parts else text


def verdict(row: pd.Series) -> str:
    """A row of the published table in words: where the published figure lies."""
    if not row["n"]:
        return "not measured"
    by = difference_in_words(row["figure"], abs(row["difference"]))
    side = "higher" if row["difference"] > 0 else "lower"
    if row["n"] < 2:
        return f"{side} by {by}; one seed has no interval"
    return "inside the interval" if row["low"] <= row["published"] <= row["high"] else f"{side} by {by}"


def difference_in_words(name: str, difference: float) -> str:
    """A difference of two figures of that name, with its unit."""
    if name.endswith("accuracy"):
        return f"{100 * difference:.2f} points"
    if name.endswith("loss"):
        return f"{difference:.4f} nats"
    return f"{difference:.1f} {'s' if name == 'seconds' else 'epochs'}"


def flags(results: Results, table: pd.DataFrame) -> list[str]:
    """What to know before believing the compare table `table`, in words."""
    study = results.study
    notes = list(_of_the_whole(results, table))
    for row in table.itertuples():
        level = results.runs[results.runs["level"] == row.Index]
        name = study.level_name(study.levels[row.Index])
        notes += [f"{name}: {note}" for note in _of_a_level(study, row, level)]
    notes += [f"{study.level_name(study.levels[place])}: {note}" for place, note in _still_rising(results, table)]
    return notes + list(_at_the_edge(results))


def _of_the_whole(results: Results, table: pd.DataFrame) -> Iterator[str]:
    study = results.study
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


def _of_a_level(study: Study, row: Any, level: pd.DataFrame) -> Iterator[str]:
    if study.tune and row.trials < study.budget.trials:
        yield f"{row.trials} of {study.budget.trials} search trials done."
    for stage, what in (("search", "search trials"), ("confirm", "confirmation runs")):
        yield from _failures(level[level["stage"] == stage], what)
    confirmed = finished(level)
    yield from _cut_short(confirmed)
    if row.train_accuracy - row.test_accuracy > OVERFIT:
        yield (
            f"training accuracy {_percent(row.train_accuracy)} against {_percent(row.test_accuracy)} on the test set: "
            f"it overfits by {100 * (row.train_accuracy - row.test_accuracy):.1f} points."
        )
    if row.seeds < study.budget.seeds:
        yield f"{row.seeds} of {study.budget.seeds} confirmation runs finished."


def _failures(runs: pd.DataFrame, what: str) -> Iterator[str]:
    """How many failed or diverged, and why the first of them did: the last line of its traceback."""
    failed = runs[runs["status"].isin(["failed", "diverged"])]
    if len(failed):
        why = str(failed["reason"].iloc[0]).splitlines()[-1]
        share = f"{len(failed)} of {len(runs)} {what} ({100 * len(failed) / len(runs):.0f} %)"
        yield f"{share} failed or diverged, the first with: {why}"
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


def _at_the_edge(results: Results) -> Iterator[str]:
    """Which winners' hyperparameters lie at an end of their range, where something better might lie beyond."""
    study, found = results.study, dict[tuple[str, str, str], list[int]]()
    for place in range(len(study.levels)):
        winner = results.runs[(results.runs["level"] == place) & results.runs["winner"].astype(bool)].head(1)
        for _, row in winner.iterrows():
            for key, domain in study.tune.items():
                side = _edge(domain, row[key]) if matters(study, row, key) else None
                if side and not (side == "lower" and NATURAL.get(key) == row[key]):
                    found.setdefault((key, side, show(row[key])), []).append(place)
    for (key, side, value), places in found.items():
        whose = "winner's" if len(places) == 1 else "winners'"
        yield (
            f"{_names(results, places)}: the {whose} {key} = {value} lies at the {side} end of what was searched; "
            "something better may lie beyond."
        )


def _edge(domain: Choice | Range, value: float) -> str | None:
    """ "lower" or "upper", for a range or for three numbers or more to choose from."""
    if isinstance(domain, Choice):
        numbers = [one for one in domain.values if isinstance(one, int | float)]
        if len(numbers) < max(3, len(domain.values)):
            return None
        return "lower" if value == min(numbers) else "upper" if value == max(numbers) else None
    if domain.low == domain.high:
        return None
    low, high, place = (math.log(x) if domain.log else x for x in (domain.low, domain.high, value))
    share = (place - low) / (high - low)
    return "lower" if share <= EDGE else "upper" if share >= 1 - EDGE else None


def _still_rising(results: Results, table: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """Levels whose best trial was found in the search's last quarter, and was better by more than the noise."""
    curves = tuning_table(results) if len(searched(results)) else pd.DataFrame(columns=["level"])
    for place, curve in curves.groupby("level"):
        best = curve["best"].to_numpy()
        rise = best[-1] - best[math.ceil(0.75 * len(best)) - 1]
        floor = table["noise_floor"].iloc[place]
        if len(best) >= 4 and rise > (floor if floor > 0 else 0.001):
            yield (
                int(place),
                f"its best trial was still rising at the end of the search, by {100 * rise:.2f} points in the last "
                f"quarter of {len(best)} trials; a larger budget may find better.",
            )


def _names(results: Results, places: Sequence[int]) -> str:
    names = [show(results.study.levels[place]) for place in sorted(places)]
    return f"{results.study.axis} " + (" and ".join([", ".join(names[:-1]), names[-1]]) if names[1:] else names[0])


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
