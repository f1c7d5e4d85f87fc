"""What tuning was worth: trainings of the defaults, and of what lies between them and a search's winner.

    steps = path(study, level, winner, order)      # [("", defaults), ("lr", ...), ("width", the winner itself)]

They have the seeds of the search's confirmations, so both can be compared in pairs, and an Optuna study of their own in
the journal: they never count as confirmations. What is already trained is known by search, number and Config, so one
that several steps have in common is trained once, and a budget that grows keeps what it still needs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.config import Config
from harness.journal.importance import importances_in
from harness.journal.level import Place, SearchTrials, outcome_of, outcome_record, seed_number
from harness.study.space import Space
from harness.study.study import Study
from harness.trial import Level, Outcome, Trial

Step = tuple[str, Config]
"""A tuned hyperparameter that has the winner's value from here on ("" for the defaults), and what is trained then."""


def ablation_name(study: Study, level: Level) -> str:
    """What the Optuna study of a level's ablations is called."""
    return f"{study.level_name(level)} ablation"


def is_wanted(study: Study) -> bool:
    """Whether anything is trained here."""
    return study.is_searched and (study.budget.ablation or study.budget.confirm_defaults)


def in_order(space: Space, importances: Mapping[str, float]) -> list[str]:
    """The hyperparameters of a space, the most important first, equal ones as in the study file; one that means
    something under conditions only comes after those that it depends on.
    """
    ranked = sorted(space, key=lambda key: -importances.get(key, 0.0))
    found: dict[str, None] = {}
    for key in ranked:
        needed = [other for other in space[key].when if other in space]
        found |= dict.fromkeys([*needed, key])
    return list(found)


def path(study: Study, level: Level, winner: Config, order: Iterable[str]) -> list[Step]:
    """From the defaults, wherever they lie, to a winner: one tuned hyperparameter after the other."""
    defaults = study.config(level, {})
    config = winner.replace(**{key: defaults[key] for key in study.space(level)})
    steps = [("", config)]
    for key in order:
        config = config.replace(**{key: winner[key]})
        steps.append((key, config))
    return steps


def paths(study: Study, searches: Mapping[Place, SearchTrials]) -> dict[Place, list[Step]]:
    """The path of each search that has a winner; none where none is trained."""
    if not is_wanted(study):
        return {}
    found = {}
    for level in study.searching:
        own = {place: trials for place, trials in searches.items() if place[0] == level}
        importances = importances_in(study, level, [one for trials in own.values() for one in trials.search])
        order = in_order(study.space(level), importances)
        for place, trials in own.items():
            winner = trials.winner()
            if winner is not None:
                found[place] = path(study, level, trials.config(winner), order)
    return found


def ablations(study: Study, level: Level, search: int, steps: Sequence[Step]) -> Iterator[Trial]:
    """The trials of a path, recorded or not. Its last step is the winner, which is confirmed anyway."""
    winner = steps[-1][1]
    wanted = steps if study.budget.ablation else steps[:1]
    for config in dict.fromkeys(config for _, config in wanted if config != winner):
        for number in range(study.shared_out(search)):
            yield ablation(study, level, search, number, config)


def ablation(study: Study, level: Level, search: int, number: int, config: Config) -> Trial:
    """A training with the seed of the confirmation of that number."""
    return replace(study.confirmation(level, search, number, config), stage="ablation", tested_each_epoch=False)


def ablation_of(study: Study, level: Level, frozen: FrozenTrial) -> Trial:
    """A recorded ablation as training knows it."""
    config = Config.from_record(frozen.user_attrs["outcome"]["config"], study.own)
    trial = ablation(study, level, int(frozen.user_attrs["search"]), seed_number(frozen), config)
    return replace(trial, seed=int(frozen.user_attrs["seed"]))


class Ablations:
    """Those of a journal that its driver records, by trial."""

    def __init__(self, study: Study, opened: Mapping[Level, optuna.Study]) -> None:
        self._opened = opened
        self.known: dict[Trial, Outcome] = {}
        for level, known in opened.items():
            for frozen in known.get_trials(deepcopy=False):
                if outcome := outcome_of(frozen):
                    self.known[ablation_of(study, level, frozen)] = outcome

    def record(self, trial: Trial, outcome: Outcome) -> None:
        """Write an outcome, once."""
        if trial in self.known:
            return
        attributes = {"seed_number": trial.number, "seed": trial.seed, "search": trial.search}
        state = TrialState.COMPLETE if outcome.status == "finished" else TrialState.FAIL
        value = outcome[f"test_{trial.config.metric}"] if outcome.status == "finished" else None
        record = {**attributes, "outcome": outcome_record(trial, outcome)}
        self._opened[trial.level].add_trial(create_trial(state=state, value=value, user_attrs=record))
        self.known[trial] = outcome
