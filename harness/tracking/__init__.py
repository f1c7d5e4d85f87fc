"""Our window on MLflow: study run, level runs, trial and seed runs, each a child of the one before.

    with Tracker() as tracker:       # MLflow begins to load, in a process of its own
        tracker.open(study, journal_id, environment)
        tracker.begin(trial); tracker.epoch(trial, epoch); tracker.end(trial, outcome)

The driver only sends these calls; the other process writes them, in one batch per run or per few seconds, never a call
per metric. So neither MLflow's two seconds of import nor its locks nor the drawing of pictures hold a training up.
MLflow is the view, the journal the truth: what a run lacks is written from the journal at the next start, and a failing
store is reported once and never stops the training.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness import masking
from harness.study import Study
from harness.trial import Epoch, Outcome, Trial, UserError

LOCAL_UI = "http://127.0.0.1:5000"
DEFAULT_STORE = "sqlite:///mlflow.db"


def store_uri() -> str:
    """Where runs go: MLFLOW_TRACKING_URI, else MLflow's own default, so that a bare `mlflow ui` finds them."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE
    if masking.is_ambiguous(uri):
        raise UserError("MLFLOW_TRACKING_URI: the @, /, ? and # of a password must be %40, %2F, %3F and %23")
    return uri


def shown_store() -> str:
    """The store as it may be shown and logged: without a password."""
    return masking.shown(store_uri())


class Tracker:
    """The driver's end of the tracking process."""

    def __init__(self) -> None:
        self.failure: str | None = None
        self._opened = False
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
        state = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        if self._opened:
            self._ask("finish", state)
        self._pipe.close()
        self.process.wait()

    def open(self, study: Study, journal: str, environment: Mapping[str, str]) -> dict[str, str]:
        """Open the study's run; addresses of it and its levels' runs. Raises UserError if the store cannot be opened.

        The addresses are those of `harness ui`, or of the server that holds the runs.
        """
        paths = self._ask("open", study, journal, dict(environment))
        if self.failure:
            raise UserError(f"{shown_store()}: MLflow cannot open it: {self.failure}")
        self._opened = True
        server = masking.public(store_uri()).rstrip("/")
        base = server if server.startswith(("http://", "https://")) else LOCAL_UI
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
            outcome = replace(outcome, weights={name: value.numpy() for name, value in outcome.weights.items()})
        self._tell("end", trial, outcome)

    def catch_up(self, recorded: Iterable[tuple[Trial, Outcome]]) -> None:
        """Write what the journal knows and the store does not (all but the weights, which the journal lacks)."""
        for trial, outcome in recorded:
            self._tell("catch_up", trial, outcome)

    def summary(self, figures: Mapping[str, Mapping[str, float]], report: Path) -> None:
        """Headline figures of each level (by its name) on its own run, and the report's folder on the study's run."""
        self._tell("summary", figures, report)

    def drain(self) -> None:
        """Wait until everything so far is written."""
        self._ask("drain")

    def _tell(self, what: str, *arguments: Any) -> None:
        try:
            self._pipe.send((what, *arguments))
        except OSError:
            self._lost()

    def _ask(self, what: str, *arguments: Any) -> Any:
        """Send a call and wait for its answer; every answer brings the first failure so far, if there is one."""
        self._tell(what, *arguments)
        try:
            answer, failure = self._pipe.recv()
        except (OSError, EOFError):
            self._lost()
            return None
        self.failure = self.failure or failure
        return answer

    def _lost(self) -> None:
        self.failure = self.failure or f"the tracking process ended, exit code {self.process.poll()}"
