"""What people see from the first second to the last: on a terminal, in a log, and with --quiet."""

import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import telling
from harness.console import Progress, print_table
from harness.journal.left import Expected
from harness.study.study import Study
from harness.telling import Teller, done_only
from harness.trial import Outcome

from .conftest import SMALL, begun, clean_environment

LITTLE = SMALL.replace("trials = 6", "trials = 2").replace("epochs = 4", "epochs = 1")


def test_the_first_line_comes_at_once_and_all_that_takes_seconds_is_told(write_study: Callable[[str], Path]) -> None:
    folder = write_study(LITTLE).parent.parent
    began = time.monotonic()
    process = begun("run", "studies/mine", "--device", "cpu", cwd=folder)
    assert process.stderr is not None
    first = process.stderr.readline()
    took = time.monotonic() - began
    out, err = process.communicate(timeout=120)
    said = first + err
    assert took < 5, "0.6 s on a machine that does nothing else"
    doing = [line[10:] for line in said.splitlines() if line.endswith("…")]
    assert doing == [
        "studies/mine: loading torch …",
        "loading the data …",
        "checking models on the data …",
        "opening MLflow's store …",
        "timing a few steps …",
        "looking at what came of it …",
        "writing the report …",
        "waiting for MLflow …",
    ]
    lines = [line for line in said.splitlines() if "  searching " in line]
    assert len(lines) == 1
    line = r"\d\d:\d\d:\d\d  searching depth [12], [12]: 4 trainings; 0 of 8 done, 0:00 elapsed.*"
    assert re.fullmatch(line, lines[0])
    later = next(line for line in said.splitlines() if "  confirming " in line)
    assert "; 4 of 8 done, 0:" in later
    assert "best so far depth=" in later
    assert "best validation" in out  # the table is among the results
    assert sum(line.startswith("answer   ") for line in out.splitlines()) == 1
    quiet = begun("run", "studies/mine", "--device", "cpu", "--offline", "--quiet", "--seeds", "3", cwd=folder)
    assert quiet.communicate(timeout=120) == ("", "")
    assert quiet.returncode == 0


def test_on_a_terminal_what_is_being_done_is_overwritten(tmp_path: Path) -> None:
    script = (
        "from harness.telling import Teller; say = Teller(); say('loading …'); say('drawing …'); "
        "say('one two three four ' * 5)"
    )
    ours, theirs = pty.openpty()
    environment = {**clean_environment(), "COLUMNS": "40"}
    subprocess.run([sys.executable, "-c", script], stdout=theirs, stderr=theirs, env=environment, check=True)
    os.close(theirs)
    said = os.read(ours, 10_000).decode().replace("\r\n", "\n")
    os.close(ours)
    clear = telling.CLEAR
    assert said.startswith(f"loading …{clear}drawing …{clear}one two three four one two three four\n  one two")
    assert all(len(line) <= 40 for line in said.rpartition(clear)[2].splitlines())


def test_programs_are_told_results_alone(capsys: pytest.CaptureFixture[str]) -> None:
    said = list[str]()
    say = done_only(said.append)
    say("loading …")
    say("report   there")
    assert said == ["report   there"]
    Teller(quiet=True)("anything …")
    assert capsys.readouterr() == ("", "")


def test_the_bar_counts_trainings(small: Study) -> None:
    progress = Progress(small, quiet=True)
    progress.timing.expected = Expected(trial=100.0, confirmation=100.0)
    assert progress.bar(8) == "────────"
    assert progress.so_far() == "0 of 16 done, 0:00 elapsed, about 27 min left"
    for number in range(4):
        trial = small.search_trial(1, 0, number, small.config(1, {}))
        progress.end(trial, Outcome("finished", "", 0.0, 1.0, 1.0, figures={"val_accuracy": 0.9}))
    assert progress.bar(8) == "━━──────"
    assert progress.line() == "", "nothing trains"
    progress.at_work("searching depth 1: 2 trainings")
    assert progress.line().startswith("searching depth 1: 2 trainings; 4 of 16 done, 0:00 elapsed")
    open_ended = small.model_copy(update={"budget": small.budget.model_copy(update={"minutes": 5.0})})
    assert Progress(open_ended, quiet=True).bar() == ""


def test_a_narrow_table_keeps_names_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    rows = [["early_stopping", "a" * 40, "", "finished"], ["depth", "b" * 30, "", "not begun"]]
    print_table(["study", "data", "left", "state"], rows)
    said = re.sub("\x1b[^m]*m", "", capsys.readouterr().out)
    assert "early_stopping" in said
    assert "left" not in said, "nothing stands there"
    assert all(len(line) <= 60 for line in said.splitlines())


def test_a_narrow_table_keeps_words_whole_and_spares_what_it_can(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    headings = ["study", "data", "compares", "state"]
    rows = [["tables", "breast_cancer, wine", "channels, residual", "finished"]]
    for width, spared in ((60, False), (42, True)):
        monkeypatch.setenv("COLUMNS", str(width))
        print_table(headings, rows, spare=["compares"])
        said = re.sub("\x1b[^m]*m", "", capsys.readouterr().out)
        assert all(word in said for word in ("breast_cancer,", "wine", "finished"))
        assert ("channels," in said) is not spared
        assert all(len(line.rstrip()) <= width for line in said.splitlines())
