"""Where in a store a study's runs lie, and which of a journal it has: all that opening a study asks of it.

MLflow's own search builds every run with all its metrics, parameters and tags, which takes 2 to 4 ms each. Where the
store is a database that this process itself opens, a few columns of its tables say as much.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from types import MappingProxyType
from typing import Any

import harness.tracking.mlflow.sqlite  # noqa: F401 - first: it sets MLflow's ways before MLflow is imported

from mlflow import MlflowClient  # isort: skip

ASKED = ("key", "incomplete", "container")


@dataclass(frozen=True)
class Known:
    """A run: its state and its tags, of a trial's at least those that are `ASKED` for. Only a container has more."""

    run_id: str
    status: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    params: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_container(self) -> bool:
        """Whether it is a study's or a level's, which holds others."""
        return "container" in self.tags


def find_experiment(
    client: MlflowClient, name: str, tags: Mapping[str, str] = MappingProxyType({})
) -> tuple[str, Mapping[str, str]]:
    """The id and the tags of the experiment of that name, which is made if need be and given these tags."""
    known = client.get_experiment_by_name(name)
    if known is None:
        tags = {"mlflow.experimentKind": "custom_model_development", **tags}  # which of its two layouts its UI shows
        return client.create_experiment(name, tags=tags), tags
    then = dict(known.tags)
    for key, value in tags.items():
        if then.get(key) != value:
            client.set_experiment_tag(known.experiment_id, key, value)
    return known.experiment_id, {**then, **tags}


def known_runs(client: MlflowClient, experiment: str, journal: str) -> Iterator[Known]:
    """The runs of the journal with that id, the newest first; those that hold others come before all trials'."""
    store = client._tracking_client.store  # MLflow has no public way to its own session
    where = f"tags.journal = '{journal}'"
    yield from searched(client, experiment, f"{where} and tags.container = 'yes'")
    found = selected(store, experiment, journal) if hasattr(store, "ManagedSessionMaker") else None
    for run in searched(client, experiment, where) if found is None else found:
        if not run.is_container:
            yield run


def searched(client: MlflowClient, experiment: str, where: str) -> Iterator[Known]:
    """By MLflow's own search, page by page."""
    token: str | None = ""
    while token is not None:
        page = client.search_runs([experiment], where, page_token=token or None)
        for run in page:
            data = run.data
            yield Known(run.info.run_id, run.info.status, dict(data.tags), dict(data.metrics), dict(data.params))
        token = page.token or None


def selected(store: Any, experiment: str, journal: str) -> Iterator[Known]:
    """Out of the tables of a store that is a database, in the order of MLflow's own search."""
    from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag
    from sqlalchemy import select

    mine: Any = select(SqlTag.run_uuid).where(SqlTag.key == "journal", SqlTag.value == journal)
    rows: Any = (
        select(SqlRun.run_uuid, SqlRun.status, SqlTag.key, SqlTag.value)
        .join(SqlTag, SqlTag.run_uuid == SqlRun.run_uuid)
        .where(SqlRun.experiment_id == int(experiment), SqlRun.lifecycle_stage == "active")
        .where(SqlTag.key.in_(ASKED), SqlRun.run_uuid.in_(mine))
        .order_by(SqlRun.start_time.desc(), SqlRun.run_uuid)
    )
    with store.ManagedSessionMaker() as session:
        found = session.execute(rows).all()
    for (run_id, status), several in groupby(found, key=lambda row: (row[0], row[1])):
        yield Known(run_id, status, {row[2]: row[3] for row in several})
