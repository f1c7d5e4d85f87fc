"""How Optuna is asked: samplers, pruners, and our hyperparameters in Optuna's terms."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, GPSampler, GridSampler, RandomSampler, TPESampler
from optuna.trial import BaseTrial, FixedTrial, FrozenTrial, TrialState, create_trial

from harness import catalogue
from harness.catalogue import Value
from harness.study.space import Choice, Range, grid_values
from harness.study.study import Study


def make_pruner(study: Study) -> BasePruner:
    """The study's pruner, with Optuna's own settings."""
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        pruner: BasePruner = catalogue.built_by("pruner", study.search.pruner)()
    return pruner


def direction(study: Study) -> Literal["maximize", "minimize"]:
    """Which way the study's measure is better, in Optuna's words."""
    return "maximize" if study.measure.better == "higher" else "minimize"


def propose(study: Study, level: Value, seed: int, known: Sequence[FrozenTrial], count: int) -> list[FrozenTrial]:
    """The next `count` trials of a level's search of that seed, given all that it has: those that are running count as
    asked for already.

    A proposal depends on the search's seed, the trial's number and the history alone, and is whole when it is returned:
    the journal takes it as one line, so a kill leaves a trial behind as it is, or not at all.
    """
    history = optuna.create_study(direction=direction(study))
    history.add_trials(map(as_samplers_know_it, known))
    ask: Ask = catalogue.built_by("sampler", study.search.sampler)
    return [ask(study, level, history, (seed, len(known) + index)) for index in range(count)]


Draw = tuple[int, int]
"""What a proposal's random numbers depend on: the seed of its search, and its own number there."""

Ask = Callable[[Study, Value, optuna.Study, Draw], FrozenTrial]
"""A sampler: the proposal of that number for a search of a level, whose history then holds it too."""


def point_of(study: Study, number: int) -> dict[str, Any]:
    """What is settled of the trial of that number before any sampler is asked: a known point, in Optuna's terms."""
    known = study.points[number] if number < len(study.points) else {}
    return {key: _to_optuna(value) for key, value in known.items()}


def tpe(study: Study, level: Value, history: optuna.Study, draw: Draw) -> FrozenTrial:
    """Optuna's tree-structured Parzen estimators."""
    return _ask(study, level, history, TPESampler(seed=_seed(draw)), draw)


def random(study: Study, level: Value, history: optuna.Study, draw: Draw) -> FrozenTrial:
    """Independent draws."""
    return _ask(study, level, history, RandomSampler(seed=_seed(draw)), draw)


def gp(study: Study, level: Value, history: optuna.Study, draw: Draw) -> FrozenTrial:
    """Optuna's Gaussian processes."""
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        sampler = GPSampler(seed=_seed(draw))
    return _ask(study, level, history, sampler, draw)


def grid(study: Study, level: Value, history: optuna.Study, draw: Draw) -> FrozenTrial:
    """The grid's point of that number, in an order that the search's seed shuffles."""
    space = {key: [_to_optuna(value) for value in grid_values(key, domain)] for key, domain in study.tune.items()}
    return _ask(study, level, history, GridSampler(space, seed=draw[0]), draw)


def qmc(study: Study, level: Value, history: optuna.Study, draw: Draw) -> FrozenTrial:
    """The point of that number of a scrambled Sobol sequence."""
    point = FixedTrial({**_sobol_point(study, draw), **point_of(study, draw[1])})
    _suggest(point, study, level)
    asked = create_trial(state=TrialState.RUNNING, params=point.params, distributions=point.distributions)
    history.add_trial(asked)
    return asked


def as_samplers_know_it(frozen: FrozenTrial) -> FrozenTrial:
    """Without its outcome, which no sampler reads: Optuna copies all of a trial, and outcomes hold whole histories."""
    light = copy.copy(frozen)
    light.user_attrs = {}
    return light


def _ask(study: Study, level: Value, history: optuna.Study, sampler: BaseSampler, draw: Draw) -> FrozenTrial:
    history.sampler = sampler
    if known := point_of(study, draw[1]):
        history.enqueue_trial(known)
    trial = history.ask()
    _suggest(trial, study, level)
    asked = history.get_trials(deepcopy=False)[-1]
    return create_trial(
        state=TrialState.RUNNING,
        params=asked.params,
        distributions=asked.distributions,
        system_attrs=asked.system_attrs,  # what the sampler noted for later trials to see
    )


def _seed(draw: Draw) -> int:
    """That of the sampler for one trial."""
    return int(np.random.SeedSequence(draw).generate_state(1)[0])


def _sobol_point(study: Study, draw: Draw) -> dict[str, Any]:
    """A point of a scrambled Sobol sequence over the space (Owen, 1998), choices included.

    Optuna's own QMCSampler draws choices at random and keeps its place in the sequence outside the trials.
    """
    from scipy.stats import qmc  # a second to import, and no other sampler needs it

    seed, number = draw
    sequence = qmc.Sobol(len(study.tune), rng=np.random.default_rng(seed))
    if number:
        sequence.fast_forward(number)
    place = sequence.random(1)[0]
    return {key: _at(key, domain, float(u)) for (key, domain), u in zip(study.tune.items(), place, strict=True)}


def _at(key: str, domain: Choice | Range, u: float) -> Any:
    """The value at the share u in [0, 1) of a domain."""
    if isinstance(domain, Choice):
        return _to_optuna(domain.values[int(u * len(domain.values))])
    whole, low, high = _is_whole(key), domain.low, domain.high
    if not whole and domain.step is None:
        return float(np.exp(np.log(low) + u * np.log(high / low))) if domain.log else low + u * (high - low)
    if domain.log:
        return int(np.exp(np.log(low) + u * (np.log(high + 1) - np.log(low))))
    step = domain.step or 1
    value = low + step * int(u * (int((high - low) / step + 1e-9) + 1))
    return int(value) if whole else float(value)


def _suggest(trial: BaseTrial, study: Study, level: Value) -> None:
    """Let the trial choose every tuned hyperparameter whose `when` holds, those that others depend on first."""
    chosen: dict[str, Value] = {study.axis: level, **study.fixed}
    for key, domain in sorted(study.tune.items(), key=lambda item: bool(item[1].when)):
        if all(chosen.get(other) == wanted for other, wanted in domain.when.items()):
            chosen |= from_optuna({key: _suggest_one(trial, key, domain)})


def _suggest_one(trial: BaseTrial, key: str, domain: Choice | Range) -> Any:
    if isinstance(domain, Choice):
        return trial.suggest_categorical(key, [_to_optuna(value) for value in domain.values])
    if _is_whole(key):
        return trial.suggest_int(key, int(domain.low), int(domain.high), step=int(domain.step or 1), log=domain.log)
    return trial.suggest_float(key, domain.low, domain.high, step=domain.step, log=domain.log)


def _is_whole(key: str) -> bool:
    return catalogue.knob(key).type is int


def from_optuna(params: Mapping[str, Any]) -> dict[str, Value]:
    """Optuna's parameters as hyperparameters: a tuple is stored as text, since a choice must be a plain value."""
    return {
        key: tuple(int(item) for item in value.split("-") if item) if catalogue.knob(key).type is tuple else value
        for key, value in params.items()
    }


def _to_optuna(value: Value) -> Any:
    return "-".join(map(str, value)) if isinstance(value, tuple) else value
