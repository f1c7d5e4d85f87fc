"""What a notebook shows below a cell while a study runs: the terminal's table, drawn anew as trials come in.

rich draws live in notebooks by ipywidgets, which few have, and a notebook that is saved would show nothing of it. A
display that is updated is IPython's own, and stays.
"""

import time
from types import TracebackType
from typing import Any, Self

from harness.console import Progress, Start
from harness.study.study import Study
from harness.trial import Epoch, Outcome, Trial

EVERY = 0.5  # seconds


class NotebookProgress(Progress):
    """Counts what came of the trials of each level, as `Progress` does, and shows it below the cell."""

    def __init__(self, study: Study) -> None:
        super().__init__(study, quiet=True)
        self._display: Any = None
        self._shown = 0.0

    def __enter__(self) -> Self:
        from IPython.display import display

        draw: Any = display
        self._display = draw(self.table(), display_id=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._now = ""
        self._show()

    def start(self, start: Start) -> None:
        """Everything is ready for the first training."""
        super().start(start)
        self._show()

    def begin(self, trials: list[Trial]) -> None:
        """A generation of the search, or the confirmation, starts."""
        super().begin(trials)
        self._show()

    def epoch(self, trial: Trial, epoch: Epoch) -> None:
        """An epoch of a trial at work."""
        super().epoch(trial, epoch)
        self._show(EVERY)

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """A trial has its outcome."""
        super().end(trial, outcome)
        self._show(EVERY)

    def _show(self, every: float = 0.0) -> None:
        if time.monotonic() - self._shown >= every:
            self._display.update(self.table())
            self._shown = time.monotonic()
