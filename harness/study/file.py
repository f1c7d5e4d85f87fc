"""Reads and checks `studies/<name>/study.toml`.

    study = read_study("studies/depth", overrides=["budget.trials=2"])

Whatever is wrong with the file is told in one line: file, key, rule, value and the nearest right name.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from harness.errors import UserError
from harness.study import toml
from harness.study.places import study_folder
from harness.study.study import Budget, Choice, Published, Range, Record, Search, Space, Study, grid_size, show
from harness.trial import HYPERPARAMETERS, OF_CNN, Config, Dataset, Value

WIDTH_KEYS = ("depth", "width", "taper")  # what explicit `widths` replaces
TABLES = ("compare", "tune", "fixed", "budget", "search", "published")
Parsed = TypeVar("Parsed")
TYPES = get_type_hints(Config, include_extras=True)


def read_study(path: str | Path, overrides: Iterable[str] = (), dataset: str | None = None) -> Study:
    """The study in the folder `path`, with `key=value` overrides applied; raises UserError for whatever is wrong."""
    file = _find(Path(path))
    try:
        raw = toml.parse(file.read_text(encoding="utf-8"))
        _tables(raw)
        written_for = raw.get("dataset")
        for override in overrides:
            _override(raw, override)
        if dataset is not None:
            raw["dataset"] = dataset
        toml.check(raw)
        study = _check(file.parent.resolve().name, raw)
        return study.model_copy(update={"written_for": _value("dataset", written_for or study.dataset, "dataset")})
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not valid TOML: {error}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except UserError as error:
        raise UserError(str(error) if str(error).startswith("--set ") else f"{file}: {error}") from None


def _find(path: Path) -> Path:
    folder = study_folder(path)
    file = folder / "study.toml"
    if not file.is_file():
        beside = [str(other.parent) for base in (folder.parent, Path("studies")) for other in base.glob("*/study.toml")]
        if str(inside := "studies" / folder) in beside:
            raise UserError(f"{folder}: no such study; did you mean {inside}?")
        raise UserError(f"{folder}: no such study (there is no {file}){_nearest(str(folder), sorted(beside))}")
    return file


def _tables(raw: Mapping[str, Any]) -> None:
    for table in TABLES:
        if not isinstance(raw.get(table, {}), dict):
            raise UserError(f"{table}: must be a table, [{table}], got {raw[table]!r}")


def _override(raw: dict[str, Any], override: str) -> None:
    """Apply `section.key=value`, or `key=value` for the compared key, a top-level key or a hyperparameter to fix."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"--set {override}: must be key=value, as in lr=0.1 or budget.seeds=5")
    try:
        value = toml.parse(f"value = {text}")["value"]
    except UserError:
        value = text.strip()  # a bare word: adam instead of "adam"
    *sections, name = key.split(".")
    if sections:
        table: Any = raw
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise UserError(f"--set {override}: {section} is no table of the study file")
        table[name] = value
    elif key in raw.get("compare", {}):
        raw["compare"][key] = value
    elif key in HYPERPARAMETERS:
        raw.get("tune", {}).pop(key, None)
        raw.setdefault("fixed", {})[key] = value
    elif key in ("dataset", "model", "question", "note"):
        raw[key] = value
    else:
        raise UserError(f"--set {override}: unknown key {key}{_nearest(key, [*HYPERPARAMETERS, 'dataset', 'model'])}")


