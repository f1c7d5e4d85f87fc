"""A study on data of the user's own: what its file may say, how it is settled, and what its journal keeps of it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from harness import catalogue
from harness.analysis.units import overlap
from harness.catalogue import SCORES
from harness.checks import check_data, check_windows
from harness.errors import UserError
from harness.journal import Records, edits
from harness.loading import _counted, load_study
from harness.parts.data import Column, Data, Split, data_of
from harness.report.methods import methods
from harness.study.file import read_study
from harness.study.settle import settled, settled_as
from harness.study.study import About, Study

from .conftest import ROOT, SMALL, Done

Write = Callable[..., Path]
Command = Callable[..., Done]
HEAD = "[compare]\ndepth = [1, 2]\n"
OWN = 'dataset = "prices.csv"\ntarget = "price"\n'
FEW = "[fixed]\nwidth = 4\nepochs = 2\n[budget]\nseeds = 3\n"
CPU = torch.device("cpu")
LOADER = """import numpy as np
print('executed')
def load():
    x = np.arange(80.0).reshape(40, 2)
    return x, x[:, 0]
"""


def prices(folder: Path, name: str = "prices.csv", rows: int = 60, more: str = "") -> None:
    """A table of a number to be learned, of a number and of a class."""
    random = np.random.default_rng(0)
    lines = [
        f"{size:.3f},{'ab'[row % 2]},{2 * size + row % 2:.3f}" for row, size in enumerate(random.normal(size=rows))
    ]
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["size,kind,price", *lines]) + "\n" + more)


def loaded(study: Study, folder: Path) -> tuple[Study, dict[str, Data], list[str]]:
    said: list[str] = []
    return *load_study(study, folder, CPU, said.append), said


# What a file may say

MISTAKES = {
    "no such data set": (
        'dataset = "mnits"\n' + HEAD,
        "svhn, iris, wine, breast_cancer, ",
        "or a file or folder of your own, as 'prices.csv', got 'mnits'; did you mean mnist?",
    ),
    "none at all": (HEAD, "dataset: missing; one of mnist", "or a file or folder of your own, as 'prices.csv'"),
    "a list": ('dataset = ["a.csv"]\n' + HEAD, "dataset: must be one of", "got ['a.csv']"),
    "from the root": (
        'dataset = "/etc/prices.csv"\ntarget = "a"\n' + HEAD,
        "dataset: must be a file or folder named from",
    ),
    "from above": ('dataset = "../prices.csv"\ntarget = "a"\n' + HEAD, "dataset: must be a file or folder named from"),
    "an address": ('dataset = "http://a/b.csv"\n' + HEAD, "dataset: must be a file or folder named from"),
    "a comma": ('dataset = "a,b.csv"\ntarget = "a"\n' + HEAD, "dataset: must be named without commas"),
    "a target of digits": (
        'dataset = "digits"\ntarget = "price"\n' + HEAD,
        "target: digits is built in; only data of your own has it",
    ),
    "a table without target": ('dataset = "prices.csv"\n' + HEAD, "target: missing; which column of prices.csv is"),
    "arrays with a target": (
        'dataset = "a.npz"\ntarget = "price"\n' + HEAD,
        "target: is of tables, whose names end in .csv, .tsv, .parquet, .feather, and 'a.npz' is none",
    ),
    "a number": ('dataset = "a.csv"\ntarget = 3\n' + HEAD, "target: must be a column's name or a list of such, got 3"),
    "features and drop": (OWN + 'features = ["a"]\ndrop = ["b"]\n' + HEAD, "drop: features names all columns"),
    "learned from itself": (OWN + 'features = ["price"]\n' + HEAD, "features: 'price' stands in target already"),
    "twice": (OWN + 'drop = ["a", "a"]\n' + HEAD, "drop: 'a' stands twice"),
    "two splits": (OWN + 'split_column = "s"\ntest_rows = "t.csv"\n' + HEAD, "test_rows: split_column says already"),
    "a misspelt key": (OWN + 'traget = "a"\n' + HEAD, "traget: unknown key; did you mean target?"),
    "test rows of two": (
        'target = "a"\ntest_rows = "t.csv"\n[compare]\ndataset = ["a.csv", "b.csv"]\n',
        "test_rows: are of one data set, and 2 are compared",
    ),
    "a pooled split": (
        OWN + 'test_rows = "t.csv"\n' + HEAD + '[fixed]\nsplit = "pooled"',
        "fixed.split: has no effect: test",
    ),
    "a test fraction": (
        OWN + 'split_column = "s"\n' + HEAD + "[fixed]\ntest_fraction = 0.2",
        "fixed.test_fraction: has no effect: split_column says which rows are for the test",
    ),
    "no such task": (OWN + 'task = "regresion"\n' + HEAD, "task: must be one of", "did you mean regression?"),
    "another task than the data's": (
        'dataset = "digits"\ntask = "regression"\n' + HEAD,
        "task: digits is learned by classification, got 'regression'",
    ),
    "tasks mixed": (
        '[compare]\ndataset = ["iris", "diabetes"]\n',
        "compare.dataset: all must have one task; of iris it is classification, of diabetes regression",
    ),
    "a metric of another task": (
        'dataset = "diabetes"\nmetric = "accuracy"\n' + HEAD,
        "metric: 'accuracy' is not measured in a regression; must be one of loss, rmse",
    ),
    "metric against task": (
        OWN + 'task = "classification"\nmetric = "rmse"\n' + HEAD,
        "metric: 'rmse' is not measured",
    ),
    "loss against metric": (
        OWN + 'metric = "rmse"\n' + HEAD + '[fixed]\nloss = "cross_entropy"',
        "fixed.loss: a regression minimises one of mse, mae, huber, got 'cross_entropy'",
    ),
    "losses of two tasks": (
        OWN + '[compare]\nloss = ["mae", "cross_entropy"]',
        "compare.loss: a regression minimises one of mse, mae, huber, got 'cross_entropy'",
    ),
    "classes of a regression": (
        'dataset = "diabetes"\n' + HEAD + "[tune]\nlabel_smoothing = { low = 0.0, high = 0.1 }",
        "tune.label_smoothing: is of classes, and this is a regression",
    ),
    "a unit of classes": (
        OWN + 'unit = "EUR"\ntask = "classification"\n' + HEAD,
        "unit: is of numbers that are learned, and this is a classification, got 'EUR'",
    ),
    "huber unused": (
        OWN + HEAD + '[fixed]\nloss = "mae"\nhuber_delta = 2.0',
        "fixed.huber_delta: is of loss = 'huber', and the study has mae",
    ),
    "published of another task": (
        OWN + 'task = "regression"\n' + HEAD + '[published]\nsource = "x"\ntest_accuracy = [0.9, 0.9]',
        "published.test_accuracy: a regression has loss, rmse, mae",
    ),
    "no program": ('dataset = "data.py"\n' + HEAD, "dataset: there is no ", "data.py"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_in_one_line(case: str, write_study: Write) -> None:
    text, *messages = MISTAKES[case]
    with pytest.raises(UserError) as caught:
        read_study(write_study(text))
    for message in messages:
        assert message in str(caught.value)
    assert "study.toml: " in str(caught.value)


def test_what_is_said_is_read(write_study: Write) -> None:
    folder = write_study(OWN + 'drop = ["name"]\nunit = "EUR"\n' + HEAD)
    study = read_study(folder)
    assert (study.source.target, study.source.drop, study.source.unit) == (("price",), ("name",), "EUR")
    assert (study.task, study.metric, study.things) == ("", "", "images")  # which only the data tells
    changes = ['target=["price", "cost"]', "task=regression", "drop=id", "test_rows=rows.csv"]
    other = read_study(folder, changes)
    assert (other.source.target, other.source.drop, other.source.test_rows) == (("price", "cost"), ("id",), "rows.csv")
    assert (other.task, other.metric) == ("regression", "rmse")
    assert Study.model_validate_json(other.model_dump_json()) == other
    elsewhere = read_study(folder, dataset="more/old prices.csv")
    assert (elsewhere.label, elsewhere.journal) == ("mine-more-old prices.csv", "journal-more-old prices.csv.log")
    (folder / "shapes").mkdir()
    assert read_study(write_study('dataset = "shapes"\n' + HEAD)).dataset == "shapes"


@pytest.mark.parametrize(
    ("said", "task", "metric"),
    [
        ('metric = "r2"\n' + HEAD, "regression", "r2"),
        ('metric = "loss"\n' + HEAD, "", "loss"),
        (HEAD + '[fixed]\nloss = "huber"', "regression", "rmse"),
        (HEAD + '[tune]\nloss = ["mse", "mae"]', "regression", "rmse"),
        ('[compare]\nloss = ["cross_entropy"]', "classification", "accuracy"),
    ],
)
def test_metric_and_loss_imply_the_task(said: str, task: str, metric: str, write_study: Write) -> None:
    study = read_study(write_study(OWN + said))
    assert (study.task, study.metric) == (task, metric)


def test_reading_opens_no_data_and_imports_nothing_heavy(write_study: Write, tmp_path: Path) -> None:
    write_study(OWN + HEAD)  # and there is no such file
    script = (
        "import sys; from harness.study.file import read_study; read_study('studies/mine'); "
        "print(*{'pandas', 'numpy', 'torch', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# Settling


def test_data_settles_a_study(write_study: Write) -> None:
    folder = write_study(OWN + 'unit = "EUR"\n' + HEAD)
    prices(folder)
    study, data, said = loaded(read_study(folder), folder)
    assert (study.task, study.metric, study.things) == ("regression", "rmse", "rows")
    [known] = study.about
    assert (known.rows, known.test_rows, known.target_names, known.classes) == (60, 12, ("price",), ())
    assert known.features == data["prices.csv"].features == 2
    assert (study.measure.unit.symbol, study.figure("test_mae").unit.gap) == ("EUR", "EUR")
    assert study.figure("val_loss").unit is study.figure("running_train_loss").unit is SCORES
    assert study.figure("test_r2") == catalogue.figure("test_r2")
    config = study.config(1, {})
    assert (config.task, config.metric, config.dataset) == ("regression", "rmse", "prices.csv")
    gaps = [Column("a"), Column("a is missing", ("no", "yes")), Column("b")]
    assert _counted(gaps) == "2 columns (1 with gaps)"
    assert _counted(gaps[2:]) == "1 column"
    assert said[0] == "data     prices.csv: 60 rows, 12 for the test; 2 columns; regression of price in EUR"
    assert Study.model_validate_json(study.model_dump_json()) == study
    classes, _, _ = loaded(read_study(folder, ["target=kind", 'unit=""']), folder)
    assert (classes.task, classes.metric, classes.class_names("prices.csv")) == (
        "classification",
        "accuracy",
        ("a", "b"),
    )
    with pytest.raises(UserError, match=r"unit: is of numbers that are learned, and this is a classification"):
        loaded(read_study(folder, ["target=kind"]), folder)
    with pytest.raises(UserError, match=r"fixed.class_weight: is of classes, and this is a regression"):
        loaded(read_study(folder, ["class_weight=balanced"]), folder)


def test_all_compared_data_sets_have_one_task(write_study: Write) -> None:
    study = read_study(write_study('target = "y"\n[compare]\ndataset = ["iris", "a.csv"]\n'))
    assert (study.task, study.datasets) == ("classification", ("iris", "a.csv"))
    flowers, numbers = About(name="iris", task="classification"), About(name="a.csv", task="regression")
    with pytest.raises(UserError, match=r"compare.dataset: all must have one task; of iris it is class.*a.csv regress"):
        settled(study, [flowers, numbers])
    both = settled(study, [flowers, numbers.model_copy(update={"task": "classification", "things": "rows"})])
    assert (both.metric, both.things) == ("accuracy", "images")


def test_missing_data_is_told_and_never_replaced(write_study: Write) -> None:
    folder = write_study(OWN + HEAD)
    with pytest.raises(UserError, match=r"dataset: there is no prices.csv beside the study .*below the current folder"):
        loaded(read_study(folder), folder)


# Old journals


def test_a_journal_of_before_is_classification_of_images(write_study: Write) -> None:
    old = Records(ROOT / "tests" / "data" / "old" / "journal.log").study
    assert (old.task, old.metric, old.things, old.about) == ("classification", "accuracy", "images", ())
    recorded = json.loads(read_study(write_study(SMALL)).model_dump_json())
    for key in ("task", "source", "loader", "about"):
        recorded.pop(key)
    before = Study.model_validate_json(json.dumps(recorded))
    assert edits(read_study(write_study(SMALL)), before) == []
    assert before.search_trial(1, 0, 0, before.config(1, {})).pool is None


def test_what_data_is_asked_for_is_part_of_a_study(write_study: Write) -> None:
    folder = write_study(OWN + HEAD)
    then = settled(read_study(folder), [About(name="prices.csv", task="regression")])
    now = [read_study(folder, [change]) for change in ("target=size", "task=classification", 'drop=["kind"]')]
    assert edits(settled_as(read_study(folder), then), then) == []
    assert edits(settled_as(read_study(folder, ["unit=EUR"]), then), then) == []  # a word of the report
    assert edits(now[0], then)[0] == "metric was rmse, is "
    assert [edits(settled_as(one, then), then)[0] for one in now[::2]] == [
        "target was ['price'], is ['size']",
        "drop was [], is ['kind']",
    ]
    assert "task was regression, is classification" in edits(settled_as(now[1], then), then)


# Splits


@pytest.fixture
def numbered(write_study: Write) -> Path:
    """A study with four given choices of test rows."""
    folder = write_study(
        OWN + 'test_rows = "rows.csv"\n' + HEAD + "[fixed]\nwidth = 4\nepochs = 2\n[budget]\nseeds = 6\n"
    )
    prices(folder)
    lines = [f"{split},{row}" for split in range(4) for row in range(split * 6, split * 6 + 6)]
    (folder / "rows.csv").write_text("\n".join(["split,row", *lines]) + "\n")
    return folder


def test_each_seed_takes_the_split_of_its_number(numbered: Path) -> None:
    study, data, said = loaded(read_study(numbered), numbered)
    assert said[0].startswith("data     prices.csv: 60 rows, 4 ways to choose 6 for the test; ")
    trials = study.confirmations(1, study.config(1, {}))
    assert [trial.pool for trial in trials] == [0, 1, 2, 3, 4, 5]
    splits = data["prices.csv"].test_splits
    for trial in trials:
        test = data["prices.csv"].split(trial.seed, 0.2, pool=trial.pool).test
        assert test.tolist() == splits[trial.number % 4].tolist()
    assert overlap(study, 0) == pytest.approx(6 / 54 / 0.8)
    searched = read_study(numbered, ["budget.searches=3", "search.folds=5", "tune.lr=[0.1, 0.2]"])
    config = searched.config(1, {})
    for search in range(3):
        trial = searched.search_trial(1, search, 0, config)
        assert {trial.pool, *(fold.pool for fold in searched.trainings(trial))} == {search}
        assert {one.pool for one in searched.confirmations(1, config, search)} == {search}


def sizes(study: Study, data: Data, message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_data(study, {data.name: data})
    assert str(caught.value) == message


def test_splits_that_leave_nothing_are_told(write_study: Write, digits: Data) -> None:
    folder = write_study('dataset = "digits"\n' + HEAD)

    def study(*changes: str) -> Study:
        return read_study(folder, changes)

    check_data(study(), {"digits": digits})
    few = "of the 1,438 training images of digits leaves"
    sizes(study("validation=1e-9"), digits, f"validation: 1e-09 {few} none to choose by")
    sizes(study("validation=0.9999"), digits, f"validation: 0.9999 {few} none to train on")
    pooled = "of the 1,797 images of digits leaves"
    sizes(study("split=pooled", "test_fraction=0.9999"), digits, f"test_fraction: 0.9999 {pooled} none to train on")
    sizes(study("split=pooled", "test_fraction=1e-12"), digits, f"test_fraction: 1e-12 {pooled} none for the test")
    rare = torch.where(digits.targets == 9, 8, digits.targets)
    rare[0] = 9
    one = Data(**{**vars(digits), "targets": rare})
    sizes(
        study("stratify=true"),
        one,
        "stratify: the rarest class of digits has 1 training images, and needs 2: to train on and to choose by; with "
        "stratify = false none has a share of its own",
    )
    check_data(study(), {"digits": one})
    x = torch.arange(4.0)[:, None]
    tiny = data_of("few.csv", Split(x, x), None, (1,), target_names=("y",), columns=(Column("x"),))
    sizes(
        study("dataset=few.csv", "target=y", "task=regression"),
        tiny,
        "few.csv: has 4 rows, too few for a fifth of them to be the test set",
    )


def test_what_has_no_effect_on_the_data_is_told(write_study: Write, digits: Data) -> None:
    folder = write_study(OWN + HEAD)
    prices(folder)
    study, data, _ = loaded(read_study(folder), folder)
    table = data["prices.csv"]
    there = "prices.csv has rows of a table, no images"
    sizes(read_study(folder, ["normalisation=half"]), table, f"fixed.normalisation: {there}; scaling scales them")
    sizes(read_study(folder, ["augment_flip=true"]), table, f"fixed.augment_flip: {there}")
    sizes(read_study(folder, ["model=cnn"]), table, "model: cnn wants images, and prices.csv has rows of a table")
    sizes(
        read_study(folder, ["scaling=minmax"], dataset=None).model_copy(update={"dataset": "digits"}),
        digits,
        "fixed.scaling: digits has images; normalisation scales them",
    )
    given = Data(**{**vars(table), "validation": 9})
    check_data(study, {"prices.csv": given})
    sizes(
        read_study(folder, ["validation=0.3"]),
        given,
        "fixed.validation: has no effect: prices.csv says which of its rows are for validation; leave it out",
    )


# From the command line


@pytest.fixture
def trained(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command without the report that ends a run: what it says and draws is tested where it is made."""
    monkeypatch.setattr("harness.report.write", lambda findings, folder, second: folder)
    return command


