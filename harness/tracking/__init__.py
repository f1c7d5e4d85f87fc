"""Our window on MLflow: study run, level runs, trial and seed runs, each a child of the one before.

    with Tracker(study, journal_id, environment) as tracker:
        tracker.begin(trial); tracker.epoch(trial, epoch); tracker.end(trial, outcome)

The driver only puts these calls into a queue; a thread writes them, in one batch per run or per few seconds, never a
call per metric. MLflow is the view, the journal the truth: what a run lacks is written from the journal at the next
start, and a failing store is reported once and never stops the training.
"""

import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.study import Study, show
from harness.tracking.store import (
    make_store,
    shown_store,
    store,
)  # first: it sets MLflow's ways before MLflow is imported
from harness.trial import Epoch, Outcome, Trial, UserError

from mlflow import MlflowClient  # isort: skip
from mlflow.entities import Metric, Param, Run  # isort: skip

from harness.tracking.entries import (
    epoch_metrics,
    key,
    milliseconds,
    outcome_metrics,
    resolved,
    run_name,
    write_artifacts,
)

__all__ = ["Tracker", "make_store", "shown_store", "store"]

LATE = 3.0  # seconds that a metric of a running trial may wait for its batch
STATES = {"finished": "FINISHED", "pruned": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
ENDED = frozenset(STATES.values())


@dataclass
class _Open:
    """A run that is being written."""

    run_id: str
    pending: list[Metric] = field(default_factory=list)
    written: float = field(default_factory=time.monotonic)


class Tracker:
    """Writes a study's runs; raises UserError when the store cannot be opened."""

    def __init__(self, study: Study, journal: str, environment: Mapping[str, str]) -> None:
        self.study, self.label, self.journal, self.environment = study, study.label, journal, environment
        self.failure: str | None = None
        try:
            make_store(store())
            self._client = MlflowClient(store())
            self._experiment = self._find_experiment()
            self._ended = self._close_leftovers()
            self._study_run = self._container("study", self.label, None)
            self._level_runs = {
                level: self._container(study.level_name(level), study.level_name(level), self._study_run)
                for level in study.levels
            }
        except Exception as error:  # MLflow's, SQLAlchemy's, the file system's: nothing has been trained yet
            raise UserError(f"{shown_store()}: MLflow cannot open it: {_in_one_line(error)}") from error
        self._open: dict[str, _Open] = {}
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        self._calls.put(lambda: self._finish(state))
        self._calls.put(None)
        self._thread.join()

    def begin(self, trial: Trial) -> None:
        """A trial starts now."""
        now = milliseconds(time.time())
        self._put(trial, lambda: self._begin(trial, now))

    def epoch(self, trial: Trial, epoch: Epoch) -> None:
        """Figures of a running trial; in the store within a few seconds."""
        self._put(trial, lambda: self._open[key(trial)].pending.extend(epoch_metrics(epoch)))

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """What came of the trial: last figures, artifacts, state and end time."""
        self._put(trial, lambda: self._end(trial, outcome))

    def catch_up(self, recorded: Iterable[tuple[Trial, Outcome]]) -> None:
        """Write what the journal knows and the store does not (all but the weights, which the journal lacks)."""
        for trial, outcome in recorded:
            if key(trial) not in self._ended:
                self._put(trial, partial(self._write_whole, trial, outcome))

    def summary(self, figures: Mapping[str, Mapping[str, float]], report: Path) -> None:
        """Headline figures of each level (by its name) on its own run, and the report's folder on the study's run."""
        self._calls.put(lambda: self._summarize(figures, report))

    def drain(self) -> None:
        """Wait until everything so far is written."""
        done = threading.Event()
        self._calls.put(done.set)
        done.wait()

    def _put(self, trial: Trial, call: Callable[[], None]) -> None:
        if key(trial) not in self._ended:  # its run is complete already: the stack is only run again for another's sake
            self._calls.put(call)

    def _work(self) -> None:
        while True:
            try:
                call = self._calls.get(timeout=LATE / 3)
                if call is None:
                    return
            except queue.Empty:
                call = lambda: None  # noqa: E731
            try:
                call()
                self._flush_late()
            except Exception as error:  # the study goes on without its view; the journal has everything
                self.failure = self.failure or _in_one_line(error)

    def _flush_late(self) -> None:
        for run in list(self._open.values()):
            if run.pending and time.monotonic() - run.written > LATE:
                self._write(run)

    def _write(self, run: _Open, params: Mapping[str, Any] | None = None) -> None:
        metrics, run.pending, run.written = run.pending, [], time.monotonic()
        entries = [Param(name, show(value)) for name, value in (params or {}).items()]
        for start in range(0, max(1, len(metrics)), 1000):  # the most that MLflow takes at once
            self._client.log_batch(run.run_id, metrics[start : start + 1000], params=entries if start == 0 else [])

    def _begin(self, trial: Trial, started: int) -> None:
        tags = {**self._tags(key(trial), self._level_runs[trial.level]), "seed": str(trial.seed), "stage": trial.stage}
        name = run_name(self.study, trial)
        run = self._client.create_run(self._experiment, start_time=started, tags=tags, run_name=name)
        self._open[key(trial)] = _Open(run.info.run_id)

    def _end(self, trial: Trial, outcome: Outcome) -> None:
        run = self._open.pop(key(trial))
        run.pending += outcome_metrics(outcome)
        params = {name: value for name, value in asdict(trial.config).items() if value is not None}
        self._write(run, {**params, "seed": trial.seed})
        with tempfile.TemporaryDirectory() as folder:
            write_artifacts(Path(folder), self.study, trial, outcome)
            self._client.log_artifacts(run.run_id, folder)
        if outcome.status != "finished":
            self._client.set_tag(run.run_id, "reason", outcome.reason[-5000:])
        self._client.set_terminated(run.run_id, STATES[outcome.status], milliseconds(outcome.ended))
        self._ended.add(key(trial))

    def _write_whole(self, trial: Trial, outcome: Outcome) -> None:
        self._begin(trial, milliseconds(outcome.started))
        self._open[key(trial)].pending += [metric for epoch in outcome.history for metric in epoch_metrics(epoch)]
        self._end(trial, outcome)

    def _summarize(self, figures: Mapping[str, Mapping[str, float]], report: Path) -> None:
        now = milliseconds(time.time())
        for level, run_id in self._level_runs.items():
            known = figures.get(self.study.level_name(level), {})
            self._client.log_batch(run_id, [Metric(name, value, now, 0) for name, value in known.items()])
        self._client.log_artifacts(self._study_run, str(report), "report")

    def _finish(self, state: str) -> None:
        for run in self._open.values():
            self._write(run)
            self._close_incomplete(run.run_id, "KILLED", "the study was stopped; the trial is run again")
        for run_id in (*self._level_runs.values(), self._study_run):
            self._client.set_terminated(run_id, state)

    def _find_experiment(self) -> str:
        known = self._client.get_experiment_by_name(self.label)
        kind = {"mlflow.experimentKind": "custom_model_development"}  # which of its two layouts MLflow's UI shows
        return known.experiment_id if known else self._client.create_experiment(self.label, tags=kind)

    def _close_leftovers(self) -> set[str]:
        """Keys of this journal's trials that have a complete run; runs that a killed driver left open become FAILED."""
        ended = set()
        for run in self._runs(f"tags.journal = '{self.journal}'"):
            if {"container", "incomplete"} & set(run.data.tags):
                continue
            if run.info.status in ENDED:
                ended.add(run.data.tags["key"])
            else:
                self._close_incomplete(run.info.run_id, "FAILED", "its driver was killed; the trial is run again")
        return ended

    def _close_incomplete(self, run_id: str, state: str, why: str) -> None:
        self._client.set_tag(run_id, "incomplete", why)
        self._client.set_terminated(run_id, state)

    def _container(self, name: str, title: str, parent: str | None) -> str:
        """The study's run or a level's, made if need be and open again."""
        for run in self._runs(f"tags.journal = '{self.journal}' and tags.key = '{name}'"):
            self._client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        tags = {**self._tags(name, parent), "container": "yes", "mlflow.note.content": self.study.question}
        run_id = str(self._client.create_run(self._experiment, tags=tags, run_name=title).info.run_id)
        if parent is None:
            self._client.log_text(run_id, resolved(self.study), "study.json")
        return run_id

    def _runs(self, where: str) -> Iterable[Run]:
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment], where, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _tags(self, name: str, parent: str | None) -> dict[str, str]:
        return {
            "journal": self.journal,
            "key": name,
            "mlflow.source.name": "harness",
            "mlflow.source.git.commit": self.environment["git_commit"],
            **({"mlflow.parentRunId": parent} if parent else {}),
            **self.environment,
        }


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
