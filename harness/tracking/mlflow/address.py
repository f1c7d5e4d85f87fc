"""Where MLflow's runs lie: MLFLOW_TRACKING_URI, else the file that a bare `mlflow ui` finds. Does not load MLflow."""

import os
import re
import socket
import sqlite3
import warnings
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from harness import masking
from harness.errors import UserError

UI = "http://127.0.0.1:"
HERE = re.compile(rf"^{re.escape(UI)}\d+(?=/|$)")
PORT = 5000
"""Of `harness ui`, until another one is wanted."""
DEFAULT_STORE = "sqlite:///mlflow.db"
SERVER = ("http://", "https://")
FILE = "sqlite:///"
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # where an address names none
INSECURE, CERTIFICATE, CLIENT = (
    f"MLFLOW_TRACKING_{name}" for name in ("INSECURE_TLS", "SERVER_CERT_PATH", "CLIENT_CERT_PATH")
)
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
    return server if server.startswith(SERVER) else f"{UI}{ui_port()}"


def at_port(link: str) -> str:
    """A link to `harness ui` as it is today: that may have another port than when the link was made."""
    try:
        now = pages()
    except UserError:  # whoever writes to the store is told
        return link
    return HERE.sub(now, link, count=1) if now.startswith(UI) else link


def ui_port() -> int:
    """The port that `harness ui` had last for this store, which lies beside it; else MLflow's own."""
    file = _port_file()
    try:
        return int(file.read_text()) if file else PORT
    except (OSError, ValueError):
        return PORT


def keep_port(port: int) -> None:
    """Keep the port of `harness ui` for links that are written from now on, where the store is a file."""
    file = _port_file()
    if file and port != ui_port():
        with suppress(OSError):
            file.write_text(f"{port}\n")


def _port_file() -> Path | None:
    path = _path(store_uri())
    return path.with_name(f"{path.name}-port") if path else None


def store_file() -> tuple[int, int] | None:
    """Which file holds the runs, as the system tells files apart; None where none does."""
    path = _path(store_uri())
    try:
        found = path.stat() if path else None
    except OSError:
        found = None
    return (found.st_dev, found.st_ino) if found else None


def check_store() -> None:
    """Raises UserError where `store_trouble` knows of any."""
    if trouble := store_trouble():
        raise UserError(f"{shown_store()}: MLflow cannot open it: {trouble}")


def store_trouble() -> str | None:
    """Why the store cannot be opened, found out within seconds and without secrets; None where nothing is known
    against it.

    MLflow would try for minutes.
    """
    uri = store_uri()
    if uri.startswith(SERVER):
        trouble = _server_trouble()
    elif path := _path(uri):
        trouble = _file_trouble(path)
    else:
        trouble = _database_trouble(uri) if "://" in uri else None
    return masking.without_secrets(trouble) if trouble else None


def _path(uri: str) -> Path | None:
    """The file that an address names; None where it names none."""
    return Path(uri.removeprefix(FILE).partition("?")[0]) if uri.startswith(FILE) else None


def _server_trouble() -> str | None:
    """What is wrong with the server that holds the runs, asked for its health as MLflow's client would ask; None if it
    answers, be it that it wants another login.
    """
    import requests  # a tenth of a second, which others need not wait for

    certificate = os.environ.get(CERTIFICATE)
    insecure = os.environ.get(INSECURE, "").lower() in ("true", "1")
    if certificate is not None and insecure:
        return f"{INSECURE} and {CERTIFICATE} are both set, and only one may be"
    for name in (CERTIFICATE, CLIENT):
        if (path := os.environ.get(name)) is not None and not Path(path).exists():
            return f"{name}: there is no {path}"
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # that nobody checks who answers, which was asked for
            requests.get(
                f"{store_uri().rstrip('/')}/health",
                headers=_login(),
                verify=not insecure if certificate is None else certificate,
                cert=os.environ.get(CLIENT),
                timeout=ANSWER,
                stream=True,  # the answer's first line is enough
            ) as answer,
        ):
            status, reason = answer.status_code, answer.reason
    except (OSError, ValueError) as error:
        return f"no MLflow server answers there ({_cause(error)})"
    return f"no MLflow server answers there (it answers {status} {reason})" if status >= 500 else None


def _login() -> dict[str, str]:
    """The header that MLflow's client makes of the login in the environment."""
    user, password, token = masking.login()
    if user and password:
        return {"Authorization": masking.basic(user, password)}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _cause(error: BaseException) -> BaseException:
    """What lies below the errors of `requests` and `urllib3`, whose words name the objects that met it."""
    while True:
        below = (error.__cause__, getattr(error, "reason", None), *error.args)
        inner = next((one for one in below if isinstance(one, BaseException)), None)
        if inner is None:
            return error
        error = inner


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