def _check(name: str, raw: dict[str, Any]) -> Study:
    _known("", raw, ("question", "note", "dataset", "model", *TABLES))
    model = _value("model", raw.get("model", "mlp"), "model")
    axis, levels = _compare(raw.get("compare", {}))
    dataset = _dataset(raw, axis, levels)
    fixed = _fixed(raw.get("fixed", {}))
    tune = _tune(raw.get("tune", {}))
    _disjoint(axis, tune, fixed)
    for key in OF_CNN if model != "cnn" else ():
        if key in (axis, *tune, *fixed):
            raise UserError(f"{key}: only model = 'cnn' has it, and the study's model is {model!r}")
    _conditions(tune, axis, fixed)
    study = {key: raw[key] for key in ("question", "note") if key in raw} | {
        "name": name,
        "dataset": dataset,
        "written_for": dataset,
        "model": model,
        "axis": axis,
        "levels": levels,
        "tune": tune,
        "fixed": fixed,
        "budget": _table(Budget, "budget", raw),
        "search": _table(Search, "search", raw),
        "published": _table(Published, "published", raw) if "published" in raw else None,
    }
    checked = _parse(TypeAdapter(Study), "", study)
    _fits_together(checked)
    return checked


def _dataset(raw: Mapping[str, Any], axis: str, levels: Sequence[Value]) -> Value:
    if axis == "dataset":
        if "dataset" in raw:
            raise UserError("dataset: stands in [compare] already; it can be in one place only")
        return levels[0]
    if "dataset" not in raw:
        raise UserError(f"dataset: missing; one of {_listed(get_args(Dataset))}")
    return _value("dataset", raw["dataset"], "dataset")


def _compare(table: dict[str, Any]) -> tuple[str, tuple[Value, ...]]:
    if len(table) != 1:
        got = f"got {_listed(table)}" if table else "it is empty or missing"
        raise UserError(f"compare: must hold exactly one key, the axis of the table; {got}")
    _known("compare", table, ("dataset", *HYPERPARAMETERS))
    [(axis, values)] = table.items()
    levels = _values(f"compare.{axis}", values, axis)
    if len({show(level) for level in levels}) < len(levels):  # they would be one value in journal, runs and tables
        raise UserError(f"compare.{axis}: values must differ in their first four digits, got {values!r}")
    return axis, levels


def _fixed(table: dict[str, Any]) -> dict[str, Value]:
    _known("fixed", table, HYPERPARAMETERS)
    return {key: _value(f"fixed.{key}", value, key) for key, value in table.items()}


def _tune(table: dict[str, Any]) -> Space:
    _known("tune", table, HYPERPARAMETERS)
    return {key: _domain(f"tune.{key}", key, value) for key, value in table.items()}


def _domain(where: str, key: str, raw: Any) -> Choice | Range:
    """A list is a choice; a table is a range, or a choice with `values`."""
    if isinstance(raw, list):
        return Choice(values=_values(where, raw, key))
    if not isinstance(raw, dict):
        raise UserError(f"{where}: must be a list of choices or a table with low and high, got {raw!r}")
    if "values" in raw:
        _known(where, raw, Choice.model_fields)
        values = _values(f"{where}.values", raw["values"], key)
        return _parse(TypeAdapter(Choice), where, {**raw, "values": values})
    _known(where, raw, Range.model_fields)
    domain = _parse(TypeAdapter(Range), where, raw)
    if TypeAdapter(TYPES[key]).json_schema().get("type") not in ("integer", "number"):
        raise UserError(f"{where}: {key} has no range; give a list of choices")
    bounds = {bound: _value(f"{where}.{bound}", getattr(domain, bound), key) for bound in ("low", "high")}
    if isinstance(bounds["low"], int) and not isinstance(domain.step or 1, int):
        raise UserError(f"{where}.step: must be a whole number, got {domain.step}")
    return domain.model_copy(update=bounds)


def _values(where: str, raw: Any, key: str) -> tuple[Value, ...]:
    if not isinstance(raw, list) or not raw:
        raise UserError(f"{where}: must be a list of at least one value, got {raw!r}")
    values = tuple(_value(where, value, key) for value in raw)
    if len(set(values)) < len(values):
        raise UserError(f"{where}: values must differ from each other, got {raw!r}")
    return values


