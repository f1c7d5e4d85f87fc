"""How long a running study still takes, as its own trainings tell: for the screen, `harness watch` and `harness list`.

    timing = Timing(study, expected)
    timing.end(trial, outcome)              # everything that is recorded, in any order
    timing.left(time.time())                # seconds until the last training has ended; None while nothing tells

A search trial is taken to need what those of the last generations needed: the time in which any was trained, by how
many there were (so early stopping, stacks and other work on the machine are in it). Before the median pruner has
enough trials to judge by, these are taken to have been stopped where it would have stopped them, had it had each
other. A confirmation trains a winner, in stacks of one shape: what it needs beside a search trial the few steps said
that were timed before the first (`Expected`), times how much longer the winners so far were trained than the mean
trial. Once confirmations have ended they are counted themselves. Nothing is said of what follows: drawing the report,
and what MLflow lacks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from harness.journal.ablation import is_wanted
from harness.journal.clock import busy
from harness.study.study import Study
from harness.trial import Outcome, Trial

LAST = 5  # generations, which tell most of the next ones
STARTUP = 5  # trials that Optuna's median pruner asks for before it stops any
MARGIN = 1.25  # stacks that lose rows save less than their share
TESTS = 1.15  # times what winners lead to expect of confirmations: they measure test rows too
PAUSE = 20.0  # seconds without a training, of which more is no work but a study that nobody ran


@dataclass(frozen=True)
class Expected:
    """What was expected before the first training: seconds of a search trial and of a confirmation, all epochs."""

    trial: float
    confirmation: float

    def record(self) -> dict[str, float]:
        """As a journal keeps it."""
        return {"trial": self.trial, "confirmation": self.confirmation}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Expected | None":
        """What `record()` was made of; None of a journal that has none."""
        return cls(float(record["trial"]), float(record["confirmation"])) if record else None


@dataclass
class Timing:
    """What the trainings of a study took so far."""

    study: Study
    expected: Expected | None = None
    known: dict[Trial, Outcome] = field(default_factory=dict)
    _seen: tuple[float | None, float | None] | None = field(default=None, init=False)  # asked for many times a second

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """A trial has its outcome."""
        self.known[trial] = outcome
        self._seen = None

    def now_of(self, study: Study) -> None:
        """The study has other values that go on than before."""
        if study.stopped != self.study.stopped:
            self.study, self._seen = study, None

    def done(self, *stages: str) -> int:
        """How many trainings of these stages have one."""
        return len(self._of(*stages))

    def wanted(self) -> tuple[int, int]:
        """How many search trials, and trainings after the search, there are to be."""
        searched, confirmed = self.study.whole
        return searched, confirmed + self._steps() * self.study.budget.seeds

    @property
    def is_over(self) -> bool:
        """Whether every training that is wanted has ended. Ablations do not count."""
        searched, confirmed = self.study.whole
        return self.done("search") >= searched and self.done("confirm") >= confirmed and not self.study.open_ended

    def left(self, now: float) -> float | None:
        """The seconds until the last training ends, seen at a Unix time; None while nothing tells."""
        if self._seen is None:
            self._seen = self._after(), max((outcome.ended for outcome in self.known.values()), default=None)
        whole, last = self._seen
        if whole is None or last is None:
            return whole
        return max(whole - max(0.0, now - last), 0.05 * whole)

    def _after(self) -> float | None:
        """The same, seen when the last outcome came."""
        searched, confirmed = self._of("search"), self._of("confirm", "ablation")
        trials, after = (
            max(0, all_ - len(known)) for all_, known in zip(self.wanted(), (searched, confirmed), strict=True)
        )
        search, later = self._searching(searched, trials), self._confirmation(searched, confirmed)
        if (trials and search is None) or (after and later is None):
            return None
        return (search or 0.0) + after * (later or 0.0)

    def _searching(self, searched: Mapping[Trial, Outcome], trials: int) -> float | None:
        """Seconds of the study's time for so many more search trials."""
        if not searched:
            return trials * self.expected.trial if self.expected else None
        newest, judged = max(trial.number for trial in searched) // self._size, self._judged
        first = self._size * max(newest - LAST + 1, min(judged, newest))
        last = {trial: outcome for trial, outcome in searched.items() if trial.number >= first}
        before = [outcome for trial, outcome in searched.items() if trial.number < first]
        each = (together(searched.values()) - together(before)) / len(last)  # with the pause before the first of them
        if newest >= judged:
            return trials * each
        places = len(self.study.searching) * self.study.searches
        free = min(trials, places * judged * self._size - len(searched))
        training = sum(outcome.seconds for outcome in last.values()) / len(last)
        stopped = each - min(each, training) * (1 - self._if_judged(searched)) / MARGIN
        return free * each + (trials - free) * stopped

    @property
    def _size(self) -> int:
        return self.study.search.generation

    @property
    def _judged(self) -> int:
        """The first generation that the median pruner judges, from 0; 0 where another one does, or none."""
        search = self.study.search
        return -(-STARTUP // search.generation) if search.pruner == "median" and search.folds == 1 else 0

    def _if_judged(self, searched: Mapping[Trial, Outcome]) -> float:
        """The share of their epochs that trials would have been trained for, had the median pruner judged them."""
        name, sign = f"val_{self.study.metric}", self.study.measure.sign()
        curves = dict[tuple[Any, int], list[list[float]]]()
        for trial, outcome in searched.items():
            own = [sign * epoch[name] for epoch in outcome.history]
            curves.setdefault((trial.level, trial.search), []).append(own)
        all_ = sum(len(curve) for several in curves.values() for curve in several)
        kept = sum(_stopped_at(curve, several) for several in curves.values() for curve in several)
        return kept / all_ if all_ else 1.0

    def _confirmation(self, searched: Mapping[Trial, Outcome], confirmed: Mapping[Trial, Outcome]) -> float | None:
        if confirmed:
            return together(confirmed.values()) / len(confirmed)
        if not searched:
            return self.expected.confirmation if self.expected else None
        beside = self.expected.confirmation / self.expected.trial if self.expected and self.expected.trial else 1.0
        winners = _winners(self.study, searched)
        mean = sum(outcome.seconds for outcome in searched.values()) / len(searched)
        longer = sum(outcome.seconds for outcome in winners) / len(winners) / mean if winners and mean else 1.0
        return TESTS * together(searched.values()) / len(searched) * beside * longer

    def _of(self, *stages: str) -> dict[Trial, Outcome]:
        known = {trial: outcome for trial, outcome in self.known.items() if trial.stage in stages}
        stopped = {level for level in self.study.levels if self.study.is_stopped(level)}
        return {trial: outcome for trial, outcome in known.items() if trial.level not in stopped} if stopped else known

    def _steps(self) -> int:
        """How many trainings there are with each seed between the defaults and winners, at most, of all levels."""
        if not is_wanted(self.study):
            return 0
        spaces = [self.study.space(level) for level in self.study.searching]
        return sum(map(len, spaces)) if self.study.budget.ablation else len(spaces)


def together(outcomes: Iterable[Outcome]) -> float:
    """The seconds in which any of the outcomes was trained, short pauses between them included."""
    return busy(((outcome.started, outcome.ended) for outcome in outcomes), pause=PAUSE)


def _stopped_at(curve: Sequence[float], several: Sequence[Sequence[float]]) -> int:
    """The epoch, from 1, at which a trial's best so far is below the median of those of its search that got there."""
    for epoch in range(len(curve)):
        there = [other[epoch] for other in several if len(other) > epoch]
        if max(curve[: epoch + 1]) < median(there):
            return epoch + 1
    return len(curve)


def _winners(study: Study, searched: Mapping[Trial, Outcome]) -> list[Outcome]:
    """The best outcome so far of each search."""
    sign, name, best = study.measure.sign(), f"val_{study.metric}", dict[tuple[Any, int], Outcome]()
    for trial, outcome in searched.items():
        place = trial.level, trial.search
        if outcome.status == "finished" and (place not in best or sign * outcome[name] > sign * best[place][name]):
            best[place] = outcome
    return list(best.values())
