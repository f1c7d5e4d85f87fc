"""Reads and checks `studies/<name>/study.toml`.

    study = read_study("studies/depth", overrides=["budget.trials=2"])

Whatever is wrong with the file is told in one line: file, key, rule, value and the nearest right name.
"""

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError

from harness import catalogue
from harness.catalogue import Knob, OwnModel, Value, hyperparameters, show
from harness.errors import UserError, listed, nearest
from harness.study import toml
from harness.study.own import is_own, read_loader, read_own, why_not
from harness.study.places import study_folder
from harness.study.published import DEVIATIONS, Published, Reported, figure_type, told, whole
from harness.study.settle import check_published, check_reach, check_task, implied_task, uses
from harness.study.source import KEYS, LISTS, Source, check_name, check_source, is_built_in, is_loader, means_file
from harness.study.space import Choice, Range, Space, Table, describe, ends, grid_size, holds
from harness.study.study import (
    VARIANT,
    Bounds,
    Budget,
    Claim,
    Code,
    Constraint,
    Loader,
    Point,
    SearchSettings,
    Study,
    Variant,
    among,
    grid,
    place_of_variant,
)
from harness.study.variants import check_name as check_name_of_variant
from harness.study.variants import check_variants

WIDTH_KEYS = ("depth", "width", "taper")  # what explicit `widths` replaces
TOP = ("question", "note", "dataset", *KEYS, "task", "model", "metric")
TABLES = ("compare", "tune", "fixed", "budget", "search", "constraint", "claim", "published")
OF_ALL = ("dataset", "model", "metric", "task")  # what a study names at its top
Parsed = TypeVar("Parsed")
LONGEST = 1000  # items of a list of whole numbers
OF_EFFECTS = ("n", "p", "low", "high", "difference", "error", "p_holm", "detectable", "improvement", "mean")
MOST_LEVELS = 1000  # of which each has an Optuna study for each search, and a row of every table
MOST_KEYS = 2  # that can be compared: a table has rows and columns
Compared = Mapping[str, tuple[Value, ...]]
"""The compared keys with their values."""


def read_study(path: str | Path, overrides: Iterable[str] = (), dataset: str | None = None) -> Study:
    """The study in the folder `path`, with `key=value` overrides applied; raises UserError for whatever is wrong."""
    try:
        file = _find(Path(path))
    except OSError as error:  # too long a name
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        raw = toml.parse(file.read_text(encoding="utf-8-sig"))  # some editors begin with a mark
        _tables(raw)
        written_for = raw.get("dataset")
        of_model, others = _sorted(overrides)
        for override in of_model:  # first: others may be its parameters
            _override(raw, override, None)
        own = read_own(file.parent, raw["model"]) if is_own(raw.get("model")) else None
        for override in others:
            _override(raw, override, own)
        if dataset is not None:
            raw["dataset"] = dataset
        toml.check(raw)
        study = _check(file.parent, raw, own)
        written = study.dataset if written_for is None else _data_name("dataset", written_for, file.parent)
        return study.model_copy(update={"written_for": written})
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not valid TOML: {error}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except UserError as error:
        raise UserError(str(error) if str(error).startswith("--set ") else f"{file}: {error}") from None


def _find(path: Path) -> Path:
    folder = study_folder(path)
    file = folder / "study.toml"
    if file.is_dir():
        raise UserError(f"{file}: is a directory; must be a text file")
    if path.suffix == ".toml" and path.name != "study.toml" and path.is_file():
        way = f"mkdir -p studies/{path.stem} && mv {path} studies/{path.stem}/study.toml"
        raise UserError(f"{path}: a study is a folder that holds a file study.toml: {way}")
    if not file.is_file():
        beside = [str(other.parent) for base in (folder.parent, Path("studies")) for other in base.glob("*/study.toml")]
        if str(inside := "studies" / folder) in beside:
            raise UserError(f"{folder}: no such study; did you mean {inside}?")
        raise UserError(f"{folder}: no such study (there is no {file}){nearest(str(folder), sorted(beside))}")
    return file


def _tables(raw: Mapping[str, Any]) -> None:
    if "alert" in raw:
        raise UserError(
            "alert: a study file names no command to be run, since it may be somebody else's; give it to "
            "harness run --on-done, or write [alert] into your own settings (docs/watch.md)"
        )
    for table in TABLES:
        if not isinstance(raw.get(table, {}), dict):
            raise UserError(f"{table}: must be a table, [{table}], got {raw[table]!r}")


