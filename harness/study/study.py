"""What a study is, once its file has been read: what is compared, tuned and fixed, with what budget.

study = read_study("studies/depth")           # file.py
study.config(level=3, params={"lr": 0.1})     # the Config of one training
"""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    model_validator,
)

from harness import catalogue
from harness.catalogue import TARGET, Figure, Knob, Measure, OwnModel, Unit, Value, show
from harness.config import Config
from harness.errors import UserError, listed, one_of
from harness.study.own import parse
from harness.study.published import NonNegative, Published
from harness.study.source import Source, check_name, file_name
from harness.study.space import Line, Space, Table, nearest_in, reachable
from harness.study.toml import key as toml_key
from harness.trial import Cell, Fold, Level, Trial, named

VARIANT = "variant"
"""The compared key of named variants, which is no hyperparameter."""


def place_of_variant(name: str) -> str:
    """Where a variant stands in its study file."""
    return f"compare.{VARIANT}.{toml_key(name)}"


SEARCHES = 5
"""Of a compared value, where nothing is said: as AlgoPerf repeats its tuning."""
UNSAID = 1000
"""The most trials of a search whose budget is in minutes, where nothing is said."""

ROUNDING = 1e-6
"""How far below a target, as a share of it, a figure may be that is equal to it but for float32."""

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


Point = dict[str, Value]
"""Some of the tuned hyperparameters, with a value each."""


def among(words: tuple[str, ...]) -> PlainValidator:
    """A value must be one of the words; else it is told which there are, and the nearest."""

    def check(value: Any) -> str:
        if value not in words:
            raise one_of(value, words)
        return str(value)

    return PlainValidator(check)


class Budget(Table):
    """What every compared value gets: the same for all of them; and what a training may cost before it is given up.

    A compared value is searched `searches` times, each with `trials`, its own sampler and its own split; by default
    five times, or once where nothing is tuned. `seeds` are all its confirmations, shared out among the winners.
    `minutes` is how long searches and confirmations may train together: the searches then go on while there is time,
    generation by generation, and `trials` is the most (`UNSAID` where nothing is said). `retries` is how often a group
    is trained again whose worker process was lost. `trial_timeout` is in seconds of training for each trial of a group.
    `failures` is the share of a generation's trials, or of the confirmation's, above which the study stops.
    `checkpoint_minutes` is how long a stack trains from one checkpoint to the next, 0 for none.
    `gpus_per_stack` may be a fraction: several groups then share a GPU of a cluster. With `confirm_defaults` the
    defaults are trained with the seeds of each search's confirmations too; with `ablation` also what lies between them
    and the winner, one tuned hyperparameter after the other. With `test_each_epoch` confirmations measure the test rows
    after every epoch. `keep` says whose weights are kept beside the journal: those of the winners' confirmations, of
    all trainings, or none.
    """

    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 16
    minutes: Positive | None = None
    searches: Annotated[int, Field(ge=1, le=1000)] | None = None
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 10
    retries: Annotated[int, Field(ge=0, le=1000)] = 2
    trial_timeout: Positive | None = None
    failures: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    gpus_per_stack: Positive = 1.0
    checkpoint_minutes: NonNegative = 10.0
    confirm_defaults: bool = False
    ablation: bool = False
    test_each_epoch: bool = False
    keep: Annotated[str, among(("winners", "all", "none"))] = "winners"

    @model_validator(mode="before")
    @classmethod
    def _most(cls, raw: Any) -> Any:
        timed = isinstance(raw, dict) and raw.get("minutes") is not None
        return {"trials": UNSAID, **raw} if timed else raw


class SearchSettings(Table):
    """How Optuna searches. `generation` trials of each level are asked for at once, so that they can share stacks.

    `first` are points that every search of every level begins with, in this order; what they leave open the sampler
    draws. `earlier` (in study files: `from`) is the folder of a study whose winners follow: see `Study.points`.
    With `folds` above 1 a search trial is the mean over that many folds, and over `repeats` other ways to draw them.
    `refit` says what a winner is trained on in its confirmations: "split" holds images out and stops early, "all"
    trains on all of them, for as many epochs as the winner's folds had at their best, in the mean.
    """

    sampler: Annotated[str, among(catalogue.names("sampler"))] = "tpe"
    pruner: Annotated[str, among(catalogue.names("pruner"))] = "median"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    generation: Annotated[int, Field(ge=1, le=10_000)] = 4
    folds: Annotated[int, Field(ge=1, le=100)] = 1
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    refit: Annotated[str, among(("split", "all"))] = "split"
    first: tuple[Point, ...] = ()
    earlier: Line | None = None


