"""Studies that compare two keys: a grid of cells from the study file to the page."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness import report
from harness.analysis import Findings, find, read_results
from harness.analysis.effects import contrasts, measured, whole_of
from harness.console import Progress
from harness.errors import UserError
from harness.journal.choose import find_level
from harness.plots import grid as grid_plots
from harness.report.grids import cells_grid, effects_grid, pairs_grid
from harness.report.listing import list_studies
from harness.study.file import read_study
from harness.study.study import Study
from harness.trial import Cell, named

from .conftest import SMALL, Done
from .test_search import drive

Write = Callable[..., Path]
Command = Callable[..., Done]
GRID = SMALL.replace("depth = [1, 2]", "depth = [1, 2, 3]\ndropout = [0.0, 0.25]").replace("epochs = 4", "epochs = 3")
PLAIN = """
dataset = "digits"
[compare]
depth = [2, 3]
dropout = [0, 0.5]
[fixed]
width = 8
epochs = 2
[budget]
seeds = 3
"""


def test_the_file_makes_cells_row_by_row(write_study: Write) -> None:
    study = read_study(write_study(GRID))
    assert study.axes == ("depth", "dropout")
    assert study.compared == {"depth": (1, 2, 3), "dropout": (0.0, 0.25)}
    assert [study.level_name(level) for level in study.levels] == [
        *("depth=1,dropout=0", "depth=1,dropout=0.25"),
        *("depth=2,dropout=0", "depth=2,dropout=0.25"),
        *("depth=3,dropout=0", "depth=3,dropout=0.25"),
    ]
    config = study.config(study.levels[3], {"lr": 0.5})
    assert (config.depth, config.dropout, config.lr, config.width) == (2, 0.25, 0.5, 8)
    assert study.chosen[:2] == ("depth", "dropout")
    assert [study.differing(0, row) for row in range(4)] == [(), ("dropout",), ("depth",), ("depth", "dropout")]


def test_it_comes_back_from_json_as_it_was(write_study: Write) -> None:
    study = read_study(write_study(GRID))
    assert Study.model_validate_json(study.model_dump_json()) == study
    other = read_study(write_study(GRID, "mine"), ["dropout=[0.0, 0.5]"])
    assert study.identity()["levels"] == {"depth": [1, 2, 3], "dropout": [0.0, 0.25]}
    assert other.identity()["levels"]["dropout"] == [0.0, 0.5]


def test_the_data_set_may_be_one_of_two(write_study: Write) -> None:
    text = GRID.replace('dataset = "digits"', "").replace("depth = [1, 2, 3]", 'dataset = ["digits", "mnist"]')
    study = read_study(write_study(text))
    assert study.datasets == ("digits", "mnist")
    assert (study.dataset, study.label) == ("digits", "mine")
    assert [study.config(level, {}).dataset for level in study.levels] == ["digits"] * 2 + ["mnist"] * 2
    with pytest.raises(UserError, match=r"dataset: stands in \[compare\] already"):
        read_study(write_study('dataset = "mnist"' + text))


def test_published_figures_go_row_by_row(write_study: Write) -> None:
    figures = "[published]\nsource = 'nobody, 2026'\ntest_accuracy = [0.9, 0.91, 0.92, 0.93, 0.94, 0.95]\n"
    folder = write_study(GRID + figures)
    findings = run_made_up(folder)
    assert findings.table["published_test_accuracy"].tolist() == [0.9, 0.91, 0.92, 0.93, 0.94, 0.95]
    with pytest.raises(UserError, match="must hold one figure for each of the 6 compared values, got 1"):
        read_study(write_study(GRID + figures.replace(figures[figures.index("[0.9,") :], "[0.9]")))


@pytest.mark.parametrize("text", ["depth=2,dropout=0.25", "dropout=0.25,depth=2"])
def test_a_cell_is_named_by_both_keys(write_study: Write, text: str) -> None:
    study = read_study(write_study(GRID))
    assert find_level(study, text) == Cell(("depth", "dropout"), (2, 0.25))
    with pytest.raises(UserError, match="no depth=2 in this study; it has depth=1,dropout=0, "):
        find_level(study, "depth=2")
    with pytest.raises(UserError, match="which depth and dropout"):
        find_level(study, None)


def test_a_condition_may_speak_of_either_key(write_study: Write) -> None:
    text = GRID.replace('when = { optimizer = "sgd" }', "when = { dropout = 0.25 }")
    folder = write_study(text)
    drive(read_study(folder), folder / "journal.log")
    trials = read_results(folder / "journal.log").runs
    search = trials[trials["stage"] == "search"]
    with_momentum = search.groupby("dropout")["momentum"].max()
    assert with_momentum[0.0] == 0.0
    assert with_momentum[0.25] > 0.0


def run_made_up(folder: Path) -> Findings:
    drive(read_study(folder), folder / "journal.log")
    return find(read_results(folder / "journal.log"))


def with_figures(findings: Findings, figures: Any) -> Findings:
    """The same study with these test accuracies (units, cells); NaN is a run that did not finish."""
    runs = findings.results.runs
    confirm = runs[runs["stage"] == "confirm"].iloc[0].to_dict()
    rows = [
        {**confirm, "level": cell, "number": unit, "seed": unit + 1, "test_accuracy": value}
        for (unit, cell), value in np.ndenumerate(np.asarray(figures, float))
        if np.isfinite(value)
    ]
    both = pd.concat([runs[runs["stage"] == "search"], pd.DataFrame(rows)], ignore_index=True)
    return find(replace(findings.results, runs=both, hits={}, confusions={}))


@pytest.fixture
def made_up(write_study: Write) -> Findings:
    """Three depths and two dropouts with made-up outcomes."""
    return run_made_up(write_study(GRID))


def additive(rng: np.random.Generator, units: int, noise: float, extra: float = 0.0) -> Any:
    """Figures (units, 6) of a depth that brings 1, 2, 3 points and a dropout that brings 0, 4, and `extra` in the last
    cell; a unit's luck is in all of its cells.
    """
    cells = np.array([depth + dropout for depth, dropout in product((1, 2, 3), (0, 4))], float)
    cells[-1] += extra
    luck = rng.normal(0, 1, (units, 1)) + rng.normal(0, noise, (units, 6))
    return 0.8 + (cells + luck) / 100


def test_effects_by_hand(made_up: Findings) -> None:
    rng = np.random.default_rng(0)
    figures = additive(rng, 6, 0.1, extra=3.0)
    table = with_figures(made_up, figures).effects
    grid = figures.reshape(6, 3, 2)
    own = table[(table["effect"] == "main") & (table["depth"] == 3)].iloc[0]
    sample = grid[:, 2, :].mean(1) - grid.mean((1, 2))
    assert own["difference"] == pytest.approx(sample.mean())
    assert own["p"] == pytest.approx(stats.ttest_1samp(sample, 0).pvalue)
    cell = table[(table["depth"] == 3) & (table["dropout"] == 0.25)].iloc[0]
    both = grid[:, 2, 1] - grid[:, 2, :].mean(1) - grid[:, :, 1].mean(1) + grid.mean((1, 2))
    assert cell["difference"] == pytest.approx(both.mean())
    assert cell["difference"] == pytest.approx(0.01, abs=0.002)  # 3 points less 1, less 1.5, plus 0.5
    assert (table["n"] == 6).all()


def test_opposite_effects_count_once(made_up: Findings) -> None:
    """Of dropout's two values the second's effects are the first's with the other sign; the family has 3 + 1 + 3."""
    table = with_figures(made_up, additive(np.random.default_rng(1), 5, 0.4)).effects
    assert table["effect"].tolist() == ["main"] * 5 + ["interaction"] * 6
    turned = table[table["dropout"] == 0.25].reset_index(drop=True)
    straight = table[table["dropout"] == 0.0].reset_index(drop=True)
    assert turned["difference"].tolist() == pytest.approx((-straight["difference"]).tolist())
    assert turned["low"].tolist() == pytest.approx((-straight["high"]).tolist())
    assert turned["p_holm"].tolist() == straight["p_holm"].tolist()
    least = table["p"].min()
    assert table.loc[table["p"].idxmin(), "p_holm"] == pytest.approx(7 * least)


