"""`harness new`: a study file for a user's data that runs as it is; and the tables that docs/uci.py writes."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.errors import UserError
from harness.new import write_study
from harness.study.file import read_study

from .conftest import ROOT, Done

Command = Callable[..., Done]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table that nobody made for us: dates, names, gaps, words, and two things to learn."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    size, town = random.lognormal(4, 0.4, 160), random.choice(["Bern", "Lyon", "Ulm"], 160)
    table = pd.DataFrame(
        {
            "id": [f"house number {number}" for number in range(160)],
            "sold": pd.date_range("2020-01-01", periods=160).astype(str),
            "size": np.where(random.random(160) < 0.1, np.nan, size),
            "town": town,
            "country": "EU",
            "price": 1000 * size + 5e4 * (town == "Bern") + random.normal(0, 1e3, 160),
            "kind": np.where(size > np.quantile(size, 0.7), "large", "small"),
        }
    )
    table.to_csv("houses.csv", index=False)
    return tmp_path


def test_a_study_for_a_table_runs_to_a_report_as_it_is(house: Path, command: Command) -> None:
    done = command("new", "prices", "--data", "houses.csv", "--target", "price", "--compare", "width")
    assert done.returncode == 0, done.stderr
    assert "harness run studies/prices" in done.stdout
    text = Path("studies/prices/study.toml").read_text()
    assert 'drop = ["id", "sold"]' in text
    assert "# sold: " in text
    study = read_study("studies/prices")
    assert (study.task, study.metric, study.axis) == ("regression", "rmse", "width")
    assert "width" not in study.tune
    small = ["--trials", "2", "--seeds", "3", "--searches", "3", "--epochs", "3", "--offline"]
    done = command("run", "studies/prices", *small)
    assert done.returncode == 0, done.stderr
    assert "country" in done.stdout, "what is the same in every row is left out, and told"
    page = Path("reports/prices/report.md").read_text()
    assert "RMSE" in page
    assert "test rows" in page


def test_classes_and_images_have_their_own_words(house: Path, command: Command) -> None:
    write_study("kinds", "houses.csv", "kind")
    study = read_study("studies/kinds")
    assert (study.task, study.metric, study.levels) == ("classification", "accuracy", (1, 2, 3, 4))
    random = np.random.default_rng(0)
    np.savez("pictures.npz", x=random.integers(0, 255, (60, 8, 8), dtype=np.uint8), y=random.integers(0, 3, 60))
    text = write_study("pictures", "pictures.npz", "", "augment_shift").read_text()
    assert "scaling" not in text
    assert "48 images to train on, 12 for the test" in text
    assert read_study("studies/pictures").levels == (0, 1, 2)


MISTAKES = {
    "no such file": (["x", "--data", "hose.csv", "--target", "price"], "hose.csv"),
    "no such column": (["x", "--data", "houses.csv", "--target", "prize"], "did you mean price?"),
    "no such knob": (["x", "--data", "houses.csv", "--target", "price", "--compare", "dept"], "did you mean depth?"),
    "no list of values": (["x", "--data", "houses.csv", "--target", "price", "--compare", "lr"], "--compare: must be"),
    "of another model": (["x", "--data", "houses.csv", "--target", "price", "--compare", "padding"], "model = 'cnn'"),
    "elsewhere": (["x", "--data", "/etc/hosts.csv", "--target", "price"], "outside of the current folder"),
    "leads out": (["../x", "--data", "houses.csv", "--target", "price"], "name: must be that of a folder"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(case: str, house: Path, command: Command) -> None:
    arguments, message = MISTAKES[case]
    done = command("new", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(house.rglob("study.toml"))


def test_a_study_that_is_there_is_not_touched(house: Path) -> None:
    path = write_study("prices", "houses.csv", "price")
    path.write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        write_study("prices", "houses.csv", "price")
    assert path.read_text() == "mine"


def test_published_tables_and_splits_are_written_as_csv(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("uci", ROOT / "docs" / "uci.py")
    assert spec is not None
    assert spec.loader is not None
    uci = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(uci)
    there = tmp_path / "there" / "yacht" / "data"
    there.mkdir(parents=True)
    (there / "data.txt").write_text("-2.3 0.568 4.78 3.99 3.17 0.125 0.11 \n-2.3 0.568 4.78 3.99 3.17 0.150 0.27 \n\n")
    for split in range(20):
        (there / f"index_test_{split}.txt").write_text(f"{split % 2}\n1.000000000000000000e+00\n")
    table, splits = uci.write("yacht", tmp_path, f"file://{tmp_path / 'there'}")
    assert table == tmp_path / "UCI" / "yacht.csv"
    assert table.read_text().splitlines()[1] == "-2.3,0.568,4.78,3.99,3.17,0.125,0.11"
    rows = pd.read_csv(splits)
    assert list(rows["split"]) == [split for split in range(20) for _ in range(2)]
    assert set(rows["row"]) == {0, 1}