def test_a_study_runs_goes_on_and_refuses_other_data(write_study: Write, trained: Command) -> None:
    folder = write_study(OWN + 'unit = "EUR"\n' + HEAD + FEW)
    prices(folder)
    planned = trained("run", "studies/mine", "--dry-run")
    assert (planned.returncode, planned.stderr) == (0, "")
    assert not (folder / "journal.log").exists()
    ran = trained("run", "studies/mine", "--offline", "--device", "cpu")
    assert ran.returncode == 0, ran.stderr
    told = "data     prices.csv: 60 rows, 12 for the test; 2 columns; regression of price in EUR"
    assert told in ran.stdout
    assert told in planned.stdout
    records = Records(folder / "journal.log")
    assert (records.study.task, records.study.metric) == ("regression", "rmse")
    assert records.study.about[0].rows == 60
    assert all(record.outcome and record.outcome["test_rmse"] > 0 for record in records.all)
    again = trained("replay", "studies/mine", "1", "--seed", "1", "--device", "cpu")
    assert again.returncode == 0, again.stderr
    assert "same: all figures" in again.stdout
    prices(folder, more="1.0,a,9.0\n")
    for changed in (trained("run", "studies/mine", "--offline"), trained("run", "studies/mine", "--dry-run")):
        assert changed.returncode == 2
        assert "studies/mine: its journal holds trials on other data: prices.csv had sha256 " in changed.stderr
        assert len(changed.stderr.splitlines()) == 1
    assert "OTHER DATA" in trained("replay", "studies/mine", "1", "--seed", "1").stdout


