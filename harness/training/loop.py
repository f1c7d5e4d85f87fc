"""The only training loop: a group of trials in; an Epoch after every epoch and an Outcome for every trial out.

    for trial, event in train(trials, load("mnist", "cpu"), stop=lambda trial: trial in pruned):
        ...                          # an Epoch, or at the end its Outcome

`steps` is the loop itself, for those who are not in the same thread, or not on the same machine: it gives the epochs of
the whole group at once and is sent the trials that are to stop.

All trials of a group have the same `Config.shape`. They never see each other: a trial ends with the same figures in any
group or alone (to float32 rounding). A trial that is done leaves at once, and the rest go on without it.
"""

import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from harness.config import Config
from harness.parts.data import Data
from harness.training.cohort import Cohort, verdicts
from harness.training.limits import Average
from harness.training.optim import StackOptimizer
from harness.training.step import make_step
from harness.trial import Epoch, Outcome, Trial

COMPACT = {"cpu": 1.0, "cuda": 0.5}  # the share of a stack still training at which the rest goes on without the others:
# on a GPU those that are done cost little, and a smaller stack wants a graph of its own

Events = list[tuple[Trial, Epoch | Outcome]]
"""The epochs of all that train, or the outcomes of those that are done."""


def train(
    trials: Sequence[Trial], data: Data, stop: Callable[[Trial], bool] = lambda trial: False
) -> Iterator[tuple[Trial, Epoch | Outcome]]:
    """Train the trials together, where `data` lies. `stop` is asked about every trial after each of its epochs."""
    training = steps(trials, data)
    events = next(training)
    while True:
        yield from events
        try:
            events = training.send([trial for trial, event in events if isinstance(event, Epoch) and stop(trial)])
        except StopIteration:
            return


def steps(trials: Sequence[Trial], data: Data) -> Generator[Events, Collection[Trial] | None, None]:
    """The same, a step at a time. After epochs it is sent those of their trials that are to stop."""
    started = time.time()
    cohort = Cohort.of(trials, data)
    if trials[0].is_tested:
        cohort.measure_untrained()
    trainer = Trainer(cohort, cohort.optimizer())
    while cohort.going:
        stopped = (yield trainer.epoch()) or ()
        if ended := verdicts(cohort, stopped):
            yield [*cohort.end(ended, started)]
            going = cohort.going
            if going and len(going) <= COMPACT[cohort.stack.flat.device.type] * len(cohort):
                trainer = trainer.only(going)
                cohort = trainer.cohort


class Trainer:
    """A cohort with what moves it: an epoch at a time."""

    def __init__(self, cohort: Cohort, optimizer: StackOptimizer) -> None:
        self.cohort, self.optimizer = cohort, optimizer
        noise = [member.noise for member in cohort.members]
        self.step = make_step(cohort.task, cohort.stack, optimizer, cohort.training, noise)
        self.step.most = int(cohort.config.batch_size)

    def only(self, rows: Sequence[int]) -> "Trainer":
        """Go on with some rows."""
        cohort = self.cohort.only(rows)
        return Trainer(cohort, self.optimizer.only(cohort.stack.flat, rows))

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
