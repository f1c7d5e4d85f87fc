"""Pages of tables: of a regression words, units, directions and pictures of numbers, of classes their names."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from harness import report
from harness.analysis import Findings, find, read_results
from harness.analysis.tables import possible
from harness.catalogue import RATIO, SHARE, TARGET
from harness.figures import bracketed, heading, interval, number, settled, text
from harness.plots import Picture
from harness.plots.runs import RunPictures
from harness.report.pictures import make_pictures
from harness.report.power import PowerTable
from harness.study.study import Study
from harness.trial import Epoch, Example, Outcome, Trial

from .test_search import drive

MPA = replace(TARGET, symbol="MPa", gap="MPa")
ROW = tuple((f"x{number}", str(number)) for number in range(11))
ERRORS = {1: 12.4, 2: 4.83}
"""The RMSE of each depth."""


def known(trial: Trial, figures: dict[str, float]) -> Outcome:
    """A run with these figures of test rows, and others that fit."""
    named = {f"{rows}_{name}": value for rows in ("train", "val") for name, value in figures.items()}
    tests = {f"test_{name}": value for name, value in figures.items()} if trial.stage == "confirm" else {}
    history = tuple(Epoch(e, {"train_loss": 1 / e, "val_loss": 1 / e}, 1000.0 + e) for e in range(1, 5))
    return Outcome("finished", "", 1000.0, 1010.0, 1.0, 10, 3, named | tests, history=history)


def of_numbers(trial: Trial) -> Outcome:
    """A regression of two targets, better with depth = 2."""
    off = trial.number * trial.config.depth / 100 + abs(math.log(trial.config.lr / 0.02)) / 100
    rmse = ERRORS[trial.config.depth] + off
    outcome = known(trial, {"loss": 0.2 + off, "rmse": rmse, "mae": 0.8 * rmse, "r2": -0.25 + off / 100})
    if trial.stage != "confirm" or trial.number:
        return outcome
    truth, guess = (20.0, 30.0, 41.5), (21.0, 28.0, 60.25)
    worst = Example(7, row=ROW, truth=(41.5, 1200.0), guess=(60.25, 1250.0))
    first = Example(3, row=ROW, truth=(20.0, 1000.0), guess=(21.0, 1000.0))
    both = ((truth, guess), ((1000.0, 1100.0, 1200.0), (1000.0, 1150.0, 1250.0)))
    return replace(outcome, examples=(first, worst), predictions=both)


CLASSES = ("setosa", "a very long versicolor", "$virginica$")


def of_classes(trial: Trial) -> Outcome:
    """Three classes; with depth = 1 nothing was learned: all is taken for the first."""
    dull = trial.config.depth == 1
    confusion = ((10, 0, 0), (10, 0, 0), (10, 0, 0)) if dull else ((10, 0, 0), (1, 9, 0), (0, 2, 8))
    right = sum(confusion[number][number] for number in range(3)) / 30
    outcome = known(trial, {"loss": 1.0, "accuracy": right})
    if trial.stage != "confirm":
        return outcome
    examples = (Example(0, 0, (0.9, 0.1, 0.0), row=ROW), Example(5, 2, (0.2, 0.7, 0.1), row=ROW))
    return replace(outcome, confusion=confusion, examples=() if trial.number else examples)


@pytest.fixture
def studied(small: Study, tmp_path: Path) -> Callable[..., Findings]:
    """A study of a table, whose outcomes are made up."""

    def make(outcome_of: Callable[[Trial], Outcome], **facts: object) -> Findings:
        given = small.model_dump(mode="python", round_trip=True)
        budget = {**given["budget"], "seeds": 4, "searches": 1}
        study = Study.model_validate({**given, "budget": budget, **facts})
        drive(study, tmp_path / "journal.log", outcome_of=outcome_of)
        return find(read_results(tmp_path / "journal.log"))

    return make


def regression(studied: Callable[..., Findings]) -> Findings:
    about = {"name": "digits", "task": "regression", "things": "rows", "target_names": ("strength", "cost")}
    return studied(of_numbers, task="regression", metric="rmse", source={"unit": "MPa"}, about=(about,))


def test_figures_of_a_target_have_digits_by_their_size() -> None:
    assert [number(value, MPA) for value in (4.8321, 51.234, 12340.4, 0.00012345)] == [
        "4.832",
        "51.23",
        "12,340",
        "0.000123",
    ]
    assert text(4.8321, MPA) == "4.832 MPa"
    column = settled(MPA, [4.8321, 5.1, 12.4, math.nan])
    assert [number(value, column) for value in (4.8321, 5.1, 12.4)] == ["4.83", "5.10", "12.40"]
    assert interval(-0.421, 1.2, column, "+") == "-0.42 to +1.20"
    assert number(5.1, settled(MPA, [4.8, 5.1, 5.3, 1e6])) == "5.100"  # one that is far off has no say
    assert settled(SHARE, [0.5]) is SHARE
    assert bracketed("gain", "") == "gain"


def test_only_r2_may_be_negative() -> None:
    assert possible(RATIO, (-0.5, 1.2)) == (-0.5, 1.0)
    assert possible(MPA, (-0.5, 200.0)) == (0.0, 200.0)
    assert possible(SHARE, (-0.5, 1.2)) == (0.0, 1.0)


def test_a_regressions_page_has_its_unit_direction_and_numbers(
    studied: Callable[..., Findings], tmp_path: Path
) -> None:
    findings = regression(studied)
    folder = report.write(findings, tmp_path / "report")
    page = (folder / "report.md").read_text()
    assert findings.answer.startswith("depth=2 had the lowest mean test RMSE, 4.")
    assert "MPa" in findings.answer
    assert heading("test", findings.measure) == "test RMSE (MPa)"
    assert "| test RMSE (MPa) |" in page
    assert "validation rows" in page
    assert "image" not in page.replace("text-image", "")
    assert " ()" not in page
    assert "nothing was learned; the runs are no better than the mean" in page
    assert "R2" in page
    assert "−0.24" in page
    pictures = {path.stem for path in (folder / "plots").glob("*.png")}
    assert {"predicted_1", "predicted_2", "residuals_1", "residuals_2", "rmse_vs_depth"} <= pictures
    assert not {"confusion", "mistakes", "probabilities"} & pictures
    assert "| true strength (MPa) |" in page
    assert "+18.75" in page
    assert "Of 11 columns the first 8 are shown, 3 more are not." in page
    told = pd.read_csv(folder / "tables" / "predictions.csv")
    assert told.loc[told["target"] == "strength (MPa)", "predicted"].tolist() == [21.0, 28.0, 60.25] * 2
    worst = pd.read_csv(folder / "tables" / "mistakes.csv")
    assert {"x10", "true cost (MPa)", "predicted strength (MPa)"} <= set(worst)
    assert not (folder / "tables" / "confusion.csv").exists()


def test_power_asks_about_shares_of_the_mean(studied: Callable[..., Findings]) -> None:
    about = {"name": "digits", "task": "regression", "things": "rows"}
    facts = {"tune": {}, "task": "regression", "metric": "rmse", "source": {"unit": "MPa"}, "about": (about,)}
    table = PowerTable(studied(of_numbers, **facts))
    assert table.asked == [0.09, 0.2, 0.4]
    assert table.headings[1] == "sees (MPa)"


def test_a_tables_classes_have_their_names(studied: Callable[..., Findings], tmp_path: Path) -> None:
    about = {"name": "digits", "task": "classification", "things": "rows", "classes": CLASSES}
    findings = studied(of_classes, about=(about,))
    folder = report.write(findings, tmp_path / "report")
    page = (folder / "report.md").read_text()
    assert "a very long versicolor %" in page
    assert "depth 1: nothing was learned; the runs are no better than guessing the class." in page
    assert "too few or too easy" not in "".join(flag for flag in findings.flags if flag.startswith("depth 1:"))
    assert "| a very long versicolor | 70 % |" in page
    pictures = make_pictures(findings)
    assert {"confusion"} == {"confusion", "mistakes", "probabilities", "predicted"} & set(pictures)
    assert written_in(pictures["confusion"]) >= {"setosa", "a very long…"}
    counts = pd.read_csv(folder / "tables" / "confusion.csv")
    assert set(counts["true_class"]) == set(CLASSES)


def written_in(picture: Picture) -> set[str]:
    """What stands at the ticks of a figure's axes."""
    return {label.get_text() for axes in picture.figure().axes for label in axes.get_xticklabels()}


def test_the_pictures_of_a_run() -> None:
    draw = RunPictures()
    for image in (
        draw.predicted(((1.0, 2.0), (1.5, 2.5)), "price ($)", "depth=1"),
        draw.confusion(((3, 1), (0, 4)), "depth=1", ("cat", "a rather long name")),
        draw.loss([{"number": 1, "train_loss": 0.5, "val_loss": 0.6}], 1, "depth=1", ""),
    ):
        assert image.startswith(b"\x89PNG")


@pytest.mark.parametrize(("area", "nothing"), [(0.9, False), (0.52, True)])
def test_by_its_area_under_the_curve_something_may_be_learned_at_the_recall_of_guessing(
    area: float, nothing: bool, studied: Callable[..., Findings]
) -> None:
    def measured(trial: Trial) -> Outcome:
        outcome = of_classes(trial)
        figures = {f"{rows}_auc": area for rows in ("train", "val", "test")}
        return replace(outcome, figures={**outcome.figures, **figures})

    about = {"name": "digits", "task": "classification", "things": "rows", "classes": CLASSES}
    flags = studied(measured, metric="auc", about=(about,)).flags
    assert any("depth 1" in flag and "nothing was learned" in flag for flag in flags) == nothing
