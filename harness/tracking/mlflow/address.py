"""Where MLflow's runs lie: MLFLOW_TRACKING_URI, else the file that a bare `mlflow ui` finds. Does not load MLflow."""

import os
import socket
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from harness import masking
from harness.errors import UserError

LOCAL_UI = "http://127.0.0.1:5000"
DEFAULT_STORE = "sqlite:///mlflow.db"
SERVER = ("http://", "https://")
FILE = "sqlite:///"
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # where an address names none
ANSWER = 4.0  # seconds that a server has to say that it is there


def store_uri() -> str:
    """Where runs go; raises UserError for an address that MLflow would misread."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE
    if masking.is_ambiguous(uri):
        raise UserError("MLFLOW_TRACKING_URI: the @, /, ? and # of a password must be %40, %2F, %3F and %23")
    if uri.startswith("sqlite:") and uri.removeprefix("sqlite:").lstrip("/").partition("?")[0] in ("", ":memory:"):
        raise UserError(f"MLFLOW_TRACKING_URI: {masking.shown(uri)} keeps no runs; name a file, as in {DEFAULT_STORE}")
    return uri


def shown_store() -> str:
    """The store as it may be shown and logged: without a password."""
    return masking.shown(store_uri())


def pages() -> str:
    """Where runs can be seen: the server that holds them, or `harness ui`."""
    server = _server()
    return server if server.startswith(SERVER) else LOCAL_UI


def store_file() -> tuple[int, int] | None:
    """Which file holds the runs, as the system tells files apart; None where none does."""
    uri = store_uri()
    try:
        found = Path(uri.removeprefix(FILE).partition("?")[0]).stat() if uri.startswith(FILE) else None
    except OSError:
        found = None
    return (found.st_dev, found.st_ino) if found else None


def store_trouble() -> str | None:
    """Why the store cannot be opened, found out within seconds; None where nothing is known against it.

    MLflow would try for minutes.
    """
    uri = store_uri()
    if uri.startswith(SERVER):
        return _server_trouble()
    if uri.startswith(FILE):
        return _file_trouble(Path(uri.removeprefix(FILE).partition("?")[0]))
    return _database_trouble(uri) if "://" in uri else None


def _server_trouble() -> str | None:
    """What is wrong with the server that holds the runs, asked for its health; None if it answers."""
    try:
        urllib.request.urlopen(f"{_server()}/health", timeout=ANSWER).close()
    except urllib.error.HTTPError as error:
        return f"no MLflow server answers there (it answers {error.code} {error.reason})" if error.code >= 500 else None
    except (OSError, ValueError) as error:
        return f"no MLflow server answers there ({getattr(error, 'reason', error)})"
    return None


def _file_trouble(path: Path) -> str | None:
    """What is wrong with a file of SQLite; None where it is sound, busy, or still to be made."""
    if not path.exists():
        return None
    if path.is_dir():
        return "it is a directory"
    if not os.access(path, os.R_OK | os.W_OK):
        return "its file may not be read and written"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=0)) as database:
            database.execute("select count(*) from sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        return None if "locked" in str(error) else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return None


def _database_trouble(uri: str) -> str | None:
    """What is wrong with a database's address, its driver, or its server: whether that takes calls."""
    from sqlalchemy.engine import make_url  # a fifth of a second, which others need not wait for

    try:
        url = make_url(uri)
        url.get_dialect().import_dbapi()
        port = url.port or PORTS.get(url.get_backend_name())
        if url.host and port:
            socket.create_connection((url.host, port), ANSWER).close()
    except Exception as error:  # of SQLAlchemy, of the driver's import, of the network
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _server() -> str:
    return masking.public(store_uri()).rstrip("/")
