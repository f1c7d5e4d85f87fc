"""The one reader of a journal: its study, and every trial with what came of it. Reads only, also while a driver writes.

records = Records(Path("studies/depth/journal.log"))
for record in records.all:
    print(record.trial, record.outcome, len(records.company(record)))
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from harness.errors import UserError
from harness.journal.ablation import Step, ablation_name, ablation_of, ablations, paths
from harness.journal.clock import ATTRIBUTE
from harness.journal.file import FORMAT, consistent, open_to_read
from harness.journal.importance import importances_in
from harness.journal.left import Expected, Timing
from harness.journal.level import (
    Place,
    SearchTrials,
    confirmed_winner,
    outcome_of,
    places,
    search_name,
    seed_number,
    seeds_name,
)
from harness.journal.lines import attributes_of, sound
from harness.journal.sampling import CONSTRAINT, INFEASIBLE
from harness.study.study import Budget, Study
from harness.trial import Level, Outcome, Trial

ASKED = "asked"
"""The attribute of a trial of a value that was stopped and goes on: when it was asked for again, as Unix time."""


@dataclass(frozen=True)
class Record:
    """A trial as the journal knows it.

    `outcome` is None while it waits or trains. `winner` is the search trial that a confirmation confirms, -1 where
    nothing was searched; `current` is False if the search has another winner now, or fewer confirmations. A search
    trial was `asked` for with its generation, and the sampler was `told` of it with its generation. `given` says where
    a search trial comes from that no sampler proposed: "defaults".
    """

    trial: Trial
    outcome: Outcome | None
    winner: int | None
    current: bool
    asked: datetime
    told: datetime
    given: str = ""


@dataclass(frozen=True)
class Circumstances:
    """How a run was trained: budget and environment may have changed since, and so may who trains.

    `group_size` is the most trainings in a stack that was asked for, None for what suits the device. `threads` is
    torch's number when nothing runs side by side, None where it was not recorded. `crew` is a part of the catalogue.
    """

    budget: Budget = field(default_factory=Budget)
    environment: Mapping[str, str] = field(default_factory=dict)
    group_size: int | None = None
    crew: str = "local"
    threads: int | None = None
    stopped: frozenset[str] = frozenset()  # values, by name, that somebody had ended by then


class Records:
    """Every trial of a journal. Raises UserError when there is no journal, or nothing in it that can be read."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        with consistent(journal):
            self._take_in(*open_to_read(journal))

    def _take_in(self, storage: optuna.storages.JournalStorage, attributes: Mapping[str, Mapping[str, Any]]) -> None:
        self.study = _study(self.journal, attributes)
        self._places = places(self.study)
        first = attributes.get(search_name(self.study, self._places[0]), {})
        self.id = str(first.get("journal"))
        """What tells this journal from every other."""
        self.environment: Mapping[str, Any] = _first(attributes, "environment")
        self.seconds = float(_first(attributes, ATTRIBUTE).get("seconds", 0.0))
        """How long drivers worked for it, where its budget is in minutes, at the last note."""
        self.expected = Expected.from_record(_first(attributes, "expected"))
        """What trainings were expected to take, before the first."""
        self.links: Mapping[str, str] = _first(attributes, "runs")
        self.searches = {place: self._read(storage, attributes, place) for place in self._places}
        self.all = [record for place in self._places for record in self._records(place)]
        self.all += [record for level in self.study.levels for record in self._ablations(storage, attributes, level)]
        for record in self.all:
            hash(record.trial)  # whose Config may hold anything, where lines have no checksums

    def winner(self, level: Level, search: int) -> int | None:
        """The trial that a search chose; see `SearchTrials.winner`."""
        return self.searches[level, search].winner()

    def company(self, record: Record) -> list[Trial]:
        """What the driver had at work together with this trial, itself included, in the driver's order."""
        if record.trial.stage == "ablation":
            return [trial for place in self.paths for trial in self.ablations(place)]
        if record.trial.stage == "search":  # generations do not overlap: one is told before the next is asked for
            search = [other for other in self.all if other.trial.stage == "search"]
            return [other.trial for other in search if other.asked <= record.told and record.asked <= other.told]
        budget = self.then(record).budget
        study = self.study.model_copy(update={"budget": budget})
        chosen = {place: self.searches[place].winner(budget.trials) for place in self._begun(study, record)}
        confirmed = [
            self.searches[place].confirmations(winner, study) for place, winner in chosen.items() if winner is not None
        ]
        return [trial for trials in confirmed for trial in trials]

    def _begun(self, study: Study, record: Record) -> list[Place]:
        """The searches whose confirmations had been begun beside that one: not those of values stopped before."""
        stopped = self.then(record).stopped
        return [p for p in places(study) if self.searches[p].seeds or study.level_name(p[0]) not in stopped]

    def then(self, record: Record) -> Circumstances:
        """How a run was trained; of one that has no outcome yet, how it would be now."""
        return self._then[record.outcome.ended if record.outcome else None]

    def importances(self, level: Level) -> dict[str, float]:
        """Each hyperparameter's share of the variation in the validation figure (PED-ANOVA, Optuna's own), over all
        searches of the level. Empty where too few trials have finished.
        """
        trials = [frozen for place, own in self.searches.items() if place[0] == level for frozen in own.search]
        return importances_in(self.study, level, trials)

    @cached_property
    def paths(self) -> Mapping[Place, list[Step]]:
        """From the defaults to the winner of each search, if any of that is trained."""
        return paths(self.study, self.searches)

    def ablations(self, place: Place) -> list[Trial]:
        """What is trained, or will be, between the defaults and the winner of a search."""
        return list(ablations(self.study, *place, self.paths[place])) if place in self.paths else []

    @property
    def timing(self) -> Timing:
        """What its trainings took."""
        known = {record.trial: record.outcome for record in self.all if record.current and record.outcome}
        return Timing(self.study, self.expected, known)

    @property
    def infeasible(self) -> list[tuple[Level, int, int]]:
        """What was proposed and not trained, since it does not keep to the study's constraint: level, search, and how
        many weights it would have had.
        """
        known = [(place, frozen) for place, trials in self.searches.items() for frozen in trials.search]
        return [
            (*place, int(one[CONSTRAINT])) for place, frozen in known for one in frozen.user_attrs.get(INFEASIBLE, ())
        ]

    @cached_property
    def _then(self) -> Mapping[float | None, Circumstances]:
        return dict(_circumstances(self.journal))

    def _read(
        self, storage: optuna.storages.JournalStorage, attributes: Mapping[str, Any], place: Place
    ) -> SearchTrials:
        both: list[list[FrozenTrial]] = []
        for name in (search_name(self.study, place), seeds_name(self.study, place[0])):
            known = optuna.load_study(study_name=name, storage=storage) if name in attributes else None
            both.append(known.get_trials(deepcopy=False) if known else [])
        return SearchTrials.of(self.study, place, *both)

    def _ablations(
        self, storage: optuna.storages.JournalStorage, attributes: Mapping[str, Any], level: Level
    ) -> Iterator[Record]:
        """Those of a level that are recorded."""
        if (name := ablation_name(self.study, level)) not in attributes:
            return
        wanted = {trial for place in self._places if place[0] == level for trial in self.ablations(place)}
        for frozen in optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False):
            trial = ablation_of(self.study, level, frozen)
            yield _record(trial, frozen, None, trial in wanted)

    def _records(self, place: Place) -> Iterator[Record]:
        trials = self.searches[place]
        current = trials.confirmed(trials.winner())
        end = self.study.stopped.get(self.study.level_name(place[0]))
        for frozen in trials.search:
            record = _record(trials.search_trial(frozen), frozen, None, True)
            is_cut = end is not None and frozen.datetime_complete is None
            yield replace(record, told=max(record.asked, datetime.fromtimestamp(end))) if is_cut and end else record
        for frozen in trials.seeds:
            is_current = current.get(seed_number(frozen)) is frozen
            yield _record(trials.seed_trial(frozen), frozen, confirmed_winner(frozen), is_current)


