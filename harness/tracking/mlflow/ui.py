"""MLflow's UI on this machine, with the store that studies write to: `harness ui`. Does not load MLflow itself.

Its servers are a group of processes of their own: Ctrl-C and SIGTERM are told to this process, which ends all of them.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from harness.errors import UserError
from harness.tracking.mlflow.address import SERVER, keep_port, shown_store, store_uri, ui_port
from harness.tracking.mlflow.views import runs_page

Say = Callable[[str], None]

HOST = "127.0.0.1"
LOOK = 0.25  # seconds between two looks whether it answers, or has ended
PATIENCE = 5.0  # seconds that its servers have to end
SHOWN = 20  # studies whose addresses are told
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EndedError(Exception):
    """Somebody ends the UI."""


def browse(port: int | None, say: Say) -> int:
    """Show the runs until Ctrl-C, SIGTERM, or the end of MLflow's UI; its exit code, 0 if it was ended. Without a
    `port` the last one is taken. Raises UserError where there is nothing to show, or the port is taken.
    """
    uri = store_uri()
    if uri.startswith(SERVER):
        say("the runs are on the server that MLFLOW_TRACKING_URI names; open that address in a browser")
        return 0
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise UserError(f"{shown_store()}: no runs here yet; run a study first, as in: harness run studies/depth")
    port = port or ui_port()
    _check_free(port)
    say(f"starting MLflow's UI, which takes some seconds (runs in {shown_store()}; stop with Ctrl-C)")
    with ending(), contextlib.suppress(EndedError):
        return _serve(port, uri, say)
    return 0


def _serve(port: int, uri: str, say: Say) -> int:
    """Start the servers, tell where the studies are once they answer, and wait for their end."""
    # Without its job runners, which are for language models: eight processes, each of which loads MLflow once more.
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    environment = {**quiet, **os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    process = subprocess.Popen(ui_command(port), env=environment, start_new_session=True)
    try:
        while process.poll() is None and _ask(port, "/health") is None:
            time.sleep(LOOK)
        if process.poll() is None:
            keep_port(port)
            say(f"http://{HOST}:{port}")
            for name, address in studies_in(port):
                say(f"  {name}  {address}")
        return process.wait()
    finally:
        _end(process)


def studies_in(port: int) -> Iterator[tuple[str, str]]:
    """The experiments that the UI shows, the latest first, each with the address that opens it on its values."""
    known = _ask(port, f"/api/2.0/mlflow/experiments/search?max_results={SHOWN}&order_by=last_update_time%20DESC") or {}
    for one in known.get("experiments", []):
        tags = {tag["key"]: tag["value"] for tag in one.get("tags", [])}
        if tags.get("mlflow.experimentKind"):  # MLflow's own "Default" has none
            yield one["name"], f"http://{HOST}:{port}/{runs_page(one['experiment_id'], tags)}"


def _ask(port: int, path: str) -> dict[str, Any] | None:
    """What MLflow answers, as JSON where it is that; None where it does not, or not that it is well."""
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != http.HTTPStatus.OK:
            return None
        with contextlib.suppress(ValueError):
            return dict(json.loads(text))
        return {}
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _check_free(port: int) -> None:
    """Raises UserError where somebody listens at the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what has just been left is free
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"--port {port}: {error.strerror}; another one, as --port {port + 1}, may be free"
            ) from None


@contextmanager
def ending() -> Iterator[None]:
    """Whoever ends this process raises EndedError here."""

    def handle(number: int, frame: FrameType | None) -> NoReturn:
        raise EndedError

    before = {number: signal.signal(number, handle) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it has started, at last by force; nothing interrupts that."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    _signal(process.pid, signal.SIGTERM)
    until = time.monotonic() + PATIENCE
    while _signal(process.pid, 0) and time.monotonic() < until:
        process.poll()  # else it would stay in its group, as a zombie
        time.sleep(LOOK / 5)
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _signal(group: int, number: int) -> bool:
    """Send a signal to a group of processes; whether there is one."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def ui_command(port: int) -> list[str]:
    """MLflow's UI for the browsers of this machine.

    It is to answer to the names of this machine alone: else a page from elsewhere whose name suddenly means 127.0.0.1
    could read the runs. Any port will do, as that of a tunnel. The store, which may hold a password, is named in the
    environment: everybody can see the arguments of a process.
    """
    names = (HOST, "localhost")
    hosts = ",".join([*names, *(f"{name}:*" for name in names)])
    origins = ",".join(f"http://{name}:{port}" for name in names)
    command = [sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", str(port)]
    command += ["--uvicorn-opts", "--log-level warning"]  # a line for each request would bury the addresses
    return [*command, "--workers", "1", "--allowed-hosts", hosts, "--cors-allowed-origins", origins]
