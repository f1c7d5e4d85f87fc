"""What a study is going to do, and about how long it will take: told before it begins, and by `harness run --dry-run`.

    for line in outline(study): ...
    estimate(study, pace, left).words()     # "about 43 min: 400 search trials, 50 confirmations; ..."

A few steps are timed of the groups that the first generation will be trained in, of the same with every trial at the
cheapest and at the dearest end of the space, and of the confirmations. Nothing that is trained here is kept.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from harness.catalogue import Value, show
from harness.config import Config
from harness.crews.grouping import SMALL, forward_work, group_trials, is_small
from harness.crews.local import threads
from harness.crews.schedule import Group, Workplace
from harness.crews.sizing import FIRST, Room, best_size
from harness.errors import UserError, listed
from harness.figures import SOON, duration
from harness.journal.left import Expected
from harness.journal.level import places
from harness.journal.sampling import Weigh, from_optuna, propose
from harness.parts.data import Data
from harness.study.notes import notes
from harness.study.space import describe, describe_point, ends
from harness.study.study import Study
from harness.study.variants import recipes
from harness.training.cohort import Cohort
from harness.training.loop import Trainer
from harness.trial import Trial

MOST_TOGETHER = 4096  # trainings in a group, which no measurement goes beyond
STEPS = 0.03  # seconds for which steps of a group are timed
IMAGES = 1000  # on which its measuring is timed
MOST = 4.0  # seconds that measuring a kind of work may take,
SHARE = 0.02  # or this share of the work itself, if that is less
WARM_UP = {"cpu": 1, "cuda": 6}  # times; on a GPU a graph is captured meanwhile
AROUND = 0.02  # seconds that a training takes beside its steps: sampler, journal, tracking

Left = tuple[int, int]
"""Trainings that are still to be done: search trials of all searches together, and confirmations."""


@dataclass(frozen=True)
class Estimate:
    """Seconds for what is left of a study, if no training stops early.

    `trials` and `confirmations` are trainings, `search` and `confirming` what they take together. `cheapest` and
    `dearest` are the seconds for all, were every trial at that end of the space. `minutes` is the study's budget;
    `used` of its seconds are gone.
    """

    trials: int
    confirmations: int
    search: float
    confirming: float
    cheapest: float
    dearest: float
    minutes: float | None = None
    used: float = 0.0

    @property
    def expected(self) -> Expected | None:
        """Of one search trial and of one confirmation; None where it is not known."""
        if not self.confirmations or not math.isfinite(self.search + self.confirming):
            return None
        return Expected(self.search / self.trials if self.trials else 0.0, self.confirming / self.confirmations)

    def words(self) -> str:
        """In a sentence."""
        if math.isnan(self.search + self.confirming):
            return "not to be had: what was tried cannot be trained"
        parts = [f"{self.trials} search trials ({duration(self.search)})"] if self.trials else []
        parts += [f"{self.confirmations} confirmations ({duration(self.confirming)})"] if self.confirmations else []
        whole = self.search + self.confirming
        said = f"{'about ' if whole >= SOON else ''}{duration(whole)}: {', '.join(parts)}"
        if self.minutes is not None and self.trials:
            less = f", of which {duration(self.used)} are used" if self.used >= SOON else ""
            said = f"{said}, as many as {self.minutes:g} minutes allow{less}"
        elif self.dearest > max(60.0, 1.5 * self.cheapest) and self.trials:
            ends = f"from {duration(self.cheapest)} if all trials were at the cheapest end of the space to "
            said = f"{said}; {ends}{duration(self.dearest)} at the dearest"
        gain = "it less" if self.minutes is None else "room for more trials"
        return f"{said}. Timed over a few steps and all epochs: trainings that stop early or are pruned make {gain}."


def estimate(study: Study, pace: "Pace", left: Left, used: float = 0.0) -> Estimate:
    """How long what is `left` of a study takes, of whose minutes so many seconds are `used`. Measured in this process
    also where others train. Raises UserError where the space holds nothing that may be trained.
    """
    trials = first_generation(study, pace.weigh)
    confirmed = _confirmations(study, trials)
    trials = [trial for trial in trials if study.space(trial.level)]
    each = pace.seconds(trials) / len(trials) if left[0] else 0.0
    confirming = left[1] * pace.seconds(confirmed) / len(confirmed) if left[1] else 0.0
    number = _within(study, left[0], each, confirming + used)
    ends = [each, each]
    if left[0]:
        ends = [pace.seconds([replace(t, config=pace.end(study, t, sign)) for t in trials]) for sign in (1, -1)]
        ends = [min(ends[0] / len(trials), each), max(ends[1] / len(trials), each)]
    low, high = (number * end + confirming for end in ends)
    return Estimate(number, left[1], number * each, confirming, low, high, study.budget.minutes, used)


def _within(study: Study, left: int, each: float, taken: float) -> int:
    """How many search trials there is time for beside what is taken: whole generations, at least one."""
    if not study.open_ended or not left or math.isnan(each + taken):
        return left
    generation = study.search.generation * study.searches * len(study.searching)
    wanted = (60 * (study.budget.minutes or 0.0) - taken) / (each * generation)
    return min(left, generation * max(1, int(wanted)))


def first_generation(study: Study, weigh: Weigh | None) -> list[Trial]:
    """The first trials of every search, as the sampler will propose them; of a level without a search one in its place,
    as it is confirmed.
    """
    size = min(study.search.generation, study.trials)
    first = []
    for level, search in places(study):
        known: list[dict[str, Value]] = [{}]
        if study.space(level):
            proposals = propose(study, level, study.search_seed(search), [], size, weigh)
            known = [from_optuna(proposal.params, study) for proposal in proposals]
        first += [
            study.search_trial(level, search, number, study.config(level, params))
            for number, params in enumerate(known)
        ]
    return first


def _confirmations(study: Study, trials: Sequence[Trial]) -> list[Trial]:
    """All confirmations, were the first trial of every search its winner."""
    first = [trial for trial in trials if trial.number == 0]
    return [one for trial in first for one in study.confirmations(trial.level, trial.config, trial.search)]


def measured_group_size(study: Study, pace: "Pace", room: Room) -> int | None:
    """The most trainings in a group as a GPU is fastest with them, measured on the largest group that the study can
    have; None where all its groups are so small that nothing has to be measured.
    """
    trials = first_generation(study, pace.weigh)
    searched = [trial for trial in trials if study.space(trial.level)]
    groups = [group for some in (searched, _confirmations(study, trials)) for group in pace.groups(some, MOST_TOGETHER)]
    large = [group for group in groups if len(group) > FIRST]
    if not large:
        return None
    group = max(large, key=pace.work)
    return best_size(len(group), lambda size: pace.measured(group[:size], None), room)


@dataclass(frozen=True)
class Pace:
    """How fast trainings are, where `data` lies and at that workplace, with at most `size` in a group."""

    data: Mapping[str, Data]
    workplace: Workplace
    size: int | None
    weigh: Weigh

    def seconds(self, trials: Sequence[Trial]) -> float:
        """How long trials take that are asked for together. Groups that there is no time to measure are taken to be as
        fast as the others for their work.
        """
        groups = self.groups(trials, self.size)
        groups.sort(key=self.work, reverse=True)
        order = [groups[0], *random.Random(0).sample(groups[1:], len(groups) - 1)]
        beside = self.workplace.side_by_side(groups)
        whole, began = sum(map(self.work, groups)), time.perf_counter()
        known, measured = 0.0, 0.0
        for group in order:
            seconds = self.measured(group, 1 if beside > 1 else None)
            if seconds is not None:
                measured, known = measured + seconds, known + self.work(group)
            if known and time.perf_counter() - began > min(MOST, SHARE * measured / known * whole / beside):
                break
        return measured / known * whole / beside + AROUND * len(trials) if known else math.nan

    def groups(self, trials: Sequence[Trial], size: int | None) -> list[list[Trial]]:
        """What trains together of trials that are asked for together."""
        return [
            group
            for name, data in self.data.items()
            for group in group_trials([t for t in trials if t.config.dataset == name], data, size)
        ]

    def measured(self, group: Group, number: int | None) -> float | None:
        """How long a group trains on that number of threads, by a few steps; None where it cannot be trained."""
        most = 1 if is_small(group[0], self.data) else torch.get_num_threads()
        try:
            with threads(number or most):
                return _group_seconds(group, self.data[group[0].config.dataset])
        except Exception:  # whatever a model or a device may raise
            return None

    def work(self, group: Group) -> float:
        """About how much a group has to do: operations, and for each step what takes as long as so many."""
        config, data = group[0].config, self.data[group[0].config.dataset]
        steps = math.ceil(len(data.train) * (1 - float(config.validation)) / int(config.batch_size))
        epochs = max(int(trial.config.epochs) for trial in group)
        return epochs * steps * (SMALL + len(group) * int(config.batch_size) * forward_work(config, data))

    def end(self, study: Study, trial: Trial, sign: int) -> Config:
        """The trial's config with every tuned hyperparameter where there is least to do (`sign` 1) or most (-1)."""
        config = trial.config
        for key, domain in study.space(trial.level).items():
            known = [one for value in ends(domain) if self._may_be(study, one := config.replace(**{key: value}))]
            config = min([config, *known], key=lambda one: sign * self.work([replace(trial, config=one)]))
        return config

    def _may_be(self, study: Study, config: Config) -> bool:
        bounds = study.constraint.parameters
        try:
            return bounds is None or bounds.excess(self.weigh(config)) <= 0
        except UserError:  # no such network can be built
            return False


