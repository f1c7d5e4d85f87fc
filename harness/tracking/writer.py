"""A study's runs in MLflow, written call by call: what the tracking process does with the calls of harness.tracking."""

import re
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.catalogue import show
from harness.masking import without_secrets
from harness.study.study import Study
from harness.tracking.store import make_store  # first: it sets MLflow's ways before MLflow is imported
from harness.tracking.tracker import key
from harness.trial import Epoch, Outcome, Trial

from mlflow import MlflowClient  # isort: skip
from mlflow.entities import Metric, Param, Run  # isort: skip

from harness.tracking.entries import (
    epoch_metrics,
    milliseconds,
    outcome_metrics,
    resolved,
    run_name,
    write_artifacts,
)

STATES = {"finished": "FINISHED", "pruned": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
ENDED = frozenset(STATES.values())


@dataclass
class _Open:
    """A run that is being written."""

    run_id: str
    pending: list[Metric] = field(default_factory=list)
    epochs: int = 0  # of which the figures were kept or written
    written: float = field(default_factory=time.monotonic)


class Writer:
    """Writes a study's runs to the store; raises whatever MLflow, SQLAlchemy or the file system raise."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._open: dict[str, _Open] = {}
        self._containers: list[str] = []  # the study's run and its levels'
        self._ended: set[str] = set()  # keys of trials whose run is complete
        self._incomplete: dict[str, str] = {}  # keys of trials with a run that was cut short, and that run

    def open(self, study: Study, journal: str, environment: Mapping[str, str]) -> tuple[dict[str, str], frozenset[str]]:
        """Find or make the study's run and its levels', and learn which trials have complete runs.

        Where the first are on MLflow's pages, by the study's label and the levels' names; the keys of the others.
        """
        self.study, self.journal, self.environment = study, journal, environment
        self.connect()
        self._experiment = self._find_experiment()
        self._close_leftovers()
        self._study_run = self._container("study", study.label, None)
        names = [study.level_name(level) for level in study.levels]
        self._level_runs = {name: self._container(name, name, self._study_run) for name in names}
        runs = {study.label: self._study_run, **self._level_runs}
        paths = {name: f"#/experiments/{self._experiment}/runs/{run}" for name, run in runs.items()}
        return paths, frozenset(self._ended)

    def connect(self) -> None:
        """Open the store, made anew if need be: seconds, the first time."""
        make_store(self.uri)
        self._client = MlflowClient(self.uri)
        self._client.search_experiments(max_results=1)

    def begin(self, trial: Trial, started: float) -> None:
        """A run of the trial, unless it has a complete one: then its stack is run again for another trial's sake."""
        name = key(trial)
        if name in self._ended:
            return
        if name in self._open:
            self._close_incomplete(name, self._open[name].run_id, "FAILED", "its worker was lost; it is run again")
            del self._open[name]
        level = self._level_runs[self.study.level_name(trial.level)]
        tags = {**self._tags(name, level), "seed": str(trial.seed), "stage": trial.stage}
        if name in self._incomplete:
            tags["repeats"] = self._incomplete[name]
        run = self._client.create_run(self._experiment, milliseconds(started), tags, run_name(self.study, trial))
        self._open[name] = _Open(run.info.run_id)

    def epoch(self, trial: Trial, epoch: Epoch) -> None:
        """Keep the figures for the run's next batch."""
        run = self._open.get(key(trial))
        if run and epoch.number > run.epochs:
            run.pending += epoch_metrics(epoch)
            run.epochs = epoch.number

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """Write the rest of the run, and close it: the whole run, if the store was not there when it began."""
        if key(trial) in self._ended:
            return
        if key(trial) not in self._open:
            self.begin(trial, outcome.started)
        for epoch in outcome.history:
            self.epoch(trial, epoch)
        run = self._open[key(trial)]
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
        del self._open[key(trial)]  # only now: what fails before is tried again

    def summary(self, figures: Mapping[str, Mapping[str, float]], report: Path) -> None:
        """Headline figures on the levels' runs, the report's folder on the study's."""
        now = milliseconds(time.time())
        for level, run_id in self._level_runs.items():
            known = figures.get(level, {})
            self._client.log_batch(run_id, [Metric(name, value, now, 0) for name, value in known.items()])
        self._client.log_artifacts(self._study_run, str(report), "report")

    def flush(self, late: float = 0.0) -> None:
        """Write what has waited for longer than `late` seconds."""
        for run in self._open.values():
            if run.pending and time.monotonic() - run.written > late:
                self._write(run)

    def finish(self, state: str) -> None:
        """Close every run that is open; the trials among them are run again when the study goes on."""
        for name, run in list(self._open.items()):
            self._write(run)
            self._close_incomplete(name, run.run_id, "KILLED", "the study was stopped; the trial is run again")
            del self._open[name]
        for run_id in reversed(self._containers):
            self._client.set_terminated(run_id, state)

    def _write(self, run: _Open, params: Mapping[str, Any] | None = None) -> None:
        run.written = time.monotonic()
        entries = [Param(name, show(value)) for name, value in (params or {}).items()]
        for start in range(0, max(1, len(run.pending)), 1000):  # the most that MLflow takes at once
            self._client.log_batch(run.run_id, run.pending[start : start + 1000], params=entries if start == 0 else [])
        run.pending = []  # only now: what was written twice MLflow keeps once

    def _find_experiment(self) -> str:
        known = self._client.get_experiment_by_name(self.study.label)
        kind = {"mlflow.experimentKind": "custom_model_development"}  # which of its two layouts MLflow's UI shows
        return known.experiment_id if known else self._client.create_experiment(self.study.label, tags=kind)

    def _close_leftovers(self) -> None:
        """Learn which of this journal's trials have a complete run; runs that a killed driver left become FAILED."""
        for run in self._runs(f"tags.journal = '{self.journal}'"):  # the newest first
            name, run_id = run.data.tags["key"], run.info.run_id
            if "container" in run.data.tags:
                continue
            if run.info.status not in ENDED:
                self._close_incomplete(name, run_id, "FAILED", "its driver was killed; the trial is run again")
            elif "incomplete" in run.data.tags:
                self._incomplete.setdefault(name, run_id)
            else:
                self._ended.add(name)

    def _close_incomplete(self, name: str, run_id: str, state: str, why: str) -> None:
        self._client.set_tag(run_id, "incomplete", why)
        self._client.set_terminated(run_id, state)
        self._incomplete[name] = run_id

    def _container(self, name: str, title: str, parent: str | None) -> str:
        """The study's run or a level's, made if need be and open again."""
        for run in self._runs(f"tags.journal = '{self.journal}' and tags.key = '{name}'"):
            self._client.update_run(run.info.run_id, status="RUNNING")
            self._containers.append(run.info.run_id)
            return self._containers[-1]
        tags = {**self._tags(name, parent), "container": "yes", "mlflow.note.content": self.study.question}
        run_id = str(self._client.create_run(self._experiment, tags=tags, run_name=title).info.run_id)
        if parent is None:
            self._client.log_text(run_id, resolved(self.study), "study.json")
        self._containers.append(run_id)
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


def in_one_line(error: Exception) -> str:
    """An error as a user can read it; some have no words of their own."""
    words = re.sub(r"^\(raised as a result of .*\)\n", "", str(error))  # SQLAlchemy's hint to programmers
    return without_secrets(f"{type(error).__name__}: {words}".splitlines()[0])
