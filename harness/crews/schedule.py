"""Which group trains when, on whatever crew does the training; what goes wrong there comes back as outcomes.

    for trial, event in train_all(groups, workplace.crew(groups), stop, retries=2, timeout=600.0):
        ...                          # Begun, then its Epochs, then its Outcome

A worker that dies loses nothing but time: its group is trained again, whole, and what was recorded of it before stays.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from harness.trial import Begun, Epoch, Event, Outcome, Trial

Group = Sequence[Trial]
"""Trials that are trained together, as one stack."""
Batch = list[tuple[Trial, Epoch | Outcome]]
Stop = Callable[[Trial], bool]

LOOK = 0.5  # seconds between looks at the clock


@dataclass(frozen=True)
class Lost:
    """A worker that died with its group, and why."""

    reason: str


@dataclass(frozen=True)
class Ended:
    """The end of a group: all its outcomes have been told."""


Said = Batch | Ended | Lost
"""What a worker has to say: a step of its group, its end, or that the worker is lost."""


class Crew(Protocol):
    """Workers, each of which trains one group at a time and waits after every epoch to be told who stops."""

    def free(self) -> bool:
        """Whether a group can be started now."""

    def start(self, group: Group) -> int:
        """Begin with a group; the number of the worker that has it."""

    def wait(self, seconds: float) -> Sequence[tuple[int, Said]]:
        """What workers have to say, within so many seconds."""

    def go_on(self, worker: int, stopped: Collection[Trial]) -> None:
        """Let the worker train the next epoch without those who stop."""

    def abandon(self, worker: int) -> None:
        """Have nothing more to do with the worker and its group, whatever it is doing."""

    def dismiss(self) -> None:
        """End what is still at work: the epochs in hand, no more."""


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
    started: float = 0.0
    left: set[Trial] = field(default_factory=set)  # without an outcome


@dataclass
class _Schedule:
    """What waits and what is at work."""

    crew: Crew
    stop: Stop
    retries: int
    timeout: float | None
    waiting: deque[_Work]
    at_work: dict[int, _Work] = field(default_factory=dict)

    def begin(self) -> Iterator[tuple[Trial, Event]]:
        """Start what the crew has hands for."""
        while self.waiting and self.crew.free():
            work = self.waiting.popleft()
            work.started, work.left = time.time(), set(work.group)
            yield from ((trial, Begun(work.started)) for trial in work.group)
            self.at_work[self.crew.start(work.group)] = work

    def listen(self) -> Iterator[tuple[Trial, Event]]:
        """What the crew says; after each epoch its trials that are to stop are named."""
        for worker, said in self.crew.wait(LOOK):
            if isinstance(said, list):
                yield from _told(said, self.at_work[worker])
                stopped = [trial for trial, event in said if isinstance(event, Epoch) and self.stop(trial)]
                self.crew.go_on(worker, stopped)
                continue
            work = self.at_work.pop(worker)
            if isinstance(said, Lost) and work.left:
                yield from self._lost(work, said.reason)

    def _lost(self, work: _Work, reason: str) -> Iterator[tuple[Trial, Event]]:
        if work.attempt < self.retries:
            self.waiting.extendleft(reversed(_again(work)))
        else:
            yield from _failed(work, reason)

    def give_up(self) -> Iterator[tuple[Trial, Event]]:
        """Abandon what takes too long."""
        if self.timeout is None:
            return
        for worker in [worker for worker, work in self.at_work.items() if _overdue(work, self.timeout)]:
            self.crew.abandon(worker)
            work = self.at_work.pop(worker)
            yield from _failed(work, _too_long(work, self.timeout))


def train_all(
    groups: Sequence[Group], crew: Crew, stop: Stop, retries: int = 0, timeout: float | None = None
) -> Generator[tuple[Trial, Event], None, None]:
    """Train the groups in their order, as many at a time as the crew can. `stop` is asked in this thread, each epoch.

    A group whose worker died is trained again up to `retries` times; after the first time in halves, so that what kills
    its worker is left alone in the end. `timeout` is in seconds of training for each trial of a group.
    """
    schedule = _Schedule(crew, stop, retries, timeout, deque(map(_Work, groups)))
    try:
        while schedule.waiting or schedule.at_work:
            yield from schedule.begin()
            yield from schedule.listen()
            yield from schedule.give_up()
    finally:
        crew.dismiss()  # also when the caller has gone: an interrupt, an error


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
    return time.time() - work.started > timeout * len(work.group)


def _too_long(work: _Work, timeout: float) -> str:
    others = f", in a stack of {len(work.group)} (so {timeout * len(work.group):g} s)" if len(work.group) > 1 else ""
    return f"took longer than budget.trial_timeout = {timeout:g} s{others}"
