"""Writes `reports/<name>/` from a journal: tables, pictures, one page. Knows neither torch nor MLflow.

python -m harness.report studies/depth
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from harness.analysis import Findings, find, read_results
from harness.analysis.datasets import of_grid
from harness.analysis.plain import counts
from harness.errors import UserError
from harness.figures import duration
from harness.journal import find_journal, holder
from harness.plots import Picture, Second, save_all
from harness.report.across import across_pictures, across_section
from harness.report.escape import latex, latex_label
from harness.report.grids import cells_grid, narrow_grid, winners_grid
from harness.report.mistakes import mistakes_table, named_classes, predictions_table, worst_rows
from harness.report.page import render
from harness.report.pictures import make_pictures
from harness.report.sections import Page, make_sections
from harness.study.places import check_copy, check_label, report_folder
from harness.study.settle import check_reach
from harness.study.study import Study

SMALL_TABLE = "\\centering\n\\footnotesize\n\\setlength{\\tabcolsep}{4pt}"
IN_FULL = ("seeds", "trials")  # tables to go on with, whose figures are not rounded


@dataclass(frozen=True)
class Report:
    """All that is written: the page, its pictures by file name, tables as CSV, and as LaTeX with their captions."""

    page: Page
    pictures: Mapping[str, Picture]
    tables: Mapping[str, pd.DataFrame]
    latex: Mapping[str, tuple[pd.DataFrame, str]]

    def write(self, folder: Path, second: Second | None = None) -> Path:
        """Write all of it into `folder`, which is returned. The same report makes the same bytes.

        `second` is a process that may help to draw.
        """
        ends = _ends(folder)
        try:
            save_all(self.pictures, folder / "plots", second)
            folder.mkdir(parents=True, exist_ok=True)
            beside = folder.resolve().parent  # where a file can be renamed into the folder
            with TemporaryDirectory(prefix=f".{folder.name}-", dir=beside) as place:
                for name, text in self._texts(folder):
                    (Path(place) / name).parent.mkdir(exist_ok=True)
                    (Path(place) / name).write_text(text, encoding="utf-8")
                if _ends(folder) != ends:
                    raise UserError(
                        f"{folder}: became a link to elsewhere while the report was drawn; nothing is written"
                    )
                _move(Path(place), folder)
        except OSError as error:
            raise UserError(f"{folder}: the report cannot be written: {error.strerror or error}") from error
        return folder

    def _texts(self, folder: Path) -> Iterator[tuple[str, str]]:
        """All files but the pictures, which lie in `folder` already: their names there, and what is in them."""
        for name, table in self.tables.items():
            rounding = None if name in IN_FULL else "%.6g"
            yield f"tables/{name}.csv", table.to_csv(index=False, float_format=rounding)
        for name, (grid, caption) in self.latex.items():
            yield f"tables/{name}.tex", latex_table(grid, f"{folder.name}-{name}", caption)
        for name in ("report.html", "report.md"):
            yield name, render(name, folder, {**vars(self.page), **self._pictures()})

    def _pictures(self) -> dict[str, object]:
        """What the page says of its pictures besides their captions."""
        alts = {name: picture.alt or f"Chart: {name.replace('_', ' ')}." for name, picture in self.pictures.items()}
        return {"alts": alts, "photos": {name for name, picture in self.pictures.items() if picture.photo}}


def _ends(folder: Path) -> list[Path]:
    """Where a report's folders lie, whatever links lead there."""
    return [path.resolve() for path in (folder, folder / "plots", folder / "tables")]


def _move(place: Path, folder: Path) -> None:
    """Move all files to where they belong, once all are written: whoever is killed before leaves the old report whole,
    and never half a file.
    """
    (folder / "tables").mkdir(exist_ok=True)
    for file in sorted(path for path in place.rglob("*") if path.is_file()):
        file.replace(folder / file.relative_to(place))


def write(findings: Findings, folder: Path, second: Second | None = None, is_running: bool = False) -> Path:
    """Write the report of a study into `folder`, which is returned; `second` may help to draw. The page of a study that
    `is_running` says so, and browsers load it again and again.
    """
    study, across = findings.study, of_grid(findings)
    pictures = {**make_pictures(findings), **(across_pictures(across) if across else {})}
    written_for = "" if study.dataset == study.written_for else f" (the study was written for {study.written_for})"
    page = Page(
        label=study.label,
        title=study.question or study.label,
        subtitle=f"{study.label}, on {' and '.join(study.datasets)}{written_for}, model {study.model}",
        answer=findings.answer,
        when=_when(findings),
        sections=[*make_sections(findings, pictures), *([across_section(across)] if across else [])],
        running=_running(findings) if is_running else "",
    )
    tables = _tables(findings) | ({"across": across.table} if across else {})
    return Report(page, pictures, tables, _latex(findings)).write(folder, second)


