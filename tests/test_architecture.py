"""The rules of the house: who may know whom. See ARCHITECTURE.md."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .conftest import ROOT

PACKAGE = ROOT / "harness"
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def knows(path: Path, name: str) -> bool:
    return any(module == name or module.startswith(name + ".") for module in imports(path))


@pytest.mark.parametrize(
    ("library", "window"),
    [
        ("optuna", "journal"),
        ("mlflow", "tracking"),
        ("rich", "console"),
        ("matplotlib", "plots"),
        ("jinja2", "report"),
        ("ray", "crews"),
    ],
)
def test_each_library_has_one_window(library: str, window: str) -> None:
    rivals = PACKAGE / "bench" / "rivals.py"  # uses them as others do
    assert {room(path) for path in MODULES if knows(path, library) and path != rivals} == {window}


ORDER = [
    *(
        "errors",
        "masking",
        "catalogue",
        "config",
        "trial",
        "study",
        "parts",
        "environment",
        "training",
        "crews",
        "journal",
    ),
    *("analysis", "plots", "tracking", "console", "report", "run", "replay", "bench", "__main__"),
]
"""The rooms from the ground up: each knows only those before it."""


def test_training_knows_neither_study_nor_journal_nor_tracking() -> None:
    for path in MODULES:
        if room(path) in ("parts", "training", "crews"):
            for other in ("study", "journal", "tracking", "run", "report", "analysis", "plots", "console"):
                assert not knows(path, f"harness.{other}"), (path, other)


def test_nothing_flows_backwards() -> None:
    for path in MODULES:
        if room(path) == "__init__":
            continue
        later = ORDER[ORDER.index(room(path)) + 1 :]
        if room(path) == "report":
            later.remove("__main__")  # `python -m harness.report` is the command of that name
        for other in later:
            assert not knows(path, f"harness.{other}"), (path, other)


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("harness.__main__", {"torch", "mlflow", "optuna", "pandas", "matplotlib", "scipy", "pydantic"}),
        ("harness.study.file", {"torch", "mlflow", "optuna", "pandas", "matplotlib", "scipy"}),
        ("harness.report", {"torch", "mlflow"}),
        ("harness.tracking", {"torch", "mlflow", "optuna", "pandas", "matplotlib"}),
        ("harness.tracking.mlflow.store", {"torch", "optuna", "matplotlib"}),
        ("harness.training.loop", {"optuna", "mlflow", "matplotlib", "sklearn", "torchvision"}),
    ],
)
def test_heavy_imports_are_paid_for_by_those_who_need_them(module: str, forbidden: set[str]) -> None:
    script = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not forbidden & set(done.stdout.split())


def test_modules_stay_readable() -> None:
    for path in MODULES:
        assert path.read_text().count("\n") <= 300, path
        assert path.name != "utils.py"


def test_published_figures_stand_in_study_files_only() -> None:
    figures = set()
    for file in (ROOT / "studies").glob("*/study.toml"):
        published = tomllib.loads(file.read_text()).get("published", {})
        numbers = [number for figure in published.values() if isinstance(figure, list) for number in figure]
        figures |= {text for number in numbers if len(text := str(number).rstrip("0")) >= 6}  # 0.9223, 578.93
    assert len(figures) > 10
    code = "\n".join(path.read_text() for path in MODULES)
    assert not {figure for figure in figures if figure in code}
