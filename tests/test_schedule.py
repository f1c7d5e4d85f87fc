"""What becomes of stacks whose workers die or hang, of studies in which too much fails, and of disks that are full."""

import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.analysis.results import read_results
from harness.crews.how import How
from harness.crews.local import Local, Threads, train_group
from harness.crews.schedule import Ended, Group, Lost, Said, train_all
from harness.parts.data import Data
from harness.training.loop import Reply
from harness.trial import Epoch, Event, Outcome, Trial

from .conftest import SMALL, Done, clean_environment, make_trial
from .test_search import figures, made_up

Write = Callable[[str], Path]
Command = Callable[..., Done]


POISON = 2  # the number of a trial that kills its worker, where one does


class Mortal:
    """A crew of one whose worker dies, by a rule, in the middle of a stack: after its first epoch and one outcome."""

    def __init__(self, dies: Callable[[Group, int], bool]) -> None:
        self.dies, self.starts, self.now, self.said = dies, list[list[int]](), list[Trial](), 0

    def free(self) -> bool:
        return not self.now

    def start(self, group: Group, saved: bytes | None) -> int:
        self.now, self.said = list(group), 0
        self.starts.append([trial.number for trial in group])
        return len(self.starts)

    def wait(self, seconds: float) -> list[tuple[int, Said]]:
        self.said += 1
        doomed = self.dies(self.now, len(self.starts))
        ending = [trial for trial in self.now if trial.number != POISON][:1] if doomed else self.now
        if self.said == 1:
            return [(len(self.starts), [(trial, Epoch(1, figures(1.0, 0.5, 1.0, 0.5), 1.0)) for trial in self.now])]
        if self.said == 2 and ending:
            return [(len(self.starts), [(trial, made_up(trial)) for trial in ending])]
        self.now = []
        return [(len(self.starts), Lost("no heartbeat") if doomed else Ended())]

    def go_on(self, worker: int, reply: Reply) -> None: ...

    def abandon(self, worker: int) -> None: ...

    def dismiss(self, patience: float) -> None:
        self.now = []


def ended(events: list[tuple[Trial, Event]]) -> dict[int, Outcome]:
    """The first outcome of each trial, which is the one that counts."""
    found: dict[int, Outcome] = {}
    for trial, event in events:
        if isinstance(event, Outcome):
            found.setdefault(trial.number, event)
    return found


def test_a_stack_whose_worker_died_is_trained_again_whole() -> None:
    crew = Mortal(lambda stack, start: start == 1)
    outcomes = ended(list(train_all([[make_trial(k) for k in range(4)]], crew, lambda trial: False, retries=1)))
    assert crew.starts == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert {number: outcome.retries for number, outcome in outcomes.items()} == {0: 0, 1: 1, 2: 1, 3: 1}
    assert all(outcome.status == "finished" for outcome in outcomes.values())


def test_what_kills_its_worker_is_left_alone_in_the_end() -> None:
    crew = Mortal(lambda stack, start: any(trial.number == POISON for trial in stack))
    outcomes = ended(list(train_all([[make_trial(k) for k in range(4)]], crew, lambda trial: False, retries=3)))
    assert crew.starts[:2] == [[0, 1, 2, 3]] * 2
    assert [2] in crew.starts
    assert {number: outcome.status for number, outcome in outcomes.items()} == {
        0: "finished",
        1: "finished",
        2: "failed",
        3: "finished",
    }
    assert outcomes[2].reason == "no heartbeat"
    assert outcomes[2].retries == 3


def test_without_retries_a_lost_worker_fails_what_it_had_not_ended() -> None:
    crew = Mortal(lambda stack, start: True)
    outcomes = ended(list(train_all([[make_trial(0), make_trial(1)]], crew, lambda trial: False)))
    assert [outcomes[0].status, outcomes[1].status] == ["finished", "failed"]
    assert len(crew.starts) == 1


