"""A running study as programs are told of it: one record for each event, which `--json` writes line by line.

    run(study, folder, tracker, how, say, show=lambda study, quiet: Events(study, write))

docs/json.md has every event and key. Whatever is not finite is None.
"""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from harness.console import Start
from harness.journal.left import Timing
from harness.programs import Write
from harness.study.labels import asked
from harness.study.study import Study
from harness.trial import Epoch, Figures, Level, Outcome, Trial

if TYPE_CHECKING:
    from harness.analysis import Findings

EVERY = 1.0  # seconds between two events of epochs: stacks may have thousands a second
OUTCOMES = {"search": "trial", "confirm": "confirmation", "ablation": "ablation"}
"""The event of an outcome, by its stage."""


class Events:
    """A study at work, as events; a `Screen` for programs."""

    def __init__(self, study: Study, write: Write) -> None:
        self.study, self._write = study, write
        self._timing = Timing(study)
        self._earlier, self._told = True, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is to be put back."""

    def start(self, start: Start) -> None:
        """Everything is ready for the first training."""
        self._timing.expected = start.expected
        self._tell("begun", {**asked(self.study), **started(start)})

    def begin(self, trials: list[Trial]) -> None:
        """A generation of the search, or the confirmation, starts."""
        self._earlier = False
        if trials:
            levels = [self.study.level_name(level) for level in dict.fromkeys(trial.level for trial in trials)]
            told = {"stage": trials[0].stage, "trainings": len(trials), "levels": levels}
            self._tell("generation", {**told, "seconds_left": self._left()})

    def epoch(self, trial: Trial, epoch: Epoch) -> None:
        """An epoch of a trial at work: told once in a while."""
        if (now := time.monotonic()) - self._told >= EVERY:
            self._told = now
            told = {"epoch": epoch.number, "of": int(trial.config.epochs), "figures": finite(epoch.figures)}
            self._tell("epoch", {**of_trial(self.study, trial), **told, "seconds_left": self._left()})

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """A trial has its outcome, now or in an earlier run of the study."""
        self._timing.end(trial, outcome)
        told = {**of_trial(self.study, trial), **of_outcome(outcome), "earlier": self._earlier}
        self._tell(OUTCOMES[trial.stage], told)

    def stopped(self, study: Study, level: Level) -> None:
        """Somebody has ended a value of the study, which is now this one."""
        self.study = study
        self._timing.now_of(study)
        self._tell("stopped", {"level": study.level_name(level), "seconds_left": self._left()})

    def _left(self) -> float | None:
        seconds = self._timing.left(time.time())
        return None if seconds is None else round(seconds, 1)

    def _tell(self, event: str, keys: Mapping[str, Any]) -> None:
        self._write({"event": event, "time": round(time.time(), 3), **keys})


def finished(findings: "Findings", page: Path, journal: Path) -> dict[str, Any]:
    """What came of it, once its report is written."""
    from harness.analysis.plain import told  # pandas, for which no training has to wait

    return {"event": "finished", "time": round(time.time(), 3), **told(findings, page, journal)}


def planned(study: Study, start: Start) -> dict[str, Any]:
    """What `harness run --dry-run` tells."""
    return {"event": "plan", "time": round(time.time(), 3), **asked(study), **started(start)}


def started(start: Start) -> dict[str, Any]:
    """What is still to be trained, at most, and about how long that takes."""
    left = dict(zip(("search", "confirm"), start.left, strict=True))
    return {"journal": str(start.journal), "left": left, "seconds_left": start.seconds}


def of_trial(study: Study, trial: Trial) -> dict[str, Any]:
    """Which training it is, and what it is trained with: the hyperparameters that the study decides."""
    values = {key: trial.config[key] for key in study.chosen}
    chosen = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    return {
        "level": study.level_name(trial.level),
        "search": trial.search,
        "stage": trial.stage,
        "number": trial.number,
        "seed": trial.seed,
        "hyperparameters": chosen,
    }


def of_outcome(outcome: Outcome) -> dict[str, Any]:
    """What came of it."""
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "seconds": outcome.seconds,
        "parameters": outcome.parameters,
        "figures": finite(outcome.figures),
    }


def finite(figures: Figures) -> dict[str, float | None]:
    """Figures by name, None for what is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
