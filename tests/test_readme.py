"""The README's commands and its study, done as a newcomer would do them."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from .conftest import ROOT, clean_environment

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def project(folder: Path, smoke: Path) -> None:
    """A checkout whose environment is the one that runs the tests."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "studies" / "smoke", folder / "studies" / "smoke", ignore=shutil.ignore_patterns("journal*"))
    shutil.copy(smoke / "mlflow.db", folder)  # making a new store takes seconds
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for stamp in ("made", "synced"):
        (folder / ".venv" / stamp).touch()


def test_every_command_works_as_written(tmp_path: Path, smoke: Path) -> None:
    project(tmp_path, smoke)
    [study] = blocks("toml")
    [folder] = re.findall(r"Save it as `(studies/\w+)/study.toml`", README)
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "study.toml").write_text(study)
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) >= 3
    for command in commands:
        line = command.replace(".venv/bin/python", sys.executable)
        arguments = [*shlex.split(line), f"RUN={sys.executable}"] if line.startswith("make ") else shlex.split(line)
        done = subprocess.run(
            arguments, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        shows = {
            "list": "finished",
            "replay": "same: all figures",
            "power": "budget.searches = ",
            "new": "wrote studies/progress/study.toml",
            "-c": "",
        }
        assert next((text for word, text in shows.items() if f" {word}" in line), "report.html") in done.stdout
    assert (tmp_path / "reports" / "gelu" / "plots" / "accuracy_vs_activation.png").exists()


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_make_help_has_a_line_for_each_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = {line.split()[1] for line in done.stdout.splitlines()}
    assert targets >= {"study", "report", "ui", "test", "check", "lock", "clean"}


def test_options_in_the_readme_are_the_commands() -> None:
    text = (ROOT / "harness" / "__main__.py").read_text()
    for option in ("trials", "seeds", "epochs", "dataset", "device", "fresh", "quiet", "set"):
        assert f"--{option}" in README
        assert f'"--{option}"' in text or re.search(rf"^    {option}: ", text, re.MULTILINE)
