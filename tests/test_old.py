"""What was written before format 2 is read, goes on and is trained again: a journal and a store of that time.

`tests/data/old` was made by the code before figures had names: a cnn study with trials that finished, were pruned,
diverged and failed. `tests/golden` is a journal of that time too.
"""

import gzip
import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from harness.analysis.results import read_results
from harness.catalogue import knobs
from harness.crews.how import How
from harness.driver import hire
from harness.errors import UserError
from harness.journal import Ledger, Records
from harness.journal.file import FORMAT
from harness.journal.level import DEFAULTS_1
from harness.parts.data import Data
from harness.replay import Wanted, replay
from harness.study.file import read_study
from harness.training.loop import train
from harness.trial import Begun, Outcome

from .conftest import ROOT, Done
from .test_kill import figures
from .test_tracking import runs_of

OLD = ROOT / "tests" / "data" / "old"
STATUS = {"finished": 17, "failed": 10, "diverged": 2, "pruned": 3}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where the old study has run to its end, with its store."""
    (tmp_path / "studies").mkdir()
    shutil.copytree(OLD, tmp_path / "studies" / "old", ignore=shutil.ignore_patterns("*.gz"))
    (tmp_path / "mlflow.db").write_bytes(gzip.decompress((OLD / "store.db.gz").read_bytes()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums in torch's order, as they were added up then: some of these trials magnify the last bit of a sum a thousand
    times within an epoch.
    """
    monkeypatch.setattr("harness.training.stack.present", lambda: False)
    monkeypatch.setattr("harness.parts.tasks.present", lambda: False)
    monkeypatch.setattr("harness.training.convolutions.merged", list)


def journal(folder: Path) -> Path:
    return folder / "studies" / "old" / "journal.log"


def test_it_is_read(here: Path) -> None:
    records = Records(journal(here))
    results = read_results(journal(here))
    assert results.runs["status"].value_counts().to_dict() == STATUS
    assert len(records.all) == len(results.runs)
    for record in records.all:
        assert record.outcome is not None
        assert all(epoch.number == place for place, epoch in enumerate(record.outcome.history, start=1))
        assert record.trial.config.channels == (4,)
        assert isinstance(record.trial.config.widths, tuple)
    finished = results.runs[results.runs["status"] == "finished"]
    assert finished["val_accuracy"].between(0, 1).all()
    assert finished.loc[finished["stage"] == "confirm", "test_accuracy"].between(0, 1).all()


def test_defaults_of_that_time_are_those_of_its_runs() -> None:
    """A default that changes must not rewrite what was trained before its Config was recorded."""
    assert set(DEFAULTS_1) <= set(knobs())
    record = {"learning_rate_of_a_later_version": 1}
    config = Records(OLD / "journal.log").all[0].trial.config
    assert {name: config[name] for name in ("pool", "taper", "batch_size", "validation", "split", "precision")} == {
        name: DEFAULTS_1[name] for name in ("pool", "taper", "batch_size", "validation", "split", "precision")
    }
    assert type(config).from_record({**config.record(), **record}) == config  # what is not known is left out


def test_finished_it_trains_nothing_and_no_run_is_written_twice(here: Path, command: Callable[..., Done]) -> None:
    client = MlflowClient(f"sqlite:///{here}/mlflow.db")
    before, outcomes = runs_of(client, "old"), journal(here).read_text().count('"outcome"')
    table = figures(read_results(journal(here)))
    done = command("run", "studies/old")
    assert done.returncode == 0, done.stderr
    assert journal(here).read_text().count('"outcome"') == outcomes
    after = {run.info.run_id: run for run in runs_of(client, "old")}
    assert set(after) == {run.info.run_id for run in before}
    for run in before:
        if "container" not in run.data.tags:
            assert after[run.info.run_id].data.metrics == pytest.approx(run.data.metrics, nan_ok=True)
            assert after[run.info.run_id].info.end_time == run.info.end_time
    pd.testing.assert_frame_equal(figures(read_results(journal(here))), table, check_exact=True)
    assert f'"format":{FORMAT}' in journal(here).read_text()


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
@pytest.mark.usefixtures("without_kernels")
def test_cut_off_it_goes_on_to_the_same_table(share: float, here: Path, digits: Data) -> None:
    """The rest is written in the present format, into the same file."""
    whole = figures(read_results(journal(here)))
    lines = journal(here).read_bytes().splitlines(keepends=True)
    journal(here).write_bytes(b"".join(lines[: int(share * len(lines))]))
    study = read_study("studies/old")
    ledger = Ledger(study, journal(here), {"git_commit": "abc"})
    while trials := ledger.generation():
        _train(ledger, trials, digits)
        ledger.close_generation()
    _train(ledger, ledger.confirmations(), digits)
    again = figures(read_results(journal(here)))
    new = [name for name in again if name not in whole]  # measures that there were not
    assert set(new) <= {f"test_{name}" for name in ("macro_f1", "balanced_accuracy", "top5", "ece", "auc")}
    exact = [name for name in whole if name != "reason"]  # of failures: a traceback
    pd.testing.assert_frame_equal(again[exact], whole[exact], rtol=1e-4, atol=0.004)


def _train(ledger: Ledger, trials: list, data: Data) -> None:  # type: ignore[type-arg]
    from harness.crews.grouping import group_trials
    from harness.crews.schedule import train_all

    left = [group for group in group_trials(trials, data) if not all(map(ledger.is_recorded, group))]
    with closing(hire(How(), {data.name: data})) as workplace:
        for trial, event in train_all(left, workplace.crew(left, watched=False), ledger.should_prune):
            if isinstance(event, Outcome):
                if not ledger.is_recorded(trial):
                    ledger.record(trial, event)
            elif not isinstance(event, Begun):
                ledger.report(trial, event)


@pytest.mark.usefixtures("without_kernels")
def test_its_runs_are_trained_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records, study = Records(journal(here)), read_study("studies/old")
    told: list[str] = []
    for record in records.all[::4]:
        level = study.level_name(record.trial.level)
        seed, number = (None, record.trial.number) if record.trial.stage == "search" else (record.trial.seed, None)
        wanted = Wanted(level, seed, number, together=True)
        assert replay(study, Path("studies/old"), wanted, 1e-3, told.append).is_same, told[-1]
    assert sum(line.startswith("same: all figures") for line in told) == len(records.all[::4])


def test_a_journal_of_a_newer_harness_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.journal.ledger.FORMAT", FORMAT + 1)
    Ledger(read_study("studies/old"), journal(here), {"git_commit": "abc"})
    with pytest.raises(UserError, match="was written by a newer harness"):
        Records(journal(here))


def test_new_journals_hold_names_and_configs(digits: Data, here: Path) -> None:
    study = read_study("studies/old", ["budget.trials=7"])
    path = here / "studies" / "old" / "new.log"
    ledger = Ledger(study, path, {"git_commit": "abc"}, {"group_size": None, "crew": "local", "threads": 1})
    trial = next(trial for trial in ledger.generation() if trial.config.kernel == 3)  # the others leave nothing of it
    [outcome] = [event for _, event in train([trial], digits) if isinstance(event, Outcome)]
    ledger.record(trial, outcome)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    [kept] = [e["user_attr"]["outcome"] for e in entries if "outcome" in e.get("user_attr", {})]
    assert kept["config"] == trial.config.record()
    assert set(kept["history"]) == {"number", "time", "train_loss", "train_accuracy", "val_loss", "val_accuracy"}
    assert {"val_loss", "val_accuracy"} <= set(kept["figures"])
