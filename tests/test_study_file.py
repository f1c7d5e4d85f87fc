from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config import Config
from harness.errors import UserError
from harness.study.file import read_study
from harness.study.space import Choice, Range

from .conftest import ROOT, SMALL

Write = Callable[[str], Path]
HEAD = 'dataset = "digits"\n[compare]\ndepth = [1, 2]\n'


@pytest.mark.parametrize("folder", sorted((ROOT / "studies").glob("*/")), ids=lambda folder: folder.name)
def test_every_study_of_the_project_loads(folder: Path) -> None:
    study = read_study(folder)
    assert study.name == folder.name
    assert study.question
    assert study.config(study.levels[0], {}).dataset == study.dataset


def test_a_study_is_read_as_written(write_study: Write) -> None:
    study = read_study(write_study(SMALL))
    assert (study.axis, study.levels) == ("depth", (1, 2))
    assert study.tune["optimizer"] == Choice(values=("sgd", "adam"))
    assert study.tune["momentum"] == Range(low=0.0, high=0.9, when={"optimizer": "sgd"})
    assert study.fixed == {"width": 8, "epochs": 4, "patience": 2}
    assert (study.budget.trials, study.budget.seeds, study.search.sampler) == (6, 2, "tpe")
    expected = Config(dataset="digits", depth=2, width=8, epochs=4, patience=2, lr=0.5)
    assert study.config(2, {"lr": 0.5}) == expected


def test_explicit_widths_and_no_search(write_study: Write) -> None:
    study = read_study(write_study('dataset = "digits"\n[compare]\nwidths = [[500, 400], []]\n'))
    assert study.levels == ((500, 400), ())
    assert study.config((500, 400), {}).hidden == (500, 400)
    assert study.level_name((500, 400)) == "widths=500-400"
    assert study.tune == {}


def test_confirmation_seeds_are_fresh_and_the_same_for_every_level(write_study: Write) -> None:
    study = read_study(write_study(SMALL))
    seeds = [[trial.seed for trial in study.confirmations(level, study.config(level, {}))] for level in study.levels]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 2


def test_searches_and_studies_share_no_seed(write_study: Write) -> None:
    """Nor is a search's split ever a confirmation's: its seeds are even, theirs odd."""
    drawn = []
    for own in (0, 1, 2, 17):
        study = read_study(write_study(SMALL), [f"search.seed={own}", "budget.searches=5", "budget.seeds=12"])
        config = study.config(1, {})
        searches = [study.search_trial(1, search, 0, config).seed for search in range(5)]
        confirmed = [trial.seed for search in range(5) for trial in study.confirmations(1, config, search)]
        assert [study.shared_out(search) for search in range(5)] == [3, 3, 2, 2, 2]
        assert not any(seed % 2 for seed in searches)
        assert all(seed % 2 for seed in confirmed)
        drawn += [*searches, *confirmed]
    assert len(set(drawn)) == len(drawn) == 4 * 17
    more = study.model_copy(update={"budget": study.budget.model_copy(update={"seeds": 20})})
    assert [t.seed for t in more.confirmations(1, config, 4)][:2] == [t.seed for t in study.confirmations(1, config, 4)]


def test_how_often_is_searched(write_study: Write) -> None:
    text = SMALL.replace("searches = 1\n", "")
    assert read_study(write_study(text), ["budget.seeds=10"]).searches == 5
    assert read_study(write_study(text), ["budget.seeds=2"]).searches == 2  # a seed for each winner
    assert read_study(write_study('dataset="digits"\n[compare]\ndepth=[1]\n')).searches == 1
    with pytest.raises(UserError, match=r"budget.seeds: each of the 7 searches' winners needs a seed, got 2"):
        read_study(write_study(SMALL), ["budget.searches=7"])
    with pytest.raises(UserError, match=r"budget.searches: there is no \[tune\] to search over, got 3"):
        read_study(write_study('dataset="digits"\n[compare]\ndepth=[1]\n'), ["budget.searches=3"])


def test_what_matters_is_in_points(write_study: Write) -> None:
    study = read_study(write_study(SMALL + "[claim]\nmatters = 0.1\n"))
    assert study.matters == pytest.approx(0.001)
    assert read_study(write_study(SMALL), ["claim.matters=0.1", "metric=loss"]).matters == 0.1
    assert read_study(write_study(SMALL)).matters is None