def _sorted(overrides: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those that name the model, and the others."""
    every = list(overrides)
    of_model = [one for one in every if one.partition("=")[0].strip() == "model"]
    return of_model, [one for one in every if one not in of_model]


def _override(raw: dict[str, Any], override: str, own: OwnModel | None) -> None:
    """Apply `section.key=value`, or `key=value` for the compared key, a top-level key or a hyperparameter to fix."""
    keys, text = toml.dotted(override) or ([], "")
    if not keys:
        raise UserError(f"--set {override}: must be key=value, as in lr=0.1 or budget.seeds=5")
    try:
        value = toml.parse(f"value = {text}")["value"]
    except UserError:
        value = text.strip()  # a bare word: adam instead of "adam"
    *sections, key = keys
    if sections:
        table: Any = raw
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise UserError(f"--set {override}: {section} is no table of the study file")
        table[key] = value
    elif key in raw.get("compare", {}):
        raw["compare"][key] = value
    elif key in hyperparameters(own):
        raw.get("tune", {}).pop(key, None)
        raw.setdefault("fixed", {})[key] = value
    elif key in TOP:
        raw[key] = value
    else:
        raise UserError(f"--set {override}: unknown key {key}{nearest(key, [*hyperparameters(own), *TOP])}")


def _check(folder: Path, raw: dict[str, Any], own: OwnModel | None) -> Study:
    _known("", raw, (*TOP, *TABLES))
    model = own.name if own else _model(raw.get("model", "mlp"))
    asked = _hyperparameters(folder, raw, model, own)
    datasets = _datasets(folder, raw, asked.compared)
    task, metric = (_named(key, raw[key]) if key in raw else "" for key in ("task", "metric"))
    study = {
        **_words(raw),
        "name": folder.resolve().name,
        "dataset": datasets[0],
        "written_for": datasets[0],
        "source": _source(raw, datasets),
        "loader": _loader(folder, datasets),
        "model": model,
        "code": own and Code(name=own.name, source=own.source),
        "task": "",
        "metric": metric,
        **dict(zip(("axis", "levels"), grid(asked.compared), strict=True)),
        "tune": asked.tune,
        "fixed": asked.fixed,
        "variants": asked.variants,
        **_other_tables(raw, asked.sides(), own),
        "seeding": "sequence",
    }
    checked = _with_task(_parse(TypeAdapter(Study), "", study), str(task))
    for check in (check_variants, _data_fits, _fits_together, _can_be_built, _folds_fit, _refit_fits, _worth_is_known):
        check(checked)
    return checked


def _words(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: raw[key] for key in ("question", "note") if key in raw}


def _model(raw: Any) -> Value:
    """A built-in model's name."""
    known = catalogue.names("model")
    if raw not in known:
        beside = "or a file beside the study, as 'net.py'"
        raise UserError(f"model: must be one of {listed(known)}, {beside}, got {raw!r}{nearest(raw, known)}")
    return str(raw)


def _with_task(study: Study, said: str) -> Study:
    """The study with its task and metric, where data sets that are built in or its own words tell them."""
    told = dict(map(_built_in_task, filter(is_built_in, study.datasets)))
    for (first, one), (second, other) in itertools.pairwise(told.items()):
        if one != other:
            raise UserError(f"compare.dataset: all must have one task; of {first} it is {one}, of {second} {other}")
    for name, task in told.items():
        if said not in ("", task):
            raise UserError(f"task: {name} is learned by {task}, got {said!r}")
    task = next(iter(told.values()), said or implied_task(study))
    if not task:
        return study
    known = study.model_copy(update={"task": task})
    check_task(known)
    return known if known.metric else known.model_copy(update={"metric": catalogue.task(task).metric})


def _built_in_task(name: str) -> tuple[str, str]:
    part = catalogue.part("dataset", name)
    assert isinstance(part, catalogue.Dataset)
    return name, part.task


def _data_fits(study: Study) -> None:
    """What is said of test rows is said once, and every word of losses has an effect."""
    of = {"test_rows": study.source.test_rows, "split_column": study.source.split_column}
    for source in (name for name, value in of.items() if value is not None):
        for key in ("split", "test_fraction"):
            for where, _ in uses(study, key):
                raise UserError(f"{where}: has no effect: {source} says which rows are for the test; leave it out")
    losses = [loss for _, loss in uses(study, "loss")]
    for where, _ in uses(study, "huber_delta"):
        if "huber" not in losses:
            raise UserError(
                f"{where}: is of loss = 'huber', and the study has {listed(losses) or 'no loss of its own'}"
            )


class Side(NamedTuple):
    """Of a study the hyperparameters that belong together: all, or what is of one variant. `settled` are those with
    values, by what the study says of them; of compared ones the value is None. `own` are the keys that only it has.
    """

    where: str
    settled: Mapping[str, Value | None]
    space: Space
    own: Collection[str]


class Comparison(NamedTuple):
    """What a study file says of hyperparameters. Of named variants `compared` has the names."""

    compared: Compared
    tune: Space
    fixed: dict[str, Value]
    variants: dict[str, Variant]

    @property
    def values(self) -> Compared:
        """What is compared of hyperparameters."""
        return {key: known for key, known in self.compared.items() if not self.variants or key != VARIANT}

    def sides(self) -> list[Side]:
        """One of a plain study, one for each variant."""
        found = []
        for name, variant in (self.variants or {"": Variant()}).items():
            settled = {**dict.fromkeys(self.values), **self.fixed, **variant.sets}
            space = variant.space(self.tune)
            kept = {key: value for key, value in settled.items() if key not in space}
            where = f"{place_of_variant(name)}: " if self.variants else ""
            found.append(Side(where, kept, space, variant.tune.keys() if self.variants else space.keys()))
        return found


def _hyperparameters(folder: Path, raw: Mapping[str, Any], model: Value, own: OwnModel | None) -> Comparison:
    """What is compared, tuned and fixed, each checked and all together."""
    compared, variants = _compare(raw.get("compare", {}), own, folder)
    fixed = _fixed("fixed", raw.get("fixed", {}), own)
    tune = _tune("tune", raw.get("tune", {}), own)
    asked = Comparison(compared, tune, fixed, variants)
    _disjoint(asked)
    for side in asked.sides():
        try:
            if own:
                _all_given(own, side)
            else:
                _fit_the_model(model, (*side.settled, *side.space))
            _conditions(side, own)
        except UserError as error:
            raise UserError(f"{side.where}{error}") from None
    return asked


def _other_tables(raw: Mapping[str, Any], sides: Sequence[Side], own: OwnModel | None) -> dict[str, Any]:
    """The tables that name no hyperparameters of their own."""
    search = _search(raw.get("search", {}), sides, own)
    return {
        "budget": _budget(raw, sides, search.sampler == "grid"),
        "search": search,
        "constraint": _constraint(raw.get("constraint", {})),
        "claim": _table(Claim, "claim", raw),
        "published": _published(raw["published"]) if "published" in raw else None,
    }


def _budget(raw: Mapping[str, Any], sides: Sequence[Side], grid: bool) -> Budget:
    """The table [budget]; where time is what counts and nothing else is said, a grid ends with its last point, of
    several the smallest.
    """
    budget: Budget = _table(Budget, "budget", raw)
    if not grid or budget.minutes is None or "trials" in raw["budget"]:
        return budget
    return budget.model_copy(update={"trials": min(grid_size(side.space) for side in sides if side.space)})


def _datasets(folder: Path, raw: Mapping[str, Any], compared: Compared) -> tuple[str, ...]:
    if "dataset" in compared:
        if "dataset" in raw:
            raise UserError("dataset: stands in [compare] already; it can be in one place only")
        return tuple(map(str, compared["dataset"]))
    if "dataset" not in raw:
        raise UserError(f"dataset: missing; one of {_data_words()}")
    return (_data_name("dataset", raw["dataset"], folder),)


def _data_name(where: str, raw: Any, folder: Path) -> str:
    """A built-in data set's name, or that of a file or folder."""
    if raw in (known := catalogue.names("dataset")):
        return str(raw)
    if not means_file(raw) and not _is_folder(folder, raw):
        raise UserError(f"{where}: must be one of {_data_words()}, got {raw!r}{nearest(raw, known)}")
    try:
        return check_name(raw)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _is_folder(folder: Path, raw: Any) -> bool:
    return isinstance(raw, str) and raw.isprintable() and 0 < len(raw) < 200 and (folder / raw).is_dir()


def _data_words() -> str:
    return f"{listed(catalogue.names('dataset'))}, or a file or folder of your own, as 'prices.csv'"


def _source(raw: Mapping[str, Any], datasets: tuple[str, ...]) -> Source:
    """What is said of data of the user's own."""
    given = {key: raw[key] for key in KEYS if key in raw}
    for key in LISTS:
        if key in given:
            words = [given[key]] if isinstance(given[key], str) else given[key]
            if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
                raise UserError(f"{key}: must be a column's name or a list of such, got {given[key]!r}")
            given[key] = tuple(words)
    source: Source = _parse(TypeAdapter(Source), "", given)
    check_source(source, given, datasets)
    return source


def _loader(folder: Path, datasets: tuple[str, ...]) -> Loader | None:
    """The text of the program that loads the data, where one does."""
    programs = [name for name in datasets if is_loader(name)]
    if len(programs) > 1:
        raise UserError(f"compare.dataset: only one can be a program, got {listed(programs)}")
    return Loader(name=programs[0], source=read_loader(folder, programs[0])) if programs else None


def _compare(table: dict[str, Any], own: OwnModel | None, folder: Path) -> tuple[Compared, dict[str, Variant]]:
    """The compared keys with their values, and the named variants, if these are what is compared."""
    if not table:
        raise UserError("compare: must hold one key, the axis of the table, or two, a grid; it is empty or missing")
    variants = _variants(table[VARIANT], own) if _are_variants(table, own) else {}
    turned = [key for key in table if key != "dataset" and not (variants and key == VARIANT)]
    _turnable("compare", {key: table[key] for key in turned}, own)
    _check_number(table)
    if own and len(table) > 1:
        _no_columns(own, table)
    compared = {
        key: tuple(variants) if variants and key == VARIANT else _compared(catalogue.knob(key, own), values, folder)
        for key, values in table.items()
    }
    _check_size(compared)
    return compared, variants


def _check_number(table: Mapping[str, Any]) -> None:
    """One key can be compared, or two."""
    if len(table) > MOST_KEYS:
        first, second, *others = table
        raise UserError(
            f"compare: can hold two keys, got {listed(table)}; compare {first} and {second}, and fix or tune "
            f"{' and '.join(others)}"
        )


def _check_size(compared: Compared) -> None:
    """There is an end to how many values, or cells, one study can compare."""
    cells = math.prod(map(len, compared.values()))
    if cells > MOST_LEVELS:
        what = "cells of two keys" if len(compared) > 1 else "values"
        raise UserError(
            f"compare: at most {MOST_LEVELS:,} {what} can be compared, got {cells:,}; each is searched and "
            "confirmed on its own; a key with that many values is one to tune"
        )


def _are_variants(table: Mapping[str, Any], own: OwnModel | None) -> bool:
    """Whether named variants are compared. Raises UserError where they are meant and something else is said."""
    is_own = own is not None and VARIANT in {knob.name for knob in own.knobs}
    if VARIANT not in table or (is_own and not isinstance(table[VARIANT], dict)):
        return False
    if is_own:
        raise UserError(
            f"compare.{VARIANT}: is a parameter of {own and own.class_name}; call that something else to compare "
            "named variants"
        )
    return True


def _variants(raw: Any, own: OwnModel | None) -> dict[str, Variant]:
    """Whole recipes by their names: what each sets, and the space that is its own."""
    if not isinstance(raw, dict) or not raw:
        raise UserError(f'compare.{VARIANT}: must hold a table for each name, as "tuned" = {{ lr = 0.1 }}, got {raw!r}')
    return {name: _variant(name, one, own) for name, one in raw.items()}


def _variant(name: str, raw: Any, own: OwnModel | None) -> Variant:
    check_name_of_variant(name)
    where = place_of_variant(name)
    if not isinstance(raw, dict):
        raise UserError(f"{where}: must be a table of hyperparameters, as {{ lr = 0.1 }}, got {raw!r}")
    sets, tune = {key: value for key, value in raw.items() if key != "tune"}, raw.get("tune", {})
    if not isinstance(tune, dict):
        raise UserError(
            f"{where}.tune: must be a table, as {{ lr = {{ low = 1e-3, high = 0.1, log = true }} }}, got {tune!r}"
        )
    for key in (*sets, *tune):
        if key in OF_ALL:
            instead = (
                "compare it beside the variants" if key == "dataset" else "write a study for each, and compare these"
            )
            raise UserError(
                f"{where}.{key}: all variants of a study have one {key}, which stands at its top; {instead}"
            )
        if key in sets and key in tune:
            raise UserError(f"{where}.tune.{key}: is set by the variant already; it can be set or searched")
    return Variant(sets=_fixed(where, sets, own), tune=_tune(f"{where}.tune", tune, own))


def _no_columns(own: OwnModel, table: Iterable[str]) -> None:
    """Of two compared keys there is a table of effects, with a column for each."""
    for key in table:
        if key in OF_EFFECTS and key in {knob.name for knob in own.knobs}:
            raise UserError(
                f"compare.{key}: {key} is a column in the tables of two compared keys; call the parameter of "
                f"{own.class_name} something else, or compare it alone"
            )


def _compared(knob: Knob, raw: Any, folder: Path) -> tuple[Value, ...]:
    where = f"compare.{knob.name}"
    values = _values(
        where, raw, lambda one: _data_name(where, one, folder) if knob.name == "dataset" else _value(where, one, knob)
    )
    if len({show(value) for value in values}) < len(values):  # they would be one value in journal, runs and tables
        raise UserError(f"{where}: values must differ in their first four digits, got {raw!r}")
    return values


def _turnable(where: str, table: Mapping[str, Any], own: OwnModel | None) -> None:
    """The keys must be hyperparameters of the study's model, or of training."""
    known = hyperparameters(own)
    for key in table:
        if own and key not in known:
            if why := why_not(own, key):
                raise UserError(f"{where}.{key}: no study can set this parameter of {own.class_name}: {why}")
            names = listed(knob.name for knob in own.knobs) or "no parameters"
            raise UserError(f"{where}.{key}: unknown key: {own.class_name} has {names}{nearest(key, known)}")
    _known(where, table, (*known, "dataset") if where == "compare" else known)


def _fixed(where: str, table: dict[str, Any], own: OwnModel | None) -> dict[str, Value]:
    _turnable(where, table, own)
    return {key: _value(f"{where}.{key}", value, catalogue.knob(key, own)) for key, value in table.items()}


def _tune(where: str, table: dict[str, Any], own: OwnModel | None) -> Space:
    _turnable(where, table, own)
    return {key: _domain(f"{where}.{key}", catalogue.knob(key, own), value) for key, value in table.items()}


def _domain(where: str, knob: Knob, raw: Any) -> Choice | Range:
    """A list is a choice; a table is a range, or a choice with `values`."""
    if isinstance(raw, list):
        return Choice(values=_values(where, raw, lambda one: _value(where, one, knob)))
    if not isinstance(raw, dict):
        raise UserError(f"{where}: must be a list of choices or a table with low and high, got {raw!r}")
    if "values" in raw:
        _known(where, raw, Choice.model_fields)
        inside = f"{where}.values"
        values = _values(inside, raw["values"], lambda one: _value(inside, one, knob))
        return _parse(TypeAdapter(Choice), where, {**raw, "values": values})
    _known(where, raw, Range.model_fields)
    domain = _parse(TypeAdapter(Range), where, raw)
    if not knob.is_tunable_by_range:
        raise UserError(f"{where}: {knob.name} has no range; give a list of choices")
    bounds = {bound: _value(f"{where}.{bound}", getattr(domain, bound), knob) for bound in ("low", "high")}
    if isinstance(bounds["low"], int) and not isinstance(domain.step or 1, int):
        raise UserError(f"{where}.step: must be a whole number, got {domain.step}")
    return domain.model_copy(update=bounds)


def _values(where: str, raw: Any, checked: Callable[[Any], Value]) -> tuple[Value, ...]:
    if not isinstance(raw, list) or not raw:
        raise UserError(f"{where}: must be a list of at least one value, got {raw!r}")
    values = tuple(map(checked, raw))
    if len(set(values)) < len(values):
        raise UserError(f"{where}: values must differ from each other, got {raw!r}")
    return values


def _named(key: str, raw: Any) -> Value:
    """What a study names at its top."""
    return _value(key, raw, catalogue.knob(key))


def _value(where: str, raw: Any, knob: Knob) -> Value:
    """A value for a hyperparameter, in its own type: a whole number is welcome where a float is meant."""
    if knob.type is tuple and isinstance(raw, list):
        raw = tuple(raw)
    return _parse(_type(knob), where, raw)


@cache
def _type(knob: Knob) -> TypeAdapter[Value]:
    """A knob's type and bounds in pydantic's terms."""
    kind: Any = Annotated[str, among(knob.words)] if knob.words else Annotated[bool, PlainValidator(_yes_or_no)]
    if not knob.words and knob.type is not bool:
        number: Any = int if knob.type is tuple else knob.type
        bounds: Any = Field(gt=knob.above, ge=knob.low, le=knob.high, lt=knob.below)
        if number is float:
            bounds = Field(gt=knob.above, ge=knob.low, le=knob.high, lt=knob.below, allow_inf_nan=False)
        kind = Annotated[number, bounds]
    if knob.type is tuple:
        kind = Annotated[tuple[kind, ...], Field(min_length=knob.shortest, max_length=LONGEST)]
    return TypeAdapter(kind, config=ConfigDict(strict=True))


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"must be true or false, got {value!r}")
    return value


