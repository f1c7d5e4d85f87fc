"""A study that names a model of the user's own: how its file is read, recorded, compared and shown."""

import ast
import json
import re
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness import report
from harness.analysis import find, read_results
from harness.catalogue import Knob
from harness.errors import UserError
from harness.journal import Ledger, Records, check_edits, edits
from harness.journal.sampling import from_optuna
from harness.plan import outline
from harness.replay import Wanted, replay
from harness.study.file import read_study
from harness.study.own import difference, parse
from harness.study.space import Choice, holds, nearest_in
from harness.study.study import Study
from harness.trial import Outcome, Trial

from .conftest import ROOT, Done
from .test_report import Page
from .test_search import ENVIRONMENT, drive, made_up

HEAD = "class Wide(nn.Module):\n    def __init__(self, inputs, outputs, *, "
NET = HEAD + "hidden: int = 8, blocks: int = 2, p: float = 0.0, norm: bool = False, act=nn.ReLU, **rest): ...\n"
HELPERS = """class Plain:
    def __init__(self, inputs, outputs): ...
class Block(nn.Module):
    def __init__(self, width, p): ...
class Bare(nn.Module): ...
"""
STUDY = 'dataset = "digits"\nmodel = "net.py"\n[compare]\nlr = [0.01, 0.1]\n'
FILE = "studies/mine/study.toml: "
Write = Callable[[str, str], Path]


@pytest.fixture
def write(write_study: Callable[[str], Path]) -> Write:
    """Write a study and its net.py; its folder, as it is named from the current one."""

    def both(study: str, net: str) -> Path:
        write_study(study).joinpath("net.py").write_bytes(net.encode())
        return Path("studies/mine")

    return both


def knobs(parameters: str) -> tuple[Knob, ...]:
    return parse(f"{HEAD}{parameters}): ...\n", "net.py").own.knobs


# The signature


@pytest.mark.parametrize(
    ("parameter", "kind", "default", "choices", "required"),
    [
        ("hidden: int = 8", int, 8, (), False),
        ("hidden: int", int, None, (), True),
        ("hidden = 8", int, 8, (), False),
        ("hidden: 'int' = -8", int, -8, (), False),
        ("hidden: int | None = None", int, None, (), False),
        ("hidden: Optional[int] = 8", int, 8, (), False),
        ("hidden: typing.Union[None, int] = 8", int, 8, (), False),
        ("hidden: int = None", int, None, (), False),
        ("p: float = 1", float, 1.0, (), False),
        ("norm: bool = True", bool, True, (), False),
        ("norm = False", bool, False, (), False),
        ("kind: str = 'wide'", str, "wide", (), False),
        ("kind: Literal['a', 'b'] = 'a'", str, "a", ("a", "b"), False),
        ("kind: 'typing.Literal[\"a\"] | None' = None", str, None, ("a",), False),
        ("sizes: tuple[int, ...] = (8, 4)", tuple, (8, 4), (), False),
        ("sizes = ()", tuple, (), (), False),
    ],
)
def test_a_parameter_becomes_a_knob(
    parameter: str, kind: type, default: object, choices: tuple[str, ...], required: bool
) -> None:
    [knob] = knobs(parameter)
    assert (knob.type, knob.default, knob.choices, knob.required) == (kind, default, choices, required)
    assert type(knob.default) is type(default)  # True is not 1
    assert (knob.in_stack, knob.doc) == ("same", "of Wide, net.py line 2")


def test_a_class_is_read_from_the_text_alone() -> None:
    source = (
        "raise SystemExit\n" + HELPERS + "class Base(nn.Module):\n    def __init__(self, inputs: 'tuple[int, ...]', "
        "outputs: int, hidden: int = 4, _x=1): ...\nclass Net(Base):\n    '''Two\n    lines.'''\n"
    )
    own = parse(source, "nets/net.py", "Net").own
    assert (own.name, own.file, own.class_name, own.doc) == ("nets/net.py:Net", "nets/net.py", "Net", "Two")
    assert own.shaped
    assert [knob.name for knob in own.knobs] == ["hidden"]
    assert not parse(NET, "net.py").own.shaped
    assert parse(HELPERS + NET, "net.py").own.class_name == "Wide"  # helpers are no candidates


