"""The tracking process: reads the driver's calls from a pipe, and does them to the store.

    python -m harness.tracking harness.tracking.mlflow.store:MlflowStore 7      # the store, the pipe's file descriptor

It ends when the driver says so, or when the pipe does: a driver that was killed wants nothing more of it, since the
journal holds the truth. Signals are the driver's business.

A store that fails is left alone for a while, so that a server that is gone or slow costs one call's time and not that
of every call. What it missed meanwhile is remembered and told.
"""

import contextlib
import gc
import math
import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

from harness import catalogue
from harness.tracking.calls import (
    Alive,
    Answer,
    Call,
    Drain,
    Finish,
    Flush,
    Limit,
    OfTrial,
    Opened,
    Ping,
    Store,
    in_one_line,
)

LATE = 3.0  # seconds that a metric of a running trial may wait for its batch
PAUSE = 10.0  # seconds for which a store that failed is left alone
FULL = 1000  # calls that may wait for a slow store; more would fill the memory
SLOW = "it is slower than the study"


class Desk:
    """Takes calls in as they come, and does them as fast as the store bears."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self.missing: set[str] = set()  # names of calls, of trials their keys, that the store lacks
        self.failure: str | None = None
        self.closed_until = 0.0
        self.deadline = math.inf  # after which nothing that waits is done
        self.speaking = threading.Lock()

    def read(self) -> None:
        """Empty the pipe at once, whatever the store is doing: the driver must never wait for it."""
        while True:
            try:
                call: Call = self.pipe.recv()
                if isinstance(call, Ping):
                    self.say(Alive())
            except (OSError, EOFError):
                os._exit(1)
            if isinstance(call, Limit):
                self.deadline = time.monotonic() + call.seconds
            elif isinstance(call, OfTrial) and self.calls.qsize() >= FULL:
                self._miss(call, SLOW)
            elif not isinstance(call, Ping):
                self.calls.put(call)
            if isinstance(call, Finish):
                return

    def serve(self, store: Store) -> None:
        """Do calls until the driver has finished."""
        call: Call | None = None
        while not isinstance(call, Finish):
            call = self._next()
            opened = self._do(store, call) if call else None
            self._do(store, Flush(LATE))
            if isinstance(call, Drain):
                self.deadline = math.inf  # before the driver hears of it, and can set another
            if call and call.answered:
                is_gone = False
                with contextlib.suppress(Exception):  # a store may not know
                    is_gone = store.is_gone()
                self.say(Answer(opened, self.failure if self.missing else None, len(self.missing), is_gone))

    def say(self, word: Answer | Alive) -> None:
        """Tell the driver, one word at a time."""
        with self.speaking:
            self.pipe.send(word)

    def _next(self) -> Call | None:
        """The call that waits; None if none comes for a while."""
        try:
            return self.calls.get(timeout=LATE / 3)
        except queue.Empty:
            return None

    def _do(self, store: Store, call: Call) -> Opened | None:
        late = time.monotonic() > self.deadline and not isinstance(call, Finish)
        if late or time.monotonic() < self.closed_until:
            self._miss(call, SLOW)
            return None
        try:
            opened = call.do(store)
        except Exception as error:  # the study goes on without its view; the journal has everything
            self.closed_until = time.monotonic() + PAUSE
            self.failure = in_one_line(error)
            self._miss(call, self.failure)
            return None
        if call.wanted:
            self.missing.discard(call.name)
        return opened

    def _miss(self, call: Call, why: str) -> None:
        if call.wanted:
            self.missing.add(call.name)
            self.failure = self.failure or why


def main() -> None:
    """Serve the driver that holds the other end of the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    where, descriptor = sys.argv[1:]
    desk = Desk(Connection(int(descriptor)))
    threading.Thread(target=desk.read, daemon=True).start()
    gc.disable()  # nothing of what is imported is garbage: a sixth of the seconds that MLflow takes
    store: Store = catalogue.load(where)()  # in which the driver loads torch
    with contextlib.suppress(Exception):  # told when the study is opened
        store.connect()
    gc.freeze()
    gc.enable()
    with contextlib.suppress(OSError):  # the driver is gone
        desk.serve(store)
    os._exit(0)  # everything is written; to take a store down in good order would take a second


if __name__ == "__main__":
    main()
