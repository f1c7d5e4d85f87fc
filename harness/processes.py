"""Processes of our own that work beside this one: Python again, at the other end of a pipe.

process, pipe = start("-m", "harness.tracking")     # its last argument is the pipe's file descriptor
pipe.send(call); pipe.recv()
process_environment()                               # what such a process, or one without a pipe, is started in
"""

import os
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path


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


def process_environment() -> dict[str, str]:
    """This process's environment, in which Python finds this very package, wherever it is started."""
    package = str(Path(__file__).parents[1])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}
