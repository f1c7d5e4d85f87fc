"""reports/soak.md: a row a test, the rows of tests that were not run again kept."""

import re
from pathlib import Path
from typing import Literal

import pytest

from . import soak
from .soak import Row, page, read_page


def report(
    name: str, outcome: Literal["passed", "failed", "skipped"], seen: str = "", counted: str = "", why: str = ""
) -> pytest.TestReport:
    told = [("seen", seen), ("counted", counted)] if seen else []
    place = ("tests/test_kill.py", 1, name)
    keywords: dict[str, Literal[1]] = {"soak": 1, name: 1}
    return pytest.TestReport(
        f"tests/test_kill.py::{name}",
        place,
        keywords,
        outcome,
        why or None,
        "call",
        user_properties=told,
        duration=61.4,
    )


def test_a_part_of_it_keeps_the_other_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "reports" / "soak.md"
    monkeypatch.setenv("HARNESS_SOAK_PAGE", str(place))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setattr(soak, "commit", lambda: "abc1234567")
    soak.pytest_runtest_logreport(report("test_kills[1]", "passed", "9 torn | off", "20 kills, 2 studies"))
    soak.pytest_runtest_logreport(report("test_kills[2]", "passed", "8 torn", "20 kills, 1 studies"))
    soak.pytest_runtest_logreport(report("test_bad_inputs[bytes]", "passed", "told", "10,000 bad inputs"))
    before = place.read_text()
    assert "In all: 10,000 bad inputs, 40 kills, 3 studies." in before
    assert "| kills[1] | passed | 9 torn / off | 20 kills, 2 studies | 61 |" in before
    assert re.search(r"^- abc1234567: Python 3.*torch .*cores, \d+ GB$", before, re.MULTILINE)
    monkeypatch.setattr(soak, "commit", lambda: "def1234567")
    soak.pytest_runtest_logreport(report("test_kills[2]", "failed", why="E  assert 1 == 0 in /home/ann/x.py"))
    after = place.read_text()
    assert "| kills[2] | failed | E assert 1 == 0 in … |  | 61 |" in after.replace("E  ", "E ")
    kept = [line for line in before.splitlines() if line.startswith(("| kills[1]", "| bad"))]
    assert set(kept) <= set(after.splitlines())
    assert "- abc1234567" in after
    assert "- def1234567" in after


def test_a_page_is_read_as_it_was_written() -> None:
    rows = {"a": Row("a", "passed", "1 of 2", "3 kills", "4", "2026-01-01", "abc")}
    assert read_page(page(rows, {"abc": "Python", "old": "gone"})) == (rows, {"abc": "Python"})