def _group_seconds(group: Group, data: Data) -> float:
    """How long a group trains if none of it stops early: a few steps and a look at some held-out images, scaled up."""
    cohort = Cohort.of(group, data)
    trainer, batches = Trainer(cohort, cohort.optimizer()), cohort.batches()
    first = next(batches)
    step = _timed(lambda: trainer.step(next(batches, first)), cohort)
    sample = (cohort.held_out if len(cohort.held_out) else cohort.training).sample(IMAGES)
    image = _timed(lambda: cohort.measure(sample, cohort.watched).figures(), cohort) / len(sample)
    epochs = max(int(trial.config.epochs) for trial in group)
    tests = 3 * len(cohort.tests) if group[0].stage == "confirm" else 0  # before, after, and training images again
    return epochs * cohort.steps * step + (epochs * len(cohort.held_out) + tests) * image


def _timed(work: Callable[[], object], cohort: Cohort) -> float:
    """Seconds that work on a cohort takes once it has been done a few times."""

    def wait() -> None:
        float(cohort.stack.flat[0, 0])  # a GPU's work is done when something of it is read

    for _ in range(WARM_UP[cohort.stack.flat.device.type]):
        work()
    wait()
    count, began = 0, time.perf_counter()
    while count < 2 or time.perf_counter() - began < STEPS:
        work()
        count += 1
    wait()
    return (time.perf_counter() - began) / count