def test_a_changed_program_is_refused_before_it_is_executed(write_study: Write, trained: Command) -> None:
    folder = write_study('dataset = "data.py"\n' + HEAD + FEW)
    (folder / "data.py").write_text(LOADER)
    planned = trained("run", "studies/mine", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "executed" not in planned.stdout
    assert "not told here, since that would run data.py" in planned.stdout
    tuned = trained("run", "studies/mine", "--dry-run", "--set", "tune.lr={low=0.01,high=0.1}")
    assert (tuned.returncode, tuned.stderr) == (0, ""), "what is searched is told before its metric is known"
    assert "tunes     lr from 0.01 to 0.1" in tuned.stdout
    ran = trained("run", "studies/mine", "--offline", "--device", "cpu")
    assert ran.returncode == 0, ran.stderr
    assert "runs studies/mine/data.py (sha256 " in ran.stdout
    assert ran.stdout.index("runs studies") < ran.stdout.index("executed")
    records = Records(folder / "journal.log")
    assert records.environment["data_code"] == "data.py"
    assert records.study.loader is not None
    assert records.study.loader.source == LOADER
    listed = trained("list").stdout
    assert "finished" in listed
    assert "executed" not in listed
    (folder / "data.py").write_text(LOADER.replace("x[:, 0]", "x[:, 1]"))
    for changed in (
        trained("run", "studies/mine", "--offline"),
        trained("run", "studies/mine", "--dry-run"),
        trained("replay", "studies/mine", "1", "--seed", "1"),
    ):
        assert changed.returncode == 2
        assert "sha256" in changed.stderr.splitlines()[0]
        assert "+    return x, x[:, 1]" in changed.stderr
        assert "executed" not in changed.stdout


def test_methods_say_what_is_compared_and_which_rows_are_given(numbered: Path) -> None:
    study, _, _ = loaded(read_study(numbered), numbered)
    said = " ".join(methods(study))
    assert "The test rows of 4 splits are given in rows.csv: each seed has the split of its number." in said
    assert "with loss = mse." in said
    said += " ".join(methods(study.model_copy(update={"axis": "scaling", "levels": ("none", "standard")})))
    said += " ".join(methods(study.model_copy(update={"axis": "loss", "levels": ("mse", "mae")})))
    assert "Numbers become what scaling says, which is compared, by the rows that a training sees alone;" in said
    assert "with the loss that is compared." in said


WINDOWS = """
dataset = "digits"
model = "cnn"
[compare]
width = [4, 8]
"""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["compare.kernel=[3, 99]"], "compare.kernel: 99 is larger than the 8x8 pixels that the images have"),
        (["epochs=5"], "pool: 2 is larger than the 1x1 pixels that 2 convolutions leave of 8x8"),
        (["pool=99"], "fixed.pool: 99 is larger than the 6x6 pixels that one convolution leaves of 8x8"),
        (
            ["channels=[4, 4]", "pool=4"],
            "kernel: 3 is larger than the 1x1 pixels that one convolution leaves of 8x8",
        ),
        (["tune.pool=[2, 3, 9]"], "tune.pool: 9 is larger than the 6x6 pixels that one convolution leaves of 8x8"),
        (["tune.kernel={low=2,high=12}"], "tune.kernel: 12 is larger than the 8x8 pixels that the images have"),
        (["tune.kernel=[3, 9]", 'tune.padding=["same", "valid"]'], ""),
        (["tune.kernel=[3, 5]", "tune.pool=[2, 5]"], ""),  # one pair of them does not fit: its trials will say so
        (["channels=[4]", 'tune.padding=["same", "valid"]', 'tune.kernel={values=[9],when={padding="same"}}'], ""),
    ],
)
def test_windows_larger_than_the_images_are_told(
    changes: list[str], said: str, write_study: Write, digits: Data
) -> None:
    text = WINDOWS.replace("width = [4, 8]", "kernel = [3, 99]") if "compare" in changes[0] else WINDOWS
    more = [] if "compare" in changes[0] else changes
    study = read_study(write_study(text), more if said.startswith("pool") else ["channels=[4]", *more])
    told = ""
    try:
        check_windows(study, {"digits": digits})
    except UserError as error:
        told = str(error)
    assert told == said


