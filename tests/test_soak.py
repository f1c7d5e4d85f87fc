"""Load: what the driver, the journal and the store bear. Figures go to reports/soak.md."""

import math
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from harness.analysis.results import read_results
from harness.console import Progress
from harness.crews.how import How
from harness.crews.local import Local
from harness.crews.ray import Cluster, Worker
from harness.crews.schedule import Batch, Ended, Group, Said
from harness.driver import Driver
from harness.journal import Ledger
from harness.parts.data import Data
from harness.study.file import read_study
from harness.study.study import Study
from harness.tracking import Tracker, key
from harness.training.loop import Reply
from harness.trial import Trial

from .conftest import ROOT, Tell
from .soak import times
from .test_kill import prepared
from .test_search import made_up
from .test_tracking import ENVIRONMENT

pytestmark = pytest.mark.soak
Write = Callable[[str], Path]

MANY = """
dataset = "digits"
[compare]
depth = [1, 2, 3, 4, 5]
[tune]
lr = { low = 1e-3, high = 1e-1, log = true }
[fixed]
epochs = %d
[budget]
trials = %d
searches = 1
seeds = 2
[search]
sampler = "random"
generation = 16
"""


def memory() -> float:
    """The most that this process has taken, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Trivial(Worker):
    """A worker that makes its outcomes up: what is left is what the driver, Ray and the journal take."""

    def start(self, group: Group, saved: bytes | None) -> Said:
        self.left: Iterator[Batch] = iter(
            [[(trial, made_up(trial).history[0]) for trial in group], [(trial, made_up(trial)) for trial in group]]
        )
        return next(self.left)

    def go_on(self, reply: Reply) -> Said:
        return next(self.left, Ended())


def test_fifty_trivial_trials_a_second(
    write_study: Write, digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    monkeypatch.setattr("harness.crews.ray.Worker", Trivial)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # Ray's processes find this file
    study = read_study(write_study(MANY % (1, 200)))
    search = Ledger(study, tmp_path / "journal.log", ENVIRONMENT)
    with closing(Cluster({"digits": digits}, How(workers=8))) as crew:
        while len(crew._idle) < 8:
            crew.wait(1)
        began, processor = time.monotonic(), time.process_time()
        Driver(search, Tracker(offline=True), Progress(study, quiet=True), {"digits": digits}, crew, 1).run()
        took, processor = time.monotonic() - began, time.process_time() - processor
    tell(
        f"1,010 trivial trials on 8 Ray workers: {1010 / took:.0f} a second; "
        f"of the driver's core {1000 * processor / 1010:.1f} ms each",
        trials=1010,
    )
    assert 1010 / took >= 50


def test_a_journal_of_ten_thousand_trials(write_study: Write, tmp_path: Path, tell: Tell) -> None:
    each = times(2000)
    study = read_study(write_study(MANY % (12, each)))
    journal = tmp_path / "journal.log"
    search, took = Ledger(study, journal, ENVIRONMENT), list[float]()
    while trials := search.generation():
        began = time.monotonic()
        for trial in trials:
            outcome = made_up(trial)
            for epoch in outcome.history:
                search.report(trial, epoch)
                search.should_prune(trial)
            search.record(trial, outcome)
        search.close_generation()
        took += [(time.monotonic() - began) / len(trials)] * len(trials)
    for trial in search.confirmations():
        search.record(trial, made_up(trial))
    first, last = 1000 * np.mean(took[:1000]), 1000 * np.mean(took[-1000:])
    began = time.monotonic()
    again = Ledger(study, journal, ENVIRONMENT)
    assert again.is_over()
    opened = time.monotonic() - began
    began = time.monotonic()
    assert len(read_results(journal).runs) == 5 * (each + 2)
    tell(
        f"{5 * each:,} trials of 12 epochs: {first:.1f} ms each among the first thousand, {last:.1f} ms among the "
        f"last; journal {journal.stat().st_size / 2**20:.0f} MiB, opened in {opened:.1f} s, read for a report in "
        f"{time.monotonic() - began:.1f} s, this process took at most {memory():.0f} MiB",
        trials=5 * each,
    )
    assert last < 100  # the sampler looks at all trials before


def test_a_store_of_ten_thousand_runs(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    number = times(10_000)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    trials = [Trial(1, "search", place, 0, small.config(1, {"lr": 0.01})) for place in range(number)]
    took = []
    with Tracker() as tracker:
        tracker.open(small, "id", ENVIRONMENT)
        for start in range(0, number, 500):
            began = time.monotonic()
            tracker.catch_up([(trial, made_up(trial)) for trial in trials[start : start + 500]], limit=math.inf)
            took.append((time.monotonic() - began) / len(trials[start : start + 500]))
        assert tracker.failure is None
    began = time.monotonic()
    with Tracker() as tracker:
        tracker.open(small, "id", ENVIRONMENT)
        opened = time.monotonic() - began
        assert tracker._complete == {key(small, trial) for trial in trials}
    found = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_experiment_by_name("mine")
    assert found is not None
    tell(
        f"{number:,} runs in SQLite: {1000 * took[0]:.0f} ms each among the first 500, {1000 * took[-1]:.0f} ms among "
        f"the last; opened in {opened:.1f} s",
        runs=number,
    )
    assert took[-1] < 3 * took[0]


def test_two_thousand_smoke_trials_with_memory_flat(
    smoke: Path, tmp_path: Path, command: Callable[..., object], digits: Data, tell: Tell
) -> None:
    each = times(222)  # of each of nine searches
    study = read_study(prepared(smoke, tmp_path) / "studies" / "smoke", [f"budget.trials={each}"])
    search, sizes = Ledger(study, tmp_path / "journal.log", ENVIRONMENT), []
    tracker = Tracker()
    with tracker:
        tracker.open(study, search.id, ENVIRONMENT)
        known = {"digits": digits}
        driver = Driver(search, tracker, Progress(study, quiet=True), known, Local(known, How()))
        began = time.monotonic()
        while trials := search.generation():
            driver.train(trials)
            search.close_generation()
            sizes.append(_now())
        took = time.monotonic() - began
        tracker.drain()
    trained = len(search.study.levels) * search.study.searches * each
    grown = sizes[-1] - sizes[len(sizes) // 10]
    tell(
        f"{trained:,} smoke trials in {took:.0f} s ({trained / took:.0f} a second); the driver's memory "
        f"{sizes[len(sizes) // 10]:.0f} MiB after a tenth, {sizes[-1]:.0f} MiB at the end",
        trials=trained,
    )
    assert grown < 100  # the journal's own trials stay in memory: some 50 kB each


def _now() -> float:
    """What this process takes now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
