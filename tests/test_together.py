"""What a run costs the store, and that what is written together is there whole or not at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from mlflow import MlflowClient
from sqlalchemy.engine import Engine

from harness.study.study import Study
from harness.tracking.mlflow.store import MlflowStore
from harness.trial import Trial

from .test_search import made_up

ENVIRONMENT = {"git_commit": "abc", "torch": "2"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def store(small: Study, place: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowStore:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")
    monkeypatch.chdir(place)
    store = MlflowStore()
    store.connect()
    store.open(small, "id", ENVIRONMENT)
    return store


@pytest.fixture
def waits() -> Iterator[list[str]]:
    """What reached the database since: statements, and "COMMIT"."""
    found = list[str]()

    def asked(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        found.append(statement)

    def committed(connection: Any) -> None:
        found.append("COMMIT")

    sqlalchemy.event.listen(Engine, "before_cursor_execute", asked)
    sqlalchemy.event.listen(Engine, "commit", committed)
    yield found
    sqlalchemy.event.remove(Engine, "before_cursor_execute", asked)
    sqlalchemy.event.remove(Engine, "commit", committed)


def trial(study: Study, number: int) -> Trial:
    return Trial(1, "search", number, 0, study.config(1, {"lr": 0.01}))


def kept(store: MlflowStore, run_id: str) -> tuple[str, dict[str, str], dict[str, float]]:
    run = MlflowClient(store._client.tracking_uri).get_run(run_id)
    return run.info.status, dict(run.data.params), dict(run.data.metrics)


def test_a_run_takes_two_transactions(store: MlflowStore, small: Study, waits: list[str]) -> None:
    for number in range(2):
        waits.clear()
        store.end(f"1/search/{number}", trial(small, number), made_up(trial(small, number)))
    assert waits.count("COMMIT") == 2
    assert len(waits) <= 30  # 53 when each of MLflow's calls was a transaction of its own


def test_what_fails_leaves_nothing_half_and_is_written_again(
    store: MlflowStore, small: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, outcome, key = trial(small, 7), made_up(trial(small, 7)), "1/search/7"
    store.begin(key, one, outcome.started)
    run_id = store._running[key].run_id

    def broken(*arguments: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store._client, "set_terminated", broken)
        with pytest.raises(Exception, match="the disk is full"):
            store.end(key, one, outcome)
    assert kept(store, run_id) == ("RUNNING", {}, {})
    store.end(key, one, outcome)
    status, params, metrics = kept(store, run_id)
    assert (status, params["lr"], metrics["best/val_loss"]) == ("FINISHED", "0.01", outcome["val_loss"])


def test_metrics_that_are_there_already_take_nothing_else_away(store: MlflowStore, small: Study) -> None:
    """MLflow takes a transaction back when it finds one."""
    one, outcome, key = trial(small, 9), made_up(trial(small, 9)), "1/search/9"
    store.begin(key, one, outcome.started)
    run = store._running[key]
    for epoch in outcome.history[:2]:
        store.epoch(key, epoch)
    pending = list(run.pending)
    store.flush(-1)
    run.pending = pending  # as after a call of which only the answer was lost
    store.end(key, one, outcome)
    status, params, metrics = kept(store, run.run_id)
    assert (status, params["lr"], metrics["best/val_loss"]) == ("FINISHED", "0.01", outcome["val_loss"])
    history = MlflowClient(store._client.tracking_uri).get_metric_history(run.run_id, "val_loss")
    assert [metric.step for metric in history] == [epoch.number for epoch in outcome.history]
