"""Which trial a run in MLflow is: the way back from the view to the journal. Reads only."""

from collections.abc import Iterable
from pathlib import Path

import harness.tracking.store  # noqa: F401 - first: it sets MLflow's ways before MLflow is imported
from harness.errors import UserError
from harness.tracking.tracker import key, shown_store, store_uri
from harness.trial import Trial

from mlflow import MlflowClient  # isort: skip

from harness.tracking.writer import in_one_line


def find_trial(run: str, journal: str, trials: Iterable[Trial]) -> Trial:
    """The one of a journal's trials whose run has that id; raises UserError when there is none.

    `journal` is the journal's id (`Records.id`), which every run of ours carries.
    """
    tags = _tags(run)
    if not {"journal", "key"} <= set(tags):
        raise UserError(f"--run {run}: is no run of harness (it names no journal)")
    name = tags.get("mlflow.runName", tags["key"])
    if "container" in tags:
        raise UserError(f"--run {run}: {name} is the run of a whole study or value; give the run of a trial or a seed")
    if tags["journal"] != journal:
        raise UserError(
            f"--run {run}: {name} is not in this journal, but of another study or data set, or put aside by --fresh"
        )
    found = [trial for trial in trials if _plain(key(trial)) == _plain(tags["key"])]
    if len(found) > 1:  # a seed of two winners; only then, since the digest changes when a hyperparameter is added
        found = [trial for trial in found if key(trial) == tags["key"]]
    if not found:
        raise UserError(f"--run {run}: the journal has no outcome of {name}")
    return found[0]


def _tags(run: str) -> dict[str, str]:
    uri = store_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():  # MLflow would make it
        raise UserError(f"{shown_store()}: no runs here; MLFLOW_TRACKING_URI names another store")
    try:
        return dict(MlflowClient(uri).get_run(run).data.tags)
    except Exception as error:  # of MLflow, SQLAlchemy or the file system
        if getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UserError(f"--run {run}: {shown_store()} has no such run") from None
        raise UserError(f"{shown_store()}: MLflow cannot read it: {in_one_line(error)}") from None


def _plain(name: str) -> str:
    """A key without the digest of a confirmation's config: value/stage/number."""
    value, stage, number, *_ = name.rsplit("/", 3 if "/confirm/" in name else 2)
    return f"{value}/{stage}/{number}"
