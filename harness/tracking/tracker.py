"""The driver's end of the tracking process: study run, level runs, trial and seed runs, each a child of the one before.

    with Tracker() as tracker:       # MLflow begins to load, in a process of its own
        tracker.open(study, journal_id, environment)
        tracker.begin(trial); tracker.epoch(trial, epoch); tracker.end(trial, outcome)

The driver only sends these calls; the other process writes them, in one batch per run or per few seconds, never a call
per metric. So neither a store's seconds of import nor its locks nor the drawing of pictures hold a training up.
The store is the view, the journal the truth: one that fails, hangs or is gone never stops a training, and what it
lacks is written from the journal, at the end, at the next start, or by `harness sync`.

A process that does not read (it is stopped, or its machine swaps) is not waited for either: calls wait in an `Outbox`,
and when that is full what can be written later is dropped. One that says nothing for a minute is replaced by another,
and what the first had been told since it last said what it lacks counts as missing.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from harness import catalogue
from harness.errors import UserError
from harness.processes import ROOM, Outbox, ended, start
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
    OfTrial,
    Open,
    Opened,
    Ping,
    Summary,
)
from harness.tracking.keys import Keys
from harness.trial import Epoch, Figures, Outcome, Trial

AT_ONCE = 100  # trials that are caught up before the next ones are sent
WAIT = 60.0  # seconds for which a study that is over waits for a slow store
SILENT = 60.0  # seconds for which its process may say nothing before it is replaced
TELL = 5.0  # seconds after which a wait is told
GOING = 5.0  # seconds that a process has to end whose pipe is closed
BEHIND = "its process does not keep up with the study"


class Tracker:
    """What shows a study's runs: the `kind` of tracker of that name in the catalogue.

    With `offline` there is none, and the journal alone keeps the study.
    """

    def __init__(
        self, offline: bool = False, kind: str = "mlflow", silent: float = SILENT, say: Callable[[str], None] = print
    ) -> None:
        self.offline, self.kind = offline, kind
        self.failure: str | None = None  # why the store lacks something
        self.missing = 0  # trials that it lacks, or has in part
        self._is_gone = False  # the store that was opened, as far as its process knows
        self.complete = True  # whether the study is: what its run ends as
        self.silent, self.say = silent, say  # seconds after which a process that says nothing is replaced
        self._keys: Keys | None = None  # once the study is open
        self._complete: frozenset[str] = frozenset()  # keys of trials whose run was complete then
        self._sent: set[str] = set()  # what the process was told to write since it last said what it lacks
        self._lost: set[str] = set()  # what it never heard, or may have forgotten
        self._why = ""  # that is so
        self._owed = 0  # answers to come that nobody waits for
        self._opening: Open | None = None
        self._pipe: Connection | None = None
        self._store = catalogue.part("tracker", kind).build
        if not offline:
            self._begin()

    def _begin(self) -> None:
        """Start the process; where its store lies it has from the environment: all can see a process's arguments."""
        self.process, self._pipe = start("-m", "harness.tracking", self._store)
        self._outbox = Outbox(self._pipe)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipe is None:
            return
        if self._keys is not None:
            self._tell(Limit(WAIT))
            self._ask(Finish(self._ending(kind)), WAIT)
        self._hang_up(self.silent)

    def _ending(self, raised: type[BaseException] | None) -> Ending:
        if raised is None:
            return "finished" if self.complete else "stopped"
        return "stopped" if issubclass(raised, KeyboardInterrupt) else "failed"

    def open(self, study: Study, journal: str, environment: Mapping[str, str]) -> dict[str, str]:
        """Open the study's run; addresses of it and its levels' runs. Raises UserError if the store cannot be opened:
        then nothing is written to it, and `is_open` says so.

        The addresses are those of `harness ui`, or of the server that holds the runs.
        """
        if self._pipe is None:
            return {}
        self._opening = Open(study, journal, dict(environment))
        opened = self._ask(self._opening, told=f"still waiting for {self.kind} to open its store")
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
        if self._keys is not None:
            self._tell(Summary(figures, report))

    def drain(self, limit: float | None = None) -> None:
        """Wait until everything so far is written or has failed to be, or for `limit` seconds."""
        if self._keys is None:
            return
        if limit is not None:
            self._tell(Limit(limit))
        self._ask(Drain(), math.inf if limit is None else limit)

    @property
    def is_gone(self) -> bool:
        """Whether the store was deleted after it was opened, as far as was known when its process last answered."""
        return self._is_gone and self._pipe is not None

    def renew(self) -> dict[str, str]:
        """Open a store that is gone anew, in another process; as `open`."""
        assert self._opening is not None, "it was open"
        self.failure, self.missing, self._why = None, 0, ""
        self._is_gone, self._keys = False, None
        self._lost.clear()
        self._restart()
        return self.open(self._opening.study, self._opening.journal, self._opening.environment)

    @property
    def is_open(self) -> bool:
        """Whether there is a store that is written to."""
        return self._keys is not None

    def _tell(self, call: Call) -> None:
        """Send a call, at once or later; drop it where too many wait."""
        if self._pipe is None:
            return
        try:
            if self._outbox.stuck > self.silent:
                self._replace()
            needed = call.answered or not isinstance(call, OfTrial)
            is_sent = self._outbox.send(call, math.inf if needed else ROOM)
        except OSError:
            self._end()
            return
        if call.wanted:
            (self._sent if is_sent else self._lost).add(call.name)
            (self._lost if is_sent else self._sent).discard(call.name)
            self._why = self._why or BEHIND

    def _ask(self, call: Call, limit: float = math.inf, told: str = "") -> Opened | None:
        """Send a call and wait for its answer, which brings what the store lacks so far, and why.

        A store may take `limit` seconds; its process must say all the time that it is there.
        """
        self._tell(call)
        answer = self._answer(call, time.monotonic() + limit + self.silent, told)
        if answer is None:
            return None
        self._sent.clear()  # it is done, or among what is missing
        self.missing = answer.missing + len(self._lost)
        self._is_gone = answer.is_gone
        self.failure = answer.failure or (self._why if self._lost else None)
        return answer.opened

    def _answer(self, call: Call, deadline: float, told: str) -> Answer | None:
        """The answer to a call that was sent; None where there will be none."""
        began = heard = time.monotonic()
        while self._pipe is not None:
            try:
                if self._pipe.poll(min(self.silent / 4, TELL)):
                    word, heard = self._pipe.recv(), time.monotonic()
                    if isinstance(word, Answer) and not self._owed:
                        return word
                    self._owed -= isinstance(word, Answer)
                    continue
                now = time.monotonic()
                if told and now - began > TELL:
                    self.say(told)
                    told = ""
                if now > deadline:
                    self.failure = self.failure or "its store has not answered in time"
                    self.process.kill()
                elif now - heard > self.silent:
                    self._replace(call)
                    heard = now
                else:
                    self._outbox.send(Ping())
            except (OSError, EOFError):
                self._end()
        return None

    def _replace(self, asked: Call | None = None) -> None:
        """Another process instead of one that is silent. It is told what the other was `asked`, and all that the other
        may not have written counts as missing.
        """
        self._why = f"the tracking process was silent for {self.silent:g} s and was replaced"
        self._lost |= self._sent
        self._restart()
        if self._keys is not None and self._opening:
            self._outbox.send(self._opening)
            self._owed = 1
        if asked:
            self._outbox.send(asked)

    def _restart(self) -> None:
        """Another process in the place of this one, which has been told nothing yet."""
        self.process.kill()
        self._hang_up(self.silent)
        self._sent.clear()
        self._owed = 0
        self._begin()

    def _end(self) -> None:
        """The process is gone."""
        if self._pipe is not None:
            how = self._hang_up(GOING)
            self.failure = self.failure or f"the tracking process ended, {how}"
            self._pipe = None

    def _hang_up(self, patience: float) -> str:
        """Close our end of the pipe, upon which the process ends; how it did."""
        self._outbox.close()
        if self._pipe is not None:
            self._pipe.close()
        return ended(self.process, patience)
