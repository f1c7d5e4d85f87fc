"""How a new SQLite store is made without leaving a half-made one behind. First of all it sets how MLflow behaves."""

import logging
import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a study sends nothing anywhere unless its user asks for it
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# MLflow's client tries seven times, two minutes each; what does not work twice is written later, from the journal.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

import mlflow.store.db.utils
from mlflow import MlflowClient

mlflow.store.db.utils.MAX_RETRY_COUNT = 2  # it tries ten times to reach a database, for minutes

for name in ("mlflow", "alembic"):
    logging.getLogger(name).setLevel(logging.WARNING)  # a new store is made in silence
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # what fails is raised too, and told by us


def make_store(uri: str) -> None:
    """Make a new SQLite store elsewhere and move it to its place when it is whole.

    MLflow makes its tables one by one, over seconds; a kill in between would leave a file that it can never open again.
    """
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        MlflowClient(f"sqlite:///{made}").search_experiments()
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        shutil.copyfile(made, part)
    if path.exists():  # another study was faster
        part.unlink()
    else:
        part.rename(path)