def _record(trial: Trial, frozen: FrozenTrial, chosen: int | None, current: bool) -> Record:
    asked, told = frozen.datetime_start or datetime.min, frozen.datetime_complete or datetime.max
    if ASKED in frozen.user_attrs:
        asked = datetime.fromtimestamp(frozen.user_attrs[ASKED])
    return Record(trial, outcome_of(frozen), chosen, current, asked, told, str(frozen.user_attrs.get("given", "")))


def _first(attributes: Mapping[str, Mapping[str, Any]], name: str) -> Any:
    return next((known[name] for known in attributes.values() if name in known), {})


def _study(journal: Path, attributes: Mapping[str, Mapping[str, Any]]) -> Study:
    """The study that a journal is of."""
    newest = max(int(known.get("format", 1)) for known in attributes.values())
    if newest > FORMAT:
        raise UserError(f"{journal}: was written by a newer harness (format {newest}; this one reads up to {FORMAT})")
    try:
        return Study.model_validate_json(_first(attributes, "study"))
    except ValueError as error:  # of another version, or not harness's own
        raise UserError(f"{journal}: holds a study that cannot be read: {error}") from None


def _circumstances(journal: Path) -> Iterator[tuple[float | None, Circumstances]]:
    """How it was when an outcome came, by the time of its end; at last, by None, how it is now.

    Optuna shows the last value of an attribute only, and every start of a study writes these anew; the log has all.
    """
    budget, environment, stopped = Budget(), dict[str, str](), frozenset[str]()
    how: Mapping[str, Any] | None = None
    for attributes in map(attributes_of, sound(journal)):
        if "study" in attributes:
            study = Study.model_validate_json(attributes["study"])
            budget = study.budget.model_copy(update={"trials": study.trials})
            stopped = frozenset(study.stopped)
        environment = attributes.get("environment", environment)
        how = attributes.get("how", how)
        if "outcome" in attributes:
            yield attributes["outcome"]["ended"], replace(_circumstance(budget, environment, how), stopped=stopped)
    yield None, replace(_circumstance(budget, environment, how), stopped=stopped)


def _circumstance(budget: Budget, environment: Mapping[str, str], how: Mapping[str, Any] | None) -> Circumstances:
    if how is not None:
        return Circumstances(budget, environment, how["group_size"], how["crew"], how["threads"])
    command = environment.get("command", "")  # in format 1 nothing else says how it was run
    size = re.search(r"--stack[ =](\d+)", command)
    crew = "ray" if re.search(r"--(workers|ray)\b", command) else "local"
    return Circumstances(budget, environment, int(size[1]) if size else None, crew)