def _all_given(own: OwnModel, side: Side) -> None:
    """A parameter without a default must have a value in every training."""
    for knob in own.knobs:
        if knob.required and knob.name not in (*side.settled, *side.space):
            raise UserError(
                f"{knob.name}: must be compared, tuned or fixed, since {own.class_name} has no default for it"
            )
        if knob.required and knob.name in side.space and side.space[knob.name].when:
            raise UserError(
                f"tune.{knob.name}.when: {own.class_name} needs {knob.name} in every training, as it has no default"
            )


def _fit_the_model(model: Value, keys: tuple[str, ...]) -> None:
    """A knob that belongs to some models only means nothing to the others."""
    for key in keys:
        owners = catalogue.owners(key, "model")
        if owners and model not in owners:
            names = " or ".join(map(repr, owners))
            raise UserError(f"{key}: only model = {names} has it, and the study's model is {model!r}")
    for key in WIDTH_KEYS:
        if key in keys and "widths" in keys:
            raise UserError(f"widths: names every hidden layer, so {key} cannot be given as well")


def _published(raw: dict[str, Any]) -> Published:
    _reported("published", raw, Published)
    after = raw.get("after", {})
    for epoch, one in after.items() if isinstance(after, dict) else ():
        try:
            whole(epoch)
        except UserError as error:
            raise UserError(f"published.{error}") from None
        _reported(f"published.after.{epoch}", one, Reported)
    published: Published = _parse(TypeAdapter(Published), "published", raw)
    if published.runs == 1 and any(one.deviation for one in (published, *published.after.values())):
        raise UserError("published.deviation: one run has none; published.runs says how many there were, got 1")
    return published


