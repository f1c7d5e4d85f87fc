"""Several studies in one table, and the differences between them: what `harness compare` shows."""

from collections.abc import Sequence
from itertools import combinations

import pandas as pd

from harness.analysis.findings import Findings
from harness.analysis.results import finished
from harness.analysis.tables import PAIRED, as_family, paired
from harness.analysis.units import overlap
from harness.catalogue import show
from harness.trial import Level


def studies_table(several: Sequence[Findings]) -> pd.DataFrame:
    """The compare tables of studies that select by the same measure, below each other.

    A row for each `study` and `value` of its `axis`, with the `dataset` and the figures that all studies have.
    """
    return pd.concat([_rows(findings) for findings in several], ignore_index=True)


def _rows(findings: Findings) -> pd.DataFrame:
    study, m = findings.study, findings.study.metric
    head = {
        "study": study.label,
        "dataset": [study.config(level, {}).dataset for level in study.levels],
        "axis": study.axis,
        "value": [show(level) for level in study.levels],
    }
    measured = ["searches", "seeds", f"val_{m}", f"test_{m}", f"test_{m}_low", f"test_{m}_high", f"train_{m}"]
    kept = findings.table[[*measured, "epochs", "seconds", "parameters"]]
    return pd.concat([pd.DataFrame(head), kept], axis=1)


def differences_table(several: Sequence[Findings]) -> pd.DataFrame:
    """Differences between two studies' runs of the same value and seed, where the test images are the same.

    `value` is the compared value as people read it, `first` and `second` are labels of studies; the rest is as in a
    paired table, with Holm's correction for all rows.
    """
    rows = [row for one, two in combinations(several, 2) if _comparable(one, two) for row in _pairs(one, two)]
    return as_family(pd.DataFrame(rows, columns=["value", "first", "second", *PAIRED]))


def _comparable(one: Findings, two: Findings) -> bool:
    images = [findings.results.environment.get("data_sha256") for findings in (one, two)]
    return images[0] == images[1] and one.study.axis == two.study.axis


def _pairs(one: Findings, two: Findings) -> list[dict[str, object]]:
    labels = {"first": one.study.label, "second": two.study.label}
    return [
        {"value": one.study.level_name(level), **labels, **_pair(one, two, level)}
        for level in one.study.levels
        if level in two.study.levels
    ]


def _pair(one: Findings, two: Findings, level: Level) -> dict[str, float]:
    """A value's difference between two studies, over the seeds that both have; of several searches their means."""
    rows = [findings.study.levels.index(level) for findings in (one, two)]
    tests = [_tests(findings, row) for findings, row in zip((one, two), rows, strict=True)]
    gaps = (tests[1] - tests[0]).dropna()
    if min(findings.study.searches for findings in (one, two)) > 1:
        gaps = gaps.groupby("search").mean()
    samples = [test.to_numpy(float) for test in tests]
    return paired(gaps.to_numpy(float), samples, one.study.measure, overlap(one.study, rows[0]))


def _tests(findings: Findings, row: int) -> pd.Series:
    """A level's figures on the test images, by search and seed."""
    runs = finished(findings.results.runs)
    own = runs[runs["level"] == row].set_index(["search", "seed"])
    return own[f"test_{findings.study.metric}"]
