"""Where MLflow's runs lie: MLFLOW_TRACKING_URI, else the file that a bare `mlflow ui` finds. Does not load MLflow."""

import os
import urllib.error
import urllib.request

from harness import masking
from harness.errors import UserError

LOCAL_UI = "http://127.0.0.1:5000"
DEFAULT_STORE = "sqlite:///mlflow.db"
SERVER = ("http://", "https://")
ANSWER = 5.0  # seconds that a server has to say that it is there


def store_uri() -> str:
    """Where runs go; raises UserError for an address that MLflow would misread."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE
    if masking.is_ambiguous(uri):
        raise UserError("MLFLOW_TRACKING_URI: the @, /, ? and # of a password must be %40, %2F, %3F and %23")
    return uri


def shown_store() -> str:
    """The store as it may be shown and logged: without a password."""
    return masking.shown(store_uri())


def pages() -> str:
    """Where runs can be seen: the server that holds them, or `harness ui`."""
    server = _server()
    return server if server.startswith(SERVER) else LOCAL_UI


def server_trouble() -> str | None:
    """What is wrong with the server that holds the runs, asked for its health; None if it answers, or there is none.

    MLflow's client would try for minutes.
    """
    server = _server()
    if not server.startswith(SERVER):
        return None
    try:
        urllib.request.urlopen(f"{server}/health", timeout=ANSWER).close()
    except urllib.error.HTTPError as error:
        return f"it answers {error.code} {error.reason}" if error.code >= 500 else None
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return None


def _server() -> str:
    return masking.public(store_uri()).rstrip("/")
