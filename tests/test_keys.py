"""Keys of runs in a store, and those that an older version wrote: tests/data/old is of commit c33ed7c."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from harness.catalogue import knob, show
from harness.journal import Records
from harness.study.study import Study
from harness.tracking.keys import Keys, key, old_key
from harness.tracking.mlflow.find import find_trial
from harness.trial import Trial

from .conftest import ROOT, Done, make_trial
from .test_tracking import runs_of

OLD = ROOT / "tests" / "data" / "old"


@pytest.fixture(scope="module")
def records() -> Records:
    return Records(OLD / "journal.log")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A finished study of the old code in the current folder, with its MLflow store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "studies").mkdir()
    shutil.copytree(OLD, tmp_path / "studies" / "old")
    (tmp_path / "mlflow.db").write_bytes(gzip.decompress((OLD / "store.db.gz").read_bytes()))
    return MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")


def by_key(client: MlflowClient) -> dict[str, Run]:
    runs = runs_of(client, "old")
    assert len({run.data.tags["key"] for run in runs}) == len(runs)  # no run twice
    return {run.data.tags["key"]: run for run in runs}


def test_old_keys_are_those_that_the_old_code_wrote(old: MlflowClient, records: Records) -> None:
    written = {name for name, run in by_key(old).items() if "container" not in run.data.tags}
    assert {record.outcome.status for record in records.all if record.outcome} == {
        *("finished", "pruned", "diverged", "failed")
    }
    assert {old_key(record.trial) for record in records.all} == written


def test_a_run_of_the_old_code_that_was_cut_short_is_repeated_under_its_key(
    old: MlflowClient, command: Callable[..., Done]
) -> None:
    before = by_key(old)
    name, cut = next((name, run) for name, run in before.items() if name.startswith("tanh/confirm/1/"))
    old.set_tag(cut.info.run_id, "incomplete", "the study was stopped")
    done = command("sync", "studies/old")
    assert done.returncode == 0, done.stderr
    runs = runs_of(old, "old")
    assert len(runs) == len(before) + 1
    [repeat] = [run for run in runs if run.info.run_id not in {one.info.run_id for one in before.values()}]
    assert repeat.data.tags["key"] == name
    assert repeat.data.tags["repeats"] == cut.info.run_id
    assert {name: as_then(repeat.data.params[name]) for name in cut.data.params} == cut.data.params
    new = {name: value for name, value in repeat.data.params.items() if name not in cut.data.params}
    then = {name: as_then(value) for name, value in new.items()}
    assert then == {name: show(knob(name).default) for name in new}  # what hyperparameters there are since is as it was
    assert repeat.data.metrics == pytest.approx(cut.data.metrics, nan_ok=True)
    assert command("sync", "studies/old").returncode == 0
    assert len(runs_of(old, "old")) == len(runs)


def test_runs_of_the_old_code_are_found(old: MlflowClient, records: Records) -> None:
    trials = [record.trial for record in records.all]
    for run in by_key(old).values():
        if "container" not in run.data.tags:
            found = find_trial(run.info.run_id, records.study, records.id, trials)
            assert records.study.run_name(found) == run.data.tags["mlflow.runName"]


def as_then(value: str) -> str:
    """As the old code wrote a hyperparameter: four digits of a number."""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def confirmation(study: Study, **params: float) -> Trial:
    return study.confirmations(2, study.config(2, params))[0]


def test_a_key_names_what_the_study_chose_and_nothing_else(small: Study) -> None:
    trial = confirmation(small, lr=0.01)
    assert key(small, trial) == "2/confirm/0/b052aec3"  # what is in stores must not change
    assert key(small, confirmation(small, lr=0.02)) != key(small, trial)
    other = Trial(trial.level, "confirm", 0, trial.seed, trial.config.replace(batch_size=64, precision="bf16"))
    assert key(small, other) == key(small, trial)  # as with a hyperparameter that there was not then
    assert key(small, make_trial(12)) == old_key(make_trial(12)) == "2/search/12"


def test_a_trial_keeps_the_key_that_its_run_has(small: Study) -> None:
    trial, other = small.confirmations(2, small.config(2, {"lr": 0.01}))
    keys = Keys(small, {old_key(trial)})
    assert (keys[trial], keys[other]) == (old_key(trial), key(small, other))
    assert keys[trial] != key(small, trial)
