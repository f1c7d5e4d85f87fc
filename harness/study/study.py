"""What a study is, once its file has been read: what is compared, tuned and fixed, with what budget.

study = read_study("studies/depth")           # study_file.py
study.config(level=3, params={"lr": 0.1})     # the Config of one training
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from harness.errors import UserError
from harness.trial import Config, Dataset, Model, NonNegative, Positive, Trial, Value

LARGEST_GRID = 100_000  # points


class Record(BaseModel):
    """A table of the study file: strict types, no unknown keys, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Choice(Record):
    """A tuned hyperparameter that takes one of several values; `when` says for which others it matters."""

    values: tuple[Value, ...]
    when: dict[str, Value] = Field(default_factory=dict)


class Range(Record):
    """A tuned hyperparameter between two bounds, both included: Optuna's own low, high, step and log."""

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False
    when: dict[str, Value] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "Range":
        if self.low > self.high:
            raise ValueError(f"low must be <= high, got low = {self.low}, high = {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be > 0 with log = true, got {self.low}")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step must be > 0, got {self.step}")
        if self.log and self.step is not None:
            raise ValueError("log = true and step cannot be combined")
        return self


Space = dict[str, Choice | Range]


class Budget(Record):
    """What every compared value gets: the same for all of them; and what a training may cost before it is given up.

    `retries` is how often a stack is trained again whose worker process was lost. `trial_timeout` is in seconds of
    training for each trial of a stack. `failures` is the share of a generation's trials, or of the confirmation's,
    above which the study stops. `gpus_per_stack` may be a fraction: several stacks then share a GPU of a cluster.
    """

    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 16
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 10
    retries: Annotated[int, Field(ge=0, le=1000)] = 2
    trial_timeout: Positive | None = None
    failures: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    gpus_per_stack: Positive = 1.0


class Search(Record):
    """How Optuna searches. `generation` trials of each level are asked for at once, so that they can share stacks."""

    sampler: Literal["tpe", "gp", "random", "qmc", "grid"] = "tpe"
    pruner: Literal["median", "hyperband", "wilcoxon", "none"] = "median"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    generation: Annotated[int, Field(ge=1, le=10_000)] = 4


Line = Annotated[str, Field(max_length=2000)]  # MLflow takes no more than a few thousand characters
Shares = tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...]
Sizes = tuple[NonNegative, ...]


class Published(Record):
    """Figures that others reported, in the order of [compare]; only the report reads them.

    Names and units are those of an Outcome; `epochs` is how many were trained, `running_train_loss` the mean over the
    batches of the kept epoch, dropout on and weights moving. `runs` is how many trainings stand behind each figure.
    """

    source: Line
    runs: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    test_accuracy: Shares | None = None
    train_accuracy: Shares | None = None
    untrained_accuracy: Shares | None = None
    test_loss: Sizes | None = None
    train_loss: Sizes | None = None
    running_train_loss: Sizes | None = None
    val_loss: Sizes | None = None
    best_epoch: Sizes | None = None
    epochs: Sizes | None = None
    seconds: Sizes | None = None

    @property
    def figures(self) -> dict[str, tuple[float, ...]]:
        """What was published, by name."""
        known = {name: getattr(self, name) for name in type(self).model_fields if name not in ("source", "runs")}
        return {name: figures for name, figures in known.items() if figures is not None}


def _folder_name(name: str) -> str:
    """Reports are written to a folder of that name, which may come from somebody else's journal."""
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise ValueError("must be the name of a folder, without control characters")
    return name


class Study(Record):
    """A study file, checked. `axis` is the compared hyperparameter, `levels` its values in the file's order."""

    name: Annotated[str, AfterValidator(_folder_name)]
    question: Line = ""
    note: Annotated[str, Field(max_length=20_000)] = ""
    dataset: Dataset  # the first one, where data sets are compared
    written_for: Dataset  # the data set that the file names; `dataset` may be another by --dataset or for want of files
    model: Model = "mlp"
    axis: str
    levels: tuple[Value, ...]
    tune: Space
    fixed: dict[str, Value]
    budget: Budget = Budget()
    search: Search = Search()
    published: Published | None = None

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets that it needs: one, or those that it compares."""
        return tuple(map(str, self.levels)) if self.axis == "dataset" else (self.dataset,)

    @property
    def label(self) -> str:
        """What runs, journal and report are called: figures of different data sets must never mix."""
        return self.name if self.dataset == self.written_for else f"{self.name}-{self.dataset}"

    @property
    def journal(self) -> str:
        """The file name of its journal."""
        return f"journal{self.label.removeprefix(self.name)}.log"

    def config(self, level: Value, params: Mapping[str, Value]) -> Config:
        """The Config of one training: defaults, then [fixed], then the level, then what the search chose."""
        chosen: dict[str, Any] = {**self.fixed, self.axis: level, **params}
        return replace(Config(dataset=self.dataset, model=self.model), **chosen)

    def level_name(self, level: Value) -> str:
        """A level as people read it: "depth=3", or "widths=500-400" where the value is a tuple."""
        return f"{self.axis}={show(level)}"

    def run_name(self, trial: Trial) -> str:
        """A trial as people read it: "depth=3 trial 12" or "depth=3 seed 4"."""
        what = f"trial {trial.number}" if trial.stage == "search" else f"seed {trial.seed}"
        return f"{self.level_name(trial.level)} {what}"

    def confirmations(self, level: Value, params: Mapping[str, Value]) -> list[Trial]:
        """The fresh-seed trials of a level's winner: the search's seed plus 1, 2, ..., the same for every level."""
        first = self.search.seed + 1
        config = self.config(level, params)
        return [Trial(level, "confirm", n, first + n, config) for n in range(self.budget.seeds)]

    def identity(self) -> dict[str, Any]:
        """What the trials in a journal depend on, as JSON types: an edit of anything else needs no new journal."""
        return json.loads(  # type: ignore[no-any-return]
            self.model_dump_json(include={"dataset", "model", "axis", "levels", "tune", "fixed", "search"})
        )


def grid_values(key: str, domain: Choice | Range) -> tuple[Value, ...]:
    """The points of a domain on a grid; a range needs a step (whole numbers have step 1)."""
    if isinstance(domain, Choice):
        return domain.values
    step = domain.step if domain.step is not None else 1 if isinstance(domain.low, int) and not domain.log else None
    if step is None:
        raise UserError(f"tune.{key}: needs a step, or a list of choices, with search.sampler = 'grid'")
    steps = (domain.high - domain.low) / step + 1e-9
    if steps >= LARGEST_GRID:
        raise UserError(f"tune.{key}: a grid may have {LARGEST_GRID:,} points, this one has {steps:,.3g}")
    count = int(steps) + 1
    points = (domain.low + index * step for index in range(count))
    return tuple(min(point, domain.high) for point in points)  # 0.1 + 2 * 0.1 is a little more than 0.3


def grid_size(tune: Space) -> int:
    """How many points the grid over a space has."""
    size = 1
    for key, domain in tune.items():
        if domain.when:
            raise UserError(f"tune.{key}.when: cannot be used with search.sampler = 'grid'")
        size *= len(grid_values(key, domain))
        if size > LARGEST_GRID:
            raise UserError(f"search.sampler: a grid may have {LARGEST_GRID:,} points, this one has more")
    return size


def show(value: object) -> str:
    """A value as people read it: 500-400 for a tuple, four digits for a float."""
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
