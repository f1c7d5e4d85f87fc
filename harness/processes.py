"""Processes of our own that work beside this one: Python again, at the other end of a pipe.

process, pipe = start("-m", "harness.tracking")     # its last argument is the pipe's file descriptor
pipe.send(call); pipe.recv()
outbox = Outbox(pipe); outbox.send(call)            # never waits for the other process, whatever that does
process_environment()                               # what such a process, or one without a pipe, is started in
"""

import math
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

ROOM = 64 * 2**20  # bytes that may wait for a process that does not read
PIECE = 2**18  # of them that are sent at a time


def start(*arguments: str) -> tuple[subprocess.Popen[bytes], Connection]:
    """A Python process with these arguments and, last, the file descriptor of its end of the pipe; and our end."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, *arguments, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env=process_environment(),
    )
    theirs.close()
    return process, Connection(ours.detach())


class Outbox:
    """Sends records down a pipe, as `Connection.send` does, without ever waiting for the process that reads them.

    What the pipe takes at once goes at once, in the caller's thread. Only when it is full does another thread send what
    waits, in order, and ends when nothing does.
    """

    def __init__(self, pipe: Connection) -> None:
        self._socket = socket.socket(fileno=os.dup(pipe.fileno()))
        self._waiting: deque[memoryview] = deque()
        self._bytes = 0
        self._moved = time.monotonic()  # when some of what waits went
        self._lock = threading.Lock()
        self._is_emptied = False  # by the other thread, just now
        self._is_broken = False

    def send(self, record: object, room: float = ROOM) -> bool:
        """Whether the record goes, now or later: not when more than `room` bytes wait already. Raises OSError when
        nobody reads any more.
        """
        data = _framed(record)
        with self._lock:
            if self._is_broken:
                raise BrokenPipeError
            if self._is_emptied and self._bytes + len(data) > room:
                return False
            if not self._is_emptied:
                data = data[self._taken_at_once(data) :]
            if data:
                self._waiting.append(data)
                self._bytes += len(data)
                if not self._is_emptied:
                    self._is_emptied, self._moved = True, time.monotonic()
                    threading.Thread(target=self._empty, daemon=True).start()
        return True

    @property
    def stuck(self) -> float:
        """For how many seconds nothing of what waits has gone; 0 where nothing waits."""
        return time.monotonic() - self._moved if self._bytes else 0.0

    def close(self) -> None:
        """Nothing goes any more, whatever waits."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _taken_at_once(self, data: memoryview) -> int:
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def _empty(self) -> None:
        """Send what waits until nothing does."""
        try:
            while True:
                sent = self._socket.send(self._waiting[0][:PIECE])
                with self._lock:
                    if left := self._waiting.popleft()[sent:]:
                        self._waiting.appendleft(left)
                    self._bytes -= sent
                    self._moved = time.monotonic()
                    self._is_emptied = bool(self._waiting)
                    if not self._waiting:
                        return
        except OSError:
            self._is_broken = True


def _framed(record: object) -> memoryview:
    """A record as `Connection.recv` expects it."""
    data = ForkingPickler.dumps(record)
    size = len(data)
    head = struct.pack("!i", size) if size <= 2**31 - 1 else struct.pack("!iQ", -1, size)
    return memoryview(head + data)


def ended(process: "subprocess.Popen[bytes]", patience: float = math.inf) -> str:
    """How a process ended, in words; one that has not within `patience` seconds is killed."""
    try:
        code = process.wait(None if patience == math.inf else patience)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def process_environment() -> dict[str, str]:
    """This process's environment, in which Python finds this very package, wherever it is started."""
    package = str(Path(__file__).parents[1])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}
