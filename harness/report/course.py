"""Figures epoch by epoch, as the page says them."""

from collections.abc import Sequence

import pandas as pd

from harness.analysis import Findings
from harness.analysis.course import shown_epochs, stopped_early
from harness.errors import listed
from harness.figures import NONE, heading, interval, number, settled
from harness.plots import Picture

COURSE = (
    "Means over {units} of the confirmation runs, with 95 % intervals, each epoch by itself: of the weights at its end "
    "on the test {things}, and in training over its batches, dropout on and weights moving. Nothing was selected by "
    "these figures; the best of them is no result."
)
STOPPED = "Runs that stopped early are missing from later epochs, whose means are of those that are left."
PARTLY = "Test {things} were measured after each epoch in some runs only: {who}."


def course_texts(findings: Findings) -> list[str]:
    """What the figures are, and which runs are missing."""
    things, missing = findings.study.things, _partly(findings)
    return [
        COURSE.format(units=findings.unit, things=things),
        *([STOPPED] if stopped_early(findings.course) else []),
        *([PARTLY.format(things=things, who=listed(missing))] if missing else []),
    ]


def _partly(findings: Findings) -> list[str]:
    """The values some of whose runs were trained before that was asked for, with how many were not."""
    study, course, table = findings.study, findings.course, findings.table
    first = course[course["epoch"] == 1].groupby("level")["runs"].max()
    known = {row: int(first.get(row, 0)) for row in range(len(study.levels))}
    counted = dict(enumerate(table["seeds"]))
    return [
        f"{known[row]} of {counted[row]} of {study.level_name(level)}"
        for row, level in enumerate(study.levels)
        if known[row] < counted[row]
    ]


def course_grid(findings: Findings) -> pd.DataFrame:
    """A row for each compared value and some epochs."""
    study, course = findings.study, findings.course
    units = {
        name: settled(study.figure(f"test_{name}").unit, own["mean"])
        for name, own in course.groupby("measure", sort=False)
    }
    rows = []
    for level, own in course.groupby("level"):
        last = int(own["epoch"].max())
        for epoch in shown_epochs(last):
            now = own[own["epoch"] == epoch]
            row = {**study.shown(study.levels[int(level)]), "epoch": str(epoch), "runs": str(now["runs"].iloc[0])}
            for cells in now.to_dict("records"):
                unit = units[cells["measure"]]
                ends = interval(cells["low"], cells["high"], unit)
                mean = number(cells["mean"], unit)
                row[_title(findings, cells)] = mean if ends == NONE else f"{mean} ({ends})"
            rows.append(row)
    return pd.DataFrame(rows).fillna(NONE)


def _title(findings: Findings, cells: dict[str, str]) -> str:
    if cells["measure"] == findings.study.metric:
        return heading(cells["images"], findings.measure)
    return f"{cells['images']} {cells['measure']}"


def course_pictures(findings: Findings, label: str, names: Sequence[str]) -> dict[str, Picture]:
    """The study's measure by epoch."""
    course, measure = findings.course, findings.measure
    if course.empty:
        return {}
    own = course[course["measure"] == measure.name]
    return {
        "course": Picture(
            "course:course_figure",
            (own, names, measure, f"{label}: {measure.words} after each epoch"),
            f"Mean {measure.words} on the test {findings.study.things} after each epoch"
            f"{', and in training during it' if 'train' in set(own['images']) else ''}; bands are 95 % intervals "
            f"over {findings.unit}, epoch by epoch.",
        )
    }
