"""`make soak` writes reports/soak.md: what each long test saw, when, with which code and on what kind of machine.

    tell("90 trials, none lost", trials=90)     # the fixture, in a test marked `soak`

A run of some of the tests (`make soak ARGS="-k kills"`) replaces their rows and keeps the others with their dates.
HARNESS_SOAK=0.01 makes everything that `times` counts a hundredth of itself, to try the tests; then no page is written,
unless HARNESS_SOAK_PAGE names one.
"""

import os
import platform
import re
import subprocess
import time
from collections import Counter
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARE = float(os.environ.get("HARNESS_SOAK", "1"))
HEADINGS = ("test", "outcome", "what was seen", "counted", "seconds", "date", "commit")
INTRODUCTION = """# Soak

What the long tests saw (`make soak`; `tests/soak.py` writes this page). One that passed found nothing lost, nothing
double, and every mistake told in one line: each says itself what it holds. Rows of tests that were not run again keep
their dates.
"""


def times(usual: int) -> int:
    """How often a soak does something: `usual`, or a share of it that HARNESS_SOAK asks for."""
    return max(1, round(usual * SHARE))


def page_file() -> Path | None:
    """Where the page goes; None where this run is none to be shown."""
    if named := os.environ.get("HARNESS_SOAK_PAGE"):
        return Path(named)
    return ROOT / "reports" / "soak.md" if SHARE >= 1 else None


@dataclass(frozen=True)
class Row:
    """What a test saw when it was last run."""

    test: str
    outcome: str
    seen: str
    counted: str  # as "20 kills, 3 studies"
    seconds: str
    date: str
    commit: str

    @property
    def line(self) -> str:
        return f"| {' | '.join(cell.replace('|', '/') for cell in astuple(self))} |"


def read_page(text: str) -> tuple[dict[str, Row], dict[str, str]]:
    """The rows of a page by their tests, and what it says of the commits."""
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    rows = [Row(*row) for row in cells if len(row) == len(HEADINGS) and row[0] not in (HEADINGS[0], "---")]
    return {row.test: row for row in rows}, dict(re.findall(r"^- (\S+): (.+)$", text, re.MULTILINE))


def page(rows: dict[str, Row], known: dict[str, str]) -> str:
    """The page; of the commits those that a row is of."""
    total: Counter[str] = Counter()
    for number, unit in re.findall(r"(\d[\d,]*) ([a-z ]+)", ", ".join(row.counted for row in rows.values())):
        total[unit.strip()] += int(number.replace(",", ""))
    lines = [INTRODUCTION, f"In all: {', '.join(f'{number:,} {unit}' for unit, number in sorted(total.items()))}.", ""]
    lines += [f"| {' | '.join(HEADINGS)} |", f"|{' --- |' * len(HEADINGS)}"]
    lines += [rows[name].line for name in sorted(rows)]
    used = {row.commit for row in rows.values()}
    lines += [
        "",
        "Code, versions and machines:",
        "",
        *(f"- {name}: {known[name]}" for name in sorted(used & set(known))),
    ]
    return "\n".join(lines) + "\n"


def commit() -> str:
    """The code that is tested, with a plus where it has uncommitted changes."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "harness", "tests")
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + "+" * bool(changed)


def machine() -> str:
    """Versions, and the machine in words."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "optuna", "mlflow", "numpy", "ray"))
    cores, gigabytes = os.cpu_count(), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return (
        f"Python {platform.python_version()}, {packages}; {platform.system()} {platform.machine()}, "
        f"{cores} cores, {gigabytes:.0f} GB"
    )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Each test's row as soon as it ends, so that a soak that is stopped keeps what it has. With several test processes
    it is the one that hears of all.
    """
    place, known = page_file(), dict(report.user_properties)
    is_over = report.when == "call" or (report.when == "setup" and report.outcome != "passed")
    if place is None or "soak" not in report.keywords or "PYTEST_XDIST_WORKER" in os.environ or not is_over:
        return
    name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    seen = str(known.get("seen", ""))
    if report.outcome != "passed":
        why = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else report.longreprtext
        seen = re.sub(r"\S*/\S*", "…", why.strip().splitlines()[-1])[:200]  # no paths of this machine
    row = Row(
        *(name, report.outcome, seen, str(known.get("counted", ""))),
        *(f"{report.duration:.0f}", time.strftime("%Y-%m-%d", time.gmtime()), commit()),
    )
    rows, commits = read_page(place.read_text() if place.exists() else "")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(page({**rows, name: row}, {**commits, row.commit: machine()}))
