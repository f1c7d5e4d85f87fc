"""Ask, group, train, tell, until the budget is spent; then confirm; then report.

with Tracker() as tracker:
    run(read_study("studies/depth"), Path("studies/depth"), tracker, How())
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from harness import catalogue, checks, environment, plan
from harness.config import Config
from harness.console import Progress, Screen, Start
from harness.crews.checkpoints import Checkpoints
from harness.crews.folds import Folds
from harness.crews.grouping import by_cost, group_trials
from harness.crews.how import How
from harness.crews.schedule import Group, Stopping, Workplace, train_all
from harness.crews.sizing import Gpu, Room
from harness.errors import INTERRUPTED, StudyStoppedError, UserError
from harness.journal import Ledger, Records, check_data_name, check_edits, hold, look, make_whole, put_aside, resuming
from harness.journal.earlier import with_earlier
from harness.loading import Files, load_study
from harness.parts.data import Data
from harness.parts.models import count_weights
from harness.study.notes import notes
from harness.study.own import Program
from harness.study.places import advice, beside_journal, check_copy, check_label, report_folder
from harness.study.study import Study
from harness.tracking import WAIT, Tracker, shown_store
from harness.training.memory import keep_freed_memory
from harness.trial import Begun, Epoch, FoldsEnded, Outcome, Told, Trial

if TYPE_CHECKING:
    from harness.analysis import Findings

Say = Callable[[str], None]

SAVING = 2 / 3
"""The share of the grace after a SIGTERM in which epochs may end; the rest is for what closes runs."""
END = "harness: stopped after {:g} s; the same command goes on from the last checkpoints\n"
BINDING = ("harness", "torch", "numpy", "python", "model_code_sha256", "data_code_sha256")
"""What of the environment the last bits of a training depend on; its worker says where it trains."""


def run(
    study: Study,
    folder: Path,
    tracker: Tracker,
    how: How,
    say: Say = print,
    show: Callable[[Study, bool], Screen] = Progress,
) -> "Concluded":
    """Run or continue a study, write its report, and tell by `say` where everything lies; `show` makes what is told of
    it while it runs.
    """
    keep_freed_memory()
    device = _device(how)
    say("loading the data …")
    study, data, files = _loaded(study, folder, device, how, say)
    if not tracker.offline:
        shown_store()  # an address that MLflow would misread is refused before anything is trained
    journal = folder / study.journal
    with keeping(journal, say), closing(hire(how, data, study.budget.gpus_per_stack)) as workplace:
        begin(journal, how, say)
        facts = before_first_trial(study, folder, data, device, workplace, say)
        ledger, size = _opened(study, journal, facts, how, data, workplace, say)
        study = ledger.study
        show_runs(ledger, tracker, facts, journal, say)
        start = _start(ledger, data, workplace, size, journal, say)
        checkpoints = checkpoints_of(ledger, journal, facts, data, how, say)
        with stop_politely(how, say) as stopping, show(study, how.quiet) as screen:
            screen.start(start)
            Driver(ledger, tracker, screen, data, workplace, size, stopping, checkpoints).run()
        ledger.weights.tidy(ledger.recorded())
        files.tell_changed(data, say)
        return conclude(ledger, journal, tracker, say)


def _loaded(
    study: Study, folder: Path, device: torch.device, how: How, say: Say
) -> tuple[Study, dict[str, Data], Files]:
    """The study, settled, its data, and the files that they were read from. Nothing that a user wrote is executed
    before it is known that the journal goes on with it, and told.
    """
    if not how.fresh:
        check_data_name(study, folder / study.journal)
    if study.loader:
        if not how.fresh:
            check_edits(study, folder / study.journal)
        say(runs_code(study.loader, folder))
    files = Files.of(study, folder)  # before they are read
    settled, data = load_study(study, folder, device, say)
    report_folder(settled.label)  # one that leads out is refused before anything is trained
    return settled, data, files


@dataclass(frozen=True)
class Concluded:
    """What came of a study that has been run to its end, and where its page and its journal lie."""

    findings: "Findings"
    page: Path
    journal: Path


def checkpoints_of(
    ledger: Ledger, journal: Path, facts: Mapping[str, str], data: Mapping[str, Data], how: How, say: Say
) -> Checkpoints:
    """Where the checkpoints of a study lie, and what they depend on; none where it begins anew."""
    bound = {"journal": ledger.id, **{name: facts[name] for name in BINDING if name in facts}}
    sums = {name: one.fingerprint for name, one in data.items()}
    every = 60 * ledger.study.budget.checkpoint_minutes or math.inf
    checkpoints = Checkpoints(beside_journal(journal, "checkpoints"), bound, sums, every, say)
    if how.fresh:
        checkpoints.clear()
    return checkpoints


def begin(journal: Path, how: How, say: Say) -> None:
    """Put the journal aside, if that is wanted, or make it whole, if it is damaged."""
    if how.fresh and (aside := put_aside(journal)):
        say(f"the old journal is now {aside}")
    if told := make_whole(journal):
        say(f"warning: {told}")


def dry_run(study: Study, folder: Path, how: How, say: Say = print) -> Start:
    """Tell what `run` would do and about how long it would take. Trains nothing beyond that, writes nothing."""
    keep_freed_memory()
    device = _device(how)
    data: dict[str, Data] = {}
    if study.loader is None:  # else the data is not known: only `run` executes what a user wrote
        study, data = load_study(study, folder, device, say)
        checks.check_data(study, data)
    journal = folder / study.journal
    if not journal.exists() or how.fresh:
        if data:
            checks.check_windows(study, data)
        study = with_earlier(study, folder)
        left, used = study.whole, 0.0
    else:
        study, left, used = look(study, journal, environment.of_data(data.values()))
    done = _done(study, journal, left)
    programs = [one.file for one in (study.own, study.loader) if one]
    weigh = None if programs else scale(data)  # nobody is to run a program who only asks what would be done
    for heading, line in [*plan.outline(study, weigh), ("done", done)]:
        say(f"{heading:9} {line}")
    if programs:
        say(f"{'estimate':9} not told here, since that would run {' and '.join(programs)}; harness run tells it")
        return Start(journal, left)
    return _expected(study, how, data, left, used, journal, say)


def _expected(
    study: Study, how: How, data: Mapping[str, Data], left: plan.Left, used: float, journal: Path, say: Say
) -> Start:
    """How long a study will take that does not run."""
    with closing(hire(how, data, study.budget.gpus_per_stack)) as workplace:
        pace = plan.Pace(data, workplace, how.group_size or workplace.group_size, scale(data))
        return _estimated(study, pace, left, used, journal, lambda line: say(f"{'estimate':9} {line}"))


def _done(study: Study, journal: Path, left: plan.Left) -> str:
    """How many trainings a journal holds, in words."""
    trials, confirmed = (whole - one for whole, one in zip(study.whole, left, strict=True))
    if not (trials or confirmed):
        return "nothing yet: every training is still to be done"
    return f"{journal} holds {trials} search trials and {confirmed} confirmations"


def show_runs(ledger: Ledger, tracker: Tracker, facts: Mapping[str, str], journal: Path, say: Say) -> None:
    """Open the store of runs. One that cannot be opened holds up nothing: the journal has all, and is told in time."""
    if not tracker.offline:
        say("opening MLflow's store …")
    try:
        ledger.note_runs(tracker.open(ledger.study, ledger.id, facts))
    except UserError as error:
        say(f"warning: {error}; training goes on, and {advice('sync', journal)} writes the runs later")


def before_first_trial(
    study: Study, folder: Path, data: Mapping[str, Data], device: torch.device, workplace: Workplace, say: Say
) -> dict[str, str]:
    """What is recorded of how the study is trained; tells which layers no form by hand trains.

    Nothing that a user wrote is executed before it is known that the journal goes on with it, and told. Raises
    UserError for what only data and networks can tell to be wrong.
    """
    say("checking models on the data …")
    if study.own:
        check_edits(study, folder / study.journal)
        say(runs_code(study.own, folder))
    checks.check_data(study, data)
    checks.check_folds(study, data)
    checks.check_models(study, data)
    if not (folder / study.journal).exists():  # else some of its trials may have failed so, as they did before
        checks.check_windows(study, data)
    facts = environment.describe(data.values(), device, study.own, study.loader)
    facts |= {"device": workplace.describe() or facts["device"]}
    lanes = [f"{layer}: {lane}" for layer, lane in checks.lanes(study, data).items()]
    for lane in lanes:
        say(lane)
    return {**facts, "lanes": "; ".join(lanes)} if lanes else facts


def runs_code(own: Program, folder: Path) -> str:
    """What is told before anything that a user wrote is executed."""
    return f"runs {folder / own.file} (sha256 {own.sha256[:12]})"


def _start(
    ledger: Ledger, data: Mapping[str, Data], workplace: Workplace, size: int | None, journal: Path, say: Say
) -> Start:
    """Tell what to know beforehand and how long what is left will take, which the journal keeps."""
    for note in (*notes(ledger.study), *stopped_notes(ledger.study, journal)):
        say(f"note: {note}")
    say("timing a few steps …")
    pace = plan.Pace(data, workplace, size, scale(data))
    told = _estimated(ledger.study, pace, ledger.left(), ledger.used(), journal, lambda line: say(f"estimate: {line}"))
    ledger.note_expected(told.expected)
    return told


def stopped_notes(study: Study, journal: Path) -> Iterator[str]:
    """Which values do not go on, and how they would."""
    for name in study.stopped:
        yield f"{name} was stopped and does not go on; {resuming(journal, name)}"


def _estimated(study: Study, pace: plan.Pace, left: plan.Left, used: float, journal: Path, say: Say) -> Start:
    """Tell how long what is left of a study will take."""
    if not any(left):
        say("nothing is left to train")
        return Start(journal, left, seconds=0.0)
    known = plan.estimate(study, pace, left, used)
    say(known.words())
    seconds = known.search + known.confirming
    return Start(journal, left, known.expected, seconds if math.isfinite(seconds) else None)


def hire(how: How, data: Mapping[str, Data], gpus_per_stack: float = 1.0) -> Workplace:
    """Who trains, as the command line wants it."""
    workplace: Workplace = catalogue.built_by("crew", how.who)(data, how, gpus_per_stack)
    return workplace


def scale(data: Mapping[str, Data]) -> Callable[[Config], int]:
    """What counts the weights of the network of a config, on the data that it names."""

    def weigh(config: Config) -> int:
        mine = data[config.dataset]
        return count_weights(config.shape, mine.shape, mine.outputs)

    return weigh


def _opened(
    study: Study,
    journal: Path,
    facts: Mapping[str, str],
    how: How,
    data: Mapping[str, Data],
    workplace: Workplace,
    say: Say,
) -> tuple[Ledger, int | None]:
    """The study's trials, in which values that were stopped go on if that is wanted, and the most in a group."""
    size = how.group_size or workplace.group_size
    ledger = Ledger(study, journal, facts, how_record(how, size), scale(data))
    ledger.resume(how.resume)
    return ledger, size or group_size_of(ledger, data, workplace, say)


