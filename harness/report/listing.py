"""All studies with their state, progress and best value: `harness list`.

for one in list_studies(Path("studies")):
    one.state, one.left        # "running", 130.0
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from harness.analysis import Findings
from harness.analysis.plain import progress
from harness.errors import UserError, listed
from harness.figures import NONE, duration, text
from harness.journal import holder, ran_on
from harness.report.write import findings_of
from harness.study.file import read_study
from harness.study.study import Study

HEADINGS = ("study", "data", "compares", "state", "left", "search", "seeds", "best", "test")
State = Literal["not begun", "running", "stopped", "finished", "broken"]


@dataclass(frozen=True)
class StudyState:
    """A study on one data set, as `harness list` shows it.

    `state` is "running" while a driver holds its journal (`by` says which), "stopped" if that could go on, and "broken"
    where study file or journal cannot be read, for the reason in `trouble`. `left` are seconds until its last training,
    of a study that runs. `best` is the name of the value that did best on test rows so far, `figure` its mean there as
    people read it.
    """

    study: str
    data: tuple[str, ...] = ()
    compares: tuple[str, ...] = ()
    state: State = "not begun"
    trouble: str = ""
    by: str = ""
    left: float | None = None
    search: tuple[int, int | None] | None = None
    confirm: tuple[int, int | None] | None = None
    best: str | None = None
    figure: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """A row of `HEADINGS`."""
        words = (self.study, listed(self.data), listed(self.compares), self.state)
        left = duration(self.left) if self.left else ""
        counts = (_counted(self.search), _counted(self.confirm)) if self.confirm else ("", "")
        return (*words, left, *counts, self.best or "", self.figure)

    def record(self) -> dict[str, Any]:
        """The same for programs."""
        known = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        progress = {stage: _record(known.pop(stage)) for stage in ("search", "confirm")}
        return {**known, "seconds_left": known.pop("left"), "progress": progress}


def list_studies(folder: Path) -> Iterator[StudyState]:
    """Each study in the folder, on each data set that it ran on."""
    for file in sorted(folder.glob("*/study.toml")):
        try:
            study = read_study(file.parent)
        except UserError as error:
            yield StudyState(file.parent.name, state="broken", trouble=str(error))
            continue
        studies = ran_on(study, file.parent)
        if not studies:
            yield StudyState(study.name, study.datasets, study.axes)
        yield from (state_of(one, file.parent) for one in studies)


def state_of(study: Study, folder: Path) -> StudyState:
    """How far the study in `folder` is, on its data set."""
    by = holder(folder / study.journal) or ""
    try:
        findings = findings_of(study, folder)
    except UserError as error:
        trouble = "" if by else str(error)  # a journal that has just been begun
        return StudyState(study.label, study.datasets, study.axes, "running" if by else "broken", trouble, by)
    known = findings.study
    done = {stage: (own["ended"] or 0, own["of"]) for stage, own in progress(findings).items()}
    is_over = all(all_ is not None and number >= all_ for number, all_ in done.values())
    best, figure = _best(findings)
    return StudyState(
        known.label,
        known.datasets,
        known.axes,
        "running" if by else "finished" if is_over else "stopped",
        by=by,
        left=_left(findings) if by else None,
        search=done["search"] if known.is_searched else None,
        confirm=done["confirm"],
        best=best,
        figure=figure,
    )


def _left(findings: Findings) -> float | None:
    timing = findings.results.timing
    return timing.left(time.time()) if timing else None


def _best(findings: Findings) -> tuple[str | None, str]:
    """What did best so far, and how well."""
    study, best = findings.study, findings.best
    if best is None:
        return None, ""
    mean = text(findings.table[f"test_{study.metric}"][best], study.measure.unit)
    return study.level_name(study.levels[best]), f"{study.measure.words} {mean}"


def _counted(done: tuple[int, int | None] | None) -> str:
    """How many there are, and of how many, if that is known."""
    if done is None:
        return NONE
    return f"{done[0]}" if done[1] is None else f"{done[0]}/{done[1]}"


def _record(done: list[int | None] | None) -> dict[str, int | None] | None:
    return dict(zip(("ended", "of"), done, strict=True)) if done else None
