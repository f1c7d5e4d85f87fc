"""The rules of the house: who may know whom. See ARCHITECTURE.md."""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
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
        "programs",
        "telling",
        "processes",
        "catalogue",
        "figures",
        "config",
        "trial",
        "study",
        "kernels",
        "parts",
        "environment",
        "loading",
        "training",
        "checks",
        "crews",
        "journal",
    ),
    *(
        "analysis",
        "plots",
        "tracking",
        "doctor",
        "console",
        "alert",
        "events",
        "report",
        "watch",
        "new",
        "plan",
        "driver",
        "replay",
        "export",
        "interface",
        "bench",
        "__main__",
    ),
]
"""The rooms from the ground up: each knows only those before it."""


def test_training_knows_neither_study_nor_journal_nor_tracking() -> None:
    for path in MODULES:
        if room(path) in ("parts", "training", "crews"):
            for other in ("study", "journal", "tracking", "driver", "report", "analysis", "plots", "console"):
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
        ("harness.bench.stacks, harness.bench.gpu, harness.bench.gpu_page", {"mlflow", "optuna", "pydantic", "pandas"}),
        ("harness.training.loop", {"optuna", "mlflow", "matplotlib", "sklearn", "torchvision"}),
    ],
)
def test_heavy_imports_are_paid_for_by_those_who_need_them(module: str, forbidden: set[str]) -> None:
    script = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not forbidden & set(done.stdout.split())


SKIPPED = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}
BRANCHES = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.IfExp, ast.comprehension, ast.Assert, ast.match_case)
MOST_BRANCHES = 12
MOST_TOKENS, IN_STRAIGHT_LINES = 300, 650  # a picture is one long list of calls, and so are options and rivals
STRAIGHT = ("plots/", "bench/rivals.py", "__main__.py")
MEDIAN, P95 = 65, 250  # of tokens; equinox has 42 and 255, pluggy 43 and 188, optuna's core 51 and 346


@dataclass(frozen=True)
class Size:
    """How large a function is: tokens without comments and docstring, and paths through it."""

    where: str
    name: str
    tokens: int
    branches: int


def tokens_of(text: str) -> Iterator[tokenize.TokenInfo]:
    """Without comments and the like; a formatted string is one, as it was before Python 3.12."""
    within = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        within -= kind == "FSTRING_END"
        if not within and kind != "FSTRING_END" and token.type not in SKIPPED:
            yield token
        within += kind == "FSTRING_START"


def sizes() -> list[Size]:
    found = []
    for path in MODULES:
        text = path.read_text()
        lines = Counter(token.start[0] for token in tokens_of(text))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                size = sum(lines[line] for line in range(node.lineno, (node.end_lineno or 0) + 1))
                size -= ast.get_docstring(node) is not None
                inner = list(ast.walk(node))
                paths = 1 + sum(isinstance(one, BRANCHES) for one in inner)
                paths += sum(len(one.values) - 1 for one in inner if isinstance(one, ast.BoolOp))
                found.append(Size(str(path.relative_to(PACKAGE)), node.name, size, paths))
    return found


def test_functions_stay_readable() -> None:
    """A file may be as long as its one subject; a function may not."""
    known = sizes()
    assert [size for size in known if size.branches > MOST_BRANCHES] == []
    limits = {size: IN_STRAIGHT_LINES if size.where.startswith(STRAIGHT) else MOST_TOKENS for size in known}
    assert [size for size, limit in limits.items() if size.tokens > limit] == []
    tokens = sorted(size.tokens for size in known)
    assert tokens[len(tokens) // 2] <= MEDIAN
    assert tokens[int(0.95 * len(tokens))] <= P95
    assert not [path for path in MODULES if path.name == "utils.py"]


def test_one_name_means_one_class() -> None:
    names = Counter(
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_nothing_passes_the_type_checker_by() -> None:
    """Options travel as records: nothing of ours takes or hands on a dict of whatever there is."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.args.kwarg:
                assert path.name == "config.py", (path, node.name)  # a Config's values have the catalogue's types


def test_the_picture_of_the_rooms_is_that_of_the_imports() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / "rooms.py"], capture_output=True, text=True, check=True)
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert f"```mermaid\n{done.stdout}```" in text
    for name in ORDER:
        assert f"`{name}.py`" in text or f"`{name}/`" in text, name


def test_accuracy_is_one_measure_among_others() -> None:
    """Its name stands where it is measured, catalogued or read from old journals, and in the benchmark."""
    about_it = {"catalogue.py", "parts/measures.py", "parts/tasks.py", "trial.py"}
    for path in MODULES:
        place = str(path.relative_to(PACKAGE))
        if place not in about_it and not place.startswith("bench/"):
            code = "\n".join(line for line in path.read_text().splitlines())
            names = {
                n.value for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Constant) and isinstance(n.value, str)
            }
            assert not {name for name in names if re.fullmatch(r"(\w+_)?accuracy(_\w+)?", name)}, place


def test_published_figures_stand_in_study_files_only() -> None:
    figures = set()
    for file in (ROOT / "studies").glob("*/study.toml"):
        published = tomllib.loads(file.read_text()).get("published", {})
        tables = [published, *published.get("after", {}).values()]
        numbers = [number for one in tables for figure in one.values() if isinstance(figure, list) for number in figure]
        figures |= {text for number in numbers if len(text := str(number).rstrip("0")) >= 6}  # 0.9223, 578.93
    assert len(figures) > 10
    code = "\n".join(path.read_text() for path in MODULES)
    assert not {figure for figure in figures if figure in code}
