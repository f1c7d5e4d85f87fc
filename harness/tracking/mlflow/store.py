"""A study's runs in MLflow, written call by call: what the tracking process does with the calls of the driver."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.study.study import Study
from harness.tracking.calls import Ending, Opened, in_one_line
from harness.tracking.mlflow.address import check_store, pages, shown_store, store_file, store_trouble, store_uri
from harness.tracking.mlflow.sqlite import make_store  # first: it sets MLflow's ways before MLflow is imported
from harness.tracking.mlflow.views import BEST_FIRST, TAG, metric_name, runs_page, view
from harness.trial import Epoch, Figures, Level, Outcome, Trial

from mlflow import MlflowClient  # isort: skip
from mlflow.entities import Metric, Param  # isort: skip
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository  # isort: skip

from harness.tracking.mlflow.entries import (
    arrival_metrics,
    digest,
    epoch_metrics,
    level_params,
    measured,
    milliseconds,
    outcome_metrics,
    params,
    pictures,
    resolved,
    write_artifacts,
)
from harness.tracking.mlflow.known import find_experiment, known_runs
from harness.tracking.mlflow.together import is_database, together

STATES = {"finished": "FINISHED", "pruned": "KILLED", "stopped": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
ENDED = frozenset(STATES.values())
AT_ONCE = 1000  # metrics: the most that MLflow takes


@dataclass
class Container:
    """The study's run or a level's, which holds others. It is RUNNING once one of them is."""

    run_id: str
    status: str = "RUNNING"
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)


@dataclass
class Running:
    """A trial's run that is being written."""

    run_id: str
    place: str  # the address of its files
    pending: list[Metric] = field(default_factory=list)
    epochs: int = 0  # of which the figures were kept or written
    written: float = field(default_factory=time.monotonic)