def test_two_by_two_is_three_questions() -> None:
    figures = np.random.default_rng(2).normal(size=(5, 2, 2))
    found = dict(contrasts(figures))
    assert found[0, 0] == pytest.approx(found[1, 1])
    assert found[0, 0] == pytest.approx(-found[0, 1])
    assert found[0, 0] == pytest.approx((figures[:, 0, 0] - figures[:, 0, 1] - figures[:, 1, 0] + figures[:, 1, 1]) / 4)
    assert not list(contrasts(figures[:, :1, :1]))
    assert {place for place, _ in contrasts(figures[:, :1])} == {(-1, 0), (-1, 1)}


def test_interactions_are_seldom_seen_where_there_is_none(made_up: Findings) -> None:
    """The family-wise error where main effects are there: only interactions may be false alarms, in 5 % at most."""
    alarms, found, repetitions = 0, 0, 60
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        none = with_figures(made_up, additive(rng, 5, 0.6)).effects
        alarms += bool((none.loc[none["effect"] == "interaction", "p_holm"] < 0.05).any())
        some = with_figures(made_up, additive(rng, 5, 0.6, extra=8.0)).effects
        found += bool((some.loc[some["effect"] == "interaction", "p_holm"] < 0.05).any())
    assert alarms <= 8  # 5 % of 60 are 3; more than 8 come once in 300 times
    assert found > repetitions / 2


