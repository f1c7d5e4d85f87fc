"""Which trial a run in MLflow is: the way back from the view to the journal. Reads only."""

from collections.abc import Iterable
from pathlib import Path

import harness.tracking.mlflow.sqlite  # noqa: F401 - first: it sets MLflow's ways before MLflow is imported
from harness.errors import UserError
from harness.study.study import Study
from harness.tracking.calls import in_one_line
from harness.tracking.keys import key, old_key, plain_key
from harness.tracking.mlflow.address import shown_store, store_uri
from harness.trial import Trial

from mlflow import MlflowClient  # isort: skip


def find_trial(run: str, study: Study, journal: str, trials: Iterable[Trial]) -> Trial:
    """The one of a journal's trials whose run has that id; raises UserError when there is none.

    `journal` is the journal's id (`Records.id`), which every run of ours carries.
    """
    tags = _tags(run)
    if not {"journal", "key"} <= set(tags):
        raise UserError(f"--run {run}: is no run of harness (it names no journal)")
    wanted = tags["key"]
    name = tags.get("mlflow.runName", wanted)
    if "container" in tags:
        raise UserError(f"--run {run}: {name} is the run of a whole study or value; give the run of a trial or a seed")
    if tags["journal"] != journal:
        raise UserError(
            f"--run {run}: {name} is not in this journal, but of another study or data set, or put aside by --fresh"
        )
    found = [trial for trial in trials if f"{wanted}/".startswith(f"{plain_key(trial)}/")]
    if len(found) > 1:  # a seed of two winners
        found = [trial for trial in found if wanted in (key(study, trial), old_key(trial))]
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