class Bounds(Table):
    """Both included; None bounds nothing."""

    low: Annotated[int, Field(ge=1)] | None = None
    high: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "Bounds":
        if self.low is None and self.high is None:
            raise ValueError("must have low or high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low must be <= high, got low = {self.low}, high = {self.high}")
        return self

    def excess(self, count: int) -> float:
        """How far a count lies outside, as the logarithm of a ratio; at most 0 where it lies inside."""
        ends = [(self.low, -1), (self.high, 1)]
        return max(sign * math.log(count / end) for end, sign in ends if end is not None)

    def words(self) -> str:
        """In words: "at most 50,000"."""
        ends = {"at least": self.low, "at most": self.high}
        return " and ".join(f"{word} {end:,}" for word, end in ends.items() if end is not None)


class Constraint(Table):
    """What every trial of a search must keep to. `parameters` is the number of a network's weights, biases included,
    which is known before it is trained.
    """

    parameters: Bounds | None = None


class Variant(Table):
    """A recipe that is compared under a name: hyperparameters that it `sets`, whatever [fixed] says of them, and a part
    `tune` of its space that is its own, beside the common [tune] and in the place of what that says of the same ones.
    """

    sets: dict[str, Value] = Field(default_factory=dict)
    tune: Space = Field(default_factory=dict)

    def space(self, common: Space) -> Space:
        """What it searches, where [tune] says `common`: of that what it does not set, and its own."""
        return {key: domain for key, domain in common.items() if key not in self.sets} | self.tune


class Claim(Table):
    """What the study is to show. Differences below `matters` are too small to matter: in points of a share, else in
    the measure's own unit. `reach` is a validation figure that trainings are to reach soon: a share in percent, as
    tables show it, else in the measure's own unit.
    """

    matters: NonNegative | None = None
    reach: Annotated[float, Field(allow_inf_nan=False)] | None = None


def _folder_name(name: str) -> str:
    """Reports are written to a folder of that name, which may come from somebody else's journal."""
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise ValueError("must be the name of a folder, without control characters")
    return name


class Code(Table):
    """A model that a user wrote, "net.py:Wide", and the text of its file: to be shown and compared, and trained with
    where the file beside the study still says the same.
    """

    name: Annotated[str, Field(max_length=1000)]
    source: str

    @property
    def own(self) -> OwnModel:
        """What the text says of it. Raises UserError where it is no model."""
        file, _, name = self.name.rpartition(":")
        return parse(self.source, file, name).own


