"""Which group trains when, on whatever crew does the training; what goes wrong there comes back as outcomes.

    for trial, event in train_all(groups, workplace.crew(groups), stop, retries=2, timeout=600.0):
        ...                          # Begun, then its Epochs, then its Outcome

A worker that dies loses nothing but time: its group is trained again, whole, and what was recorded of it before stays.
With `keeping` a group goes on from its last checkpoint, now and in another process: what was told of it until then is
told again. Once `stopping` is asked for, every group at work ends with its next epoch, and has a checkpoint of it.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from harness.training.loop import Reply
from harness.trial import Begun, Epoch, Event, Outcome, Trial

Group = Sequence[Trial]
"""Trials that are trained together, as one stack."""
Batch = list[tuple[Trial, Epoch | Outcome]]
Stop = Callable[[Trial], bool]

LOOK = 0.5  # seconds between looks at the clock
PATIENCE = 60.0  # seconds that epochs in hand have to end when nobody waits for what they come to


@dataclass(frozen=True)
class Lost:
    """A worker that died with its group, and why."""

    reason: str


@dataclass(frozen=True)
class Ended:
    """The end of a group: all its outcomes have been told."""


@dataclass(frozen=True)
class Saved:
    """Where a group is between two epochs, for another worker to go on; None where that cannot be kept, and why."""

    data: bytes | None
    why: str = ""


@dataclass(frozen=True)
class Unusable:
    """What a group was to go on from is none of its own, and why: it begins at its start."""

    why: str


Said = Batch | Saved | Unusable | Ended | Lost
"""What a worker has to say: a step of its group or its state, its end, or that the worker is lost."""


@dataclass(frozen=True)
class Found:
    """A group's checkpoint: what `Saved` held, and for how many seconds the group had trained."""

    data: bytes
    used: float


class Keeping(Protocol):
    """Who keeps checkpoints."""

    @property
    def every(self) -> float:
        """How many seconds a group trains between two of them; infinite where none are wanted."""

    def find(self, group: Group) -> Found | None:
        """That of a group."""

    def keep(self, group: Group, data: bytes, used: float) -> None:
        """Keep what a group's worker `Saved`."""

    def lacks(self, why: str) -> None:
        """Hear that a worker cannot save."""

    def refuse(self, group: Group, why: str) -> None:
        """Hear that what was found is of no use."""

    def drop(self, group: Group) -> None:
        """The group has ended."""


@dataclass
class Stopping:
    """Whether all is to stop, and by when, as time.monotonic() counts."""

    asked: bool = False
    deadline: float = math.inf

    @property
    def late(self) -> bool:
        """Whether no epoch's end is to be waited for any more."""
        return time.monotonic() > self.deadline


class Crew(Protocol):
    """Workers, each of which trains one group at a time and waits after every epoch to be told who stops."""

    def free(self) -> bool:
        """Whether a group can be started now."""

    def start(self, group: Group, saved: bytes | None) -> int:
        """Begin with a group, or go on with it where it was saved; the number of the worker that has it."""

    def wait(self, seconds: float) -> Sequence[tuple[int, Said]]:
        """What workers have to say, within so many seconds."""

    def go_on(self, worker: int, reply: Reply) -> None:
        """Let the worker train the next epoch without those who stop; before it, it may have to save."""

    def abandon(self, worker: int) -> None:
        """Have nothing more to do with the worker and its group, whatever it is doing."""

    def dismiss(self, patience: float) -> None:
        """End what is still at work: the epochs in hand, no more, and within so many seconds."""


class Workplace(Protocol):
    """Where training happens: this machine, or others. Everything that the driver asks of it."""

    @property
    def group_size(self) -> int | None:
        """The most trainings in a group, where that is not for `grouping` to say."""

    def describe(self) -> str | None:
        """What trains, in words; None where that is the device of this process."""

    def side_by_side(self, groups: Sequence[Group]) -> int:
        """How many of these groups train at once."""

    def crew(self, groups: Sequence[Group], watched: bool) -> Crew:
        """Who trains these groups; `watched` means that there is a time limit."""

    def close(self) -> None:
        """Let all workers go."""


@dataclass
class _Work:
    """A group at work, or waiting for it."""

    group: Group
    attempt: int = 0
    started: float = 0.0  # a Unix time, for the journal
    since: float = 0.0  # the same moment as time.monotonic() counts, which no clock that is set back changes
    used: float = 0.0  # seconds for which it had trained before it was started
    kept: float = 0.0  # when its last checkpoint was, or its beginning, as time.monotonic() counts
    left: set[Trial] = field(default_factory=set)  # without an outcome

    @property
    def seconds(self) -> float:
        """For how long it has trained."""
        return time.monotonic() - self.since + self.used

    def is_due(self, every: float) -> bool:
        """Whether its last checkpoint, or its beginning, was `every` seconds ago."""
        return time.monotonic() - self.kept >= every


