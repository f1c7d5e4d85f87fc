"""A run trained again from its record: the same figures, or by how much they differ; and nothing is written."""

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from mlflow import MlflowClient

from harness import environment
from harness.__main__ import app, one_line
from harness.catalogue import show
from harness.console import Progress
from harness.crews.how import How
from harness.crews.local import Local
from harness.driver import Driver
from harness.journal import Ledger, hold
from harness.journal.choose import spans
from harness.journal.records import Circumstances, Records
from harness.parts.data import Data
from harness.replay import Wanted, choose, compare, group_of, verdict
from harness.study.file import read_study
from harness.study.study import Study
from harness.trial import Epoch, Outcome, Trial

from .conftest import SMALL, harness, make_trial, resealed
from .test_search import figures

Write = Callable[[str], Path]
Files = dict[str, tuple[int, bytes]]


@pytest.fixture
def here(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder where the smoke study has run, as the working directory."""
    folder = tmp_path / "here"
    shutil.copytree(smoke, folder, ignore=shutil.ignore_patterns("mlartifacts", "mlruns", "reports"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db"
    )  # MLflow keeps what it has opened by name
    return folder


@pytest.fixture(scope="module")
def records(smoke: Path) -> Records:
    return Records(smoke / "studies" / "smoke" / "journal.log")


def replay(*arguments: str) -> int:
    """The command, in this process; its exit code."""
    return one_line(app, ["replay", "studies/smoke", *arguments])


def files(folder: Path) -> Files:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def edit_journal(folder: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change every entry's attributes in a copy of a journal."""
    journal = folder / "studies" / "smoke" / "journal.log"
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    for entry in entries:
        change(entry.get("user_attr") or entry.get("user_attrs") or {})
    journal.write_bytes(b"".join(resealed("\n".join(map(json.dumps, entries)))))


def name_of(records: Records, trial: Trial) -> list[str]:
    """How the command is told of a trial."""
    number = (
        ["--trial", str(trial.number), "--search", str(trial.search)]
        if trial.stage == "search"
        else ["--seed", str(trial.seed)]
    )
    return [records.study.level_name(trial.level), *number]


def train_study(study: Study, folder: Path, data: Data) -> list[list[Trial]]:
    """Run a study as `harness run` does, without MLflow; what the driver had at work together."""
    together = []

    class Watched(Driver):
        def train(self, trials: list[Trial]) -> None:
            together.append(trials)
            super().train(trials)

    facts = environment.describe([data], data.inputs.device)
    journal = folder / study.journal
    with hold(journal), Progress(study, quiet=True) as progress:
        known = {"digits": data}
        Watched(Ledger(study, journal, facts), MagicMock(), progress, known, Local(known, How())).run()
    return together


def test_in_its_stack_every_kind_of_run_is_equal_to_the_last_bit(
    here: Path, records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    pruned = [r for r in records.all if r.outcome and r.outcome.status == "pruned"][:2]
    finished = [r for r in records.all if r.outcome and r.outcome.status == "finished" and r.trial.stage == "search"]
    seeds = [r for r in records.all if r.trial.stage == "confirm" and r.trial.search == 1]
    assert pruned
    before, together = files(here), False
    for record in [*pruned, *finished[:2], *seeds]:
        assert replay(*name_of(records, record.trial), "--stack", "--tolerance", "0") == 0
        said = capsys.readouterr().out
        assert "same: all figures are equal to the last bit" in said
        assert record.outcome is not None
        assert record.outcome.status in said
        assert f"{record.outcome.parameters}" in said
        together |= "in a stack of " in said
    assert together
    assert files(here) == before  # nothing is written anywhere


def test_alone_it_is_the_same_within_the_tolerance_also_while_the_study_runs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with hold(here / "studies" / "smoke" / "journal.log"):
        assert replay("3", "--seed", "1") == 0
    said = capsys.readouterr().out
    assert re.search(r"depth=3 seed \d+ again, alone", said)
    assert "same: all figures" in said


def test_the_command_as_a_user_gives_it(here: Path) -> None:
    done = harness("replay", "studies/smoke", "depth=2", "--seed", "2", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    assert "code, versions, machine and data are as recorded" in done.stdout
    for figure in ("test_accuracy", "val_loss", "confusion", "untrained_accuracy", "train_accuracy, each epoch"):
        assert figure in done.stdout


def test_an_edited_figure_is_named(here: Path, records: Records, capsys: pytest.CaptureFixture[str]) -> None:
    [_, record, _] = [r for r in records.all if r.trial.level == 2 and r.trial.stage == "confirm"]

    def edit(attributes: dict[str, object]) -> None:
        outcome = attributes.get("outcome")
        if isinstance(outcome, dict) and record.outcome and outcome["ended"] == record.outcome.ended:
            outcome["figures"]["test_accuracy"] += 0.25
            outcome["history"]["val_loss"][3] *= 1.5
            outcome["confusion"][0][0] -= 2
            outcome["confusion"][0][1] += 2

    edit_journal(here, edit)
    assert replay("2", "--seed", "2") == 1
    said = capsys.readouterr().out
    last = said.splitlines()[-1]
    assert "test_accuracy by 0.25" in last
    assert "val_loss, epoch 4 by 0.33 (first beyond it: epoch 4)" in last
    assert "confusion, 2 moved" in last
    assert "test_loss" not in last
    assert replay("2", "--seed", "2", "--tolerance", "0.4") == 0


def test_what_differs_around_the_run_is_told(
    write_study: Write, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {"torch": "1.0.0", "data_sha256": "0" * 64, "git_commit": "f" * 40, "git_dirty": "yes", "cuda": "13.0"}

    def edit(attributes: dict[str, object]) -> None:
        if isinstance(known := attributes.get("environment"), dict):
            known.update(changed)

    edit_journal(here, edit)
    file = here / "studies" / "smoke" / "study.toml"
    file.write_text(file.read_text().replace("epochs = 6", "epochs = 7"))
    assert replay("1", "--trial", "0") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "OTHER DATA: the data of digits is not that of then (sha256 000000000000, now " in said
    assert "torch 1.0.0 then, " in said
    assert "code: commit ffffffffffff then, " in said or f"code: commit {'f' * 40} then, not in a git" in said
    assert "code: with uncommitted changes then" in said
    assert "another kind of device" in said
    assert "the study file says otherwise than the record, which counts: fixed.epochs was 6, is 7" in said
    assert "as recorded" not in said


MISTAKES = {
    "no level": (["--seed", "1"], "which depth? Give one of depth=1, depth=2, depth=3"),
    "no such level": (["depth=4", "--seed", "1"], "no depth=4 in this study; it has depth=1, depth=2, depth=3"),
    "another axis": (["width=3", "--seed", "1"], "no width=3 in this study"),
    "no run": (["3"], "Give one of --seed, --trial and --run"),
    "two runs": (["3", "--seed", "1", "--trial", "1"], "Give one of --seed, --trial and --run"),
    "no such seed": (["3", "--seed", "0"], "no seed 0 of depth=3, which has seeds "),
    "no such trial": (["3", "--trial", "10"], "no trial 10 of depth=3 search 0, which has trials 0 to 9"),
    "a level beside a run": (["3", "--run", "abc"], "--run names the run already; leave out 3"),
    "no such MLflow run": (["--run", "f" * 32], "has no such run"),
    "a negative tolerance": (["3", "--seed", "1", "--tolerance", "-1"], "Invalid value for '--tolerance'"),
    "no such device": (["3", "--seed", "1", "--device", "tpu"], "must be auto, cpu or cuda, got 'tpu'"),
    "never ran on it": (["3", "--seed", "1", "--dataset", "mnist"], "never ran"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line(
    case: str, smoke: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = MISTAKES[case]
    monkeypatch.chdir(smoke)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{smoke}/mlflow.db")
    assert replay(*arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert (said.err.count("\n"), said.out) == (1, "")


def test_by_the_id_of_its_mlflow_run(here: Path, records: Records, capsys: pytest.CaptureFixture[str]) -> None:
    client = MlflowClient(f"sqlite:///{here}/mlflow.db")
    experiment = client.get_experiment_by_name("smoke")
    assert experiment is not None
    runs = {run.info.run_name: run.info.run_id for run in client.search_runs([experiment.experiment_id])}
    before = files(here)
    seed = max(record.trial.seed for record in records.all if record.trial.stage == "confirm")
    for name in (f"depth=2 seed {seed}", "depth=1 search 2 trial 4"):
        assert replay("--run", runs[name]) == 0
        assert f"{name} again" in capsys.readouterr().out
    assert files(here) == before
    for name in ("smoke", "depth=1"):
        assert replay("--run", runs[name]) == 2
        assert f"{name} is the run of a whole study or value" in capsys.readouterr().err
    strange = client.create_run(experiment.experiment_id, tags={"journal": "another", "key": "1/search/0"})
    assert replay("--run", strange.info.run_id) == 2
    assert "is not in this journal" in capsys.readouterr().err
    foreign = client.create_run(experiment.experiment_id)
    assert replay("--run", foreign.info.run_id) == 2
    assert "is no run of harness" in capsys.readouterr().err
    (here / "mlflow.db").unlink()
    assert replay("--run", runs["smoke"]) == 2
    assert "no runs here" in capsys.readouterr().err
    assert not (here / "mlflow.db").exists()


ILL = {
    "diverged": 'model = "mlp"\n[compare]\nlr = [1e30]\n[fixed]\noptimizer = "sgd"\nwidth = 8\nepochs = 4\n',
    "failed": 'model = "cnn"\n[compare]\nchannels = [[2, 2, 2, 2]]\n[fixed]\nepochs = 2\n',
}


@pytest.mark.parametrize("status", ILL)
def test_what_went_wrong_goes_wrong_again(
    status: str,
    write_study: Write,
    digits: Data,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # no line of the table is broken
    folder = write_study(f'dataset = "digits"\n{ILL[status]}[budget]\nseeds = 2\nfailures = 1.0\n')
    train_study(read_study(folder), folder, digits)
    again = ["replay", str(folder), "--seed", "1", "--tolerance", "0"]  # the only value need not be named
    assert one_line(app, again) == 0
    said = capsys.readouterr().out
    assert f"{status} " in said
    if status == "failed":
        assert "leave of 8x8" in said
        journal = folder / "journal.log"
        journal.write_bytes(b"".join(resealed(journal.read_text().replace("leave of 8x8", "leave of 9x9"))))
        assert one_line(app, again) == 1
        assert "reason" in capsys.readouterr().out.splitlines()[-1]


def test_a_study_that_grew(write_study: Write, digits: Data, capsys: pytest.CaptureFixture[str]) -> None:
    """Company, budget and winner are those of the time when a run was trained."""
    folder = write_study(SMALL.replace("epochs = 4", "epochs = 1").replace("trials = 6", "trials = 2") + "seed = 3\n")
    then = read_study(folder).budget
    first = train_study(read_study(folder), folder, digits)
    second = train_study(read_study(folder, ["budget.trials=7", "budget.seeds=3"]), folder, digits)
    records = Records(folder / "journal.log")
    for record in records.all:
        rounds = [trials for trials in (*first, *second) if record.trial in trials]
        assert records.company(record) == rounds[0]  # later it was recorded already
        assert records.then(record).budget == (then if rounds[0] in first else records.study.budget)
    earlier = [record for record in records.all if not record.current]
    assert {record.trial.stage for record in earlier} == {"confirm"}
    assert {record.trial for record in earlier} <= {trial for trials in first for trial in trials}
    for record in earlier:
        wanted = Wanted(show(record.trial.level), seed=record.trial.seed)
        assert choose(records, wanted)[0].winner != record.winner  # a seed's number means the present winner's
    assert one_line(app, ["replay", str(folder), "2", "--seed", "3", "--stack", "--tolerance", "0"]) == 0
    assert "the study file says" not in capsys.readouterr().out  # more trials and seeds are no other study


def test_groups_as_the_driver_made_them(digits: Data) -> None:
    trials = [make_trial(number) for number in range(6)]
    for then, expected in (
        (Circumstances(), (trials, False)),
        (Circumstances(group_size=2), (trials[4:], True)),
        (Circumstances(group_size=1), ([trials[4]], False)),
        (Circumstances(crew="ray"), (trials, True)),
    ):
        assert group_of(trials[4], trials, digits, then) == expected


@pytest.mark.parametrize(
    ("command", "size", "crew"),
    [
        ("", None, "local"),
        (" --stack 2", 2, "local"),
        (" --stack=1 --ray auto", 1, "ray"),
        (" --workers 3", None, "ray"),
    ],
)
def test_in_format_1_the_command_says_how_it_was_run(
    command: str, size: int | None, crew: str, here: Path, records: Records
) -> None:
    def edit(attributes: dict[str, object]) -> None:
        if "how" in attributes:
            attributes["something else"] = attributes.pop("how")
        if isinstance(known := attributes.get("environment"), dict):
            known["command"] = f"harness run studies/smoke{command}"

    edit_journal(here, edit)
    then = Records(here / "studies" / "smoke" / "journal.log").then(records.all[0])
    assert (then.group_size, then.crew, then.threads) == (size, crew, None)


def test_how_a_study_is_run_is_kept(here: Path, records: Records) -> None:
    then = records.then(records.all[0])
    assert (then.group_size, then.crew) == (None, "local")
    assert then.threads is not None


def made(**changes: object) -> Outcome:
    """An outcome with some figures, or fields, that are other."""
    history = (Epoch(1, figures(2.0, 0.5, 1.0, 0.5), 0.0), Epoch(2, figures(1.0, 0.75, 0.5, 0.75), 0.0))
    known = figures(1.0, 0.75, 0.5, 0.75)
    other = {name: value for name, value in changes.items() if "_" in name and name != "best_epoch"}
    plain = Outcome("finished", "epoch limit 2", 1.0, 2.0, 3.0, 10, 2, {**known, **other}, history=history)  # type: ignore[dict-item]
    return replace(plain, **{name: value for name, value in changes.items() if name not in other})  # type: ignore[arg-type]


def test_comparison() -> None:
    same = list(compare(made(), made(started=5.0, seconds=9.0), 0.0))
    assert verdict(same, 0.0) == "same: all figures are equal to the last bit"
    assert not any(figure.beyond for figure in same)
    assert "test_loss" not in {figure.name for figure in same}  # a search trial has none
    changes: list[tuple[dict[str, object], str, float]] = [
        ({"val_loss": 0.55}, "val_loss", 0.1),  # relative
        ({"val_accuracy": 0.65}, "val_accuracy", 0.1),  # absolute
        ({"best_epoch": 1}, "best_epoch", 1),
        ({"status": "pruned"}, "status", math.inf),
        ({"val_loss": math.nan}, "val_loss", math.inf),
        ({"test_accuracy": 0.5}, "test_accuracy", math.inf),
        ({"history": made().history[:1]}, "epochs", 1),
    ]
    for change, name, gap in changes:
        [beyond] = [figure for figure in compare(made(), made(**change), 0.01) if figure.beyond]
        assert beyond.name == name
        assert beyond.difference == pytest.approx(gap)
    within = list(compare(made(), made(val_loss=0.5001), 1e-3))
    assert "within 0.001; the largest difference is 0.0002" in verdict(within, 1e-3)


def test_infinite_figures_are_one_to_a_journal() -> None:
    history = (Epoch(1, figures(math.inf, 0.1, math.nan, 0.1), 0.0),)
    then = Outcome.from_record(made(status="diverged", val_loss=math.inf, history=history).record())
    assert not any(
        figure.beyond for figure in compare(then, made(status="diverged", val_loss=-math.inf, history=history), 0.0)
    )


def test_numbers_as_people_write_them() -> None:
    assert spans([1, 2, 3, 7]) == "1 to 3, 7"
    assert spans([4]) == "4"
