"""Several studies in one table, and the differences between them: what `harness compare` shows."""

from collections.abc import Sequence
from itertools import combinations

import pandas as pd

from harness.analysis.findings import Findings
from harness.analysis.tables import on_test_images, paired, with_holm
from harness.catalogue import Value, show


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
    measured = ["seeds", f"val_{m}", f"test_{m}", f"test_{m}_low", f"test_{m}_high", f"train_{m}"]
    kept = findings.table[[*measured, "epochs", "seconds", "parameters"]]
    return pd.concat([pd.DataFrame(head), kept], axis=1)


def differences_table(several: Sequence[Findings]) -> pd.DataFrame:
    """Paired differences between two studies' runs of the same value and seed, where the test images are the same.

    `value` is the compared value as people read it, `first` and `second` are labels of studies; the rest is as in a
    paired table, with Holm's correction for all rows.
    """
    rows = [row for one, two in combinations(several, 2) if _comparable(one, two) for row in _pairs(one, two)]
    columns = ["value", "first", "second", "n", "difference", "low", "high", "p", "improvement"]
    return with_holm(pd.DataFrame(rows, columns=columns))


def _comparable(one: Findings, two: Findings) -> bool:
    images = [findings.results.environment.get("data_sha256") for findings in (one, two)]
    return images[0] == images[1] and one.study.axis == two.study.axis


def _pairs(one: Findings, two: Findings) -> list[dict[str, object]]:
    labels = {"first": one.study.label, "second": two.study.label}
    return [
        {
            "value": one.study.level_name(level),
            **labels,
            **paired(_tests(one, level), _tests(two, level), one.study.measure),
        }
        for level in one.study.levels
        if level in two.study.levels
    ]


def _tests(findings: Findings, level: Value) -> pd.Series:
    return on_test_images(findings.results, findings.study.levels.index(level), "seed")
