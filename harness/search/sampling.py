"""How Optuna is asked: samplers, pruners, and our hyperparameters in Optuna's terms."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, WilcoxonPruner
from optuna.samplers import BaseSampler, GPSampler, GridSampler, QMCSampler, RandomSampler, TPESampler

from harness.study import Choice, Range, Study, grid_values
from harness.trial import Config, Value

PRUNERS: dict[str, type[BasePruner]] = {
    "median": MedianPruner,
    "hyperband": HyperbandPruner,
    "wilcoxon": WilcoxonPruner,
    "none": NopPruner,
}


def make_sampler(study: Study, number: int) -> BaseSampler:
    """A fresh sampler for trial `number`: what it draws depends on seed, number and history alone."""
    seed = study.search.seed
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    match study.search.sampler:
        case "random":
            return RandomSampler(seed=own)
        case "qmc":  # a sequence keeps its seed; only what it cannot place (choices) is drawn at random
            return QMCSampler(
                scramble=True, seed=seed, independent_sampler=RandomSampler(own), warn_independent_sampling=False
            )
        case "grid":
            space = {key: [_to_optuna(v) for v in grid_values(key, domain)] for key, domain in study.tune.items()}
            return GridSampler(space, seed=seed)
        case "gp":
            return GPSampler(seed=own)
    return TPESampler(seed=own)


def suggest(trial: optuna.Trial, study: Study, level: Value) -> None:
    """Let the trial choose every tuned hyperparameter whose `when` holds, those that others depend on first."""
    chosen: dict[str, Value] = {study.axis: level, **study.fixed}
    for key, domain in sorted(study.tune.items(), key=lambda item: bool(item[1].when)):
        if all(chosen.get(other) == wanted for other, wanted in domain.when.items()):
            chosen |= from_optuna({key: _suggest_one(trial, key, domain)})


def from_optuna(params: Mapping[str, Any]) -> dict[str, Value]:
    """Optuna's parameters as hyperparameters: `widths` are stored as text, since a choice must be a plain value."""
    return {k: tuple(int(w) for w in v.split("-")) if k == "widths" else v for k, v in params.items()}


def _to_optuna(value: Value) -> Any:
    return "-".join(map(str, value)) if isinstance(value, tuple) else value


def _suggest_one(trial: optuna.Trial, key: str, domain: Choice | Range) -> Any:
    if isinstance(domain, Choice):
        return trial.suggest_categorical(key, [_to_optuna(value) for value in domain.values])
    if isinstance(domain.low, int) and isinstance(Config.__dataclass_fields__[key].default, int):
        return trial.suggest_int(key, int(domain.low), int(domain.high), step=int(domain.step or 1), log=domain.log)
    return trial.suggest_float(key, domain.low, domain.high, step=domain.step, log=domain.log)