class Loader(Table):
    """A program that a user wrote, "data.py", whose `load()` returns data, and its text: as `Code` is of a model."""

    name: Annotated[str, Field(max_length=1000)]
    source: str

    @property
    def file(self) -> str:
        """The file's name, below the study's folder."""
        return self.name

    @property
    def sha256(self) -> str:
        """Of the file, in hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()


class About(Table):
    """What is known of a data set once it has been loaded: facts that the journal keeps with the study.

    `things` are what its rows are called; `rows` are all, of which `test_rows` are for the test: of a data set with
    several choices of test rows (`test_splits` of them) the mean over these. `features` are the inputs of a network.
    """

    name: str
    task: Annotated[str, among(catalogue.names("task"))]
    things: Literal["images", "rows"] = "images"
    classes: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    rows: int = 0
    test_rows: int = 0
    test_splits: int = 0
    features: int = 0
    notes: tuple[str, ...] = ()


DatasetName = Annotated[str, AfterValidator(check_name)]
"""Of a built-in one, or of a file or folder."""


class Study(Table):
    """A study file, checked. `axis` is the compared hyperparameter, `levels` its values in the file's order.

    Where two are compared `axis` is both, as "depth,dropout", and each level is a `Cell` of the grid of their values,
    row by row: the first key's value changes last. Of named `variants` the compared key is "variant" and the values are
    their names.
    """

    name: Annotated[str, AfterValidator(_folder_name)]
    question: Line = ""
    note: Annotated[str, Field(max_length=20_000)] = ""
    dataset: DatasetName  # the first one, where data sets are compared
    written_for: (
        DatasetName  # the data set that the file names; `dataset` may be another by --dataset or for want of files
    )
    model: str = "mlp"
    code: Code | None = None  # of a model that a user wrote
    source: Source = Source()
    loader: Loader | None = None  # of data that a user's program returns
    task: Annotated[str, among(("", *catalogue.names("task")))] = catalogue.task().name  # "": the data will tell
    metric: Annotated[str, among(("", *catalogue.names("measure")))] = catalogue.task().metric  # "": the task's
    axis: str
    levels: tuple[Level, ...]
    tune: Space  # what [tune] says: see `space` for what a level searches
    fixed: dict[str, Value]
    variants: dict[str, Variant] = Field(default_factory=dict)
    budget: Budget = Budget()
    search: SearchSettings = SearchSettings()
    constraint: Constraint = Constraint()
    claim: Claim = Claim()
    published: Published | None = None
    seeding: Literal["counted", "sequence"] = "counted"  # "counted" in journals before format 3: see `search_seed`
    found: tuple[Point, ...] = ()  # what `search.earlier` had chosen when this study began: a fact, like the next one
    widened: tuple[str, ...] = ()  # how the space was widened since this study began, and when
    spent: int | None = None  # the trials of each search when `budget.minutes` were spent: a fact, once it is known
    stopped: dict[str, float] = Field(default_factory=dict)  # values that somebody ended, by name, and when (Unix)
    about: tuple[About, ...] = ()  # of each data set: facts, once they have been loaded

    @model_validator(mode="after")
    def _known_model(self) -> "Study":
        known = (self.code.own.name,) if self.code else catalogue.names("model")
        if self.model not in known:
            raise UserError(f"model: {one_of(self.model, known)}")
        return self

    @model_validator(mode="after")
    def _known_variants(self) -> "Study":
        names = self.compared.get(VARIANT, ()) if self.variants else ()
        if sorted(map(str, names)) != sorted(self.variants):
            raise UserError(f"compare.variant: {listed(self.variants)} must be what is compared, got {listed(names)}")
        return self

    @model_validator(mode="after")
    def _fitting_metric(self) -> "Study":
        if self.task and self.metric and self.metric not in (known := catalogue.task(self.task).measures):
            raise UserError(f"metric: {one_of(self.metric, known)}")
        return self

    @property
    def own(self) -> OwnModel | None:
        """The model, where a user wrote it."""
        return self.code.own if self.code else None

    @property
    def model_words(self) -> str:
        """The model as people read it: "mlp", "Wide of net.py (sha256 1a2b3c4d5e6f)"."""
        return self.own.words if self.own else self.model

    def knob(self, name: str) -> Knob:
        """The hyperparameter of that name; raises UserError where the study's model has none."""
        return catalogue.knob(name, self.own)

    @property
    def searches(self) -> int:
        """How often each compared value is searched; 1 where nothing is."""
        if not self.is_searched:
            return 1
        if self.seeding == "counted":
            return self.budget.searches or 1
        return self.budget.searches or min(SEARCHES, self.budget.seeds)

    @property
    def points(self) -> tuple[Point, ...]:
        """What every search of every level begins with: `search.first`, then what an earlier study chose."""
        return (*self.search.first, *self.found)

    @property
    def trials(self) -> int:
        """How many trials each search gets: all that are budgeted, or those that there was time for."""
        return self.budget.trials if self.spent is None else self.spent

    @property
    def open_ended(self) -> bool:
        """Whether only time will tell how many trials each search gets."""
        return self.budget.minutes is not None and self.spent is None

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets that it needs: one, or those that it compares."""
        return tuple(map(str, self.compared.get("dataset", (self.dataset,))))

    @property
    def compared(self) -> dict[str, tuple[Value, ...]]:
        """The compared keys, each with its values in the file's order."""
        every = [self.values_of(level) for level in self.levels]
        return {key: tuple(dict.fromkeys(values[key] for values in every)) for key in self.axes}

    @property
    def axes(self) -> tuple[str, ...]:
        """The compared keys: one or two."""
        return tuple(self.axis.split(","))

    @property
    def is_grid(self) -> bool:
        """Whether two keys are compared."""
        return len(self.axes) > 1

    def values_of(self, level: Level) -> dict[str, Value]:
        """What a level is called: its value of each compared key."""
        return dict(zip(level.keys, level.values, strict=True)) if isinstance(level, Cell) else {self.axis: level}

    def variant(self, level: Level) -> Variant:
        """The named variant that a level is of; one that says nothing where none are compared."""
        return self.variants[str(self.values_of(level)[VARIANT])] if self.variants else Variant()

    def sets(self, level: Level) -> dict[str, Value]:
        """The hyperparameters that a level sets: its values of the compared keys, and what its variant says."""
        values = self.values_of(level)
        return {key: value for key, value in values.items() if key not in self.naming} | self.variant(level).sets

    def settled(self, level: Level) -> dict[str, Value]:
        """What all trainings of a level have in common: what is fixed, then what the level sets."""
        space = self.space(level)
        return {key: value for key, value in {**self.fixed, **self.sets(level)}.items() if key not in space}

    def space(self, level: Level) -> Space:
        """What a level searches: [tune], but for what its variant sets, and the variant's own."""
        if not self.variants:
            return self.tune
        return reachable(self.variant(level).space(self.tune), {**self.fixed, **self.sets(level)})

    @property
    def naming(self) -> tuple[str, ...]:
        """The compared keys that are no hyperparameters, as "variant"."""
        return (VARIANT,) if self.variants else ()

    @property
    def is_searched(self) -> bool:
        """Whether any level searches."""
        return bool(self.tune) or any(variant.tune for variant in self.variants.values())

    @property
    def searching(self) -> tuple[Level, ...]:
        """The levels that search: all, or none; a variant may have nothing to search where others do."""
        return tuple(level for level in self.levels if self.space(level))

    @property
    def whole(self) -> tuple[int, int]:
        """How many search trials, and confirmations, there are to be, at most; none of values that were stopped."""
        going = [level for level in self.levels if not self.is_stopped(level)]
        searching = [level for level in going if self.space(level)]
        return len(searching) * self.searches * self.trials, len(going) * self.budget.seeds

    def is_stopped(self, level: Level) -> bool:
        """Whether somebody has ended this value of the study: nothing more of it is begun, and it is not compared."""
        return bool(self.stopped) and self.level_name(level) in self.stopped

    def stop(self, level: Level, when: float) -> "Study":
        """The study without what remains of a value, from a Unix time on."""
        return self.model_copy(update={"stopped": {**self.stopped, self.level_name(level): when}})

    def resume(self, level: Level) -> "Study":
        """The study with all of a value again."""
        left = {name: when for name, when in self.stopped.items() if name != self.level_name(level)}
        return self.model_copy(update={"stopped": left})

    @property
    def tuned(self) -> tuple[str, ...]:
        """The hyperparameters that any level searches."""
        if not self.variants:
            return tuple(self.tune)
        return tuple(dict.fromkeys(key for level in self.levels for key in self.space(level)))

    @property
    def label(self) -> str:
        """What runs, journal and report are called: figures of different data sets must never mix."""
        return self.name if self.dataset == self.written_for else f"{self.name}-{file_name(self.dataset)}"

    @property
    def journal(self) -> str:
        """The file name of its journal."""
        return f"journal{self.label.removeprefix(self.name)}.log"

    def config(self, level: Level, params: Mapping[str, Value], defaults: Mapping[str, Value] | None = None) -> Config:
        """The Config of one training: defaults, then what its level has settled, then what the search chose.

        `defaults` are those of another time, where they are not the catalogue's.
        """
        top = {"dataset": self.dataset, "model": self.model, "metric": self.metric, "task": self.task}
        top = {key: value for key, value in top.items() if value}  # what is not known yet has its default
        return Config(self.own, **{**(defaults or {}), **top, **self.settled(level), **params})

    @property
    def chosen(self) -> tuple[str, ...]:
        """The hyperparameters that the study itself decides; all others have their defaults."""
        of_variants = [key for variant in self.variants.values() for key in (*variant.sets, *variant.tune)]
        every = (*self.axes, *of_variants, *self.fixed, *self.tune)
        return tuple(key for key in dict.fromkeys(every) if key not in self.naming)

    @property
    def measure(self) -> Measure:
        """What the winner is selected by, and what the tables lead with."""
        found = catalogue.measure(self.metric)
        return replace(found, unit=self._unit(found.unit, found.name))

    def figure(self, name: str) -> Figure:
        """The figure of that name, in the unit that it has in this study. Raises UserError if there is none."""
        found: Figure = catalogue.figure(name)
        return replace(found, unit=self._unit(found.unit, found.measure))

    def _unit(self, unit: Unit, measure: str) -> Unit:
        """That of a measure: of the target the study's own, of a loss its task's."""
        if unit is TARGET and self.source.unit:
            return replace(unit, symbol=self.source.unit, gap=self.source.unit)
        return catalogue.task(self.task).loss_unit if measure == "loss" and self.task else unit

    @property
    def things(self) -> str:
        """What the rows of its data are called: "images", or "rows" of a table."""
        return self.about[0].things if self.about else "images"

    def about_data(self, dataset: str) -> About | None:
        """What is known of a data set; None where it was not recorded."""
        return next((one for one in self.about if one.name == dataset), None)

    def class_names(self, dataset: str) -> tuple[str, ...]:
        """The names of a data set's classes; empty where there are none, or none were recorded."""
        known = self.about_data(dataset)
        return known.classes if known else ()

    @property
    def matters(self) -> float | None:
        """The smallest difference in the study's measure that matters, if it says so."""
        return None if self.claim.matters is None else self.claim.matters / self.measure.unit.factor

    @property
    def reach(self) -> float | None:
        """The target of validation figures, in the study's measure, if there is one."""
        return None if self.claim.reach is None else self.claim.reach / self.measure.unit.factor

    def is_there(self, figure: float) -> bool:
        """Whether a validation figure of the study's measure has reached the target, if there is one; NaN has not."""
        target = self.reach
        return target is not None and self.measure.sign() * (figure - target) >= -ROUNDING * abs(target)

    def level_name(self, level: Level) -> str:
        """A level as people read it: "depth=3", "widths=500-400" where the value is a tuple, "depth=3,dropout=0.2"."""
        return named(self.values_of(level))

    def in_words(self, level: Level) -> str:
        """A level in a sentence that has named its key: "3"; what a user named, with quotation marks."""
        return f'"{level}"' if self.variants and not self.is_grid else show(level)

    def differing(self, first: int, second: int) -> tuple[str, ...]:
        """The keys in which the levels of two rows differ."""
        one, two = (self.values_of(self.levels[row]) for row in (first, second))
        return tuple(key for key in one if one[key] != two[key])

    def shown(self, level: Level) -> dict[str, str]:
        """What a level sets as tables show it, a column for each key."""
        return {key: show(value) for key, value in self.values_of(level).items()}

    def run_name(self, trial: Trial) -> str:
        """A trial as people read it: "depth=3 trial 12" or "depth=3 seed 4"."""
        which = f"search {trial.search} " if self.searches > 1 else ""
        what = f"{which}trial {trial.number}" if trial.stage == "search" else f"seed {trial.seed}"
        what = f"ablation {what}" if trial.stage == "ablation" else what
        return f"{self.level_name(trial.level)} {what}"

    def search_seed(self, search: int) -> int:
        """The seed of a search, the same for every level: its sampler and its trials' split, initialisation and order.

        Seeds of different searches, of confirmations and of studies whose `search.seed` differs have nothing in common:
        all come from numpy's SeedSequence, those of searches even, those of confirmations odd. In journals before
        format 3 a study's only search has `search.seed` itself, and its confirmations have the numbers after it.
        """
        if self.seeding == "counted" and search == 0:
            return self.search.seed
        return _drawn(self.search.seed, search, 0) & ~1

    def confirmation_seed(self, search: int, number: int) -> int:
        """The seed of a confirmation of a search, the same for every level; see `search_seed`."""
        if self.seeding == "counted" and search == 0:
            return self.search.seed + 1 + number
        return _drawn(self.search.seed, search, number + 1) | 1

    def shared_out(self, search: int) -> int:
        """How many of `budget.seeds` are confirmations of a search: as even as can be, the first ones more."""
        each, more = divmod(self.budget.seeds, self.searches)
        return each + (search < more)

    def default_point(self, level: Level) -> dict[str, Value] | None:
        """The tuned hyperparameters' defaults, moved to the nearest point of the space; None where there is none."""
        config = self.config(level, {})
        point = {key: nearest_in(domain, config[key]) for key, domain in self.space(level).items()}
        known = {key: value for key, value in point.items() if value is not None}
        return known if point and len(known) == len(point) else None

    @property
    def room_for_points(self) -> int:
        """How many trials of a search known points can take: all but the first, where that is the defaults."""
        defaults = any(self.default_point(level) is not None for level in self.levels)
        return self.budget.trials - defaults

    def search_trial(self, level: Level, search: int, number: int, config: Config) -> Trial:
        """A trial of a search. Of data with `test_rows` it takes the split of the search's number."""
        pool = search if self.source.test_rows else None
        return Trial(level, "search", number, self.search_seed(search), config, search, pool)

    def trainings(self, trial: Trial) -> list[Trial]:
        """What a trial is trained as: itself, or of a search with folds a training for each of them.

        The folds of a search are the same for all its trials and all levels. Each has a seed of its own for
        initialisation, order and dropout, so that a trial's mean is over their luck too.
        """
        of = self.search.folds
        if trial.stage != "search" or of == 1:
            return [trial]
        config = trial.config.replace(validation=1 / of)
        pool = trial.seed if trial.pool is None else trial.pool
        return [
            replace(trial, seed=self._of_fold(trial.search, 2 * number + 1) & ~1, config=config, pool=pool, fold=fold)
            for number in range(of * self.search.repeats)
            for fold in [Fold(number, of, self._of_fold(trial.search, 2 * (number // of) + 2))]
        ]

    def _of_fold(self, search: int, number: int) -> int:
        return _drawn(self.search.seed, search, 0, number)  # number > 0: SeedSequence takes no notice of a last zero

    @property
    def is_judged_by_folds(self) -> bool:
        """Whether the pruner compares trials fold by fold, not epoch by epoch."""
        return self.search.folds > 1 and self.search.pruner == "wilcoxon"

    def refitted(self, config: Config, best_epoch: int) -> Config:
        """What a winner is confirmed with, that had its best epoch there."""
        if not self.is_searched or self.search.refit == "split":
            return config
        return config.replace(validation=0.0, epochs=max(1, best_epoch))

    def held_out(self, config: Config) -> float:
        """The share of the training images that a confirmation holds out."""
        return 0.0 if self.is_searched and self.search.refit == "all" else float(config.validation)

    def confirmations(self, level: Level, config: Config, search: int = 0) -> list[Trial]:
        """The fresh-seed trials of a search whose winner has that config."""
        return [self.confirmation(level, search, number, config) for number in range(self.shared_out(search))]

    def confirmation(self, level: Level, search: int, number: int, config: Config) -> Trial:
        """A fresh-seed trial. Of a pooled split its test images are those that the search has not seen; of data with
        `test_rows` those of the split of its search's number, or of its own where nothing is searched.
        """
        held_out = self.is_searched and self.seeding == "sequence" and config.split == "pooled"
        pool = self.search_seed(search) if held_out else None
        if self.source.test_rows:
            pool = search if self.is_searched else number
        seed, watched = self.confirmation_seed(search, number), self.budget.test_each_epoch
        return Trial(level, "confirm", number, seed, config, search, pool, tested_each_epoch=watched)

    def identity(self) -> dict[str, Any]:
        """What the trials in a journal depend on, as JSON types: an edit of anything else needs no new journal, nor
        does one that widens the space.
        """
        told: dict[str, Any] = json.loads(self.model_dump_json(include=set(IDENTITY)))
        told |= {key: value for key, value in told.pop("source").items() if key != "unit"}  # at the top of its file
        if self.is_grid:  # what was edited is then a list of values, not of cells
            told["levels"] = json.loads(json.dumps(self.compared))
        for name, variant in told.pop("variants").items():
            told[place_of_variant(name)] = {
                **variant["sets"],
                **({"tune": variant["tune"]} if variant["tune"] else {}),
            }
        return told


def grid(compared: Mapping[str, tuple[Value, ...]]) -> tuple[str, tuple[Level, ...]]:
    """The axis and the levels of a study that compares these keys: of two every pair of values, row by row."""
    keys = tuple(compared)
    if len(keys) == 1:
        return keys[0], compared[keys[0]]
    return ",".join(keys), tuple(Cell(keys, values) for values in itertools.product(*compared.values()))


IDENTITY = (
    "dataset",
    "source",
    "task",
    "model",
    "metric",
    "axis",
    "levels",
    "variants",
    "tune",
    "fixed",
    "search",
    "constraint",
)


def _drawn(*key: int) -> int:
    """32 bits that belong to a key."""
    from numpy.random import SeedSequence  # a tenth of a second to import, which `harness list` need not wait for

    return int(SeedSequence(key).generate_state(1)[0])
