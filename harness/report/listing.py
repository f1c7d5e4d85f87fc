"""All studies with their state, progress and best value: `harness list`."""

from collections.abc import Iterator
from pathlib import Path

from harness.analysis import Findings
from harness.errors import UserError, listed
from harness.figures import NONE, text
from harness.journal import holder, ran_on
from harness.report.write import findings_of
from harness.study.file import read_study
from harness.study.study import Study

HEADINGS = ("study", "data", "compares", "state", "search", "seeds", "best", "test")


def list_studies(folder: Path) -> Iterator[tuple[str, ...]]:
    """A row of `HEADINGS` for each study in the folder, and for each data set that it ran on."""
    for file in sorted(folder.glob("*/study.toml")):
        try:
            study = read_study(file.parent)
        except UserError as error:
            yield _row(file.parent.name, "", "", str(error))
            continue
        studies = ran_on(study, file.parent)
        if not studies:
            yield _row(study.name, listed(study.datasets), listed(study.axes), "never ran")
        yield from (_study_row(one, file.parent) for one in studies)


def _study_row(study: Study, folder: Path) -> tuple[str, ...]:
    holder_now = holder(folder / study.journal)
    running = f"{holder_now} runs it" if holder_now else ""
    try:
        findings = findings_of(study, folder)
    except UserError as error:
        return _row(study.label, study.dataset, listed(study.axes), running or str(error))
    study = findings.study
    head = (study.label, listed(study.datasets), listed(study.axes))
    return _row(*head, running or _state(findings), *_progress(findings))


def _state(findings: Findings) -> str:
    budget, runs = findings.study.budget, findings.results.runs
    levels = len(findings.study.levels)
    searches = findings.study.searches * findings.study.trials * len(findings.study.searching)
    wanted = (searches, levels * budget.seeds)
    confirmed = (runs["stage"] == "confirm") & (runs["status"] != "waiting")
    return "finished" if (findings.table["trials"].sum(), confirmed.sum()) >= wanted else "stopped"


def _progress(findings: Findings) -> tuple[str, ...]:
    """How far search and confirmation are, and what did best so far."""
    study, table = findings.study, findings.table
    levels, best = len(study.levels), findings.best
    wanted = "" if study.open_ended else f"/{len(study.searching) * study.searches * study.trials}"
    searched = f"{table['trials'].sum()}{wanted}" if study.is_searched else NONE
    seeds = f"{table['seeds'].sum()}/{levels * study.budget.seeds}"
    if best is None:
        return searched, seeds
    mean = text(table[f"test_{study.metric}"][best], study.measure.unit)
    return searched, seeds, study.level_name(study.levels[best]), f"{study.measure.words} {mean}"


def _row(*cells: str) -> tuple[str, ...]:
    """The cells that are known, the rest empty."""
    return (*cells, *[""] * (len(HEADINGS) - len(cells)))
