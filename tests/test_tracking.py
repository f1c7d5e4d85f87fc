"""MLflow as somebody else's client finds it after a study, and what the tracker does when the store fails."""

import contextlib
import csv
import io
import json
import math
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from safetensors.torch import load_file

from harness import catalogue
from harness.analysis.results import Results, read_results
from harness.config import Config
from harness.crews.how import How
from harness.driver import run as run_study
from harness.errors import UserError
from harness.journal import Ledger, Records
from harness.parts.models import build
from harness.study.file import read_study
from harness.study.study import Study
from harness.tracking import Tracker, shown_store
from harness.tracking.calls import in_one_line
from harness.tracking.mlflow.address import store_trouble
from harness.tracking.mlflow.entries import epoch_metrics
from harness.tracking.mlflow.known import ASKED, known_runs, searched, selected
from harness.tracking.mlflow.sqlite import make_store
from harness.tracking.mlflow.views import view
from harness.trial import Epoch, Outcome

from .conftest import ROOT, SMALL, Done, harness, make_trial
from .test_search import figures, made_up

ENVIRONMENT = {"git_commit": "abc", "torch": "2"}
OF_ANY_OUTCOME = {"best/epoch", "seconds", "parameters"}


@contextlib.contextmanager
def tracking(study: Study, journal: str = "id") -> Iterator[Tracker]:
    with Tracker() as tracker:
        tracker.open(study, journal, ENVIRONMENT)
        yield tracker


def runs_of(client: MlflowClient, experiment: str) -> list[Run]:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id], max_results=1000))


