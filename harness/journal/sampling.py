"""How Optuna is asked: samplers, pruners, and our hyperparameters in Optuna's terms."""

import copy
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, GPSampler, GridSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import BaseTrial, FixedTrial, FrozenTrial, TrialState, create_trial

from harness import catalogue
from harness.catalogue import Knob, Value
from harness.config import Config
from harness.errors import UserError
from harness.journal.history import History
from harness.journal.tpe import Tpe
from harness.study.space import Choice, Range, grid_values, holds
from harness.study.study import Bounds, Study
from harness.trial import Level


def make_pruner(study: Study) -> BasePruner:
    """The study's pruner, with Optuna's own settings."""
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        pruner: BasePruner = catalogue.built_by("pruner", study.search.pruner)()
    return pruner


def direction(study: Study) -> Literal["maximize", "minimize"]:
    """Which way the study's measure is better, in Optuna's words; any, before its data has told which it is."""
    return "maximize" if study.metric and study.measure.better == "higher" else "minimize"


Weigh = Callable[[Config], int]
"""How many weights the network of a config has; raises UserError where none can be built."""
CONSTRAINT = "parameters"  # its name among Optuna's constraints of a trial
GIVEN = "given"  # the attribute of a trial that no sampler proposed, which says where it comes from
INFEASIBLE = "infeasible"  # the attribute of a trial that holds what was proposed before it, and not trained
TRIES = 20  # proposals of the sampler for one trial, after which they are drawn at random,
DRAWS = 2000  # so often


def propose(
    study: Study,
    level: Level,
    seed: int,
    known: Sequence[FrozenTrial],
    count: int,
    weigh: Weigh | None = None,
    history: History | None = None,
) -> list[FrozenTrial]:
    """The next `count` trials of a level's search of that seed, given all that it has: those that are running count as
    asked for already.

    A proposal depends on the search's seed, the trial's number and the history alone, and is whole when it is returned:
    the journal takes it as one line, so a kill leaves a trial behind as it is, or not at all.

    What does not keep to `study.constraint`, by `weigh`, is not trained: it would use up a trial, and of a value whose
    networks are large more of them than of another's. The sampler is told that it is infeasible and is asked anew, and
    the proposal that is feasible holds what came before it. Raises UserError where nothing is.

    `history` is what an earlier proposal of the same search has made of its trials, and is told of these.
    """
    history = make_history(study) if history is None else history
    history.learn(known, lambda frozen: _as_history(study, level, frozen))
    ask: Ask = catalogue.built_by("sampler", study.search.sampler)
    bounds = study.constraint.parameters
    assert bounds is None or weigh is not None, "where there is a constraint, networks must be weighed"
    scale = _Scale(bounds, weigh) if bounds is not None and weigh is not None else None
    given, proposals = given_points(study, level, scale), list[FrozenTrial]()
    for number in range(len(known), len(known) + count):
        if number < len(given):
            one = _given(study, level, history, given[number])
        else:
            one = _proposed(study, level, history, (seed, number - len(given)), ask, scale)
        proposals.append(one)
        history.proposed()
    return proposals


def make_history(study: Study) -> History:
    """What a search of the study knows at first: nothing."""
    return History(StudyDirection[direction(study).upper()])


Given = tuple[str, Mapping[str, Value]]
"""Where a point comes from that no sampler proposes, as the journal keeps it, and the tuned hyperparameters' values."""


def given_points(study: Study, level: Level, scale: "_Scale | None" = None) -> list[Given]:
    """The points that every search of a level begins with, in order, before those that the study names: the defaults,
    as far as the space and its constraint hold them.

    A grid has all its points anyway. Journals from before format 3 began without.
    """
    point = study.default_point(level)
    if point is None or study.seeding == "counted" or study.search.sampler == "grid":
        return []
    if scale is not None and not scale.holds(study.config(level, point)):
        return []
    return [("defaults", point)]


@dataclass(frozen=True)
class _Scale:
    """What says whether a proposal is feasible."""

    bounds: Bounds
    weigh: Weigh

    def holds(self, config: Config) -> bool:
        """Whether a network may be trained; one that cannot be built may, which its training will tell."""
        try:
            return self.bounds.excess(self.weigh(config)) <= 0
        except UserError:
            return True

    def weight(self, study: Study, level: Level, proposal: FrozenTrial) -> int | None:
        """The number of weights of its network; None where none can be built, which its training will tell."""
        try:
            return self.weigh(study.config(level, from_optuna(proposal.params, study)))
        except UserError:
            return None


def _proposed(
    study: Study, level: Level, history: History, draw: "Draw", ask: "Ask", scale: _Scale | None
) -> FrozenTrial:
    """What the sampler proposes; where there is a constraint, what keeps to it."""
    return ask(study, level, history, draw) if scale is None else _feasible(study, level, history, draw, ask, scale)


