"""CONTRIBUTING.md's diffs: applied to a copy of the project they pass its checks and tests, and train."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from .conftest import ROOT, clean_environment

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
NEW = {"activation": "celu", "optimizer": "asgd", "dataset": "parity", "measure": "kappa", "crew": "patient"}
STUDY = """
dataset = "parity"
metric = "kappa"
[compare]
activation = ["celu", "relu"]
[fixed]
optimizer = "asgd"
lr = 0.3
width = 16
epochs = 12
[budget]
seeds = 2
"""


def apply(diff: str, project: Path) -> None:
    """Apply a diff: its lines that stay must stand in the file, together and once; those with a plus come in."""
    for file, body in re.findall(r"^--- a/\S+\n\+\+\+ b/(\S+)\n((?:[ +].*\n)+)", diff, re.MULTILINE):
        lines = body.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line.startswith(" "))
        old = (project / file).read_text()
        assert old.count(before) == 1, (file, before)
        (project / file).write_text(old.replace(before, "".join(line[1:] for line in lines)))


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with all the additions."""
    project = tmp_path_factory.mktemp("changed")
    for name in ("harness", "tests", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, project / name)
    diffs = re.findall(r"^```diff\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert len(diffs) == len(NEW)
    for diff in diffs:
        apply(diff, project)
    return project


def run(project: Path, *command: str) -> str:
    """Run a Python module in the copy, whose package then comes first; what it says."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env=clean_environment() | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_additions_are_clean(changed: Path) -> None:
    run(changed, "ruff", "check", ".")
    run(changed, "ruff", "format", "--check", ".")


@pytest.mark.soak
def test_the_additions_have_the_right_types(changed: Path) -> None:
    run(changed, "mypy")


def test_the_additions_pass_the_tests_that_are_derived_from_the_catalogue(changed: Path) -> None:
    files = [f"tests/test_{name}.py" for name in ("trial", "stack", "optim", "measures", "architecture")]
    wanted = "celu or asgd or kappa or every or one_window or nothing_flows"
    said = run(changed, "pytest", "-p", "no:cacheprovider", "-q", "-k", wanted, *files)
    assert int(re.findall(r"(\d+) passed", said)[0]) > 10 if "passed" in said else said.count(".") > 10


def test_a_study_of_the_additions_trains(changed: Path) -> None:
    folder = changed / "studies" / "new"
    folder.mkdir(parents=True)
    (folder / "study.toml").write_text(STUDY)
    run(changed, "harness", "run", "studies/new", "--crew", "patient", "--offline", "--quiet")
    table = pd.read_csv(changed / "reports" / "new" / "tables" / "compare.csv")
    assert table["activation"].tolist() == ["celu", "relu"]
    assert (table["test_kappa"] > 0.6).all()
    assert (table["val_kappa"] > 0.6).all()
    page = (changed / "reports" / "new" / "report.md").read_text()
    assert "kappa" in page
    parts = json.loads(run(changed, "harness", "parts", "--json"))
    assert set(NEW.items()) <= {(row["kind"], row["part"]) for row in parts}