def _reported(where: str, raw: Any, kind: type[Reported]) -> None:
    """Figures by name, at the end or after some epochs, and their deviations, each checked where it stands."""
    if not isinstance(raw, dict):
        raise UserError(f"{where}: must be a table, [{where}], got {raw!r}")
    _known(where, raw, (*kind.model_fields, *catalogue.figure_names()))
    for name, values in raw.items():
        if name not in kind.model_fields:
            _parse(figure_type(name), f"{where}.{name}", told(values))
    spread = raw.get("deviation", {})
    for name, values in spread.items() if isinstance(spread, dict) else ():
        if name not in raw:
            raise UserError(f"{where}.deviation.{name}: is that of a published {name}, and there is none")
        _parse(DEVIATIONS, f"{where}.deviation.{name}", told(values))


def _disjoint(asked: Comparison) -> None:
    """Each hyperparameter stands in one table; a variant may say otherwise than [tune] and [fixed], not [compare]."""
    tables = {"compare": asked.values, "tune": asked.tune, "fixed": asked.fixed}
    for key in (*asked.tune, *asked.fixed):
        places = [name for name, keys in tables.items() if key in keys]
        if len(places) > 1:
            raise UserError(f"{places[1]}.{key}: {key} stands in [{places[0]}] already; it can be in one of them only")
    for name, variant in asked.variants.items():
        for key in (*variant.sets, *variant.tune):
            if key in asked.values:
                raise UserError(
                    f"{place_of_variant(name)}.{key}: {key} stands in [compare] already; it can be in one of them only"
                )


