"""Optuna's PED-ANOVA, without the imports of its other evaluators.

importances(search)      # {"lr": 0.6, "dropout": 0.4}
"""

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.journal.sampling import as_samplers_know_it, make_history
from harness.study.study import Study
from harness.trial import Level

ENOUGH = 8  # finished trials, below which importances would say nothing
OF_FORESTS = ("sklearn.ensemble", "sklearn.tree")  # and with them most of scipy


def importances_in(study: Study, level: Level, trials: Iterable[FrozenTrial]) -> dict[str, float]:
    """The importances over all trials of a level's searches. Empty where too few have finished."""
    complete = [frozen for frozen in trials if frozen.state == TrialState.COMPLETE]
    if len(complete) < ENOUGH:
        return {}
    together = make_history(study)
    together.learn(complete, lambda frozen: [as_samplers_know_it(frozen, study, level)])
    return importances(together)


def importances(search: optuna.Study) -> dict[str, float]:
    """How much of the variation in its value each hyperparameter of a search explains: shares that add up to 1."""
    with _without(OF_FORESTS), warnings.catch_warnings(action="ignore"):  # that a condition holds in few trials
        return optuna.importance.get_param_importances(search)


@contextmanager
def _without(modules: tuple[str, ...]) -> Iterator[None]:
    """What is imported meanwhile finds modules missing, unless they are there already; Optuna provides for that.

    Measured: Optuna's importances take 0.7 s to import, all but 2 ms of it for evaluators by random forests.
    """
    left_out = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(left_out))  # type: ignore[arg-type]  # None stands for a module that is missing
    try:
        yield
    finally:
        for name in left_out:
            del sys.modules[name]
