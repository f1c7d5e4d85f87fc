"""Ask, stack, train, tell, until the budget is spent; then confirm; then report.

with Tracker() as tracker:
    run(read_study("studies/depth"), Path("studies/depth"), tracker)
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from harness import environment, tracking
from harness.console import Progress
from harness.datasets import Data, MissingDataError, load
from harness.memory import keep_freed_memory
from harness.places import report_folder
from harness.search import Search, hold, put_aside
from harness.study import Study
from harness.trial import Epoch, Trial, UserError
from harness.workers import Event, stacks, train_all

Say = Callable[[str], None]


def run(
    study: Study,
    folder: Path,
    tracker: tracking.Tracker,
    *,
    device: str = "auto",
    fresh: bool = False,
    quiet: bool = False,
    stack: int | None = None,
    say: Say = print,
) -> None:
    """Run or continue a study, write its report, and tell by `say` where everything lies.

    `stack` is the most trainings in a stack, by default what suits the device; with 1 nothing runs side by side.
    """
    keep_freed_memory()
    place = choose_device(device)
    study, data = load_or_digits(study, place, say)
    report_folder(study.label)  # one that leads out is refused before anything is trained
    facts = environment.describe(data.values(), place)
    journal = folder / study.journal
    with hold(journal):
        if fresh and (aside := put_aside(journal)):
            say(f"the old journal is now {aside}")
        search = Search(study, journal, facts)
        search.note_runs(tracker.open(study, search.id, facts))
        with stop_politely(say) as check, Progress(study, quiet) as progress:
            Driver(search, tracker, progress, data, stack, check).run()
        target = conclude(journal, tracker, say)
    if tracker.failure:
        say(f"warning: MLflow lacks something ({tracker.failure}); the same command writes it from the journal")
    say(f"report   {target / 'report.html'}")
    say(f"tables   {target / 'tables' / 'compare.csv'}")
    say(f"journal  {journal}")
    say(f"MLflow   {tracking.shown_store()}, experiment {study.label} (browse it with: harness ui)")


def conclude(journal: Path, tracker: tracking.Tracker, say: Say) -> Path:
    """Write the report and tell what it misses; its folder."""
    from harness import report, stats  # seconds to import, which no training has to wait for
    from harness.search.results import read_results

    results = read_results(journal)
    for note in stats.flags(results, stats.compare_table(results)):
        say(f"warning: {note}")
    target = report.write(results, report_folder(results.study.label))
    tracker.summary(report.headline(results), target)
    tracker.drain()
    return target


@dataclass(frozen=True)
class Driver:
    """The one process that owns all state: what comes back from a stack goes to journal, tracking and screen."""

    search: Search
    tracker: tracking.Tracker
    progress: Progress
    data: Mapping[str, Data]  # by name
    size: int | None = None  # the most trainings in a stack
    check: Callable[[], None] = lambda: None  # raises KeyboardInterrupt once the user has asked to stop

    def run(self) -> None:
        """Spend what is left of the budget."""
        recorded = list(self.search.recorded())
        self.tracker.catch_up(recorded)
        for trial, outcome in recorded:
            self.progress.end(trial, outcome)
        while trials := self.search.generation():
            self.train(trials)
            self.search.close_generation()
        self.train(self.search.confirmations())

    def train(self, trials: list[Trial]) -> None:
        """Train the stacks whose outcomes are not all recorded.

        A stack that a kill cut short is run again whole: in another company its members' last digits could differ.
        """
        recorded = {trial for trial in trials if self.search.is_recorded(trial)}
        left = {
            name: [s for s in stacks(own, data, self.size) if not recorded.issuperset(s)]
            for name, data in self.data.items()
            if (own := [trial for trial in trials if trial.config.dataset == name])
        }
        self.progress.begin([trial for several in left.values() for stack in several for trial in stack])
        alone = 1 if self.size == 1 else None  # one at a time means it
        for name, several in left.items():
            with closing(train_all(several, self.data[name], self.search.should_prune, alone)) as events:
                for trial, event in events:
                    self.take(trial, event, again=trial in recorded)
                    self.check()

    def take(self, trial: Trial, event: Event, again: bool) -> None:
        """What became of a trial goes to journal, tracking and screen; the screen knows one that is run `again`."""
        if event is None:
            self.tracker.begin(trial)
        elif isinstance(event, Epoch):
            self.search.report(trial, event)
            self.tracker.epoch(trial, event)
            self.progress.epoch(trial, event)
        else:
            self.search.record(trial, event)
            self.tracker.end(trial, event)
            if not again:
                self.progress.end(trial, event)


@contextmanager
def stop_politely(say: Say) -> Iterator[Callable[[], None]]:
    """Ctrl-C, and SIGTERM, which schedulers send, let the epoch in hand end; a second one ends the process at once.

    Yields a function that raises KeyboardInterrupt once one of them has come.
    """
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(130)
        asked = True
        say("stopping after the epoch in hand; once more stops at once")

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def choose_device(name: str) -> torch.device:
    """ "auto" is the GPU when there is one. Raises UserError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA GPU on this machine; use --device auto or cpu")
    return torch.device(name)


def load_or_digits(study: Study, device: torch.device, say: Say) -> tuple[Study, dict[str, Data]]:
    """The study's data; without files and network the digits that scikit-learn brings, and a study labelled so."""
    try:
        return study, {name: load(name, device) for name in study.datasets}
    except MissingDataError as missing:
        if study.dataset != study.written_for or study.axis == "dataset":
            raise  # asked for by name
        fallback = study.model_copy(update={"dataset": "digits"})
        say(BANNER.format(missing=missing, dataset=study.dataset, label=fallback.label))
        return fallback, {"digits": load("digits", device)}


BANNER = """\
==============================================================================
 NOT {dataset}: this runs on scikit-learn's small digits (1,797 images, 8x8).
 {missing}
 Journal, MLflow runs and report are labelled "{label}".
=============================================================================="""
