"""What a worker knows of its group, so that another goes on with it: all that was told, and where its training is.

    work = Unfinished.of(trials)
    work.note(batch); data = work.packed(state)
    work = Unfinished.taken_up(data, trials, table)     # its `told` is told again, its trainer goes on

A group that was too large for the memory trains in parts, one after the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from harness.crews.schedule import Batch, Group
from harness.parts.data import Data
from harness.training.loop import Trainer
from harness.training.state import State
from harness.trial import Epoch, Outcome, Trial


@dataclass
class Unfinished:
    """A group at work. Outcomes that are told again are without their weights."""

    trials: Group
    parts: list[list[Trial]]  # the first of them trains, the others wait
    told: list[Batch] = field(default_factory=list)
    begun: int = 0  # how many batches had been told when the first part began
    trainer: Trainer | None = None  # where the first part is, until it goes on

    @classmethod
    def of(cls, trials: Group) -> Self:
        """A group at its beginning."""
        return cls(trials, [list(trials)])

    @classmethod
    def taken_up(cls, data: bytes, trials: Group, table: Data) -> Self:
        """A group as it was `packed`, on its data; of other bytes it raises an exception of whatever kind."""
        state = State.unpacked(data)
        facts = state.facts
        told = [[(trials[row], _event(record)) for row, record in batch] for batch in facts["told"]]
        work = cls(trials, [[trials[row] for row in part] for part in facts["parts"]], told, int(facts["begun"]))
        own = State(state.tensors, facts["trainer"])
        work.trainer = Trainer.resumed(own, work.parts[0], table, work.history())
        return work

    def packed(self, state: State) -> bytes:
        """The group, whose first part is at that state; raises ValueError where that cannot be kept."""
        rows = {trial: row for row, trial in enumerate(self.trials)}
        facts = {
            "trainer": state.facts,
            "parts": [[rows[trial] for trial in part] for part in self.parts],
            "begun": self.begun,
            "told": [[(rows[trial], _record(event)) for trial, event in batch] for batch in self.told],
        }
        return State(state.tensors, facts).packed()

    def note(self, batch: Iterable[tuple[Trial, Epoch | Outcome]]) -> Batch:
        """A step that is told now."""
        told: Batch = [*batch]
        self.told.append([(trial, _light(event)) for trial, event in told])
        return told

    def left(self) -> list[Trial]:
        """Those of the first part that have no outcome."""
        ended = {trial for batch in self.told[self.begun :] for trial, event in batch if isinstance(event, Outcome)}
        return [trial for trial in self.parts[0] if trial not in ended]

    def next_part(self, halves: Sequence[list[Trial]] = ()) -> None:
        """The first part has ended, or goes on anew in halves."""
        self.parts[:1] = halves
        self.begun = len(self.told)

    def history(self) -> dict[Trial, list[Epoch]]:
        """The epochs of each trial of the first part."""
        epochs: dict[Trial, list[Epoch]] = {trial: [] for trial in self.parts[0]}
        for trial, event in (one for batch in self.told[self.begun :] for one in batch):
            if isinstance(event, Epoch):
                epochs[trial].append(event)
        return epochs

    def hand_over(self) -> Trainer | None:
        """The trainer that goes on, which nothing here holds any more."""
        trainer, self.trainer = self.trainer, None
        return trainer


def _light(event: Epoch | Outcome) -> Epoch | Outcome:
    return event.without_weights() if isinstance(event, Outcome) else event


def _record(event: Epoch | Outcome) -> dict[str, Any]:
    """As JSON's types, in which Python writes what is not finite too."""
    return {"outcome": event.record()} if isinstance(event, Outcome) else {**vars(event), "figures": {**event.figures}}


def _event(record: Mapping[str, Any]) -> Epoch | Outcome:
    if "outcome" in record:
        return Outcome.from_record(record["outcome"])
    return Epoch(int(record["number"]), record["figures"], float(record["time"]))
