"""A study that is told to stop: the epoch in hand ends, no run stays open, and the same command goes on."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from .conftest import SMALL, Done, begun
from .test_tracking import runs_of

Write = Callable[[str], Path]
Command = Callable[..., Done]
LONG = SMALL.replace("epochs = 4", "epochs = 100").replace("patience = 2", "patience = 100")


def started(folder: Path) -> subprocess.Popen[str]:
    """A study that is training."""
    process = begun("run", "studies/mine", cwd=folder, start_new_session=True)
    journal = folder / "studies" / "mine" / "journal.log"
    limit = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < limit:
        if journal.exists() and '"intermediate_value"' in journal.read_text():
            return process
        time.sleep(0.01)  # the training takes seconds, a group less than one
    process.kill()
    raise AssertionError(process.communicate()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_after_the_epoch_and_goes_on(
    number: signal.Signals, smoke: Path, write_study: Write, command: Command, tmp_path: Path
) -> None:
    shutil.copy(smoke / "mlflow.db", tmp_path)
    write_study(LONG)
    process = started(tmp_path)
    os.killpg(process.pid, number)  # a terminal and a scheduler tell the whole group
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping after the epoch in hand" in out
    assert "stopped; the same command goes on from here" in error
    assert "Traceback" not in error
    states = {run.info.status for run in runs_of(MlflowClient(f"sqlite:///{tmp_path}/mlflow.db"), "mine")}
    assert "KILLED" in states
    assert states <= {"KILLED", "FINISHED"}  # none open; a group may have ended before the signal came
    if number == signal.SIGTERM:
        return  # it goes on in the same way
    assert command("run", "studies/mine").returncode == 0
    table = pd.read_csv(tmp_path / "reports" / "mine" / "tables" / "compare.csv")
    assert table["trials"].tolist() == [6, 6]
    assert table["seeds"].tolist() == [2, 2]


def test_a_second_one_ends_it_at_once(smoke: Path, write_study: Write, tmp_path: Path) -> None:
    shutil.copy(smoke / "mlflow.db", tmp_path)
    write_study(LONG)
    process = started(tmp_path)
    process.send_signal(signal.SIGSTOP)  # so that no epoch ends between the one and the other
    for number in (signal.SIGINT, signal.SIGTERM):
        os.killpg(process.pid, number)
    process.send_signal(signal.SIGCONT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on from here" not in error  # it has not stopped politely


def test_nobody_needs_to_listen(smoke: Path, write_study: Write, tmp_path: Path) -> None:
    """`harness run ... 2>&1 | head -1`: what reads the screen leaves, and nothing else changes."""
    shutil.copy(smoke / "mlflow.db", tmp_path)
    write_study(SMALL)
    process = begun("run", "studies/mine", cwd=tmp_path, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert (tmp_path / "reports" / "mine" / "report.html").exists()
    runs = runs_of(MlflowClient(f"sqlite:///{tmp_path}/mlflow.db"), "mine")
    assert len(runs) == 1 + 2 + 2 * (6 + 2)
    assert {run.info.status for run in runs if "container" in run.data.tags} == {"FINISHED"}
    assert not [run for run in runs if "incomplete" in run.data.tags]