def test_overrides(write_study: Write) -> None:
    overrides = ["budget.trials=3", "lr=0.1", "depth=[3]", "activation=tanh", "search.sampler=random"]
    study = read_study(write_study(SMALL), overrides)
    assert study.budget.trials == 3
    assert study.fixed["lr"] == 0.1
    assert "lr" not in study.tune
    assert study.levels == (3,)
    assert study.fixed["activation"] == "tanh"
    assert study.search.sampler == "random"


def test_another_data_set_has_another_label(write_study: Write) -> None:
    study = read_study(write_study(SMALL), dataset="mnist")
    assert (study.label, study.journal) == ("mine-mnist", "journal-mnist.log")
    assert read_study(write_study(SMALL), dataset="digits").journal == "journal.log"


def test_a_data_set_may_be_what_is_compared(write_study: Write) -> None:
    study = read_study(write_study('[compare]\ndataset = ["digits", "mnist"]\n[fixed]\nwidth = 8\n'))
    assert study.datasets == ("digits", "mnist")
    assert [study.config(level, {}).dataset for level in study.levels] == ["digits", "mnist"]
    assert (study.label, study.journal) == ("mine", "journal.log")
    with pytest.raises(UserError, match=r"dataset: stands in .compare. already"):
        read_study(write_study('[compare]\ndataset = ["digits", "mnist"]\n'), dataset="mnist")


