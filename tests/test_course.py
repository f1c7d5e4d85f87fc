"""Test figures after every epoch: `[budget] test_each_epoch`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness import report
from harness.analysis import find, read_results
from harness.analysis.course import shown_epochs
from harness.analysis.samples import t_interval
from harness.journal import Records
from harness.parts.data import Data
from harness.study.file import read_study
from harness.study.study import Study
from harness.training.loop import train
from harness.trial import Epoch, Outcome, Trial

from .conftest import Done, make_trial
from .test_search import drive, figures, made_up

Write = Callable[..., Path]


def outcomes(trials: list[Trial], data: Data) -> list[Outcome]:
    known = {trial.number: event for trial, event in train(trials, data) if isinstance(event, Outcome)}
    return [known[trial.number] for trial in trials]


def test_they_change_nothing_and_are_those_of_the_weights_at_its_end(data: Data) -> None:
    ways = [{"dropout": 0.2, "metric": "macro_f1", "norm": "batch", "epochs": epochs} for epochs in (3, 5)]
    plain = [make_trial(number, seed=7 + number, stage="confirm", **way) for number, way in enumerate(ways)]
    asked = [replace(trial, tested_each_epoch=True) for trial in plain]
    assert asked == plain  # the same trial
    for without, seen in zip(outcomes(plain, data), outcomes(asked, data), strict=True):
        assert seen.figures == without.figures
        assert seen.hits == without.hits
        names = {"test_loss", "test_accuracy", "test_macro_f1"}
        for one, other in zip(without.history, seen.history, strict=True):
            assert set(other.figures) - set(one.figures) == names
            assert {name: other[name] for name in one.figures} == dict(one.figures)
        kept = seen.history[seen.best_epoch - 1]
        assert {name: kept[name] for name in names} == pytest.approx({name: seen[name] for name in names}, abs=1e-6)
        assert Outcome.from_record(seen.record()).history == seen.history


TEXT = """
dataset = "digits"
[compare]
depth = [1, 2]
[fixed]
epochs = 12
[budget]
seeds = 4
test_each_epoch = true
"""


def falling(trial: Trial) -> Outcome:
    """Test accuracy is epoch / 20 and a little for the seed; the last two seeds of depth 2 stop after 6 epochs."""
    last = 6 if trial.level == 2 and trial.number > 1 else 12
    tested = [{"test_accuracy": e / 20 + trial.number / 1000, "test_loss": 1 / e} for e in range(1, last + 1)]
    history = tuple(
        Epoch(e, {**figures(1 / e, 0.5, 1 / e, 0.5), **(tested[e - 1] if trial.tested_each_epoch else {})}, 1000.0 + e)
        for e in range(1, last + 1)
    )
    return replace(made_up(trial), history=history)


def test_the_page_has_them_epoch_by_epoch(write_study: Write, tmp_path: Path) -> None:
    drive(read_study(write_study(TEXT)), tmp_path / "journal.log", outcome_of=falling)
    seen = find(read_results(tmp_path / "journal.log"))
    table = seen.course[(seen.course["images"] == "test") & (seen.course["measure"] == "accuracy")]
    one = table.set_index(["depth", "epoch"])
    assert one.loc[(1, 5), "mean"] == pytest.approx(0.25 + 0.0015)
    assert tuple(one.loc[(1, 5), ["low", "high"]]) == pytest.approx(t_interval(0.25 + np.arange(4) / 1000))
    assert one.loc[[(2, 6), (2, 7)], "runs"].tolist() == [4, 2]
    assert one.loc[(2, 7), "mean"] == pytest.approx(0.35 + 0.0005)
    assert np.isnan(one.loc[(2, 7), "low"])  # two are too few

    folder = report.write(seen, tmp_path / "report")
    text = (folder / "report.md").read_text()
    part = text[text.index("## Epoch by epoch") : text.index("## ", text.index("## Epoch by epoch") + 3)]
    assert "Runs that stopped early are missing from later epochs" in part
    assert "Nothing was selected by these figures" in part
    assert "nothing is selected by these figures, neither when to stop" in text  # the methods
    lines = [line.split("|")[1:4] for line in part.splitlines() if line.startswith(("| 1 ", "| 2 "))]
    shown = [[cell.strip() for cell in line] for line in lines]
    assert shown == [
        [d, e, "2" if (d, int(e) > 6) == ("2", True) else "4"] for d in "12" for e in ["1", "2", "5", "10", "12"]
    ]
    assert "| 1 | 5 | 4 | 50.00 | 0.2000 | 25.15 (24.94 to 25.36) | 0.2000 |" in part
    assert "nan" not in text.lower()
    assert (folder / "plots" / "course.png").read_bytes().startswith(b"\x89PNG")
    assert set(pd.read_csv(folder / "tables" / "course.csv")["epoch"]) == set(range(1, 13))


def test_runs_from_before_it_was_asked_for_are_told(write_study: Write, tmp_path: Path) -> None:
    before = read_study(write_study(TEXT), ["budget.test_each_epoch=false", "budget.seeds=3"])
    drive(before, tmp_path / "journal.log", outcome_of=falling)
    seen = find(read_results(tmp_path / "journal.log"))
    assert seen.course.empty
    text = (report.write(seen, tmp_path / "plain") / "report.md").read_text()
    assert "Epoch by epoch" not in text
    assert "after every epoch" not in text
    assert len(drive(read_study(write_study(TEXT)), tmp_path / "journal.log", outcome_of=falling)) == 2  # the new seeds
    text = (report.write(find(read_results(tmp_path / "journal.log")), tmp_path / "report") / "report.md").read_text()
    assert "in some runs only: 1 of 4 of depth=1, 1 of 4 of depth=2." in text


def test_which_epochs_a_small_table_has() -> None:
    assert shown_epochs(1) == [1]
    assert shown_epochs(20) == [1, 2, 5, 10, 20]
    assert shown_epochs(130) == [1, 2, 5, 10, 20, 50, 100, 130]


TINY = """
dataset = "digits"
[compare]
depth = [2]
[tune]
lr = { low = 1e-2, high = 1e-1, log = true }
[fixed]
width = 8
epochs = 2
[budget]
trials = 2
searches = 1
seeds = 2
ablation = true
test_each_epoch = true
"""


def test_only_confirmations_measure_them(write_study: Write, command: Callable[..., Done]) -> None:
    folder = write_study(TINY)
    assert command("run", "studies/mine", "--offline", "--quiet").returncode == 0
    stages = set()
    for record in Records(folder / "journal.log").all:
        assert record.outcome is not None
        stages.add(record.trial.stage)
        for epoch in record.outcome.history:
            assert ("test_accuracy" in epoch.figures) == (record.trial.stage == "confirm")
    assert stages == {"search", "confirm", "ablation"}
    (folder / "study.toml").write_text(TINY.replace("test_each_epoch = true", "test_each_epoch = false"))
    assert command("run", "studies/mine", "--offline", "--quiet").returncode == 0  # nothing is left to train
    assert not Records(folder / "journal.log").study.budget.test_each_epoch
    seed = next(one.trial.seed for one in Records(folder / "journal.log").all if one.trial.stage == "confirm")
    again = command("replay", "studies/mine", "depth=2", "--seed", str(seed))  # as it was when that was trained
    assert again.returncode == 0, again.stderr
    assert "test_accuracy, each epoch" in again.stdout


PUBLISHED = """
[published]
source = "somebody, 2019"
runs = 10
[published.after.5]
test_accuracy = [0.25, 0.5]
deviation.test_accuracy = [0.002, nan]
[published.after.12]
test_loss = [nan, 0.1]
[published.after.100]
test_loss = [0.01, 0.01]
"""


def test_published_figures_after_an_epoch_stand_beside_those_measured_then(write_study: Write, tmp_path: Path) -> None:
    study = read_study(write_study(TEXT + PUBLISHED))
    assert Study.model_validate_json(text := study.model_dump_json()).model_dump_json() == text
    drive(study, tmp_path / "journal.log", outcome_of=falling)
    seen = find(read_results(tmp_path / "journal.log"))
    table = seen.published.set_index(["level", "figure", "after"])
    assert list(table.index) == [(0, "test_accuracy", 5), (1, "test_accuracy", 5), (1, "test_loss", 12)]
    five = table.loc[(0, "test_accuracy", 5)]
    sample = 0.25 + np.arange(4) / 1000
    assert five["mean"] == pytest.approx(sample.mean())
    assert five["spread"] == pytest.approx(sample.std(ddof=1))
    pooled = (3 * sample.var(ddof=1) + 9 * 0.002**2) / 12  # of 4 runs here and 10 there
    half = stats.t.ppf(1 - 0.05 / 3 / 2, 12) * np.sqrt(pooled * (1 / 4 + 1 / 10))  # three figures
    assert five["predicted_high"] - five["mean"] == pytest.approx(half)
    alone = table.loc[(1, "test_accuracy", 5)]  # no deviation is known
    half = stats.t.ppf(1 - 0.05 / 3 / 2, 3) * np.sqrt(sample.var(ddof=1) * (1 / 4 + 1 / 10))
    assert alone["predicted_high"] - alone["mean"] == pytest.approx(half)
    assert table["n"].tolist() == [4, 4, 2]  # two stopped before epoch 12

    text = (report.write(seen, tmp_path / "report") / "report.md").read_text()
    assert "| 1 | test accuracy % | 5 | 25.00 ± 0.20 | 25.15 ± 0.13 | 24.85 to 25.45 | 4 | +0.15 | as expected" in text
    assert "| 2 | test accuracy % | 5 | 50.00 | 25.15 |" in text
    assert "published after 100 epochs is left out" in text
    assert "± is the standard deviation of single runs" in text


def test_one_run_is_judged_by_the_published_spread(write_study: Write, tmp_path: Path) -> None:
    one = read_study(write_study(TEXT + PUBLISHED), ["budget.seeds=1", "epochs=5"])
    drive(one, tmp_path / "journal.log", outcome_of=falling)
    seen = find(read_results(tmp_path / "journal.log"))
    first, second = (cells for _, cells in seen.published[seen.published["after"] == 5].iterrows())
    half = stats.t.ppf(1 - 0.05 / 3 / 2, 9) * 0.002 * np.sqrt(1 + 1 / 10)
    assert first["predicted_high"] - 0.25 == pytest.approx(half)
    assert np.isnan(second["predicted_high"])  # nothing is known of its spread
