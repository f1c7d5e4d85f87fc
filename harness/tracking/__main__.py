"""The tracking process: reads the driver's calls from a pipe, and writes them to MLflow.

It ends when the driver says so, or when the pipe does: a driver that was killed wants nothing more of it, since the
journal holds the truth. Signals are the driver's business.

A store that fails is left alone for a while, so that a server that is gone or slow costs one call's time and not that
of every call. What it missed meanwhile is remembered and told.
"""

import contextlib
import math
import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from harness.tracking.tracker import key, store_uri

if TYPE_CHECKING:
    from harness.tracking.writer import Writer

LATE = 3.0  # seconds that a metric of a running trial may wait for its batch
PAUSE = 10.0  # seconds for which a store that failed is left alone
FULL = 1000  # calls that may wait for a slow store; more would fill the memory
SLOW = "it is slower than the study"
Call = tuple[Any, ...]


class Desk:
    """Takes calls in as they come, and writes them as fast as the store bears."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self.missing: set[str] = set()  # keys of trials, or names of other calls, that the store lacks
        self.failure: str | None = None
        self.closed_until = 0.0
        self.deadline = math.inf  # after which nothing that waits is written

    def read(self) -> None:
        """Empty the pipe at once, whatever MLflow is doing: the driver must never wait for it."""
        while True:
            try:
                call = self.pipe.recv()
            except (OSError, EOFError):
                os._exit(1)
            what = call[0]
            if what == "limit":
                self.deadline = time.monotonic() + call[1]
                continue
            if what in ("begin", "epoch", "end") and self.calls.qsize() >= FULL:
                if what == "end":  # which brings all that the others would have said
                    self._miss(key(call[1]), SLOW)
                continue
            self.calls.put(call)
            if what == "finish":
                return

    def serve(self, writer: "Writer") -> None:
        """Write calls until the driver has finished."""
        while True:
            try:
                what, *arguments = self.calls.get(timeout=LATE / 3)
            except queue.Empty:
                what, arguments = "flush", [LATE]
            answer = self._do(writer, what, arguments)
            if what != "flush":
                self._do(writer, "flush", [LATE])
            if what in ("open", "drain", "finish"):
                if what == "drain":
                    self.deadline = math.inf  # before the driver hears of it, and can set another
                self.pipe.send((answer, self.failure if self.missing else None, len(self.missing)))
            if what == "finish":
                return
            if what == "open":
                self._warm_up()

    def _do(self, writer: "Writer", what: str, arguments: list[Any]) -> Any:
        name = key(arguments[0]) if what in ("begin", "epoch", "end") else what
        wanted = what in ("end", "summary", "open", "finish")  # the others are made good by an end
        if what == "drain":
            return None
        late = what != "finish" and time.monotonic() > self.deadline
        if late or (time.monotonic() < self.closed_until and what != "open"):
            if wanted:
                self._miss(name, SLOW)
            return None
        try:
            answer = getattr(writer, what)(*arguments)
        except Exception as error:  # the study goes on without its view; the journal has everything
            from harness.tracking.writer import in_one_line

            self.closed_until = time.monotonic() + PAUSE
            self.failure = in_one_line(error)
            if wanted:
                self._miss(name, self.failure)
            return None
        if wanted:
            self.missing.discard(name)
        return answer

    def _miss(self, name: str, why: str) -> None:
        self.missing.add(name)
        self.failure = self.failure or why

    def _warm_up(self) -> None:
        """Import matplotlib now: a second, which the first confirmation run need not wait for."""
        from harness.tracking.entries import pictures

        pictures()


def main() -> None:
    """Serve the driver that holds the other end of the pipe whose file descriptor is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    desk = Desk(Connection(int(sys.argv[1])))
    threading.Thread(target=desk.read, daemon=True).start()
    from harness.tracking.writer import Writer  # MLflow: seconds, in which the driver loads torch

    writer = Writer(store_uri())
    with contextlib.suppress(Exception):  # told when the study is opened
        writer.connect()
    with contextlib.suppress(OSError):  # the driver is gone
        desk.serve(writer)
    os._exit(0)  # everything is written; to take MLflow down in good order would take a second


if __name__ == "__main__":
    main()
