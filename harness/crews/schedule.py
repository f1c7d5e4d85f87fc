"""Which stack trains when, on whatever crew does the training; what goes wrong there comes back as outcomes.

    for trial, event in train_all(stacks, crew, stop, retries=2, timeout=600.0):
        ...                          # None when it begins, then its Epochs, then its Outcome

A worker that dies loses nothing but time: its stack is trained again, whole, and what was recorded of it before stays.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from harness.trial import Epoch, Event, Outcome, Trial

Stack = Sequence[Trial]
Batch = list[tuple[Trial, Event]]
Stop = Callable[[Trial], bool]

PATIENCE = 0.5  # seconds between looks at the clock


@dataclass(frozen=True)
class Lost:
    """A worker that died with its stack, and why."""

    reason: str


class Crew(Protocol):
    """Workers, each of which trains one stack at a time and waits after every epoch to be told who stops."""

    def free(self) -> bool:
        """Whether a stack can be started now."""

    def start(self, stack: Stack) -> int:
        """Begin with a stack; the number of the worker that has it."""

    def wait(self, seconds: float) -> Sequence[tuple[int, Batch | Lost | None]]:
        """What workers have to say, within so many seconds: a step of a stack, its end (None), or a loss."""

    def go_on(self, worker: int, stopped: Collection[Trial]) -> None:
        """Let the worker train the next epoch without those who stop."""

    def abandon(self, worker: int) -> None:
        """Have nothing more to do with the worker and its stack, whatever it is doing."""

    def dismiss(self) -> None:
        """End what is still at work: the epochs in hand, no more."""


@dataclass
class _Work:
    """A stack at work, or waiting for it."""

    stack: Stack
    attempt: int = 0
    started: float = 0.0
    left: set[Trial] = field(default_factory=set)  # without an outcome


def train_all(
    stacks: Sequence[Stack], crew: Crew, stop: Stop, retries: int = 0, timeout: float | None = None
) -> Generator[tuple[Trial, Event], None, None]:
    """Train the stacks, as many at a time as the crew can. `stop` is asked in this thread, after each epoch.

    A stack whose worker died is trained again up to `retries` times; after the first time in halves, so that what kills
    its worker is left alone in the end. `timeout` is in seconds of training for each trial of a stack.
    """
    waiting = deque(_Work(stack) for stack in sorted(stacks, key=_cost, reverse=True))
    at_work: dict[int, _Work] = {}
    try:
        while waiting or at_work:
            while waiting and crew.free():
                work = waiting.popleft()
                work.started, work.left = time.time(), set(work.stack)
                yield from ((trial, None) for trial in work.stack)
                at_work[crew.start(work.stack)] = work
            for worker, said in crew.wait(PATIENCE):
                if isinstance(said, list):
                    yield from _told(said, at_work[worker])
                    crew.go_on(worker, [trial for trial, event in said if isinstance(event, Epoch) and stop(trial)])
                    continue
                work = at_work.pop(worker)
                if isinstance(said, Lost) and work.left:
                    if work.attempt < retries:
                        waiting.extendleft(reversed(_again(work)))
                    else:
                        yield from _failed(work, said.reason)
            if timeout is not None:
                for worker in [w for w, work in at_work.items() if _overdue(work, timeout)]:
                    crew.abandon(worker)
                    work = at_work.pop(worker)
                    yield from _failed(work, _too_long(work, timeout))
    finally:
        crew.dismiss()  # also when the caller has gone: an interrupt, an error


def _told(batch: Batch, work: _Work) -> Iterator[tuple[Trial, Event]]:
    for trial, event in batch:
        if isinstance(event, Outcome):
            work.left.discard(trial)
            event = replace(event, retries=work.attempt) if work.attempt else event
        yield trial, event


def _again(work: _Work) -> list[_Work]:
    half = len(work.stack) // 2 if work.attempt else 0
    return [_Work(part, work.attempt + 1) for part in (work.stack[:half], work.stack[half:]) if part]


def _failed(work: _Work, reason: str) -> Iterator[tuple[Trial, Event]]:
    for trial in work.stack:
        if trial in work.left:
            yield trial, Outcome("failed", reason, work.started, time.time(), retries=work.attempt)


def _overdue(work: _Work, timeout: float) -> bool:
    return time.time() - work.started > timeout * len(work.stack)


def _too_long(work: _Work, timeout: float) -> str:
    others = f", in a stack of {len(work.stack)} (so {timeout * len(work.stack):g} s)" if len(work.stack) > 1 else ""
    return f"took longer than budget.trial_timeout = {timeout:g} s{others}"


def _cost(stack: Stack) -> float:
    """A measure of a stack's work: the longest begin first, so that none is left alone at the end."""
    config = stack[0].config
    return len(stack) * config.epochs * (1 + sum(config.hidden))
