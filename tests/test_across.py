"""The same values on several data sets: ranks and their tests against scipy.stats, wins, profiles, and the page."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness import catalogue
from harness.analysis import Findings, find, read_results
from harness.analysis.datasets import (
    Across,
    alike,
    critical_difference,
    friedman,
    of_grid,
    of_studies,
    studentized_range,
)
from harness.report.across import across_grid
from harness.report.compare import compare
from harness.report.write import write
from harness.study.file import read_study
from harness.study.study import Claim
from harness.trial import Epoch, Outcome, Trial

from .conftest import SMALL
from .test_report import Page
from .test_search import drive, figures, made_up

Write = Callable[..., Path]
HIGH, LOW = "accuracy", "loss"


def across(scores: pd.DataFrame, measure: str = HIGH) -> Across:
    none = pd.DataFrame(columns=["dataset", "first", "second", "better"])
    runs = pd.DataFrame(columns=["dataset", "value", "figure"])
    return Across("depth", catalogue.measure(measure), scores, none, runs, scores[[]])


@pytest.mark.parametrize(("values", "datasets"), [(3, 2), (3, 7), (4, 4), (5, 30), (12, 9)])
@pytest.mark.parametrize("ties", [False, True])
def test_friedmans_statistic_is_scipys(values: int, datasets: int, ties: bool) -> None:
    figures = np.random.default_rng(values).normal(size=(values, datasets))
    figures = np.round(figures) if ties else figures
    ranks = stats.rankdata(figures, axis=0)
    assert friedman(ranks).statistic == pytest.approx(stats.friedmanchisquare(*figures).statistic)


@pytest.mark.parametrize("rows", [[(1, 2, 3)] * 4, [(1, 2, 3), (2, 1, 3), (1, 3, 2)], [(1.5, 1.5, 3), (1, 2, 3)]])
def test_p_counts_all_arrangements(rows: list[tuple[float, ...]]) -> None:
    """Held against trying every order of every row."""
    ranks = np.array(rows).T
    seen = friedman(ranks)
    reached = [friedman(np.array(one).T).statistic for one in product(*(permutations(row) for row in rows))]
    assert seen.is_exact
    assert seen.p == pytest.approx(np.mean(np.array(reached) >= seen.statistic - 1e-9))


def test_friedmans_p_is_that_of_the_table() -> None:
    """Three values on three data sets in one order: chi-square 6, p = 0.028 (Friedman, 1937)."""
    assert friedman(np.array([[1.0, 1, 1], [2, 2, 2], [3, 3, 3]])).p == pytest.approx(1 / 36)


def test_many_values_go_by_f() -> None:
    """Demsar's (2006) way: F with k - 1 and (k - 1) (N - 1) degrees of freedom."""
    figures = np.random.default_rng(0).normal(size=(10, 15)) + np.arange(10)[:, None] / 3
    test = friedman(stats.rankdata(figures, axis=0))
    f = 14 * test.statistic / (15 * 9 - test.statistic)
    assert not test.is_exact
    assert test.p == pytest.approx(stats.f.sf(f, 9, 9 * 14))


def test_equal_values_are_found_different_in_a_twentieth() -> None:
    generator = np.random.default_rng(0)
    found = [friedman(stats.rankdata(generator.normal(size=(3, 10)), axis=0)).p < 0.05 for _ in range(1000)]
    assert 0.02 < np.mean(found) < 0.065


def test_the_studentized_range_is_scipys() -> None:
    for count in (2, 3, 5, 10, 30):
        assert studentized_range(count) == pytest.approx(stats.studentized_range.ppf(0.95, count, np.inf), rel=1e-4)


@pytest.mark.parametrize(
    ("values", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (8, 3.031), (10, 3.164)]
)
def test_nemenyis_border_is_demsars(values: int, q: float) -> None:
    """Demsar (2006), table 5a."""
    assert critical_difference(values, 14) == pytest.approx(q * (values * (values + 1) / 84) ** 0.5, rel=1e-3)


def test_bars_join_what_cannot_be_told_apart() -> None:
    ranks = pd.Series({"a": 1.0, "b": 1.8, "c": 2.2, "d": 4.9})
    assert alike(ranks, 1.0) == [["a", "b"], ["b", "c"]]
    assert alike(ranks, 1.3) == [["a", "b", "c"]]
    assert alike(ranks, 0.1) == []
    assert alike(ranks, 9.0) == [["a", "b", "c", "d"]]


@pytest.mark.parametrize(("measure", "sign"), [(HIGH, 1), (LOW, -1)])
def test_the_best_has_rank_one_whichever_way_is_better(measure: str, sign: int) -> None:
    scores = pd.DataFrame({"x": [0.5, 0.7, 0.6], "y": [0.1, 0.1 + 1e-16, 0.05]}, index=["a", "b", "c"])
    shown = across(1 - scores if sign < 0 else scores, measure)
    assert shown.ranks["x"].tolist() == [3, 1, 2]
    assert shown.ranks["y"].tolist() == [1.5, 1.5, 3]


