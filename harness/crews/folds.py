"""A search trial with folds: each is trained as a trial of its own, and what becomes of them is told as one trial's.

    folds = Folds(trials, study.trainings)
    for member, event in train_all(groups_of(folds.members), crew, folds.stop_as(should_prune)):
        for trial, told in folds.take(member, event): ...        # epochs and outcome are means over the folds

Trials without folds are told as they are.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.crews.schedule import Stop
from harness.trial import Begun, Epoch, Event, Figures, FoldsEnded, OfFold, Outcome, Status, Told, Trial, rounded

WORSE: tuple[Status, ...] = ("finished", "pruned", "diverged", "failed")
"""What a trial is if one of its folds is: the last of these."""


@dataclass
class Together:
    """The folds of a trial at work."""

    members: Sequence[Trial]
    epochs: list[list[Epoch]] = field(init=False)
    ended: dict[int, Outcome] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)
    verdict: bool | None = None  # on what has been told so far

    def __post_init__(self) -> None:
        self.epochs = [[] for _ in self.members]

    def take(self, number: int, event: Event) -> Iterator[Told]:
        """What an event of the fold of that number makes known of the trial."""
        self.verdict = None
        if isinstance(event, Begun):
            self.epochs[number] = []
            self.ended.pop(number, None)
            if number == 0:
                self.history.clear()
                yield event
        elif isinstance(event, Epoch):
            self.epochs[number].append(event)
            yield from self._all_have()
        else:
            self.ended[number] = event
            done = {n: self.ended[n].figures for n in sorted(self.ended) if self.ended[n].status == "finished"}
            if done:
                yield FoldsEnded(done)
            if len(self.ended) == len(self.members):
                yield outcome_of_folds([self.ended[n] for n in range(len(self.members))], self.history)

    @property
    def is_settled(self) -> bool:
        """Whether a fold has ended in a way that settles what becomes of the trial: the others need not go on."""
        return any(outcome.status != "finished" for outcome in self.ended.values())

    def _all_have(self) -> Iterator[Epoch]:
        while all(len(own) > len(self.history) for own in self.epochs):
            known = [own[len(self.history)] for own in self.epochs]
            figures = means([epoch.figures for epoch in known])
            self.history.append(Epoch(known[0].number, figures, max(epoch.time for epoch in known)))
            yield self.history[-1]


class Folds:
    """What trials are trained as (`trainings`, one or more for each), and what they come to."""

    def __init__(self, trials: Sequence[Trial], trainings: Callable[[Trial], Sequence[Trial]]) -> None:
        self.of = {trial: trainings(trial) for trial in trials}
        self.members = [member for members in self.of.values() for member in members]
        self.whole = {member: trial for trial, members in self.of.items() for member in members}
        self._together = {trial: Together(members) for trial, members in self.of.items() if members != [trial]}

    def take(self, member: Trial, event: Event) -> Iterator[tuple[Trial, Told]]:
        """What an event of a training makes known of its trial."""
        trial = self.whole[member]
        if member.fold is None:
            yield trial, event
        else:
            yield from ((trial, told) for told in self._together[trial].take(member.fold.number, event))

    def stop_as(self, ask: Stop) -> Stop:
        """Whether a training is to stop: `ask` is asked about its trial, once for all its folds."""

        def stop(member: Trial) -> bool:
            trial = self.whole[member]
            if member.fold is None:
                return ask(trial)
            together = self._together[trial]
            if together.verdict is None:
                together.verdict = together.is_settled or ask(trial)
            return together.verdict

        return stop


def outcome_of_folds(folds: Sequence[Outcome], history: Sequence[Epoch]) -> Outcome:
    """A trial's outcome: its figures are the means over its folds. Their weights are not kept."""
    worst = max(range(len(folds)), key=lambda number: WORSE.index(folds[number].status))  # the first of them
    status, reason = folds[worst].status, folds[worst].reason
    if status in ("diverged", "failed"):
        reason = f"fold {worst}: {reason}"
    return Outcome(
        status=status,
        reason=f"all {len(folds)} folds came to their end" if status == "finished" else reason,
        started=min(fold.started for fold in folds),
        ended=max(fold.ended for fold in folds),
        seconds=math.fsum(fold.seconds for fold in folds),
        parameters=max(fold.parameters for fold in folds),
        best_epoch=rounded([fold.best_epoch for fold in folds]),
        figures=means([fold.figures for fold in folds if fold.figures]),
        history=tuple(history),
        retries=max(fold.retries for fold in folds),
        folds=tuple(OfFold(one.status, one.epochs, one.best_epoch, one.seconds, one.figures) for one in folds),
    )


def means(several: Sequence[Figures]) -> Mapping[str, float]:
    """The mean of each figure that the first has."""
    return {name: mean([one.get(name, math.nan) for one in several]) for name in several[0]} if several else {}


def mean(values: Sequence[float]) -> float:
    """Infinities and NaN included, which fsum would raise for."""
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else sum(values) / len(values)
