"""Named variants: whole recipes that are compared by their names, from the study file to the page."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.analysis import find, read_results
from harness.errors import UserError
from harness.journal import Ledger, Records
from harness.journal.choose import find_level
from harness.journal.left import Timing
from harness.journal.sampling import propose
from harness.plan import first_generation, outline
from harness.plots import means
from harness.replay import Wanted, replay
from harness.report.compare import compare
from harness.report.listing import list_studies
from harness.study.file import read_study
from harness.study.study import Study
from harness.trial import Cell

from .conftest import SMALL, Done
from .test_search import ENVIRONMENT, drive

Write = Callable[..., Path]
Command = Callable[..., Done]
ODD = 'Adam "lr=?", /ü$x$'
ADAM = 'optimizer = "adam", tune = { lr = { low = 1e-3, high = 1e-1, log = true } }'
HEAD = 'dataset = "digits"\n[compare.variant]\n'
RECIPES = f"""
{HEAD}"SGD, tuned" = {{ optimizer = "sgd", lr = 0.2, momentum = 0.9 }}
'{ODD}' = {{ {ADAM} }}
plain = {{}}
[fixed]
width = 8
batch_size = 32
epochs = 3
[budget]
trials = 3
searches = 3
seeds = 3
"""
OF_ALL = """
[tune]
lr = { low = 1e-3, high = 1e-1, log = true }
momentum = { low = 0.0, high = 0.9, when = { optimizer = "sgd" } }
[search]
first = [{ lr = 0.02 }]
[budget]
trials = 4
searches = 2
seeds = 2
"""
COMMON = f"""{HEAD}sgd = {{ optimizer = "sgd" }}
slow = {{ optimizer = "sgd", lr = 0.01 }}
adam = {{ optimizer = "adam", tune.lr = {{ low = 1e-4, high = 1e-2, log = true }} }}
{OF_ALL}"""


def test_a_variant_sets_several_values(write_study: Write) -> None:
    study = read_study(write_study(RECIPES))
    assert (study.axis, study.levels) == ("variant", ("SGD, tuned", ODD, "plain"))
    sgd, adam, plain = (study.config(level, {}) for level in study.levels)
    assert (sgd.optimizer, sgd.lr, sgd.momentum, sgd.width) == ("sgd", 0.2, 0.9, 8)
    assert (adam.optimizer, plain.lr, plain.width) == ("adam", plain.lr, 8)
    assert [list(study.space(level)) for level in study.levels] == [[], ["lr"], []]
    assert (study.searching, study.tuned, study.searches) == ((ODD,), ("lr",), 3)
    assert study.chosen == ("optimizer", "lr", "momentum", "width", "batch_size", "epochs")
    assert study.level_name(ODD) == f"variant={ODD}"
    assert Study.model_validate_json(study.model_dump_json()) == study


def test_each_has_the_common_space_its_own_and_nothing_that_never_matters(write_study: Write) -> None:
    study = read_study(write_study(COMMON))
    spaces = {level: study.space(level) for level in study.levels}
    assert {level: list(space) for level, space in spaces.items()} == {
        "sgd": ["lr", "momentum"],
        "slow": ["momentum"],
        "adam": ["lr"],
    }
    assert [spaces[level]["lr"].high for level in ("sgd", "adam")] == [0.1, 0.01]  # type: ignore[union-attr]
    first = {level: propose(study, level, 1, [], 4) for level in study.levels}
    assert {level: set(trials[1].params) for level, trials in first.items()} == {
        "sgd": {"lr", "momentum"},
        "slow": {"momentum"},
        "adam": {"lr"},
    }
    assert first["sgd"][1].params["lr"] == 0.02, "the known point, where the space holds it"
    assert first["adam"][1].params["lr"] <= 0.01, "and the sampler's elsewhere"
    assert len(first_generation(study, None)) == 3 * 2 * 4


def test_what_a_variant_says_comes_before_what_is_fixed(write_study: Write) -> None:
    study = read_study(write_study(f"{HEAD}a = {{}}\nb = {{ lr = 0.5 }}\nc = {{ {ADAM} }}\n[fixed]\nlr = 0.3\n"))
    assert [study.config(level, {}).lr for level in "ab"] == [0.3, 0.5]
    assert study.config("c", {"lr": 0.05}).lr == 0.05
    assert study.config("c", {}).lr not in (0.3, 0.5), "its search begins at the default"
    assert study.config("c", {}).lr == study.knob("lr").default


def test_what_of_them_differs_is_told_beforehand(write_study: Write) -> None:
    lines = [f"{heading}: {line}" for heading, line in outline(read_study(write_study(RECIPES)), None)]
    assert 'variant: "SGD, tuned": optimizer = sgd, lr = 0.2, momentum = 0.9; searches nothing' in lines
    assert f'variant: "{ODD}": optimizer = adam; searches 1: lr from 0.001 to 0.1 (log scale)' in lines
    [note] = [line for line in lines if "spaces differ" in line]
    assert f'1 are searched by "{ODD}", none by "SGD, tuned" and "plain"' in note


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = { lrr = 1 }", "compare.variant.a.lrr: unknown key; did you mean lr?"),
        ("a = { lr = -1 }", "compare.variant.a.lr: should be greater than 0, got -1"),
        ('"a b" = { lr = 1 , tune.lr = [0.1] }', 'compare.variant."a b".tune.lr: is set by the variant already'),
        ("a = 3", "compare.variant.a: must be a table of hyperparameters, as { lr = 0.1 }, got 3"),
        ("a = { tune = 3 }", "compare.variant.a.tune: must be a table"),
        ("a = {}\nb = { width = 128 }", "compare.variant.b: says the same as compare.variant.a; leave one of them out"),
        ('a = { dataset = "mnist" }', "compare.variant.a.dataset: all variants of a study have one dataset"),
        ('a = { model = "cnn" }', "compare.variant.a.model: all variants of a study have one model"),
        ('"" = {}', "compare.variant: a name must be a text of one line with at most 80 characters"),
        ('"a\\u0007" = {}', "compare.variant: a name must be a text of one line"),
        ('"a search 2" = {}', 'compare.variant."a search 2": a name cannot end so'),
        ("a = { lr = 1.0 }\nb = {}\n[fixed]\nchannels = [3]", "channels: only model = 'cnn' has it"),
        ("a = { lr = 1.0 }\nb = { lr = 2.0 }\n[fixed]\nlr = 3.0", "fixed.lr: has no effect: every variant"),
        ("a = { lr = 1.0 }\nb = { lr = 2.0 }\n[tune]\nlr = [3.0]", "tune.lr: has no effect: every variant"),
        (
            'a = {}\nb = { optimizer = "adam" }\n[tune]\nmomentum = { values = [0.1], when = { optimizer = "sgd" } }',
            "compare.variant.a: tune.momentum.when.optimizer: must be compared, fixed, or tuned without `when`",
        ),
        (
            'a = {}\nb = { optimizer = "adam", tune.momentum = { values = [0.1], when = { optimizer = "sgd" } } }',
            "compare.variant.b.tune.momentum.when: never holds with what the variant sets",
        ),
        (
            "a = { depth = 3 }\nb = {}\n[compare]\ndepth = [1, 2]",
            "compare.variant.a.depth: depth stands in [compare] already",
        ),
        (
            "a = {}\nb.tune.lr = [0.1, 0.2]\n[search]\nfirst = [{ lr = 0.3 }]",
            "search.first.lr: must be one of 0.1, 0.2, got 0.3",
        ),
        (
            'a = {}\nb.tune.lr = [0.1, 0.2]\n[search]\nrefit = "all"',
            "search.refit: with 'all' a winner takes its epochs from its search, and variant=a searches nothing",
        ),
        (
            'a.tune.lr = [0.1, 0.2]\nb.tune.lr = [0.1, 0.2, 0.3]\n[search]\nsampler = "grid"\n[budget]\ntrials = 3',
            "budget.trials: the grid of variant=a has 2 points, got 3 trials",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(write_study: Write, text: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as error:
        read_study(write_study(HEAD + text))
    assert "\n" not in str(error.value)


def test_the_table_must_be_one(write_study: Write) -> None:
    for text in ('variant = "a"', "variant = [1, 2]", "variant = {}"):
        with pytest.raises(UserError, match=r"compare.variant: must hold a table for each name"):
            read_study(write_study(f'dataset = "digits"\n[compare]\n{text}\n'))


def test_an_own_model_may_have_a_parameter_of_that_name(write_study: Write) -> None:
    def folder(compared: str, parameters: str) -> Path:
        folder = write_study(f'dataset = "digits"\nmodel = "net.py"\n[compare]\n{compared}\n')
        text = f"class Net(nn.Module):\n    def __init__(self, inputs, outputs, *, {parameters}): ...\n"
        folder.joinpath("net.py").write_text(text)
        return folder

    study = read_study(folder("variant = [1, 2]", "variant: int = 1"))
    assert (study.variants, study.config(2, {}).variant) == ({}, 2)
    with pytest.raises(UserError, match=r"compare.variant: is a parameter of Net; call that something else"):
        read_study(folder("variant.a = {}", "variant: int = 1"))
    study = read_study(folder("variant.a = { hidden = 4 }\nvariant.b.tune.hidden = [3]", "hidden: int"))
    assert study.config("a", {})["hidden"] == 4
    assert list(study.space("b")) == ["hidden"]
    with pytest.raises(UserError, match=r"compare.variant.c: hidden: must be compared, tuned or fixed"):
        read_study(folder("variant.a = { hidden = 4 }\nvariant.c = {}", "hidden: int"))


def test_variants_beside_another_key_are_a_grid(write_study: Write) -> None:
    text = RECIPES.replace('dataset = "digits"\n', "").replace(
        "[fixed]", '[compare]\ndataset = ["digits", "mnist"]\n[fixed]'
    )
    study = read_study(write_study(text))
    assert (study.axes, study.datasets, len(study.levels)) == (("variant", "dataset"), ("digits", "mnist"), 6)
    level = Cell(("variant", "dataset"), ("SGD, tuned", "mnist"))
    assert (study.config(level, {}).dataset, study.config(level, {}).lr, study.space(level)) == ("mnist", 0.2, {})
    assert find_level(study, "dataset=mnist,variant=SGD, tuned") == level
    assert len(study.searching) == 2


def test_what_is_left_counts_the_trainings_of_those_that_search(write_study: Write) -> None:
    for more, steps in ((), 0), (["budget.confirm_defaults=true"], 1), (["budget.ablation=true"], 1):
        assert Timing(read_study(write_study(RECIPES), more)).wanted() == (9, 9 + 3 * steps)
    assert Timing(read_study(write_study(COMMON), ["budget.ablation=true"])).wanted() == (24, 6 + 2 * (2 + 1 + 1))


def test_an_override_names_a_variant_as_the_file_does(write_study: Write) -> None:
    folder = write_study(RECIPES)
    study = read_study(folder, ['compare.variant."SGD, tuned".lr=0.3', f"compare.variant.'{ODD}'.tune.lr=[0.1, 0.2]"])
    assert study.config("SGD, tuned", {}).lr == 0.3
    assert study.space(ODD)["lr"].values == (0.1, 0.2)  # type: ignore[union-attr]
    assert read_study(folder, ["lr=0.4"]).config("plain", {}).lr == 0.4
    with pytest.raises(UserError, match="must be key=value"):
        read_study(folder, ["[a]\n[b]\nlr=1"])


def test_a_space_may_be_widened_and_nothing_else(write_study: Write, tmp_path: Path) -> None:
    journal = tmp_path / "j.log"
    drive(read_study(write_study(COMMON)), journal)
    wide = "compare.variant.adam.tune.lr={low=1e-5, high=0.1, log=true}"
    drive(read_study(write_study(COMMON), [wide, "budget.trials=5"]), journal)
    [said] = Records(journal).study.widened
    assert said == "variant.adam.lr was from 0.0001 to 0.01 (log scale) for the first 4 trials of a search"
    assert {len(trials.search) for trials in Records(journal).searches.values()} == {5}
    for edit, said in (
        ("compare.variant.adam.tune.lr={low=1e-3, high=0.1, log=true}", "compare.variant.adam.tune.lr.low was 1e-05"),
        ("compare.variant.slow.lr=0.02", "compare.variant.slow.lr was 0.01, is 0.02"),
        (
            'compare.variant.new.optimizer="adam"',
            "compare.variant.new was not there, is {'optimizer': 'adam'}; levels was",
        ),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            Ledger(read_study(write_study(COMMON), [wide, edit, "budget.trials=5"]), journal, ENVIRONMENT)


def test_a_whole_run(command: Command, tmp_path: Path) -> None:
    """From the command to the page, with names that hold whatever a name may hold."""
    folder = tmp_path / "studies" / "recipes"
    folder.mkdir(parents=True)
    (folder / "study.toml").write_text(RECIPES)
    done = command("run", "studies/recipes", "--set", "budget.ablation=true")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "reports/recipes/report.md").read_text()
    assert "The variants' spaces differ" in page
    assert '"SGD, tuned": optimizer = sgd, lr = 0.2, momentum = 0.9; searches nothing' in page
    assert "over its own space" in page
    seeds, trials = (pd.read_csv(tmp_path / f"reports/recipes/tables/{name}.csv") for name in ("seeds", "trials"))
    assert seeds["variant"].value_counts().to_dict() == {"SGD, tuned": 3, ODD: 3, "plain": 3}
    assert trials["variant"].value_counts().to_dict() == {ODD: 9}
    assert seeds[seeds["variant"] == "SGD, tuned"]["lr"].tolist() == [0.2] * 3
    [row] = list_studies(tmp_path / "studies")
    assert (row.state, row.search, row.confirm) == ("finished", (9, 9), (9, 9))
    assert f"variant={ODD}" in {row.best, *map(str, Records(folder / "journal.log").links)}

    checked, said = read_study(Path("studies/recipes")), list[str]()
    for wanted in (
        Wanted("variant=SGD, tuned", seed=1, together=True),
        Wanted(ODD, trial=2, search=1, together=True),
        Wanted("plain", seed=3, together=True),
    ):
        assert replay(checked, Path("studies/recipes"), wanted, 0.0, said.append).is_same
    assert said[-1] == "same: all figures are equal to the last bit"

    again = command("run", "studies/recipes", "--set", 'compare.variant."SGD, tuned".lr=0.3')
    assert again.returncode == 2
    assert 'compare.variant."SGD, tuned".lr was 0.2, is 0.3' in again.stderr
    assert command("power", "studies/recipes").returncode == 0
    dry = command("run", "studies/recipes", "--dry-run", "--set", "budget.seeds=6")
    assert ": 9 confirmations" in dry.stdout

    findings = find(read_results(folder / "journal.log"))
    assert [tuple(cells) for cells in findings.table[["trials", "seeds"]].to_numpy()] == [(0, 3), (9, 3), (0, 3)]
    assert set(findings.worth["level"][findings.worth["n"] > 0]) == {1}
    seeds_only = findings.results.runs[["level", f"test_{findings.study.metric}"]]
    figure = means.means_figure(findings.table, seeds_only, "variant", findings.measure, "")
    joined = [
        line
        for line in figure.axes[0].lines
        if len(set(np.ravel(line.get_ydata()))) > 1 and line.get_linestyle() != "None"
    ]
    assert not joined, "words have no order"


def test_two_studies_of_variants_are_compared_by_name(write_study: Write, tmp_path: Path) -> None:
    several = []
    for name in ("one", "two"):
        study = read_study(write_study(RECIPES, name))
        drive(study, tmp_path / f"studies/{name}/journal.log")
        several.append(find(read_results(tmp_path / f"studies/{name}/journal.log")))
    text = (compare(several, Path("reports/both")) / "report.md").read_text()
    assert "| variant = SGD, tuned |" in text
    assert f"variant={ODD}".replace("$", r"\$") in text


def test_a_study_without_variants_says_of_itself_what_it_said(write_study: Write) -> None:
    study = read_study(write_study(SMALL))
    assert (study.space(1), study.settled(2)) == (study.tune, {**study.fixed, "depth": 2})
    assert not [key for key in study.identity() if "variant" in key]