class MlflowStore:
    """A `Store`; raises whatever MLflow, SQLAlchemy or the file system raise."""

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}  # by the key of the trial, like all that follow
        self._complete: set[str] = set()
        self._cut: dict[str, str] = {}  # the run that was cut short
        self._containers: dict[str, Container] = {}  # by key: "study", or the level's name
        self._file: tuple[int, int] | None = None  # which one it is, if it is one

    def connect(self) -> None:
        """Open the store: seconds, the first time."""
        if store_trouble() is None:
            self._client.search_experiments(max_results=1)

    @cached_property
    def _client(self) -> MlflowClient:
        """MLflow's own; a store that is not there yet is made."""
        make_store(store_uri())
        return MlflowClient(store_uri())

    def open(self, study: Study, journal: str, environment: Mapping[str, str]) -> Opened:
        """Find or make the study's run and its levels', and learn which trials have complete runs."""
        self.study, self.journal, self.environment = study, journal, environment
        check_store()
        try:
            self._experiment, tags = find_experiment(self._client, study.label, {TAG: view(study, journal)})
            self._file = store_file()
            self._read_runs()
            top = self._container("study", study.label, None)
            levels = {study.level_name(level): self._level(level, top) for level in study.levels}
        except Exception as error:
            raise UserError(f"{shown_store()}: MLflow cannot open it: {in_one_line(error)}") from error
        place = f"{pages()}/#/experiments/{self._experiment}/runs"
        addresses = {name: f"{place}/{container.run_id}" for name, container in {study.label: top, **levels}.items()}
        addresses = {BEST_FIRST: f"{pages()}/{runs_page(self._experiment, tags)}", **addresses}
        return Opened(addresses, frozenset(self._complete), frozenset(self._cut))

    def begin(self, key: str, trial: Trial, started: float) -> None:
        """A run of the trial, unless it has a complete one: then its group is run again for another trial's sake."""
        if key in self._complete:
            return
        if key in self._running:
            self._close_cut(key, self._running[key].run_id, "FAILED", "its worker was lost; it is run again")
            del self._running[key]
        self._reopen()
        level = self._containers[self.study.level_name(trial.level)].run_id
        tags = {**self._tags(key, level), "seed": str(trial.seed), "stage": trial.stage}
        if key in self._cut:
            tags["repeats"] = self._cut[key]
        with together(self._client):
            run = self._client.create_run(self._experiment, milliseconds(started), tags, self.study.run_name(trial))
        self._running[key] = Running(run.info.run_id, run.info.artifact_uri)

    def epoch(self, key: str, epoch: Epoch) -> None:
        """Keep the figures for the run's next batch."""
        run = self._running.get(key)
        if run and epoch.number > run.epochs:
            run.pending += epoch_metrics(epoch)
            run.epochs = epoch.number

    def end(self, key: str, trial: Trial, outcome: Outcome) -> None:
        """Write the rest of the run, and close it: the whole run, if the store was not there when it began."""
        if key in self._complete:
            return
        if key not in self._running:
            self.begin(key, trial, outcome.started)
        for epoch in outcome.history:
            self.epoch(key, epoch)
        run = self._running[key]
        run.pending += outcome_metrics(outcome) + arrival_metrics(self.study, trial, outcome)
        with tempfile.TemporaryDirectory() as folder:
            write_artifacts(Path(folder), self.study, trial, outcome)
            self._keep(run, folder)
        with together(self._client):
            self._write(run)
            self._client.log_batch(run.run_id, params=[Param(*named) for named in params(trial).items()])
            if outcome.status != "finished":
                self._client.set_tag(run.run_id, "reason", outcome.reason[-5000:])
            self._client.set_terminated(run.run_id, STATES[outcome.status], milliseconds(outcome.ended))
        self._complete.add(key)
        del self._running[key]  # only now: what fails before is tried again

    def summary(self, figures: Mapping[str, Figures], report: Path) -> None:
        """Headline figures on the levels' runs, the report's folder on the study's; nothing that is there already."""
        now = milliseconds(time.time())
        for level, known in figures.items():
            run = self._containers[level]
            metrics = {metric_name(name): value for name, value in measured(known).items()}
            new = [Metric(name, value, now, 0) for name, value in metrics.items() if run.metrics.get(name) != value]
            if new:
                self._client.log_batch(run.run_id, new)
                run.metrics |= metrics
        top, found = self._containers["study"], digest(report)
        if top.tags.get("report_sha256") != found:
            self._client.log_artifacts(top.run_id, str(report), "report")
            self._client.set_tag(top.run_id, "report_sha256", found)
            top.tags["report_sha256"] = found

    def flush(self, late: float) -> None:
        """Write what has waited for longer than `late` seconds."""
        for run in self._running.values():
            if run.pending and time.monotonic() - run.written > late:
                self._write(run)
        if self._running:
            pictures()  # now, so that the first confirmation run need not wait for matplotlib

    def finish(self, ending: Ending) -> None:
        """Close every run that is open; the trials among them are run again when the study goes on."""
        for key, run in list(self._running.items()):
            self._write(run)
            self._close_cut(key, run.run_id, "KILLED", "the study was stopped; the trial is run again")
            del self._running[key]
        for container in reversed(self._containers.values()):
            if container.status != STATES[ending]:
                self._client.set_terminated(container.run_id, STATES[ending])

    def is_gone(self) -> bool:
        """Whether the file of the runs was deleted or replaced since it was opened: the system lets MLflow write on."""
        return self._file is not None and store_file() != self._file

    def _keep(self, run: Running, folder: str) -> None:
        """Lay files down with a run: of a database without asking it where, which the run's beginning has told."""
        if is_database(self._client):
            repository: Any = get_artifact_repository(run.place, tracking_uri=store_uri())
            repository.log_artifacts(folder)
        else:
            self._client.log_artifacts(run.run_id, folder)

    def _write(self, run: Running) -> None:
        run.written = time.monotonic()
        for start in range(0, len(run.pending), AT_ONCE):
            self._client.log_batch(run.run_id, run.pending[start : start + AT_ONCE])
        run.pending = []  # only now: what was written twice MLflow keeps once

    def _read_runs(self) -> None:
        """Learn which runs this journal has; those that a killed driver left open become FAILED."""
        for run in known_runs(self._client, self._experiment, self.journal):
            key = run.tags["key"]
            if run.is_container:
                found = Container(run.run_id, run.status, dict(run.tags), dict(run.metrics), dict(run.params))
                self._containers.setdefault(key, found)
            elif run.status not in ENDED:
                self._close_cut(key, run.run_id, "FAILED", "its driver was killed; the trial is run again")
            elif "incomplete" in run.tags:
                self._cut.setdefault(key, run.run_id)
            else:
                self._complete.add(key)

    def _close_cut(self, key: str, run_id: str, state: str, why: str) -> None:
        self._client.set_tag(run_id, "incomplete", why)
        self._client.set_terminated(run_id, state)
        self._cut[key] = run_id

    def _container(self, key: str, title: str, parent: Container | None) -> Container:
        """The study's run or a level's, made if need be."""
        if key not in self._containers:
            tags = {**self._tags(key, parent.run_id if parent else None), "container": "yes"}
            tags["mlflow.note.content"] = self.study.question
            run_id = str(self._client.create_run(self._experiment, tags=tags, run_name=title).info.run_id)
            if parent is None:
                self._client.log_text(run_id, resolved(self.study), "study.json")
            self._containers[key] = Container(run_id)
        return self._containers[key]

    def _level(self, level: Level, top: Container) -> Container:
        """A level's run with its parameters, also where an earlier version made it without any."""
        name = self.study.level_name(level)
        run = self._container(name, name, top)
        lacking = {key: value for key, value in level_params(self.study, level).items() if key not in run.params}
        if lacking:
            self._client.log_batch(run.run_id, params=[Param(key, value) for key, value in lacking.items()])
            run.params |= lacking
        return run

    def _reopen(self) -> None:
        """The containers are running again: only now, so that a study that is over writes nothing."""
        for container in self._containers.values():
            if container.status != "RUNNING":
                self._client.update_run(container.run_id, status="RUNNING")
                container.status = "RUNNING"

    def _tags(self, key: str, parent: str | None) -> dict[str, str]:
        return {
            "journal": self.journal,
            "key": key,
            "mlflow.source.name": "harness",
            "mlflow.source.git.commit": self.environment["git_commit"],
            **({"mlflow.parentRunId": parent} if parent else {}),
            **self.environment,
        }
