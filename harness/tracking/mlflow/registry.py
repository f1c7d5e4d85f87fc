"""An exported model in MLflow's registry: the next version of a name, which `mlflow.pyfunc.load_model` loads."""

import io
import os
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import UserError
from harness.tracking.calls import in_one_line
from harness.tracking.mlflow.address import check_store, shown_store, store_uri
from harness.tracking.mlflow.sqlite import make_store  # first: it sets MLflow's ways before MLflow is imported

import mlflow  # isort: skip
from mlflow.models import ModelSignature  # isort: skip
from mlflow.types import ColSpec, Schema, TensorSpec  # isort: skip

from harness.tracking.mlflow.known import find_experiment


def register(name: str, folder: Path, spec: Mapping[str, Any]) -> str:
    """Log the model of a folder with a run of its own in the study's experiment, and register it; in words. `spec` is
    what its `model.json` says. Raises UserError where the store does not take it.
    """
    check_store()
    before = os.environ.get("MLFLOW_TRACKING_URI", "")  # which MLflow changes
    try:
        make_store(store_uri())
        mlflow.set_tracking_uri(store_uri())
        experiment = find_experiment(mlflow.MlflowClient(), spec["study"])[0]
        tags = {"mlflow.source.name": "harness", "seeds": ", ".join(str(run["seed"]) for run in spec["runs"])}
        with (
            warnings.catch_warnings(action="ignore"),  # that a signature comes without an example
            redirect_stderr(io.StringIO()),  # to which MLflow prints what it has done
            mlflow.start_run(experiment_id=experiment, run_name=f"export of {spec['value']}", tags=tags),
        ):
            version = _log(name, folder, spec)
    except Exception as error:  # of MLflow, SQLAlchemy or the file system
        raise UserError(f"--register {name}: {shown_store()}: {in_one_line(error)}") from None
    finally:
        mlflow.set_tracking_uri(before)
    return f"models:/{name}/{version} in {shown_store()}"


def _log(name: str, folder: Path, spec: Mapping[str, Any]) -> int:
    import torch  # only its version is asked for

    logged = mlflow.pyfunc.log_model(
        name="model",
        loader_module="model",
        data_path=str(folder),
        code_paths=[str(folder / "model.py")],
        pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
        signature=signature(spec),
        registered_model_name=name,
    )
    return int(logged.registered_model_version)


def signature(spec: Mapping[str, Any]) -> ModelSignature:
    """What the model takes and gives, as MLflow checks it."""
    takes, gives = spec["inputs"], spec["outputs"]
    outputs = TensorSpec(np.dtype("float32"), (-1, len(gives.get("classes") or gives["targets"])))
    if takes["kind"] == "images":
        inputs = Schema([TensorSpec(np.dtype("float32"), (-1, *takes["shape"]))])
    else:
        inputs = Schema([_column(column) for column in takes["columns"]])
    return ModelSignature(inputs, Schema([outputs]))


def _column(column: Mapping[str, Any]) -> ColSpec:
    levels = column.get("levels", ())
    return ColSpec("string" if levels else "double", column["name"], required=not column.get("gaps"))