def _conditions(side: Side, own: OwnModel | None) -> None:
    """`when` may speak of what is compared, fixed, or tuned without a `when` of its own."""
    tune = side.space
    for key, domain in tune.items():
        for other, wanted in domain.when.items():
            where = f"tune.{key}.when.{other}"
            free = {name for name, candidate in tune.items() if not candidate.when}
            if other not in {*side.settled, *free}:
                raise UserError(
                    f"{where}: must be compared, fixed, or tuned without `when`{nearest(other, sorted(free))}"
                )
            _value(where, wanted, catalogue.knob(other, own))
            if key in side.own and isinstance(chosen := tune.get(other), Choice) and wanted not in chosen.values:
                raise UserError(f"{where}: must be one of {listed(chosen.values)}, got {wanted!r}")


def _search(raw: Mapping[str, Any], sides: Sequence[Side], own: OwnModel | None) -> SearchSettings:
    """The table [search]."""
    names = {*SearchSettings.model_fields, "from"} - {"earlier"}
    _known("search", raw, names)
    first, earlier = _points(raw.get("first", []), sides, own), raw.get("from")
    if earlier is not None and (not isinstance(earlier, str) or not earlier):
        raise UserError(f"search.from: must be the folder of a study, as studies/other, got {earlier!r}")
    plain = {key: value for key, value in raw.items() if key not in ("first", "from")}
    settings: SearchSettings = _parse(
        TypeAdapter(SearchSettings), "search", {**plain, "first": first, "earlier": earlier}
    )
    if settings.sampler == "grid" and (first or earlier):
        raise UserError(f"search.{'first' if first else 'from'}: a grid visits every point anyway")
    return settings