def test_what_the_answer_says_of_the_interaction(made_up: Findings) -> None:
    rng = np.random.default_rng(3)
    none = with_figures(made_up, additive(rng, 5, 0.3)).answer
    assert "No interaction of depth and dropout can be seen; one of " in none
    some = with_figures(made_up, additive(rng, 5, 0.1, extra=6.0)).answer
    assert re.search(
        r"depth and dropout act on each other: the mean of depth=\d,dropout=[\d.]+ lies [\d.]+ points "
        r"\([\d.]+ to [\d.]+\) (above|below) what the effects of both add up to",
        some,
    )
    for figures, is_told in ((additive(rng, 5, 0.3), False), (additive(rng, 5, 0.1, extra=6.0), True)):
        page = report.sections.make_sections(with_figures(made_up, figures), {})
        [section] = [one for one in page if one.title == "Effects and interaction"]
        assert (report.sections.NOT_ALONE in section.texts) == is_told
    few = with_figures(made_up, additive(rng, 2, 0.1)).answer
    assert "Whether depth and dropout act on each other cannot be told." in few
    assert "Within its row and column it is told apart from depth=" in some


def test_a_cell_without_a_run_takes_its_row_or_column_with_it(made_up: Findings, tmp_path: Path) -> None:
    figures = additive(np.random.default_rng(4), 5, 0.2)
    figures[:, 3] = np.nan  # depth=2, dropout=0.25
    findings = with_figures(made_up, figures)
    assert findings.left_out == ["depth=2"]  # of whose two cells one is lost; a column would lose three
    assert set(findings.effects["depth"]) == {1, 3, ""}
    page = report.sections.make_sections(findings, {})
    [section] = [one for one in page if one.title == "Effects and interaction"]
    assert "Not every cell was measured: without depth=2." in section.texts
    for lost in (slice(0, 5), slice(0, 6)):  # all but one cell; all
        figures[:, lost] = np.nan
        findings = with_figures(made_up, figures)
        assert findings.effects.empty
        assert "interaction" not in findings.answer
        page = report.sections.make_sections(findings, {})
        [section] = [one for one in page if one.title == "Effects and interaction"]
        assert "No effects can be told: too few cells were measured in the same seeds." in section.texts
    assert measured(findings.results) is None
    folder = report.write(findings, tmp_path / "nothing")
    assert "No answer yet" in (folder / "report.md").read_text()
    assert not (folder / "plots" / "cells.png").exists()