MODEL = FILE + "model: "
FILES = {
    "no Python": ("x = (", "net.py", "net.py, line 1: is not Python: '(' was never closed"),
    "no class": (
        "",
        "net.py",
        "net.py has no model: a class of torch's nn.Module with def __init__(self, inputs, outputs, *, ...); "
        "it has no class",
    ),
    "no candidate": (
        HELPERS,
        "net.py",
        "net.py has no model: a class of torch's nn.Module with def __init__(self, inputs, outputs, *, ...); "
        "it has Plain, Block, Bare",
    ),
    "several": (
        NET + "class Deep(Wide): ...",
        "net.py",
        "net.py has 2 models, Wide, Deep; say which, as model = 'net.py:Wide'",
    ),
    "misspelt class": (NET, "net.py:Wid", "net.py has no class Wid; did you mean Wide?"),
    "no such class": (NET, "net.py:Zebra", "net.py has no class Zebra; it has Wide"),
    "no module": (
        HELPERS,
        "net.py:Plain",
        "net.py, line 1: Plain must be a module of torch, as class Plain(nn.Module)",
    ),
    "other parameters": (
        HELPERS,
        "net.py:Block",
        "net.py, line 4: Block must have def __init__(self, inputs, outputs, *, ...), got (self, width, p)",
    ),
    "no __init__": (
        HELPERS,
        "net.py:Bare",
        "net.py, line 5: Bare must have def __init__(self, inputs, outputs, *, ...), and has no __init__ in net.py",
    ),
    "no class named": (NET, "net.py:", "must be a file beside the study, as 'net.py' or 'net.py:Net', got 'net.py:'"),
    "an import path": (NET, "os.path", "must be a file beside the study, as 'net.py' or 'net.py:Net', got 'os.path'"),
    "no Python file": (NET, "net.so", "must be a file beside the study, as 'net.py' or 'net.py:Net', got 'net.so'"),
    "above": (NET, "../net.py", "must be a file below the study's folder, named from there, got '../net.py'"),
    "absolute": (NET, "/net.py", "must be a file below the study's folder, named from there, got '/net.py'"),
    "missing": (NET, "nte.py", "there is no studies/mine/nte.py; did you mean net.py?"),
    "built in": (NET, "net", "must be one of mlp, cnn, or a file beside the study, as 'net.py', got 'net'"),
    "too long": ("#" * 100_001, "net.py", "net.py: too long: 100,001 characters, at most 100,000"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_model_is_told(case: str, write: Write) -> None:
    net, model, told = FILES[case]
    with pytest.raises(UserError) as caught:
        read_study(write(STUDY.replace("net.py", model), net))
    assert str(caught.value) == MODEL + told


@pytest.mark.parametrize("source", ["x = \0", f"x = {'-' * 20_000}1", f"x = {'(' * 5000}", f"x{'.x' * 20_000}"])
def test_what_no_parser_takes_is_told(source: str) -> None:
    """In one line, whose words depend on the version of Python."""
    with pytest.raises(UserError, match=r"^net\.py(, line 1)?: (is not Python: \w|nested too deeply|has no model)"):
        parse(source, "net.py")


def test_a_file_of_other_bytes_or_elsewhere_is_told(write: Write, tmp_path: Path) -> None:
    folder = write(STUDY, NET)
    (folder / "net.py").write_bytes(b"# one\n# \xe4\n")
    with pytest.raises(UserError, match=r"net\.py, line 2: is not UTF-8: "):
        read_study(folder)
    (tmp_path / "other.py").write_text(NET)
    (folder / "net.py").unlink()
    (folder / "net.py").symlink_to(tmp_path / "other.py")
    with pytest.raises(UserError, match=r"model: net\.py leads out of the study's folder, to .*other.py$"):
        read_study(folder)


OF_WIDE = "net.py, line 2: Wide's "
NO_STUDY = "must have a default, since no study can set it: "
KINDS = "none of int, float, bool, str, Literal of words, tuple[int, ...]"
PARAMETERS = {
    "hidden: int = SIZE": "hidden must have a default that is written out, as 64, since nothing is executed to know "
    "it; got SIZE",
    "hidden: int = 8.5": "hidden: its default must be a whole number of 64 bits, got 8.5",
    "hidden: int = True": "hidden: its default must be a whole number of 64 bits, got True",
    "norm: bool = 1": "norm: its default must be True or False, got 1",
    "p: float = 1e999": "p: its default must be a finite number, got inf",
    "kind: str = 'a\\n'": "kind: its default must be a text that can be shown on one line, got 'a\\n'",
    "kind: Literal['a', 'b'] = 'c'": "kind: its default must be one of a, b, got 'c'",
    "sizes: tuple[int, ...] = [8]": "sizes: its default must be a tuple of whole numbers, got [8]",
    "sizes: list[int]": f"sizes {NO_STUDY}its type is list[int], {KINDS}",
    "kind: Literal[1, 2]": f"kind {NO_STUDY}its Literal has other values than words",
    "hidden": f"hidden {NO_STUDY}it has no type",
    "_hidden: int": f"_hidden {NO_STUDY}its name begins with an underscore",
    "lr: float = 0.1": "lr is the name of a hyperparameter of training; call it something else",
    "momentum: float = 0.1": "momentum is the name of a hyperparameter of training; call it something else",
    "model: str = 'a'": "model is a name that study files or reports use; call it something else",
    "seconds: int = 1": "seconds is a name that study files or reports use; call it something else",
    "test_loss: float = 1": "test_loss is a name that study files or reports use; call it something else",
    f"{'x' * 61}: int = 1": f"{'x' * 61}: a name may have 60 characters, this one has 61",
}


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_parameter_that_cannot_be_set_is_told(parameter: str) -> None:
    with pytest.raises(UserError) as caught:
        knobs(parameter)
    assert str(caught.value) == OF_WIDE + PARAMETERS[parameter]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("inputs: list, outputs", "inputs must be annotated int or tuple[int, ...], or not at all, got list"),
        ("inputs, outputs: float", "outputs must be annotated int, or not at all, got float"),
        ("inputs, outputs: tuple[int, ...]", "outputs must be annotated int, or not at all, got tuple[int, ...]"),
        ("inputs, outputs, hidden, /", f"Wide's hidden {NO_STUDY}it cannot be given by name"),
    ],
)
def test_what_every_model_is_given_is_checked(given: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(f"class Wide(nn.Module):\n    def __init__(self, {given}): ...\n", "net.py")
    assert str(caught.value) == f"net.py, line 2: {told}"


STUDIES = {
    "[fixed]\nwidth = 3": "fixed.width: unknown key: Wide has hidden, blocks, p, norm",
    "[fixed]\nhiden = 3": "fixed.hiden: unknown key: Wide has hidden, blocks, p, norm; did you mean hidden?",
    "[tune]\nbatchsize = [8]": "tune.batchsize: unknown key: Wide has hidden, blocks, p, norm; "
    "did you mean batch_size?",
    "[fixed]\nact = 3": "fixed.act: no study can set this parameter of Wide: "
    "it has no type, and its default tells none",
    "[fixed]\nrest = 3": "fixed.rest: no study can set this parameter of Wide: **rest takes whatever there is",
    "[fixed]\nnorm = 1": "fixed.norm: must be true or false, got 1",
    '[fixed]\nnorm = "yes"': "fixed.norm: must be true or false, got 'yes'",
    "[fixed]\nhidden = true": "fixed.hidden: should be a valid integer, got True",
    "[tune]\nnorm = { low = 0, high = 1 }": "tune.norm: norm has no range; give a list of choices",
    "[tune]\nnorm = [true, true]": "tune.norm: values must differ from each other, got [True, True]",
    "[tune]\nhidden = { low = 1, high = 9, when = { norm = 1 } }\nnorm = [true, false]": "tune.hidden.when.norm: "
    "must be true or false, got 1",
}


@pytest.mark.parametrize("rest", STUDIES)
def test_a_study_that_does_not_fit_the_class_is_told(rest: str, write: Write) -> None:
    with pytest.raises(UserError) as caught:
        read_study(write(STUDY + rest, NET))
    assert str(caught.value) == FILE + STUDIES[rest]


NEEDED = HEAD + "hidden: int, blocks: int = 2): ...\n"


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("", "hidden: must be compared, tuned or fixed, since Wide has no default for it"),
        (
            '[tune]\nhidden = { low = 1, high = 9, when = { optimizer = "sgd" } }\noptimizer = ["sgd", "adam"]',
            "tune.hidden.when: Wide needs hidden in every training, as it has no default",
        ),
        (
            "[tune]\nhidden = [4, 8]\n[budget]\nconfirm_defaults = true",
            "budget.confirm_defaults: hidden has no default in net.py:Wide that could be trained",
        ),
    ],
)
def test_a_parameter_without_a_default_must_be_given(rest: str, told: str, write: Write) -> None:
    with pytest.raises(UserError) as caught:
        read_study(write(STUDY + rest, NEEDED))
    assert str(caught.value) == FILE + told
    study = read_study(write(STUDY + "[tune]\nhidden = { low = 4, high = 8 }", NEEDED))
    assert study.default_point(0.1) is None


