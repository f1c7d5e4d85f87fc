"""Study files, overrides, tables and journals of any content: read, or one line of UserError, and nothing else.

HARNESS_FUZZ=20000 tries so many examples of each, chosen anew every time; the usual few are always the same.
`make soak` tries a hundred thousand in all.
"""

import json
import os
import tomllib
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import catalogue
from harness.analysis.results import read_results
from harness.catalogue import hyperparameters
from harness.config import Config
from harness.errors import UserError
from harness.journal import Records
from harness.journal.check import check
from harness.parts.sources import read as read_source
from harness.study.file import read_study
from harness.study.published import Published
from harness.study.source import Source
from harness.study.space import Range
from harness.study.study import Budget, SearchSettings, Study

from .conftest import SMALL, Tell, unsealed
from .soak import times
from .test_search import drive

MORE = int(os.environ.get("HARNESS_FUZZ", "0"))


def tries(usual: int) -> settings:
    return settings(
        max_examples=MORE or usual,
        derandomize=not MORE,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that holds a study file and, at the end of the test, still nothing else."""
    monkeypatch.chdir(tmp_path)
    Path("studies/mine").mkdir(parents=True)
    yield Path("studies/mine")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["study.toml"]


def read(folder: Path, content: bytes | str, overrides: list[str] | None = None) -> Study | None:
    """What comes of a study file; None if it is refused as it should be."""
    content = content.encode() if isinstance(content, str) else content
    (folder / "study.toml").write_bytes(content)
    study, told = None, "nothing"
    try:
        study = read_study(folder, overrides or [])
    except UserError as error:
        told = str(error)
    assert told.isprintable()  # which also says that it is one line
    assert 0 < len(told) < 1000
    assert (folder / "study.toml").read_bytes() == content
    return study


def works(study: Study) -> None:
    """What everything behind it asks of a study."""
    assert Study.model_validate_json(study.model_dump_json()) == study  # as the journal keeps it
    assert study.identity()
    for level in study.levels:
        config = study.config(level, {})
        assert len(config.hidden) <= 1000
        assert study.level_name(level).isprintable()
    assert len({study.level_name(level) for level in study.levels}) == len(study.levels)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBERS = st.one_of(
    st.integers(),
    st.integers(-3, 300),
    st.sampled_from([0, 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**9, 10**400]),
    st.floats(),
    st.sampled_from([1e308, 5e-324, 1e-300, 0.1, 0.5, -0.0]),
)
WORDS = st.sampled_from([word for knob in catalogue.knobs().values() for word in knob.words])
ODD = st.sampled_from(
    ["", "\0", "\n", "\x1b[31m", "\u202e", "x" * 5000, "a|b", "$x$", "[/]", "\\write18{}", True, False]
)
DATES = st.sampled_from([datetime(2021, 1, 1, tzinfo=UTC), datetime(2021, 1, 1).date(), datetime(2021, 1, 1).time()])
PLAIN = st.one_of(NUMBERS, WORDS, ODD, TEXT, DATES)
KEYS = st.one_of(
    st.sampled_from([*hyperparameters(), "dataset", "model", "question", "note", "values", "when", "low", "high"]), TEXT
)
VALUES = st.recursive(
    PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=3)), max_leaves=6
)


def likely(key: str) -> Any:
    """What may well stand in a study for a hyperparameter, by the type of its default."""
    kinds = {int: st.integers(1, 40), float: st.floats(0, 0.9), str: WORDS}
    return kinds.get(type(getattr(Config(), key)), st.lists(st.integers(1, 40), min_size=1, max_size=3))


def space(key: str) -> Any:
    """A domain for a hyperparameter: choices, or a range."""
    number, some = st.one_of(likely(key), likely(key), NUMBERS), st.lists(likely(key), min_size=1, max_size=3)
    condition = st.one_of(st.just({"optimizer": "sgd"}), st.dictionaries(KEYS, PLAIN, max_size=1))
    more = {"step": number, "log": st.booleans(), "when": condition}
    return st.one_of(some, st.fixed_dictionaries({"low": number, "high": number}, optional=more))


def one_of_many(place: str, values: Any) -> list[Any]:
    """A change for each hyperparameter: where in the study, and the value that stands there then."""
    return [st.tuples(st.just((place, key)), values(key)) for key in hyperparameters()]


def choices(key: str) -> Any:
    return st.lists(likely(key), min_size=1, max_size=4)


AXES = [st.tuples(st.just(("compare",)), st.fixed_dictionaries({key: choices(key)})) for key in hyperparameters()]
TUNED, FIXED = one_of_many("tune", space), one_of_many("fixed", likely)
PLACES: list[tuple[str, ...]] = [
    ("compare",),
    ("tune",),
    ("fixed",),
    ("budget",),
    ("search",),
    ("published",),
    ("dataset",),
    ("model",),
]
PLACES += [("question",), ("note",), ("compare", "depth"), *(("tune", "lr", key) for key in Range.model_fields)]
OTHERS = [("search", key) for key in SearchSettings.model_fields] + [("budget", key) for key in Budget.model_fields]
FIGURES = [("published", key) for key in (*Published.model_fields, *catalogue.figure_names())]
ANYWHERE = st.sampled_from([*PLACES, *OTHERS, *FIGURES, *((table, "lr") for table in ("tune", "fixed"))])
CHANGES = st.lists(
    st.one_of(
        *(st.one_of(AXES), st.one_of(TUNED), st.one_of(FIXED)),
        st.tuples(st.sampled_from(OTHERS), st.one_of(st.integers(1, 99), NUMBERS, st.sampled_from(["grid", "none"]))),
        st.tuples(st.sampled_from(FIGURES), st.lists(st.floats(0, 2), min_size=2, max_size=2)),
        st.tuples(st.just(("model",)), st.just("cnn")),
        st.tuples(ANYWHERE, VALUES),
    ),
    min_size=1,
    max_size=3,
)


def changed(changes: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """The small study with some values replaced: of what is wrong everywhere only the first mistake is ever seen."""
    study = tomllib.loads(SMALL)
    for (*tables, key), value in changes:
        table: Any = study
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                break
        else:
            table[key] = value
    if isinstance(study.get("published"), dict):
        study["published"].setdefault("source", "somebody")
    return study


STUDIES = st.one_of(CHANGES.map(changed), CHANGES.map(changed), st.dictionaries(KEYS, VALUES, max_size=4))


def toml(value: Any) -> str:
    """A value as TOML writes it, on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() else f"\\U{ord(c):08x}" for c in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, int):
        return hex(value) if value > 2**64 else str(value)  # decimal digits have a limit of their own
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def document(study: dict[str, Any]) -> str:
    return "".join(f"{toml(key)} = {toml(value)}\n" for key, value in study.items())


