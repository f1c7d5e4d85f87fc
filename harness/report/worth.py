"""What tuning was worth, as the page says it."""

from collections.abc import Sequence

import pandas as pd

from harness.analysis import Findings
from harness.catalogue import Measure, show
from harness.figures import NONE, bracketed, heading, interval, number, probability
from harness.plots import Picture
from harness.report.grids import INTERVAL, Cells, records

VALIDATION = (
    "The first trial of every search is the defaults, or the nearest point of its space: by validation {things}, where "
    "a winner's figure is the best of many, and too good by that."
)
TEST = (
    "On test {things} the defaults were trained with the seeds of each winner's confirmations; gains are paired, with "
    "the simultaneous intervals of all rows and Holm's correction."
)
ABLATION = (
    "From the defaults to the winner, one hyperparameter at a time, the most important first: what each step brought "
    "on test {things}, with the seeds of the confirmations. What a step brings depends on those before it. “Changed”: "
    "in how many searches the winner's value is another than the default; where it is not, the step brought nothing."
)


def worth_texts(findings: Findings) -> list[str]:
    """What the tables are."""
    table = findings.worth
    seen = table["default_val"].notna().any()
    return [
        text.format(things=findings.study.things)
        for text, is_so in ((VALIDATION, seen), (TEST, table["n"].any()))
        if is_so
    ]


def worth_grids(findings: Findings) -> list[pd.DataFrame]:
    """Defaults against winners; then, where it was asked for, what each hyperparameter brought."""
    return [_worth(findings), *([_ablation(findings)] if len(findings.ablation) else ())]


def _worth(findings: Findings) -> pd.DataFrame:
    study, table, unit = findings.study, findings.worth, findings.measure.unit
    rows = []
    for level, cells in zip(study.levels, records(table), strict=True):
        if not study.space(level):
            continue
        row = {study.axis: show(level)}
        if table["default_val"].notna().any():
            row |= {heading(f"{who}, validation", findings.measure): number(cells[f"{who}_val"], unit) for who in WHO}
        if table["n"].any():
            row |= {heading(f"{who}, test", findings.measure): number(cells[f"{who}_test"], unit) for who in WHO}
            row |= _gained(cells, findings.measure)
        rows.append(row)
    return pd.DataFrame(rows)


WHO = ("default", "winner")


def _gained(cells: Cells, measure: Measure) -> dict[str, str]:
    unit, what = measure.unit, "gain" if measure.better == "higher" else "change"
    return {
        bracketed(what, unit.gap): number(cells["gain"], unit, sign="+"),
        INTERVAL: interval(cells["low"], cells["high"], unit, sign="+"),
        "p (Holm)": probability(cells["p_holm"]),
    }


def _ablation(findings: Findings) -> pd.DataFrame:
    study, unit, rows = findings.study, findings.measure.unit, []
    for cells in records(findings.ablation):
        first = not cells["step"]
        what = {"step": "defaults" if first else cells["hyperparameter"], "value": NONE if first else cells["values"]}
        head = {study.axis: show(study.levels[cells["level"]]), **what, "changed": NONE if first else cells["changed"]}
        rows.append(
            {**head, heading("test", findings.measure): number(cells["mean"], unit), **_gained(cells, findings.measure)}
        )
    return pd.DataFrame(rows)


def worth_pictures(findings: Findings, label: str, names: Sequence[str], rows: Sequence[int]) -> dict[str, Picture]:
    """The ablation of the values in those rows, where there was one."""
    table = findings.ablation
    table = table[table["level"].isin(rows)] if len(rows) < len(names) and len(table) else table
    if not len(table):
        return {}
    measure = findings.measure
    return {
        "ablation": Picture(
            "worth:ablation_figure",
            (table, names, measure, f"{label}: from the defaults to the winners"),
            f"Mean test {measure.words} of the defaults (dotted), and what each hyperparameter brought when it was set "
            "to the winner's value, from above to below; lines are 95 % intervals of all steps together, grey bars "
            "steps that made it worse.",
        )
    }