def _value(where: str, raw: Any, key: str) -> Value:
    """A value for the hyperparameter `key`, in its own type: a whole number is welcome where a float is meant."""
    if key in ("widths", "channels") and isinstance(raw, list):
        raw = tuple(raw)
    return _parse(TypeAdapter(TYPES[key], config=ConfigDict(strict=True)), where, raw)  # type: ignore[no-any-return]


def _disjoint(axis: str, tune: Space, fixed: Mapping[str, Value]) -> None:
    for key in (*tune, *fixed):
        places = [name for name, keys in (("compare", (axis,)), ("tune", tune), ("fixed", fixed)) if key in keys]
        if len(places) > 1:
            raise UserError(f"{places[1]}.{key}: {key} stands in [{places[0]}] already; it can be in one of them only")
    if "widths" in (axis, *tune, *fixed):
        for key in WIDTH_KEYS:
            if key in (axis, *tune, *fixed):
                raise UserError(f"widths: names every hidden layer, so {key} cannot be given as well")


def _conditions(tune: Space, axis: str, fixed: Mapping[str, Value]) -> None:
    """`when` may speak of what is compared, fixed, or tuned without a `when` of its own."""
    for key, domain in tune.items():
        for other, wanted in domain.when.items():
            where = f"tune.{key}.when.{other}"
            free = {name for name, candidate in tune.items() if not candidate.when}
            if other not in {axis, *fixed, *free}:
                raise UserError(
                    f"{where}: must be compared, fixed, or tuned without `when`{_nearest(other, sorted(free))}"
                )
            _value(where, wanted, other)
            if isinstance(chosen := tune.get(other), Choice) and wanted not in chosen.values:
                raise UserError(f"{where}: must be one of {_listed(chosen.values)}, got {wanted!r}")


def _fits_together(study: Study) -> None:
    for name, figures in study.published.figures.items() if study.published else ():
        if len(figures) != len(study.levels):
            raise UserError(
                f"published.{name}: must hold one figure for each of the {len(study.levels)} compared values, "
                f"got {len(figures)}"
            )
    for level in study.levels:
        if study.tune and not study.config(level, {}).validation:
            raise UserError("validation: a search needs images to choose by, so it must be above 0 with [tune]")
    if "validation" in study.tune:
        raise UserError("tune.validation: the images to choose by cannot be tuned; compare it or fix it")
    if study.search.sampler == "grid":
        size = grid_size(study.tune)
        if study.tune and study.budget.trials > size:
            raise UserError(f"budget.trials: the grid has {size} points, got {study.budget.trials} trials")


def _table(kind: type[Record], name: str, raw: Mapping[str, Any]) -> Any:
    _known(name, raw.get(name, {}), kind.model_fields)
    listed = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.get(name, {}).items()}
    return _parse(TypeAdapter(kind), name, listed)


def _parse(adapter: TypeAdapter[Parsed], where: str, raw: Any) -> Parsed:
    """Pydantic's verdict, its first complaint told in our words."""
    try:
        return adapter.validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        inner = [str(part) for part in first["loc"] if isinstance(part, str) and part.isidentifier()]
        where = ".".join([where, *inner] if where else inner)
        expected = first.get("ctx", {}).get("expected")
        if first["type"] == "literal_error" and expected:
            names = [name.strip("' ") for name in expected.replace(" or ", ", ").split(",")]
            got = first["input"]
            raise UserError(f"{where}: must be one of {_listed(names)}, got {got!r}{_nearest(got, names)}") from None
        rule = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        got = "" if "got" in rule or first["type"] == "missing" else f", got {first['input']!r}"
        raise UserError(f"{where}: {rule[0].lower()}{rule[1:]}{got}") from None


def _known(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    names = sorted(known)
    for key in table:
        if key not in names:
            place = f"{where}.{key}" if where else key
            raise UserError(f"{place}: unknown key{_nearest(key, names) or f'; known are {_listed(names)}'}")


def _nearest(name: Any, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(str(name) for name in names)