def test_columns_of_a_grid_are_kept_free(write: Write) -> None:
    two = 'dataset = "digits"\nmodel = "net.py"\n[compare]\np = [0.1, 0.2]\nnorm = [true, false]\n'
    with pytest.raises(
        UserError, match=r"compare\.p: p is a column in the tables of two compared keys; call the param"
    ):
        read_study(write(two, NET))
    assert read_study(write(two.replace("norm = [true, false]\n", ""), NET)).levels == (0.1, 0.2)


def test_overrides_know_the_parameters(write: Write) -> None:
    folder = write(STUDY.replace('model = "net.py"\n', ""), NET)
    study = read_study(folder, ["p=0.5", "norm=true", "model=net.py:Wide"])  # whichever comes first
    assert (study.model, study.fixed) == ("net.py:Wide", {"p": 0.5, "norm": True})
    with pytest.raises(UserError, match=r"^--set hiden=5: unknown key hiden; did you mean hidden\?$"):
        read_study(folder, ["hiden=5", "model=net.py"])
    with pytest.raises(UserError, match=r"^--set p=0\.5: unknown key p"):
        read_study(folder, ["p=0.5"])


TEXTS = st.one_of(
    st.text(max_size=80),
    st.text(st.sampled_from("abinputs,oe:=*/()[]|'\"\n .0-9Literalfloat"), max_size=60).map(
        lambda text: f"{HEAD}{text}): ..."
    ),
    st.lists(
        st.sampled_from(
            [
                *("a", ": int", ": float", ": bool", ": 'str'", ": Literal['x']", ": tuple[int, ...]", " = 1", "lr"),
                *(" = None", " = 'x'", ", ", "b", "**c", " | None", "[", ": Optional[", "]", " = -1e400", "/", "*"),
            ]
        ),
        max_size=8,
    ).map(lambda parts: f"{HEAD}{''.join(parts)}): ..."),
)