@pytest.mark.parametrize(
    ("unknown", "rows", "columns"),
    [
        ([(1, 1)], [0, 2], [0, 1]),  # a row of two goes rather than a column of three
        ([(0, 1), (2, 1)], [0, 1, 2], [0]),
        ([(0, 0), (0, 1), (1, 1)], [2], [0, 1]),
        ([(row, column) for row in range(3) for column in range(2)], [0, 1, 2], []),
    ],
)
def test_what_is_left_of_a_grid(unknown: list[tuple[int, int]], rows: list[int], columns: list[int]) -> None:
    known = np.ones((3, 2), bool)
    for cell in unknown:
        known[cell] = False
    assert whole_of(known) == (rows, columns)
    turned = whole_of(known.T)
    assert len(turned[0]) * len(turned[1]) == len(rows) * len(columns)


def test_a_unit_that_a_cell_lacks_is_in_no_effect(made_up: Findings) -> None:
    figures = additive(np.random.default_rng(5), 5, 0.2)
    figures[1, 2] = np.nan
    findings = with_figures(made_up, figures)
    whole = np.delete(figures, 1, axis=0)
    assert (findings.effects["n"] == 4).all()
    assert findings.left_out == []
    assert findings.effects["difference"].tolist() == with_figures(made_up, whole).effects["difference"].tolist()


def test_differences_are_within_rows_and_columns(made_up: Findings) -> None:
    findings = with_figures(made_up, additive(np.random.default_rng(6), 5, 0.2))
    study, pairs = findings.study, findings.pairs
    keys = [study.differing(first, second) for first, second in zip(pairs["first"], pairs["second"], strict=True)]
    assert keys == [("depth",)] * 6 + [("dropout",)] * 3  # 2 columns of 3 pairs, 3 rows of one
    assert pairs.loc[pairs["p"].idxmin(), "p_holm"] == pytest.approx(9 * pairs["p"].min())  # one family
    grid = pairs_grid(findings)
    assert grid["depth"].tolist()[-3:] == ["1", "2", "3"]
    assert grid["dropout"].tolist()[-3:] == ["0.25 − 0"] * 3
    assert grid["depth"].tolist()[:2] == ["2 − 1", "3 − 1"]


def test_the_table_has_rows_and_columns(made_up: Findings) -> None:
    findings = with_figures(made_up, additive(np.random.default_rng(7), 5, 0.2))
    table = cells_grid(findings)
    assert list(table) == ["depth", "dropout=0 (%)", "dropout=0.25 (%)"]
    assert table["depth"].tolist() == ["1", "2", "3"]
    mean = findings.table["test_accuracy"][4]
    assert table["dropout=0 (%)"][2].startswith(f"{100 * mean:.2f} (")
    assert effects_grid(findings)["depth"].tolist()[3:5] == ["all", "all"]


def test_pictures_show_what_was_measured(made_up: Findings) -> None:
    figures = additive(np.random.default_rng(8), 5, 0.2)
    figures[:, 3] = np.nan
    findings = with_figures(made_up, figures)
    study = findings.study
    heat: Any = grid_plots.heat_figure(findings.table, study.axes, study.measure, "title")
    shown = heat.axes[0].images[0].get_array()
    assert shown.shape == (3, 2)
    assert shown[2, 1] == pytest.approx(100 * findings.table["test_accuracy"][5])
    words = [text.get_text() for text in heat.axes[0].texts]
    assert words[3] == "–"
    assert words[5].startswith(f"{100 * findings.table['test_accuracy'][5]:.2f}\n")
    [frame] = heat.axes[0].patches
    assert (round(frame.get_x() + 0.49), round(frame.get_y() + 0.48)) == (1, 2)
    seeds = findings.seeds.assign(level=[0] * len(findings.seeds))
    lines: Any = grid_plots.lines_figure(findings.table, seeds, study.axes, study.measure, "title")
    labels = [text.get_text() for text in lines.axes[0].get_legend().get_texts()]
    assert labels[-2:] == ["0", "0.25"]
    forest = grid_plots.forest_figure(findings.effects, ["x"] * len(findings.effects), study.measure.unit, "title")
    assert len(forest.axes[0].collections) == len(findings.effects)