def group_size_of(
    ledger: Ledger, data: Mapping[str, Data], workplace: Workplace, say: Say, room: Room | None = None
) -> int | None:
    """The most trainings in a group where nobody says: None for what suits the device. On a GPU it is measured when a
    study begins, and kept: after a kill groups must be those of before. `room` is that of the device.
    """
    if room is None and not any(one.inputs.is_cuda for one in data.values()):
        return None
    size = ledger.measured_group_size
    if size is None and ledger.left() == ledger.study.whole:
        pace = plan.Pace(data, workplace, None, scale(data))
        size = plan.measured_group_size(ledger.study, pace, room or Gpu())
        if size is not None:
            say(f"at most {size} trainings at once: measured on this GPU, and kept (--stack says otherwise)")
    if size is not None:
        ledger.note_group_size(size)
    return size


def how_record(how: How, group_size: int | None) -> dict[str, Any]:
    """What the journal keeps of how a study is run, for those who train its runs again."""
    return {"group_size": group_size, "crew": how.who, "threads": torch.get_num_threads()}


def sync(study: Study, folder: Path, tracker: Tracker, say: Say = print) -> None:
    """Write to MLflow what the journal knows and the store lacks, and the report. Raises UserError as `run` does."""
    journal = folder / study.journal
    check_label(folder, study.label)
    check_data_name(study, journal)
    records = Records(journal)
    check_copy(folder, records.study.name)
    with keeping(journal, say):
        ledger = Ledger(records.study, journal, records.environment)
        ledger.note_runs(tracker.open(records.study, ledger.id, records.environment))
        tracker.complete = ledger.is_over()
        tracker.catch_up(ledger.recorded(), limit=math.inf)
        conclude(ledger, journal, tracker, say)