def outline(study: Study, weigh: Weigh | None) -> Iterator[tuple[str, str]]:
    """What would be done, a line with its heading each. Without `weigh` no network is built, which needs a user's code
    to be executed.
    """
    yield "study", ": ".join(filter(None, [f"{study.label} on {listed(study.datasets)}", study.question]))
    if study.own:
        yield "model", f"{study.own.words}, with {listed(knob.name for knob in study.own.knobs) or 'no parameters'}"
    yield from _of_the_values(study)
    if study.is_searched:
        yield from _of_the_search(study)
    yield "fixed", listed(f"{key} = {show(value)}" for key, value in study.fixed.items()) or "nothing"
    shared = f", shared out among the winners of its {study.searches} searches" if study.searches > 1 else ""
    yield "confirms", f"each of them by {study.budget.seeds} fresh seeds{shared}"
    yield from _seeds(study)
    if weigh is not None or study.constraint.parameters is None:
        yield "stacks", _of_the_shapes(study, weigh)
    yield from (("note", note) for note in notes(study))


def _of_the_values(study: Study) -> Iterator[tuple[str, str]]:
    yield "compares", f"{study.axis} = {listed(map(study.in_words, study.levels))}"
    yield from (("variant", f'"{name}": {said}') for name, said in recipes(study))


def _of_the_shapes(study: Study, weigh: Weigh | None) -> str:
    trials = [t for t in first_generation(study, weigh) if study.space(t.level) or not study.is_searched]
    shapes = len({trial.config.shape for trial in trials})
    what = "the first generation's" if study.is_searched else "one of each:"
    return f"{what} {len(trials)} trainings have {shapes} shapes; those of one shape train as one stack"


def _of_the_search(study: Study) -> Iterator[tuple[str, str]]:
    budget, search = study.budget, study.search
    minutes = f"; as many as {budget.minutes:g} minutes allow, all alike" if budget.minutes is not None else ""
    yield (
        "searches",
        f"each of them {study.searches} times, {study.trials} trials each{' at most' if minutes else ''}{minutes}",
    )
    yield "sampler", f"{search.sampler}, pruner {search.pruner}, {search.generation} trials of a search at a time"
    yield from (("widened", change) for change in study.widened)
    if study.constraint.parameters is not None:
        yield "bounded", f"{study.constraint.parameters.words()} weights; what is proposed beyond that is not trained"
    yield from (("begins", f"with {point}") for point in map(describe_point, study.points))
    if not study.variants:  # which have said it
        yield from (("tunes", f"{key} {describe(domain)}") for key, domain in study.tune.items())


def _seeds(study: Study) -> Iterator[tuple[str, str]]:
    searches = range(study.searches)
    if study.is_searched:
        yield "seeds", f"of the searches {listed(map(study.search_seed, searches))}"
    fresh = (
        study.confirmation_seed(search, number) for search in searches for number in range(study.shared_out(search))
    )
    yield "seeds", f"of the confirmations {listed(fresh)}"