def test_a_grid_runs_to_its_page(write_study: Write, command: Command, tmp_path: Path) -> None:
    write_study(PLAIN)
    done = command("run", "studies/mine", "--offline")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "reports" / "mine"
    page = (folder / "report.md").read_text()
    assert "| depth | dropout=0 (%) | dropout=0.5 (%) |" in page
    assert [title for title in re.findall("## (.+)", page) if "ell" in title or "ffect" in title] == [
        "Effects and interaction",
        "Cell by cell",
    ]
    assert page.index("| depth | dropout | seeds |") > page.index("## Cell by cell")
    assert "For each" not in page  # nothing is searched
    assert "Each combination of depth and dropout is then trained with 3 fresh seeds" in page
    for name in ("cells", "accuracy_vs_depth_and_dropout", "effects", "differences"):
        assert f"plots/{name}.png" in page
        assert (folder / "plots" / f"{name}.svg").exists()
    assert pd.read_csv(folder / "tables" / "seeds.csv")[["depth", "dropout"]].drop_duplicates().shape == (4, 2)
    assert len(pd.read_csv(folder / "tables" / "effects.csv")) == 8
    assert (folder / "tables" / "cells.tex").read_text().count(r"\\") == 3
    [row] = list_studies(tmp_path / "studies")
    assert (row.compares, row.state, row.confirm) == (("depth", "dropout"), "finished", (12, 12))
    assert row.best is not None
    assert row.best.startswith("depth=")


def test_its_runs_lie_in_their_cells_and_are_trained_again(write_study: Write, command: Command) -> None:
    write_study(PLAIN)
    assert command("run", "studies/mine").returncode == 0
    from mlflow import MlflowClient

    client: Any = MlflowClient("sqlite:///mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id], max_results=100)
    names = {run.info.run_id: run.info.run_name for run in runs}
    parents = [names.get(run.data.tags.get("mlflow.parentRunId", "")) for run in runs]
    assert parents.count("mine") == 4
    assert parents.count("depth=3,dropout=0.5") == 3
    again = command("run", "studies/mine")  # trains nothing, writes nothing twice
    assert again.returncode == 0
    assert len(client.search_runs([runs[0].info.experiment_id], max_results=100)) == len(runs)
    seed = read_study(Path("studies/mine")).confirmation_seed(0, 1)
    replayed = command("replay", "studies/mine", "dropout=0.5,depth=3", "--seed", str(seed), "--stack")
    assert replayed.returncode == 0
    assert "depth=3,dropout=0.5 seed" in replayed.stdout + replayed.stderr
    edited = command("run", "studies/mine", "--set", "dropout=[0, 0.25]")
    assert edited.returncode == 2
    assert "levels.dropout was [0.0, 0.5], is [0.0, 0.25]" in edited.stderr


def test_two_grids_side_by_side(write_study: Write, command: Command, tmp_path: Path) -> None:
    for name, text in (("one", PLAIN), ("two", PLAIN.replace("[0, 0.5]", "[0.5, 0.75]"))):
        folder = write_study(text, name)
        drive(read_study(folder), folder / "journal.log")
    assert command("compare", "studies/one", "studies/two", "--out", "both").returncode == 0
    page = (tmp_path / "both" / "report.md").read_text()
    assert "| one | digits | depth=2,dropout=0 |" in page
    differences = page[page.index("## Differences") : page.index("## The studies")]
    assert differences.count("| depth=") == 2  # the cells that both have
    assert "| depth=3,dropout=0.5 | two − one |" in differences


def test_the_screen_has_a_column_for_each_key(write_study: Write) -> None:
    study = read_study(write_study(GRID))
    progress = Progress(study, quiet=True)
    trials = [study.confirmation(level, 0, 0, study.config(level, {})) for level in study.levels]
    progress.begin(trials)
    table = progress.table()
    assert [column.header for column in table.columns[:2]] == ["depth", "dropout"]
    assert list(table.columns[1].cells) == ["0", "0.25"] * 3
    assert str(table.caption).startswith("confirming 6 cells of depth and dropout: 6 trainings\n")


def test_a_name_says_both_keys() -> None:
    assert named({"widths": (500, 400), "dropout": 0.1}) == "widths=500-400,dropout=0.1"
    assert str(Cell(("lr", "activation"), (1e-3, "relu"))) == "lr=0.001,activation=relu"
