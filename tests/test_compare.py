"""Several studies side by side: `harness compare` and `harness list`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from harness.analysis import Findings, find, read_results
from harness.analysis.studies import differences_table
from harness.errors import UserError
from harness.journal import hold
from harness.report.compare import compare
from harness.report.listing import HEADINGS, list_studies
from harness.study.file import read_study

from .conftest import SMALL, Done
from .test_report import Page
from .test_search import drive

Write = Callable[..., Path]
Command = Callable[..., Done]


def finished(write: Write, name: str, text: str = SMALL, seeds: int = 3) -> Findings:
    folder = write(text, name)
    drive(read_study(folder, [f"budget.seeds={seeds}"]), folder / "journal.log")
    return find(read_results(folder / "journal.log"))


def test_two_studies_make_one_table_and_plot(write_study: Write, tmp_path: Path) -> None:
    one, two = finished(write_study, "one"), finished(write_study, "two", SMALL.replace("[1, 2]", "[2, 3]"))
    folder = compare([one, two], tmp_path / "out")
    table = pd.read_csv(folder / "tables" / "studies.csv")
    assert table["study"].tolist() == ["one", "one", "two", "two"]
    assert table["value"].tolist() == [1, 2, 2, 3]
    assert table["seeds"].tolist() == [3] * 4
    assert (folder / "plots" / "studies.svg").exists()
    page = Page((folder / "report.html").read_text())
    assert page.open == page.outside == []
    assert "depth=2" in (folder / "report.md").read_text()


def test_the_same_value_is_compared_seed_by_seed(write_study: Write) -> None:
    one, two = finished(write_study, "one", seeds=3), finished(write_study, "two", seeds=4)
    runs = two.results.runs.copy()
    runs["test_accuracy"] += 0.01
    table = differences_table([one, find(replace(two.results, runs=runs))])
    assert table["value"].tolist() == ["depth=1", "depth=2"]
    assert table["n"].tolist() == [3, 3]  # seeds that both have
    assert table["difference"].tolist() == pytest.approx([0.01, 0.01])
    assert table["improvement"].between(0.5, 1.0).all()


def test_other_images_are_not_compared_by_a_test(write_study: Write, tmp_path: Path) -> None:
    one, two = finished(write_study, "one"), finished(write_study, "two")
    other = find(replace(two.results, environment={**two.results.environment, "data_sha256": "another"}))
    assert differences_table([one, other]).empty
    page = (compare([one, other], tmp_path / "out") / "report.md").read_text()
    assert "No value was measured on the same images in two of them" in page


def test_different_axes_share_a_plot(write_study: Write, tmp_path: Path) -> None:
    axis = SMALL.replace("depth = [1, 2]", 'activation = ["relu", "tanh"]')
    folder = compare([finished(write_study, "one"), finished(write_study, "two", axis)], tmp_path / "out")
    assert pd.read_csv(folder / "tables" / "studies.csv")["axis"].tolist() == ["depth"] * 2 + ["activation"] * 2


def test_a_study_is_not_compared_with_itself(write_study: Write, tmp_path: Path) -> None:
    one = finished(write_study, "one")
    with pytest.raises(UserError, match="needs at least two different studies, got one"):
        compare([one], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("metric", "unit"), [("macro_f1", "%"), ("loss", "nats")])
def test_studies_by_another_measure(metric: str, unit: str, write_study: Write, tmp_path: Path) -> None:
    text = f'metric = "{metric}"\n{SMALL}'
    folder = compare([finished(write_study, "one", text), finished(write_study, "two", text)], tmp_path / "out")
    table, page = pd.read_csv(folder / "tables" / "studies.csv"), (folder / "report.md").read_text()
    assert table[f"test_{metric}"].notna().all()
    assert f"| test {unit} | 95 % interval | train {unit} |" in page
    assert f"mean difference ({'nats' if metric == 'loss' else 'points'})" in page
    assert "accuracy" not in page


def test_studies_that_select_by_different_measures_are_not_compared(write_study: Write, tmp_path: Path) -> None:
    one, two = finished(write_study, "one"), finished(write_study, "two", f'metric = "loss"\n{SMALL}')
    with pytest.raises(UserError, match="must select by the same metric, got one by accuracy, two by loss"):
        compare([one, two], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_commands(write_study: Write, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    finished(write_study, "one")
    finished(write_study, "two")
    write_study(SMALL, "never")
    write_study(SMALL.replace("depth", "dept"), "wrong")
    done = command("compare", "studies/one", "studies/two")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reports" / "compare-one-two" / "report.html").exists()
    done = command("compare", "studies/one", "studies/never")
    assert (done.returncode, "never ran" in done.stderr) == (2, True)
    monkeypatch.setenv("COLUMNS", "200")
    done = command("list")
    assert done.returncode == 0, done.stderr
    for word in ("not begun", "finished", "12/12", "unknown key", "depth=", "accuracy 9"):
        assert word in done.stdout
    assert command("list", "nowhere").returncode == 2


def test_a_study_that_runs_says_who_runs_it(write_study: Write) -> None:
    folder = write_study(SMALL)
    drive(read_study(folder), folder / "journal.log")
    with hold(folder / "journal.log"):
        [row] = list_studies(folder.parent)
    assert len(row.cells) == len(HEADINGS)
    assert (row.state, row.by.startswith("process ")) == ("running", True)
    [row] = list_studies(folder.parent)
    assert (row.state, row.left, row.by) == ("finished", None, "")
    drive(read_study(folder, ["budget.seeds=2"]), folder / "journal.log")


def test_one_study_on_two_data_sets(write_study: Write, command: Command, tmp_path: Path) -> None:
    folder = write_study(SMALL)
    drive(read_study(folder), folder / "journal.log")
    drive(read_study(folder, dataset="mnist"), folder / "journal-mnist.log")
    done = command("compare", "studies/mine")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "reports" / "compare-mine-mnist-mine" / "tables" / "studies.csv")
    assert table["study"].tolist() == ["mine-mnist"] * 2 + ["mine"] * 2
    done = command("compare", "studies/mine@digits", "studies/mine@mnist")
    assert (tmp_path / "reports" / "compare-mine-mine-mnist").is_dir(), done.stderr
