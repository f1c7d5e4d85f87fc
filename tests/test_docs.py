"""README.md and docs/: commands, studies and files, done as a newcomer would do them.

A block of `sh` is run line by line; one of `toml` or `python` that begins with `# studies/` is written there first.
Any other block of `toml` is a part of a study file, and is read with the rest of one. What cannot be run here (a
cluster, an hour of MNIST) is indented, and no block.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.study.file import read_study

from .conftest import ROOT, Done, clean_environment

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
REST = {
    "dataset": 'dataset = "digits"\n',
    "[compare": "\n[compare]\ndepth = [1, 2]\n",
    "[tune]": '\n[tune]\nlr = { low = 1e-3, high = 1e-1, log = true }\noptimizer = ["sgd", "adam"]\n',
}
"""What a part of a study file is read with, unless it says that itself."""
BESIDE = ("prices.csv", "arrays.npz", "tensors.pt", "mine.npz", "flowers/", "data.py", "net.py", "splits.csv")
"""Data that parts of study files name: it is looked for, not read."""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """Each line of its `sh` blocks, in words."""
    return [shlex.split(line) for block in blocks(text, "sh") for line in block.splitlines()]


def write_files(text: str, folder: Path) -> None:
    for block in (*blocks(text, "toml"), *blocks(text, "python")):
        if named := re.match(r"# (studies/\S+)\n", block):
            (folder / named[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / named[1]).write_text(block)


def test_make_is_the_first_command(tmp_path: Path, smoke: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "studies" / "smoke", tmp_path / "studies/smoke", ignore=shutil.ignore_patterns("journal*"))
    shutil.copy(smoke / "mlflow.db", tmp_path)  # making a new store takes seconds
    (tmp_path / ".venv" / "bin").mkdir(parents=True)  # a checkout whose environment is the one that runs the tests
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for stamp in ("made", "synced"):
        (tmp_path / ".venv" / stamp).touch()
    line = ["make", "study", "NAME=smoke", "ARGS=--trials 2 --searches 1 --seeds 3", f"RUN={sys.executable}"]
    done = subprocess.run(line, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    assert (tmp_path / "reports" / "smoke" / "plots" / "accuracy_vs_depth.png").exists()


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page.read_text())], ids=lambda page: page.stem)
def test_every_command_works_as_written(
    page: Path, tmp_path: Path, smoke: Path, command: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, where harness is imported already: `make study` is what the Makefile makes of it. The report at
    the end of a run is written for the README alone: it takes most of the time, and is tested where it is made.
    """
    if page.stem != "README":
        monkeypatch.setattr("harness.report.write", lambda findings, folder, second: folder)
    shutil.copytree(smoke, tmp_path, dirs_exist_ok=True)
    write_files(page.read_text(), tmp_path)
    for words in commands(page.read_text()):
        if words[:2] == ["make", "study"]:
            given = dict(word.split("=", 1) for word in words[2:])
            done = command("run", f"studies/{given['NAME']}", *shlex.split(given.get("ARGS", "")))
        elif words[:3] == [".venv/bin/python", "-m", "harness"]:
            done = command(*words[3:])
        else:
            line = [word.replace(".venv/bin/python", sys.executable) for word in words]
            subprocess.run(line, env=clean_environment(), check=True)
            continue
        assert done.returncode == 0, (words, done.stderr)
        assert done.stdout.strip(), words


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page.read_text(), "toml")], ids=lambda page: page.stem
)
def test_every_study_is_one(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    write_files(text, tmp_path)
    for number, block in enumerate(blocks(text, "toml")):
        if named := re.match(r"# (studies/\w+)/study.toml\n", block):
            read_study(Path(named[1]))
            continue
        folder = Path(f"studies/part{number}")
        folder.mkdir(parents=True)
        for name in BESIDE:
            (folder / name).mkdir() if name.endswith("/") else (folder / name).write_text(
                "def load():\n    return 1, 2\n"
            )
        head = REST["dataset"] if "dataset = " not in block else ""
        rest = "".join(part for key, part in REST.items() if key != "dataset" and key not in block)
        (folder / "study.toml").write_text(head + block + rest)
        read_study(folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_exist(page: Path) -> None:
    text = page.read_text()
    anchors = {
        re.sub(r"[^\w -]", "", line.lower()).strip().replace(" ", "-") for line in re.findall(r"^#+ (.*)", text, re.M)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith(("https://", "http://")):
            assert (page.parent / target.split("#")[0]).exists(), target


def test_every_page_is_in_the_readme() -> None:
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= set(re.findall(r"\]\(([^)]+)\)", README))
    assert len(README.split()) <= 900


def test_make_help_has_a_line_for_each_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = {line.split()[1] for line in done.stdout.splitlines()}
    assert targets >= {"study", "report", "ui", "test", "check", "lock", "clean"}


def test_every_option_of_run_is_explained(command: Callable[..., Done]) -> None:
    """docs/running.md has the command's options, and no others."""
    text = (ROOT / "docs" / "running.md").read_text()
    options = set(re.findall(r"^│ +(--[a-z-]+)", command("run", "--help").stdout, re.MULTILINE)) - {"--help"}
    assert len(options) > 10
    assert options <= set(re.findall(r"--[a-z-]+", text)), options - set(re.findall(r"--[a-z-]+", text))
