"""Ask, stack, train, tell, until the budget is spent; then confirm; then report.

with Tracker() as tracker:
    run(read_study("studies/depth"), Path("studies/depth"), tracker)
"""

import math
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from harness import environment
from harness.console import Progress
from harness.crews.local import local_crew, stacks
from harness.crews.schedule import Crew, train_all
from harness.errors import StudyStoppedError, UserError
from harness.journal.ledger import Search, hold, put_aside
from harness.parts.data import Data, MissingDataError, load
from harness.study.places import report_folder
from harness.study.study import Study
from harness.tracking.tracker import WAIT, Tracker, shown_store
from harness.training.memory import keep_freed_memory
from harness.trial import Epoch, Event, Outcome, Trial

Say = Callable[[str], None]


def run(
    study: Study,
    folder: Path,
    tracker: Tracker,
    *,
    device: str = "auto",
    fresh: bool = False,
    quiet: bool = False,
    stack: int | None = None,
    workers: int | None = None,
    ray: str | None = None,
    say: Say = print,
) -> None:
    """Run or continue a study, write its report, and tell by `say` where everything lies.

    `stack` is the most trainings in a stack, by default what suits the device; with 1 nothing runs side by side.
    With `workers` or `ray`, a cluster's address, Ray's processes train; else this one does.
    """
    keep_freed_memory()
    spread = workers is not None or ray is not None
    place = torch.device("cpu") if spread else choose_device(device)  # what Ray's workers have is theirs to say
    study, data = load_or_digits(study, place, say)
    report_folder(study.label)  # one that leads out is refused before anything is trained
    journal = folder / study.journal
    with writing(journal), hold(journal), ExitStack() as until_then:
        facts, crew = environment.describe(data.values(), place), None
        if spread:
            from harness.crews.ray import Cluster

            crew = until_then.enter_context(Cluster(data, workers, ray, device, study.budget.gpus_per_stack))
            facts, stack = {**facts, "device": crew.describe()}, stack or crew.stack_size
        if fresh and (aside := put_aside(journal)):
            say(f"the old journal is now {aside}")
        search = Search(study, journal, facts)
        search.note_runs(tracker.open(study, search.id, facts))
        with stop_politely(say) as check, Progress(study, quiet) as progress:
            Driver(search, tracker, progress, data, stack, check, crew).run()
        conclude(search, journal, tracker, say)


def sync(study: Study, folder: Path, tracker: Tracker, say: Say = print) -> None:
    """Write to MLflow what the journal knows and the store lacks, and the report. Raises UserError as `run` does."""
    from harness.journal.results import read_results

    journal = folder / study.journal
    results = read_results(journal)
    with writing(journal), hold(journal):
        search = Search(results.study, journal, results.environment)
        search.note_runs(tracker.open(results.study, search.id, results.environment))
        tracker.complete = search.is_over()
        tracker.catch_up(search.recorded(), limit=math.inf)
        conclude(search, journal, tracker, say)


def conclude(search: Search, journal: Path, tracker: Tracker, say: Say) -> None:
    """Write the report, see to it that MLflow has everything, and tell what is missing and where the rest lies."""
    from harness import analysis, report  # seconds to import, which no training has to wait for
    from harness.journal.results import read_results

    results = read_results(journal)
    for note in analysis.flags(results, analysis.compare_table(results)):
        say(f"warning: {note}")
    try:
        target = report.write(results, report_folder(results.study.label))
    except UserError as error:
        again = f"once it can be, harness report {journal.parent} writes it from the journal"
        raise StudyStoppedError(f"{error}; {again}") from None
    recorded = list(search.recorded())
    tracker.summary(report.headline(results), target)
    patience = WAIT + len(recorded) / 5  # seconds: more than a healthy store takes
    tracker.drain(patience)
    if tracker.missing:  # the store may have come back meanwhile
        tracker.catch_up(recorded, patience)
        tracker.summary(report.headline(results), target)
        tracker.drain(patience)
    if tracker.failure:
        say(
            f"warning: MLflow lacks {tracker.missing or 'some'} runs of this study ({tracker.failure}); "
            f"harness sync {journal.parent} writes them from the journal"
        )
    say(f"report   {target / 'report.html'}")
    say(f"tables   {target / 'tables' / 'compare.csv'}")
    say(f"journal  {journal}")
    if tracker.offline:
        say(f"MLflow   nothing written (--offline); harness sync {journal.parent} does it later")
    else:
        label = results.study.label
        say(f"MLflow   {shown_store()}, experiment {label} (browse it with: harness ui)")


@dataclass(frozen=True)
class Driver:
    """The one process that owns all state: what comes back from a stack goes to journal, tracking and screen."""

    search: Search
    tracker: Tracker
    progress: Progress
    data: Mapping[str, Data]  # by name
    size: int | None = None  # the most trainings in a stack
    check: Callable[[], None] = lambda: None  # raises KeyboardInterrupt once the user has asked to stop
    crew: Crew | None = None  # who trains; by default whatever suits this machine

    def run(self) -> None:
        """Spend what is left of the budget. Raises StudyStoppedError when too much of it fails."""
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
        left = [
            stack
            for name, data in self.data.items()
            for stack in stacks([trial for trial in trials if trial.config.dataset == name], data, self.size)
            if not recorded.issuperset(stack)
        ]
        self.progress.begin([trial for stack in left for trial in stack])
        budget = self.search.study.budget
        crew = self.crew or local_crew(left, self.data, alone=self.size == 1, watched=bool(budget.trial_timeout))
        failed: list[Outcome] = []
        with closing(train_all(left, crew, self.search.should_prune, budget.retries, budget.trial_timeout)) as events:
            for trial, event in events:
                self.take(trial, event)
                self.check()
                if isinstance(event, Outcome) and event.status == "failed":
                    failed.append(event)
                    if len(failed) > budget.failures * len(trials):
                        raise StudyStoppedError(_too_many(failed, len(trials), budget.failures))

    def take(self, trial: Trial, event: Event) -> None:
        """What became of a trial goes to journal, tracking and screen, also when its stack is run again."""
        if event is None:
            self.tracker.begin(trial)
        elif isinstance(event, Epoch):
            self.search.report(trial, event)
            self.tracker.epoch(trial, event)
            self.progress.epoch(trial, event)
        else:
            if not self.search.is_recorded(trial):
                self.search.record(trial, event)
                self.progress.end(trial, event)
            self.tracker.end(trial, event)


def _too_many(failed: Sequence[Outcome], trainings: int, share: float) -> str:
    return (
        f"{len(failed)} of {trainings} trainings have failed, which is more than budget.failures = {share:g} allows; "
        f"the last one: {failed[-1].reason.splitlines()[-1]} (harness report shows all; the same command goes on)"
    )


@contextmanager
def writing(journal: Path) -> Iterator[None]:
    """A disk that is full or cannot be written to is told in one line: the journal holds all that was recorded."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename or journal}: {error.strerror or error}"
        raise StudyStoppedError(
            f"{what}; what {journal} holds is whole, and once the disk can be written to the same command goes on"
        ) from error


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