@tries(300)
@given(content=st.one_of(st.binary(max_size=200), TEXT.map(str.encode)))
def test_any_bytes(content: bytes, folder: Path) -> None:
    assert read(folder, content) is None  # no luck will write a whole study


@tries(800)
@given(study=STUDIES)
def test_any_table_of_known_keys(study: dict[str, Any], folder: Path) -> None:
    text = document(study)
    assert set(tomllib.loads(text)) == set(study)  # the test writes what it means to
    checked = read(folder, text)
    if checked is not None:
        works(checked)


SIGNS = st.text(st.sampled_from("[]{}=\"'\n.,#+-_:eExobTZ 0123456789abdelnprstuw"), max_size=60)


@tries(200)
@given(text=SIGNS)
def test_anything_that_looks_like_toml(text: str, folder: Path) -> None:
    if checked := read(folder, SMALL + text):
        works(checked)


OVERRIDES = st.lists(
    st.one_of(
        TEXT,
        st.builds("{}={}".format, KEYS, st.one_of(TEXT, VALUES.map(toml))),
        CHANGES.map(lambda changes: f"{'.'.join(changes[0][0])}={toml(changes[0][1])}"),
        st.builds("{}={}".format, st.lists(KEYS, max_size=4).map(".".join), VALUES.map(toml)),
    ),
    min_size=1,
    max_size=2,
)


@tries(400)
@given(overrides=OVERRIDES)
def test_any_override(overrides: list[str], folder: Path) -> None:
    if checked := read(folder, SMALL, overrides):
        works(checked)


@tries(100)
@given(study=STUDIES, overrides=OVERRIDES)
def test_any_override_of_any_table(study: dict[str, Any], overrides: list[str], folder: Path) -> None:
    if checked := read(folder, document(study), overrides):
        works(checked)


HUGE = {
    "a deep list": "x = " + 5000 * "[" + 5000 * "]",
    "a deep table": "x = " + 2000 * "{x = " + "1" + 2000 * "}",
    "a deep key": SMALL + ".".join(["[tune.lr", *2000 * ["x"]]) + "]",
    "a deep dotted key": ".".join(2000 * ["x"]) + " = 1",
    "a long number": SMALL + "seed = " + 90_000 * "9",
    "a long hexadecimal number": SMALL + "seed = 0x" + 90_000 * "f",
    "a long key": SMALL + 90_000 * "x" + " = 1",
    "a long word": 'dataset = "' + 90_000 * "x" + '"\n[compare]\ndepth = [1]',
    "a long file": SMALL + "#" + 2_000_000 * "x",
    "a long question": 'question = "' + 10_000 * "x" + '"\n' + SMALL,
    "much depth": SMALL.replace("depth = [1, 2]", "depth = [1000000000]"),
    "many trials": SMALL.replace("trials = 6", "trials = 1000000000000"),
    "many seeds": SMALL.replace("seeds = 2", "seeds = 1000000000000"),
    "a wide grid": SMALL.replace("[search]", 'sampler = "grid"\n[search]').replace("log = true", "step = 1e-15"),
    "many names": 'dataset = "digits"\n[compare]\nactivation = [' + 10_000 * '"relu", ' + "]",
}


