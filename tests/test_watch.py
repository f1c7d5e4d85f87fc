"""A running study: how long it still takes, `harness watch`, `harness stop`, its page, and the user's own command."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from harness import report
from harness.alert import alert_of, announced
from harness.analysis import find
from harness.analysis.results import tabulate
from harness.console import Progress, named
from harness.errors import StudyStoppedError, UserError
from harness.journal import Records, hold, stop
from harness.journal.left import Expected, Timing, together
from harness.study.file import read_study
from harness.study.study import Study
from harness.trial import Epoch, Outcome, Status
from harness.watch import Watch

from .conftest import SMALL, Done, clean_environment, harness

Command = Callable[..., Done]
Write = Callable[[str], Path]
PRUNED = 2  # epochs of one that the median pruner stops, of 10


@pytest.fixture
def finished(smoke: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Records:
    monkeypatch.chdir(smoke)
    return Records(Path("studies/smoke/journal.log"))


def worked(study: Study, generations: int, confirmed: int = 0) -> Timing:
    """A study of which so many generations are trained, one training after the other: a second an epoch, ten epochs;
    the half of those that the median pruner judges is stopped after two. A confirmation takes ten seconds.
    """
    timing, clock, size = Timing(study, Expected(12.0, 12.0)), 1000.0, study.search.generation
    for number in range(generations * size):
        for level in study.levels:
            trial = study.search_trial(level, 0, number, study.config(level, {}))
            is_good = number % 2 == 0
            epochs = PRUNED if number >= 2 * size and not is_good else 10
            history = tuple(Epoch(n, {"val_accuracy": 0.5 + 0.2 * is_good}, 0.0) for n in range(1, epochs + 1))
            figures = {"val_accuracy": 0.7 if is_good else 0.5}
            status: Status = "finished" if epochs == 10 else "pruned"
            ended = clock + epochs
            timing.end(trial, Outcome(status, "", clock, ended, float(epochs), figures=figures, history=history))
            clock = ended
    for number in range(confirmed):
        trial = study.confirmation(study.levels[0], 0, number, study.config(study.levels[0], {}))
        timing.end(trial, Outcome("finished", "", clock, clock + 10, 10.0))
        clock += 10
    return timing


def test_the_time_left_is_right_from_the_second_generation_on(small: Study) -> None:
    study = small.model_copy(
        update={
            "budget": small.budget.model_copy(update={"trials": 24, "seeds": 4}),
            "search": small.search.model_copy(update={"generation": 4}),
        }
    )
    later = 4 * 2 * (10 + PRUNED) / 2  # seconds of a generation of two values that is judged
    for generations in range(2, 7):
        timing = worked(study, generations)
        now = max(outcome.ended for outcome in timing.known.values())
        true = (6 - generations) * later + 8 * 10
        left = timing.left(now)
        assert left is not None
        assert left == pytest.approx(true, rel=0.2), generations
        assert timing.left(now + 5) == pytest.approx(left - 5)
    timing = worked(study, 6, confirmed=2)
    assert timing.left(max(outcome.ended for outcome in timing.known.values())) == pytest.approx(6 * 10)


def test_before_anything_is_trained_the_plan_counts_and_after_all_nothing(small: Study, finished: Records) -> None:
    assert Timing(small).left(0.0) is None
    assert Timing(small, Expected(2.0, 5.0)).left(0.0) == 12 * 2.0 + 4 * 5.0
    assert finished.expected is not None  # the driver's plan lies in the journal
    assert (finished.timing.left(time.time()), finished.timing.is_over) == (0.0, True)


def test_time_in_which_nobody_trained_does_not_count() -> None:
    one = Outcome("finished", "", 0.0, 10.0)
    assert together([one, replace(one, started=11.0, ended=15.0)]) == 15.0  # a pause that belongs to the work
    assert together([one, replace(one, started=5000.0, ended=5010.0)]) == 20.0


def test_the_screen_says_what_is_best_so_far(small: Study) -> None:
    progress = Progress(small, quiet=True)
    assert progress.caption() == ""
    progress.at_work("searching depth 1, 2: 6 trainings")
    assert progress.caption() == f"searching depth 1, 2: 6 trainings\n{'─' * 12} 0 of 16 done, 0:00 elapsed"
    for level, value in ((1, 0.9), (2, 0.8)):
        trial = small.search_trial(level, 0, 0, small.config(level, {}))
        progress.end(trial, Outcome("finished", "", 0.0, 1.0, 1.0, figures={"val_accuracy": value}))
    assert "best so far depth=1, best validation accuracy 90.00 %" in progress.caption()
    assert "left\n" in progress.caption()
    trial = small.confirmation(2, 0, 0, small.config(2, {}))
    progress.end(trial, Outcome("finished", "", 1.0, 2.0, 1.0, figures={"test_accuracy": 0.7}))
    assert "best so far depth=2, mean test accuracy 70.00 %" in progress.caption()


def test_of_cells_it_is_told_how_many_are_at_work(small: Study, write_study: Write) -> None:
    assert named(small, [1, 2]) == "depth 1, 2"
    grid = read_study(write_study(SMALL.replace("depth = [1, 2]", "depth = [1, 2]\nbatch_size = [32, 64]")))
    assert named(grid, grid.levels) == "4 cells of depth and batch_size"


def test_a_finished_study_is_told_at_once(finished: Records, command: Command) -> None:
    done = command("watch", "studies/smoke")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{find(tabulate(finished)).answer}\n"


def test_it_is_followed_line_by_line_until_nobody_runs_it(finished: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the journal, then all of it, then nobody."""
    journal, said, looks = Path("studies/mine/journal.log"), list[str](), iter(["process 1", "process 1", None])
    journal.parent.mkdir()
    lines = finished.journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: len(lines) // 2]))

    def holder(_: Path) -> str | None:
        by = next(looks)
        if said:
            journal.write_bytes(b"".join(lines))
        return by

    monkeypatch.setattr("harness.watch.holder", holder)
    pages: list[int] = []
    Watch(journal, said.append, lambda: pages.append(1), every=0.0).follow(is_live=False)
    assert len(said) == 2
    assert "searching depth" in said[0]
    assert "best so far" in said[0]
    assert said[0][2] == said[0][5] == ":"  # its time
    assert said[-1].startswith("depth")
    assert len(pages) == 2  # while it runs, and in the end


