"""What came of a study, as programs and notebooks have it: all tables of `analysis.Findings`, and its pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis import Findings
from harness.analysis.plain import plain
from harness.errors import UserError, one_of
from harness.plots import Picture
from harness.report.cell import as_cell
from harness.report.pictures import make_pictures, means_name
from harness.study.places import report_folder

if TYPE_CHECKING:
    from harness.plots.base import Figure


@dataclass(frozen=True, repr=False)
class ShownFindings(Findings):
    """What came of a study: tables (pandas DataFrames), sentences, and figures (matplotlib's).

    >>> import harness
    >>> findings = harness.load("studies/smoke")
    >>> list(findings.table["depth"])                           # a row for each compared value
    [1, 2, 3]
    >>> list(findings.pairs.columns[:2])                        # and for each pair of them
    ['first', 'second']
    >>> all(isinstance(flag, str) for flag in findings.flags)   # what to know before believing them
    True
    >>> findings.figures[:2]
    ['accuracy_vs_depth', 'learning_curves']
    >>> findings.figure("accuracy").axes[0].get_xlabel()
    'depth'

    A notebook shows the answer, the table and the figure of the means.
    """

    @cached_property
    def _pictures(self) -> Mapping[str, Picture]:
        return make_pictures(self)

    @property
    def figures(self) -> list[str]:
        """The names of the figures that there are, as those of the report's files."""
        return list(self._pictures)

    def figure(self, name: str = "") -> "Figure":
        """A figure by its name, drawn anew; the study's metric, or nothing, names that of the means.

        Raises UserError where there is none of that name.
        """
        means = means_name(self.study)
        wanted = means if name in ("", self.study.metric) else name
        if wanted not in self._pictures:
            raise UserError(f"figure: {one_of(name, self.figures)}")
        from harness.plots.base import png  # matplotlib: half a second that tables need not wait for

        figure = self._pictures[wanted].figure()
        vars(figure)["_repr_png_"] = lambda: png(figure)  # a notebook shows it, with pyplot or without
        return figure

    def plain(self) -> dict[str, Any]:
        """All of it as dicts, lists, texts and numbers, with the keys that docs/json.md explains."""
        return plain(self)

    @property
    def page(self) -> Path:
        """Where the report lies, once it is written."""
        return report_folder(self.study.label) / "report.html"

    def __repr__(self) -> str:
        return f"Findings of {self.study.label}: {self.answer}"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return as_cell(self, self._pictures[means_name(self.study)])