def test_a_trial_that_hangs_fails_and_the_others_go_on(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = threading.Event()

    def hang(trials: Group, data: Data, saved: bytes | None) -> object:
        if trials[0].number == 0:
            stuck.wait(60)
        return train_group(trials, data, saved)

    monkeypatch.setattr("harness.crews.local.train_group", hang)
    made = [[make_trial(number, width=8 + number, epochs=2)] for number in range(3)]
    began = time.monotonic()
    crew = Local({"digits": digits}, How()).crew(made, watched=True)
    assert isinstance(crew, Threads)
    outcomes = ended(list(train_all(made, crew, lambda trial: False, timeout=3.0)))
    stuck.set()
    assert time.monotonic() - began < 25
    assert {number: outcome.status for number, outcome in outcomes.items()} == {
        0: "failed",
        1: "finished",
        2: "finished",
    }
    assert outcomes[0].reason == "took longer than budget.trial_timeout = 3 s"


def test_a_slow_stack_has_the_time_of_all_its_trials(digits: Data) -> None:
    made = [[make_trial(number, epochs=10**6, patience=10**6) for number in range(3)]]
    events = train_all(made, Threads(1, {"digits": digits}), lambda trial: False, timeout=0.4)
    began = time.monotonic()
    outcomes = ended(list(events))
    assert 1.2 <= time.monotonic() - began < 30
    assert "in a stack of 3 (so 1.2 s)" in outcomes[1].reason
    assert outcomes[1].ended - outcomes[1].started >= 1.2


def test_a_study_in_which_too_much_fails_stops(
    write_study: Write, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SMALL.replace("[compare]", 'model = "cnn"\n[compare]').replace(
        "width = 8", "width = 8\nchannels = [4, 4, 4]"
    )
    write_study(text)  # three poolings are too many for 8 x 8 pixels: every training raises
    monkeypatch.setattr("harness.checks.check_windows", lambda study, data: None)  # which would tell before the first
    done = command("run", "studies/mine", "--offline")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert (
        "4 of 6 trainings have failed, which is more than budget.failures = 0.5 allows; the last one: " in done.stderr
    )
    runs = read_results(tmp_path / "studies" / "mine" / "journal.log").runs
    assert (runs["status"] == "failed").sum() == 4
    allowed = command("run", "studies/mine", "--offline", "--set", "budget.failures=1.0")
    assert allowed.returncode == 0, allowed.stderr
    page = (tmp_path / "reports" / "mine" / "report.md").read_text()
    assert "failed" in page


def with_small_files(*arguments: str, cwd: Path, limit: int) -> subprocess.CompletedProcess[str]:
    """Run the command where no file may grow beyond `limit` bytes, as on a full disk."""

    def shrink() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write then fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        preexec_fn=shrink,
        check=False,
    )


def test_a_full_disk_is_told_and_costs_nothing(write_study: Write, command: Command, tmp_path: Path) -> None:
    journal = write_study(SMALL) / "journal.log"
    done = with_small_files("run", "studies/mine", "--offline", cwd=tmp_path, limit=20_000)
    assert done.returncode == 1
    [told] = [line for line in done.stderr.splitlines() if line.startswith("harness:")]
    assert done.stderr.splitlines()[-1] == told
    assert "File too large" in told
    assert "the same command goes on" in done.stderr
    recorded = (read_results(journal).runs["status"] != "waiting").sum()
    assert recorded > 0
    assert command("run", "studies/mine", "--offline").returncode == 0
    assert (read_results(journal).runs["status"] != "waiting").sum() == 12 + 4


def test_reports_that_cannot_be_written(write_study: Write, command: Command, tmp_path: Path) -> None:
    write_study(SMALL)
    (tmp_path / "reports").write_text("in the way")
    done = command("run", "studies/mine", "--offline")
    assert done.returncode == 1
    assert "the report cannot be written" in done.stderr
    assert "harness report studies/mine writes it from the journal" in done.stderr
    (tmp_path / "reports").unlink()
    assert command("report", "studies/mine").returncode == 0


def test_a_journal_that_cannot_be_opened(write_study: Write, command: Command) -> None:
    (write_study(SMALL) / "journal.log").mkdir()
    done = command("run", "studies/mine", "--offline")
    assert done.returncode == 1
    assert "Is a directory" in done.stderr
    assert "Traceback" not in done.stderr