@pytest.fixture
def driver(write_study: Write) -> Iterator[tuple[Path, "subprocess.Popen[str]"]]:
    """A study that runs in a process of its own."""
    folder = write_study(SMALL.replace("epochs = 4", "epochs = 5000").replace("patience = 2", "patience = 5000"))
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", "studies/mine", "--offline"],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 120
        journal = folder / "journal.log"
        while not (journal.exists() and b"intermediate_value" in journal.read_bytes()):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        yield folder, process
    finally:
        process.kill()
        process.communicate()


def test_a_running_study_is_stopped_politely(
    driver: tuple[Path, "subprocess.Popen[str]"], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, process = driver
    done = command("list")
    assert " running " in done.stdout
    done = command("stop", "studies/mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        f"process {process.pid} on {socket.gethostname()} has stopped; harness run studies/mine goes on" in done.stdout
    )
    assert process.wait(30) == 130
    assert process.stderr is not None
    assert "stopped; the same command goes on from here" in process.stderr.read()
    done = command("stop", "studies/mine")
    assert (done.returncode, done.stderr) == (2, "harness: studies/mine: nobody runs it\n")
    assert Records(folder / "journal.log").study.name == "mine"


def test_only_the_process_that_holds_the_journal_is_stopped(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    with hold(journal):
        owner = journal.with_suffix(".owner")
        owner.write_text(f"process {os.getpid()} on elsewhere")
        with pytest.raises(UserError, match=r"process .* on elsewhere runs it, which is no process of this machine"):
            stop(journal)
        bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        owner.write_text(f"process {bystander.pid} on {socket.gethostname()}")
        with pytest.raises(UserError, match="is said to run it, and does not; nothing was stopped"):
            stop(journal)
        assert bystander.poll() is None
        bystander.kill()
        bystander.wait()


def test_one_that_does_not_stop_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = tmp_path / "journal.log"
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr("os.kill", lambda process, number: sent.append((process, number)))
    with hold(journal), pytest.raises(StudyStoppedError, match=r"still at work after 0\.2 s"):
        stop(journal, patience=0.2)
    assert sent == [(os.getpid(), signal.SIGTERM)]


def test_whoever_looks_keeps_no_driver_out(tmp_path: Path) -> None:
    """`holder` has the lock for a moment."""
    journal = tmp_path / "journal.log"
    code = "from filelock import FileLock\nwith FileLock(sys.argv[1]): print(flush=True); time.sleep(0.2)"
    code = f"import sys, time; {code}"
    looker = subprocess.Popen([sys.executable, "-c", code, journal.with_suffix(".lock")], stdout=subprocess.PIPE)
    assert looker.stdout is not None
    looker.stdout.readline()
    with hold(journal):
        pass
    looker.communicate()


def test_the_page_of_a_running_study_loads_itself_again(finished: Records) -> None:
    page, findings = Path("reports/smoke/report.html"), find(tabulate(finished))
    assert "http-equiv" not in page.read_text()
    report.write(findings, page.parent, is_running=True)
    assert '<meta http-equiv="refresh" content="20">' in page.read_text()
    said = "This study is still running: it has 90 of 90 search trials and 9 of 9 confirmations."
    assert said in page.read_text()
    assert said in (page.parent / "report.md").read_text()
    report.write(findings, page.parent)
    assert "http-equiv" not in page.read_text()
    with FileLock(finished.journal.with_suffix(".lock")):
        finished.journal.with_suffix(".owner").write_text("process 1 on here")
        report.report_study(read_study("studies/smoke"), Path("studies/smoke"))
    assert "http-equiv" in page.read_text()


WRITES = "import json, os, sys; open('told.json', 'w').write(json.dumps([sys.argv[1:], dict(os.environ)]))"


def test_the_users_command_is_told_the_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    monkeypatch.setenv("HARNESS_ON_DONE", f"{sys.executable} -c \"{WRITES}\" '{{study}}: {{message}}' $HOME;ls")
    with announced(alert_of("depth", said.append)) as alert:
        alert.message, alert.page = "depth=3 was best", "reports/depth/report.html"
    arguments, environment = json.loads((tmp_path / "told.json").read_text())
    assert arguments == ["depth: depth=3 was best", "$HOME;ls"]  # no shell
    assert environment["HARNESS_EVENT"] == "done"
    assert environment["HARNESS_PAGE"] == "reports/depth/report.html"
    assert len(said) == 1
    assert "when it is done runs" in said[0]
    assert "(HARNESS_ON_DONE)" in said[0]


def test_facts_are_put_in_as_they_are_and_secrets_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAT_TOKEN", "s3cretword")
    said: list[str] = []
    with announced(
        alert_of("depth", said.append, f'{sys.executable} -c "{WRITES}" s3cretword {{message}} {{n}}')
    ) as alert:
        alert.message, alert.page = "variant={page} was best", "reports/depth/report.html"
    assert '[["s3cretword", "variant={page} was best", "{n}"]' in (tmp_path / "told.json").read_text()
    assert "s3cretword" not in said[0]
    assert "***" in said[0]


def test_a_failure_is_told_and_what_the_user_stops_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = f'{sys.executable} -c "{WRITES}" {{event}}'
    with pytest.raises(KeyboardInterrupt), announced(alert_of("depth", print, command, command)):
        raise KeyboardInterrupt
    assert not (tmp_path / "told.json").exists()
    with pytest.raises(UserError), announced(alert_of("depth", print, None, command)):
        raise UserError("the disk is full")
    told = (tmp_path / "told.json").read_text()
    assert '[["failed"]' in told
    assert "the disk is full" in told


def test_what_goes_wrong_with_the_command_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.alert.TIMEOUT", 0.2)
    cases = {
        "nowhere-to-be-found": "No such file or directory",
        f"{sys.executable} -c 'raise SystemExit(3)'": "ended with exit code 3",
        f"{sys.executable} -c 'import time; time.sleep(9)'": "took more than 0.2 s",
    }
    for command, why in cases.items():
        said: list[str] = []
        monkeypatch.setattr("harness.alert.TIMEOUT", 0.2 if "sleep" in command else 30.0)
        with announced(alert_of("depth", said.append, command)):
            pass
        assert len(said) == 2, said
        assert said[1].startswith("warning: on_done: ")
        assert why in said[1]


def test_settings_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("HARNESS_ON_DONE", raising=False)
    file = tmp_path / "harness" / "config.toml"
    file.parent.mkdir()
    file.write_text('[alert]\non_done = ["say", "it is {event}"]\n')
    assert alert_of("depth", print).commands == {"on_done": ["say", "it is {event}"]}
    assert alert_of("depth", print, "").commands == {}  # the option counts first
    wrong = {
        "on_don = 'x'": "alert.on_don: unknown key; did you mean on_done",
        "on_done = 3": "must be a text or a list of texts, got 3",
        'on_done = "say \'it"': "no closing quotation",
    }
    for line, message in wrong.items():
        file.write_text(f"[alert]\n{line}\n")
        with pytest.raises(UserError, match=message):
            alert_of("depth", print)


def test_a_study_file_names_no_command(write_study: Write, command: Command) -> None:
    write_study(SMALL + '[alert]\non_done = "rm -rf ."\n')
    done = command("run", "studies/mine")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "alert: a study file names no command to be run" in done.stderr
    assert "--on-done" in done.stderr


def test_run_tells_the_users_command(write_study: Write, tmp_path: Path) -> None:
    write_study('dataset = "digits"\n[compare]\ndepth = [1]\n[fixed]\nwidth = 4\nepochs = 1\n[budget]\nseeds = 1\n')
    mark = tmp_path / "mark"
    done = harness("run", "studies/mine", "--offline", "--on-done", f"touch {mark}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "when it is done runs touch" in done.stdout
    assert mark.exists()
    mark.unlink()
    done = harness("run", "studies/mine", "--offline", "--on-done", f"touch {mark}", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert not mark.exists()
