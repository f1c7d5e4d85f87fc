"""Our window on Optuna: which trials come next, and what came of them.

    with hold(journal):
        search = Search(study, journal, environment)
        for trial in search.generation(): ...      # asked for together, so that they can share stacks
        search.close_generation()                  # only now does the sampler hear of them
        for trial in search.confirmations(): ...   # fresh seeds of each level's winner

Each compared value has an Optuna study of its own in the journal, with the same space, budget and seed. A generation
is told all at once and in its own order, and the sampler is seeded anew for every trial, so the same study file gives
the same trials however fast they come back, in whatever order, and however often the driver was killed.
"""

import copy
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.errors import UserError
from harness.journal.file import cut_torn_line, hold, open_journal, outcome_of, put_aside, winner
from harness.journal.sampling import from_optuna, make_pruner, propose
from harness.study.study import Study
from harness.trial import Epoch, Outcome, Trial, Value

__all__ = ["Search", "edits", "hold", "put_aside"]

optuna.logging.set_verbosity(optuna.logging.WARNING)

STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,  # stopped early, and the sampler should keep away from there
    "failed": TrialState.FAIL,  # says nothing about the hyperparameters
}


class Search:
    """A study's search, as the driver sees it. Raises UserError when the study was edited since its journal began."""

    def __init__(self, study: Study, journal: Path, environment: Mapping[str, Any]) -> None:
        self.study = study
        cut_torn_line(journal)
        self._storage = open_journal(journal)
        names = {level: study.level_name(level) for level in study.levels}
        self._levels = {level: self._open(name, environment) for level, name in names.items()}
        self._seeds = {level: self._open(f"{name} seeds", environment) for level, name in names.items()}
        self._asked: dict[tuple[Value, int], optuna.Trial] = {}  # the generation at work
        self._steps: dict[tuple[Value, int], int] = {}  # the last epoch of each, counted from 0 as Optuna does

    @property
    def id(self) -> str:
        """What tells this journal from every other, also from those that were put aside."""
        return str(self._levels[self.study.levels[0]].user_attrs["journal"])

    def note_runs(self, links: Mapping[str, str]) -> None:
        """Keep where the runs can be seen, for the report."""
        first = self._levels[self.study.levels[0]]
        if links and first.user_attrs.get("runs") != dict(links):
            first.set_user_attr("runs", dict(links))

    def generation(self) -> list[Trial]:
        """The next trials of every level, those that a killed driver left first; empty when the budget is spent."""
        if not self.study.tune:
            return []
        return [trial for level in self.study.levels for trial in self._ask(level)]

    def report(self, trial: Trial, epoch: Epoch) -> None:
        """Tell the pruner of an epoch."""
        if trial.stage == "search" and np.isfinite(epoch.val_accuracy):
            step = self._steps[trial.level, trial.number] = epoch.number - 1
            if step not in self._frozen(trial).intermediate_values:  # known already when a stack is run again
                self._asked[trial.level, trial.number].report(epoch.val_accuracy, step)

    def should_prune(self, trial: Trial) -> bool:
        """The pruner's verdict, which looks at completed trials of earlier generations of the same level.

        A trial that is run again is judged by the epochs of this run alone, as it was the first time.
        """
        step = self._steps.get((trial.level, trial.number))
        if trial.stage == "confirm" or step is None:
            return False
        so_far = copy.copy(self._frozen(trial))
        so_far.intermediate_values = {s: value for s, value in so_far.intermediate_values.items() if s <= step}
        study = self._levels[trial.level]
        return study.pruner.prune(study, so_far)

    def record(self, trial: Trial, outcome: Outcome) -> None:
        """Write an outcome to the journal, once."""
        if trial.stage == "search":
            if "outcome" not in self._frozen(trial).user_attrs:
                self._asked[trial.level, trial.number].set_user_attr("outcome", outcome.record())
            return
        if trial.number not in self._confirmed(trial.level):
            attributes = {"seed_number": trial.number, "winner": self._winner_number(trial.level)}
            self._seeds[trial.level].add_trial(
                create_trial(
                    state=TrialState.COMPLETE if outcome.status == "finished" else TrialState.FAIL,
                    value=outcome.test_accuracy if outcome.status == "finished" else None,
                    user_attrs={**attributes, "seed": trial.seed, "outcome": outcome.record()},
                )
            )

    def is_recorded(self, trial: Trial) -> bool:
        """Whether the journal holds the trial's outcome."""
        if trial.stage == "search":
            return "outcome" in self._frozen(trial).user_attrs
        return trial.number in self._confirmed(trial.level)

    def close_generation(self) -> None:
        """Tell the sampler of the generation, in the order in which it was asked for."""
        for level, number in sorted(self._asked, key=lambda key: (self.study.levels.index(key[0]), key[1])):
            outcome = outcome_of(self._levels[level].get_trials(deepcopy=False)[number])
            if outcome is not None:
                value = outcome.val_accuracy if outcome.status == "finished" else None
                self._levels[level].tell(number, value, STATES[outcome.status])
        self._asked.clear()
        self._steps.clear()

    def is_over(self) -> bool:
        """Whether the budget is spent and every confirmation recorded."""
        budget = self.study.budget.trials if self.study.tune else 0
        searched = all(
            sum(trial.state.is_finished() for trial in self._levels[level].get_trials(deepcopy=False)) >= budget
            for level in self.study.levels
        )
        return searched and all(map(self.is_recorded, self.confirmations()))

    def confirmations(self) -> list[Trial]:
        """Every fresh-seed trial of every level that has a winner, recorded or not."""
        trials = []
        for level in self.study.levels:
            number = self._winner_number(level)
            if number is not None:
                params = self._levels[level].get_trials(deepcopy=False)[number].params if number >= 0 else {}
                trials += self.study.confirmations(level, from_optuna(params))
        return trials

    def recorded(self) -> Iterable[tuple[Trial, Outcome]]:
        """Everything that the journal knows."""
        for level in self.study.levels:
            for frozen in self._levels[level].get_trials(deepcopy=False):
                outcome = outcome_of(frozen)
                if outcome is not None:
                    yield self._trial(level, frozen), outcome
        for trial in self.confirmations():
            confirmed = self._confirmed(trial.level).get(trial.number)
            if confirmed is not None:
                yield trial, Outcome.from_record(confirmed.user_attrs["outcome"])

    def _open(self, name: str, environment: Mapping[str, Any]) -> optuna.Study:
        """The Optuna study of that name, made if need be, with what its trials depend on written into it."""
        study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            pruner=make_pruner(self.study),
        )
        attributes = study.user_attrs
        if "study" in attributes:
            _refuse_edits(self.study, Study.model_validate_json(attributes["study"]))
        if attributes.get("study") != (now := self.study.model_dump_json()):
            study.set_user_attr("study", now)
        if "journal" not in attributes:
            study.set_user_attr("journal", uuid.uuid4().hex)
        if attributes.get("environment") != dict(environment):
            study.set_user_attr("environment", dict(environment))
        return study

    def _ask(self, level: Value) -> list[Trial]:
        """The level's generation: what was asked for and not told yet, and as many new trials as it lacks."""
        study, size = self._levels[level], self.study.search.generation
        known = study.get_trials(deepcopy=False)
        told = sum(frozen.state.is_finished() for frozen in known)
        end = min((told // size + 1) * size, self.study.budget.trials)
        for proposal in propose(self.study, level, known, end - len(known)):
            study.add_trial(proposal)
        generation = study.get_trials(deepcopy=False)[told:end]
        self._asked |= {(level, frozen.number): optuna.Trial(study, frozen._trial_id) for frozen in generation}
        return [self._trial(level, frozen) for frozen in generation]

    def _trial(self, level: Value, frozen: FrozenTrial) -> Trial:
        config = self.study.config(level, from_optuna(frozen.params))
        return Trial(level, "search", frozen.number, self.study.search.seed, config)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self._levels[trial.level].get_trials(deepcopy=False)[trial.number]

    def _winner_number(self, level: Value) -> int | None:
        return winner(self._levels[level].get_trials(deepcopy=False)) if self.study.tune else -1

    def _confirmed(self, level: Value) -> dict[int, FrozenTrial]:
        """The level's confirmation runs by seed number; those of an earlier winner (the budget grew) do not count."""
        number = self._winner_number(level)
        trials = self._seeds[level].get_trials(deepcopy=False)
        return {t.user_attrs["seed_number"]: t for t in trials if t.user_attrs["winner"] == number}


def _refuse_edits(now: Study, then: Study) -> None:
    """An edit would mix trials of two studies. More trials or seeds are welcome, and so is a new question."""
    changes = edits(now, then) + [
        f"budget.{key} was {getattr(then.budget, key)}, is {getattr(now.budget, key)}"
        for key in ("trials", "seeds")
        if getattr(now.budget, key) < getattr(then.budget, key)
    ]
    if changes:
        raise UserError(
            f"studies/{now.name}: its journal holds trials of another version of the study ({'; '.join(changes)}); "
            "undo the edit, or start anew with --fresh, which puts the old journal aside"
        )


def edits(now: Study, then: Study) -> list[str]:
    """What is another in a study that its trials depend on, each in words."""
    return [f"{key} was {old}, is {new}" for key, old, new in _differences(then.identity(), now.identity())]


def _differences(then: Any, now: Any, key: str = "") -> Iterable[tuple[str, Any, Any]]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in sorted({*then, *now}):
            yield from _differences(then.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif then != now:
        yield key, "not there" if then is None else then, "gone" if now is None else now
