"""Time to target, as the page says it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from harness.analysis import Findings
from harness.catalogue import EPOCHS, SECONDS, Unit
from harness.errors import listed
from harness.figures import NONE, interval, number, share, text
from harness.plots import Picture
from harness.report.grids import INTERVAL, Cells, records

TARGET = (
    "The target is a validation {words} of {figure} or {side}. A run is there with the first epoch at whose end it had "
    "that; its seconds are its share of the training time until then, all its epochs counted alike. Medians are over "
    "{units}; their intervals take two of the values (no distribution is assumed), and need six {counted}."
)
STOPPED = (
    "Not there (censored): {who}. These stay among the runs that are counted, later than any other: when a training "
    "stops is part of what is compared."
)


def reach_texts(findings: Findings) -> list[str]:
    """What the target is, who was there first, and who never was."""
    study, measure, table = findings.study, findings.study.measure, findings.reach
    assert study.reach is not None
    side = "more" if measure.better == "higher" else "less"
    several = "searches, of each the median of its runs" if study.searches > 1 else "seeds"
    figure = text(study.reach, measure.unit)
    said = TARGET.format(words=measure.words, figure=figure, side=side, units=several, counted=findings.unit)
    return [said, *_first(findings), *_missing(findings, records(table))]


def _first(findings: Findings) -> list[str]:
    """Whose median is the lowest."""
    medians = findings.reach["epoch"]
    if medians.dropna().nunique() < 2:
        return []
    study, least = findings.study, medians.min()
    names = [study.level_name(study.levels[row]) for row in np.flatnonzero(medians == least)]
    have = "has" if len(names) == 1 else "have"
    return [f"{listed(names)} {have} the lowest median, {number(least, EPOCHS)} epochs."]


def _missing(findings: Findings, table: Sequence[Cells]) -> list[str]:
    who = []
    for level, cells in zip(findings.study.levels, table, strict=True):
        if missing := cells["runs"] - cells["there"]:
            first, last = int(cells["stopped_first"]), int(cells["stopped_last"])
            when = f"{first} to {last} epochs" if first < last else f"{first} epochs"
            how_many = f"{missing} of {cells['runs']} runs of {findings.study.level_name(level)}"
            who.append(f"{how_many}, which ended after {when}")
    return [STOPPED.format(who="; ".join(who))] if who else []


def reach_grid(findings: Findings) -> pd.DataFrame:
    """A row for each compared value."""
    study, rows = findings.study, []
    for level, cells in zip(study.levels, records(findings.reach), strict=True):
        row = {
            **study.shown(level),
            "runs": str(cells["runs"]),
            "there": str(cells["there"]),
            "share there": share(cells["share"]),
        }
        for which, unit in (("epoch", EPOCHS), ("seconds", SECONDS)):
            row |= {f"median {which}": number(cells[which], unit)}
            row |= {f"{INTERVAL} of {which}": _ends(cells[f"{which}_low"], cells[f"{which}_high"], unit)}
        rows.append(row)
    grid = pd.DataFrame(rows)
    unknown = [name for name in grid if name.startswith(INTERVAL) and (grid[name] == NONE).all()]
    return grid.drop(columns=unknown)


def _ends(low: float, high: float, unit: Unit) -> str:
    """An interval, whose end may lie beyond all runs."""
    return f"{number(low, unit)} or more" if np.isinf(high) else interval(low, high, unit)


def reach_pictures(findings: Findings, label: str, names: Sequence[str]) -> dict[str, Picture]:
    """The share of runs that are there, where there is a target."""
    study, table = findings.study, findings.share_there
    if study.reach is None or table.empty:
        return {}
    measure = study.measure
    target = f"validation {measure.words} of {text(study.reach, measure.unit)}"
    return {
        "reach": Picture(
            "reach:reach_figure",
            (table, names, f"{label}: runs with a {target}"),
            f"Share of the confirmation runs that have reached a {target}, by epoch; crosses: where a run stopped that "
            "had not. Lines are up to a point off, so that none hides another.",
        )
    }
