"""The journal run by run: what is needed to train one of them again. Reads only, also while a driver writes.

records = Records(Path("studies/depth/journal.log"))
for record in records.all:
    print(record.trial, record.outcome, len(records.company(record)))
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from harness.journal.file import open_to_read, outcome_of, winner
from harness.journal.sampling import from_optuna
from harness.study.study import Budget, Study
from harness.trial import Outcome, Trial, Value


@dataclass(frozen=True)
class Record:
    """A trial as the journal knows it.

    `outcome` is None while it waits or trains. `budget` and `environment` are those it was trained with: both may have
    changed since. `winner` is the search trial that a confirmation confirms, -1 where nothing was searched; `current`
    is False if the level has another winner now. A search trial was `asked` for with its generation, and the sampler
    was `told` of it with its generation.
    """

    trial: Trial
    outcome: Outcome | None
    budget: Budget
    environment: Mapping[str, str]
    winner: int | None
    current: bool
    asked: datetime
    told: datetime


class Records:
    """Every trial of a journal. Raises UserError when there is no journal, or nothing in it."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        storage, attributes = open_to_read(journal)
        self.study = Study.model_validate_json(next(a["study"] for a in attributes.values() if "study" in a))
        self.id = str(attributes[self.study.level_name(self.study.levels[0])].get("journal"))
        """What tells this journal from every other."""
        self._trials = {
            name: optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False) for name in attributes
        }
        self._then = dict(_circumstances(journal))
        self.all = [record for level in self.study.levels for record in self._level(level)]

    def company(self, record: Record) -> list[Trial]:
        """What the driver had at work together with this trial, itself included, in the driver's order."""
        if record.trial.stage == "search":  # generations do not overlap: one is told before the next is asked for
            search = [other for other in self.all if other.trial.stage == "search"]
            return [other.trial for other in search if other.asked <= record.told and record.asked <= other.told]
        study = self.study.model_copy(update={"budget": record.budget})
        confirmed = []
        for level in study.levels:
            best = self._winner(level, study.budget.trials)
            if best is not None:
                confirmed += study.confirmations(level, self._params(level, best))
        return confirmed

    def _level(self, level: Value) -> Iterator[Record]:
        study, name = self.study, self.study.level_name(level)
        best = self._winner(level, study.budget.trials)
        for frozen in self._trials.get(name, []):
            config = study.config(level, from_optuna(frozen.params))
            trial = Trial(level, "search", frozen.number, study.search.seed, config)
            yield self._record(trial, frozen, None, True)
        for frozen in self._trials.get(f"{name} seeds", []):
            chosen, number, seed = (int(frozen.user_attrs[key]) for key in ("winner", "seed_number", "seed"))
            trial = Trial(level, "confirm", number, seed, study.config(level, self._params(level, chosen)))
            yield self._record(trial, frozen, chosen, chosen == best)

    def _record(self, trial: Trial, frozen: FrozenTrial, chosen: int | None, current: bool) -> Record:
        outcome = outcome_of(frozen)
        budget, environment = self._then[outcome.ended if outcome else None]
        asked, told = frozen.datetime_start or datetime.min, frozen.datetime_complete or datetime.max
        return Record(trial, outcome, budget, environment, chosen, current, asked, told)

    def _winner(self, level: Value, trials: int) -> int | None:
        """The level's winner when it had that many trials."""
        if not self.study.tune:
            return -1
        return winner(self._trials.get(self.study.level_name(level), [])[:trials])

    def _params(self, level: Value, number: int) -> dict[str, Value]:
        return from_optuna(self._trials[self.study.level_name(level)][number].params) if number >= 0 else {}


def _circumstances(journal: Path) -> Iterator[tuple[float | None, tuple[Budget, Mapping[str, str]]]]:
    """Budget and environment as they were when an outcome came, by the time of its end; at last, by None, those of now.

    Optuna shows the last value of an attribute only, and every start of a study writes these anew; the log has all.
    """
    budget = Budget()
    environment: Mapping[str, str] = {}
    for entry in JournalFileBackend(str(journal)).read_logs(0):
        attributes = entry.get("user_attr") or entry.get("user_attrs") or {}
        if "study" in attributes:
            budget = Study.model_validate_json(attributes["study"]).budget
        environment = attributes.get("environment", environment)
        if "outcome" in attributes:
            yield attributes["outcome"]["ended"], (budget, environment)
    yield None, (budget, environment)
