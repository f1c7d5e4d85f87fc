import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from .conftest import ROOT, SMALL, Done, harness
from .test_datasets import needs_mnist

Write = Callable[[str], Path]
Command = Callable[..., Done]
BLOCKED = {"HARNESS_DATA_DIR": "/nonexistent", "HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


def test_help_lists_the_commands(tmp_path: Path) -> None:
    done = harness("--help", cwd=tmp_path)
    assert done.returncode == 0
    for command in ("run", "report", "ui"):
        assert f" {command} " in done.stdout
    assert "--fresh" in harness("run", "--help", cwd=tmp_path).stdout


MISTAKES = {
    "unknown study": (["run", "studies/mime"], "no such study"),
    "unknown key": (["run", "studies/mine", "--set", "widht=3"], "unknown key widht; did you mean width"),
    "unknown data set": (["run", "studies/mine", "--dataset", "mnits"], "got 'mnits'; did you mean mnist?"),
    "negative budget": (
        ["run", "studies/mine", "--trials", "-3"],
        "budget.trials: should be greater than or equal to 1",
    ),
    "a word for a number": (["run", "studies/mine", "--trials", "two"], "Invalid value for '--trials'"),
    "no study": (["run"], "Missing argument 'study'"),
    "unknown command": (["runn"], "No such command 'runn'. Did you mean 'run'?"),
    "a name alone": (["run", "mine"], "mine: no such study; did you mean studies/mine?"),
    "no such device": (["run", "studies/mine", "--device", "tpu"], "--device: must be auto, cpu or cuda, got 'tpu'"),
    "never ran": (["report", "studies/mine"], "never ran"),
    "no runs": (["ui"], "no runs here yet"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(case: str, write_study: Write, command: Command, tmp_path: Path) -> None:
    arguments, message = MISTAKES[case]
    write_study(SMALL)
    done = command(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["study.toml"]  # nothing half-made


def test_cuda_without_a_gpu(write_study: Write, command: Command) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    write_study(SMALL)
    done = command("run", "studies/mine", "--device", "cuda")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "torch sees no CUDA GPU" in done.stderr


def test_an_edited_study_is_refused_and_fresh_starts_anew(smoke: Path, command: Command, tmp_path: Path) -> None:
    shutil.copytree(smoke, tmp_path, dirs_exist_ok=True)
    done = command("run", "studies/smoke", "--epochs", "1")
    assert done.returncode == 2
    assert "fixed.epochs was 6, is 1" in done.stderr
    assert "--fresh" in done.stderr
    few = ["--epochs", "1", "--trials", "1", "--seeds", "1", "--offline"]
    done = command("run", "studies/smoke", "--fresh", *few)
    assert done.returncode == 0, done.stderr
    assert "journal.old1.log" in done.stdout
    assert (tmp_path / "studies" / "smoke" / "journal.old1.log").exists()


@needs_mnist
def test_data_sets_compared(write_study: Write, command: Command, tmp_path: Path) -> None:
    write_study(
        '[compare]\ndataset = ["digits", "mnist"]\n[tune]\nlr = [0.01, 0.02]\n[fixed]\nwidth = 8\nepochs = 1\n'
        "[budget]\ntrials = 2\nsearches = 1\nseeds = 2\n"
    )
    done = command("run", "studies/mine", "--offline")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "reports" / "mine" / "tables" / "compare.csv")
    assert table["dataset"].tolist() == ["digits", "mnist"]
    assert table["trials"].tolist() == table["seeds"].tolist() == [2, 2]
    assert table["parameters"].tolist() == [64 * 8 + 8 + 90, 784 * 8 + 8 + 90]
    assert "The data sets are digits and mnist" in (tmp_path / "reports" / "mine" / "report.md").read_text()


def test_without_files_and_network_it_runs_on_digits_and_says_so(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(
        ROOT / "studies" / "depth", tmp_path / "studies" / "depth", ignore=shutil.ignore_patterns("journal*")
    )
    few = ["--trials", "1", "--seeds", "2", "--epochs", "1", "--offline"]
    for name, value in {**BLOCKED, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    done = command("run", "studies/depth", *few)
    assert done.returncode == 0, done.stderr
    assert "NOT mnist" in done.stdout
    assert (tmp_path / "studies" / "depth" / "journal-digits.log").exists()
    assert not (tmp_path / "studies" / "depth" / "journal.log").exists()
    assert not (tmp_path / "reports" / "depth").exists()
    text = (tmp_path / "reports" / "depth-digits" / "report.md").read_text()
    assert "depth-digits, on digits (the study was written for mnist)" in text
    done = command("report", "studies/depth")
    assert "reports/depth-digits" in done.stdout