@settings(max_examples=400, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(source=TEXTS)
def test_any_text_is_a_model_or_one_line(source: str) -> None:
    own, told = None, "nothing"
    try:
        own = parse(source, "net.py").own
    except UserError as error:
        told = str(error)
    assert told.isprintable()
    assert 0 < len(told) < 1000
    assert own is None or len({knob.name for knob in own.knobs}) == len(own.knobs)


# Through journal and report

HOSTILE = "# </code></pre><script>alert(1)</script> ``` ```` \x1b[31m \u202e {{ 7*7 }} & <b>\n"
TRAP = 'open("executed", "w").close()\nraise SystemExit("executed")\n'
SEARCHED = """
dataset = "digits"
model = "net.py"
[compare]
norm = [true, false]
[tune]
lr = { low = 1e-3, high = 1e-1, log = true }
residual = [true, false]
kind = ["a", "b-c"]
word = ["x", "y y"]
sizes = [[8, 4], [-1, 2], []]
p = { low = 0.0, high = 0.5, when = { residual = true } }
[fixed]
epochs = 4
[budget]
trials = 5
searches = 3
seeds = 3
confirm_defaults = true
[search]
first = [{ residual = true, p = 0.25 }]
[published]
source = "somebody"
test_accuracy = [0.9, 0.8]
"""
TRAPPED = f"""{TRAP}{HOSTILE}{HEAD}norm: bool = False, residual: bool = False, kind: Literal["a", "b-c"] = "a",
                 word: str = "x", sizes: tuple[int, ...] = (8, 4), p: float = 0.0, depth: int = 3): ...
"""


def lucky(trial: Trial) -> Outcome:
    """An outcome with some luck of its own."""
    outcome = made_up(trial)
    luck = trial.seed * (3 + trial.config.norm) % 97 / 10_000
    return replace(outcome, figures={name: value - luck for name, value in outcome.figures.items()})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a study of a model that must never be executed has a journal with made-up outcomes."""
    home = tmp_path_factory.mktemp("own")
    folder = home / "studies" / "mine"
    folder.mkdir(parents=True)
    (folder / "study.toml").write_text(SEARCHED)
    (folder / "net.py").write_text(TRAPPED)
    with chdir(home):
        drive(read_study("studies/mine"), Path("studies/mine/journal.log"), outcome_of=lucky)
    return home


@pytest.fixture
def there(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return Path("studies/mine")


def test_a_journal_holds_the_text_and_true_stays_true(there: Path) -> None:
    study, records = read_study(there), Records(there / "journal.log")
    assert records.study.code == study.code
    assert records.study.own == study.own == parse(TRAPPED, "net.py").own
    assert records.study.levels == (True, False)
    assert all(type(level) is bool for level in records.study.levels)
    assert records.study.tune["residual"] == Choice(values=(True, False))
    seen = {key: {record.trial.config[key] for record in records.all} for key in ("residual", "kind", "word", "sizes")}
    assert seen["sizes"] == {(8, 4), (-1, 2), ()}
    assert {type(value) for value in seen["residual"]} == {bool}
    assert (seen["kind"], seen["word"]) == ({"a", "b-c"}, {"x", "y y"})
    assert all(record.trial.config.own == study.own for record in records.all)
    first, second = (record.trial.config for record in records.all[:2])
    assert (first.norm, first.residual, first.kind, first.p, first.depth) == (True, False, "a", 0.0, 3)  # the defaults
    assert (second.residual, second.p) == (True, 0.25)
    assert [study.level_name(level) for level in study.levels] == ["norm=true", "norm=false"]
    assert from_optuna({"sizes": "-1-2", "p": 0.5}, study) == {"sizes": (-1, 2), "p": 0.5}


def test_true_is_not_one() -> None:
    choice = Choice(values=(0, 1))
    assert not holds(choice, True)
    assert nearest_in(choice, True) is None
    assert nearest_in(Choice(values=(False,)), True) is None  # a yes has no neighbours
    assert holds(Choice(values=(True, False)), True)
    assert Choice.model_validate_json(Choice(values=(True, 1, 1.0)).model_dump_json()).values == (True, 1, 1.0)
    assert [type(value) for value in Choice.model_validate_json('{"values": [true, 1, 1.0]}').values] == [
        bool,
        int,
        float,
    ]


def test_a_report_shows_what_was_trained_and_executes_nothing(there: Path) -> None:
    results = read_results(there / "journal.log")
    folder = report.write(find(results), Path("reports/mine"))
    for name in ("compare", "seeds", "trials"):
        table = pd.read_csv(folder / "tables" / f"{name}.csv", dtype=str)
        assert set(table["norm"]) == {"true", "false"}, name
    assert set(table["residual"]) == {"true", "false"}
    html, text = ((folder / name).read_text() for name in ("report.html", "report.md"))
    own = parse(TRAPPED, "net.py").own
    assert f"the model Wide of net.py (sha256 {own.sha256[:12]}); fixed: epochs = 4" in text
    assert f"The text of net.py, sha256 {own.sha256}, of which Wide was trained." in text
    assert Page(html).open == []
    assert html.count("<script>") == 1  # our own, which sorts tables
    assert "&lt;/code&gt;&lt;/pre&gt;&lt;script&gt;alert(1)" in html
    for page in (html, MarkdownIt("commonmark", {"html": True}).render(text)):
        assert page.count("<pre>") == 1
        assert not {"\x1b", "\u202e"} & set(page)
        assert r"\x1b[31m \u202e {{ 7*7 }}" in page
    assert not Path("executed").exists()


def test_what_only_looks_executes_nothing(there: Path, home: Path, command: Callable[..., Done]) -> None:
    with chdir(home):
        told = [command("report", "studies/mine"), command("list"), command("power", "studies/mine")]
        told += [command("run", "studies/mine", "--dry-run"), command("sync", "studies/mine")]
    for done in told:
        assert done.returncode == 0, done.stderr
    assert not list(home.rglob("executed"))
    lines = told[3].stdout.splitlines()
    own = parse(TRAPPED, "net.py").own
    assert f"model     {own.words}, with norm, residual, kind, word, sizes, p, depth" in lines
    assert "estimate  not told here, since that would run net.py; harness run tells it" in lines


def test_a_dry_run_builds_no_network_for_a_constraint(there: Path) -> None:
    study = read_study(there, ["constraint.parameters.high=1000"])
    assert "stacks" not in dict(outline(study, None))
    assert dict(outline(read_study(there), None))["stacks"].startswith("the first generation's 24 trainings have ")


CHANGED = TRAPPED.replace("p: float = 0.0", "p: float = 0.1")


@pytest.fixture
def edited(there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same study, whose net.py has changed since."""
    folder = tmp_path / "studies" / "mine"
    folder.mkdir(parents=True)
    for name in ("study.toml", "journal.log"):
        (folder / name).write_bytes((there / name).read_bytes())
    (folder / "net.py").write_text(CHANGED)
    monkeypatch.chdir(tmp_path)
    return Path("studies/mine")


def test_changed_code_is_refused_with_the_difference(edited: Path) -> None:
    journal, study = edited / "journal.log", read_study(edited)
    old, new = (parse(text, "net.py").own.sha256[:12] for text in (TRAPPED, CHANGED))
    for refuse in (lambda: check_edits(study, journal), lambda: Ledger(study, journal, ENVIRONMENT)):
        with pytest.raises(UserError) as caught:
            refuse()
        assert str(caught.value) == (
            f"studies/mine: its journal holds trials of another version of the study (net.py had sha256 {old}, has "
            f"{new}); undo the edit, or start anew with --fresh, which puts the old journal aside"
        )
        assert caught.value.below[:2] == ("--- net.py as recorded", "+++ net.py as it is now")
        assert [line[0] for line in caught.value.below[3:]] == [" ", "-", "+", " "]
    assert edits(read_study(edited), study) == []
    (edited / "net.py").write_text(TRAPPED)
    check_edits(read_study(edited), journal)


def test_another_model_is_refused_as_any_edit(edited: Path) -> None:
    words = SEARCHED.split("[compare]")[0].replace("net.py", "mlp") + "[compare]\ndepth = [1, 2]\n"
    (edited / "study.toml").write_text(words)
    with pytest.raises(UserError, match=r"model was net\.py:Wide, is mlp") as caught:
        check_edits(read_study(edited), edited / "journal.log")
    assert caught.value.below == ()
    with pytest.raises(UserError) as refused:
        replay(read_study(edited), edited, Wanted("true", seed=1), 1e-3)
    own = parse(TRAPPED, "net.py").own
    assert str(refused.value) == (
        f"replay: the record is of {own.words}, and the study file's model is mlp; only what the study file names is "
        "executed"
    )


def test_replay_asks_for_the_recorded_text(edited: Path, command: Callable[..., Done], tmp_path: Path) -> None:
    done = command("replay", "studies/mine", "true", "--seed", "1")
    line, *below = done.stderr.splitlines()
    old, new = (parse(text, "net.py").own.sha256[:12] for text in (TRAPPED, CHANGED))
    assert done.returncode == 2
    assert line == (
        f"harness: replay: studies/mine/net.py is not what the record was trained with (sha256 {old}, now {new}); put "
        "it back as it was, which its report shows"
    )
    assert len(below) == 7
    (tmp_path / edited / "net.py").unlink()
    done = command("replay", "studies/mine", "true", "--seed", "1")
    assert done.stderr == f"harness: {FILE}model: there is no studies/mine/net.py\n"
    assert not list(tmp_path.rglob("executed"))


def test_a_journal_that_names_other_code_cannot_be_read(there: Path) -> None:
    recorded = json.loads(read_study(there).model_dump_json())
    for change in ({"model": "net.py:Other"}, {"model": "os.path"}, {"code": None}):
        with pytest.raises(ValueError, match="model"):
            Study.model_validate_json(json.dumps(recorded | change))
    with pytest.raises(ValueError, match=r"net\.py has no class Wide"):
        Study.model_validate_json(json.dumps(recorded | {"code": {"name": "net.py:Wide", "source": "x = 1"}}))


def test_long_differences_are_cut() -> None:
    one, two = (
        parse("".join(f"x = {number}\n" for number in range(start, start + 40)) + NET, "net.py").own
        for start in (0, 99)
    )
    lines = difference(one, two)
    assert len(lines) == 13
    assert lines[-1] == "... 72 more lines"
    ends = difference(*(parse(NET.replace("\n", end), "net.py").own for end in ("\n", "\r\n")))
    assert ends[3] == "-class Wide(nn.Module):"
    assert UserError("", ends).below[5] == r"+class Wide(nn.Module):\r"


BUILT_IN = {"exec", "eval", "compile", "__import__"}
IMPORTERS = {"import_module", "exec_module", "load_module", "run_module", "run_path"}
IMPORTERS |= {"spec_from_file_location", "SourceFileLoader"}


def test_one_place_executes_what_users_write() -> None:
    """Everybody else reads text; and who executes is known to those who train alone."""
    found = {}
    for path in sorted((ROOT / "harness").rglob("*.py")):
        tree = ast.parse(path.read_text())
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        if used := {name for name in called if name in BUILT_IN or name.split(".")[-1] in IMPORTERS}:
            found[str(path.relative_to(ROOT / "harness"))] = used
    assert found == {
        "catalogue.py": {"importlib.import_module"},  # of "module:name", which entries of the catalogue say
        "parts/own.py": {"exec", "compile"},
        # the program that goes home: it loads the network.py beside itself, if that has the sum which model.json says
        "export/model.py": {"found.loader.exec_module", "importlib.util.spec_from_file_location"},
    }
    knows = {
        str(path.relative_to(ROOT / "harness"))
        for path in (ROOT / "harness").rglob("*.py")
        if re.search(r"parts\.own\b|parts import .*\bown\b", path.read_text())
    }
    assert knows <= {"parts/models.py", "parts/loader.py", "checks.py", "study/own.py", "export/predict.py"}


def test_the_example_of_the_docs_is_a_study(write: Write) -> None:
    text = (ROOT / "docs" / "own-models.md").read_text()
    net, words = (re.findall(f"```{kind}\n(.*?)```", text, re.DOTALL)[0] for kind in ("python", "toml"))
    study = read_study(write(words, net))
    assert (study.model, study.levels, set(study.tune)) == ("net.py:Wide", (True, False), {"hidden", "p", "lr"})
    assert study.own is not None
    assert [knob.name for knob in study.own.knobs] == ["hidden", "blocks", "p", "norm"]
