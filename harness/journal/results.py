"""The journal as tables: what the report is made of."""

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from harness.errors import UserError
from harness.journal.file import open_to_read, outcome_of, winner
from harness.journal.sampling import from_optuna
from harness.study.study import Study
from harness.trial import HYPERPARAMETERS, Example, Outcome, Value

FIGURES = (
    *("status", "reason", "started", "ended", "seconds", "parameters", "best_epoch"),
    *("val_loss", "val_accuracy", "train_loss", "train_accuracy", "test_loss", "test_accuracy"),
    *("untrained_accuracy", "retries"),
)
ENOUGH = 8  # finished trials, below which importances would say nothing


@dataclass(frozen=True)
class Results:
    """Everything that a journal knows of its study.

    `runs` has a row per trial: `level` (its place in `study.levels`), `stage`, `number`, `seed`, `status` ("waiting"
    while there is no outcome), `winner` (a search trial that its level chose, or a confirmation of that choice; an
    earlier choice's confirmations are left out), hyperparameters (`epochs` is the limit),
    and the figures of its Outcome (`trained_epochs` is how many it took, `running_train_loss` the loss over the batches
    of the kept epoch).
    `epochs` has a row per epoch of a trial: `level`, `stage`, `number`, `epoch` and the figures of its Epoch.
    `confusions` holds the confusion counts of confirmation runs by (level, number), `examples` the test images that
    each level's first one kept. `importances` has each level's hyperparameters with their share of the variation in
    validation accuracy (PED-ANOVA, Optuna's own), where enough trials have finished. `links` are addresses of MLflow
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
    storage, studies = open_to_read(journal)
    try:
        study = Study.model_validate_json(next(known["study"] for known in studies.values() if "study" in known))
    except ValueError as error:  # of another version, or not harness's own
        raise UserError(f"{journal}: holds a study that cannot be read: {error}") from None
    environment = next(known["environment"] for known in studies.values() if "environment" in known)
    links: Mapping[str, str] = next((known["runs"] for known in studies.values() if "runs" in known), {})
    rows, epochs, confusions, examples, importances = [], [], {}, {}, {}
    for place, level in enumerate(study.levels):
        for row, outcome in _level_rows(storage, set(studies), study, level):
            rows.append({"level": place, **row})
            if outcome is not None:
                key = {"level": place, "stage": row["stage"], "number": row["number"]}
                epochs += [{**key, "epoch": epoch.number, **asdict(epoch)} for epoch in outcome.history]
                if outcome.confusion is not None:
                    confusions[place, row["number"]] = outcome.confusion
                if outcome.examples:
                    examples[place] = outcome.examples
        if (name := study.level_name(level)) in studies and (shares := _importances(storage, name)):
            importances[place] = shares
    columns = [
        "level",
        "stage",
        "number",
        "seed",
        "winner",
        *HYPERPARAMETERS,
        *FIGURES,
        "trained_epochs",
        "running_train_loss",
    ]
    return Results(
        study,
        environment,
        pd.DataFrame(rows, columns=columns),
        pd.DataFrame(epochs),
        confusions,
        examples,
        importances,
        links,
    )


def _importances(storage: optuna.storages.JournalStorage, name: str) -> dict[str, float]:
    search = optuna.load_study(study_name=name, storage=storage)
    complete = search.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if len(complete) < ENOUGH:
        return {}
    with warnings.catch_warnings(action="ignore"):  # that a condition holds in few trials: the report says how many
        return optuna.importance.get_param_importances(search)


def _level_rows(
    storage: optuna.storages.JournalStorage, names: set[str], study: Study, level: Value
) -> Iterator[tuple[dict[str, Any], Outcome | None]]:
    """A row, and the outcome if there is one, of every trial of a level: first the search, then the confirmation."""
    name = study.level_name(level)
    search = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False) if name in names else []
    best = winner(search) if study.tune else -1
    for frozen in search:
        row = {"stage": "search", "number": frozen.number, "seed": study.search.seed, "winner": frozen.number == best}
        yield _row(study, level, frozen.params, row, outcome := outcome_of(frozen)), outcome
    if best is None or f"{name} seeds" not in names:
        return
    params = search[best].params if best >= 0 else {}
    seeds = optuna.load_study(study_name=f"{name} seeds", storage=storage).get_trials(deepcopy=False)
    for frozen in sorted((t for t in seeds if t.user_attrs["winner"] == best), key=_seed_number):
        row = {"stage": "confirm", "number": _seed_number(frozen), "seed": frozen.user_attrs["seed"], "winner": True}
        yield _row(study, level, params, row, outcome := outcome_of(frozen)), outcome


def _seed_number(frozen: FrozenTrial) -> int:
    return int(frozen.user_attrs["seed_number"])


def _row(
    study: Study, level: Value, params: Mapping[str, Any], row: Mapping[str, Any], outcome: Outcome | None
) -> dict[str, Any]:
    config = asdict(study.config(level, from_optuna(params)))
    figures: dict[str, Any] = {"status": "waiting"}
    if outcome is not None:
        figures = {name: getattr(outcome, name) for name in FIGURES} | {"trained_epochs": outcome.epochs}
        kept = [epoch.train_loss for epoch in outcome.history if epoch.number == outcome.best_epoch]
        figures["running_train_loss"] = kept[0] if kept else math.nan
    return {**row, **{key: config[key] for key in HYPERPARAMETERS}, **figures}
