"""One value of a running study is stopped: what it has stays, others go on, no fair comparison is claimed."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.analysis import find, read_results
from harness.journal import Ledger, Records
from harness.journal.stopping import asked_file
from harness.study.study import Study

from .conftest import SMALL, Done, begun, harness
from .test_search import made_up

SLOW = (
    SMALL.replace("epochs = 4", "epochs = 150")
    .replace("patience = 2", "patience = 60")
    .replace("generation = 3", 'generation = 1\npruner = "none"')
    .replace("depth = [1, 2]", "depth = [1, 2, 3]")
    .replace("seeds = 2", "seeds = 3")
)


@dataclass(frozen=True)
class Ran:
    """A study of which depth=2 was stopped while it ran."""

    folder: Path
    stopped: Done
    run: Done

    @property
    def journal(self) -> Path:
        return self.folder / "studies" / "mine" / "journal.log"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "studies" / "mine").mkdir(parents=True)
    (folder / "studies" / "mine" / "study.toml").write_text(SLOW)
    log = (folder / "log").open("w")
    process = begun("run", "studies/mine", "--offline", cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    journal = folder / "studies" / "mine" / "journal.log"
    until = time.monotonic() + 120
    while not (journal.exists() and b'"outcome"' in journal.read_bytes()):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    done = harness("stop", "studies/mine", "depth=2", cwd=folder)
    stopped = Done(done.returncode, done.stdout, done.stderr)
    code = process.wait(240)
    log.close()
    return Ran(folder, stopped, Done(code, (folder / "log").read_text(), ""))


def test_the_value_ends_and_the_others_go_on(ran: Ran) -> None:
    assert (ran.stopped.returncode, ran.stopped.stderr) == (0, "")
    assert ran.stopped.stdout.startswith("depth=2 is stopped: it has ")
    assert " of 6 search trials and 0 of 3 confirmation runs; the others go on" in ran.stopped.stdout
    assert "harness run studies/mine --resume depth=2 takes it up again" in ran.stopped.stdout
    assert ran.run.returncode == 0, ran.run.stdout
    assert "depth=2 is stopped" in ran.run.stdout
    assert not asked_file(ran.journal).exists()
    records = Records(ran.journal)
    of = {depth: [r for r in records.all if r.trial.level == depth and r.outcome] for depth in (1, 2, 3)}
    assert [len(of[depth]) for depth in (1, 3)] == [6 + 3, 6 + 3]
    assert 0 < len(of[2]) < 6
    assert {r.trial.stage for r in of[2]} == {"search"}
    assert records.timing.is_over


def test_the_page_says_so_and_claims_no_fair_comparison(ran: Ran) -> None:
    findings = find(read_results(ran.journal))
    has = int(findings.table["trials"][1])
    flag = next(flag for flag in findings.flags if flag.startswith("depth=2: was stopped"))
    assert f"after {has} of 6 search trials and 0 of 3 confirmation runs" in flag
    assert "No fair comparison with it is claimed" in flag
    assert not any("budgets are not equal" in flag for flag in findings.flags)
    assert "depth 2 was stopped by hand and is not compared." in findings.answer
    assert [(row["first"], row["second"]) for row in findings.pairs.to_dict("records")] == [(0, 2)]
    page = (ran.folder / "reports" / "mine" / "report.html").read_text()
    assert f"was stopped by hand after {has} of 6 search trials" in page
    assert " finished " in harness("list", cwd=ran.folder).stdout


def test_it_stays_stopped_until_it_is_taken_up_again(ran: Ran) -> None:
    again = harness("run", "studies/mine", "--offline", cwd=ran.folder)
    assert again.returncode == 0, again.stderr
    assert "note: depth=2 was stopped and does not go on; harness run studies/mine --resume depth=2" in again.stdout
    assert "nothing is left to train" in again.stdout
    twice = harness("stop", "studies/mine", "2", cwd=ran.folder)
    assert (twice.returncode, twice.stderr.count("\n")) == (2, 1)
    assert "depth=2 is stopped already" in twice.stderr
    over = harness("stop", "studies/mine", "depth=1", cwd=ran.folder)
    assert "depth=1 has all its trainings; nothing of it is left to be stopped" in over.stderr
    replayed = harness("replay", "studies/mine", "3", "--seed", "1", "--stack", "--tolerance", "0", cwd=ran.folder)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    wrong = harness("run", "studies/mine", "--offline", "--resume", "depth=1", cwd=ran.folder)
    assert wrong.stderr == "harness: --resume depth=1: it is not stopped\n"
    done = harness("run", "studies/mine", "--offline", "--resume", "depth=2", cwd=ran.folder)
    assert done.returncode == 0, done.stderr
    findings = find(read_results(ran.journal))
    assert list(findings.table["trials"]) == [6, 6, 6]
    assert list(findings.table["seeds"]) == [3, 3, 3]
    assert "stopped" not in " ".join([findings.answer, *findings.flags])
    for which in (["3", "--seed", "1"], ["1", "--trial", "5"], ["2", "--trial", "5"]):
        replayed = harness("replay", "studies/mine", *which, "--stack", "--tolerance", "0", cwd=ran.folder)
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr


def test_where_nobody_runs_it_the_journal_is_told_at_once(small: Study, command: Callable[..., Done]) -> None:
    journal = Path("studies/mine/journal.log")
    ledger = Ledger(small, journal, {})
    trials = ledger.generation()
    for trial in trials:
        if trial.level == 1:
            ledger.record(trial, made_up(trial))
    ledger.close_generation()
    done = command("stop", "studies/mine", "depth=2")
    assert done.stdout.startswith("depth=2 is stopped: it has 0 of 6 search trials and 0 of 2 confirmation runs")
    ledger = Ledger(small, journal, {})
    assert {trial.level for trial in ledger.generation()} == {1}
    assert ledger.left() == (3, 2)
    company = Records(journal).company(Records(journal).all[0])
    assert {trial.level for trial in company} == {1, 2}, "it was asked for together with depth=2"
