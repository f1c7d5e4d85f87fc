"""The wheel, installed as a user does: no checkout is near, and the command is `harness`."""

import shutil
import site
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from sklearn.datasets import load_iris

from .conftest import ROOT, clean_environment


def run(*words: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in clean_environment().items() if key != "PYTHONPATH"}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of an environment with the wheel in it; what it depends on is found where the tests have it."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "harness", folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder, cwd=folder)
    [wheel] = folder.glob("harness_studies-*.whl")
    shutil.rmtree(folder / "harness")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    [packages] = (folder / "venv" / "lib").glob("python*/site-packages")
    (packages / "rest.pth").write_text("\n".join(site.getsitepackages()))  # its own .pth files are not followed
    run(*pip, "--python", python, "install", "--no-deps", wheel, cwd=folder)
    return python.parent


def test_the_wheel_works_outside_of_a_checkout(bin_folder: Path, tmp_path: Path) -> None:
    load_iris(as_frame=True).frame.to_csv(tmp_path / "flowers.csv", index=False)
    harness = bin_folder / "harness"
    found = run(bin_folder / "python", "-c", "import harness; print(harness.__file__)", cwd=tmp_path)
    assert Path(found.strip()).is_relative_to(bin_folder.parent)
    run(harness, "new", "kinds", "--data", "flowers.csv", "--target", "target", cwd=tmp_path)
    small = ("--trials", "2", "--searches", "1", "--seeds", "3", "--epochs", "3", "--set", "compare.depth=[1,2]")
    said = run(harness, "run", "studies/kinds", *small, cwd=tmp_path)
    assert "reports/kinds/report.html" in said
    assert (tmp_path / "mlflow.db").exists()
    assert "data:image/" in (tmp_path / "reports" / "kinds" / "report.html").read_text()
    assert run(bin_folder / "python", "-m", "harness", "list", cwd=tmp_path).count("kinds") == 1


def test_every_package_is_in_the_wheel() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "harness").rglob("__init__.py")}
    assert set(packages) == there