def test_nothing_is_joined_that_friedmans_test_has_not_told_apart() -> None:
    """One order on every data set is told apart from the fourth one on; with two there is one group."""
    column = [0.9, 0.5, 0.1]
    few, many = (across(pd.DataFrame({str(n): column for n in range(size)}, index=list("abc"))) for size in (2, 8))
    assert few.groups == [["a", "b", "c"]]
    assert many.friedman.p < 0.001
    assert many.groups == [["a", "b"], ["b", "c"]]


def test_ratios_are_of_errors_or_of_losses() -> None:
    scores = pd.DataFrame({"x": [0.9, 0.8], "y": [1.0, 0.5]}, index=["a", "b"])
    assert across(scores).ratios["x"].tolist() == pytest.approx([1, 2])
    assert across(scores).ratios["y"].tolist() == [1, np.inf]  # no error is infinitely better than some
    assert across(scores, LOW).ratios["y"].tolist() == pytest.approx([2, 1])
    steps = across(scores).profiles
    assert steps[steps["value"] == "b"][["at", "share"]].to_numpy().tolist() == [[1.0, 0.0], [pytest.approx(2), 0.5]]


def of(dataset: str) -> Callable[[Trial], Outcome]:
    """Deeper networks are better, on all data sets but the third."""

    def outcome(trial: Trial) -> Outcome:
        gain = trial.config.depth * (0.02 if dataset != "digits" else -0.02)
        whole = made_up(trial)
        if trial.stage == "search":
            return whole
        noise = 0.001 * np.random.default_rng([trial.seed, trial.config.depth]).normal()
        return replace(whole, figures={**whole.figures, "test_accuracy": 0.8 + gain + noise})

    return outcome


def studied(write_study: Write, name: str, dataset: str, text: str = SMALL) -> Findings:
    folder = write_study(text, name)
    study = read_study(folder, ["compare.depth=[1,2,3]", "budget.seeds=4"], dataset)
    drive(study, folder / study.journal, outcome_of=of(dataset))
    found = find(read_results(folder / study.journal))
    return find(replace(found.results, environment={"data_sha256": dataset}))


DATA = ("mnist", "fashion_mnist", "digits")


@pytest.fixture
def three(write_study: Write) -> list[Findings]:
    return [studied(write_study, "mine", dataset) for dataset in DATA]


def test_studies_are_put_side_by_side(three: list[Findings]) -> None:
    seen = of_studies(three)
    assert seen is not None
    assert list(seen.scores.columns) == list(DATA)
    assert seen.average_ranks.tolist() == pytest.approx([7 / 3, 2, 5 / 3])
    assert seen.wins.to_numpy().tolist() == [[2, 0, 4], [3, 0, 3], [4, 0, 2]]
    assert seen.friedman.p > 0.5
    assert len(seen.runs) == 3 * 3 * 4
    runs = seen.profiles[seen.profiles["kind"] == "runs"]
    assert (runs.groupby("value")["share"].max() > 0.9).all()
    assert (runs.groupby("value")["share"].min() == 0).all()


def test_what_cannot_be_told_apart_is_a_tie(three: list[Findings]) -> None:
    runs = three[0].results.runs.copy()
    runs.loc[runs["stage"] == "confirm", "test_accuracy"] = 0.9
    seen = of_studies([find(replace(three[0].results, runs=runs)), *three[1:]])
    assert seen is not None
    assert seen.wins["ties"].tolist() == [2, 2, 2]


@pytest.mark.parametrize("which", ["one data set", "another axis", "too little in common"])
def test_other_studies_have_no_such_section(which: str, three: list[Findings], write_study: Write) -> None:
    text = SMALL.replace("depth = [1, 2]", 'activation = ["relu", "tanh"]')
    folder = write_study(text, "other")
    study = read_study(folder)
    drive(study, folder / study.journal)
    activation = find(read_results(folder / study.journal))
    alone = find(replace(three[1].results, study=three[1].study.model_copy(update={"levels": (7, 8, 3)})))
    several = {
        "one data set": [three[0], find(replace(three[0].results, study=three[0].study))],
        "another axis": [three[0], activation],
        "too little in common": [three[0], alone],
    }
    assert of_studies(several[which]) is None


