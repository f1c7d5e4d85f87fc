"""Known points that every search begins with, and what an earlier study found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.analysis import find
from harness.analysis.results import read_results
from harness.errors import UserError
from harness.journal import Ledger, Records, begun
from harness.report.methods import methods
from harness.study.file import read_study
from harness.study.study import Study

from .conftest import SMALL, Done
from .test_search import ENVIRONMENT, drive, table

FIRST = 'search.first=[{optimizer="adam"},{lr=0.002,optimizer="sgd",momentum=0.5}]'
MORE = ["budget.searches=2", "budget.trials=8"]


def asked(journal: Path, number: int, key: str) -> list[Any]:
    """What the trial of that number was trained with in every search of every level."""
    rows = [row for row in table(journal) if row["stage"] == "search" and row["number"] == number]
    assert len(rows) == 4
    return [row[key] for row in rows]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_every_search_begins_alike(sampler: str, write_study: Callable[[str], Path], tmp_path: Path) -> None:
    study = read_study(write_study(SMALL), [*MORE, f"search.sampler={sampler}", FIRST])
    drive(study, tmp_path / "a.log")
    drive(study, tmp_path / "b.log", shuffle=1)
    assert table(tmp_path / "a.log") == table(tmp_path / "b.log")
    assert asked(tmp_path / "a.log", 0, "lr") == [0.001] * 4  # the defaults
    assert asked(tmp_path / "a.log", 1, "optimizer") == ["adam"] * 4
    assert len(set(asked(tmp_path / "a.log", 1, "lr"))) == 2  # left open: each search draws its own, all levels alike
    assert asked(tmp_path / "a.log", 2, "momentum") == [0.5] * 4
    assert asked(tmp_path / "a.log", 2, "optimizer") == ["sgd"] * 4
    later = [lr for number in (3, 4) for lr in asked(tmp_path / "a.log", number, "lr")]
    assert len(set(later)) > 2


def test_the_page_says_so(write_study: Callable[[str], Path], tmp_path: Path) -> None:
    study = read_study(write_study(SMALL), [*MORE, FIRST])
    drive(study, tmp_path / "j.log")
    said = " ".join(methods(find(read_results(tmp_path / "j.log")).study))
    assert (
        "begins with 2 known points, in this order: optimizer = adam; lr = 0.002, optimizer = sgd, momentum = 0.5."
        in said
    )
    assert "known point" not in " ".join(methods(read_study(write_study(SMALL))))


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("[{ lrr = 0.01 }]", r"search\.first\.lrr: unknown key; did you mean lr\?"),
        ("[{ width = 16 }]", r"search\.first\.width: unknown key; known are lr, momentum, optimizer"),
        ("[{ lr = 0.5 }]", r"search\.first\.lr: must be from 0\.001 to 0\.1 \(log scale\), got 0\.5"),
        ('[{ lr = "high" }]', r"search\.first\.lr: should be a valid number"),
        ('[{ optimizer = "adamw" }]', r"search\.first\.optimizer: must be one of sgd, adam, got adamw"),
        ('[{ optimizer = "adm" }]', r"search\.first\.optimizer: must be one of .*did you mean adam"),
        ('[{ momentum = 0.5, optimizer = "adam" }]', r"momentum: means something only where optimizer is sgd"),
        ("[{ momentum = 0.5 }]", r"momentum: means something only where optimizer is sgd, which must stand beside it"),
        ("{ lr = 0.01 }", r"search\.first: must be a list of tables"),
        ("[0.01]", r"search\.first: must be a list of tables"),
        ("[{lr=0.01},{lr=0.02},{lr=0.03},{lr=0.04},{lr=0.05},{lr=0.06},{lr=0.07}]", r"there are 6 trials, got 7"),
        (
            "[{lr=0.01},{lr=0.02},{lr=0.03},{lr=0.04},{lr=0.05},{lr=0.06}]",
            r"there are 6 trials, got 6 points beside the defaults",
        ),
    ],
)
def test_a_wrong_point_is_told_in_one_line(first: str, told: str, write_study: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match=told):
        read_study(write_study(f"{SMALL}first = {first}\n"))


def test_a_grid_needs_no_first_points(write_study: Callable[[str], Path]) -> None:
    text = 'dataset="digits"\n[compare]\ndepth=[2]\n[tune]\nwidth=[8,16]\n[budget]\ntrials=2\nsearches=1\n'
    with pytest.raises(UserError, match=r"search\.first: a grid visits every point"):
        read_study(write_study(f'{text}[search]\nsampler="grid"\nfirst=[{{width=8}}]\n'))


def test_points_cannot_change_once_there_are_trials(write_study: Callable[[str], Path], tmp_path: Path) -> None:
    drive(read_study(write_study(SMALL), ["search.first=[{lr=0.05}]"]), tmp_path / "j.log")
    with pytest.raises(UserError, match=r"search\.first was \[\{'lr': 0\.05\}\], is \[\{'lr': 0\.06\}\]"):
        Ledger(read_study(write_study(SMALL), ["search.first=[{lr=0.06}]"]), tmp_path / "j.log", ENVIRONMENT)


@pytest.fixture
def other(write_study: Callable[..., Path]) -> Study:
    """A study that has run: its best learning rates are near 0.02."""
    text = SMALL.replace("[tune]\n", "[tune]\nwidth = [8, 16]\n").replace("width = 8\n", "")
    folder = write_study(text, "other")
    study = read_study(folder)
    drive(study, folder / "journal.log")
    return study


def after(write_study: Callable[..., Path], *overrides: str) -> tuple[Study, Path]:
    folder = write_study(f'{SMALL}from = "studies/other"\n', "mine")
    return read_study(folder, overrides), folder / "journal.log"


def test_winners_of_an_earlier_study_come_first(other: Study, write_study: Callable[..., Path]) -> None:
    records = Records(Path("studies/other/journal.log"))
    winners = [trials.search[trials.winner() or 0].params for trials in records.searches.values()]
    study, journal = after(write_study, *MORE)
    study = begun(study, journal)
    assert 1 <= len(study.found) <= 2
    wanted = [{key: value for key, value in one.items() if key != "width"} for one in winners]
    assert all(point in wanted for point in study.found)
    drive(study, journal)
    assert asked(journal, 1, "lr") == pytest.approx([study.found[0]["lr"]] * 4)
    said = " ".join(methods(Records(journal).study))
    assert "(all chosen by studies/other before this study began)" in said


def test_what_becomes_of_the_earlier_study_changes_nothing(other: Study, write_study: Callable[..., Path]) -> None:
    study, journal = after(write_study)
    begun_then = begun(study, journal)
    Ledger(begun_then, journal, ENVIRONMENT).generation()
    more = read_study("studies/other", ["budget.trials=12"])
    drive(more, Path("studies/other/journal.log"))
    assert begun(study, journal).found == begun_then.found
    Path("studies/other/journal.log").unlink()
    assert begun(study, journal).found == begun_then.found
    with pytest.raises(UserError, match=r"search\.from: studies/other: never ran"):
        begun(study, Path("studies/mine/another.log"))


def test_only_what_lies_in_range_is_taken(other: Study, write_study: Callable[..., Path]) -> None:
    study, journal = after(write_study, "tune.lr.low=0.09")
    assert all("lr" not in point for point in begun(study, journal).found)
    none, journal = after(write_study, "tune.lr.low=0.09", "optimizer=adam", "tune.momentum.when={}")
    none = none.model_copy(update={"tune": {"lr": none.tune["lr"]}})
    with pytest.raises(UserError, match=r"search\.from: no winner of studies/other fits"):
        begun(none, journal)


@pytest.mark.parametrize(
    ("earlier", "told"),
    [
        ('"studies/othr"', r"search\.from: .*no such study.*did you mean studies/other"),
        ('"studies/mine"', r"search\.from: is this study itself"),
        ('"../other"', r"search\.from: .*leads out of the current folder"),
    ],
)
def test_a_wrong_study_is_told_in_one_line(
    earlier: str, told: str, other: Study, write_study: Callable[..., Path]
) -> None:
    folder = write_study(f"{SMALL}from = {earlier}\n", "mine")
    with pytest.raises(UserError, match=told):
        begun(read_study(folder), folder / "journal.log")


def test_from_must_be_a_folder(write_study: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match=r"search\.from: must be the folder of a study"):
        read_study(write_study(f"{SMALL}from = 3\n"))
    with pytest.raises(UserError, match=r"search\.earlier: unknown key"):
        read_study(write_study(f'{SMALL}earlier = "studies/other"\n'))


def test_a_dry_run_names_the_points(other: Study, write_study: Callable[..., Path], command: Any) -> None:
    after(write_study)
    done: Done = command("run", "studies/mine", "--dry-run")
    assert "begins    with lr = " in done.stdout, done.stderr
    assert not (Path("studies/mine") / "journal.log").exists()
