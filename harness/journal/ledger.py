"""The driver's view of a journal: which trials come next, and what came of them.

    with hold(journal):
        ledger = Ledger(study, journal, environment, how)
        for trial in ledger.generation(): ...      # asked for together, so that they can share stacks
        ledger.close_generation()                  # only now does the sampler hear of them
        for trial in ledger.confirmations(): ...   # fresh seeds of each search's winner

Each search of a compared value has an Optuna study of its own in the journal, with the same space and budget; the seed
of a search is the same for all values. A generation
is told all at once and in its own order, and the sampler is seeded anew for every trial, so the same study file gives
the same trials however fast they come back, in whatever order, and however often the driver was killed.
"""

import copy
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.errors import UserError
from harness.journal.ablation import Ablations, ablations, names_of, paths
from harness.journal.choose import find_level
from harness.journal.clock import StudyClock
from harness.journal.earlier import with_earlier
from harness.journal.file import FORMAT, JournalFile, consistent, create_studies, cut_torn_line, open_journal
from harness.journal.history import History
from harness.journal.left import Expected
from harness.journal.level import (
    UNTUNED,
    Place,
    SearchTrials,
    confirmed_winner,
    outcome_of,
    outcome_record,
    places,
    search_name,
    seed_number,
    seeds_name,
)
from harness.journal.mending import Kept
from harness.journal.pruning import Judge
from harness.journal.records import ASKED, Records
from harness.journal.sampling import Weigh, direction, make_history, make_pruner, propose
from harness.journal.stopping import asked, forget, note
from harness.journal.weights import WeightFiles
from harness.study.labels import by_dataset
from harness.study.own import Program, difference
from harness.study.settle import settled_as
from harness.study.space import describe
from harness.study.study import Study
from harness.study.widening import as_wide, widened
from harness.trial import Epoch, FoldsEnded, Level, Outcome, Trial

optuna.logging.set_verbosity(optuna.logging.WARNING)

STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,  # stopped early, and the sampler should keep away from there
    "failed": TrialState.FAIL,  # says nothing about the hyperparameters
}
UNKNOWN: Mapping[str, Any] = MappingProxyType({})
HEED = 0.5  # seconds between two looks whether somebody wants a value to be stopped
MARGIN = 1.25
"""What is laid by for the confirmations, times what the winners' trainings lead to expect: see `Ledger.reserve`."""


@dataclass(frozen=True)
class AtWork:
    """The generation at work: its trials, what each is judged by (epochs from 0, or folds), and who judges."""

    asked: dict[tuple[Place, int], optuna.Trial] = field(default_factory=dict)
    steps: dict[tuple[Place, int], set[int]] = field(default_factory=dict)
    judges: dict[Place, Judge] = field(default_factory=dict)


