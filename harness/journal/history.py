"""What samplers know of a search, kept from one generation to the next: told trials do not change any more.

history = History(direction)
history.learn(trials)                           # in their order; those that were not told yet are taken anew
history.table(distributions).divided(25)       # as arrays, for a proposal that looks at thousands of trials
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

RELATIVE = "tpe:relative_params"  # the attribute in which Optuna's TPE notes what it draws before it is asked for it
OPEN, COMPLETE, PRUNED, INFEASIBLE, IGNORED = map(float, range(5))
RANKED = (COMPLETE, PRUNED, INFEASIBLE)  # the better ones first
KIND, FIRST, SECOND = range(3)  # columns of a table: what became of a trial, and by what it is ranked among its kind
HEAD = 3  # columns before the hyperparameters'


class History(optuna.Study):
    """The trials of a search in memory, as samplers know them, and what was proposed since."""

    def __init__(self, direction: StudyDirection) -> None:
        storage = InMemoryStorage()
        storage.create_new_study([direction], "history")
        super().__init__("history", storage)
        self._memory = storage
        self._places: list[int] = []  # of each trial of the search, among what was infeasible before it
        self._told = 0  # how many of them are known for good, from the first on
        self._table: TrialTable | None = None

    def learn(self, known: Sequence[FrozenTrial], as_known: Callable[[FrozenTrial], Iterable[FrozenTrial]]) -> None:
        """Take in all trials of the search: `as_known` makes of one what samplers see of it, itself at last."""
        for number in range(self._told, len(known)):
            if number < len(self._places):
                *_, seen = as_known(known[number])
                self._put(self.get_trials(deepcopy=False)[self._places[number]]._trial_id, seen)
            else:
                for seen in as_known(known[number]):  # not by `add_trial`, which copies all of it
                    self._put(self._memory.create_new_trial(self._study_id), seen)
                self.proposed()
        while self._told < len(known) and known[self._told].state.is_finished():
            self._told += 1

    def proposed(self) -> None:
        """The last trial is the search's next one."""
        self._places.append(self._memory.get_n_trials(self._study_id) - 1)

    def table(self, distributions: Mapping[str, BaseDistribution]) -> "TrialTable":
        """The trials as arrays, with columns for these hyperparameters, which are the same whenever it is asked."""
        if self._table is None:
            self._table = TrialTable(distributions, 1 if self.direction == StudyDirection.MINIMIZE else -1)
        self._table.read(self.get_trials(deepcopy=False))
        return self._table

    def _put(self, trial: int, seen: FrozenTrial) -> None:
        """Lay a trial, which nobody else has, in the place of the one with that id."""
        seen.number, seen._trial_id = self._memory.get_trial_number_from_id(trial), trial
        self._memory._set_trial(trial, seen)


class TrialTable:
    """Trials as arrays (trials, columns), in their order; a hyperparameter that a trial does not have is NaN.

    Values are as Optuna's distributions hold them: of a choice its place. `sign` makes of a value what is minimised.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution], sign: int) -> None:
        self.distributions, self.sign = dict(distributions), sign
        self._columns = {key: HEAD + number for number, key in enumerate(distributions)}
        self._rows: Floats = np.empty((64, HEAD + len(distributions)))
        self._count = 0
        self._settled = 0  # rows that change no more

    def read(self, trials: Sequence[FrozenTrial]) -> None:
        """Take in the trials that there are now."""
        if len(trials) > len(self._rows):
            more = np.empty((2 * len(trials), self._rows.shape[1]))
            more[: self._settled] = self._rows[: self._settled]
            self._rows = more
        for place in range(self._settled, len(trials)):
            self._rows[place] = self._row(trials[place])
        self._count = len(trials)
        while self._settled < self._count and self._rows[self._settled, KIND] != OPEN:
            self._settled += 1

    @property
    def told(self) -> int:
        """How many trials tell a sampler anything: complete, pruned or infeasible."""
        return int(np.count_nonzero(self._tells))

    def common(self) -> list[str]:
        """The hyperparameters that all of these have, sorted."""
        told = self._rows[: self._count][self._tells]
        return sorted(k for k, column in self._columns.items() if len(told) and not np.isnan(told[:, column]).any())

    def divided(self, count: int) -> tuple[Places, Places]:
        """The best so many trials, and the others with those that are open; both in their order."""
        kinds, left, below = self._rows[: self._count, KIND], count, list[Places]()
        for kind in RANKED:
            below.append(self._first(np.flatnonzero(kinds == kind), left))
            left -= len(below[-1])
        chosen = np.sort(np.concatenate(below))
        others = kinds != IGNORED
        others[chosen] = False
        return chosen, np.flatnonzero(others)

    def observed(self, places: Places, keys: Sequence[str]) -> dict[str, Floats]:
        """The values of these hyperparameters, of those trials that have all of them."""
        values = self._rows[places][:, [self._columns[key] for key in keys]]
        values = values[~np.isnan(values).any(axis=1)]
        return dict(zip(keys, np.ascontiguousarray(values.T), strict=True))

    @property
    def _tells(self) -> npt.NDArray[np.bool_]:
        return np.isin(self._rows[: self._count, KIND], RANKED)

    def _first(self, places: Places, count: int) -> Places:
        """Those so many of a kind that rank first; of equals those that came first."""
        if count <= 0 or not len(places):
            return places[:0]
        ranks = self._rows[places, FIRST]
        if count < len(places):  # to sort thousands would take longer than all else
            near = ranks <= np.partition(ranks, count - 1)[count - 1]
            places, ranks = places[near], ranks[near]
        return places[np.lexsort((self._rows[places, SECOND], ranks))[:count]]

    def _row(self, trial: FrozenTrial) -> list[float]:
        params = params_of(trial)
        values = [
            domain.to_internal_repr(params[key]) if key in params else np.nan
            for key, domain in self.distributions.items()
        ]
        return [*self._rank(trial), *values]

    def _rank(self, trial: FrozenTrial) -> tuple[float, float, float]:
        """What became of a trial, and by what it is ranked among its kind: as Optuna's TPE ranks."""
        if not trial.state.is_finished():
            return OPEN, 0.0, 0.0
        if trial.state == TrialState.FAIL:
            return IGNORED, 0.0, 0.0
        if excess := sum(value for value in trial.constraints.values() if value > 0):
            return INFEASIBLE, excess, 0.0
        if trial.state == TrialState.COMPLETE:
            return COMPLETE, self.sign * (trial.value or 0.0), 0.0
        if not trial.intermediate_values:
            return PRUNED, 1.0, 0.0
        step, value = max(trial.intermediate_values.items())
        return PRUNED, -step, np.inf if np.isnan(value) else self.sign * value


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's hyperparameters; of one that is open also what was drawn for it and is not used."""
    if trial.state.is_finished():
        return trial.params
    parts = ((key, part) for key, part in trial.system_attrs.items() if key.startswith(f"{RELATIVE}:"))
    drawn = "".join(part for _, part in sorted(parts, key=lambda item: int(item[0].rpartition(":")[2])))
    return {**(json.loads(drawn) if drawn else {}), **trial.params}
