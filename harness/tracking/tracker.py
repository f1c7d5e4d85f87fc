"""The driver's end of the tracking process: study run, level runs, trial and seed runs, each a child of the one before.

    with Tracker() as tracker:       # MLflow begins to load, in a process of its own
        tracker.open(study, journal_id, environment)
        tracker.begin(trial); tracker.epoch(trial, epoch); tracker.end(trial, outcome)

The driver only sends these calls; the other process writes them, in one batch per run or per few seconds, never a call
per metric. So neither a store's seconds of import nor its locks nor the drawing of pictures hold a training up.
The store is the view, the journal the truth: one that fails, hangs or is gone never stops a training, and what it
lacks is written from the journal, at the end, at the next start, or by `harness sync`.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from harness import catalogue
from harness.errors import UserError
from harness.processes import start
from harness.study.study import Study
from harness.tracking.calls import (
    Answer,
    Begin,
    Call,
    Drain,
    End,
    Ending,
    EpochEnd,
    Finish,
    Limit,
    Open,
    Opened,
    Summary,
)
from harness.tracking.keys import Keys
from harness.trial import Epoch, Figures, Outcome, Trial

AT_ONCE = 100  # trials that are caught up before the next ones are sent
WAIT = 60.0  # seconds for which a study that is over waits for a slow store


class Tracker:
    """What shows a study's runs: the `kind` of tracker of that name in the catalogue.

    With `offline` there is none, and the journal alone keeps the study.
    """

    def __init__(self, offline: bool = False, kind: str = "mlflow") -> None:
        self.offline = offline
        self.failure: str | None = None  # why the store lacks something
        self.missing = 0  # trials that it lacks, or has in part
        self.complete = True  # whether the study is: what its run ends as
        self._keys: Keys | None = None  # once the study is open
        self._complete: frozenset[str] = frozenset()  # keys of trials whose run was complete then
        self._pipe: Connection | None = None
        if not offline:
            self._begin(catalogue.part("tracker", kind).build)

    def _begin(self, store: str) -> None:
        """Start the process; where its store lies it has from the environment: all can see a process's arguments."""
        self.process, self._pipe = start("-m", "harness.tracking", store)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipe is None:
            return
        if self._keys is not None:
            self._tell(Limit(WAIT))
            self._ask(Finish(self._ending(kind)))
        self._pipe.close()
        self.process.wait()

    def _ending(self, raised: type[BaseException] | None) -> Ending:
        if raised is None:
            return "finished" if self.complete else "stopped"
        return "stopped" if issubclass(raised, KeyboardInterrupt) else "failed"

    def open(self, study: Study, journal: str, environment: Mapping[str, str]) -> dict[str, str]:
        """Open the study's run; addresses of it and its levels' runs. Raises UserError if the store cannot be opened.

        The addresses are those of `harness ui`, or of the server that holds the runs.
        """
        if self._pipe is None:
            return {}
        opened = self._ask(Open(study, journal, dict(environment)))
        if self.failure or opened is None:
            raise UserError(self.failure)
        self._keys, self._complete = Keys(study, opened.complete | opened.cut), opened.complete
        return dict(opened.pages)

    def begin(self, trial: Trial) -> None:
        """A trial starts now."""
        if self._keys is not None:
            self._tell(Begin(self._keys[trial], trial, time.time()))

    def epoch(self, trial: Trial, epoch: Epoch) -> None:
        """Figures of a running trial; in the store within a few seconds."""
        if self._keys is not None:
            self._tell(EpochEnd(self._keys[trial], epoch))

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """What came of the trial: last figures, artifacts, state and end time."""
        if self._keys is None:
            return
        if outcome.weights is not None:  # as arrays: the other process does not load torch
            outcome = replace(outcome, weights={name: np.asarray(value) for name, value in outcome.weights.items()})
        self._tell(End(self._keys[trial], trial, outcome))

    def catch_up(self, recorded: Iterable[tuple[Trial, Outcome]], limit: float = 0.0) -> None:
        """Write what the journal knows and the store does not (all but the weights, which the journal lacks).

        It waits for the store for at most `limit` seconds; without, this takes no time, and what a slow store has not
        taken by the end is missing again.
        """
        if (keys := self._keys) is None:
            return
        end = time.monotonic() + limit
        lacking = ((trial, outcome) for trial, outcome in recorded if keys[trial] not in self._complete)
        while several := list(islice(lacking, AT_ONCE)):
            for trial, outcome in several:
                self.end(trial, outcome)
            left = end - time.monotonic()
            if limit and left > 0:
                self.drain(left)  # no more of them wait at a time than a process can hold

    def summary(self, figures: Mapping[str, Figures], report: Path) -> None:
        """Headline figures of each level (by its name) on its own run, and the report's folder on the study's run.

        Figures have their names in the catalogue; `test_accuracy_low` and `_high` are the ends of its interval.
        """
        self._tell(Summary(figures, report))

    def drain(self, limit: float | None = None) -> None:
        """Wait until everything so far is written or has failed to be, or for `limit` seconds."""
        if limit is not None:
            self._tell(Limit(limit))
        self._ask(Drain())

    def _tell(self, call: Call) -> None:
        if self._pipe is not None:
            try:
                self._pipe.send(call)
            except OSError:
                self._lost()

    def _ask(self, call: Call) -> Opened | None:
        """Send a call and wait for its answer, which brings what the store lacks so far, and why."""
        self._tell(call)
        if self._pipe is None:
            return None
        try:
            answer: Answer = self._pipe.recv()
        except (OSError, EOFError):
            self._lost()
            return None
        self.failure, self.missing = answer.failure, answer.missing
        return answer.opened

    def _lost(self) -> None:
        self.failure = self.failure or f"the tracking process ended, exit code {self.process.poll()}"