@pytest.fixture(scope="module")
def client(smoke: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{smoke}/mlflow.db")


@pytest.fixture(scope="module")
def runs(client: MlflowClient) -> dict[str, Run]:
    return {plain_key(run): run for run in runs_of(client, "smoke")}


def plain_key(run: Run) -> str:
    """A confirmation's key ends in a digest of its config."""
    return "/".join(run.data.tags["key"].split("/")[:3])


@pytest.fixture(scope="module")
def results(smoke: Path) -> Results:
    return read_results(smoke / "studies" / "smoke" / "journal.log")


def test_runs_nest(runs: dict[str, Run], results: Results) -> None:
    study = runs["study"]
    assert "mlflow.parentRunId" not in study.data.tags
    assert len(runs) == 1 + 3 + len(results.runs)
    for level in ("1", "2", "3"):
        assert runs[f"depth={level}"].data.tags["mlflow.parentRunId"] == study.info.run_id
        for key in [f"{level}/{search}/{number}" for search in ("search", "search-1") for number in range(10)]:
            assert runs[key].data.tags["mlflow.parentRunId"] == runs[f"depth={level}"].info.run_id


def run_key(row: Any) -> str:
    """Of a row of the results."""
    return f"{row.depth}/{row.stage}-{row.search}/{row.number}".replace("-0/", "/")


def test_states_are_those_of_the_outcomes(runs: dict[str, Run], results: Results) -> None:
    states = {"finished": "FINISHED", "pruned": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
    for row in results.runs.itertuples():
        run = runs[run_key(row)]
        assert run.info.status == states[str(row.status)]
        assert run.info.start_time == pytest.approx(row.started * 1000, abs=2000)
        assert run.info.end_time == pytest.approx(row.ended * 1000, abs=1)
    assert results.runs["status"].eq("pruned").any()  # the pruner really stops trainings
    assert all(runs[key].info.status == "FINISHED" for key in ("study", "depth=1", "depth=2", "depth=3"))


def test_figures_are_those_of_the_journal(client: MlflowClient, runs: dict[str, Run], results: Results) -> None:
    for row in results.runs.itertuples():
        run = runs[run_key(row)]
        assert float(run.data.params["lr"]) == row.lr
        assert run.data.params["optimizer"] == row.optimizer
        assert run.data.metrics["best/val_accuracy"] == pytest.approx(row.val_accuracy)
        assert run.data.metrics["parameters"] == row.parameters
        assert ("test/accuracy" in run.data.metrics) == (row.stage == "confirm")
        history = client.get_metric_history(run.info.run_id, "val_loss")
        assert [metric.step for metric in history] == list(range(1, int(row.trained_epochs) + 1))
    assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "best/epoch", "test/loss", "seconds"} <= set(
        runs["1/confirm/0"].data.metrics
    )


def test_tags_say_what_a_figure_depends_on(runs: dict[str, Run]) -> None:
    tags = runs["2/confirm-1/0"].data.tags
    assert int(tags["seed"]) % 2 == 1
    assert {"git_commit", "git_dirty", "data_sha256", "torch", "cuda", "device"} <= set(tags)


def test_artifacts(client: MlflowClient, runs: dict[str, Run], tmp_path: Path) -> None:
    def names(key: str) -> set[str]:
        return {artifact.path for artifact in client.list_artifacts(runs[key].info.run_id)}

    common = {"weights.safetensors", "history.csv", "study.json"}
    assert names("1/search/0") == common
    assert names("1/confirm/0") == common | {"loss_curve.png", "confusion_matrix.png"}
    assert names("study") == {"study.json", "report"}
    run = runs["3/confirm/0"]
    local = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    assert len(list(csv.DictReader(io.StringIO((local / "history.csv").read_text())))) >= 1
    assert json.loads((local / "study.json").read_text())["axis"] == "depth"
    width, activation = int(run.data.params["width"]), run.data.params["activation"]
    network = build(Config(depth=3, width=width, activation=activation), (1, 8, 8), 10, 0)
    network.load_state_dict(load_file(local / "weights.safetensors"))


def test_level_runs_carry_the_headline(smoke: Path, runs: dict[str, Run]) -> None:
    table = pd.read_csv(smoke / "reports" / "smoke" / "tables" / "compare.csv")
    for row in table.itertuples():
        assert runs[f"depth={row.depth}"].data.metrics["test/accuracy"] == pytest.approx(row.test_accuracy, rel=1e-5)


def test_values_can_be_compared_by_their_parameters(runs: dict[str, Run]) -> None:
    own = [runs[f"depth={depth}"].data.params for depth in (1, 2, 3)]
    assert [params["depth"] for params in own] == ["1", "2", "3"]
    assert own[0]["epochs"] == "6"
    assert own[0]["dataset"] == "digits"
    assert not {"lr", "width", "dropout"} & set(own[0])  # each search has found others


def test_parameters_have_all_their_digits(runs: dict[str, Run], smoke: Path) -> None:
    for record in Records(smoke / "studies" / "smoke" / "journal.log").all[:5]:
        trial = record.trial
        which = f"{trial.stage}-{trial.search}" if trial.search else trial.stage
        params = runs[f"{trial.level}/{which}/{trial.number}"].data.params
        assert params["lr"] == repr(trial.config["lr"])


def test_the_page_of_the_runs_opens_on_the_values_the_best_first(client: MlflowClient, smoke: Path) -> None:
    experiment = client.get_experiment_by_name("smoke")
    assert experiment is not None
    state = json.loads(experiment.tags["mlflow.sharedViewState.harness"])
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`test/accuracy`", False)
    assert "params.`depth`" in state["selectedColumns"]
    found = client.search_runs(
        [experiment.experiment_id], state["searchFilter"], order_by=[f"{state['orderByKey']} DESC"]
    )
    names = [run.info.run_name for run in found]
    assert sorted(map(str, names)) == ["depth=1", "depth=2", "depth=3"]
    figures = [run.data.metrics["test/accuracy"] for run in found]
    assert figures == sorted(figures, reverse=True)
    records = Records(smoke / "studies" / "smoke" / "journal.log")
    page = f"#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey=harness"
    assert records.links["all values, the best first"] == f"http://127.0.0.1:5000/{page}"
    regression = records.study.model_copy(update={"task": "regression", "metric": "rmse"})
    assert json.loads(view(regression, "id"))["orderByAsc"] is True


def test_a_store_of_before_gets_the_page_and_the_parameters(small: Study, store: str) -> None:
    with tracking(small):
        pass
    client = MlflowClient(store)
    before = {run.info.run_name: run.data.params for run in runs_of(client, "mine")}
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    with contextlib.closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as database:
        database.execute("delete from params")
        database.execute("delete from experiment_tags where key like 'mlflow.shared%'")
        database.commit()
    with tracking(small):
        pass
    assert {run.info.run_name: run.data.params for run in runs_of(client, "mine")} == before
    assert client.get_experiment_by_name("mine").tags == experiment.tags  # type: ignore[union-attr]


def test_a_database_says_what_mlflows_search_says(client: MlflowClient, runs: dict[str, Run], smoke: Path) -> None:
    """Which runs a journal has, in which order: those of other journals and deleted ones are not among them."""
    experiment, mine = next((run.info.experiment_id, run.data.tags["journal"]) for run in runs.values())
    other = client.create_run(experiment, tags={"journal": "another", "key": "1/search/0"}).info.run_id
    client.delete_run(client.create_run(experiment, tags={"journal": mine, "key": "1/search/99"}).info.run_id)
    cut = client.create_run(experiment, tags={"journal": mine, "key": "1/search/1", "incomplete": "why"}).info.run_id
    try:
        found = list(selected(client._tracking_client.store, experiment, mine))
        plain = list(searched(client, experiment, f"tags.journal = '{mine}'"))
        assert len(plain) > 40
        assert [(run.run_id, run.status) for run in found] == [(run.run_id, run.status) for run in plain]
        for one, same in zip(found, plain, strict=True):
            assert one.tags == {name: same.tags[name] for name in ASKED if name in same.tags}
        containers = [run for run in known_runs(client, experiment, mine) if run.is_container]
        assert containers == [run for run in plain if run.is_container]  # with all tags and metrics
    finally:
        for run_id in (other, cut):
            client.delete_run(run_id)


def test_a_finished_study_trains_nothing_and_writes_nothing(
    smoke: Path, client: MlflowClient, runs: dict[str, Run]
) -> None:
    journal = smoke / "studies" / "smoke" / "journal.log"
    report = smoke / "reports" / "smoke" / "tables" / "compare.csv"
    outcomes, table = journal.read_text().count('"outcome"'), report.read_bytes()
    store = (smoke / "mlflow.db").read_bytes()
    done = harness("run", "studies/smoke", cwd=smoke)
    assert done.returncode == 0, done.stderr
    assert journal.read_text().count('"outcome"') == outcomes
    assert report.read_bytes() == table
    assert (smoke / "mlflow.db").read_bytes() == store
    assert len(runs_of(client, "smoke")) == len(runs)


def test_a_store_that_was_deleted_is_rebuilt(
    smoke: Path, runs: dict[str, Run], command: Callable[..., Done], tmp_path: Path
) -> None:
    shutil.copytree(smoke / "studies", tmp_path / "studies")
    done = command("sync", "studies/smoke")
    assert done.returncode == 0, done.stderr
    rebuilt = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    again = {plain_key(run): run for run in runs_of(rebuilt, "smoke")}
    assert set(again) == set(runs)
    for name, run in runs.items():
        assert again[name].info.status == run.info.status
        assert again[name].data.params == run.data.params
        assert again[name].data.metrics == pytest.approx(run.data.metrics)
    names = {artifact.path for artifact in rebuilt.list_artifacts(again["1/confirm/0"].info.run_id)}
    assert names == {"history.csv", "study.json", "loss_curve.png", "confusion_matrix.png"}  # weights it has none


@pytest.fixture
def store(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of its own, copied from one that exists: making a new one takes seconds."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "mlflow.db").write_bytes((smoke / "mlflow.db").read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    return uri


def test_epochs_of_a_running_trial_arrive_within_seconds(small: Study, store: str) -> None:
    trial = make_trial()
    with tracking(small) as tracker:
        tracker.begin(trial)
        for number in (1, 2):
            tracker.epoch(trial, Epoch(number, figures(1.0, 0.5, 1.0, 0.5), time.time()))
        limit = time.monotonic() + 8
        seen: set[str] = set()
        while time.monotonic() < limit and "val_loss" not in seen:
            time.sleep(0.2)
            for run in runs_of(MlflowClient(store), "mine"):
                if run.data.tags["key"] == "2/search/0":
                    assert run.info.status == "RUNNING"
                    seen = set(run.data.metrics)
        assert "val_loss" in seen
        tracker.end(trial, made_up(trial))
    [run] = [r for r in runs_of(MlflowClient(store), "mine") if r.data.tags["key"] == "2/search/0"]
    assert run.info.status == "FINISHED"


def test_an_interrupted_study_leaves_no_run_open_and_is_caught_up(small: Study, store: str, tmp_path: Path) -> None:
    ledger = Ledger(small, tmp_path / "journal.log", ENVIRONMENT)
    first, second, *_ = ledger.generation()
    with contextlib.suppress(KeyboardInterrupt), tracking(small, ledger.id) as tracker:
        tracker.begin(first)
        tracker.begin(second)
        ledger.record(first, made_up(first))  # in the journal, not in MLflow
        raise KeyboardInterrupt
    by_key = {run.data.tags["key"]: run.info.status for run in runs_of(MlflowClient(store), "mine")}
    assert by_key["1/search/0"] == by_key["1/search/1"] == by_key["study"] == "KILLED"
    with tracking(small, ledger.id) as tracker:
        tracker.catch_up(ledger.recorded())
        tracker.begin(second)
        tracker.end(second, made_up(second))
    runs = [r for r in runs_of(MlflowClient(store), "mine") if "incomplete" not in r.data.tags]
    ended = [(run.data.tags["key"], run.info.status) for run in runs if "container" not in run.data.tags]
    assert sorted(ended) == [("1/search/0", "FINISHED"), ("1/search/1", "FINISHED")]


def test_a_killed_drivers_runs_are_closed(small: Study, store: str) -> None:
    tracker = Tracker()
    tracker.open(small, "id", ENVIRONMENT)
    tracker.begin(make_trial())
    tracker.drain()
    assert tracker._hang_up(10) == "exit code 1"  # closes the pipe, as the kernel does when it ends a driver
    with tracking(small):
        pass
    [run] = [r for r in runs_of(MlflowClient(store), "mine") if r.data.tags["key"] == "2/search/0"]
    assert run.info.status == "FAILED"
    assert "driver was killed" in run.data.tags["incomplete"]


def test_a_failing_store_is_told_once_and_stops_nothing(small: Study, store: str, tmp_path: Path) -> None:
    with tracking(small) as tracker:
        with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
            database.execute("drop table metrics")
        for number in range(3):
            trial = make_trial(number)
            tracker.begin(trial)
            tracker.end(trial, made_up(trial))
    assert tracker.failure is not None
    assert "no such table: metrics" in tracker.failure


def test_a_tracking_process_that_dies_stops_nothing(small: Study, store: str) -> None:
    with tracking(small) as tracker:
        tracker.process.kill()
        for number in range(3):
            trial = make_trial(number)
            tracker.begin(trial)
            tracker.end(trial, made_up(trial))
        tracker.drain()
    assert tracker.failure is not None
    assert "the tracking process ended, killed by SIGKILL" in tracker.failure


def test_a_tracking_process_that_is_stopped_holds_nothing_up(
    write_study: Callable[[str], Path], store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGSTOP, as of a machine that swaps, from the first trial on; nothing is lost in the end."""
    folder = write_study(SMALL)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("estimate"):  # the store is open
            tracker.process.send_signal(signal.SIGSTOP)

    with Tracker(silent=2.0, say=say) as tracker:
        tracker._outbox._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # full at once
        stopped = tracker.process
        run_study(read_study(folder), folder, tracker, How(device="cpu", quiet=True), say)
        assert tracker.process is not stopped
        assert (tracker.failure, tracker.missing) == (None, 0)
    assert stopped.returncode == -signal.SIGKILL
    assert not [line for line in said if line.startswith("warning: MLflow lacks")]
    records = Records(folder / "journal.log")
    whole = [run for run in runs_of(MlflowClient(store), "mine") if "incomplete" not in run.data.tags]
    keys = [run.data.tags["key"] for run in whole if "container" not in run.data.tags]
    assert len(keys) == len(set(keys)) == len(records.all) == 2 * (6 + 2)
    assert "RUNNING" not in {run.info.status for run in runs_of(MlflowClient(store), "mine")}


def test_what_a_stopped_process_cannot_take_is_dropped_and_told(small: Study, store: str) -> None:
    with Tracker(silent=1.0) as tracker:
        tracker.open(small, "id", ENVIRONMENT)
        tracker.process.send_signal(signal.SIGSTOP)
        trials = [make_trial(number) for number in range(8)]
        weights = {"w": np.zeros(2**22)}  # 32 MiB: the third has no room
        began = time.monotonic()
        for trial in trials[:4]:
            tracker.begin(trial)
            tracker.end(trial, replace(made_up(trial), weights=weights))
        assert time.monotonic() - began < 1  # no waiting: at most copying
        assert len(tracker._lost) == 2
        tracker.drain()  # the silent one is replaced
        assert tracker.missing == 4
        assert tracker.failure is not None
        tracker.catch_up([(trial, made_up(trial)) for trial in trials])
        tracker.drain()
        assert tracker.missing == 0
    states = {run.data.tags["key"]: run.info.status for run in reversed(runs_of(MlflowClient(store), "mine"))}
    assert [states[f"2/search/{number}"] for number in range(8)] == ["FINISHED"] * 8


def test_ctrl_c_is_the_drivers_business(small: Study, store: str) -> None:
    with tracking(small) as tracker:
        for number in (signal.SIGINT, signal.SIGTERM):  # a terminal and a scheduler tell the whole group
            tracker.process.send_signal(number)
        trial = make_trial()
        tracker.begin(trial)
        tracker.end(trial, made_up(trial))
        tracker.drain()
    assert tracker.failure is None
    [run] = [r for r in runs_of(MlflowClient(store), "mine") if r.data.tags["key"] == "2/search/0"]
    assert run.info.status == "FINISHED"


def test_a_new_winners_seeds_are_runs_of_their_own(small: Study, store: str) -> None:
    for lr in (0.1, 0.2, 0.2):  # the budget grew and with it the winner changed; then the study is run again
        trial = make_trial(stage="confirm", lr=lr)
        with tracking(small) as tracker:
            tracker.begin(trial)
            tracker.end(trial, made_up(trial))
    runs = [run for run in runs_of(MlflowClient(store), "mine") if plain_key(run) == "2/confirm/0"]
    assert sorted(run.data.params["lr"] for run in runs) == ["0.1", "0.2"]


def test_figures_that_are_not_finite_do_no_harm(small: Study, store: str) -> None:
    trial, epoch = make_trial(), Epoch(1, figures(math.inf, 0.1, math.nan, 0.1), time.time())
    with tracking(small) as tracker:
        tracker.begin(trial)
        tracker.epoch(trial, epoch)
        tracker.end(trial, Outcome("diverged", "diverged at epoch 1, loss nan", 1.0, 2.0, history=(epoch,)))
    assert tracker.failure is None
    [run] = [r for r in runs_of(MlflowClient(store), "mine") if r.data.tags["key"] == "2/search/0"]
    assert run.info.status == "FAILED"
    assert set(run.data.metrics) == {"train_loss", "train_accuracy", "val_loss", "val_accuracy"} | OF_ANY_OUTCOME


def test_where_nothing_is_held_out_no_figures_of_it_are_shown() -> None:
    epoch = Epoch(1, figures(math.nan, 0.1, math.nan, math.nan), 1.0)  # as journals before format 2 have it
    assert [metric.key for metric in epoch_metrics(epoch)] == ["train_loss", "train_accuracy"]


def test_an_error_without_words_is_told_too() -> None:
    assert in_one_line(KeyError()) == "KeyError: "
    assert in_one_line(OSError("disk full\nand more")) == "OSError: disk full"


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ann:s3cret@db:5432/runs")
    assert shown_store() == "postgresql://ann:***@db:5432/runs"


def test_failed_and_diverged_trials_say_why(small: Study, store: str) -> None:
    trial = make_trial()
    with tracking(small) as tracker:
        tracker.begin(trial)
        tracker.end(trial, Outcome("failed", "Traceback: it broke", 1.0, 2.0))
    [run] = [r for r in runs_of(MlflowClient(store), "mine") if r.data.tags["key"] == "2/search/0"]
    assert run.info.status == "FAILED"
    assert "it broke" in run.data.tags["reason"]


def test_a_new_store_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(Exception):
        pass

    def kill(*arguments: object, **keys: object) -> None:
        raise KilledError

    uri = f"sqlite:///{tmp_path}/new.db"
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.store.db.utils._upgrade_db", kill)  # the last step of making a store
        with pytest.raises(KilledError):
            make_store(uri)
    assert list(tmp_path.iterdir()) == []
    make_store(uri)
    assert [path.name for path in tmp_path.iterdir()] == ["new.db"]
    before = (tmp_path / "new.db").read_bytes()
    make_store(uri)
    assert (tmp_path / "new.db").read_bytes() == before


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("sqlite:///{here}", "it is a directory"),
        ("sqlite:///{here}/unreadable", "may not be read and written"),
        ("sqlite:///{here}/garbage", "file is not a database"),
        ("nosuchbase://127.0.0.1/runs", "NoSuchModuleError"),
        ("postgresql+nosuchdriver://127.0.0.1/runs", "NoSuchModuleError"),
        ("http://127.0.0.1:{port}", "no MLflow server answers there"),
    ],
)
def test_what_is_wrong_with_a_store_is_known_within_seconds(
    store: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "garbage").write_text("not a database" * 100)
    (tmp_path / "unreadable").touch()
    monkeypatch.setattr("os.access", lambda path, mode: path.name != "unreadable")  # tests may be root's
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()  # and never answers
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store.format(here=tmp_path, port=deaf.getsockname()[1]))
        began = time.monotonic()
        trouble = store_trouble()
        assert time.monotonic() - began < 5
    assert trouble is not None
    assert said in trouble


@pytest.mark.parametrize("uri", ["sqlite:///:memory:", "sqlite://", "sqlite:///"])
def test_a_store_that_keeps_nothing_is_refused(
    uri: str, write_study: Callable[[str], Path], command: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_study(SMALL)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    done = command("run", "studies/mine")
    assert done.returncode == 2
    assert "keeps no runs; name a file, as in sqlite:///mlflow.db" in done.stderr
    assert not (folder / "journal.log").exists()


def test_without_a_store_training_goes_on_and_says_so(
    write_study: Callable[[str], Path],
    command: Callable[..., Done],
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_study(SMALL)
    (folder / "study.toml").write_text(SMALL.replace('"digits"', '"mnist"'))
    folder.rename(tmp_path / "studies" / "a b")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}")
    done = command("run", "studies/a b", "--dataset", "digits")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    again = "harness sync 'studies/a b' --dataset digits"
    [first] = [line for line in lines if "MLflow cannot open it: it is a directory; training goes on" in line]
    assert again in first
    assert lines.index(first) < lines.index(next(line for line in lines if line.startswith("estimate")))
    [last] = [line for line in lines if line.startswith("warning: MLflow lacks all runs")]
    assert again in last
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert command("sync", "studies/a b", "--dataset", "digits").returncode == 0
    assert len(runs_of(MlflowClient(store), "a b-digits")) == 1 + 2 + 2 * (6 + 2)


def test_a_store_that_cannot_be_opened_is_a_plain_error(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(UserError, match="MLflow cannot open it"), tracking(small):
        pass


OWN = """
from pathlib import Path
from harness.tracking.calls import Opened

class Lines:
    def __init__(self): self.file = Path("lines.txt").open("w", buffering=1)
    def connect(self): pass
    def open(self, study, journal, environment):
        self.say("open", study.label, journal)
        return Opened({study.label: "lines.txt"}, frozenset({"2/search/0"}), frozenset())
    def begin(self, key, trial, started): self.say("begin", key)
    def epoch(self, key, epoch): self.say("epoch", key, epoch.number, epoch["val_accuracy"])
    def end(self, key, trial, outcome):
        if outcome.status == "failed":
            raise OSError("no paper")
        self.say("end", key, outcome.status)
    def summary(self, figures, report): self.say("summary", figures["depth=2"]["test_accuracy"], report)
    def flush(self, late): pass
    def finish(self, ending): self.say("finish", ending)
    def say(self, *words): print(*words, file=self.file)
"""


@pytest.fixture
def _own_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_tracker.py").write_text(OWN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(
        catalogue, "PARTS", (*catalogue.PARTS, catalogue.Part("tracker", "own", "own_tracker:Lines", ""))
    )
    catalogue._parts.cache_clear()
    yield
    catalogue._parts.cache_clear()


@pytest.mark.usefixtures("_own_tracker")
def test_another_tracker_is_a_class_and_an_entry(small: Study, tmp_path: Path) -> None:
    first, second, third = (make_trial(number) for number in range(3))
    with Tracker(kind="own") as tracker:
        assert tracker.open(small, "id", ENVIRONMENT) == {"mine": "lines.txt"}
        tracker.begin(second)
        tracker.epoch(second, Epoch(1, figures(1.0, 0.5, 1.0, 0.25), time.time()))
        tracker.catch_up([(first, made_up(first)), (second, made_up(second))])
        tracker.summary({"depth=2": {"test_accuracy": 0.75}}, Path("reports/mine"))
        tracker.end(third, Outcome("failed", "it broke", 1.0, 2.0))
        tracker.drain()
        assert (tracker.missing, tracker.failure) == (1, "OSError: no paper")
        tracker.complete = False
    lines = (tmp_path / "lines.txt").read_text().splitlines()
    assert lines == [
        "open mine id",
        "begin 2/search/1",
        "epoch 2/search/1 1 0.25",
        "end 2/search/1 finished",
        "summary 0.75 reports/mine",
    ]  # a store that failed is left alone for a while, also at the end
    assert tracker.missing == 2


@pytest.mark.usefixtures("_own_tracker")
def test_a_process_that_lives_is_not_replaced_while_its_store_hangs(small: Study, tmp_path: Path) -> None:
    slow = OWN.replace('self.say("summary"', 'import time; time.sleep(4); self.say("summary"')
    (tmp_path / "own_tracker.py").write_text(slow)
    with Tracker(kind="own", silent=2.0) as tracker:
        first = tracker.process
        tracker.open(small, "id", ENVIRONMENT)
        tracker.summary({"depth=2": {"test_accuracy": 0.75}}, Path("reports/mine"))
        tracker.drain()
        assert (tracker.process, tracker.failure) == (first, None)
        tracker.summary({"depth=2": {"test_accuracy": 0.75}}, Path("reports/mine"))
        tracker.drain(0.5)  # but nobody waits for it without end
        assert tracker.failure is not None
        assert "not answered in time" in tracker.failure


def test_only_one_folder_knows_mlflow() -> None:
    others = [path for path in (ROOT / "harness" / "tracking").glob("*.py") if path.name != "__init__.py"]
    assert len(others) > 3
    for path in others:
        assert "import mlflow" not in path.read_text()
        assert "from mlflow" not in path.read_text()
        assert "harness.tracking.mlflow" not in path.read_text().split('"""', 2)[2], path
