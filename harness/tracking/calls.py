"""What the driver asks of the tracking process: records that travel down the pipe, and the store that they are done to.

pipe.send(Begin("3/search/12", trial, time.time()))      # the driver
pipe.recv().do(store)                                    # the tracking process

Another tracker is a class with the methods of `Store`, and an entry of the kind "tracker" in the catalogue.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from harness.errors import UserError
from harness.masking import without_secrets
from harness.study.study import Study
from harness.trial import Epoch, Figures, Outcome, Trial

Ending = Literal["finished", "stopped", "failed"]
"""What became of a study, for now: "stopped" can go on."""


@dataclass(frozen=True)
class Opened:
    """What a store knows of a study's runs when it is opened."""

    pages: Mapping[str, str]  # the address of the study's run, by its label, and of its levels', by their names
    complete: frozenset[str]  # keys of the trials whose run is complete
    cut: frozenset[str]  # and of those with a run that was cut short


class Store(Protocol):
    """Where runs can be seen. Built without arguments: where it lies is for the environment to say.

    Its methods are called one at a time, and may raise what they like: what is missing is written from the journal.
    """

    def connect(self) -> None:
        """Make ready while the driver does so too; what this raises must be raised by `open` again."""

    def open(self, study: Study, journal: str, environment: Mapping[str, str]) -> Opened:
        """Find or make the study's run and its levels'. Raises UserError, in whole sentences, if it cannot."""

    def begin(self, key: str, trial: Trial, started: float) -> None:
        """A trial starts, for the second time if it was cut short or its group is trained again."""

    def epoch(self, key: str, epoch: Epoch) -> None:
        """Figures of a running trial; they may wait for others until `flush`."""

    def end(self, key: str, trial: Trial, outcome: Outcome) -> None:
        """All of a trial, also if it never began; nothing if it is complete already."""

    def summary(self, figures: Mapping[str, Figures], report: Path) -> None:
        """Headline figures of each level, by its name, and the report's folder."""

    def flush(self, late: float) -> None:
        """Write what has waited for longer than `late` seconds."""

    def finish(self, ending: Ending) -> None:
        """Close every run."""

    def is_gone(self) -> bool:
        """Whether what was opened is not there any more, so that what is written goes nowhere."""


@dataclass(frozen=True)
class Call:
    """Something to be done.

    A call that is `wanted` is told of when it was not done, until it is; what the others would have said, an `End` says
    again. The driver waits for one that is `answered`.
    """

    wanted: ClassVar[bool] = False
    answered: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """What the store lacks without it."""
        return type(self).__name__

    def do(self, store: Store) -> Opened | None:
        """Do it."""


@dataclass(frozen=True)
class Answer:
    """What the driver hears of a call that is answered: what came of it, what the store lacks so far, and why; and
    whether the store itself is gone.
    """

    opened: Opened | None
    failure: str | None
    missing: int
    is_gone: bool = False


@dataclass(frozen=True)
class Open(Call):
    """The first call."""

    wanted = answered = True
    study: Study
    journal: str
    environment: Mapping[str, str]

    def do(self, store: Store) -> Opened:
        """Open the study."""
        return store.open(self.study, self.journal, self.environment)


@dataclass(frozen=True)
class OfTrial(Call):
    """What is said of a trial, by its key. It may be left out while a store is slow."""

    key: str

    @property
    def name(self) -> str:
        """The trial's key."""
        return self.key


@dataclass(frozen=True)
class Begin(OfTrial):
    """A trial starts."""

    trial: Trial
    started: float  # Unix time

    def do(self, store: Store) -> None:
        """Begin its run."""
        store.begin(self.key, self.trial, self.started)


@dataclass(frozen=True)
class EpochEnd(OfTrial):
    """Figures of a running trial."""

    epoch: Epoch

    def do(self, store: Store) -> None:
        """Add them to its run."""
        store.epoch(self.key, self.epoch)


@dataclass(frozen=True)
class End(OfTrial):
    """What came of a trial."""

    wanted = True
    trial: Trial
    outcome: Outcome

    def do(self, store: Store) -> None:
        """Complete its run."""
        store.end(self.key, self.trial, self.outcome)


@dataclass(frozen=True)
class Summary(Call):
    """Headline figures of each level, by its name, and the report's folder."""

    wanted = True
    figures: Mapping[str, Figures]
    report: Path

    def do(self, store: Store) -> None:
        """Show them."""
        store.summary(self.figures, self.report)


@dataclass(frozen=True)
class Flush(Call):
    """What has waited for some seconds waits no longer. The process tells itself."""

    late: float

    def do(self, store: Store) -> None:
        """Write it."""
        store.flush(self.late)


@dataclass(frozen=True)
class Drain(Call):
    """Answered once everything before it has been done, or has failed to be."""

    answered = True


@dataclass(frozen=True)
class Limit(Call):
    """Goes before those that wait: for how many seconds they, and those that come, will still be done."""

    seconds: float


@dataclass(frozen=True)
class Ping(Call):
    """Answered with `Alive` as soon as it is read, whatever the store is doing."""


@dataclass(frozen=True)
class Alive:
    """The process reads what it is sent."""


@dataclass(frozen=True)
class Finish(Call):
    """The last call."""

    wanted = answered = True
    ending: Ending

    def do(self, store: Store) -> None:
        """Close every run."""
        store.finish(self.ending)


def in_one_line(error: Exception) -> str:
    """An error as a user can read it; some have no words of their own."""
    words = re.sub(r"^\(raised as a result of .*\)\n", "", str(error))  # SQLAlchemy's hint to programmers
    name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return without_secrets(f"{name}{words}".splitlines()[0])