def _feasible(study: Study, level: Level, history: History, draw: "Draw", ask: "Ask", scale: _Scale) -> FrozenTrial:
    """The first proposal of that number that keeps to the bounds, with all that did not."""
    rejected: list[dict[str, Any]] = []
    for attempt in range(TRIES + DRAWS):
        asked = (ask if attempt < TRIES else random)(study, level, history, (*draw, attempt) if attempt else draw)
        weight = scale.weight(study, level, asked)
        excess = scale.bounds.excess(weight) if weight is not None else 0.0
        if excess <= 0:
            kept = copy.copy(asked)
            kept.system_attrs = {**asked.system_attrs, f"constraints:{CONSTRAINT}": excess}
            kept.user_attrs = {INFEASIBLE: rejected} if rejected else {}
            return kept
        rejected.append({"params": asked.params, CONSTRAINT: weight})
        last = history.get_trials(deepcopy=False)[-1]
        optuna.Trial(history, last._trial_id).set_constraint(CONSTRAINT, excess)
        history.tell(last.number, state=TrialState.PRUNED)
    seen = [one[CONSTRAINT] for one in rejected]
    raise UserError(
        f"constraint.parameters: none of {len(seen):,} proposals for {study.level_name(level)} has "
        f"{scale.bounds.words()}; they had {min(seen):,} to {max(seen):,}"
    )


def _as_history(study: Study, level: Level, frozen: FrozenTrial) -> Iterator[FrozenTrial]:
    """A trial as samplers know it, after what was proposed for it and was infeasible."""
    for record in frozen.user_attrs.get(INFEASIBLE, ()):
        bounds = study.constraint.parameters
        yield create_trial(
            state=TrialState.PRUNED,
            params=record["params"],
            distributions=distributions_of(study, level, record["params"]),
            system_attrs={f"constraints:{CONSTRAINT}": bounds.excess(record[CONSTRAINT]) if bounds else 0.0},
        )
    yield as_samplers_know_it(frozen, study, level)


Draw = tuple[int, ...]
"""What a proposal's random numbers depend on: the seed of its search, its own number there, and after the first attempt
that of the attempt.
"""

Ask = Callable[[Study, Level, History, Draw], FrozenTrial]
"""A sampler: the proposal of that number for a search of a level, whose history then holds it too."""


def point_of(study: Study, level: Level, draw: Draw) -> dict[str, Any]:
    """What is settled of a trial before any sampler is asked: a known point, in Optuna's terms, as far as the level's
    space holds it. It is tried once: where it is infeasible the sampler draws instead.
    """
    number = draw[1]
    known = study.points[number] if number < len(study.points) and len(draw) == len(("seed", "number")) else {}
    space = study.space(level)
    return {key: _to_optuna(value) for key, value in known.items() if key in space and holds(space[key], value)}


def tpe(study: Study, level: Level, history: History, draw: Draw) -> FrozenTrial:
    """Optuna's tree-structured Parzen estimators."""
    table = history.table(distributions_of(study, level, study.space(level)))
    return _ask(study, level, history, Tpe(_seed(draw), table), draw)


def random(study: Study, level: Level, history: History, draw: Draw) -> FrozenTrial:
    """Independent draws."""
    return _ask(study, level, history, RandomSampler(seed=_seed(draw)), draw)


def gp(study: Study, level: Level, history: History, draw: Draw) -> FrozenTrial:
    """Optuna's Gaussian processes."""
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        sampler = GPSampler(seed=_seed(draw))
    return _ask(study, level, history, sampler, draw)


def grid(study: Study, level: Level, history: History, draw: Draw) -> FrozenTrial:
    """The grid's point of that number, in an order that the search's seed shuffles."""
    space = {
        key: [_to_optuna(value) for value in grid_values(key, domain)] for key, domain in study.space(level).items()
    }
    return _ask(study, level, history, GridSampler(space, seed=draw[0]), draw)


def qmc(study: Study, level: Level, history: History, draw: Draw) -> FrozenTrial:
    """The next point of a scrambled Sobol sequence."""
    drawn = [trial for trial in history.get_trials(deepcopy=False) if GIVEN not in trial.system_attrs]
    place = len(drawn)  # its number among the sampler's own, and all that was infeasible before it
    return _fixed(
        study, level, history, {**_sobol_point(study, level, draw[0], place), **point_of(study, level, draw)}, {}
    )


def as_samplers_know_it(frozen: FrozenTrial, study: Study, level: Level) -> FrozenTrial:
    """Without its outcome, which no sampler reads: Optuna copies all of a trial, and outcomes hold whole histories.

    As if it had been asked for in the study's space of today, which may be wider than it was then: a Gaussian process
    models only what has the same distribution in all trials, and Optuna knows a choice by its place among the others.
    """
    light = copy.copy(frozen)
    light.user_attrs = {}
    light.distributions = distributions_of(study, level, frozen.params)
    return light