def _points(raw: Any, sides: Sequence[Side], own: OwnModel | None) -> tuple[Point, ...]:
    if not isinstance(raw, list) or not all(isinstance(point, dict) for point in raw):
        raise UserError(f"search.first: must be a list of tables, as [{{ lr = 1e-3 }}], got {raw!r}")
    return tuple(_point(point, sides, own) for point in raw)


def _point(raw: Mapping[str, Any], sides: Sequence[Side], own: OwnModel | None) -> Point:
    """Some of the tuned hyperparameters, each with a value of its domain and with what it depends on: of variants in
    one of them that searches it, since the others do without.
    """
    _known("search.first", raw, {key for side in sides for key in side.space})
    point = {key: _value(f"search.first.{key}", value, catalogue.knob(key, own)) for key, value in raw.items()}
    for key in point:
        wrong = [_wrong(key, point, side) for side in sides if key in side.space]
        if all(wrong):
            raise UserError(f"search.first.{key}: {wrong[0]}")
    return point


def _wrong(key: str, point: Point, side: Side) -> str:
    """What is wrong with a value of a point; nothing where it can be tried."""
    domain, known = side.space[key], {**side.settled, **point}
    if not holds(domain, point[key]):
        return f"must be {describe(domain)}, got {show(point[key])}"
    for other, wanted in domain.when.items():
        if known.get(other, "open") not in (None, wanted):
            return f"means something only where {other} is {show(wanted)}, which must stand beside it"
    return ""