def _when(findings: Findings) -> str:
    """On which day the study began, and for how long it has been trained, breaks included."""
    runs = findings.results.runs
    known = runs[runs["status"] != "waiting"]
    if known.empty:
        return ""
    began = datetime.fromtimestamp(float(known["started"].min()), UTC)
    seconds = max(0.0, float(known["ended"].max() - known["started"].min()))  # a clock may have been set back
    return f"{began.day} {began:%B %Y}; {duration(seconds)} from the first training's start to the last one's end."


def _running(findings: Findings) -> str:
    """How far a study is that still runs."""
    known = counts(findings)
    searched = f"{known['search']} search trials and " if findings.study.is_searched else ""
    return f"This study is still running: it has {searched}{known['confirm']} confirmations."


def _tables(findings: Findings) -> dict[str, pd.DataFrame]:
    tables = {"compare": findings.table, "pairs": findings.pairs, "gaps": findings.gaps}
    if findings.study.task == "regression":
        tables["predictions"] = predictions_table(findings)
    else:
        tables["confusion"] = named_classes(findings)
    if worst := worst_rows(findings):
        tables["mistakes"] = mistakes_table(worst)
    tables["seeds"] = findings.seeds
    if findings.study.is_grid:
        tables["effects"] = findings.effects
    if len(findings.vote):
        tables["vote"] = findings.vote
    if len(findings.other_measures):
        tables["measures"] = findings.measures
    if len(findings.course):
        tables["course"] = findings.course
    if findings.study.reach is not None:
        tables["reach"] = findings.reach
    if findings.study.published:
        tables["published"] = findings.published
    if findings.study.is_searched:
        tables |= {"tuning": findings.tuning, "importance": findings.importance, "trials": findings.trials}
        tables |= {"worth": findings.worth} | ({"ablation": findings.ablation} if len(findings.ablation) else {})
    return tables


def _latex(findings: Findings) -> dict[str, tuple[pd.DataFrame, str]]:
    label, of = findings.study.label, "" if findings.is_usual else f"{findings.study.measure.words}, "
    tables = {"compare": (narrow_grid(findings), f"{label}: {of}means over seeds.")}
    if findings.study.is_grid:
        tables["cells"] = cells_grid(findings), f"{label}: {of}means over seeds, with 95 % intervals."
    if findings.study.is_searched:
        tables["winners"] = winners_grid(findings), f"{label}: what the search chose."
    return tables


def latex_table(table: pd.DataFrame, label: str, caption: str) -> str:
    """A booktabs table; whatever came from the study file is escaped."""
    style = table.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis="columns")
    tex = style.to_latex(
        hrules=True,
        caption=latex(caption),
        label="tab:" + latex_label(label),
        position_float="centering",
        column_format="l" + "r" * (table.shape[1] - 1),
    )
    return str(tex.replace(r"\centering", SMALL_TABLE, 1))


def report_study(study: Study, folder: Path, second: Second | None = None) -> tuple[Findings, Path]:
    """Read the journal of the study in `folder` and write its report: what came of it, and `reports/<label>`."""
    check_label(folder, study.label)
    findings = findings_of(study, folder)
    check_copy(folder, findings.study.name)
    is_running = holder(find_journal(study, folder)) is not None
    return findings, write(findings, report_folder(findings.study.label), second, is_running)


def findings_of(study: Study, folder: Path) -> Findings:
    """What came of the study in `folder`, as its journal has it.

    Words, published figures and the target are the study file's present ones; what was run is what the journal says.
    """
    results = read_results(find_journal(study, folder))
    if study.levels != results.study.levels:
        return find(results)
    claim = results.study.claim.model_copy(update={"reach": study.claim.reach})
    words = {"question": study.question, "note": study.note, "published": study.published, "claim": claim}
    known = results.study.model_copy(update=words)
    check_reach(known)
    return find(replace(results, study=known))