class Ledger:
    """A study's trials, as the driver sees them. Raises UserError when the study was edited since its journal began.

    `weigh` counts the weights of a network, for studies with a constraint.
    `environment` and `how`, which say what and who trains from now on, are kept with the study.
    """

    def __init__(
        self,
        study: Study,
        journal: Path,
        environment: Mapping[str, Any],
        how: Mapping[str, Any] = UNKNOWN,
        weigh: Weigh | None = None,
    ) -> None:
        self._weigh, self._journal, self._heeded = weigh, journal, 0.0
        with consistent(journal):
            self._take_in(study, environment, how)

    def _take_in(self, study: Study, environment: Mapping[str, Any], how: Mapping[str, Any]) -> None:
        """Read what the journal holds, and write into it what all trials depend on."""
        journal = self._journal
        cut_torn_line(journal)
        known = open_journal(journal) if journal.is_file() else None
        self._kept = Kept(journal, environment)
        self.study = study = begun(study, journal, known)
        self.weights = WeightFiles(journal, study)
        self._storage = known or open_journal(journal)
        self._places = places(study)
        first = self._begin(environment, how)
        self._searches = {place: self._open(search_name(study, place)) for place in self._places}
        self._seeds = {level: self._open(seeds_name(study, level)) for level in study.levels}
        self._ablations = Ablations(study, {level: self._open(name) for level, name in names_of(study).items()})
        self._histories: dict[Place, History] = {}  # what samplers made of the trials that they were told of
        self._now = AtWork()
        self.clock = None if study.budget.minutes is None else StudyClock(first, self._records())
        if self._is_old:  # what contradicts itself is told before anything is trained
            self._check()

    def _check(self) -> None:
        """Raises one of the errors that `consistent` takes for a contradiction, if there is one."""
        for trials in map(self._trials, self._places):
            states = [frozen.state.is_finished() for frozen in trials.search]
            if states != sorted(states, reverse=True):
                raise ValueError("trials were told before others that were asked for earlier")
            for frozen in trials.search:
                hash(trials.search_trial(frozen))
            for frozen in trials.seeds:
                confirmed_winner(frozen), seed_number(frozen)
        for _ in self.recorded():
            pass

    @property
    def _is_old(self) -> bool:
        """Whether lines of the journal are of before they had checksums."""
        backend = self._storage._backend
        assert isinstance(backend, JournalFile)
        return backend.is_old

    @property
    def id(self) -> str:
        """What tells this journal from every other, also from those that were put aside."""
        return str(self._searches[self._places[0]].user_attrs["journal"])

    @property
    def _searching(self) -> list[Place]:
        """The searches that have trials: a variant may have nothing to search."""
        return [place for place in self._going if self.study.space(place[0])]

    @property
    def _going(self) -> list[Place]:
        """The searches of values that nobody has stopped."""
        return [place for place in self._places if not self.study.is_stopped(place[0])]

    def heed(self) -> list[Level]:
        """Stop the values that somebody asked for since, and write that down; which they are."""
        if time.monotonic() < self._heeded + HEED:
            return []
        self._heeded = time.monotonic()
        names = asked(self._journal)
        levels = [one for one in self.study.levels if self.study.level_name(one) in names and not self.is_stopped(one)]
        for level in levels:
            self.study = self.study.stop(level, time.time())
        if names:
            note(self._storage, self.study)
            forget(self._journal)
        return levels

    def is_stopped(self, level: Level) -> bool:
        """Whether what remains of a value is not to be begun."""
        return self.study.is_stopped(level)

    def resume(self, wanted: Iterable[str]) -> None:
        """Take up again the stopped values that are written so. Raises UserError where one is not stopped."""
        for level in (find_level(self.study, text) for text in wanted):
            if not self.is_stopped(level):
                raise UserError(f"--resume {self.study.level_name(level)}: it is not stopped")
            self.study = self.study.resume(level)
            for place in (place for place in self._places if place[0] == level):
                for frozen in self._trials(place).search:
                    if not frozen.state.is_finished():  # its company from now on is another one
                        self._storage.set_trial_user_attr(frozen._trial_id, ASKED, time.time())
            note(self._storage, self.study)

    @property
    def measured_group_size(self) -> int | None:
        """The most trainings in a group, as it was measured when the study began; None where it was not."""
        size: int | None = self._searches[self._places[0]].user_attrs.get("measured_group_size")
        return size

    def note_group_size(self, size: int) -> None:
        """Keep that number, for this study and for those who train its runs again."""
        first = self._searches[self._places[0]]
        for name, value in {
            "measured_group_size": size,
            "how": {**first.user_attrs.get("how", {}), "group_size": size},
        }.items():
            if first.user_attrs.get(name) != value:
                first.set_user_attr(name, value)

    def note_runs(self, links: Mapping[str, str]) -> None:
        """Keep where the runs can be seen, for the report."""
        first = self._searches[self._places[0]]
        if links and first.user_attrs.get("runs") != dict(links):
            first.set_user_attr("runs", dict(links))

    def note_expected(self, expected: Expected | None) -> None:
        """Keep what trainings are expected to take, for those who ask how long is left; nothing once all are done."""
        if expected:
            self._searches[self._places[0]].set_user_attr("expected", expected.record())

    def generation(self) -> list[Trial]:
        """The next trials of every search, those that a killed driver left first; empty when the budget is spent.

        Where that is in minutes, searches that have fewer trials than others (they are newer) come first; and when the
        time is spent, all get as many trials as the one that has most, which is then written into the journal.
        """
        with consistent(self._journal, self._is_old):
            return self._generation()

    def _generation(self) -> list[Trial]:
        if not self._searching:
            return []
        if self.clock is None:
            return [trial for place in self._searching for trial in self._ask(place)]
        self._close_if_spent(self.clock)
        told = self._told()
        return [trial for place in self._searching if told[place] == min(told.values()) for trial in self._ask(place)]

    def report(self, trial: Trial, epoch: Epoch) -> None:
        """Tell the pruner of an epoch, unless it judges by folds."""
        value = epoch[f"val_{self.study.metric}"]
        if trial.stage == "search" and np.isfinite(value) and not self.study.is_judged_by_folds:
            self._now.steps[place_of(trial), trial.number] = set(range(epoch.number))
            self._report(trial, value, epoch.number - 1)

    def report_folds(self, trial: Trial, ended: FoldsEnded) -> None:
        """Tell the pruner of the folds that have come to their end so far, if it judges by folds."""
        known = {number: figures.get(f"val_{self.study.metric}", np.nan) for number, figures in ended.figures.items()}
        known = {number: value for number, value in known.items() if np.isfinite(value)}
        if known and self.study.is_judged_by_folds:
            self._now.steps[place_of(trial), trial.number] = set(known)
            for number, value in known.items():
                self._report(trial, value, number)

    def _report(self, trial: Trial, value: float, step: int) -> None:
        if step not in self._frozen(trial).intermediate_values:  # known already when a group is run again
            self._now.asked[place_of(trial), trial.number].report(value, step)

    def should_prune(self, trial: Trial) -> bool:
        """The pruner's verdict, which looks at completed trials of earlier generations of the same search.

        A trial that is run again is judged by the epochs of this run alone, as it was the first time.
        """
        steps = self._now.steps.get((place_of(trial), trial.number))
        if trial.is_tested or steps is None:
            return False
        so_far = copy.copy(self._frozen(trial))
        so_far.intermediate_values = {s: value for s, value in so_far.intermediate_values.items() if s in steps}
        place = place_of(trial)
        if place not in self._now.judges:
            self._now.judges[place] = Judge(self._searches[place])
        return self._now.judges[place].stops(so_far)

    def record(self, trial: Trial, outcome: Outcome) -> None:
        """Write an outcome to the journal, once, and the Config that it came of; its weights beside it before."""
        with consistent(self._journal, self._is_old):
            self._record(trial, outcome)

    def _record(self, trial: Trial, outcome: Outcome) -> None:
        if self.is_recorded(trial):
            return
        outcome = self.weights.keep(trial, outcome)
        if trial.stage == "search":
            self._now.asked[place_of(trial), trial.number].set_user_attr("outcome", outcome_record(trial, outcome))
            return
        if trial.stage == "ablation":
            self._ablations.record(trial, outcome)
            return
        winner = self._trials(place_of(trial)).winner()
        attributes = {"seed_number": trial.number, "winner": winner, "seed": trial.seed, "search": trial.search}
        finished = outcome.status == "finished"
        self._seeds[trial.level].add_trial(
            create_trial(
                state=TrialState.COMPLETE if finished else TrialState.FAIL,
                value=outcome[f"test_{self.study.metric}"] if finished else None,
                user_attrs={**attributes, "outcome": outcome_record(trial, outcome)},
            )
        )

    def taken_back(self, trials: Iterable[Trial]) -> Iterator[tuple[Trial, Outcome]]:
        """Those trials whose outcomes are not recorded, but kept by the file that a damaged journal was mended from:
        they are recorded now, with what the pruner was told of them.
        """
        for trial in trials:
            outcome = None if self.is_recorded(trial) else self._kept.outcome(trial)
            if outcome is not None:
                for epoch in outcome.history:
                    self.report(trial, epoch)
                if outcome.folds and self.study.is_judged_by_folds:
                    whole = {n: fold.figures for n, fold in enumerate(outcome.folds) if fold.status == "finished"}
                    self.report_folds(trial, FoldsEnded(whole))
                self.record(trial, outcome)
                yield trial, outcome

    def is_recorded(self, trial: Trial) -> bool:
        """Whether the journal holds the trial's outcome."""
        if trial.stage == "search":
            return "outcome" in self._frozen(trial).user_attrs
        if trial.stage == "ablation":
            return trial in self._ablations.known
        trials = self._trials(place_of(trial))
        return trial.number in trials.confirmed(trials.winner())

    def close_generation(self) -> None:
        """Tell the sampler of the generation, in the order in which it was asked for."""
        with consistent(self._journal, self._is_old):
            self._tell_all()
        self._now = AtWork()
        if self.clock is not None:
            self.clock.generation()

    def _tell_all(self) -> None:
        order = {place: row for row, place in enumerate(self._places)}
        known = {key: self._asked_for(*key) for key in sorted(self._now.asked, key=lambda key: (order[key[0]], key[1]))}
        cut = {place for (place, _), outcome in known.items() if outcome is None and self.is_stopped(place[0])}
        for (place, number), outcome in known.items():
            if place in cut:  # as after a kill: the generation is taken up whole, if ever
                continue
            if outcome is not None:
                value = outcome[f"val_{self.study.metric}"] if outcome.status == "finished" else None
                self._searches[place].tell(number, value, STATES[outcome.status])

    def _asked_for(self, place: Place, number: int) -> Outcome | None:
        """What came of a trial of the generation at work, if anything."""
        return outcome_of(self._storage.get_trial(self._now.asked[place, number]._trial_id))

    def reserve(self) -> float:
        """How many seconds the confirmations that are not recorded yet will take, as far as trainings can tell.

        Each takes what its winner took, times how long a second of training was in the search: less where groups train
        side by side, more for what comes with a training. Of a search without a winner the mean of the others is taken.
        `MARGIN` times that: smaller stacks share less, and test images are measured too.
        """
        trained = sum(record["seconds"] for record in self._records())
        if self.clock is None or not trained:
            return 0.0
        known = {place: self._trials(place) for place in self._places}
        winners = {place: trials.winner() for place, trials in known.items()}
        each = {
            place: float(known[place].search[winner].user_attrs["outcome"]["seconds"])
            for place, winner in winners.items()
            if winner is not None and winner != UNTUNED
        }
        mean = sum(each.values()) / max(1, len(each))
        lacks = {
            place: self.study.shared_out(place[1]) - len(known[place].confirmed(winners[place]))
            for place in self._going
        }
        left = sum(number * each.get(place, mean) for place, number in lacks.items())
        return float(MARGIN * left * self.clock.used() / trained)

    def _records(self) -> Iterator[Mapping[str, Any]]:
        """Of all outcomes what lies in the journal, of every trial and confirmation."""
        studies = [*self._searches.values(), *self._seeds.values()]
        for frozen in (frozen for study in studies for frozen in study.get_trials(deepcopy=False)):
            if "outcome" in frozen.user_attrs:
                yield frozen.user_attrs["outcome"]

    def _told(self) -> dict[Place, int]:
        """How many trials the sampler of each search has been told of, of those that search anything."""
        return {place: sum(t.state.is_finished() for t in self._trials(place).search) for place in self._searching}

    def _close_if_spent(self, clock: StudyClock) -> None:
        """Once no further generation fits into the time, or none is wanted, write down how many trials there were.

        A generation that was asked for is trained, and a study has at least one.
        """
        told, study = self._told(), self.study
        asked = max(len(self._trials(place).search) for place in self._searching)
        if study.spent is not None or study.budget.minutes is None or asked > max(told.values()) or not asked:
            return
        left = 60 * study.budget.minutes - clock.used() - self.reserve()
        if asked >= study.budget.trials or clock.longest() > left:
            self.study = study.model_copy(update={"spent": asked})
            self._searches[self._places[0]].set_user_attr("study", self.study.model_dump_json())

    def left(self) -> tuple[int, int]:
        """How many trainings are still to be done, at most: search trials of all searches, and confirmations."""
        return _left(self.study, [self._trials(place) for place in self._places])

    def used(self) -> float:
        """How many seconds of its minutes are used; 0 where time does not count."""
        return self.clock.used() if self.clock is not None else 0.0

    def end(self) -> None:
        """All is trained: note the time, where it counts."""
        if self.clock is not None:
            self.clock.note()

    def keep(self) -> str | None:
        """See to it that the journal is there; what happened to it meanwhile, in one line. Raises StudyStoppedError
        where another file lies in its place, or less of it.
        """
        backend = self._storage._backend
        assert isinstance(backend, JournalFile)
        backend.keep()
        return (
            f"{backend.path}: was deleted while the study ran, and was written anew, whole"
            if backend.was_deleted
            else None
        )

    def is_over(self) -> bool:
        """Whether the budget is spent and every confirmation recorded."""
        left = [trial for trial in (*self.confirmations(), *self.ablations()) if not self.is_stopped(trial.level)]
        return all(told >= self.study.trials for told in self._told().values()) and all(map(self.is_recorded, left))

    def confirmations(self) -> list[Trial]:
        """Every fresh-seed trial of every search that has a winner, recorded or not. Of a value that was stopped all or
        none: those that were begun are in stacks with others, which stay as they are.
        """
        found = []
        with consistent(self._journal, self._is_old):
            for trials in map(self._trials, self._places):
                winner = trials.winner()
                if winner is not None and (trials.seeds or not self.is_stopped(trials.place[0])):
                    found += trials.confirmations(winner)
        return found

    def ablations(self) -> list[Trial]:
        """Every training between the defaults and the winners that the study asks for, recorded or not."""
        steps = paths(self.study, {place: self._trials(place) for place in self._places})
        every = [trial for place, own in steps.items() for trial in ablations(self.study, *place, own)]
        return [trial for trial in every if not self.is_stopped(trial.level) or trial in self._ablations.known]

    def recorded(self) -> Iterable[tuple[Trial, Outcome]]:
        """Everything that the journal knows, but for confirmations of earlier winners."""
        for trials in map(self._trials, self._places):
            for frozen in trials.search:
                outcome = outcome_of(frozen)
                if outcome is not None:
                    yield trials.search_trial(frozen), outcome
        for trial in self.confirmations():
            trials = self._trials(place_of(trial))
            confirmed = trials.confirmed(trials.winner()).get(trial.number)
            outcome = outcome_of(confirmed) if confirmed else None
            if outcome is not None:
                yield trial, outcome
        for trial in self.ablations():
            if trial in self._ablations.known:
                yield trial, self._ablations.known[trial]

    def _open(self, name: str) -> optuna.Study:
        """The Optuna study of that name, which there is."""
        return optuna.load_study(study_name=name, storage=self._storage, pruner=make_pruner(self.study))

    def _begin(self, environment: Mapping[str, Any], how: Mapping[str, Any]) -> optuna.Study:
        """The first of the Optuna studies, which has what all depend on; then all others are there too."""
        names = _names(self.study)
        self._create(names[:1])
        first = self._open(names[0])
        self._note(first, environment, how)
        self._create(names)
        return first

    def _create(self, names: Sequence[str]) -> None:
        create_studies(self._storage, names, StudyDirection[direction(self.study).upper()])

    def _note(self, first: optuna.Study, environment: Mapping[str, Any], how: Mapping[str, Any]) -> None:
        """Write what all trials depend on into the first of the Optuna studies, where readers look for it."""
        facts: dict[str, Any] = {"environment": dict(environment)}  # first: others look for it in a journal's head
        facts |= {"study": self.study.model_dump_json(), "format": FORMAT}
        facts |= {"how": dict(how)} if how else {}
        attributes = first.user_attrs
        recorded = Study.model_validate_json(attributes["study"]) if "study" in attributes else None
        for then in filter(None, (recorded, self._kept.study)):
            _refuse_edits(self.study, then)
        refuse_other_data(self.study, attributes.get("environment", {}), environment)
        own = attributes.get("journal", self._kept.id or uuid.uuid4().hex)
        for fact, value in {"journal": own, **facts}.items():
            if attributes.get(fact) != value:
                first.set_user_attr(fact, value)

    def _trials(self, place: Place) -> SearchTrials:
        search, seeds = self._searches[place], self._seeds[place[0]]
        return SearchTrials.of(self.study, place, search.get_trials(deepcopy=False), seeds.get_trials(deepcopy=False))

    def _ask(self, place: Place) -> list[Trial]:
        """A search's generation: what was asked for and not told yet, and as many new trials as it lacks."""
        study, size = self._searches[place], self.study.search.generation
        known = study.get_trials(deepcopy=False)
        told = sum(frozen.state is not TrialState.RUNNING for frozen in known)
        end = min((told // size + 1) * size, self.study.trials)
        level, search = place
        seed, lacking = self.study.search_seed(search), end - len(known)
        history = self._histories.setdefault(place, make_history(self.study))
        for proposal in propose(self.study, level, seed, known, lacking, self._weigh, history):
            study.add_trial(proposal)
        trials = self._trials(place)
        generation = trials.search[told:end]
        self._now.asked.update(((place, one.number), optuna.Trial(study, one._trial_id)) for one in generation)
        return [trials.search_trial(frozen) for frozen in generation]

    def _frozen(self, trial: Trial) -> FrozenTrial:
        search = self._searches[place_of(trial)]._study_id
        return self._storage.get_trial(self._storage.get_trial_id_from_study_id_trial_number(search, trial.number))


def _names(study: Study) -> list[str]:
    """What all Optuna studies of a journal are called."""
    return [
        *(search_name(study, place) for place in places(study)),
        *(seeds_name(study, level) for level in study.levels),
        *names_of(study).values(),
    ]


def place_of(trial: Trial) -> Place:
    """The search that a trial is of, or confirms."""
    return trial.level, trial.search


def begun(study: Study, journal: Path, storage: JournalStorage | None = None) -> Study:
    """The study as its journal began it: where seeds are counted, as before format 3, they go on being counted, and
    what an earlier study told it then it goes on with. A study that begins now asks that one. `storage` is the journal,
    where it is open already.
    """
    if storage is None and journal.is_file():
        cut_torn_line(journal)
        storage = open_journal(journal)
    known = storage.get_all_studies() if storage else []
    then = _study_in(known) or Kept(journal, {}).study
    if storage is None or then is None:
        return with_earlier(study, journal.parent)
    names = {search_name(then, place) for place in places(then)}
    asked = [storage.get_n_trials(one._study_id) for one in known if one.study_name in names]
    return _gone_on_with(study, then, max(asked, default=0))


def _study_in(known: Iterable[FrozenStudy]) -> Study | None:
    """The study that a journal is of; None where it holds none yet."""
    recorded = next((one.user_attrs["study"] for one in known if "study" in one.user_attrs), None)
    return None if recorded is None else Study.model_validate_json(recorded)


def check_edits(study: Study, journal: Path) -> None:
    """Raises UserError when the study was edited since its journal began, as `Ledger` does: for those who would not
    execute what it refuses.
    """
    with consistent(journal):
        then = _study_in(open_journal(journal).get_all_studies()) if journal.is_file() else None
        if then is not None:
            _refuse_edits(begun(study, journal), then)


def look(study: Study, journal: Path, environment: Mapping[str, Any] = UNKNOWN) -> tuple[Study, tuple[int, int], float]:
    """The study as its journal would go on, what `Ledger.left` would be, and the seconds of its minutes that are used;
    nothing is written. Raises UserError when the study was edited since, or its data, of which `environment` tells.
    """
    records = Records(journal)
    with consistent(journal):
        return _looked(study, records, environment)


def _looked(study: Study, records: Records, environment: Mapping[str, Any]) -> tuple[Study, tuple[int, int], float]:
    refuse_other_data(study, records.environment, environment)
    known = list(records.searches.values())
    now = _gone_on_with(study, records.study, max(len(trials.search) for trials in known))
    _refuse_edits(now, records.study)
    return now, _left(now, known), records.seconds


def _left(study: Study, known: Sequence[SearchTrials]) -> tuple[int, int]:
    """How many trainings a study lacks of which that is known: search trials, and confirmations."""
    known = [trials for trials in known if not study.is_stopped(trials.place[0])]
    told = sum(frozen.state.is_finished() for trials in known for frozen in trials.search)
    confirmed = sum(len(trials.confirmed(trials.winner())) for trials in known)
    searches, confirmations = study.whole
    return searches - told, confirmations - confirmed


def _gone_on_with(now: Study, then: Study, asked: int) -> Study:
    """A study with what its journal has settled, in which so many trials of a search were asked for."""
    now = settled_as(now, then)
    wider = tuple(
        f"{key} was {describe(old)} for the first {asked} trials of a search" for key, old in widened(now, then).items()
    )
    settled = {"seeding": then.seeding, "found": then.found, "spent": _still_spent(now, then), "stopped": then.stopped}
    return now.model_copy(update={**settled, "widened": (*then.widened, *(wider if asked else ()))})


def _still_spent(now: Study, then: Study) -> int | None:
    """How many trials each search got, unless there is more time now, or more trials are wanted than all there were."""
    old, new = then.budget.minutes, now.budget.minutes
    more_time = old is None or new is None or new > old
    more_trials = then.spent == then.budget.trials < now.budget.trials
    return None if more_time or more_trials else then.spent


def _refuse_edits(now: Study, then: Study) -> None:
    """An edit would mix trials of two studies. More trials, searches or seeds are welcome, and so is a new question, a
    wider space or another time.
    """
    changes = edits(now, as_wide(then, now)) + [
        f"budget.{key} was {old}, is {new}"
        for (key, old), new in zip(_spent(then).items(), _spent(now).values(), strict=True)
        if new < old
    ]
    if changes:
        raise UserError(
            f"studies/{now.name}: its journal holds trials of another version of the study ({'; '.join(changes)}); "
            "undo the edit, or start anew with --fresh, which puts the old journal aside",
            changed_code(now, then),
        )


def _spent(study: Study) -> dict[str, int]:
    """What may grow, and never shrink."""
    return {"trials": study.trials, "searches": study.searches, "seeds": study.budget.seeds}


def refuse_other_data(study: Study, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Trials on other data cannot stand beside those of the journal. Of two records of the environment what both know
    counts. Raises UserError.
    """
    old, new = (by_dataset(known, "data_sha256") for known in (then, now))
    for name in old:
        if name in new and old[name] != new[name]:
            raise UserError(
                f"studies/{study.name}: its journal holds trials on other data: {name} had sha256 {old[name][:12]}, "
                f"has {new[name][:12]}; put it back as it was, or start anew with --fresh"
            )


def edits(now: Study, then: Study) -> list[str]:
    """What is another in a study that its trials depend on, each in words."""
    told = [f"{key} was {old}, is {new}" for key, old, new in _differences(then.identity(), now.identity())]
    changed = [(old, new) for old, new in programs(now, then) if old.source != new.source]
    return told + [f"{new.file} had sha256 {old.sha256[:12]}, has {new.sha256[:12]}" for old, new in changed]


def changed_code(now: Study, then: Study) -> list[str]:
    """The lines in which what a user wrote is another, a model or what loads data, where both studies have one."""
    return [line for old, new in programs(now, then) for line in difference(old, new)]


def programs(now: Study, then: Study) -> Iterator[tuple[Program, Program]]:
    """What both studies have of the programs that a user may write."""
    if then.own and now.own:
        yield then.own, now.own
    if then.loader and now.loader:
        yield then.loader, now.loader


def _differences(then: Any, now: Any, key: str = "") -> Iterable[tuple[str, Any, Any]]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in sorted({*then, *now}):
            yield from _differences(then.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif then != now:
        yield key, "not there" if then is None else then, "gone" if now is None else now