def _constraint(raw: Mapping[str, Any]) -> Constraint:
    """The table [constraint]: bounds of what is known of a network before it is trained."""
    _known("constraint", raw, Constraint.model_fields)
    for name, bounds in raw.items():
        if not isinstance(bounds, dict):
            raise UserError(f"constraint.{name}: must be a table with low or high or both, got {bounds!r}")
        _known(f"constraint.{name}", bounds, Bounds.model_fields)
        _parse(TypeAdapter(Bounds), f"constraint.{name}", bounds)
    checked: Constraint = _parse(TypeAdapter(Constraint), "constraint", raw)
    return checked


def _fits_together(study: Study) -> None:
    check_published(study)
    _budget_fits(study)
    check_reach(study)
    if study.is_searched:
        _can_be_searched(study)


CONTRADICT = ("residual", "norm", "padding")
"""Hyperparameters of whose values some contradict others: see `Config.check`."""


def _can_be_built(study: Study) -> None:
    """No values that a training can have contradict each other; what a `when` leaves out has its default."""
    if not set(CONTRADICT) & set(study.chosen):
        return
    concerned = {*CONTRADICT, *WIDTH_KEYS, "widths", "kernel"}
    for level in study.levels:
        space = study.space(level)
        corners = {key: ends(domain) for key, domain in space.items() if key in concerned}
        for values in itertools.product(*corners.values()):
            params = dict(zip(corners, values, strict=True))
            config = study.config(level, params)
            kept = {key for key in params if all(config[other] == one for other, one in space[key].when.items())}
            study.config(level, {key: params[key] for key in kept}).check()


def _budget_fits(study: Study) -> None:
    if not study.is_searched and study.budget.searches not in (None, 1):
        raise UserError(f"budget.searches: there is no [tune] to search over, got {study.budget.searches}")
    if not study.is_searched and study.budget.minutes is not None:
        raise UserError("budget.minutes: there is no [tune] to spend them on; budget.seeds says how much is trained")
    if study.searches > study.budget.seeds:
        raise UserError(
            f"budget.seeds: each of the {study.searches} searches' winners needs a seed, got {study.budget.seeds}"
        )
    if study.is_searched:
        return
    if study.search.earlier is not None:
        raise UserError("search.from: there is no [tune], so nothing is searched")
    if study.constraint.parameters is not None:
        raise UserError("constraint.parameters: there is no [tune] to bound")


