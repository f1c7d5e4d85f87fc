"""What follows from a study alone, and is told before anything is trained, and in its report."""

from collections.abc import Iterator

from harness.study.study import Study
from harness.study.variants import unequal_spaces

FEWEST = 3  # searches or seeds, below which nothing is said of their spread
FOLDS_TO_STOP = 5  # of a trial: four of four folds worse have p = 1/16, and Optuna's pruner stops below 0.1


def notes(study: Study) -> Iterator[str]:
    """What to know before believing whatever will be measured, sentence by sentence."""
    if study.dataset != study.written_for:
        yield f"Measured on {study.dataset}; the study was written for {study.written_for}."
    yield from unequal_spaces(study)
    if study.is_searched and study.searches == 1:
        yield (
            "Each value is searched once: what its winner owes to the luck of that search no interval knows, and "
            "differences are between the winners that were found; budget.searches = 5 tells."
        )
    units, what = (study.searches, "searches") if study.searches > 1 else (study.budget.seeds, "seeds")
    if units < FEWEST:
        only = f"one {what.removesuffix('es').removesuffix('s')}" if units == 1 else f"{units} {what}"
        yield f"With {only} there are no intervals and no tests: at least {FEWEST} are needed."
    yield from _of_the_pruner(study)
    splits = {study.config(level, {}).split for level in study.levels}
    if study.is_searched and study.seeding == "counted" and "pooled" in splits:
        yield (
            f"Test {study.things} are drawn anew by each seed, after the search: most of them were trained on or "
            "chosen by in the search, so test figures are too good. A study that begins anew holds them out first."
        )


def _of_the_pruner(study: Study) -> Iterator[str]:
    folds = study.search.folds * study.search.repeats
    if study.is_judged_by_folds and folds < FOLDS_TO_STOP:
        yield (
            f"The wilcoxon pruner compares trials by their {folds} folds, and finds none worse before its last "
            f"fold has ended, when there is nothing left to stop: it needs {FOLDS_TO_STOP} folds, repeats included."
        )
