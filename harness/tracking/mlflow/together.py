"""Several of MLflow's writes as one transaction, where it opens a database itself; elsewhere they are as they are.

Each of MLflow's calls begins a session of its own, sets SQLite up anew, reads the run again and waits for the disk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient


def is_database(client: MlflowClient) -> bool:
    """Whether this process itself opens the store, and it is a database."""
    return hasattr(client._tracking_client.store, "ManagedSessionMaker")  # MLflow has no public way to its session


@contextmanager
def together(client: MlflowClient) -> Iterator[None]:
    """What is written meanwhile is there at once when this ends, or nothing of it if it raises.

    Metrics come first: where MLflow finds one that is there already it takes back all of the transaction, and writes
    the others then.
    """
    if not is_database(client):
        yield
        return
    store: Any = client._tracking_client.store
    own = store.ManagedSessionMaker
    with own(read_only=False) as session:

        @contextmanager
        def shared(read_only: bool = True) -> Iterator[Any]:
            yield session
            session.flush()

        store.ManagedSessionMaker, session.commit = shared, session.flush
        try:
            yield
        finally:
            store.ManagedSessionMaker = own
            del session.commit  # the session's own again, with which it ends