def test_of_variants_it_is_told_where_they_say_so(write_study: Write, digits: Data) -> None:
    for own, place in (("kernel = 9", "kernel"), ("tune.kernel = [9, 10]", "tune.kernel")):
        variants = f'variant.small.kernel = 3\nvariant."very large" = {{ {own} }}\n[fixed]\nchannels = [4]'
        study = read_study(write_study(WINDOWS.replace("width = [4, 8]", variants)))
        with pytest.raises(UserError, match=rf'^compare.variant."very large".{place}: 9 is larger than the 8x8'):
            check_windows(study, {"digits": digits})


def test_they_are_told_before_the_first_trial_and_not_afterwards(
    write_study: Write, command: Callable[..., Done]
) -> None:
    folder = write_study(
        WINDOWS + "[fixed]\nkernel = 9\nchannels = [4]\nepochs = 1\n[budget]\nseeds = 1\nfailures = 1.0\n"
    )
    for more in (["--dry-run"], ["--offline"]):
        done = command("run", "studies/mine", *more)
        assert done.returncode == 2
        assert done.stderr == "harness: fixed.kernel: 9 is larger than the 8x8 pixels that the images have\n"
    assert not (folder / "journal.log").exists()


def test_a_text_that_is_to_be_learned_as_a_number_names_what_asks_for_that(
    write_study: Write, command: Command
) -> None:
    Path("pets.csv").write_text("x,y\n" + "".join(f"{row},{'cat' if row % 2 else 'dog'}\n" for row in range(40)))
    write_study('dataset = "pets.csv"\ntarget = "y"\n[compare]\ndepth = [1, 2]\n[fixed]\nloss = "mse"\n')
    done = command("run", "studies/mine", "--offline")
    assert done.stderr == (
        "harness: pets.csv, row 2, column y: a regression learns numbers, got 'dog'; the study asks for one by "
        "fixed.loss = 'mse', so leave that out to learn classes\n"
    )
