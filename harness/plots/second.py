"""A second process that draws beside this one: matplotlib keeps Python's lock, so threads would take turns.

    with Second() as second:        # begins to import matplotlib at once
        ...                         # read, count
        second.draw(jobs)           # some there, some here

`main` is what that process does. Jobs come and answers go through its standard input and output; it
ends when its input does. A process of its own and not a fork: a driver has threads of torch's.
"""

import contextlib
import gc
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Protocol, Self


class Job(Protocol):
    """What is to be drawn; it must be possible to pickle it."""

    def draw(self) -> None:
        """Draw and write it."""


class Second:
    """The second process, from this one. Whatever becomes of it, what it was given is drawn."""

    def __init__(self) -> None:
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from harness.plots.second import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # of a process that died
            self._process.communicate()  # it ends when its input does

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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        while True:
            try:
                job = left.pop()
            except IndexError:
                return
            try:
                pickle.dump(job, self._process.stdin)
                self._process.stdin.flush()
                error = pickle.load(self._process.stdout)
            except (OSError, EOFError, pickle.UnpicklingError):
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
    """Serve the process at the other end of standard input and output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is its business
    jobs, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    gc.set_threshold(20_000, 20, 20)  # figures are many small objects: a tenth of the time to draw them
    import harness.plots.base  # noqa: F401  # matplotlib, while there is no job yet

    while True:
        try:
            job: Job = pickle.load(jobs)
        except EOFError:
            os._exit(0)  # to take matplotlib down in good order would take a tenth of a second
        try:
            job.draw()
            pickle.dump(None, answers)
        except Exception as error:
            pickle.dump(error, answers)
        answers.flush()