def _can_be_searched(study: Study) -> None:
    if not all(study.config(level, {}).validation for level in study.levels):
        raise UserError("validation: a search needs images to choose by, so it must be above 0 with [tune]")
    if "validation" in study.tuned:
        raise UserError("tune.validation: the images to choose by cannot be tuned; compare it or fix it")
    if len(study.search.first) > study.room_for_points:
        defaults = " beside the defaults, which come first" if study.room_for_points < study.budget.trials else ""
        got = f"got {len(study.search.first)} points{defaults}"
        raise UserError(f"search.first: there are {study.budget.trials} trials, {got}")
    if study.constraint.parameters is not None and study.search.sampler == "grid":
        raise UserError("constraint.parameters: a grid's points are all visited")
    if study.search.sampler == "grid":
        for level in study.searching:
            size, of = grid_size(study.space(level)), f" of {study.level_name(level)}" if study.variants else ""
            if study.budget.trials > size:
                raise UserError(f"budget.trials: the grid{of} has {size} points, got {study.budget.trials} trials")


def _folds_fit(study: Study) -> None:
    """Folds are of a search, and hold out what they hold out."""
    search = study.search
    for key in ("folds", "repeats", "refit"):
        if not study.is_searched and (got := getattr(search, key)) != SearchSettings.model_fields[key].default:
            raise UserError(f"search.{key}: there is no [tune] to search over, got {got!r}")
    if search.folds > 1:
        _validation_is_free(study)
    elif search.repeats > 1:
        raise UserError(f"search.repeats: there are no folds to repeat (search.folds = 1), got {search.repeats}")


def _validation_is_free(study: Study) -> None:
    """Folds hold out what they hold out: nothing else says how much that is."""
    compared = [where for where, _ in uses(study, "validation") if where.startswith("compare.")]
    if compared:
        raise UserError(f"{compared[0]}: of search.folds each holds out its own part; compare something else")
    if "validation" in study.fixed and study.search.refit == "all":
        raise UserError(
            "fixed.validation: has no effect: search.folds say what a search holds out, and with search.refit = 'all' "
            "a confirmation holds out nothing; leave it out"
        )


def _refit_fits(study: Study) -> None:
    """What is confirmed with the epochs of its search must have one."""
    idle = [level for level in study.levels if not study.space(level)]
    if study.search.refit == "all" and study.is_searched and idle:
        raise UserError(
            f"search.refit: with 'all' a winner takes its epochs from its search, and {study.level_name(idle[0])} "
            "searches nothing; use refit = 'split'"
        )


def _worth_is_known(study: Study) -> None:
    """What tuning was worth can be asked where something is tuned."""
    for key in ("ablation", "confirm_defaults"):
        if getattr(study.budget, key) and not study.is_searched:
            raise UserError(f"budget.{key}: there is no [tune] whose worth could be measured")
        for name in study.tuned:
            if getattr(study.budget, key) and study.knob(name).required:
                raise UserError(f"budget.{key}: {name} has no default in {study.model} that could be trained")
        if getattr(study.budget, key) and study.search.refit == "all":
            raise UserError(
                f"budget.{key}: with search.refit = 'all' a winner takes its epochs from its folds, and the defaults "
                "have none; use refit = 'split'"
            )


def _table(kind: type[Table], name: str, raw: Mapping[str, Any]) -> Any:
    _known(name, raw.get(name, {}), kind.model_fields)
    listed = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.get(name, {}).items()}
    return _parse(TypeAdapter(kind), name, listed)


WANTED = {"published.source": 'who reported these figures, and where? Say it, as source = "somebody, 2019"'}
"""What is said where a key is missing that only its author can fill, instead of that it is required."""


def _parse(adapter: TypeAdapter[Parsed], where: str, raw: Any) -> Parsed:
    """Pydantic's verdict, its first complaint told in our words."""
    try:
        return adapter.validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        inner = [str(part) for part in first["loc"] if isinstance(part, str) and part.isidentifier()]
        where = ".".join([where, *inner] if where else inner)
        if first["type"] == "missing" and where in WANTED:
            raise UserError(f"{where}: {WANTED[where]}") from None
        rule = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        got = "" if "got" in rule or first["type"] == "missing" else f", got {first['input']!r}"
        raise UserError(f"{where}: {rule[0].lower()}{rule[1:]}{got}") from None


def _known(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    names = sorted(known)
    for key in table:
        if key not in names:
            place = f"{where}.{key}" if where else key
            raise UserError(f"{place}: unknown key{nearest(key, names) or f'; known are {listed(names)}'}")