@dataclass
class _Schedule:
    """What waits and what is at work."""

    crew: Crew
    stop: Stop
    retries: int
    timeout: float | None
    waiting: deque[_Work]
    keeping: Keeping | None
    stopping: Stopping
    unwanted: Callable[[Group], bool]
    at_work: dict[int, _Work] = field(default_factory=dict)

    @property
    def goes_on(self) -> bool:
        """Whether there is something to wait for."""
        if self.stopping.asked:
            return bool(self.at_work) and not self.stopping.late
        return bool(self.waiting or self.at_work)

    def begin(self) -> Iterator[tuple[Trial, Event]]:
        """Start what the crew has hands for."""
        while self.waiting and not self.stopping.asked and self.crew.free():
            work = self.waiting.popleft()
            if self.unwanted(work.group):
                continue
            found = self.keeping.find(work.group) if self.keeping else None
            work.started = time.time()
            work.since = work.kept = time.monotonic()
            work.used, work.left = found.used if found else 0.0, set(work.group)
            yield from ((trial, Begun(work.started)) for trial in work.group)
            self.at_work[self.crew.start(work.group, found.data if found else None)] = work

    def listen(self) -> Iterator[tuple[Trial, Event]]:
        """What the crew says; after each epoch its trials that are to stop are named."""
        for worker, said in self.crew.wait(LOOK):
            if isinstance(said, Ended | Lost):
                yield from self._end(self.at_work.pop(worker), said)
            elif isinstance(said, list):
                yield from self._told(worker, said)
            else:
                self._hear(worker, said)

    def _told(self, worker: int, batch: Batch) -> Iterator[tuple[Trial, Event]]:
        """A step of a group; the reply says who stops, and whether a checkpoint is due."""
        work = self.at_work[worker]
        yield from _told(batch, work)
        stopped = [trial for trial, event in batch if isinstance(event, Epoch) and self.stop(trial)]
        every = self.keeping.every if self.keeping else math.inf
        if self.stopping.asked and every == math.inf:
            del self.at_work[worker]
            return
        self.crew.go_on(worker, Reply(stopped, save=self.stopping.asked or work.is_due(every)))

    def _hear(self, worker: int, said: Saved | Unusable) -> None:
        """A checkpoint, after which a group goes on unless all are to stop; or none."""
        work, keeping = self.at_work[worker], self.keeping
        assert keeping is not None
        if isinstance(said, Unusable):
            keeping.refuse(work.group, said.why)
            work.used = 0.0
        else:
            work.kept = time.monotonic()
            if said.data is None:
                keeping.lacks(said.why)
            else:
                keeping.keep(work.group, said.data, work.seconds)
            if self.stopping.asked:
                del self.at_work[worker]
                return
        self.crew.go_on(worker, Reply())

    def _end(self, work: _Work, said: Ended | Lost) -> Iterator[tuple[Trial, Event]]:
        if isinstance(said, Lost) and work.left:
            if not self.stopping.asked:  # else what sent the signal may have ended the worker too
                yield from self._lost(work, said.reason)
        elif self.keeping is not None:
            self.keeping.drop(work.group)

    def _lost(self, work: _Work, reason: str) -> Iterator[tuple[Trial, Event]]:
        if work.attempt < self.retries:
            self.waiting.extendleft(reversed(_again(work)))
        else:
            yield from _failed(work, reason)

    def give_up(self) -> Iterator[tuple[Trial, Event]]:
        """Abandon what takes too long."""
        if self.timeout is None or self.stopping.asked:
            return
        for worker in [worker for worker, work in self.at_work.items() if _overdue(work, self.timeout)]:
            self.crew.abandon(worker)
            work = self.at_work.pop(worker)
            yield from _failed(work, _too_long(work, self.timeout))


def train_all(
    groups: Sequence[Group],
    crew: Crew,
    stop: Stop,
    retries: int = 0,
    timeout: float | None = None,
    keeping: Keeping | None = None,
    stopping: Stopping | None = None,
    unwanted: Callable[[Group], bool] = lambda group: False,
) -> Generator[tuple[Trial, Event], None, None]:
    """Train the groups in their order, as many at a time as the crew can. `stop` is asked in this thread, each epoch.

    A group whose worker died is trained again up to `retries` times; after the first time in halves, so that what kills
    its worker is left alone in the end. `timeout` is in seconds of training for each trial of a group. A group that is
    `unwanted` when its turn comes is not begun.
    """
    stopping = stopping or Stopping()
    schedule = _Schedule(crew, stop, retries, timeout, deque(map(_Work, groups)), keeping, stopping, unwanted)
    try:
        while schedule.goes_on:
            yield from schedule.begin()
            yield from schedule.listen()
            yield from schedule.give_up()
    finally:
        crew.dismiss(0.0 if stopping.late else PATIENCE)  # also when the caller has gone: an interrupt, an error


def _told(batch: Batch, work: _Work) -> Iterator[tuple[Trial, Event]]:
    for trial, event in batch:
        if isinstance(event, Outcome):
            work.left.discard(trial)
            event = replace(event, retries=work.attempt) if work.attempt else event
        yield trial, event


def _again(work: _Work) -> list[_Work]:
    half = len(work.group) // 2 if work.attempt else 0
    return [_Work(part, work.attempt + 1) for part in (work.group[:half], work.group[half:]) if part]


def _failed(work: _Work, reason: str) -> Iterator[tuple[Trial, Event]]:
    for trial in work.group:
        if trial in work.left:
            yield trial, Outcome("failed", reason, work.started, time.time(), retries=work.attempt)


def _overdue(work: _Work, timeout: float) -> bool:
    return work.seconds > timeout * len(work.group)


def _too_long(work: _Work, timeout: float) -> str:
    others = f", in a stack of {len(work.group)} (so {timeout * len(work.group):g} s)" if len(work.group) > 1 else ""
    return f"took longer than budget.trial_timeout = {timeout:g} s{others}"
