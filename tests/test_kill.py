"""kill -9 at moments picked by a seed: the same command always goes on, and ends as if nothing had happened.

A few kills here; `make soak` has two hundred of them.
"""

import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from harness.analysis.results import Results, read_results

from .conftest import Tell, begun, harness
from .soak import times
from .test_tracking import plain_key, runs_of

SECONDS = 40  # the longest that a driver may be left alone before it is killed


@dataclass
class Killer:
    """Runs a study and kills its driver: when the journal has grown by a random share, when the store holds so
    many runs more, or at a random time.

    Half of the kills also take the last bytes off the journal, as a power cut does: a line is then torn, or gone.
    """

    folder: Path
    bytes: int  # of an undisturbed run's journal
    chance: random.Random
    kills: int = 0
    torn: int = 0
    exits: list[int] = field(default_factory=list)

    @property
    def journal(self) -> Path:
        return self.folder / "studies" / "smoke" / "journal.log"

    def size(self) -> int:
        return self.journal.stat().st_size if self.journal.exists() else 0

    def runs(self) -> int:
        """How many runs the store holds; none while it cannot be read."""
        store = self.folder / "mlflow.db"
        if not store.exists():
            return 0
        try:
            with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=1)) as database:
                return int(database.execute("select count(*) from runs").fetchone()[0])
        except sqlite3.OperationalError:
            return 0

    def run_and_kill(self) -> bool:
        """One driver's life; whether it was killed before it ended by itself."""
        kind = self.chance.choice(["journal", "journal", "journal", "store", "time"])
        goal = self.size() + self.chance.uniform(0, 0.2) * self.bytes if kind == "journal" else math.inf
        runs = self.runs() + self.chance.randint(1, 20) if kind == "store" else math.inf
        limit = self.chance.uniform(1, 6) if kind == "time" else SECONDS
        process = begun("run", "studies/smoke", cwd=self.folder, stdout=subprocess.DEVNULL)
        began = time.monotonic()
        while process.poll() is None and self.size() < goal and time.monotonic() - began < limit:
            time.sleep(0.002)
            if kind == "store" and self.runs() >= runs:
                break
        time.sleep(self.chance.uniform(0, 0.02))
        if process.poll() is not None:
            _, error = process.communicate()
            assert process.returncode == 0, error
            return False
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.kills += 1
        if self.size() and self.chance.random() < 0.5:
            self._tear()
        return True

    def _tear(self) -> None:
        """Take some of the last line: at most as much as one write, which is what a power cut can cost."""
        text = self.journal.read_bytes()
        last = text.rstrip(b"\n").rfind(b"\n") + 1
        os.truncate(self.journal, self.chance.randint(last, len(text) - 1))
        self.torn += 1


def compared(folder: Path) -> pd.DataFrame:
    """tables/compare.csv but for the time it took."""
    return pd.read_csv(folder / "reports" / "smoke" / "tables" / "compare.csv").drop(columns="seconds")


def figures(results: Results) -> pd.DataFrame:
    """All that is known of every trial, but for the times."""
    return results.runs.drop(columns=["started", "ended", "seconds"])


def assert_same(folder: Path, smoke: Path) -> None:
    pd.testing.assert_frame_equal(compared(folder), compared(smoke), check_exact=True)
    journals = [place / "studies" / "smoke" / "journal.log" for place in (folder, smoke)]
    pd.testing.assert_frame_equal(
        *(figures(read_results(journal)) for journal in journals), check_exact=True
    )  # to the last bit
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    runs = runs_of(client, "smoke")
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED", "FAILED"}  # none RUNNING
    whole = [run for run in runs if "incomplete" not in run.data.tags]
    keys = [plain_key(run) for run in whole]
    undisturbed = [plain_key(run) for run in runs_of(MlflowClient(f"sqlite:///{smoke}/mlflow.db"), "smoke")]
    assert sorted(keys) == sorted(undisturbed)  # nothing missing, nothing double
    cut_short = {run.info.run_id: run for run in runs if "incomplete" in run.data.tags}
    for run in cut_short.values():
        assert run.info.status == "FAILED"
        assert "its driver was killed" in run.data.tags["incomplete"]
    repeated = {run.data.tags["repeats"] for run in runs if "repeats" in run.data.tags}
    newest = {plain_key(run): run.info.run_id for run in reversed(list(cut_short.values()))}
    assert repeated <= set(cut_short)
    assert set(newest.values()) <= repeated  # each names the last of those that it repeats


def prepared(smoke: Path, folder: Path) -> Path:
    """A folder with the study."""
    (folder / "studies" / "smoke").mkdir(parents=True)
    shutil.copy(smoke / "studies" / "smoke" / "study.toml", folder / "studies" / "smoke")
    return folder


def kill(smoke: Path, tmp_path: Path, seed: int, kills: int) -> list[Killer]:
    """Studies killed again and again until there have been so many kills, each then run to its end and compared."""
    chance, killers = random.Random(seed), list[Killer]()
    for number in range(1000):
        folder = prepared(smoke, tmp_path / str(number))
        size = (smoke / "studies" / "smoke" / "journal.log").stat().st_size
        killer = Killer(folder, size, chance)
        killers.append(killer)
        while sum(one.kills for one in killers) < kills and killer.run_and_kill():
            pass
        last = harness("run", "studies/smoke", cwd=folder)
        assert last.returncode == 0, (seed, number, last.stderr)
        assert_same(folder, smoke)
        if sum(one.kills for one in killers) >= kills:
            break
        shutil.rmtree(folder)
    return killers


def test_killed_at_random_moments_it_goes_on(smoke: Path, tmp_path: Path) -> None:
    kill(smoke, tmp_path, seed=0, kills=2)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 11))
def test_kills(seed: int, smoke: Path, tmp_path: Path, tell: Tell) -> None:
    killers = kill(smoke, tmp_path, seed, kills=times(20))
    kills, torn = sum(one.kills for one in killers), sum(one.torn for one in killers)
    tell(
        f"{torn} took bytes off the journal; tables, figures and runs equal to the last bit",
        kills=kills,
        studies=len(killers),
    )
