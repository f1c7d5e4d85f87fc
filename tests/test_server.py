"""Tracking on a real `mlflow server` that is absent, stopped, started again, slow, or out of its mind."""

import http.client
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient

from harness.errors import UserError
from harness.journal import Ledger
from harness.study.study import Study
from harness.tracking.tracker import Tracker
from harness.trial import Outcome, Trial

from .conftest import SMALL, Done, clean_environment
from .test_search import made_up
from .test_tracking import ENVIRONMENT, plain_key, runs_of

Write = Callable[[str], Path]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Server:
    """`mlflow server` on loopback, which can be stopped and started again."""

    def __init__(self, folder: Path, store: str = "") -> None:
        self.folder, self.port = folder, free_port()
        self.store = store or f"sqlite:///{folder}/server.db"
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        store = ["--backend-store-uri", self.store]
        place = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *store, *place],
            cwd=self.folder,
            env={**clean_environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # eight processes more
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        limit = time.monotonic() + 120
        while self.process.poll() is None and time.monotonic() < limit:
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=30):
                return
            time.sleep(0.1)
        raise AssertionError("mlflow server does not start")

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)  # as a machine that goes down
        self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def server(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    shutil.copy(smoke / "mlflow.db", server.folder / "server.db")  # making a new store takes seconds
    server.start()
    yield server
    server.stop()


@pytest.fixture
def recorded(small: Study, tmp_path: Path) -> tuple[Ledger, list[tuple[Trial, Outcome]]]:
    """A study whose first generation is in its journal."""
    search = Ledger(small, tmp_path / "journal.log", ENVIRONMENT)
    for trial in search.generation():
        search.record(trial, made_up(trial))
    return search, list(search.recorded())


def whole_and_cut(uri: str, journal: str) -> tuple[list[str], list[str]]:
    """Keys of the trials that have a complete run, and of those with one that was cut short; none may be open."""
    runs = [run for run in runs_of(MlflowClient(uri), "mine") if run.data.tags["journal"] == journal]
    assert "RUNNING" not in {run.info.status for run in runs}
    trials = [run for run in runs if "container" not in run.data.tags]
    cut = [run for run in trials if "incomplete" in run.data.tags]
    return sorted(plain_key(run) for run in trials if run not in cut), sorted(plain_key(run) for run in cut)


def test_a_server_that_is_not_there_is_told_at_once(
    write_study: Write, command: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = write_study(SMALL)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()
    done = command("run", "studies/mine")
    assert time.monotonic() - began < 60
    assert done.returncode == 0, done.stderr
    assert "no MLflow server answers there" in done.stdout
    assert "training goes on, and harness sync studies/mine writes the runs later" in done.stdout
    assert (folder / "journal.log").exists()
    done = command("sync", "studies/mine")
    assert done.returncode == 2
    assert "no MLflow server answers there" in done.stderr


def test_a_server_that_goes_and_comes_back(
    server: Server,
    recorded: tuple[Ledger, list[tuple[Trial, Outcome]]],
    small: Study,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search, trials = recorded
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    with Tracker() as tracker:
        tracker.open(small, search.id, ENVIRONMENT)
        for number, (trial, outcome) in enumerate(trials):
            tracker.begin(trial)
            if number == 2:  # it has begun trials 0 to 2, and ended 0 and 1
                tracker.drain()
                assert tracker.missing == 0
                server.stop()
            began = time.monotonic()
            tracker.end(trial, outcome)
            assert time.monotonic() - began < 5  # training does not wait
        tracker.drain()
        assert tracker.missing == 4
        assert tracker.failure is not None
    server.start()
    for _ in range(2):  # the second time there is nothing to write
        with Tracker() as tracker:
            tracker.open(small, search.id, ENVIRONMENT)
            tracker.catch_up(trials, limit=math.inf)
            assert tracker.failure is None
        whole, cut = whole_and_cut(server.uri, search.id)
        assert whole == sorted(f"{trial.level}/search/{trial.number}" for trial, _ in trials)
        assert cut == ["1/search/2"]  # the one that was being written


class Proxy(ThreadingHTTPServer):
    """Stands before a server and passes requests on, or is slow, or answers 500."""

    daemon_threads = True
    mood = "well"

    def __init__(self, port: int) -> None:
        self.behind = port
        super().__init__(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.mood == "mad":
            return self.answer(500, b"{}")
        if self.server.mood == "slow":
            time.sleep(0.4)
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.behind)) as behind:
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            behind.request(self.command, self.path, body, headers)
            said = behind.getresponse()
            return self.answer(said.status, said.read())

    do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None: ...


@pytest.mark.parametrize("mood", ["slow", "mad"])
def test_a_server_that_is_slow_or_answers_500(
    mood: str,
    server: Server,
    recorded: tuple[Ledger, list[tuple[Trial, Outcome]]],
    small: Study,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search, trials = recorded
    proxy = Proxy(server.port)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
    with Tracker() as tracker:
        tracker.open(small, search.id, ENVIRONMENT)
        proxy.mood = mood
        began = time.monotonic()
        for trial, outcome in trials:
            tracker.begin(trial)
            tracker.end(trial, outcome)
        assert time.monotonic() - began < 5  # the slow one takes 16 s for what is sent
        tracker.drain(1 if mood == "slow" else None)
        assert tracker.missing > 2
        assert tracker.failure is not None
        assert ("slower than the study" in tracker.failure) == (mood == "slow")
        proxy.mood = "well"
    with Tracker() as tracker:
        tracker.open(small, search.id, ENVIRONMENT)
        tracker.catch_up(trials, limit=math.inf)
        assert tracker.failure is None
    assert len(whole_and_cut(server.uri, search.id)[0]) == len(trials)
    proxy.shutdown()
    proxy.server_close()


def test_a_server_that_is_mad_from_the_start(server: Server, small: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(server.port)
    proxy.mood = "mad"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
    with pytest.raises(UserError, match="it answers 500"), Tracker() as tracker:
        tracker.open(small, "id", ENVIRONMENT)
    proxy.shutdown()
    proxy.server_close()
