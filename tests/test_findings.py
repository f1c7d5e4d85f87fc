"""Findings of studies that select by other measures than accuracy, and the tables with a row for each run."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from harness import report
from harness.analysis import Findings, Results, arrival, find, read_results, runs, search, tables
from harness.catalogue import measure
from harness.console import Progress
from harness.study.file import read_study
from harness.trial import Outcome, Trial

from .conftest import SMALL
from .test_search import drive, made_up

Write = Callable[..., Path]
LOWER = ("loss", "ece")
ENDS = ("", "_low", "_high")
OTHERS = ("macro_f1", "loss", "ece")


def studied(write_study: Write, metric: str, outcome_of: Callable[[Trial], Outcome] = made_up) -> Findings:
    """A study that selects by that measure, with made-up outcomes."""
    folder = write_study(SMALL, metric)
    drive(read_study(folder, [f"metric={metric}"]), folder / "journal.log", outcome_of=outcome_of)
    return find(read_results(folder / "journal.log"))


def with_tests(findings: Findings, *levels: list[float]) -> Findings:
    """The same study with these test figures, a list for each level."""
    runs = findings.results.runs
    confirm, name = runs[runs["stage"] == "confirm"].iloc[0].to_dict(), f"test_{findings.study.metric}"
    rows = [
        {**confirm, "level": row, "number": number, "seed": number + 1, name: value}
        for row, values in enumerate(levels)
        for number, value in enumerate(values)
    ]
    both = pd.concat([runs[runs["stage"] == "search"], pd.DataFrame(rows)], ignore_index=True)
    return find(replace(findings.results, runs=both))


@pytest.mark.parametrize("metric", OTHERS)
def test_the_tables_lead_with_what_the_study_selects_by(metric: str, write_study: Write) -> None:
    table = studied(write_study, metric).table
    assert f"test_{metric}" in table
    assert not [name for name in table if "accuracy" in name]
    assert table[f"test_{metric}_low"].isna().all()  # of two seeds there is no interval
    assert table["noise_floor"].isna().all()  # no share of images


@pytest.mark.parametrize("metric", OTHERS)
def test_the_winner_and_the_best_so_far_know_which_way_is_better(metric: str, write_study: Write) -> None:
    findings = studied(write_study, metric)
    for row in (0, 1):
        trials = findings.trials[findings.trials["depth"] == row + 1]
        finished = trials[trials["state"] == "finished"][f"val_{metric}"]
        best = finished.min() if metric in LOWER else finished.max()
        assert trials.loc[trials["winner"], f"val_{metric}"].tolist() == [best]
        curve = findings.tuning[findings.tuning["level"] == row]
        steps = np.diff(curve["best"])
        assert (steps <= 0).all() if metric in LOWER else (steps >= 0).all()
        assert curve["best"].iloc[-1] == curve["expected"].iloc[-1] == pytest.approx(best)


@pytest.mark.parametrize("metric", LOWER)
def test_bands_of_the_search_lie_around_the_curve(metric: str, write_study: Write) -> None:
    folder = write_study(SMALL)
    study = read_study(folder, [f"metric={metric}", "budget.searches=3", "budget.seeds=3"])
    drive(study, folder / "journal.log")
    tuning = find(read_results(folder / "journal.log")).tuning
    tuning = tuning[tuning["k"] > 1]  # the first trial of all searches is the defaults
    assert (tuning["low"] < tuning["high"]).all()
    assert (tuning["low"] <= tuning["best"]).all()


def test_a_search_trial_that_failed_is_as_bad_as_the_worst(write_study: Write) -> None:
    def failing(trial: Trial) -> Outcome:
        failed = trial.stage == "search" and trial.number == 0
        return Outcome("failed", "it broke", 1.0, 2.0) if failed else made_up(trial)

    findings = studied(write_study, "loss", failing)
    own = findings.trials[findings.trials["depth"] == 1]
    assert findings.tuning["best"].iloc[0] == own.loc[own["state"] == "finished", "val_loss"].max()


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("macro_f1", "depth=2 had the highest mean test macro-F1, 32.80 %, as found by one search (95 % interval 31."),
        (
            "ece",
            "depth=1 had the lowest mean test calibration error, 30.25 %, as found by one search (95 % interval 29.",
        ),
        ("loss", "depth=1 had the lowest mean test loss, 0.3025 nats, as found by one search (95 % interval 0.29"),
    ],
)
def test_the_answer_has_direction_and_unit(metric: str, told: str, write_study: Write) -> None:
    base = [0.30, 0.31, 0.32, 0.29, 0.30, 0.31, 0.30, 0.29]
    more = [value + 0.025 + 0.001 * (seed % 2) for seed, value in enumerate(base)]
    clear = with_tests(studied(write_study, metric), base, more)
    assert clear.answer.startswith(told)
    points = "0.0255 nats, 0.0251 to 0.0259" if metric == "loss" else "2.55 points, 2.51 to 2.59"
    assert clear.answer.endswith(f"It is told apart from depth {1 if metric == 'macro_f1' else 2} (by {points}).")
    [improvement] = clear.pairs["improvement"]  # how often the second is better
    assert improvement < 0.1 if metric in LOWER else improvement > 0.9
    assert clear.pairs["difference"][0] == pytest.approx(0.0255)


def test_what_the_test_is_behind(write_study: Write) -> None:
    findings = studied(write_study, "ece")
    runs = findings.results.runs.assign(train_ece=0.01, test_ece=0.03, train_loss=0.1, test_loss=0.4)
    gaps = find(replace(findings.results, runs=runs)).gaps
    assert gaps["ece_gap"].tolist() == pytest.approx([0.02, 0.02])
    assert gaps["loss_gap"].tolist() == pytest.approx([0.3, 0.3])
    assert list(find(studied(write_study, "loss").results).gaps) == ["level", "n", *(f"loss_gap{end}" for end in ENDS)]


@pytest.mark.parametrize(("metric", "overfits"), [("macro_f1", True), ("ece", False), ("loss", False)])
def test_only_shares_that_are_to_be_high_are_said_to_overfit(metric: str, overfits: bool, write_study: Write) -> None:
    findings = studied(write_study, metric)
    runs = findings.results.runs.assign(**{f"train_{metric}": 1.0, f"test_{metric}": 0.97})
    runs.loc[runs["level"] == 1, f"test_{metric}"] = 0.9
    told = [note for note in find(replace(findings.results, runs=runs)).flags if "do not overfit alike" in note]
    assert len(told) == overfits
    assert not told or told[0].startswith("Training is ahead of the test by 10.0 points for depth=2, by 3.0 points")


def test_a_search_that_still_brings_lower_losses_is_told(write_study: Write) -> None:
    findings = studied(write_study, "loss")
    runs = findings.results.runs.copy()
    search = (runs["stage"] == "search") & (runs["level"] == 0)
    runs.loc[search, "status"], runs.loc[search, "val_loss"] = "finished", [0.9, 0.8, 0.7, 0.7, 0.7, 0.5]
    told = find(replace(findings.results, runs=runs)).flags
    [note] = [note for note in told if "the second half" in note]
    assert re.match(r"depth 1( and 2)?: the second half of a search's 6 trials brought .*0\.1000 nats", note)
    runs.loc[search, "val_loss"] = [0.7, 0.7, 0.7, 0.7, 0.7, 0.699]  # a seventh of a percent
    assert not [
        note
        for note in find(replace(findings.results, runs=runs)).flags
        if note.startswith("depth 1") and "second half" in note
    ]


def test_the_headline_has_the_names_of_figures(write_study: Write) -> None:
    headline = with_tests(studied(write_study, "macro_f1"), [0.3, 0.31, 0.32], [0.4, 0.41, 0.42]).headline
    names = {"val_macro_f1", "test_macro_f1", "test_macro_f1_low", "test_macro_f1_high", "parameters"}
    assert {level: set(figures) for level, figures in headline.items()} == {"depth=1": names, "depth=2": names}


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (
            "macro_f1",
            (
                "Figures are of the macro-F1, of which higher is better: mean over classes of F1",
                "test % | 95 % interval | validation % | train %",
                "mean difference (points)",
                "train − test macro-F1 (points)",
                "highest validation macro-F1 (ties: the lower loss)",
                "*Mean macro-F1 of each depth",
            ),
        ),
        (
            "loss",
            (
                "Figures are of the loss, of which lower is better: mean cross-entropy (log loss)",
                "test nats | 95 % interval | validation nats | train nats",
                "mean difference (nats)",
                "the lowest validation loss.",
                "by its hyperparameters; log axis.",
            ),
        ),
        (
            "ece",
            (
                "of which lower is better: expected calibration error",
                "test − train calibration error (points)",
                "the lowest validation calibration error (ties: the lower loss)",
            ),
        ),
    ],
)
def test_the_page_speaks_of_the_measure(metric: str, said: tuple[str, ...], write_study: Write, tmp_path: Path) -> None:
    folder = report.write(studied(write_study, metric), tmp_path / "report")
    page = (folder / "report.md").read_text()
    for words in said:
        assert words in page
    assert "accuracy" not in page
    assert " nan" not in page.lower()
    assert "noise floor" not in page.lower()
    assert (folder / "plots" / f"{metric}_vs_depth.svg").exists()
    assert f"test_{metric}" in pd.read_csv(folder / "tables" / "compare.csv")


def test_a_study_by_loss_has_its_gap_once(write_study: Write, tmp_path: Path) -> None:
    page = (report.write(studied(write_study, "loss"), tmp_path / "report") / "report.md").read_text()
    assert "| depth | train loss | test loss | test − train loss | 95 % interval |\n" in page


def of_many(trial: Trial) -> Outcome:
    """Made-up outcomes of which more was measured on the test images."""
    outcome = made_up(trial)
    if trial.stage == "search":
        return outcome
    more = {"test_macro_f1": 0.51 + trial.number / 100, "test_ece": 0.0125, "test_loss": 0.3}
    return replace(outcome, figures={**outcome.figures, **more})


def test_other_measures_have_a_table(write_study: Write, tmp_path: Path) -> None:
    folder = write_study(SMALL)
    drive(read_study(folder, ["budget.seeds=3"]), folder / "journal.log", outcome_of=of_many)
    findings = find(read_results(folder / "journal.log"))
    measures = findings.measures.set_index(["level", "measure"])
    assert set(findings.other_measures["measure"]) == {"macro_f1", "ece"}
    assert measures.loc[(0, "macro_f1"), "mean"] == pytest.approx(0.52)
    assert measures.loc[(0, "macro_f1"), "n"] == 3
    folder = report.write(findings, tmp_path / "report")
    page = (folder / "report.md").read_text()
    assert "## Other measures\n" in page
    assert "| depth | macro-F1 % | calibration error % |" in page
    assert "| 1 | 52.00 (49.52 to 54.48) | 1.25 |" in page
    assert pd.read_csv(folder / "tables" / "measures.csv")["measure"].nunique() == 4
    assert findings.seeds["test_macro_f1"].tolist() == pytest.approx([0.51, 0.52, 0.53] * 2)
    assert "test_macro_f1" not in findings.trials


def test_nothing_else_measured_is_no_table(write_study: Write, tmp_path: Path) -> None:
    folder = report.write(studied(write_study, "accuracy"), tmp_path / "report")
    assert "Other measures" not in (folder / "report.md").read_text()
    assert not (folder / "tables" / "measures.csv").exists()


def test_every_run_has_a_row(write_study: Write, tmp_path: Path) -> None:
    def failing(trial: Trial) -> Outcome:
        failed = trial.stage == "confirm" and trial.level == 2 and trial.number == 1
        return Outcome("failed", "Traceback\n  line 3\nValueError: it broke", 1.0, 2.0) if failed else made_up(trial)

    findings = studied(write_study, "accuracy", failing)
    folder = report.write(findings, tmp_path / "report")
    seeds, trials = (pd.read_csv(folder / "tables" / f"{name}.csv") for name in ("seeds", "trials"))
    assert seeds["depth"].tolist() == [1, 1, 2, 2]
    assert seeds["seed"].tolist() == [findings.study.confirmation_seed(0, number) for number in (0, 1)] * 2
    assert seeds["search"].tolist() == [0] * 4
    assert seeds["state"].tolist() == ["finished"] * 3 + ["failed"]
    assert seeds["reason"].iloc[-1] == "ValueError: it broke"
    assert np.isnan(seeds["test_accuracy"].iloc[-1])
    assert seeds.groupby("depth")["test_accuracy"].mean().tolist() == findings.table["test_accuracy"].tolist()
    assert trials["number"].tolist() == [*range(6), *range(6)]
    assert trials.groupby("depth")["winner"].sum().tolist() == [1, 1]
    runs = findings.results.runs
    exact = runs[runs["stage"] == "search"]
    assert trials["lr"].tolist() == exact["lr"].tolist()  # to the last bit
    assert trials["val_accuracy"].tolist() == pytest.approx(exact["val_accuracy"].tolist(), rel=0, abs=0, nan_ok=True)
    chosen = trials[trials["winner"]].set_index("depth")["lr"]
    assert (seeds["lr"] == chosen[seeds["depth"]].to_numpy()).all()
    assert {"epochs", "trained_epochs", "seconds", "parameters", "best_epoch", "running_train_loss"} <= set(seeds)
    assert not [name for name in trials if name.startswith(("test_", "untrained_"))]


def test_tuples_are_written_as_people_read_them(write_study: Write) -> None:
    text = 'dataset = "digits"\n[compare]\nwidths = [[8], [8, 4]]\n[tune]\nlr = [0.01, 0.02]\n'
    folder = write_study(text + "[budget]\ntrials = 2\nseeds = 1\n")
    drive(read_study(folder), folder / "journal.log")
    findings = find(read_results(folder / "journal.log"))
    assert findings.seeds["widths"].tolist() == ["8", "8-4"]
    assert findings.trials["widths"].tolist() == ["8", "8", "8-4", "8-4"]


def test_a_study_that_has_only_begun_has_rows_too(write_study: Write) -> None:
    findings = studied(write_study, "accuracy", lambda trial: Outcome("pruned", "pruned", 1.0, 2.0))
    assert findings.seeds.empty
    assert findings.trials["state"].tolist() == ["pruned"] * 12
    assert {"test_accuracy", "val_loss", "seconds"} <= set(findings.seeds)
    assert findings.best is None


def test_equal_importances_have_one_order(write_study: Write) -> None:
    findings = studied(write_study, "accuracy")
    orders = [{"momentum": 0.25, "lr": 0.25, "optimizer": 0.5}, {"lr": 0.25, "optimizer": 0.5, "momentum": 0.25}]
    for shares in orders:
        table = find(replace(findings.results, importances={0: shares})).importance
        assert table["hyperparameter"].tolist() == ["optimizer", "lr", "momentum"]


def test_tables_are_computed_once(write_study: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    findings = studied(write_study, "accuracy")
    counted: list[str] = []

    def count(module: ModuleType, name: str) -> None:
        whole = getattr(module, name)

        def counting(*given: Results | pd.DataFrame) -> pd.DataFrame:
            counted.append(name)
            return whole(*given)

        monkeypatch.setattr(module, name, counting)

    for module in (arrival, runs, search, tables):
        for name in [name for name in vars(module) if re.fullmatch("[a-z]+_table", name)]:
            count(module, name)
    report.write(findings, tmp_path / "report")
    assert findings.headline
    assert findings.flags
    assert len(counted) == len(set(counted)) >= 11


@pytest.mark.parametrize(("metric", "best"), [("accuracy", "97.00 %"), ("loss", "0.0500 nats")])
def test_the_screen_shows_the_best_of_the_measure(metric: str, best: str, write_study: Write) -> None:
    study = read_study(write_study(SMALL), [f"metric={metric}"])
    progress = Progress(study, quiet=True)
    for number, value in enumerate((0.05, 0.97, 0.5)):
        [trial, *_] = study.confirmations(1, study.config(1, {}))
        outcome = Outcome("finished", "", 1.0, 2.0, figures={f"val_{metric}": value, f"test_{metric}": value})
        progress.end(replace(trial, stage="search", number=number), outcome)
    progress.end(trial, outcome)
    shown = io.StringIO()
    Console(file=shown, width=120).print(progress.table())
    assert best in shown.getvalue()
    assert ("50.00 %" if metric == "accuracy" else "0.5000 nats") in shown.getvalue()


def test_a_measure_knows_its_way() -> None:
    assert [measure(name).sign() for name in ("accuracy", *OTHERS)] == [1, 1, -1, -1]
