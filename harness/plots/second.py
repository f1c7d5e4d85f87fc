"""A second process that draws beside this one: matplotlib keeps Python's lock, so threads would take turns.

    with Second() as second:        # begins to import matplotlib at once
        ...                         # read, count
        second.draw(jobs)           # some there, some here

`main` is what that process does. Jobs come and answers go through a pipe of its own, whose other end this process alone
holds; it ends when the pipe does. A process of its own and not a fork: a driver has threads of torch's.
"""

import gc
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable
from multiprocessing.connection import Connection
from threading import Thread
from types import TracebackType
from typing import Protocol, Self

from harness.processes import start


class Job(Protocol):
    """What is to be drawn; it must be possible to send it to another process."""

    def draw(self) -> None:
        """Draw and write it."""


class Second:
    """The second process, from this one. Whatever becomes of it, what it was given is drawn."""

    def __init__(self) -> None:
        self._process, self._pipe = start("-c", "from harness.plots.second import main; main()")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.wait()  # it ends when the pipe does

    def draw(self, jobs: Iterable[Job]) -> None:
        """Draw all of them: this process from the first on, the second one from the last. Raises what a job raises."""
        left, failed = deque(jobs), list[BaseException]()
        giving = Thread(target=self._give, args=(left, failed))
        giving.start()
        try:
            _draw_from(left)
        finally:
            left.clear()
            giving.join()
        _draw_from(left)  # what a second process that died gave back
        if failed:
            raise failed[0]

    def _give(self, left: deque[Job], failed: list[BaseException]) -> None:
        """Have the second process draw job after job, as long as there are any."""
        while True:
            try:
                job = left.pop()
            except IndexError:
                return
            try:
                self._pipe.send(job)
                error: BaseException | None = self._pipe.recv()
            except Exception:  # it died, or the job cannot be sent: then it is drawn here
                left.append(job)
                return
            if error is not None:
                failed.append(error)
                return


def _draw_from(left: deque[Job]) -> None:
    while True:
        try:
            job = left.popleft()
        except IndexError:
            return
        job.draw()


def main() -> None:
    """Serve the process that holds the other end of the pipe whose file descriptor is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is its business
    pipe = Connection(int(sys.argv[1]))
    gc.set_threshold(20_000, 20, 20)  # figures are many small objects: a tenth of the time to draw them
    import harness.plots.base  # noqa: F401  # matplotlib, while there is no job yet

    while True:
        try:
            pipe.send(_error_of(pipe.recv()))
        except (OSError, EOFError):
            os._exit(0)  # to take matplotlib down in good order would take a tenth of a second


def _error_of(job: Job) -> Exception | None:
    """Draw; what that raised."""
    try:
        job.draw()
    except Exception as error:
        return error
    return None