def conclude(ledger: Ledger, journal: Path, tracker: Tracker, say: Say) -> Concluded:
    """Write the report, see to it that MLflow has everything, and tell what is missing and where the rest lies."""
    if told := ledger.keep():
        say(f"warning: {told}")
    findings, target = reported(ledger.study.label, journal, say)  # while the store takes what waits
    recorded = list(ledger.recorded())
    if tracker.is_open:
        say("waiting for MLflow …")
    hand_over(tracker, recorded, lambda: tracker.summary(findings.headline, target))
    if tracker.is_gone and renew(ledger, tracker, recorded, journal, say):
        findings, target = reported(ledger.study.label, journal)  # with the addresses of the runs that there are now
        hand_over(tracker, recorded, lambda: tracker.summary(findings.headline, target))
    if tracker.failure:
        number = (tracker.missing or "some") if tracker.is_open else "all"
        say(
            f"warning: MLflow lacks {number} runs of this study ({tracker.failure}); "
            f"{advice('sync', journal)} writes them from the journal"
        )
    say(f"answer   {findings.answer}")
    say(f"report   {target / 'report.html'}")
    say(f"tables   {target / 'tables' / 'compare.csv'}")
    say(f"journal  {journal}")
    if kept := ledger.weights.told():
        say(f"weights  {kept}")
    if tracker.offline:
        say(f"MLflow   nothing written (--offline); {advice('sync', journal)} does it later")
    elif tracker.is_open:
        label = findings.study.label
        say(f"MLflow   {shown_store()}, experiment {label} (browse it with: harness ui)")
    return Concluded(findings, target / "report.html", journal)


