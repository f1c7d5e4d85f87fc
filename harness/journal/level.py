"""What a journal holds of one search of a compared value: its trials, its winner, and that choice's confirmations.

The one place that knows how trials and outcomes lie in Optuna's records; the driver's ledger and all readers use it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from optuna.trial import FrozenTrial, TrialState

from harness.catalogue import Value, show
from harness.config import Config
from harness.journal.sampling import from_optuna
from harness.study.study import Study
from harness.trial import Level, Outcome, Trial

UNTUNED = -1
"""The number of the winner where nothing was searched."""

DEFAULTS_1: dict[str, Value] = {
    "depth": 2,
    "width": 128,
    "taper": "constant",
    "channels": (64, 128),
    "kernel": 3,
    "pool": 2,
    "activation": "relu",
    "dropout": 0.0,
    "optimizer": "adam",
    "lr": 1e-3,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "batch_size": 256,
    "epochs": 20,
    "patience": 10,
    "validation": 0.2,
    "split": "fixed",
    "test_fraction": 1 / 7,
    "normalisation": "scale",
    "precision": "fp32",
}
"""The defaults when journals did not record the Config of an outcome (format 1): what its runs were trained with."""


Place = tuple[Level, int]
"""A level and the number of one of its searches."""


def places(study: Study) -> list[Place]:
    """Every search of every level, in the order in which they are asked; of one that searches nothing as many places,
    whose confirmations are shared out as those of the others.
    """
    return [(level, search) for level in study.levels for search in range(study.searches)]


def search_name(study: Study, place: Place) -> str:
    """What the Optuna study of a search is called."""
    level, search = place
    return f"{study.level_name(level)} search {search}" if search else study.level_name(level)


def seeds_name(study: Study, level: Level) -> str:
    """What the Optuna study of a level's confirmations is called, whichever search they confirm."""
    return f"{study.level_name(level)} seeds"


@dataclass(frozen=True)
class SearchTrials:
    """The trials of one search of a level, in the order in which they were asked for, and its confirmations."""

    study: Study
    place: Place
    search: Sequence[FrozenTrial]
    seeds: Sequence[FrozenTrial]

    @classmethod
    def of(cls, study: Study, place: Place, search: Sequence[FrozenTrial], seeds: Sequence[FrozenTrial]) -> Self:
        """Of a level's confirmations only its own."""
        own = [frozen for frozen in seeds if frozen.user_attrs.get("search", 0) == place[1]]
        return cls(study, place, search, own)

    def winner(self, trials: int | None = None) -> int | None:
        """The number of the finished trial with the best validation figure; ties go to the lower validation loss.

        `trials` looks at the first so many alone. `UNTUNED` where the level searches nothing, None where none finished.
        """
        if not self.study.space(self.place[0]):
            return UNTUNED
        sign = self.study.measure.sign()
        complete = [frozen for frozen in self.search[:trials] if frozen.state == TrialState.COMPLETE]
        ranked = [(-sign * (frozen.value or 0.0), _val_loss(frozen), frozen.number) for frozen in complete]
        return min(ranked)[2] if ranked else None

    def config(self, number: int) -> Config:
        """What a search trial was, or will be, trained with; of `UNTUNED` what the level is trained with."""
        frozen = self.search[number] if number >= 0 else None
        return self._recorded(frozen, from_optuna(frozen.params, self.study) if frozen else {})

    def search_trial(self, frozen: FrozenTrial) -> Trial:
        """A search trial as training knows it."""
        return self.study.search_trial(*self.place, frozen.number, self.config(frozen.number))

    def seed_trial(self, frozen: FrozenTrial) -> Trial:
        """A confirmation as training knows it."""
        winner = confirmed_winner(frozen)
        params = from_optuna(self.search[winner].params, self.study) if winner >= 0 else {}
        trial = self.study.confirmation(*self.place, seed_number(frozen), self._recorded(frozen, params))
        return replace(trial, seed=int(frozen.user_attrs["seed"]))

    def confirmations(self, winner: int, study: Study | None = None) -> list[Trial]:
        """The fresh-seed trials of a winner, recorded or not; `study` has the budget of another time."""
        level, search = self.place
        config, best = self.config(winner), 0
        if winner >= 0:
            best = int(self.search[winner].user_attrs["outcome"]["best_epoch"])
        return (study or self.study).confirmations(level, self.study.refitted(config, best), search)

    def confirmed(self, winner: int | None) -> dict[int, FrozenTrial]:
        """Confirmations of a winner by their numbers. Those of an earlier one do not count (more trials came since),
        nor those beyond the search's share of the seeds (more searches did).
        """
        share = self.study.shared_out(self.place[1])
        known = {seed_number(frozen): frozen for frozen in self.seeds if confirmed_winner(frozen) == winner}
        return {number: frozen for number, frozen in known.items() if number < share}

    def _recorded(self, frozen: FrozenTrial | None, params: Mapping[str, Value]) -> Config:
        record: Mapping[str, Any] | None = frozen.user_attrs.get("outcome") if frozen else None
        if record and "config" in record:
            return Config.from_record(record["config"], self.study.own)
        return self.study.config(self.place[0], params, DEFAULTS_1 if record else None)


def outcome_record(trial: Trial, outcome: Outcome) -> dict[str, Any]:
    """What the journal keeps of a trial that has ended: its outcome, the Config that it came of, and which it is."""
    return {**outcome.record(), "config": trial.config.record(), "trial": list(identity(trial))}


def identity(trial: Trial) -> tuple[str, str, int, int, int]:
    """What tells trainings apart whose Config is the same, wherever a journal speaks of them."""
    return show(trial.level), trial.stage, trial.search, trial.number, trial.seed


def outcome_of(frozen: FrozenTrial) -> Outcome | None:
    """What came of an Optuna trial; None while it is waiting or being trained."""
    record = frozen.user_attrs.get("outcome")
    return Outcome.from_record(record) if record else None


def seed_number(frozen: FrozenTrial) -> int:
    """The number of a confirmation within its level."""
    return int(frozen.user_attrs["seed_number"])


def confirmed_winner(frozen: FrozenTrial) -> int:
    """Which search trial a confirmation confirms; `UNTUNED` where nothing was searched."""
    return int(frozen.user_attrs["winner"])


def _val_loss(frozen: FrozenTrial) -> float:
    record = frozen.user_attrs["outcome"]
    value = record.get("figures", record).get("val_loss")
    return math.inf if value is None else float(value)
