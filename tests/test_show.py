"""`harness show`, `harness doctor`, `--version` and the shell's completion, on the finished smoke study."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import study_folders
from harness.doctor import unwritable
from harness.journal.records import Records

from .conftest import Done, clean_environment, harness
from .test_json import documented, keys

Command = Callable[..., Done]


@pytest.fixture
def there(smoke: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Records:
    monkeypatch.chdir(smoke)
    return Records(Path("studies/smoke/journal.log"))


def test_a_study(there: Records, command: Command) -> None:
    done = command("show", "studies/smoke")
    assert done.returncode == 0, done.stderr
    assert there.study.question in done.stdout
    assert "mean test accuracy" in done.stdout
    for name in ("depth=1", "depth=2", "depth=3"):
        assert f"  {name}" in done.stdout
    said = json.loads(command("show", "studies/smoke", "--json").stdout)
    assert said["progress"]["search"] == {"ended": 90, "of": 90}
    assert keys(said) - set(said["seen_at"]) <= documented()
    assert said["seen_at"]["journal"] == "studies/smoke/journal.log"


def test_a_value(there: Records, command: Command) -> None:
    done = command("show", "studies/smoke", "depth=3")
    assert done.stdout.startswith("depth=3 of smoke\n")
    assert "less depth=1" in done.stdout
    said = json.loads(command("show", "studies/smoke", "3", "--json").stdout)
    assert said["level"] == "depth=3"
    assert [one["search"] for one in said["winners"]] == [0, 1, 2]
    assert len(said["confirmations"]) == 3
    assert said["table"][0]["seeds"] == 3
    assert keys(said) - set(said["seen_at"]) <= documented()


def test_a_trial_with_its_epochs(there: Records, command: Command) -> None:
    [record] = [
        r for r in there.all if (r.trial.level, r.trial.search, r.trial.number, r.trial.stage) == (3, 1, 2, "search")
    ]
    assert record.outcome is not None
    done = command("show", "studies/smoke", "3", "--trial", "2", "--search", "1")
    assert done.stdout.startswith("depth=3 search 1 trial 2 of smoke\n")
    assert repr(record.trial.config.lr) in done.stdout  # in full
    assert "harness replay studies/smoke depth=3 --trial 2 --search 1" in done.stdout
    said = json.loads(command("show", "studies/smoke", "3", "--trial", "2", "--search", "1", "--json").stdout)
    assert said["hyperparameters"]["lr"] == record.trial.config.lr
    assert [epoch["figures"]["val_loss"] for epoch in said["history"]] == [
        e["val_loss"] for e in record.outcome.history
    ]
    assert keys(said) - set(said["seen_at"]) <= documented()


def test_a_seed(there: Records, command: Command) -> None:
    [first, *_] = [r for r in there.all if r.trial.level == 2 and r.trial.stage == "confirm"]
    by_place = command("show", "studies/smoke", "2", "--seed", "1", "--json").stdout
    assert by_place == command("show", "studies/smoke", "2", "--seed", str(first.trial.seed), "--json").stdout
    said = json.loads(by_place)
    assert first.outcome is not None
    assert said["figures"]["test_accuracy"] == first.outcome["test_accuracy"]
    assert "MLflow" in said["seen_at"]


MISTAKES = {
    "no level": (["4"], "no 4 in this study; it has depth=1, depth=2, depth=3"),
    "no trial": (["3", "--trial", "99"], "no trial 99 of depth=3 search 0, which has trials 0 to 9"),
    "both": (["3", "--trial", "1", "--seed", "1"], "give --trial or --seed, not both"),
    "no value": (["--seed", "1"], "which depth? Give one of depth=1, depth=2, depth=3"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line(case: str, there: Records, command: Command) -> None:
    arguments, message = MISTAKES[case]
    done = command("show", "studies/smoke", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


def test_a_study_file_that_lies_elsewhere(tmp_path: Path, command: Command) -> None:
    (tmp_path / "gelu.toml").write_text("")
    done = command("run", "gelu.toml")
    assert done.stderr == (
        "harness: gelu.toml: a study is a folder that holds a file study.toml: "
        "mkdir -p studies/gelu && mv gelu.toml studies/gelu/study.toml\n"
    )


def test_version_and_help(command: Command) -> None:
    assert command("--version").stdout.startswith("harness 0.")
    said = command("run", "--help").stdout
    assert "--fresh" in said
    assert not [line for line in said.splitlines() if "<bool>" in line and "--help" not in line]


def test_the_shell_completes_commands_studies_and_values(smoke: Path) -> None:
    def completed(words: str) -> set[str]:
        """What bash would be given: the words so far, and the place of the last one."""
        told = {"_HARNESS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        code = "import sys; sys.argv[0] = 'harness'; from harness.__main__ import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=smoke,
            env={**clean_environment(), **told},
            capture_output=True,
            text=True,
            check=False,
        )
        return set(done.stdout.split())

    assert {"run", "replay", "report"} <= completed("harness r")
    assert completed("harness show studies/s") == {"studies/smoke"}
    assert completed("harness show studies/smoke depth=") == {"depth=1", "depth=2", "depth=3"}


def test_a_study_is_completed_by_its_name_too(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    assert study_folders("smo") == ["studies/smoke"]
    assert study_folders("none") == []


def test_doctor(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = command("doctor")
    assert done.returncode == 0, done.stdout
    for word in ("torch 2.", "cores", "GiB free", "digits", "sqlite:///mlflow.db"):
        assert word in done.stdout
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:s3cretword@127.0.0.1:9/")
    monkeypatch.setenv("HARNESS_TOKEN", "another5ecret")
    done = command("doctor", "--json")
    assert done.returncode == 1
    known: list[dict[str, Any]] = json.loads(done.stdout)
    assert "no MLflow server answers there" in next(one["trouble"] for one in known if one["name"] == "runs")
    assert "s3cretword" not in done.stdout
    assert "another5ecret" not in done.stdout
    assert keys(known) <= documented()


def test_doctor_tells_what_cannot_be_written_to(tmp_path: Path) -> None:
    assert unwritable(tmp_path) == ""
    assert unwritable(tmp_path / "nowhere") == "cannot be written to: No such file or directory"


def test_without_a_terminal_no_line_is_padded(smoke: Path) -> None:
    done = harness("show", "studies/smoke", "3", "--seed", "1", cwd=smoke)
    facts, _, _ = done.stdout.partition("\n\n")
    assert not [line for line in facts.splitlines() if line.endswith(" ")]
