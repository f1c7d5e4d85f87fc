"""The tracking process: reads the driver's calls from a pipe, and writes them to MLflow.

It ends when the driver says so, or when the pipe does: a driver that was killed wants nothing more of it, since the
journal holds the truth. Signals are the driver's business.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

LATE = 3.0  # seconds that a metric of a running trial may wait for its batch


def main() -> None:
    """Serve the driver that holds the other end of the pipe whose file descriptor is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe = Connection(int(sys.argv[1]))
    calls: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(pipe, calls), daemon=True).start()
    with contextlib.suppress(OSError):  # the driver is gone
        _serve(pipe, calls)
    os._exit(0)  # everything is written; to take MLflow down in good order would take a second


def _read(pipe: Connection, calls: "queue.SimpleQueue[tuple[Any, ...]]") -> None:
    """Empty the pipe at once, whatever MLflow is doing: the driver must never wait for it."""
    while True:
        try:
            call = pipe.recv()
        except (OSError, EOFError):
            os._exit(1)
        calls.put(call)
        if call[0] == "finish":
            return


def _serve(pipe: Connection, calls: "queue.SimpleQueue[tuple[Any, ...]]") -> None:
    from harness.tracking import store_uri
    from harness.tracking.entries import pictures
    from harness.tracking.writer import Writer, in_one_line  # MLflow: seconds, in which the driver loads torch

    writer, failure = Writer(store_uri()), None
    with contextlib.suppress(Exception):  # told when the study is opened
        writer.connect()
    while True:
        try:
            call = calls.get(timeout=LATE / 3)
        except queue.Empty:
            call = ("flush", LATE)
        what, *arguments = call
        answer = None
        try:
            if what != "drain":
                answer = getattr(writer, what)(*arguments)
            writer.flush(LATE)
        except Exception as error:  # the study goes on without its view; the journal has everything
            failure = failure or in_one_line(error)
        if what in ("open", "drain", "finish"):
            pipe.send((answer, failure))
        if what == "finish":
            return
        if what == "open":
            pictures()  # matplotlib: a second to import, which the first confirmation run need not wait for


if __name__ == "__main__":
    main()
