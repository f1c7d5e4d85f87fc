"""Findings as plain data: what `--json` prints and the Python interface hands out. docs/json.md has every key.

    told = plain(findings)              # dicts, lists, texts, numbers, true and false, None
    json.dumps(told, allow_nan=False)

Figures are in their own units, never in percent: a share of rows lies in [0, 1], a time is in seconds. What was not
measured, and what is not finite, is None.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.findings import Findings
from harness.study.labels import asked

OF_PAIRS = ("level", "first", "second")
"""Columns that hold a compared value by its row, which programs are told by its name."""


def plain(findings: Findings) -> dict[str, Any]:
    """What came of a study: the answer and how far the study is, then tables as lists of rows."""
    study = findings.study
    names = [study.level_name(level) for level in study.levels]
    table = [{"level": name} | cells | {"level": name} for name, cells in zip(names, rows(findings.table), strict=True)]
    return {
        **asked(study),
        "progress": progress(findings),
        "answer": findings.answer,
        "best": None if findings.best is None else names[findings.best],
        "flags": list(findings.flags),
        "table": table,
        "pairs": rows(findings.pairs, names),
        "effects": rows(findings.effects) if study.is_grid else [],
        "published": rows(findings.published, names) if study.published else [],
    }


def told(findings: Findings, page: Path, journal: Path) -> dict[str, Any]:
    """The same with where page, tables and journal lie, from the current folder."""
    places = {"page": page, "tables": page.parent / "tables", "journal": journal}
    return {**plain(findings), **{name: str(place) for name, place in places.items()}}


def progress(findings: Findings) -> dict[str, dict[str, int | None]]:
    """How many search trials and confirmations have an outcome, and of how many; None where only time will tell."""
    study, runs = findings.study, findings.results.runs
    stopped = [row for row, level in enumerate(study.levels) if study.is_stopped(level)]
    ended = runs[(runs["status"] != "waiting") & ~runs["level"].isin(stopped)]["stage"].value_counts()
    searches, confirmations = study.whole
    return {
        "search": {"ended": int(ended.get("search", 0)), "of": None if study.open_ended else searches},
        "confirm": {"ended": int(ended.get("confirm", 0)), "of": confirmations},
    }


def counts(findings: Findings) -> dict[str, str]:
    """The same in words: "24 of 80"."""
    whole = "as many as time allows"
    return {
        stage: f"{n['ended']} of {whole if n['of'] is None else n['of']}" for stage, n in progress(findings).items()
    }


def rows(table: pd.DataFrame, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A table row by row, in the order of its columns. With the `names` of compared values the columns of `OF_PAIRS`,
    which hold their rows, have these.
    """
    return [
        {str(key): names[value] if names and key in OF_PAIRS else value_of(value) for key, value in cells.items()}
        for cells in table.to_dict("records")
    ]


def value_of(value: Any) -> Any:
    """A value as JSON has it: tuples become lists, what is missing or not finite None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): value_of(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [value_of(inner) for inner in value]
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value
