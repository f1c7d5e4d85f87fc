"""The contenders of the benchmark: the bare loop, what people use today (rivals.py), and ours.

Each is a function that prepares everything (imports, stores, data) and returns what is timed; that returns the test
accuracy of every model (of numbers R2), so that the table shows that all did the same work.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from harness.bench.jax_stack import jax_stack
from harness.bench.plain import train_plainly
from harness.bench.rivals import Timed, lightning, ray_tune, scikit_learn, tutorial
from harness.bench.work import Work
from harness.parts.tasks import cross_entropy
from harness.training.memory import keep_freed_memory
from harness.training.stack import Stack


def bare(work: Work, device: torch.device) -> Timed:
    """A plain torch loop over tensors that lie on the device: no sweep, no tracking, nothing kept."""
    data = work.load(device)

    def run() -> list[float]:
        return [train_plainly(work, depth, seed, data)[1] for depth in work.depths for seed in range(work.seeds)]

    return run


def harness_single(work: Work, device: torch.device) -> Timed:
    """harness, the whole thing: journal, MLflow, artifacts; one training at a time."""
    return _harness(work, device, size=1)


def harness_stacked(work: Work, device: torch.device) -> Timed:
    """harness as it comes: stacks, side by side where that is faster."""
    return _harness(work, device, None)


def harness_offline(work: Work, device: torch.device) -> Timed:
    """The same without MLflow, as `--offline` has it: for comparison with what tracks nothing."""
    return _harness(work, device, None, offline=True)


def training_alone(work: Work, device: torch.device) -> Timed:
    """The training part of harness alone: no search, journal, MLflow or artifacts."""
    from harness.crews.grouping import by_cost, group_trials
    from harness.crews.how import How
    from harness.crews.local import Local
    from harness.crews.schedule import train_all
    from harness.trial import Outcome

    _get_ready()
    data, study = work.load(device), work.study()
    trials = [trial for level in study.levels for trial in study.confirmations(level, study.config(level, {}))]
    known = {data.name: data}

    def run() -> list[float]:
        groups = by_cost(group_trials(trials, data), known)
        events = train_all(groups, Local(known, How()).crew(groups), lambda trial: False)
        return [event[work.figure] for _, event in events if isinstance(event, Outcome)]

    return run


def _harness(work: Work, device: torch.device, size: int | None, offline: bool = False) -> Timed:
    from harness import environment
    from harness.console import Progress
    from harness.crews.how import How
    from harness.driver import Driver, hand_over, hire
    from harness.journal import Ledger
    from harness.tracking.tracker import Tracker

    _get_ready()
    tracker = Tracker(offline)
    data, study = work.load(device), work.study()
    facts = environment.describe([data], device)
    ledger = Ledger(study, Path("journal.log"), facts)
    tracker.open(study, ledger.id, facts)
    tracker.drain()
    known = {data.name: data}

    def run() -> list[float]:
        with tracker:
            Driver(ledger, tracker, Progress(study, quiet=True), known, hire(How(group_size=size), known), size).run()
            hand_over(tracker, list(ledger.recorded()))
        assert tracker.failure is None, tracker.failure
        return [outcome[work.figure] for _, outcome in ledger.recorded()]

    return run


def _get_ready() -> None:
    """Load what numba compiled, which takes half a second: what JAX compiles is not timed either."""
    keep_freed_memory()
    stack, labels = Stack.of([nn.Sequential(nn.Linear(2, 2))]), torch.zeros(1, 2, dtype=torch.int64)
    x, noise = torch.zeros(1, 2, 2), [torch.Generator()]
    _, _, slope = cross_entropy(stack(x, noise), labels)
    stack.backward(slope)
    if stack.compiled:
        [only] = stack.root.steps  # type: ignore[attr-defined]  # a chain of one run of dense layers
        only.learn(x, labels, noise, torch.zeros(2, 1))


CONTENDERS: dict[str, Callable[[Work, torch.device], Timed]] = {
    "a": bare,
    "b": tutorial,
    "c": lightning,
    "d": ray_tune,
    "e": harness_single,
    "f": harness_stacked,
    "g": training_alone,
    "h": scikit_learn,
    "i": harness_offline,
    "j": jax_stack,
}
