"""What others reported, to stand beside what is measured: the table [published].

[published]
source = "somebody, 2019"
runs = 10                                 # trainings behind each figure
test_accuracy = [0.97, 0.98]              # a figure for each compared value
deviation.test_accuracy = [0.002, 0.001]  # how those trainings spread, where it is known

[published.after.5]                       # figures after 5 epochs
test_accuracy = [0.95, 0.96]
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from harness import catalogue
from harness.catalogue import RATIO, SHARE, Figure
from harness.errors import UserError
from harness.study.space import Line, Table

Values = tuple[float, ...]
"""One for each level, NaN where there is none."""

NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Quoted:
    """A figure as it was published for all levels: after so many epochs, or at the end (`after` 0); `where` it stands
    in the table. `deviations` are the standard deviations of single runs.
    """

    name: str
    after: int
    values: Values
    deviations: Values
    where: str


class Reported(Table):
    """Figures by their names in the catalogue, a value for each level; `deviation` has the sample standard deviations
    of the trainings behind some of them.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    deviation: dict[str, Values] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _figures(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        known = {name: raw[name] for name in cls.model_fields if name in raw}
        if isinstance(spread := known.get("deviation"), Mapping):
            known["deviation"] = {name: DEVIATIONS.validate_python(told(values)) for name, values in spread.items()}
        given = {name: values for name, values in raw.items() if name not in known and values is not None}
        return known | {name: figure_type(name).validate_python(told(values)) for name, values in given.items()}

    @property
    def figures(self) -> dict[str, Values]:
        """What was published, by name."""
        return dict(self.model_extra or {})


class Published(Reported):
    """Figures that others reported, in the order of [compare], of two keys row by row; only the report reads them.

    `epochs` is how many were trained, `running_train_loss` the mean over the batches of the kept epoch, dropout on and
    weights moving. `runs` is how many trainings stand behind each figure. `after` has figures after so many epochs.
    """

    source: Line
    runs: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    after: dict[int, Reported] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _epochs(cls, raw: Any) -> Any:
        """Names of tables are text, in TOML and in JSON."""
        if not isinstance(raw, dict) or not isinstance(raw.get("after"), Mapping):
            return raw
        return {**raw, "after": {whole(epoch): one for epoch, one in raw["after"].items()}}

    def quoted(self) -> Iterator[Quoted]:
        """All that was published, that at the end first."""
        for after, one in ((0, self), *sorted(self.after.items())):
            for name, values in one.figures.items():
                where = f"after.{after}.{name}" if after else name
                yield Quoted(name, after, values, one.deviation.get(name, (math.nan,) * len(values)), where)


def whole(text: Any) -> int:
    """A number of epochs, of the name of a table. Raises UserError where it is none."""
    is_number = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 10
    if (isinstance(text, int) or is_number) and int(text) > 0:
        return int(text)
    raise UserError(f"after: its tables are called by epochs, as [published.after.5], got {text!r}")


def told(values: Any) -> Any:
    """A list as figures are checked; JSON, which has no NaN, says null."""
    return tuple(math.nan if one is None else one for one in values) if isinstance(values, list | tuple) else values


def _or_nan(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """NaN where nothing was published."""
    return value if isinstance(value, float) and math.isnan(value) else check(value)


MAY_LACK = WrapValidator(_or_nan)
DEVIATIONS: TypeAdapter[Values] = TypeAdapter(tuple[Annotated[NonNegative, MAY_LACK], ...])


def figure_type(name: str) -> TypeAdapter[Values]:
    """What values a figure can have; NaN where a level has none. Raises UserError if there is no such figure."""
    figure: Figure = catalogue.figure(name)
    if figure.unit is SHARE:
        return TypeAdapter(tuple[Annotated[float, Field(ge=0.0, le=1.0), MAY_LACK], ...])
    if figure.unit is RATIO:  # worse than the mean is below 0
        return TypeAdapter(tuple[Annotated[float, Field(le=1.0, allow_inf_nan=False), MAY_LACK], ...])
    return DEVIATIONS
