"""What several test files share: a finished smoke study, and ways to make trials and studies."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import pytest
import torch
from filelock import FileLock

from harness.__main__ import app, one_line
from harness.config import Config
from harness.journal.lines import sealed
from harness.parts.data import Data, load
from harness.study.file import read_study
from harness.study.study import Study
from harness.trial import Trial

from .soak import pytest_runtest_logreport  # noqa: F401 - pytest looks for it here

ROOT = Path(__file__).parent.parent
LONG = [
    *("tracking", "interface", "cluster", "pictures", "docs", "server", "report", "stop", "kill"),
    *("contributing", "bench", "cli", "findings", "security", "train", "schedule"),
]
"""The test files that take longest, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several test processes each takes the next file: the longest first, so that they end together."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        places = {f"test_{name}.py": place for place, name in enumerate(LONG)}
        items.sort(key=lambda item: places.get(item.path.name, len(places)))


def harness(
    *arguments: str, cwd: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does; what it says of what it is doing now is left out."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=cwd,
        env={**clean_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    done.stderr = without_doing(done.stderr)
    return done


def without_doing(said: str) -> str:
    """What a log has on standard error, without what was being done: such lines have a time."""
    return re.sub(r"^\d\d:\d\d:\d\d  .*\n", "", said, flags=re.MULTILINE)


def begun(
    *arguments: str, cwd: Path, environment: Mapping[str, str] = MappingProxyType({}), **how: Any
) -> subprocess.Popen[str]:
    """The command as a user runs it, which goes on while the test does; `how` is Popen's, instead of two pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments],
        cwd=cwd,
        env={**clean_environment(), **environment},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how},
    )


@dataclass(frozen=True)
class Done:
    """What a command said and returned."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command as a user runs it in `tmp_path`, but in this process: torch and MLflow are imported already."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: str) -> Done:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        code = one_line(app, list(arguments))
        said = capfd.readouterr()
        return Done(code, said.out, without_doing(said.err))

    return run


def clean_environment() -> dict[str, str]:
    """Without what would point at other runs, and what a `make test` hands down to a `make` in a test."""
    dropped = ("MLFLOW_TRACKING_URI", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "ARGS", "NAME")
    return {key: value for key, value in os.environ.items() if key not in dropped}


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the smoke study has been run to its end: once for all test processes, each of which has a copy."""
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made"
    with FileLock(f"{made}.lock"):
        if not (made / "reports").exists():
            shutil.rmtree(made, ignore_errors=True)  # what another test process failed to make
            study = made / "studies" / "smoke"
            shutil.copytree(ROOT / "studies" / "smoke", study, ignore=shutil.ignore_patterns("journal*"))
            done = harness("run", "studies/smoke", cwd=made)
            assert done.returncode == 0, done.stderr
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("smoke"), dirs_exist_ok=True))


class Tell(Protocol):
    """See the fixture `tell`."""

    def __call__(self, seen: str, **counted: int) -> None: ...


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Put what a soak saw, in words and counted by unit, into reports/soak.md and onto the screen."""

    def put(seen: str, **counted: int) -> None:
        record_property("seen", seen)
        record_property(
            "counted", ", ".join(f"{number:,} {unit.replace('_', ' ')}" for unit, number in counted.items())
        )
        print(f"\n{seen}")

    return put


@pytest.fixture(scope="session")
def digits() -> Data:
    return load("digits", "cpu")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def data(request: pytest.FixtureRequest) -> Data:
    """The digits on each device that this machine has."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU on this machine")
    return load("digits", request.param)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models run no faster on more threads, and one thread adds in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _one_draws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where test processes share the cores a second process that draws is only in the way: a second for each report."""
    if "PYTEST_XDIST_WORKER" in os.environ and request.path.name != "test_pictures.py":
        monkeypatch.setattr("harness.plots.pictures._cores", lambda: 1)


def resealed(text: str) -> list[bytes]:
    """The lines of a journal that somebody has edited and given the numbers and checksums of its own."""
    return [sealed(json.loads(line), number) for number, line in enumerate(map(unsealed, text.splitlines()), start=1)]


def unsealed(line: str) -> str:
    """A line as it was before format 4."""
    log = {key: value for key, value in json.loads(line).items() if key not in ("number", "crc32")}
    return json.dumps(log, separators=(",", ":"))


def make_trial(number: int = 0, seed: int = 1, stage: Any = "search", level: Any = 2, **config: Any) -> Trial:
    return Trial(level, stage, number, seed, Config(**{"dataset": "digits", "width": 16, "epochs": 3, **config}))


@pytest.fixture
def write_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a study file; its folder, which lies below the current one, as every study must."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "mine") -> Path:
        folder = tmp_path / "studies" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.toml").write_text(text)
        return folder

    return write


SMALL = """
dataset = "digits"
[compare]
depth = [1, 2]
[tune]
lr = { low = 1e-3, high = 1e-1, log = true }
optimizer = ["sgd", "adam"]
momentum = { low = 0.0, high = 0.9, when = { optimizer = "sgd" } }
[fixed]
width = 8
epochs = 4
patience = 2
[budget]
trials = 6
searches = 1
seeds = 2
[search]
generation = 3
"""


@pytest.fixture
def small(write_study: Callable[[str], Path]) -> Study:
    return read_study(write_study(SMALL))
