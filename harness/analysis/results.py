"""The journal as tables: what the report is made of."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness import catalogue
from harness.catalogue import hyperparameters
from harness.journal.file import same_images
from harness.journal.left import Timing
from harness.journal.records import Record, Records
from harness.study.study import Study
from harness.trial import Example, Outcome, unpack, unpack_classes

OF_OUTCOMES = ("reason", "started", "ended", "seconds", "parameters", "best_epoch", "retries")
PLACED = ("level", "search", "stage", "number", "seed", "given", "winner")
WORDS = ("stage", "status", "reason", "given")  # columns that hold no numbers

Numbers = tuple[tuple[float, ...], tuple[float, ...]]
"""Of a target what was true of test rows, and what a model said."""

Run = tuple[int, int, int]
"""A run of a stage: the row of its level, its search, its number."""


@dataclass(frozen=True)
class Results:
    """Everything that a journal knows of its study.

    `runs` has a row per trial: `level` (its row in `study.levels`), `search`, `stage`, `number`, `seed`, `status`
    ("waiting" while there is no outcome), `given` ("defaults" of a trial that is those), `winner` (a trial that its
    search chose, or a confirmation of that choice; an earlier choice's confirmations are left out), hyperparameters
    (`epochs` is the limit), what its Outcome says, and a column for each figure that any of them has, NaN where it was
    not measured (`trained_epochs` is how many it took, `running_train_loss` the loss over the batches of the kept
    epoch). Of folds figures are means; `fold0_val_m` and `fold0_best_epoch` are those of the first, where m is the
    study's measure. Ablations are in `steps` alone.
    `epochs` has a row per epoch of a trial: `level`, `search`, `stage`, `number`, `epoch` and its figures.
    `confusions` holds the confusion counts of confirmation runs by (level, search, number), `hits` which test images
    each put into their class (N,), by the same, where the journal has that, and `misses` the classes into which it put
    the others, in order; `examples` the test images that
    each level's first one kept, `predictions` what of a regression it kept, target by target.
    `importances` has each level's hyperparameters with their share of the variation in
    the validation figure (PED-ANOVA, Optuna's own), where enough trials have finished. `links` are addresses of MLflow
    runs, by what they are: the study's label, and the levels' names. `others` are the studies beside this one that have
    read the same test images, by their folders. `infeasible` holds the numbers of weights of the proposals that
    were not trained for the study's constraint, by level.
    `steps` has a row for each training between the defaults and a winner, those that are the winner's own among them:
    `level`, `search`, `number`, `step` (0 for the defaults), `hyperparameter` (which has the winner's value from that
    step on), `value` (that value), `figure` (the study's measure on test images), and `changed` (whether
    the step trained anything else than the one before).
    """

    study: Study
    environment: Mapping[str, Any]
    runs: pd.DataFrame
    epochs: pd.DataFrame
    confusions: Mapping[Run, tuple[tuple[int, ...], ...]]
    hits: Mapping[Run, NDArray[np.bool_]]
    examples: Mapping[int, tuple[Example, ...]]
    predictions: Mapping[int, tuple[Numbers, ...]]
    importances: Mapping[int, Mapping[str, float]]
    links: Mapping[str, str]
    others: tuple[str, ...] = ()
    steps: pd.DataFrame = field(default_factory=pd.DataFrame)
    infeasible: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    misses: Mapping[Run, NDArray[np.int64]] = field(default_factory=dict)
    timing: Timing | None = None
    seen: dict[tuple[int, str, int], pd.Series] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What `units.by_unit` has found: every figure of every level is asked for many times."""
    seen_after: dict[int, Mapping[int, pd.DataFrame]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What `after` has found: it is asked level by level, and goes through the epochs of all."""

    @cached_property
    def by_level(self) -> Mapping[int, pd.DataFrame]:
        """`runs` level by level."""
        nothing = dict.fromkeys(range(len(self.study.levels)), self.runs.iloc[:0])
        return {**nothing, **{int(row): own for row, own in self.runs.groupby("level")}}

    @cached_property
    def confirmed(self) -> Mapping[int, pd.DataFrame]:
        """The confirmation runs that came to their end, by level, each numbered by its `search` and `number`."""
        runs = finished(self.runs).set_index(["search", "number"])
        return {int(row): own for row, own in runs.groupby("level")}

    def after(self, epoch: int) -> Mapping[int, pd.DataFrame]:
        """The figures that `confirmed` runs had after an epoch, of those that took it, in the same form."""
        if epoch not in self.seen_after:
            self.seen_after[epoch] = self._after(epoch)
        return self.seen_after[epoch]

    def _after(self, epoch: int) -> Mapping[int, pd.DataFrame]:
        if self.epochs.empty:
            return {}
        own = self.epochs[(self.epochs["stage"] == "confirm") & (self.epochs["epoch"] == epoch)]
        own = own.merge(finished(self.runs)[["level", "search", "number"]])  # what diverged has none
        return {int(row): one.set_index(["search", "number"]) for row, one in own.groupby("level")}


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The confirmation runs that came to their end, in order of their seeds."""
    return runs[(runs["stage"] == "confirm") & (runs["status"] == "finished")].sort_values(
        ["level", "search", "number"]
    )


def read_results(journal: Path) -> Results:
    """Read a journal, also while a driver writes it. Raises UserError when there is none."""
    return tabulate(Records(journal), same_images(journal))


def tabulate(records: Records, others: tuple[str, ...] = ()) -> Results:
    """What the reader of a journal found, as tables; `others` are studies that have read the same test images."""
    study = records.study
    current = [record for record in _ordered(records) if record.current]
    done = [(record, record.outcome) for record in current if record.outcome is not None]
    tested = {_run_of(study, record): outcome for record, outcome in done if record.trial.is_tested}
    row_of = {level: row for row, level in enumerate(study.levels)}
    return Results(
        study=study,
        environment=records.environment,
        runs=_runs(records, current),
        epochs=pd.DataFrame([line for record, outcome in done for line in _epochs(study, record, outcome)]),
        confusions={run: outcome.confusion for run, outcome in tested.items() if outcome.confusion is not None},
        hits={run: unpack(outcome.hits) for run, outcome in tested.items() if outcome.hits},
        examples=_of_levels(tested, "examples"),
        predictions=_of_levels(tested, "predictions"),
        importances={row: share for level, row in row_of.items() if (share := records.importances(level))},
        links=records.links,
        others=others,
        steps=_steps(records),
        infeasible=_infeasible(records, row_of),
        misses=_misses(tested),
        timing=records.timing,
    )


def _of_levels(tested: Mapping[Run, Outcome], name: str) -> dict[int, Any]:
    """What only a level's first confirmation keeps."""
    return {level: kept for (level, _, _), outcome in tested.items() if (kept := getattr(outcome, name))}


def _misses(tested: Mapping[Run, Outcome]) -> dict[Run, NDArray[np.int64]]:
    return {run: unpack_classes(outcome.misses) for run, outcome in tested.items() if outcome.misses}


def _infeasible(records: Records, row_of: Mapping[Any, int]) -> dict[int, tuple[int, ...]]:
    known = records.infeasible
    return {row: tuple(count for other, _, count in known if other == level) for level, row in row_of.items()}


def _ordered(records: Records) -> Iterable[Record]:
    """Level by level, the searches and then the confirmations, each by its numbers."""
    stages = ("search", "confirm")

    def place(record: Record) -> tuple[int, int, int, int]:
        level, search, number = _run_of(records.study, record)
        return level, stages.index(record.trial.stage), search, number

    return sorted((record for record in records.all if record.trial.stage in stages), key=place)


STEPS = ("level", "search", "number", "step", "hyperparameter", "value", "figure", "changed")


def _steps(records: Records) -> pd.DataFrame:
    """What lies between the defaults and the winners, where that is trained."""
    study, name = records.study, f"test_{records.study.metric}"
    known = {
        (record.trial.level, record.trial.search, record.trial.config, record.trial.number): record.outcome
        for record in records.all
        if record.current and record.trial.is_tested and record.outcome and record.outcome.status == "finished"
    }
    rows = []
    for (level, search), steps in records.paths.items():
        for step, (key, config) in enumerate(steps):
            changed = step > 0 and config != steps[step - 1][1]
            value = config[key] if key else None
            for number in range(study.shared_out(search)):
                if outcome := known.get((level, search, config, number)):
                    place = (study.levels.index(level), search, number)
                    rows.append((*place, step, key, value, _whole(name, outcome[name], outcome), changed))
    return pd.DataFrame(rows, columns=list(STEPS))


def _run_of(study: Study, record: Record) -> Run:
    return study.levels.index(record.trial.level), record.trial.search, record.trial.number


def _runs(records: Records, current: Iterable[Record]) -> pd.DataFrame:
    study = records.study
    winners = {place: trials.winner() for place, trials in records.searches.items()}
    rows = [_run(study, record, winners) for record in current]
    always = [f"{images}_{name}" for images in ("val", "train", "test") for name in ("loss", study.metric)]
    always += [f"untrained_{study.metric}"]
    measured = dict.fromkeys(name for row in rows for name in row if name in catalogue.figure_names())
    figures = dict.fromkeys([*always, *measured, "trained_epochs", "running_train_loss"])
    figures |= dict.fromkeys(name for row in rows for name in row if name.startswith("fold"))
    heads = (*PLACED, *hyperparameters(study.own), "status", *OF_OUTCOMES)
    table = pd.DataFrame(rows, columns=list(dict.fromkeys([*heads, *figures])))
    numbers = [name for name in figures if name not in heads]
    table = table.astype(dict.fromkeys(numbers, float)).astype({"winner": bool})
    return table.copy()  # its columns lie together then: rows of a level are taken out thousands of times


def _run(study: Study, record: Record, winners: Mapping[Any, int | None]) -> dict[str, Any]:
    trial, outcome = record.trial, record.outcome
    searched = trial.stage == "search"
    known: dict[str, Any] = {"status": "waiting"}
    if outcome is not None:
        figures = {name: _whole(name, value, outcome) for name, value in outcome.figures.items()}
        known = {"status": outcome.status, **{name: getattr(outcome, name) for name in OF_OUTCOMES}, **figures}
        kept = [epoch["train_loss"] for epoch in outcome.history if epoch.number == outcome.best_epoch]
        kept = [outcome["train_loss"]] if outcome.folds else kept  # each fold has a best epoch of its own
        known |= {"trained_epochs": outcome.epochs, "running_train_loss": kept[0] if kept else math.nan}
        known |= _of_folds(study, outcome)
    return {
        "level": study.levels.index(trial.level),
        "search": trial.search,
        "stage": trial.stage,
        "number": trial.number,
        "seed": trial.seed,
        "given": record.given,
        "winner": trial.number == winners[trial.level, trial.search] if searched else record.current,
        **{key: trial.config[key] for key in hyperparameters(study.own)},
        **known,
    }


def _of_folds(study: Study, outcome: Outcome) -> dict[str, float]:
    """What each fold of a search trial measured by the study's own measure, and how long it took to be at its best."""
    known: dict[str, float] = {}
    for number, fold in enumerate(outcome.folds):
        known[f"fold{number}_val_{study.metric}"] = fold[f"val_{study.metric}"]
        known[f"fold{number}_best_epoch"] = fold.best_epoch
    return known


def _whole(name: str, value: float, outcome: Outcome) -> float:
    """A share of the test images as the quotient of two whole numbers: as float32 equal differences are not equal."""
    measure = catalogue.figure(name).measure
    if not outcome.confusion or not name.startswith(("test_", "untrained_")) or not catalogue.measure(measure).binomial:
        return value
    images = sum(map(sum, outcome.confusion))
    return round(value * images) / images if math.isfinite(value) else value


def _epochs(study: Study, record: Record, outcome: Outcome) -> Iterable[dict[str, Any]]:
    trial = record.trial
    level, search, number = _run_of(study, record)
    key = {"level": level, "search": search, "stage": trial.stage, "number": number}
    for epoch in outcome.history:
        yield {**key, "epoch": epoch.number, **epoch.figures, "time": epoch.time}