@pytest.mark.parametrize("case", HUGE)
def test_what_is_far_too_much_is_refused_at_once(case: str, folder: Path) -> None:
    assert read(folder, HUGE[case]) is None


def test_a_deep_override_is_refused(folder: Path) -> None:
    for key in ("tune.lr." + "x." * 20_000 + "y=1", "x." * 20_000 + "y=1", "lr=" + 5000 * "["):
        assert read(folder, SMALL, [key]) is None


CELLS = st.one_of(
    st.sampled_from(["1", "2.5", "", "a", "b", "nan", "inf", "1e999", '"', "\0", "true", "2021-01-01"]), TEXT
)
LINES = st.lists(st.lists(CELLS, min_size=1, max_size=4).map(",".join), min_size=1, max_size=30).map("\n".join)


def plausible(cells: list[str]) -> bytes:
    """A table that could be learned, if the cells of its last column could."""
    return "".join(["x,z,y\n", *(f"{row},{row % 3},{cell}\n" for row, cell in enumerate(cells))]).encode()


TABLES = st.one_of(
    st.binary(max_size=300),
    LINES.map(str.encode),
    LINES.map(lambda text: ("x,z,y\n" + text).encode()),
    st.integers(2, 40).flatmap(lambda n: st.lists(CELLS, min_size=n, max_size=n)).map(plausible),
)


def try_table(content: bytes, folder: Path) -> None:
    """A CSV file of that content is read as data, or told in one line."""
    file, told = folder / "table.csv", "nothing"
    file.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_source("table.csv", Source(target=("y",)), lambda _: file, "")
    except UserError as error:
        told = str(error)
    file.unlink()
    assert told.isprintable()


def try_journal(change: tuple[int, int, bytes], whole: list[bytes], folder: Path) -> None:
    """A journal some of whose lines are other ones is read, or told in one line; and so is its check."""
    start, count, instead = change
    journal, told = folder / "journal.log", ""
    start %= len(whole)
    journal.write_bytes(b"".join([*whole[:start], instead, *whole[start + count :]]))
    for look in (Records, check, read_results):
        try:
            look(journal)
        except UserError as error:
            told += str(error)
    journal.unlink()
    assert told.isprintable()


JOURNALS = st.tuples(
    st.integers(0, 10_000),
    st.integers(0, 3),
    st.one_of(
        st.just(b""),
        st.binary(max_size=100),
        st.binary(max_size=100).map(lambda text: text + b"\n"),
        st.dictionaries(KEYS, VALUES, max_size=3).map(lambda log: json.dumps(log, default=str).encode() + b"\n"),
        st.tuples(st.integers(0, 12), VALUES).map(
            lambda two: (
                json.dumps(
                    {"op_code": two[0], "worker_id": "w", "study_id": 0, "trial_id": 0, "x": two[1]}, default=str
                ).encode()
                + b"\n"
            )
        ),
    ),
)


@pytest.fixture
def whole(folder: Path, tmp_path: Path) -> Callable[[], list[bytes]]:
    """The lines of a small study's journal, as they were before they had checksums: then they are taken at their word.
    Where an example is shown, the name of a function is shorter than they.
    """
    (folder / "study.toml").write_text(SMALL)
    drive(read_study(folder), tmp_path / "journal.log")
    lines = [unsealed(line).encode() + b"\n" for line in (tmp_path / "journal.log").read_text().splitlines()]
    (tmp_path / "journal.log").unlink()
    return lambda: lines


@tries(150)
@given(content=TABLES)
def test_any_data(content: bytes, tmp_path: Path) -> None:
    try_table(content, tmp_path)


@tries(60)
@given(change=JOURNALS)
def test_any_journal(change: tuple[int, int, bytes], whole: Callable[[], list[bytes]], tmp_path: Path) -> None:
    try_journal(change, whole(), tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["bytes", "studies", "TOML", "overrides", "tables", "journals"])
def test_bad_inputs(kind: str, whole: Callable[[], list[bytes]], folder: Path, tmp_path: Path, tell: Tell) -> None:
    def try_studies(study: dict[str, Any]) -> None:
        if checked := read(folder, document(study)):
            works(checked)

    several: dict[str, tuple[int, st.SearchStrategy[Any], Callable[[Any], object]]] = {
        "bytes": (10_000, st.binary(max_size=200), lambda content: read(folder, content)),
        "studies": (30_000, STUDIES, try_studies),
        "TOML": (10_000, SIGNS, lambda text: read(folder, text)),
        "overrides": (15_000, OVERRIDES, lambda overrides: read(folder, SMALL, overrides)),
        "tables": (20_000, TABLES, lambda content: try_table(content, tmp_path)),
        "journals": (15_000, JOURNALS, lambda change: try_journal(change, whole(), tmp_path)),
    }
    tried, (most, inputs, act) = 0, several[kind]

    @settings(tries(1), max_examples=times(most), derandomize=False)
    @given(inputs)
    def each(one: Any) -> None:
        nonlocal tried
        tried += 1
        act(one)

    each()
    tell("read, or told in one line", bad_inputs=tried)