def reported(label: str, journal: Path, say: Say | None = None) -> tuple["Findings", Path]:
    """What came of a study, whose flags are told, and the folder of its report, which is written. Raises
    StudyStoppedError, which says how to have it later, where it cannot be.
    """
    from harness.plots import begun_early

    with _told_how_again(journal):
        folder = report_folder(label)
    with begun_early(folder / "report.html", journal) as second:  # beside pandas and scipy
        from harness import analysis, report  # seconds to import, which no training has to wait for

        tell = say or (lambda line: None)
        tell("looking at what came of it …")
        findings = analysis.find(analysis.read_results(journal))
        for note in findings.flags:
            tell(f"warning: {note}")
        tell("writing the report …")
        with _told_how_again(journal):
            return findings, report.write(findings, folder, second)


@contextmanager
def _told_how_again(journal: Path) -> Iterator[None]:
    """What keeps a report from being written ends the study, with the command that writes it later."""
    try:
        yield
    except UserError as error:
        again = f"once it can be, {advice('report', journal)} writes it from the journal"
        raise StudyStoppedError(f"{error}; {again}") from None


def renew(ledger: Ledger, tracker: Tracker, recorded: Sequence[tuple[Trial, Outcome]], journal: Path, say: Say) -> bool:
    """Make a store that was deleted while the study ran anew, with all that the journal knows; whether it is there."""
    say(f"warning: {shown_store()} was deleted or replaced while the study ran; its runs are written anew")
    try:
        ledger.note_runs(tracker.renew())
    except UserError as error:
        say(f"warning: {error}; {advice('sync', journal)} writes the runs later")
        return False
    tracker.catch_up(recorded, patience(recorded))
    return True


def hand_over(
    tracker: Tracker, recorded: Sequence[tuple[Trial, Outcome]], summarise: Callable[[], None] = lambda: None
) -> None:
    """See to it that the store has all that is recorded, for as long as a healthy one takes."""
    summarise()
    tracker.drain(patience(recorded))
    if tracker.missing:  # it was too slow, or may have come back meanwhile
        tracker.catch_up(recorded, patience(recorded))
        summarise()
        tracker.drain(patience(recorded))


def patience(recorded: Sequence[tuple[Trial, Outcome]]) -> float:
    """For how many seconds a store is waited for that may have to take so many runs: more than a healthy one takes."""
    return WAIT + len(recorded) / 5


