"""The only training loop: a group of trials in; an Epoch after every epoch and an Outcome for every trial out.

    for trial, event in train(trials, load("mnist", "cpu"), stop=lambda trial: trial in pruned):
        ...                          # an Epoch, or at the end its Outcome

`steps` is the loop itself, for those who are not in the same thread, or not on the same machine: it gives the epochs of
the whole group at once and is sent a `Reply`, which names the trials that are to stop.

All trials of a group have the same `Config.shape`. They never see each other: a trial ends with the same figures in any
group or alone (to float32 rounding). A trial that is done leaves at once, and the rest go on without it.
"""

import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from harness.config import Config
from harness.parts.data import Data
from harness.training.cohort import Cohort, verdicts
from harness.training.limits import Average
from harness.training.optim import StackOptimizer
from harness.training.state import State, place, put_back
from harness.training.step import make_step
from harness.trial import Epoch, Outcome, Trial

COMPACT = {"cpu": 1.0, "cuda": 0.5}  # the share of a stack still training at which the rest goes on without the others:
# on a GPU those that are done cost little, and a smaller stack wants a graph of its own

Events = list[tuple[Trial, Epoch | Outcome]]
"""The epochs of all that train, or the outcomes of those that are done."""


@dataclass(frozen=True)
class Reply:
    """What is answered to a step: which trials stop, and whether the `State` is wanted before the next epoch."""

    stopped: Collection[Trial] = ()
    save: bool = False


def train(
    trials: Sequence[Trial], data: Data, stop: Callable[[Trial], bool] = lambda trial: False
) -> Iterator[tuple[Trial, Epoch | Outcome]]:
    """Train the trials together, where `data` lies. `stop` is asked about every trial after each of its epochs."""
    training = steps(trials, data)
    events = next(training)
    while not isinstance(events, State):  # which nobody asks for here
        yield from events
        stopped = [trial for trial, event in events if isinstance(event, Epoch) and stop(trial)]
        try:
            events = training.send(Reply(stopped))
        except StopIteration:
            return


def steps(
    trials: Sequence[Trial], data: Data, trainer: "Trainer | None" = None
) -> Generator[Events | State, Reply | None, None]:
    """The same, a step at a time. What is sent after epochs says which of their trials stop. `trainer` is where those
    trials are already.
    """
    trainer = trainer or Trainer.of(trials, data)
    while trainer.cohort.going:
        reply = (yield trainer.epoch()) or Reply()
        save = reply.save
        if ended := verdicts(trainer.cohort, reply.stopped):
            later = yield [*trainer.cohort.end(ended, trainer.started)]
            save = save or (later is not None and later.save)
            trainer = trainer.compacted()
        if save and trainer.cohort.going:
            yield trainer.state(trials)


