"""Several finished studies, or one on several data sets, in one table and picture: `harness compare`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis import Findings
from harness.analysis.datasets import of_studies
from harness.analysis.plain import rows
from harness.analysis.studies import differences_table, studies_table
from harness.analysis.tables import with_digits
from harness.catalogue import COUNT, Measure, in_order
from harness.errors import UserError, listed
from harness.figures import NONE, heading, interval, number
from harness.journal import ran_on
from harness.plots import Picture
from harness.report.across import across_pictures, across_section
from harness.report.escape import in_picture
from harness.report.grids import INTERVAL, Cells, gap_cells, records
from harness.report.sections import Page, Section, explained
from harness.report.write import Report, findings_of
from harness.study.labels import asked
from harness.study.study import Study

PAIRS = (
    "The same value on the same test {things} in two studies: second minus first, over the seeds that both have; "
    "p-values are those of the paired t-test, Holm-corrected for all rows, and the intervals those that belong to it."
)
NO_PAIRS = "No value was measured on the same {things} in two of them: no differences are tested."


def find_studies(study: Study, folder: Path, dataset: str | None) -> list[Findings]:
    """What came of a study: on the data set if one is named, else on every one that it ran on."""
    studies = ran_on(study, folder) if dataset is None else []
    return [findings_of(one, folder) for one in studies or [study]]  # which says so if it never ran


def compare(several: Sequence[Findings], folder: Path) -> Path:
    """Write one table and picture of several studies into `folder`, which is returned.

    Raises UserError where they cannot be compared.
    """
    check(several)
    labels = [findings.study.label for findings in several]
    table, pairs, things = studies_table(several), differences_table(several), several[0].study.things
    measure = _measure(several, table)
    grid, picture, across = _grid(table, measure), _picture(several, table, measure), of_studies(several)
    sections = [
        Section(
            "What was measured",
            [] if several[0].is_usual and several[0].study.task == "classification" else [explained(measure, things)],
            [grid],
            [("studies", picture.caption)],
            after=[] if len(pairs) else [NO_PAIRS.format(things=things)],
        ),
        *([across_section(across)] if across else ()),
        *_differences(pairs, measure, things),
        Section("The studies", _notes(several)),
    ]
    page = Page(folder.name, " and ".join(labels), "studies compared", "", sections)
    pictures, tables = {"studies": picture}, {"studies": table}
    if across:
        pictures, tables = {**pictures, **across_pictures(across)}, {**tables, "across": across.table}
    return Report(page, pictures, tables, {"studies": (grid, "Means over seeds.")}).write(folder)


def _measure(several: Sequence[Findings], table: pd.DataFrame) -> Measure:
    """What all select by, in the unit that they share; without one where they have different ones."""
    measure = with_digits(several[0].study, table)
    if len({findings.study.measure.unit for findings in several}) > 1:
        return replace(measure, unit=replace(measure.unit, symbol="", gap=""))
    return measure


def compared(several: Sequence[Findings]) -> dict[str, Any]:
    """What the page says, for programs: the studies with their answers, and both tables row by row."""
    return {
        "studies": [{**asked(one.study), "answer": one.answer} for one in several],
        "table": rows(studies_table(several)),
        "differences": rows(differences_table(several)),
    }


def check(several: Sequence[Findings]) -> None:
    """Raises UserError, one line, for studies that cannot stand in one table."""
    labels = [findings.study.label for findings in several]
    if len(several) < 2 or len(set(labels)) < len(labels):
        raise UserError(f"compare: needs at least two different studies, got {listed(labels)}")
    if len({findings.study.metric for findings in several}) > 1:
        metrics = listed(f"{findings.study.label} by {findings.study.metric}" for findings in several)
        raise UserError(f"compare: the studies must select by the same metric, got {metrics}")
    if all(findings.best is None for findings in several):
        raise UserError(f"compare: none of {listed(labels)} has a finished confirmation run")


def _picture(several: Sequence[Findings], table: pd.DataFrame, measure: Measure) -> Picture:
    labels = [in_picture(findings.study.label) for findings in several]
    joined = table["axis"].nunique() == 1 and all(in_order(findings.study.levels) for findings in several)
    plain = table.assign(study=table["study"].map(in_picture))
    plain["value"] = plain["value"].map(in_picture)
    title = f"Test {measure.words} of {' and '.join(labels)}"
    caption = f"Mean test {measure.words} of each compared value with its 95 % interval."
    return Picture("comparison:studies_figure", (plain, measure, title, joined), caption)


def _differences(pairs: pd.DataFrame, measure: Measure, things: str) -> Iterator[Section]:
    if len(pairs):
        grid = pd.DataFrame([_pair(cells, measure) for cells in records(pairs)])
        yield Section("Differences", [PAIRS.format(things=things)], [grid])


def _pair(cells: Cells, measure: Measure) -> dict[str, str]:
    pair = f"{cells['second']} − {cells['first']}"
    return {"value": cells["value"], "pair": pair, **gap_cells(cells, measure.unit)}


def _notes(several: Sequence[Findings]) -> list[str]:
    """The studies' questions, then their answers."""
    questions = [f"{one.study.label}: {one.study.question}" for one in several if one.study.question]
    return [*questions, *(f"{one.study.label}: {one.answer}" for one in several)]


def _grid(table: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    return pd.DataFrame([_cells(cells, measure) for cells in records(table)])


def _cells(cells: Cells, measure: Measure) -> dict[str, str]:
    m, unit = measure.name, measure.unit
    return {
        "study": cells["study"],
        "data": cells["dataset"],
        "value": cells["value"] if "," in cells["axis"] else f"{cells['axis']} = {cells['value']}",
        "seeds": str(cells["seeds"]),
        heading("test", measure): number(cells[f"test_{m}"], unit),
        INTERVAL: interval(cells[f"test_{m}_low"], cells[f"test_{m}_high"], unit),
        heading("train", measure): number(cells[f"train_{m}"], unit),
        "parameters": NONE if pd.isna(cells["parameters"]) else number(cells["parameters"], COUNT),
    }
