"""What befalls a study from outside while it runs: its files deleted, replaced or cut. Each is told in one line, and
what can be kept is.
"""

import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import report
from harness.driver import Driver
from harness.tracking import Tracker
from harness.trial import Outcome, Told, Trial

from .conftest import SMALL, Done, harness

Write = Callable[..., Path]
Strike = Callable[[Path], object]
HALF = 9
"""Outcomes after which something happens: of 12 trials and 4 confirmations."""


@pytest.fixture
def strike(write_study: Write, command: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run the small study, to which something happens in the middle; what the command said, and its table."""
    write_study(SMALL)

    def run(happens: Strike | None, *more: str) -> tuple[Done, pd.DataFrame | None]:
        outcomes = 0

        class Struck(Driver):
            def take(self, trial: Trial, event: Told) -> None:
                nonlocal outcomes
                super().take(trial, event)
                outcomes += isinstance(event, Outcome)
                if outcomes == HALF and isinstance(event, Outcome) and happens:
                    happens(tmp_path)

        with monkeypatch.context() as patch:
            patch.setattr("harness.driver.Driver", Struck)
            done = command("run", "studies/mine", "--quiet", *more)
        table = tmp_path / "reports" / "mine" / "tables" / "compare.csv"
        return done, pd.read_csv(table).drop(columns="seconds") if table.exists() else None

    return run


Run = Callable[..., tuple[Done, pd.DataFrame | None]]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Of the small study when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "studies" / "mine").mkdir(parents=True)
    (folder / "studies" / "mine" / "study.toml").write_text(SMALL)
    done = harness("run", "studies/mine", "--offline", "--quiet", cwd=folder, environment={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return pd.read_csv(folder / "reports" / "mine" / "tables" / "compare.csv").drop(columns="seconds")


def runs_in(store: Path) -> int:
    with closing(sqlite3.connect(store)) as database:
        return int(database.execute("select count(*) from runs where status != 'RUNNING'").fetchone()[0])


JOURNAL = Path("studies/mine/journal.log")


@pytest.mark.parametrize("what", ["journal", "folder"])
def test_a_journal_that_is_deleted_is_written_anew(what: str, strike: Run, table: pd.DataFrame) -> None:
    def delete(folder: Path) -> None:
        for file in (folder / "studies" / "mine").iterdir():
            if what == "folder" or file.name == "journal.log":
                file.unlink()
        if what == "folder":
            (folder / "studies" / "mine").rmdir()

    done, found = strike(delete, "--offline")
    assert done.returncode == 0, done.stderr
    said = f"warning: {JOURNAL}: was deleted while the study ran, and was written anew, whole"
    assert said in done.stdout.splitlines()
    pd.testing.assert_frame_equal(found, table)
    if what == "journal":
        before = JOURNAL.read_bytes()
        done, found = strike(None, "--offline")  # nothing is left to do
        assert done.returncode == 0
        assert JOURNAL.read_bytes() == before


def test_a_journal_that_is_replaced_stops_the_study(strike: Run, table: pd.DataFrame) -> None:
    wrote = b""

    def replace(folder: Path) -> None:
        nonlocal wrote
        wrote = JOURNAL.read_bytes()
        JOURNAL.with_name("other").write_bytes(wrote[: wrote.rfind(b"\n", 0, len(wrote) // 2) + 1])
        JOURNAL.with_name("other").replace(JOURNAL)

    done, _ = strike(replace, "--offline")
    assert done.returncode == 1
    assert done.stderr == (
        f"harness: {JOURNAL}: was replaced by another file while this study ran; what this run wrote is kept as "
        f"{JOURNAL.with_name('journal.old1.log')}\n"
    )
    assert JOURNAL.with_name("journal.old1.log").read_bytes() == wrote
    done, found = strike(None, "--offline")
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(found, table)


def test_a_journal_that_is_cut_stops_the_study(strike: Run, table: pd.DataFrame) -> None:
    done, _ = strike(lambda _: os.truncate(JOURNAL, JOURNAL.stat().st_size // 2), "--offline")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "bytes while this study ran; the same command goes on from what is left" in done.stderr
    done, found = strike(None, "--offline")
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(found, table)


@pytest.mark.parametrize("what", ["deleted", "replaced"])
def test_a_store_that_is_deleted_is_written_anew(what: str, strike: Run, table: pd.DataFrame, tmp_path: Path) -> None:
    def delete(folder: Path) -> None:
        (folder / "mlflow.db").unlink()
        if what == "replaced":
            (folder / "mlflow.db").touch()

    done, found = strike(delete)
    assert done.returncode == 0, done.stderr
    said = "warning: sqlite:///mlflow.db was deleted or replaced while the study ran; its runs are written anew"
    assert said in done.stdout.splitlines()
    assert "lacks" not in done.stdout
    pd.testing.assert_frame_equal(found, table)
    assert runs_in(tmp_path / "mlflow.db") == 12 + 4 + 2 + 1  # trials, confirmations, values and the study
    named = set(re.findall(r"/runs/(\w{32})", (tmp_path / "reports" / "mine" / "report.html").read_text()))
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert named
        assert named <= {run for (run,) in database.execute("select run_uuid from runs")}


TABLE = Path("studies/mine/rows.csv")
OWN = SMALL.replace('dataset = "digits"', 'dataset = "rows.csv"\ntarget = "y"')
FEW = ["--trials", "3", "--offline"]


def rows(shift: int = 0, number: int = 40) -> str:
    return "x,y\n" + "".join(f"{row + shift},{'ab'[row % 2]}\n" for row in range(number))


def swapped(folder: Path) -> None:
    (folder / "other").write_text(rows(shift=1))  # of the same size, and renamed as editors do
    (folder / "other").replace(folder / TABLE)


@pytest.mark.parametrize("more", [(), pytest.param(("--workers", "2"), marks=pytest.mark.soak)])
def test_a_data_file_that_is_swapped_is_told(more: tuple[str, ...], write_study: Write, strike: Run) -> None:
    write_study(OWN)
    TABLE.write_text(rows())
    done, table = strike(None, *FEW, *more)
    assert done.returncode == 0, done.stderr
    assert "changed" not in done.stdout
    JOURNAL.unlink()
    done, found = strike(swapped, *FEW, *more)
    assert done.returncode == 0, done.stderr
    [told] = [line for line in done.stdout.splitlines() if "changed" in line]
    assert re.fullmatch(
        r"warning: studies/mine: rows\.csv changed while this study ran: rows\.csv had sha256 \w{12}, has \w{12}; "
        r"what was trained and measured is of what was read when it began; put it back .*",
        told,
    )
    assert done.stdout.index(told) < done.stdout.index("report   ")
    pd.testing.assert_frame_equal(found, table)  # what was read is what is trained on, here and in Ray's workers
    done, _ = strike(None, *FEW)
    assert done.returncode == 2
    assert "its journal holds trials on other data: rows.csv had sha256" in done.stderr


def gone(folder: Path) -> None:
    (folder / TABLE).unlink()


def no_table(folder: Path) -> None:
    (folder / TABLE).write_bytes(b"\x00\xff")


def the_same(folder: Path) -> None:
    (folder / TABLE).write_text(rows())


@pytest.mark.parametrize(("happens", "told"), [(gone, "there is no rows.csv"), (no_table, "rows.csv"), (the_same, "")])
def test_a_data_file_that_is_gone_is_told_and_one_written_again_is_not(
    happens: Strike, told: str, write_study: Write, strike: Run
) -> None:
    write_study(OWN)
    TABLE.write_text(rows())
    done, _ = strike(happens, *FEW)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "changed while" in line]
    assert len(said) == bool(told)
    assert all("it cannot be read any more" in line and told in line for line in said)


def test_of_a_folder_the_files_are_named(write_study: Write, strike: Run) -> None:
    from PIL import Image

    folder = write_study(SMALL.replace('dataset = "digits"', 'dataset = "shapes"'))
    for number in range(40):
        file = folder / "shapes" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 5 * number).save(file)

    def painted(_: Path) -> None:
        for number in range(0, 10, 2):
            Image.new("L", (4, 4), 255).save(folder / "shapes" / "a" / f"{number}.png")

    done, _ = strike(painted, *FEW)
    assert done.returncode == 0, done.stderr
    said = "studies/mine: shapes/a/0.png, shapes/a/2.png, shapes/a/4.png and 2 files more changed while this study ran"
    assert said in done.stdout


def test_the_report_waits_for_no_store(strike: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    write, drain = report.write, Tracker.drain

    def written(*arguments: Any) -> Path:
        order.append("report")
        return write(*arguments)

    def drained(tracker: Tracker, limit: float | None = None) -> None:
        order.append("store")
        drain(tracker, limit)

    monkeypatch.setattr("harness.report.write", written)
    monkeypatch.setattr(Tracker, "drain", drained)
    done, _ = strike(None)
    assert done.returncode == 0, done.stderr
    assert order == ["report", "store"]
