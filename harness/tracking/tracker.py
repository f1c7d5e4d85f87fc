"""Our window on MLflow: study run, level runs, trial and seed runs, each a child of the one before.

    with Tracker() as tracker:       # MLflow begins to load, in a process of its own
        tracker.open(study, journal_id, environment)
        tracker.begin(trial); tracker.epoch(trial, epoch); tracker.end(trial, outcome)

The driver only sends these calls; the other process writes them, in one batch per run or per few seconds, never a call
per metric. So neither MLflow's two seconds of import nor its locks nor the drawing of pictures hold a training up.
MLflow is the view, the journal the truth: a store that fails, hangs or is gone never stops a training, and what it
lacks is written from the journal, at the end, at the next start, or by `harness sync`.
"""

import hashlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from harness import masking
from harness.catalogue import show
from harness.errors import UserError
from harness.study.study import Study
from harness.trial import Epoch, Outcome, Trial

LOCAL_UI = "http://127.0.0.1:5000"
DEFAULT_STORE = "sqlite:///mlflow.db"
SERVER = ("http://", "https://")
AT_ONCE = 100  # trials that are caught up before the next ones are sent
ANSWER = 5.0  # seconds that a server has to say that it is there
WAIT = 60.0  # seconds for which a study that is over waits for a slow store


def store_uri() -> str:
    """Where runs go: MLFLOW_TRACKING_URI, else MLflow's own default, so that a bare `mlflow ui` finds them."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE
    if masking.is_ambiguous(uri):
        raise UserError("MLFLOW_TRACKING_URI: the @, /, ? and # of a password must be %40, %2F, %3F and %23")
    return uri


def shown_store() -> str:
    """The store as it may be shown and logged: without a password."""
    return masking.shown(store_uri())


def key(trial: Trial) -> str:
    """What tells a trial from every other of its study; a confirmation's names its config: winners may change."""
    plain = f"{show(trial.level)}/{trial.stage}/{trial.number}"
    if trial.stage == "search":
        return plain
    return f"{plain}/{hashlib.sha256(repr(trial.config).encode()).hexdigest()[:8]}"


class Tracker:
    """The driver's end of the tracking process; with `offline` there is none, and the journal alone keeps the study."""

    def __init__(self, offline: bool = False) -> None:
        self.offline = offline
        self.failure: str | None = None  # why the store lacks something
        self.missing = 0  # trials that it lacks, or has in part
        self.complete = True  # whether the study is: what its run ends as
        self._opened = False
        self._written: set[str] = set()  # keys of trials that the store had when it was opened
        self._pipe: Connection | None = None
        if not offline:
            self._begin()

    def _begin(self) -> None:
        store_uri()  # the other process reads it from the environment: everybody can see the arguments of a process
        ours, theirs = socket.socketpair()
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.tracking", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": path},
        )
        theirs.close()
        self._pipe = Connection(ours.detach())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipe is None:
            return
        ended = "FINISHED" if self.complete else "KILLED"
        state = ended if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        if self._opened:
            self._tell("limit", WAIT)
            self._ask("finish", state)
        self._pipe.close()
        self.process.wait()

    def open(self, study: Study, journal: str, environment: Mapping[str, str]) -> dict[str, str]:
        """Open the study's run; addresses of it and its levels' runs. Raises UserError if the store cannot be opened.

        The addresses are those of `harness ui`, or of the server that holds the runs.
        """
        if self._pipe is None:
            return {}
        server = masking.public(store_uri()).rstrip("/")
        if server.startswith(SERVER) and (trouble := _trouble(server)):
            raise UserError(
                f"{shown_store()}: no MLflow server answers there ({trouble}); start it, or run with --offline and "
                f"write the runs later with: harness sync studies/{study.name}"
            )
        answer = self._ask("open", study, journal, dict(environment))
        if self.failure or answer is None:
            raise UserError(f"{shown_store()}: MLflow cannot open it: {self.failure}")
        paths, self._written = answer
        self._opened = True
        base = server if server.startswith(SERVER) else LOCAL_UI
        return {name: f"{base}/{path}" for name, path in paths.items()}

    def begin(self, trial: Trial) -> None:
        """A trial starts now."""
        self._tell("begin", trial, time.time())

    def epoch(self, trial: Trial, epoch: Epoch) -> None:
        """Figures of a running trial; in the store within a few seconds."""
        self._tell("epoch", trial, epoch)

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """What came of the trial: last figures, artifacts, state and end time."""
        if outcome.weights is not None:  # as arrays: the other process does not load torch
            outcome = replace(outcome, weights={name: np.asarray(value) for name, value in outcome.weights.items()})
        self._tell("end", trial, outcome)

    def catch_up(self, recorded: Iterable[tuple[Trial, Outcome]], limit: float = 0.0) -> None:
        """Write what the journal knows and the store does not (all but the weights, which the journal lacks).

        It waits for the store for at most `limit` seconds; without, this takes no time, and what a slow store has not
        taken by the end is missing again.
        """
        end = time.monotonic() + limit
        lacking = ((trial, outcome) for trial, outcome in recorded if key(trial) not in self._written)
        while several := list(islice(lacking, AT_ONCE)):
            for trial, outcome in several:
                self._tell("end", trial, outcome)
            left = end - time.monotonic()
            if limit and left > 0:
                self.drain(left)  # no more of them wait at a time than a process can hold

    def summary(self, figures: Mapping[str, Mapping[str, float]], report: Path) -> None:
        """Headline figures of each level (by its name) on its own run, and the report's folder on the study's run."""
        self._tell("summary", figures, report)

    def drain(self, limit: float | None = None) -> None:
        """Wait until everything so far is written or has failed to be, or for `limit` seconds."""
        if limit is not None:
            self._tell("limit", limit)
        self._ask("drain")

    def _tell(self, what: str, *arguments: Any) -> None:
        if self._pipe is not None:
            try:
                self._pipe.send((what, *arguments))
            except OSError:
                self._lost()

    def _ask(self, what: str, *arguments: Any) -> Any:
        """Send a call and wait for its answer; every answer brings what the store lacks so far, and why."""
        self._tell(what, *arguments)
        if self._pipe is None:
            return None
        try:
            answer, self.failure, self.missing = self._pipe.recv()
        except (OSError, EOFError):
            self._lost()
            return None
        return answer

    def _lost(self) -> None:
        self.failure = self.failure or f"the tracking process ended, exit code {self.process.poll()}"


def _trouble(server: str) -> str | None:
    """What is wrong with a server, asked for its health; None if it answers. MLflow's client would try for minutes."""
    try:
        urllib.request.urlopen(f"{server}/health", timeout=ANSWER).close()
    except urllib.error.HTTPError as error:
        return f"it answers {error.code} {error.reason}" if error.code >= 500 else None
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return None
