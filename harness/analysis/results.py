"""The journal as tables: what the report is made of."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness import catalogue
from harness.catalogue import hyperparameters
from harness.journal.records import Record, Records
from harness.study.study import Study
from harness.trial import Example, Outcome

OF_OUTCOMES = ("reason", "started", "ended", "seconds", "parameters", "best_epoch", "retries")
WORDS = ("stage", "status", "reason")  # columns that hold no numbers


@dataclass(frozen=True)
class Results:
    """Everything that a journal knows of its study.

    `runs` has a row per trial: `level` (its row in `study.levels`), `stage`, `number`, `seed`, `status` ("waiting"
    while there is no outcome), `winner` (a search trial that its level chose, or a confirmation of that choice; an
    earlier choice's confirmations are left out), hyperparameters (`epochs` is the limit), what its Outcome says, and a
    column for each figure that any of them has, NaN where it was not measured (`trained_epochs` is how many it took,
    `running_train_loss` the loss over the batches of the kept epoch).
    `epochs` has a row per epoch of a trial: `level`, `stage`, `number`, `epoch` and its figures.
    `confusions` holds the confusion counts of confirmation runs by (level, number), `examples` the test images that
    each level's first one kept. `importances` has each level's hyperparameters with their share of the variation in
    the validation figure (PED-ANOVA, Optuna's own), where enough trials have finished. `links` are addresses of MLflow
    runs, by what they are: the study's label, and the levels' names.
    """

    study: Study
    environment: Mapping[str, Any]
    runs: pd.DataFrame
    epochs: pd.DataFrame
    confusions: Mapping[tuple[int, int], tuple[tuple[int, ...], ...]]
    examples: Mapping[int, tuple[Example, ...]]
    importances: Mapping[int, Mapping[str, float]]
    links: Mapping[str, str]


def read_results(journal: Path) -> Results:
    """Read a journal, also while a driver writes it. Raises UserError when there is none."""
    return tabulate(Records(journal))


def tabulate(records: Records) -> Results:
    """What the reader of a journal found, as tables."""
    study = records.study
    current = [record for record in _ordered(records) if record.current]
    done = [(record, record.outcome) for record in current if record.outcome is not None]
    row_of = {level: row for row, level in enumerate(study.levels)}
    shares = {row: records.importances(level) for level, row in row_of.items()}
    return Results(
        study=study,
        environment=records.environment,
        runs=_runs(records, current),
        epochs=pd.DataFrame([line for record, outcome in done for line in _epochs(study, record, outcome)]),
        confusions={
            (row_of[record.trial.level], record.trial.number): outcome.confusion
            for record, outcome in done
            if outcome.confusion is not None
        },
        examples={row_of[record.trial.level]: outcome.examples for record, outcome in done if outcome.examples},
        importances={row: share for row, share in shares.items() if share},
        links=records.links,
    )


def _ordered(records: Records) -> Iterable[Record]:
    """Level by level, the search and then the confirmation, each by its numbers."""
    levels, stages = records.study.levels, ("search", "confirm")
    return sorted(records.all, key=lambda r: (levels.index(r.trial.level), stages.index(r.trial.stage), r.trial.number))


def _runs(records: Records, current: Iterable[Record]) -> pd.DataFrame:
    study = records.study
    winners = {level: records.winner(level) for level in study.levels}
    rows = [_run(study, record, winners) for record in current]
    always = [f"{images}_{name}" for images in ("val", "train", "test") for name in ("loss", study.metric)]
    always += [f"untrained_{study.metric}"]
    measured = dict.fromkeys(name for row in rows for name in row if name in catalogue.figure_names())
    figures = dict.fromkeys([*always, *measured, "trained_epochs", "running_train_loss"])
    heads = ("level", "stage", "number", "seed", "winner", *hyperparameters(), "status", *OF_OUTCOMES)
    table = pd.DataFrame(rows, columns=list(dict.fromkeys([*heads, *figures])))
    numbers = [name for name in figures if name not in heads]
    return table.astype(dict.fromkeys(numbers, float)).astype({"winner": bool})


def _run(study: Study, record: Record, winners: Mapping[Any, int | None]) -> dict[str, Any]:
    trial, outcome = record.trial, record.outcome
    searched = trial.stage == "search"
    known: dict[str, Any] = {"status": "waiting"}
    if outcome is not None:
        known = {"status": outcome.status, **{name: getattr(outcome, name) for name in OF_OUTCOMES}, **outcome.figures}
        kept = [epoch["train_loss"] for epoch in outcome.history if epoch.number == outcome.best_epoch]
        known |= {"trained_epochs": outcome.epochs, "running_train_loss": kept[0] if kept else math.nan}
    return {
        "level": study.levels.index(trial.level),
        "stage": trial.stage,
        "number": trial.number,
        "seed": trial.seed,
        "winner": trial.number == winners[trial.level] if searched else record.current,
        **{key: trial.config[key] for key in hyperparameters()},
        **known,
    }


def _epochs(study: Study, record: Record, outcome: Outcome) -> Iterable[dict[str, Any]]:
    trial = record.trial
    key = {"level": study.levels.index(trial.level), "stage": trial.stage, "number": trial.number}
    for epoch in outcome.history:
        yield {**key, "epoch": epoch.number, **epoch.figures, "time": epoch.time}
