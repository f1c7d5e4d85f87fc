"""`import harness`: what notebooks and scripts have of it, as docs/python.md and the docstrings say."""

import contextlib
import doctest
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import harness
from harness.driver import Driver
from harness.interface.sources import text_of
from harness.study.file import read_study
from harness.study.toml import parse, written

from .conftest import ROOT, SMALL, Done, clean_environment

SETTINGS: Any = {"trials": 2, "epochs": 3, "offline": True}
HIDDEN = 4
LIMIT: Any = object()  # nothing that a text could make


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, harness.Findings]]:
    """A small study of the digits, run by `harness.run`, and where."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "studies" / "mine").mkdir(parents=True)
    (folder / "studies" / "mine" / "study.toml").write_text(SMALL)
    with contextlib.chdir(folder):
        yield folder, harness.run("studies/mine", **SETTINGS, quiet=True)


def test_the_command_finds_the_same(
    ran: tuple[Path, harness.Findings], command: Callable[..., Done], tmp_path: Path
) -> None:
    folder, findings = ran
    (tmp_path / "studies" / "mine").mkdir(parents=True)
    (tmp_path / "studies" / "mine" / "study.toml").write_text(SMALL)
    done = command("run", "studies/mine", "--trials", "2", "--epochs", "3", "--offline", "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    mine = json.loads(json.dumps(findings.plain()))
    for row in (*told["table"], *mine["table"]):
        row.pop("seconds")  # figures are the same, and time is not
    assert {key: told[key] for key in ("table", "pairs", "answer", "flags")} == {
        key: mine[key] for key in ("table", "pairs", "answer", "flags")
    }
    one, two = (pd.read_csv(base / "reports/mine/tables/compare.csv") for base in (folder, tmp_path))
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), two.drop(columns="seconds"))


def test_it_goes_on_and_is_quiet(
    ran: tuple[Path, harness.Findings], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, findings = ran
    monkeypatch.chdir(folder)
    journal = (folder / "studies/mine/journal.log").read_bytes()
    again = harness.run("studies/mine", **SETTINGS, quiet=True)
    assert capfd.readouterr() == ("", "")
    assert again.table.equals(findings.table)
    before, after = (text.count(b'"outcome"') for text in (journal, (folder / "studies/mine/journal.log").read_bytes()))
    assert before == after > 0  # nothing was trained
    harness.run("studies/mine", **SETTINGS)
    told = capfd.readouterr()
    assert "report   reports/mine/report.html" in told.out
    assert " mine " in told.out  # the table's title
    assert harness.load("studies/mine").table.equals(findings.table)


def test_findings_show_themselves(ran: tuple[Path, harness.Findings], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, findings = ran
    monkeypatch.chdir(folder)
    assert isinstance(findings, harness.Findings)
    assert repr(findings) == f"Findings of mine: {findings.answer}"
    assert findings.page.is_file()
    assert findings.figures[:2] == ["accuracy_vs_depth", "learning_curves"]
    for name in ("", "accuracy", "accuracy_vs_depth"):
        figure: Any = findings.figure(name)
        assert figure.axes[0].get_xlabel() == "depth"
    assert figure._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(harness.UserError, match=r"figure: must be one of .*did you mean probabilities\?"):
        findings.figure("probability")
    html = findings._repr_html_()
    assert "data:image/png;base64," in html
    assert findings.answer in html
    assert html.count("<tr>") == 1 + len(findings.table)
    assert html.count("<li>") == len(findings.flags) > 0


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({"set": {"lrr": 0.1}}, ["--set", "lrr=0.1"]),
        ({"set": {"optimizer": "adm"}}, ["--set", "optimizer=adm"]),
        ({"epochs": 0}, ["--epochs", "0"]),
        ({"trials": -1}, ["--trials", "-1"]),
        ({"device": "gpu"}, ["--device", "gpu"]),
        ({"crew": "lokal"}, ["--crew", "lokal"]),
        ({"dataset": "minst"}, ["--dataset", "minst"]),
    ],
)
def test_a_mistake_is_told_in_the_commands_words(
    given: Any, options: list[str], command: Callable[..., Done], tmp_path: Path
) -> None:
    (tmp_path / "studies" / "mine").mkdir(parents=True)
    (tmp_path / "studies" / "mine" / "study.toml").write_text(SMALL)
    done = command("run", "studies/mine", *options)
    assert done.returncode == 2
    with pytest.raises(harness.UserError) as caught:
        harness.run("studies/mine", **given)
    assert done.stderr == f"harness: {caught.value}\n"


def test_numbers_that_the_commands_options_refuse(small: Any) -> None:
    for name in ("stack", "workers"):
        options: Any = {name: 0}
        with pytest.raises(harness.UserError, match=f"--{name}: must be at least 1, got 0"):
            harness.run("studies/mine", **options)


def test_a_program_keeps_its_signals_and_threads(
    ran: tuple[Path, harness.Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C stays the program's. A thread must not touch signals; elsewhere what `harness stop` sends ends a study."""
    monkeypatch.chdir(ran[0])
    during = []

    def look(line: str) -> None:
        during.append(signal.getsignal(signal.SIGINT))

    monkeypatch.setattr("builtins.print", look)
    before, failed = signal.getsignal(signal.SIGINT), list[Exception]()

    def work() -> None:
        try:
            harness.run("studies/mine", **SETTINGS)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failed == []
    assert set(during) == {before}

    def stopped(driver: Driver) -> None:
        look("")
        os.kill(os.getpid(), signal.SIGTERM)
        assert driver.stopping.asked
        raise KeyboardInterrupt

    monkeypatch.setattr(Driver, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        harness.run("studies/mine", **SETTINGS, quiet=True)
    assert set(during) == {before}
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


# Studies without a file


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return doubled(x) / 2


def doubled(x: Tensor) -> Tensor:
    return 2 * x


class Net(nn.Module):
    """Uses a module, a function and a class of this file, a constant, and names of torch."""

    def __init__(self, inputs: int, outputs: int, *, blocks: int = 1) -> None:
        super().__init__()
        parts = [nn.Sequential(nn.Linear(HIDDEN, HIDDEN), Scaled()) for _ in range(blocks)]
        self.layers = nn.Sequential(nn.Linear(inputs, HIDDEN), *parts, nn.Linear(HIDDEN, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(F.relu(self.layers(x)))


class Borrowing(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.limit = LIMIT


def study_of(**more: Any) -> harness.Study:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    given: Any = {
        "name": "own",
        "compare": {"blocks": [1, 2]},
        "tune": {"lr": {"low": 1e-3, "high": 1e-1, "log": True}},
        "fixed": {"epochs": 2},
        "budget": {"trials": 2, "searches": 1, "seeds": 2},
        "model": Net,
        "data": (x, (x[:, 0] > 0).astype(int)),
    }
    return harness.Study(**{**given, **more})


def test_a_study_of_a_class_and_arrays(
    tmp_path: Path, command: Callable[..., Done], capfd: pytest.CaptureFixture[str]
) -> None:
    """It is a folder as any other: it goes on, it is replayed, and what changed is refused and told."""
    findings = study_of().run(offline=True)
    told = capfd.readouterr().out
    assert re.search(r"^runs studies/own/net.py \(sha256 [0-9a-f]{12}\)$", told, re.MULTILINE)
    assert "at once, by torch.vmap" in told  # stacked
    assert findings.table["blocks"].tolist() == [1, 2]
    text = (tmp_path / "studies/own/net.py").read_text()
    assert [re.match(r"\S+ (\S+?)[(:]", part) for part in re.findall(r"^(?:class|def) .*", text, re.MULTILINE)]
    assert re.findall(r"^(?:class|def) (\w+)", text, re.MULTILINE) == ["doubled", "Scaled", "Net"]
    assert "HIDDEN = 4" in text
    assert "import torch.nn.functional as F" in text

    assert study_of().run(offline=True, quiet=True).table.equals(findings.table)
    assert study_of().load().answer == findings.answer
    done = command("replay", "studies/own", "blocks=2", "--seed", "1")
    assert done.returncode == 0, done.stderr
    with pytest.raises(harness.UserError, match="lr") as caught:
        study_of(tune={"lr": [0.1, 0.2]}).run(offline=True, quiet=True)
    assert "fresh" in str(caught.value)
    x, y = study_of().data
    with pytest.raises(harness.UserError, match=r"data.npz"):
        study_of(data=(2 * x, y)).run(offline=True, quiet=True)
    assert study_of(data=(2 * x, y)).run(offline=True, quiet=True, fresh=True).table["seeds"].tolist() == [2, 2]


def test_the_same_arguments_write_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = study_of()
    assert repr(study) == "Study own: compares blocks, in studies/own"
    folder = study.write()
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    assert set(before) == {"study.toml", "net.py", "data.npz"}
    assert study_of().write() == folder
    assert before == {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    assert read_study(folder).levels == (1, 2)


def test_what_others_wrote_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, net = Path("studies/own/study.toml"), Path("studies/own/net.py")
    file.parent.mkdir(parents=True)
    for name in ("study.toml", "net.py", "data.npz"):
        (file.parent / name).write_text("mine")
        with pytest.raises(harness.UserError, match=f"studies/own/{name}: is there, and not written by harness.Study"):
            study_of().write()
        (file.parent / name).unlink()
    study_of().write()
    for path in (file, net):
        text = path.read_text()
        path.write_text(f"{text}# edited\n")
        with pytest.raises(harness.UserError, match=f"{path}: was changed since harness.Study wrote it"):
            study_of(question="?").write()
        path.write_text(text)
    study_of(question="?").write()
    assert read_study(file.parent).question == "?"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a@b", "a\nb"])
def test_a_name_leads_nowhere_else(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(harness.UserError, match="name: must be that of a folder"):
        study_of(name=name).write()
    assert list(tmp_path.iterdir()) == []


def local_class() -> type:
    width = 3

    class Local(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.layer = nn.Linear(inputs, width)

    return Local


def classes_without_text() -> dict[str, type]:
    made: dict[str, Any] = {}
    exec("from torch import nn\nclass Typed(nn.Module):\n    def __init__(self, inputs, outputs): ...", made)
    return made


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Borrowing, "it uses LIMIT, a object"),
        (local_class(), "Local uses width, which is a local variable of a function"),
        (classes_without_text()["Typed"], "the source text of Typed cannot be read"),
    ],
)
def test_a_class_that_cannot_be_written_down(kind: type, why: str) -> None:
    way_out = "write the class with all that it needs into studies/own/net.py, and say model = 'net.py'"
    with pytest.raises(harness.UserError) as caught:
        text_of(kind, "studies/own/net.py")
    assert str(caught.value) == f"model: {kind.__name__} cannot be written to a file: {why}; {way_out}"


@pytest.mark.parametrize(
    ("data", "file"),
    [
        (([[1.0, 2.0], [3.0, 5.0]] * 20, ["a", "b"] * 20), "data.npz"),
        ((torch.arange(80.0).reshape(40, 2), torch.arange(40) % 2), "data.npz"),
        ((np.ones((9, 2)), np.arange(9) % 2, np.zeros((4, 2)), np.arange(4) % 2), "data.npz"),
        ((pd.DataFrame({"a": range(40), "b": ["u", "v"] * 20}), pd.Series([0.5, 1.5] * 20, name="price")), "data.csv"),
        ((pd.DataFrame({"a": range(40)}), [0.5, 1.5] * 20), "data.csv"),
    ],
)
def test_data_of_many_kinds(data: Any, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.loading import load_study

    monkeypatch.chdir(tmp_path)
    study = study_of(data=data, compare={"depth": [1, 2]}, model=None)
    folder = study.write()
    _, [(name, loaded)] = (lambda found: (found[0], found[1].items()))(
        load_study(read_study(folder), folder, torch.device("cpu"), lambda line: None)
    )
    assert name == file
    assert len(loaded.inputs) == len(data[0]) + (len(data[2]) if len(data) == 4 else 0)
    if file == "data.csv":
        assert loaded.target_names == (getattr(data[1], "name", "y"),)


def test_a_frame_and_its_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"a": [0.1, 1 / 3] * 20, "price": range(40)})
    folder = study_of(data=frame, target="price", compare={"depth": [1, 2]}, model="mlp", unit="EUR").write()
    assert pd.read_csv(folder / "data.csv").equals(frame)
    assert read_study(folder).source.target == ("price",)
    with pytest.raises(harness.UserError, match="x has a column 'price' already"):
        study_of(data=(frame, pd.Series(range(40), name="price"))).write()
    with pytest.raises(harness.UserError, match=r"data: must be the name of a data set.*got 3 values"):
        study_of(data=(1, 2, 3)).write()


def test_toml_that_is_written_is_read_back() -> None:
    table = {
        "question": 'Is "é\\" \t\x7f fine?',
        "compare": {"depth": range(1, 4), "odd key.": [True, 1e-05, 1e16, -3]},
        "tune": {"lr": {"low": np.float64(1e-4), "high": 0.1, "log": True, "when": {"optimizer": "sgd"}}},
        "arrays": {"of": np.arange(3)},
    }
    expected: Any = {**table, "arrays": {"of": [0, 1, 2]}}
    expected["compare"] = {"depth": [1, 2, 3], "odd key.": [True, 1e-05, 1e16, -3]}
    assert parse(written(table)) == expected
    with pytest.raises(
        harness.UserError, match=r"compare.depth: must be a text, number, truth, list or dict, got None"
    ):
        written({"compare": {"depth": [None]}})


# What it costs, and what is written about it


def python(*arguments: str, cwd: Path, **environment: str) -> str:
    given = {**clean_environment(), "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_it_takes_no_time(tmp_path: Path) -> None:
    script = "from time import perf_counter as now; start = now(); import harness; print(now() - start)"
    compiled = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    seconds = [float(python("-c", script, cwd=tmp_path, **compiled)) for _ in range(3)]
    assert min(seconds) < 0.2
    assert set(harness.__all__) <= set(dir(harness))
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'runs'"):
        harness.runs  # noqa: B018
    assert (ROOT / "harness" / "py.typed").is_file()


def test_loading_needs_neither_torch_nor_mlflow(smoke: Path) -> None:
    script = "import harness, sys; found = harness.load('studies/smoke'); print(found.answer, *sys.modules, sep='\\n')"
    known = python("-c", script, cwd=smoke).splitlines()
    assert "highest mean test accuracy" in known[0]
    assert not {"torch", "mlflow", "matplotlib"} & set(known)


@pytest.mark.parametrize(
    "module",
    ["harness.interface.running", "harness.interface.findings", "harness.interface.writing", "harness.study.toml"],
)
def test_docstrings_do_what_they_say(module: str, smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def test_every_block_of_the_page_runs(tmp_path: Path) -> None:
    """As a program that is written from top to bottom: classes are looked up in its text."""
    study = tmp_path / "studies" / "smoke"
    shutil.copytree(ROOT / "studies" / "smoke", study, ignore=shutil.ignore_patterns("journal*"))
    text = (ROOT / "docs" / "python.md").read_text()
    program = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    (tmp_path / "page.py").write_text(program)
    told = python("page.py", cwd=tmp_path)
    assert "highest mean test accuracy" in told
    assert "studies/smoke/study.toml: fixed.lr: should be greater than 0" in told
    assert (tmp_path / "digits.pdf").is_file()
    assert (tmp_path / "reports/products/report.html").is_file()
    columns = re.findall(r"^\| `([^|]+)` \|", text, re.MULTILINE)
    for name in re.findall(r"\w+(?=\W)", " ".join(columns).replace('("accuracy")', "")):
        assert hasattr(harness.Findings, name), name


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    as_kept = {cell.id: cell.get("outputs", []) for cell in notebook.cells}
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    for cell in notebook.cells:
        kinds = [output.output_type for output in cell.get("outputs", [])]
        assert kinds.count("error") == 0
        assert not [o for o in cell.get("outputs", []) if o.output_type == "stream" and o.name == "stderr"]
        assert {*kinds} == {output.output_type for output in as_kept[cell.id]}  # what is kept in it is what it shows
    ran, shown = notebook.cells[4], notebook.cells[6]
    [progress] = [output for output in ran.outputs if output.output_type == "display_data"]
    assert "20/20" in progress.data["text/html"]
    assert "data:image/png" in shown.outputs[0].data["text/html"]
    assert (tmp_path / "reports" / "moons" / "report.html").is_file()
