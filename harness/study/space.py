"""What is searched: choices and ranges, by the hyperparameters' names.

space: Space = {"lr": Range(low=1e-3, high=1e-1, log=True), "width": Choice(values=(64, 128))}
grid_size(space)
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.catalogue import Value, is_number, show
from harness.errors import UserError

LARGEST_GRID = 100_000  # points
Line = Annotated[str, Field(max_length=2000)]  # MLflow takes no more than a few thousand characters


class Table(BaseModel):
    """A table of the study file: strict types, no unknown keys, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Choice(Table):
    """A tuned hyperparameter that takes one of several values; `when` says for which others it matters."""

    values: tuple[Value, ...]
    when: dict[str, Value] = Field(default_factory=dict)


class Range(Table):
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
        farthest = max(abs(self.low), abs(self.high))
        if self.step is not None and farthest + self.step == farthest:
            raise ValueError(f"step is so small that {farthest} + step is {farthest}, got {self.step}")
        if self.log and self.step is not None:
            raise ValueError("log = true and step cannot be combined")
        return self


Space = dict[str, Choice | Range]


def _is_among(value: Value | None, values: tuple[Value, ...]) -> bool:
    """Whether a value is one of some; true is not 1."""
    return any(one == value and isinstance(one, bool) == isinstance(value, bool) for one in values)


def nearest_in(domain: Choice | Range, value: Value | None) -> Value | None:
    """The point of a domain that lies nearest to a value; None for a word or a list that is not among the choices."""
    if isinstance(domain, Choice):
        numbers = [one for one in domain.values if is_number(one)]
        known = _is_among(value, domain.values)
        if known or not is_number(value) or len(numbers) < len(domain.values):
            return value if known else None
        return min(numbers, key=lambda one: abs(one - value))
    if not is_number(value):
        return None
    step, within = domain.step, min(max(value, domain.low), domain.high)
    if step is None:
        return within
    count = min(round((within - domain.low) / step), int((domain.high - domain.low) / step + 1e-9))
    return domain.low + count * step


def ends(domain: Choice | Range) -> tuple[Value, ...]:
    """The bounds of a range, or all values of a choice."""
    return domain.values if isinstance(domain, Choice) else (domain.low, domain.high)


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


def reachable(space: Space, settled: Mapping[str, Value]) -> Space:
    """What is searched where some hyperparameters have settled values: without those whose `when` never holds."""

    def may_be(other: str, wanted: Value) -> bool:
        if other in space:
            return holds(space[other], wanted)
        return other not in settled or settled[other] == wanted

    return {key: domain for key, domain in space.items() if all(may_be(*one) for one in domain.when.items())}


def describe(domain: Choice | Range) -> str:
    """A tuned hyperparameter's domain in words."""
    when = " and ".join(f"{key} is {show(value)}" for key, value in domain.when.items())
    if isinstance(domain, Choice):
        text = "one of " + ", ".join(show(value) for value in domain.values)
    else:
        step = f" in steps of {show(domain.step)}" if domain.step is not None else ""
        text = f"from {show(domain.low)} to {show(domain.high)}{step}{' (log scale)' if domain.log else ''}"
    return f"{text} if {when}" if when else text


def holds(domain: Choice | Range, value: Value) -> bool:
    """Whether a value lies in a domain; in a range of numbers, and on its steps."""
    if isinstance(domain, Choice):
        return _is_among(value, domain.values)
    if not is_number(value) or not domain.low <= value <= domain.high:
        return False
    steps = (value - domain.low) / domain.step if domain.step is not None else 0.0
    return abs(steps - round(steps)) < 1e-6


def describe_point(point: Mapping[str, Value]) -> str:
    """Some hyperparameters and their values in words."""
    return ", ".join(f"{key} = {show(value)}" for key, value in point.items())