def test_the_page_has_the_section_and_its_pictures(three: list[Findings], tmp_path: Path) -> None:
    folder = compare(three, tmp_path / "out")
    text = (folder / "report.md").read_text()
    assert "## Across data sets" in text
    assert "Ranks of 3 values on 3 data sets" in text
    assert "no value is told apart from another by its ranks; with 3 data sets" in text
    assert pd.read_csv(folder / "tables" / "across.csv")["wins"].tolist() == [2, 3, 4]
    for name in ("ranks", "profiles"):
        assert (folder / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert Page((folder / "report.html").read_text()).open == []


def test_the_grid_has_a_column_for_each_data_set(three: list[Findings]) -> None:
    seen = of_studies(three)
    assert seen is not None
    grid = across_grid(seen)
    assert list(grid.columns) == ["value", "average rank", "wins", "ties", "losses", *(f"{name} %" for name in DATA)]
    assert grid["value"].tolist() == ["depth=1", "depth=2", "depth=3"]


def arriving(trial: Trial) -> Outcome:
    """Depth d is there with epoch d on mnist, with 2 d + 2 on Fashion-MNIST, depth 1 never; on digits nobody is."""
    depth = trial.config.depth
    at = {"mnist": depth, "fashion_mnist": 2 * depth + 2 if depth > 1 else 99}.get(trial.config.dataset, 99)
    values = [0.95 if epoch >= at else 0.5 for epoch in range(1, 13)]
    epochs = tuple(Epoch(e, figures(1.0, 0.5, 1.0, value), 1000.0 + e) for e, value in enumerate(values, start=1))
    return replace(made_up(trial), history=epochs)


def test_time_to_target_is_profiled_as_algoperf_does(write_study: Write, tmp_path: Path) -> None:
    text = SMALL + "\n[claim]\nreach = 90\n"
    several = []
    for dataset in DATA:
        study = read_study(write_study(text, "timed"), ["compare.depth=[1,2,3]", "budget.seeds=4"], dataset)
        drive(study, tmp_path / study.journal, outcome_of=arriving)
        several.append(find(read_results(tmp_path / study.journal)))
    seen = of_studies(several)
    assert seen is not None
    assert seen.times.to_numpy().tolist() == [[1, np.inf, np.inf], [2, 6, np.inf], [3, 8, np.inf]]
    steps = seen.profiles[seen.profiles["kind"] == "time"]
    of = {value: own[["at", "share"]].to_numpy().tolist() for value, own in steps.groupby("value")}
    third = pytest.approx(1 / 3)
    assert of["depth=1"] == [[1, third]]
    assert of["depth=2"] == [[1, third], [2, pytest.approx(2 / 3)]]
    assert of["depth=3"] == [[1, 0], [pytest.approx(4 / 3), third], [3, pytest.approx(2 / 3)]]

    folder = compare(several, tmp_path / "out")
    text = (folder / "report.md").read_text()
    assert "epochs on fashion_mnist" in text
    assert "| never" in text
    assert "(Dahl et al., 2023)" in text
    untimed = [find(replace(several[0].results, study=several[0].study.model_copy(update={"claim": Claim()})))]
    other = of_studies([*untimed, *several[1:]])  # one has no target
    assert other is not None
    assert other.times.empty
    assert "time" not in set(other.profiles["kind"])


def test_a_grid_of_data_sets_is_several_in_one(write_study: Write, tmp_path: Path) -> None:
    """Ranks, wins and profiles of a study that compares data sets and another key are in its own report."""
    text = """
[compare]
dataset = ["digits", "mnist", "fashion_mnist"]
optimizer = ["sgd", "adam"]
[fixed]
lr = 0.02
[budget]
seeds = 4
[claim]
reach = 10
"""

    def outcome_of(trial: Trial) -> Outcome:
        better = 0.02 * (trial.config.optimizer == "adam") - 0.1 * (trial.config.dataset == "mnist")
        outcome = made_up(trial)
        wobble = 0.001 * (trial.number % 3) * (trial.config.optimizer == "adam")
        figures = {**outcome.figures, "test_accuracy": outcome["test_accuracy"] + better + wobble}
        return replace(outcome, figures=figures)

    study = read_study(write_study(text))
    drive(study, tmp_path / "journal.log", outcome_of=outcome_of)
    findings = find(read_results(tmp_path / "journal.log"))
    across = of_grid(findings)
    assert across is not None
    assert across.scores.index.tolist() == ["optimizer=sgd", "optimizer=adam"]
    assert across.scores.columns.tolist() == ["digits", "mnist", "fashion_mnist"]
    assert across.average_ranks.tolist() == [2.0, 1.0]
    assert across.wins.loc["optimizer=adam"].tolist() == [3, 0, 0]
    assert len(across.runs) == 24
    assert across.times.to_numpy().T.flatten().tolist() == findings.reach["epoch"].tolist()
    folder = write(findings, tmp_path / "report")
    assert "## Across data sets" in (folder / "report.md").read_text()
    assert (folder / "plots" / "ranks.png").exists()
    assert pd.read_csv(folder / "tables" / "across.csv")["average_rank"].tolist() == [2.0, 1.0]
    one = read_study(write_study(text.replace("optimizer = [", "# optimizer = [")))
    drive(one, tmp_path / "one.log", outcome_of=outcome_of)
    assert of_grid(find(read_results(tmp_path / "one.log"))) is None
