"""What befalls a study from outside while it runs: its files deleted, replaced or cut. Each is told in one line, and
what can be kept is.
"""

import errno
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import report
from harness.analysis.results import read_results
from harness.driver import Driver
from harness.tracking import Tracker
from harness.trial import Outcome, Told, Trial

from .conftest import SMALL, Done, Tell, harness
from .soak import times
from .test_kill import figures

Write = Callable[..., Path]
Strike = Callable[[Path], object]
HALF = 9
"""Outcomes after which something happens: of 12 trials and 4 confirmations."""


@contextmanager
def struck(happens: Callable[[], object] | None, at: int = HALF) -> Iterator[None]:
    """Something happens to a study once so many of its outcomes are there."""
    outcomes = 0

    class Struck(Driver):
        def take(self, trial: Trial, event: Told) -> None:
            nonlocal outcomes
            super().take(trial, event)
            outcomes += isinstance(event, Outcome)
            if outcomes == at and isinstance(event, Outcome) and happens:
                happens()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.driver.Driver", Struck)
        yield


@pytest.fixture
def strike(write_study: Write, command: Callable[..., Done], tmp_path: Path) -> object:
    """Run the small study, to which something happens in the middle; what the command said, and its table."""
    write_study(SMALL)

    def run(happens: Strike | None, *more: str) -> tuple[Done, pd.DataFrame | None]:
        with struck((lambda: happens(tmp_path)) if happens else None):
            done = command("run", "studies/mine", *more)
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
    done = harness("run", "studies/mine", "--offline", cwd=folder, environment={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return pd.read_csv(folder / "reports" / "mine" / "tables" / "compare.csv").drop(columns="seconds")


def runs_in(store: Path) -> int:
    with closing(sqlite3.connect(store)) as database:
        return int(database.execute("select count(*) from runs where status != 'RUNNING'").fetchone()[0])


JOURNAL = Path("studies/mine/journal.log")


def delete_journal(folder: Path) -> None:
    (folder / JOURNAL).unlink()


def delete_folder(folder: Path) -> None:
    shutil.rmtree(folder / JOURNAL.parent)


def replace_journal(folder: Path) -> None:
    """By half of itself, as a backup would be."""
    text = (folder / JOURNAL).read_bytes()
    (folder / "other").write_bytes(text[: text.rfind(b"\n", 0, len(text) // 2) + 1])
    (folder / "other").replace(folder / JOURNAL)


def cut_journal(folder: Path) -> None:
    os.truncate(folder / JOURNAL, (folder / JOURNAL).stat().st_size // 2)


def delete_store(folder: Path) -> None:
    (folder / "mlflow.db").unlink()


def replace_store(folder: Path) -> None:
    (folder / "mlflow.db").unlink()
    (folder / "mlflow.db").touch()


@pytest.mark.parametrize("delete", [delete_journal, delete_folder])
def test_a_journal_that_is_deleted_is_written_anew(delete: Strike, strike: Run, table: pd.DataFrame) -> None:
    done, found = strike(delete, "--offline")
    assert done.returncode == 0, done.stderr
    said = f"warning: {JOURNAL}: was deleted while the study ran, and was written anew, whole"
    assert said in done.stdout.splitlines()
    pd.testing.assert_frame_equal(found, table)
    if delete is delete_journal:
        before = JOURNAL.read_bytes()
        done, found = strike(None, "--offline")  # nothing is left to do
        assert done.returncode == 0
        assert JOURNAL.read_bytes() == before


def test_a_journal_that_is_replaced_stops_the_study(strike: Run, table: pd.DataFrame) -> None:
    wrote = b""

    def replace(folder: Path) -> None:
        nonlocal wrote
        wrote = JOURNAL.read_bytes()
        replace_journal(folder)

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
    done, _ = strike(cut_journal, "--offline")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "bytes while this study ran; the same command goes on from what is left" in done.stderr
    done, found = strike(None, "--offline")
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(found, table)


@pytest.mark.parametrize("happens", [delete_store, replace_store])
def test_a_store_that_is_deleted_is_written_anew(
    happens: Strike, strike: Run, table: pd.DataFrame, tmp_path: Path
) -> None:
    done, found = strike(happens)
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


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """Mounts a disk of a size, of its own, on a folder; or mounts it anew with other options."""
    mounted: list[Path] = []

    def mount(name: str, options: str) -> Path:
        place = tmp_path / name
        place.mkdir(parents=True, exist_ok=True)
        options = f"remount,{options}" if place in mounted else options
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("only root may mount a disk that can be full")
        mounted.append(place)
        return place

    yield mount
    for place in set(mounted):
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> None:
    """To its last byte."""
    with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


Disk = Callable[[str, str], Path]
LACKS = re.compile(
    r"warning: MLflow lacks \d+ runs of this study \(.*\); harness sync studies/mine writes them from the j.*"
)


SOAK = pytest.mark.soak


@pytest.mark.parametrize("fault", ["full", pytest.param("read-only", marks=SOAK), pytest.param("a file", marks=SOAK)])
def test_artifacts_that_cannot_be_written_hold_nothing_up(
    fault: str, strike: Run, disk: Disk, table: pd.DataFrame, command: Callable[..., Done], tmp_path: Path
) -> None:
    artifacts = tmp_path / "mlruns"
    if fault != "a file":
        disk("mlruns", "size=2m")

    def happens(folder: Path) -> None:
        if fault == "read-only":
            disk("mlruns", "ro")
        elif fault == "full":
            fill(artifacts)
        else:
            shutil.rmtree(artifacts)
            artifacts.write_text("")

    done, found = strike(happens)
    assert (done.returncode, done.stderr) == (0, "")
    assert len([line for line in done.stdout.splitlines() if LACKS.fullmatch(line)]) == 1, done.stdout
    pd.testing.assert_frame_equal(found, table)
    if fault == "a file":
        artifacts.unlink()
    else:
        (disk("mlruns", "rw,size=64m") / "ballast").unlink(missing_ok=True)
    done = command("sync", "studies/mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert "lacks" not in done.stdout
    assert runs_in(tmp_path / "mlflow.db") >= 12 + 4 + 2 + 1
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        whole = "select count(*) from runs where run_uuid not in (select run_uuid from tags where key = 'incomplete')"
        assert database.execute(whole).fetchone() == (12 + 4 + 2 + 1,)
        assert database.execute("select count(*) from runs where status = 'RUNNING'").fetchone() == (0,)


def test_a_full_disk_stops_the_study_in_a_line_and_loses_nothing(strike: Run, disk: Disk, table: pd.DataFrame) -> None:
    text = Path("studies/mine/study.toml").read_text()
    folder = disk("studies/mine", "size=2m")
    (folder / "study.toml").write_text(text)

    done, _ = strike(lambda _: fill(folder), "--offline")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left on device; what studies/mine/journal.log holds is whole, and once the disk" in done.stderr
    before = len(read_results(JOURNAL).runs.query("status == 'finished' or status == 'pruned'"))
    assert before >= HALF - 1
    (folder / "ballast").unlink()
    done, found = strike(None, "--offline")
    assert (done.returncode, done.stderr) == (0, "")
    pd.testing.assert_frame_equal(found, table)


def test_an_export_to_a_full_disk_is_told_in_a_line(
    strike: Run, disk: Disk, command: Callable[..., Done], tmp_path: Path
) -> None:
    assert strike(None, "--offline")[0].returncode == 0
    small = disk("small", "size=16k")
    done = command("export", "studies/mine", "depth=1", "small/model")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    assert "small/model: cannot be written: No space left on device" in done.stderr
    assert not any(small.iterdir())
    disk("small", "size=8m")
    assert command("export", "studies/mine", "depth=1", "small/model").returncode == 0


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_told(
    code: int, strike: Run, table: pd.DataFrame, command: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)
    for _ in range(2):  # nothing is left that would keep the next one out
        done, found = strike(None, "--offline")
        assert (done.returncode, done.stderr) == (0, "")
        [told] = [line for line in done.stdout.splitlines() if "locks" in line]
        assert told.startswith(
            f"warning: studies/mine: this file system has no locks ({os.strerror(code)}), so a second"
        )
        pd.testing.assert_frame_equal(found, table)
    done = command("list")
    assert (done.returncode, done.stderr) == (0, "")
    assert "finished" in done.stdout


@pytest.mark.parametrize("link", ["reports", "reports/mine", "reports/mine/tables"])
@pytest.mark.parametrize("when", ["while it runs", "while it is drawn"])
def test_a_report_folder_that_becomes_a_link_is_not_followed(
    link: str, when: str, strike: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, outside, before = tmp_path / "work", tmp_path / "outside", set[Path]()
    shutil.copytree(tmp_path / "studies", work / "studies")
    outside.mkdir()
    monkeypatch.chdir(work)

    def swap(*_: object) -> None:
        if (work / link).exists():  # what is there by now is there too, so that nothing else gives it away
            shutil.copytree(work / link, outside, dirs_exist_ok=True)
            shutil.rmtree(work / link)
        (work / link).parent.mkdir(parents=True, exist_ok=True)
        (work / link).symlink_to(outside)
        before.update(outside.rglob("*"))

    module = sys.modules["harness.report.write"]
    draw = vars(module)["save_all"]
    if when == "while it is drawn":

        def drawn(*what: Any) -> None:
            draw(*what)
            swap()

        monkeypatch.setattr(module, "save_all", drawn)
    done, _ = strike(swap if when == "while it runs" else None, "--offline")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
    assert re.search(r"reports\S*: (leads out of|became a link)", done.stderr)
    assert "harness report studies/mine writes it from the journal" in done.stderr
    assert set(outside.rglob("*")) == before


@pytest.mark.parametrize("umask", [0o077, 0o022])
def test_files_are_as_open_as_the_user_wants_them(umask: int, strike: Run, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        done, _ = strike(delete_journal)  # what is written anew is as it was
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    made = [path for path in tmp_path.rglob("*") if path.name not in ("studies", "mine", "study.toml")]
    names = {path.suffix for path in made}
    assert {".log", ".html", ".csv", ".safetensors", ".db"} <= names
    wrong = {str(path.relative_to(tmp_path)) for path in made if path.stat().st_mode & 0o777 & umask}
    assert not wrong
    closed = [path for path in made if path.is_file() and path.stat().st_mode & 0o777 != 0o666 & ~umask]
    assert not closed, closed


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


STRUCK: dict[str, Strike] = {
    "journals deleted": delete_journal,
    "folders deleted": delete_folder,
    "journals replaced": replace_journal,
    "journals cut": cut_journal,
    "stores deleted": delete_store,
    "stores replaced": replace_store,
}


@pytest.mark.soak
def test_faults_while_a_study_runs(
    write_study: Write, command: Callable[..., Done], tmp_path: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind again and again, each time at a random moment: the study goes on, or is told in a line and goes on when
    it is asked to, to the same figures.
    """
    monkeypatch.setattr(
        "harness.report.write", lambda findings, folder, second: folder
    )  # is tested where it is written
    chance, told = random.Random(0), 0
    words, often = ["run", "studies/mine", "--quiet"], Counter[str]()
    write_study(SMALL)
    assert command(*words, "--offline").returncode == 0
    wanted = figures(read_results(JOURNAL))
    for kind, happens in STRUCK.items():
        offline = [] if kind.startswith("stores") else ["--offline"]
        for _ in range(times(4 if kind.startswith("stores") else 12)):
            for place in ("studies", "mlruns", "mlflow.db"):
                shutil.rmtree(place) if Path(place).is_dir() else Path(place).unlink(missing_ok=True)
            write_study(SMALL)
            at = chance.randint(1, 16)  # of 12 trials and 4 confirmations
            with struck(partial(happens, tmp_path), at):
                done = command(*words, *offline)
            if done.returncode:
                assert (done.returncode, done.stderr.count("\n")) == (1, 1), (kind, at, done)
                told, done = told + 1, command(*words, *offline)
            assert (done.returncode, done.stderr) == (0, ""), (kind, at)
            pd.testing.assert_frame_equal(figures(read_results(JOURNAL)), wanted, obj=f"{kind} at {at}")
            assert offline or runs_in(tmp_path / "mlflow.db") == 19, at
            often[kind.replace(" ", "_")] += 1
    tell(f"at random moments; {told} stopped the study in one line; figures equal to the last bit", **often)