@dataclass(frozen=True)
class Driver:
    """The one process that owns all state: what comes back from a group goes to journal, tracking and screen.

    Once it is `stopping` it raises KeyboardInterrupt.
    """

    ledger: Ledger
    tracker: Tracker
    screen: Screen
    data: Mapping[str, Data]  # by name
    workplace: Workplace  # where training happens
    group_size: int | None = None  # the most trainings in a group
    stopping: Stopping = field(default_factory=Stopping)
    checkpoints: Checkpoints | None = None

    def run(self) -> None:
        """Spend what is left of the budget. Raises StudyStoppedError when too much of it fails."""
        recorded = list(self.ledger.recorded())
        self.tracker.catch_up(recorded)
        for trial, outcome in recorded:
            self.screen.end(trial, outcome)
        while trials := self.ledger.generation():
            self.train(trials)
            self.ledger.close_generation()
            self.heed()
        self.train(self.ledger.confirmations())
        self.train(self.ledger.ablations())
        self.ledger.end()

    def train(self, trials: list[Trial]) -> None:
        """Train the groups whose outcomes are not all recorded."""
        for trial, outcome in self.ledger.taken_back(trials):
            self.tracker.end(trial, outcome)
            self.screen.end(trial, outcome)
        folds = Folds(trials, self.ledger.study.trainings)
        groups = self.left(folds)
        self.screen.begin([trial for group in groups for trial in group])
        budget, failed = self.ledger.study.budget, list[Outcome]()
        crew = self.workplace.crew(groups, watched=budget.trial_timeout is not None)
        stop, limits = folds.stop_as(self.ledger.should_prune), (budget.retries, budget.trial_timeout)
        events = train_all(groups, crew, stop, *limits, self.checkpoints, self.stopping, self.unwanted(folds))
        with closing(events):
            for trial, told in chain.from_iterable(folds.take(*event) for event in events):
                self.take(trial, told)
                if isinstance(told, Outcome) and told.status == "failed":
                    failed.append(told)
                    if len(failed) > budget.failures * len(trials):
                        raise StudyStoppedError(_too_many(failed, len(trials), budget.failures))
        if self.stopping.asked:
            raise KeyboardInterrupt
        if self.checkpoints:
            self.checkpoints.clear()

    def heed(self) -> None:
        """Stop the values that somebody asked for since."""
        for level in self.ledger.heed():
            self.screen.stopped(self.ledger.study, level)

    def unwanted(self, folds: Folds) -> Callable[[Group], bool]:
        """What says of a group whether nothing of it is wanted any more: it lacks trials of stopped values alone."""

        def is_unwanted(group: Group) -> bool:
            self.heed()
            trials = {folds.whole[member] for member in group}
            return all(self.ledger.is_stopped(trial.level) or self.ledger.is_recorded(trial) for trial in trials)

        return is_unwanted

    def left(self, folds: Folds) -> list[Group]:
        """The groups to train, the longest first.

        A group that a kill cut short is run again whole: in another company its members' last digits could differ.
        """
        recorded = {m for trial, members in folds.of.items() if self.ledger.is_recorded(trial) for m in members}
        groups: list[Group] = []
        for name, data in self.data.items():
            groups += group_trials([t for t in folds.members if t.config.dataset == name], data, self.group_size)
        return by_cost([group for group in groups if not recorded.issuperset(group)], self.data)

    def take(self, trial: Trial, event: Told) -> None:
        """What became of a trial goes to journal, tracking and screen, also when its group is run again."""
        if isinstance(event, Begun):
            self.tracker.begin(trial)
        elif isinstance(event, Epoch):
            self.ledger.report(trial, event)
            self.tracker.epoch(trial, event)
            self.screen.epoch(trial, event)
            self.heed()
        elif isinstance(event, FoldsEnded):
            self.ledger.report_folds(trial, event)
        else:
            if not self.ledger.is_recorded(trial):
                self.ledger.record(trial, event)
                self.screen.end(trial, event)
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
def keeping(journal: Path, say: Say) -> Iterator[None]:
    """A journal is written by this process alone."""
    with writing(journal), hold(journal, say):
        yield


def caught(how: How) -> tuple[signal.Signals, ...]:
    """The signals that end a study politely.

    In somebody's own program Ctrl-C, or a notebook's button, stays the program's and interrupts at once; `harness stop`
    sends SIGTERM, which would end the program. A thread that is not the main one can catch none.
    """
    if not how.is_guest:
        return signal.SIGINT, signal.SIGTERM
    return (signal.SIGTERM,) if threading.current_thread() is threading.main_thread() else ()


@contextmanager
def stop_politely(how: How, say: Say) -> Iterator[Stopping]:
    """Ctrl-C, and SIGTERM, which schedulers send, let the epochs in hand end; a second one ends the process at once.

    After a SIGTERM a process of ours ends within `how.grace` seconds, whatever is in hand then: what sends it ends it
    anyway, and what a checkpoint holds is safe.
    """
    stopping = Stopping()

    def handle(number: int, frame: FrameType | None) -> None:
        if stopping.asked:
            os._exit(INTERRUPTED)
        stopping.asked, within = True, ""
        if number == signal.SIGTERM and not how.is_guest:
            stopping.deadline, within = time.monotonic() + SAVING * how.grace, f", within {how.grace:g} s"
            end = threading.Timer(how.grace, _end_now, [how.grace])
            end.daemon = True
            end.start()
        say(f"stopping after the epoch in hand{within}; once more stops at once")

    before = {number: signal.signal(number, handle) for number in caught(how)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_now(grace: float) -> None:
    """No more time is left: the journal is whole at any moment, and so are checkpoints."""
    os.write(2, END.format(grace).encode())
    os._exit(INTERRUPTED)


def _device(how: How) -> torch.device:
    """Where this process lays its data; Ray's workers say for themselves."""
    return torch.device("cpu") if how.who == "ray" else choose_device(how.device)


def choose_device(name: str) -> torch.device:
    """ "auto" is the GPU when there is one. Raises UserError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA GPU on this machine; use --device auto or cpu")
    return torch.device(name)