class Trainer:
    """A cohort with what moves it: an epoch at a time. It `started` at a Unix time."""

    def __init__(self, cohort: Cohort, optimizer: StackOptimizer, started: float = 0.0) -> None:
        self.cohort, self.optimizer, self.started = cohort, optimizer, started
        noise = [member.noise for member in cohort.members]
        self.step = make_step(cohort.task, cohort.stack, optimizer, cohort.training, noise)
        self.step.most = int(cohort.config.batch_size)

    @classmethod
    def of(cls, trials: Sequence[Trial], data: Data) -> "Trainer":
        """Trials at their beginning."""
        started = time.time()
        cohort = Cohort.of(trials, data)
        if trials[0].is_tested:
            cohort.measure_untrained()
        return cls(cohort, cohort.optimizer(), started)

    @classmethod
    def resumed(
        cls, state: State, trials: Sequence[Trial], data: Data, history: Mapping[Trial, Sequence[Epoch]]
    ) -> "Trainer":
        """Trials where a trainer of the same trials took its `state`; `history` are their epochs until then. Raises
        ValueError or KeyError if the state is of other trials, or was taken where figures come out otherwise.
        """
        facts, trainer = state.facts, cls.of(trials, data)
        if facts["place"] != (here := place(data.inputs.device)):
            raise ValueError(f"it was trained on {facts['place']}, and now on {here}")
        trainer.look_at_a_batch()
        if len(facts["rows"]) < len(trials):
            trainer = trainer.only(facts["rows"])
        cohort, trainer.started = trainer.cohort, float(facts["started"])
        kept = {name: one for name, one in state.tensors.items() if not name.startswith("generator.")}
        put_back(trainer.kept(), kept)
        for number, generator in enumerate(cohort.generators):
            generator.set_state(state.tensors[f"generator.{number}"])
        for member, known in zip(cohort.members, facts["members"], strict=True):
            member.history = [*history[member.trial]]
            member.seconds, member.done = float(known["seconds"]), bool(known["done"])
            member.best = member.history[known["best"] - 1] if known["best"] else None
        if trainer.optimizer.schedule is not None:
            trainer.optimizer.schedule.begin(int(facts["schedule"]))
        return trainer

    def look_at_a_batch(self) -> None:
        """Find each layer's lane as at the beginning of a training, by initial weights and its first images."""
        batch, noise = next(self.cohort.batches())[:, : self.step.most], self.step.noise
        self.cohort.stack(self.cohort.training.cut(batch, noise)[0], noise)

    def state(self, trials: Sequence[Trial]) -> State:
        """All that it is between two epochs; `trials` are those that it began with."""
        cohort, schedule = self.cohort, self.optimizer.schedule
        generators = {f"generator.{number}": one.get_state() for number, one in enumerate(cohort.generators)}
        members = [
            {"seconds": member.seconds, "done": member.done, "best": member.best and member.best.number}
            for member in cohort.members
        ]
        facts = {
            "place": place(cohort.stack.flat.device),
            "rows": [trials.index(member.trial) for member in cohort.members],
            "started": self.started,
            "members": members,
            "schedule": schedule and schedule.first,
        }
        return State({**self.kept(), **generators}, facts)

    def kept(self) -> dict[str, torch.Tensor]:
        """All tensors that change from step to step, as views."""
        return {**self.cohort.kept(), **{f"optimizer.{name}": one for name, one in self.optimizer.kept().items()}}

    def compacted(self) -> "Trainer":
        """Without the rows that are done, where the rest is faster alone; else this very one."""
        cohort, going = self.cohort, self.cohort.going
        small = going and len(going) <= COMPACT[cohort.stack.flat.device.type] * len(cohort)
        return self.only(going) if small else self

    def only(self, rows: Sequence[int]) -> "Trainer":
        """Go on with some rows."""
        cohort = self.cohort.only(rows)
        return Trainer(cohort, self.optimizer.only(cohort.stack.flat, rows), self.started)

    def epoch(self) -> Events:
        """Train for an epoch, and measure; the epochs of all that still train."""
        cohort, clock = self.cohort, time.perf_counter()
        if self.optimizer.schedule is not None:
            self.optimizer.schedule.begin(len(cohort.members[cohort.going[0]].history))
        with _precision(cohort.config, cohort.stack.flat.device):
            for batch in cohort.batches():
                self.step(batch)
            with self._judged():
                figures = self._figures()
                share = (time.perf_counter() - clock) / len(cohort.going)
                return [*self._remember(figures, share)]

    def _judged(self) -> AbstractContextManager[None]:
        """Averaged weights in the place of those that train, where there are averages."""
        averages = [one for one in self.optimizer.around if isinstance(one, Average)]
        return averages[0].judged(self.cohort.stack.flat) if averages else nullcontext()

    def _figures(self) -> Sequence[Mapping[str, float]]:
        """The epoch's figures by name, of each row."""
        held_out = self.cohort.measure(self.cohort.held_out, self.cohort.watched).figures()
        tested = self._tested()
        names = [f"train_{name}" for name in self.cohort.task.running] + [f"val_{name}" for name in held_out]
        names += [f"test_{name}" for name in tested]
        table = torch.stack([*self.step.figures(), *held_out.values(), *tested.values()])
        columns = table.T.tolist()  # the one time in an epoch that the loop waits for the device
        figures = [dict(zip(names, column, strict=True)) for column in columns]
        if self.optimizer.schedule is None:
            return figures
        rates = self.optimizer.schedule.rates()
        return [
            {**one, **({} if rate is None else {"learning_rate": rate})}
            for one, rate in zip(figures, rates, strict=True)
        ]

    def _tested(self) -> Mapping[str, torch.Tensor]:
        """The watched figures of the test rows, where the study asks for them after every epoch: trials of one stage,
        so all of them or none.
        """
        if not all(member.trial.tested_each_epoch for member in self.cohort.members):
            return {}
        return self.cohort.measure(self.cohort.tests, self.cohort.watched).figures()

    def _remember(self, figures: Sequence[Mapping[str, float]], seconds: float) -> Iterator[tuple[Trial, Epoch]]:
        now = time.time()
        for row in self.cohort.going:
            member = self.cohort.members[row]
            member.seconds += seconds
            epoch = Epoch(len(member.history) + 1, figures[row], now)
            member.add(epoch, self.cohort.stack.weights(row))
            yield member.trial, epoch


@contextmanager
def _precision(config: Config, device: torch.device) -> Iterator[None]:
    """Torch's global setting for float32 products; as it was afterwards."""
    if config.precision != "tf32" or device.type == "cpu":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
