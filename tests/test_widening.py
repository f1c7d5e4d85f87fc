"""An edit that only widens the space goes on with the trials there are."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.search_space import intersection_search_space

from harness.analysis import find
from harness.analysis.results import read_results
from harness.catalogue import Value
from harness.errors import UserError
from harness.journal import Ledger, Records, begun
from harness.journal.sampling import as_samplers_know_it
from harness.report.methods import methods
from harness.study.file import read_study
from harness.study.space import Choice, Range
from harness.study.study import Study
from harness.study.widening import is_wider

from .conftest import SMALL, Done
from .test_search import ENVIRONMENT, KilledError, drive, table

WIDE = ["tune.lr.high=0.5", 'tune.optimizer=["adamw", "adam", "sgd"]', "budget.trials=24"]


def go_on(study: Study, journal: Path, **how: Any) -> Study:
    now: Study = begun(study, journal)
    drive(now, journal, **how)
    return now


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "qmc"])
def test_it_goes_on_in_the_wider_space(sampler: str, write_study: Callable[[str], Path], tmp_path: Path) -> None:
    journal = tmp_path / "j.log"
    of = [f"search.sampler={sampler}"]
    go_on(read_study(write_study(SMALL), of), journal)
    before = [row for row in table(journal) if row["stage"] == "search"]
    wide = read_study(write_study(SMALL), [*of, *WIDE] if sampler != "gp" else [*of, *WIDE[:2], "budget.trials=18"])
    go_on(wide, journal)
    after = [row for row in table(journal) if row["stage"] == "search"]
    kept = [row | {"winner": False} for row in after if row["number"] < 6]
    assert kept == [row | {"winner": False} for row in before]
    new = [row for row in after if row["number"] >= 6]
    assert any(row["lr"] > 0.1 for row in new)
    assert any(row["optimizer"] == "adamw" for row in new)
    assert all(row["lr"] <= 0.1 for row in before)


def test_a_kill_after_it_changes_nothing(write_study: Callable[[str], Path], tmp_path: Path) -> None:
    first, wide = read_study(write_study(SMALL)), read_study(write_study(SMALL), WIDE)
    for name in ("whole", "killed"):
        go_on(first, tmp_path / f"{name}.log")
    go_on(wide, tmp_path / "whole.log")
    chance = random.Random(5)
    for _ in range(100):
        try:
            go_on(
                wide, tmp_path / "killed.log", kill_at=iter(-1 if chance.random() < 0.03 else 0 for _ in range(10**6))
            )
            break
        except KilledError:
            pass
    assert table(tmp_path / "killed.log") == table(tmp_path / "whole.log")
    studies = [Records(tmp_path / f"{name}.log").study for name in ("whole", "killed")]
    assert studies[0] == studies[1]


def test_trials_of_both_spaces_are_one_study_to_optuna(write_study: Callable[[str], Path], tmp_path: Path) -> None:
    """What a Gaussian process models are the hyperparameters whose distributions are the same in all trials."""
    journal = tmp_path / "j.log"
    go_on(read_study(write_study(SMALL), ["search.pruner=none"]), journal)
    go_on(read_study(write_study(SMALL), [*WIDE, "search.pruner=none"]), journal)
    records = Records(journal)
    for (level, _), trials in records.searches.items():
        assert intersection_search_space(list(trials.search)) == {}
        known = [as_samplers_know_it(frozen, records.study, level) for frozen in trials.search]
        assert set(intersection_search_space(known)) == {"lr", "optimizer"}


def test_it_is_said_in_the_methods(write_study: Callable[[str], Path], tmp_path: Path) -> None:
    journal = tmp_path / "j.log"
    go_on(read_study(write_study(SMALL)), journal)
    go_on(read_study(write_study(SMALL), WIDE), journal)
    go_on(read_study(write_study(SMALL), [*WIDE, "tune.lr.low=1e-4"]), journal)
    said = " ".join(methods(find(read_results(journal)).study))
    assert (
        "The space was widened while the study ran, for all values alike: lr was from 0.001 to 0.1 (log scale)" in said
    )
    assert "for the first 6 trials of a search; optimizer was one of sgd, adam for the first 6 trials" in said
    assert "lr was from 0.001 to 0.5 (log scale) for the first 24 trials" in said


def test_before_there_are_trials_there_is_nothing_to_say(write_study: Callable[[str], Path], tmp_path: Path) -> None:
    Ledger(read_study(write_study(SMALL)), tmp_path / "j.log", ENVIRONMENT)
    assert begun(read_study(write_study(SMALL), WIDE), tmp_path / "j.log").widened == ()


def choice(*values: Value) -> Choice:
    return Choice(values=values)


@pytest.mark.parametrize(
    ("new", "old", "wider"),
    [
        (choice(1, 2, 3), choice(1, 2), True),
        (choice(3, 2, 1), choice(1, 2), True),
        (choice(2, 1), choice(1, 2), False),
        (choice(1, 3), choice(1, 2), False),
        (choice(1), choice(1, 2), False),
        (Range(low=0.0, high=2.0), Range(low=0.0, high=1.0), True),
        (Range(low=0.5, high=2.0), Range(low=0.0, high=1.0), False),
        (Range(low=0.1, high=2.0, log=True), Range(low=0.1, high=1.0), False),
        (Range(low=0, high=8, step=4), Range(low=0, high=4, step=4), True),
        (Range(low=0, high=8, step=2), Range(low=0, high=8, step=4), False),
        (Range(low=1, high=9, step=2), Range(low=2, high=8, step=2), False),  # none of the old points is on it
        (Range(low=0.0, high=2.0, when={"a": 1}), Range(low=0.0, high=1.0), False),
        (Range(low=1, high=4), choice(1, 2), False),
    ],
)
def test_what_is_wider(new: Choice | Range, old: Choice | Range, wider: bool) -> None:
    assert is_wider(new, old) is wider


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ("tune.lr.high=0.05", r"tune\.lr\.high was 0\.1, is 0\.05"),
        ("tune.lr.log=false", r"tune\.lr\.log was True, is False"),
        ("tune.width=[8,16]", r"fixed.*|width"),
        ('tune.optimizer=["sgd"]', r"tune\.optimizer\.values was"),
        ("tune.weight_decay={low=0.0,high=0.1}", r"tune\.weight_decay was not there"),
    ],
)
def test_other_edits_are_refused(edit: str, told: str, write_study: Callable[[str], Path], tmp_path: Path) -> None:
    journal = tmp_path / "j.log"
    go_on(read_study(write_study(SMALL)), journal)
    with pytest.raises(UserError, match=told):
        Ledger(begun(read_study(write_study(SMALL), [edit]), journal), journal, ENVIRONMENT)


def test_a_grid_is_not_widened(write_study: Callable[[str], Path], tmp_path: Path) -> None:
    text = 'dataset="digits"\n[compare]\ndepth=[2]\n[tune]\nwidth=[8,16]\n[budget]\ntrials=2\nsearches=1\nseeds=1\n'
    text += '[search]\nsampler="grid"\n'
    go_on(read_study(write_study(text)), tmp_path / "j.log")
    with pytest.raises(UserError, match=r"tune\.width\.values was \[8, 16\], is \[8, 16, 32\]"):
        Ledger(read_study(write_study(text), ["tune.width=[8,16,32]"]), tmp_path / "j.log", ENVIRONMENT)


def test_the_command_goes_on(write_study: Callable[..., Path], command: Any) -> None:
    write_study(SMALL.replace("trials = 6", "trials = 2"), "wide")
    assert command("run", "studies/wide", "--offline").returncode == 0
    edit = ["--set", "tune.lr.high=0.5", "--trials", "3"]
    dry: Done = command("run", "studies/wide", "--dry-run", *edit)
    assert "widened   lr was from 0.001 to 0.1 (log scale) for the first 2 trials of a search" in dry.stdout, dry.stderr
    done: Done = command("run", "studies/wide", "--offline", *edit)
    assert done.returncode == 0, done.stderr
    page = Path("reports/wide/report.md").read_text()
    assert "The space was widened while the study ran" in page
