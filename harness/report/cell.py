"""What a notebook shows of a study: the answer, what to know before believing it, the table, and the means."""

from harness.analysis import Findings
from harness.plots import Picture
from harness.report.grids import narrow_grid
from harness.report.page import render_cell


def as_cell(findings: Findings, means: Picture) -> str:
    """HTML that needs nothing beside it; `means` is the picture that it has."""
    content = {
        "title": findings.study.question or findings.study.label,
        "answer": findings.answer,
        "flags": findings.flags,
        "grid": narrow_grid(findings),
        "picture": means.png(),
        "alt": means.alt or means.caption,
    }
    return render_cell(content)