def _ask(study: Study, level: Level, history: History, sampler: BaseSampler, draw: Draw) -> FrozenTrial:
    history.sampler = sampler
    if known := point_of(study, level, draw):
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


def _given(study: Study, level: Level, history: History, given: Given) -> FrozenTrial:
    """A proposal that is known beforehand."""
    source, point = given
    values = {key: _to_optuna(value) for key, value in point.items()}
    return _fixed(study, level, history, values, {GIVEN: source})


def _fixed(
    study: Study, level: Level, history: History, values: dict[str, Any], attributes: dict[str, Any]
) -> FrozenTrial:
    """The proposal of these values, as Optuna stores them; those whose `when` does not hold are left out."""
    point = FixedTrial(values)
    _suggest(point, study, level)
    asked = create_trial(
        state=TrialState.RUNNING,
        params=point.params,
        distributions=point.distributions,
        user_attrs=attributes,
        system_attrs=attributes,  # which samplers see too
    )
    history.add_trial(as_samplers_know_it(asked, study, level))
    return asked


def _seed(draw: Draw) -> int:
    """That of the sampler for one trial."""
    return int(np.random.SeedSequence(draw).generate_state(1)[0])


def _sobol_point(study: Study, level: Level, seed: int, number: int) -> dict[str, Any]:
    """A point of a scrambled Sobol sequence over the space (Owen, 1998), choices included.

    Optuna's own QMCSampler draws choices at random and keeps its place in the sequence outside the trials.
    """
    from scipy.stats import qmc  # a second to import, and no other sampler needs it

    space = study.space(level)
    sequence = qmc.Sobol(len(space), rng=np.random.default_rng(seed))
    if number:
        sequence.fast_forward(number)
    place = sequence.random(1)[0]
    return {key: _at(domain, study.knob(key), float(u)) for (key, domain), u in zip(space.items(), place, strict=True)}


def _at(domain: Choice | Range, knob: Knob, u: float) -> Any:
    """The value at the share u in [0, 1) of a hyperparameter's domain."""
    if isinstance(domain, Choice):
        return _to_optuna(domain.values[int(u * len(domain.values))])
    whole, low, high = knob.type is int, domain.low, domain.high
    if not whole and domain.step is None:
        return float(np.exp(np.log(low) + u * np.log(high / low))) if domain.log else low + u * (high - low)
    if domain.log:
        return int(np.exp(np.log(low) + u * (np.log(high + 1) - np.log(low))))
    step = domain.step or 1
    value = low + step * int(u * (int((high - low) / step + 1e-9) + 1))
    return int(value) if whole else float(value)


def _suggest(trial: BaseTrial, study: Study, level: Level) -> None:
    """Let the trial choose every tuned hyperparameter whose `when` holds, those that others depend on first."""
    chosen = study.settled(level)
    for key, domain in sorted(study.space(level).items(), key=lambda item: bool(item[1].when)):
        if all(chosen.get(other) == wanted for other, wanted in domain.when.items()):
            chosen |= from_optuna({key: _suggest_one(trial, domain, study.knob(key))}, study)


def _suggest_one(trial: BaseTrial, domain: Choice | Range, knob: Knob) -> Any:
    key = knob.name
    if isinstance(domain, Choice):
        return trial.suggest_categorical(key, [_to_optuna(value) for value in domain.values])
    if knob.type is int:
        return trial.suggest_int(key, int(domain.low), int(domain.high), step=int(domain.step or 1), log=domain.log)
    return trial.suggest_float(key, domain.low, domain.high, step=domain.step, log=domain.log)


def distributions_of(study: Study, level: Level, keys: Iterable[str]) -> dict[str, BaseDistribution]:
    """The domains of hyperparameters that a level searches, in Optuna's terms."""
    space = study.space(level)
    return {key: _distribution(space[key], study.knob(key)) for key in keys}


def _distribution(domain: Choice | Range, knob: Knob) -> BaseDistribution:
    """A domain as suggesting from it makes it."""
    if isinstance(domain, Choice):
        return CategoricalDistribution([_to_optuna(value) for value in domain.values])
    if knob.type is int:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=int(domain.step or 1))
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def from_optuna(params: Mapping[str, Any], study: Study) -> dict[str, Value]:
    """Optuna's parameters as hyperparameters: a tuple is stored as text, since a choice must be a plain value."""
    return {key: _items(value) if study.knob(key).type is tuple else value for key, value in params.items()}


def _items(text: str) -> tuple[int, ...]:
    """A tuple that is stored as "500-400"; of numbers below 0 as "500--400"."""
    return tuple(map(int, re.findall(r"(?:^|-)(-?\d+)", text)))


def _to_optuna(value: Value) -> Any:
    return "-".join(map(str, value)) if isinstance(value, tuple) else value
