"""What programs are told by `--json`: nothing but JSON on standard output, and the keys that docs/json.md has."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.plain import value_of
from harness.catalogue import figure_names

from .conftest import ROOT, SMALL, Done, harness

Command = Callable[..., Done]
FREE = ("figures", "hyperparameters", "power", "cheapest", "table", "pairs", "effects", "published", "differences")
"""Keys whose own keys depend on the study: names of figures, hyperparameters, columns."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], str]:
    """A small study that was run by `--json`, in a process of its own: its folder, its events, and stderr."""
    folder = tmp_path_factory.mktemp("json")
    study = folder / "studies" / "mine"
    study.mkdir(parents=True)
    (study / "study.toml").write_text(SMALL)
    done = harness("run", "studies/mine", "--offline", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture
def there(told: Any, monkeypatch: pytest.MonkeyPatch, command: Command) -> Path:
    monkeypatch.chdir(told[0])
    return Path(told[0])


def documented() -> set[str]:
    """Every key that the page names."""
    page = (ROOT / "docs" / "json.md").read_text()
    return set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))


def keys(value: Any) -> set[str]:
    """Every key anywhere in it, but for those that depend on the study."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(keys(inner) for key, inner in value.items() if key not in FREE))


def test_a_study_is_told_event_by_event(told: tuple[Path, list[dict[str, Any]], str]) -> None:
    _, events, stderr = told
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("begun", "finished")
    assert (kinds.count("trial"), kinds.count("confirmation"), kinds.count("generation")) == (12, 4, 3)
    assert events[0]["left"] == {"search": 12, "confirm": 4}
    assert events[0]["seconds_left"] > 0
    trial = next(event for event in events if event["event"] == "trial")
    assert set(trial["hyperparameters"]) >= {"depth", "lr", "optimizer", "width"}
    assert trial["figures"]["val_accuracy"] <= 1
    assert not trial["earlier"]
    assert events[-1]["answer"].startswith("depth=")
    assert events[-1]["best"] in events[-1]["levels"]
    assert events[-1]["progress"]["confirm"] == {"ended": 4, "of": 4}
    assert keys(events) <= documented()
    assert "journal  studies/mine/journal.log" in stderr  # what people are told


def test_again_it_tells_what_it_had(told: Any, there: Path, command: Command) -> None:
    done = command("run", "studies/mine", "--offline", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["begun", *["trial"] * 12, *["confirmation"] * 4, "finished"]
    assert all(event["earlier"] for event in events[1:-1])
    assert (events[0]["left"], events[0]["seconds_left"]) == ({"search": 0, "confirm": 0}, 0)
    assert {key: value for key, value in events[-1].items() if key != "time"} == {
        key: value for key, value in told[1][-1].items() if key != "time"
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "studies/mine"],
        ["list"],
        ["replay", "studies/mine", "1", "--trial", "0"],
        ["parts", "optimizer"],
        ["run", "studies/mine", "--dry-run"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_each_command_tells_json_alone(arguments: list[str], there: Path, command: Command) -> None:
    done = command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout, parse_constant=pytest.fail)  # no NaN
    assert keys(said) <= documented()


def test_the_report_says_what_the_run_said(told: Any, there: Path, command: Command) -> None:
    said = json.loads(command("report", "studies/mine", "--json").stdout)
    assert said == {key: value for key, value in told[1][-1].items() if key not in ("event", "time")}
    [row, _] = said["table"]
    assert row["level"] == "depth=1"
    assert row["depth"] == 1
    assert row["published_test_accuracy"] is None  # nothing was: no NaN in JSON
    assert (Path(there) / said["page"]).is_file()
    assert {name for name in row if name in figure_names()} >= {"test_accuracy", "train_loss"}


def test_studies_compared(there: Path, command: Command) -> None:
    other = Path("studies/other")
    other.mkdir()
    (other / "study.toml").write_text(SMALL.replace("[tune]\n", "[tune]\nactivation = ['relu', 'gelu']\n"))
    assert command("run", "studies/other", "--offline", "--trials", "2", "--seeds", "3", "--json").returncode == 0
    done = command("compare", "studies/mine", "studies/other", "--json")
    shutil.rmtree(other)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout, parse_constant=pytest.fail)
    assert [one["study"] for one in said["studies"]] == ["mine", "other"]
    assert len(said["table"]) == 4
    assert keys(said) <= documented()


MISTAKES = {
    "no study": ["run", "studies/nine"],
    "usage": ["report"],
    "bad value": ["power", "studies/mine", "--difference", "x"],
    "too little": ["power", "studies/mine"],
}


@pytest.mark.parametrize("case", MISTAKES)
def test_an_error_is_told_to_both(case: str, there: Path, command: Command) -> None:
    done = command(*MISTAKES[case], "--json")
    assert done.returncode == 2
    said = json.loads(done.stdout)
    assert (said["event"], said["exit_code"]) == ("error", 2)
    assert done.stderr == f"harness: {said['message']}\n"
    assert set(said) <= documented()


def test_what_others_print_goes_to_people(write_study: Callable[[str], Path], command: Command) -> None:
    folder = write_study(
        'dataset = "data.py"\n[compare]\ndepth = [1]\n[fixed]\nwidth = 4\nepochs = 1\n[budget]\nseeds = 1\n'
    )
    (folder / "data.py").write_text(
        "import os\nimport numpy as np\n\ndef load():\n    print('loading')\n    os.system('echo shell')\n"
        "    x = np.random.default_rng(0).normal(size=(60, 3))\n    return x, (x[:, 0] > 0).astype(int)\n"
    )
    done = command("run", "studies/mine", "--offline", "--json")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()][-1] == "finished"
    assert "loading" in done.stderr
    assert "shell" in done.stderr


def test_whatever_is_not_finite_is_null() -> None:
    import numpy as np
    import pandas as pd

    known = {"a": (1, float("nan")), "b": [np.float64("inf"), pd.NA], "c": np.int64(3), "d": True}
    assert value_of(known) == {"a": [1, None], "b": [None, None], "c": 3, "d": True}