BAD = {
    "not toml": ("dataset = ", "not valid TOML"),
    "no data set": ("[compare]\ndepth = [1]", "dataset: missing; one of mnist, fashion_mnist, digits"),
    "a data set in two places": (
        'dataset = "digits"\n[compare]\ndataset = ["digits", "mnist"]',
        "dataset: stands in [compare] already",
    ),
    "an unknown data set compared": ('[compare]\ndataset = ["digits", "cifar"]', "compare.dataset: must be one of"),
    "unknown data set": (
        'dataset = "mnits"\n[compare]\ndepth = [1]',
        "dataset: must be one of mnist, fashion_mnist, digits",
    ),
    "nearest data set": ('dataset = "mnits"\n[compare]\ndepth = [1]', "got 'mnits'; did you mean mnist?"),
    "unknown table": (HEAD + "[budgets]\ntrials = 1", "budgets: unknown key; did you mean budget?"),
    "unknown key": (HEAD + "[fixed]\nlearning_rate = 1", "fixed.learning_rate: unknown key"),
    "misspelt key": (HEAD + "[tune]\nbatchsize = [1]", "tune.batchsize: unknown key; did you mean batch_size?"),
    "unknown budget": (HEAD + "[budget]\ntrails = 3", "budget.trails: unknown key; did you mean trials?"),
    "unknown activation": (HEAD + '[tune]\nactivation = ["relu", "rleu"]', "tune.activation: must be one of relu"),
    "unknown optimizer": (HEAD + '[fixed]\noptimizer = "adm"', "got 'adm'; did you mean adam?"),
    "wrong type": (HEAD + '[fixed]\nwidth = "wide"', "fixed.width: should be a valid integer, got 'wide'"),
    "no boolean": (HEAD + "[fixed]\nwidth = true", "fixed.width: should be a valid integer, got True"),
    "empty choice": (HEAD + "[tune]\nwidth = []", "tune.width: must be a list of at least one value, got []"),
    "double choice": (HEAD + "[tune]\nwidth = [8, 8]", "tune.width: values must differ"),
    "no list": (
        HEAD + "[tune]\nwidth = 8",
        "tune.width: must be a list of choices or a table with low and high, got 8",
    ),
    "a step that leads nowhere": (
        HEAD + "[tune]\nlr = { low = 0.5, high = 0.5, step = 5e-324 }",
        "tune.lr: step is so small that 0.5 + step is 0.5, got 5e-324",
    ),
    "low above high": (HEAD + "[tune]\nlr = { low = 1.0, high = 0.1 }", "tune.lr: low must be <= high"),
    "log of zero": (
        HEAD + "[tune]\nlr = { low = 0.0, high = 0.1, log = true }",
        "tune.lr: low must be > 0 with log = true, got 0.0",
    ),
    "lr of zero": (HEAD + "[tune]\nlr = { low = 0.0, high = 0.1 }", "tune.lr.low: should be greater than 0, got 0.0"),
    "half a range": (HEAD + "[tune]\nlr = { low = 0.1 }", "tune.lr.high: field required"),
    "range of names": (HEAD + "[tune]\nactivation = { low = 1, high = 2 }", "tune.activation: activation has no range"),
    "unknown bound": (HEAD + "[tune]\nlr = { lo = 0.1, high = 1.0 }", "tune.lr.lo: unknown key; did you mean low?"),
    "three axes": (
        'dataset = "digits"\n[compare]\ndepth = [1]\nwidth = [8]\nlr = [0.1]',
        "compare: can hold two keys, got depth, width, lr; compare depth and width, and fix or tune lr",
    ),
    "too large a grid": (
        f'dataset = "digits"\n[compare]\ndepth = {list(range(1, 401))}\nwidth = {list(range(1, 401))}',
        "compare: at most 1,000 cells of two keys can be compared, got 160,000",
    ),
    "a key of two compared and tuned": (
        'dataset = "digits"\n[compare]\ndepth = [1]\nwidth = [8]\n[tune]\nwidth = [8, 16]',
        "tune.width: width stands in [compare] already",
    ),
    "two keys that exclude each other": (
        'dataset = "digits"\n[compare]\ndepth = [1]\nwidths = [[8]]',
        "widths: names every hidden layer, so depth cannot be given as well",
    ),
    "no axis": (
        'dataset = "digits"',
        "compare: must hold one key, the axis of the table, or two, a grid; it is empty or missing",
    ),
    "tuned and fixed": (HEAD + "[tune]\nlr = [0.1]\n[fixed]\nlr = 0.1", "fixed.lr: lr stands in [tune] already"),
    "compared and tuned": (HEAD + "[tune]\ndepth = [3]", "tune.depth: depth stands in [compare] already"),
    "negative budget": (HEAD + "[budget]\ntrials = -1", "budget.trials: should be greater than or equal to 1, got -1"),
    "no seeds": (HEAD + "[budget]\nseeds = 0", "budget.seeds: should be greater than or equal to 1, got 0"),
    "unknown sampler": (HEAD + '[search]\nsampler = "tpee"', "search.sampler: must be one of tpe"),
    "widths and depth": (
        HEAD + "[fixed]\nwidths = [8]",
        "widths: names every hidden layer, so depth cannot be given as well",
    ),
    "when of nothing": (
        HEAD + '[tune]\nlr = { low = 1, high = 2, when = { optimzer = "sgd" } }',
        "tune.lr.when.optimzer",
    ),
    "published by nobody": (
        HEAD + "[published]\ntest_accuracy = [0.9, 0.9]",
        'published.source: who reported these figures, and where? Say it, as source = "somebody, 2019"',
    ),
    "published length": (
        HEAD + '[published]\nsource = "x"\ntest_accuracy = [0.9]',
        "one figure for each of the 2 compared",
    ),
    "published percent": (
        HEAD + '[published]\nsource = "x"\ntest_accuracy = [98.0, 97.0]',
        "published.test_accuracy: should be less",
    ),
    "published length of another figure": (
        HEAD + '[published]\nsource = "x"\ntest_loss = [0.9]',
        "published.test_loss: must hold one figure for each of the 2 compared values, got 1",
    ),
    "published deviations' length": (
        HEAD + '[published]\nsource = "x"\nruns = 2\ntest_loss = [0.9, 0.8]\ndeviation.test_loss = [0.1]',
        "published.deviation.test_loss: must hold one figure for each of the 2 compared values, got 1",
    ),
    "published deviation of nothing": (
        HEAD + '[published]\nsource = "x"\nruns = 2\ndeviation.test_loss = [0.1, 0.1]',
        "published.deviation.test_loss: is that of a published test_loss, and there is none",
    ),
    "published deviation of one run": (
        HEAD + '[published]\nsource = "x"\ntest_loss = [0.9, 0.8]\ndeviation.test_loss = [0.1, 0.1]',
        "published.deviation: one run has none; published.runs says how many there were, got 1",
    ),
    "published deviation below 0": (
        HEAD + '[published]\nsource = "x"\nruns = 2\ntest_loss = [0.9, 0.8]\ndeviation.test_loss = [0.1, -0.1]',
        "published.deviation.test_loss: should be greater than or equal to 0, got -0.1",
    ),
    "published after no epoch": (
        HEAD + '[published]\nsource = "x"\n[published.after.one]\ntest_loss = [0.9, 0.8]',
        "published.after: its tables are called by epochs, as [published.after.5], got 'one'",
    ),
    "published after an epoch, no table": (
        HEAD + '[published]\nsource = "x"\nafter.5 = 0.9',
        "published.after.5: must be a table, [published.after.5], got 0.9",
    ),
    "published after an epoch, misspelt": (
        HEAD + '[published]\nsource = "x"\n[published.after.5]\ntest_los = [0.9, 0.8]',
        "published.after.5.test_los: unknown key; did you mean test_loss?",
    ),
    "published after an epoch, but not measured": (
        HEAD + '[published]\nsource = "x"\n[published.after.5]\ntest_loss = [0.9, 0.8]',
        "published.after.5.test_loss: test figures are measured after each epoch only with [budget] test_each_epoch",
    ),
    "published after an epoch, of what is measured at the end": (
        HEAD + '[published]\nsource = "x"\n[published.after.5]\nseconds = [9, 8]',
        "published.after.5.seconds: what is measured after each epoch is val_loss, val_accuracy, test_loss, test_acc",
    ),
    "unknown published figure": (
        HEAD + '[published]\nsource = "x"\ntest_accurancy = [0.9, 0.9]',
        "published.test_accurancy: unknown key; did you mean test_accuracy?",
    ),
    "search without validation": (
        HEAD + "[tune]\nlr = [0.1, 0.2]\n[fixed]\nvalidation = 0",
        "validation: a search needs images to choose by",
    ),
    "tuned validation": (HEAD + "[tune]\nvalidation = [0.1, 0.2]", "tune.validation: the images to choose by"),
    "channels of an mlp": (HEAD + "[fixed]\nchannels = [8]", "channels: only model = 'cnn' has it"),
    "unknown split": (HEAD + '[fixed]\nsplit = "pool"', "fixed.split: must be one of fixed, pooled, got 'pool'"),
    "grid without step": (
        HEAD + '[tune]\nlr = { low = 0.1, high = 1.0 }\n[search]\nsampler = "grid"',
        "tune.lr: needs a step",
    ),
    "grid too small": (
        HEAD + '[tune]\nlr = [0.1, 0.2]\n[search]\nsampler = "grid"',
        "budget.trials: the grid has 2 points",
    ),
    "table as value": (HEAD.replace("[compare]", "budget = 3\n[compare]"), "budget: must be a table"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_told_in_one_line(case: str, write_study: Write) -> None:
    text, message = BAD[case]
    with pytest.raises(UserError) as caught:
        read_study(write_study(text))
    told = str(caught.value)
    assert message in told
    assert "study.toml: " in told
    assert "\n" not in told


def test_an_unknown_study_names_the_nearest(write_study: Write) -> None:
    folder = write_study(SMALL)
    with pytest.raises(UserError, match=r"no such study .* did you mean .*mine\?"):
        read_study(folder.with_name("mime"))


@pytest.mark.parametrize("override", ["lr", "=3", "learning=3", "question.x=3"])
def test_a_bad_override_is_told(override: str, write_study: Write) -> None:
    with pytest.raises(UserError, match="--set " + override):
        read_study(write_study('question = "q"\n' + SMALL), [override])


def test_a_mark_at_the_beginning_is_none_of_the_text(write_study: Write) -> None:
    folder = write_study(SMALL)
    plain = read_study(folder)
    (folder / "study.toml").write_bytes(b"\xef\xbb\xbf" + SMALL.encode())
    assert read_study(folder) == plain


def test_a_folder_in_the_place_of_a_study_file_is_told(write_study: Write) -> None:
    folder = write_study(SMALL)
    (folder / "study.toml").unlink()
    (folder / "study.toml").mkdir()
    with pytest.raises(UserError, match=r"study\.toml: is a directory"):
        read_study(folder)
