"""What a benchmark should say besides who is first: throughput against K, share of the machine's rate, fixed costs.

python -m harness.bench.measure throughput cpu      # lines of JSON on standard output, as `harness bench` reads them
python -m harness.bench.measure costs cpu
"""

import json
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

from harness.bench.work import WORKS, Work
from harness.config import Config
from harness.parts.data import load
from harness.study.space import Choice
from harness.study.study import Budget, Study
from harness.training.loop import train
from harness.trial import Epoch, Outcome, Trial

Result = TypeVar("Result")
STACKS = (1, 2, 4, 8, 16, 32, 64)
RUNS = 40  # made-up runs whose bookkeeping is timed


def matrix_rate(device: torch.device, size: int = 2048) -> float:
    """The device's rate of large float32 matrix products, in floating-point operations a second; the best of ten."""
    a, b = torch.randn(2, size, size, device=device)
    out, best = torch.empty_like(a), float("inf")
    for _ in range(10):
        started = time.perf_counter()
        torch.mm(a, b, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def operations(config: Config, features: int, classes: int, trained: int, held_out: int) -> float:
    """Floating-point operations of one model's epoch in its matrix products.

    Two for each weight and image forward, two for the weights' gradients, two for the inputs' (not in the first
    layer, whose input is the image); validation is forward only.
    """
    weights = [one * two for one, two in pairwise((features, *config.hidden, classes))]
    return float(trained * (4 * sum(weights) + 2 * sum(weights[1:])) + held_out * 2 * sum(weights))


def throughput(device: torch.device) -> Iterator[dict[str, Any]]:
    """Model-epochs a second, share of the matrix-product rate and peak memory for each size of a stack."""
    rate = matrix_rate(device)
    for name, epochs, repeats in (("digits", 8, 3), ("mnist", 1, 1)):
        work = WORKS[name]
        data = load(work.dataset, device)
        config = work.config(3)
        images = len(data.train)
        held_out = round(images * config.validation)
        needed = operations(config, data.features, data.outputs, images - held_out, held_out)
        for size in STACKS:
            seconds = median(_seconds_per_epoch(work, size, epochs, data) for _ in range(repeats))
            yield {
                "dataset": name,
                "K": size,
                "model_epochs_per_second": size / seconds,
                "share_of_matrix_rate": size * needed / seconds / rate,
                "matrix_gflops": rate / 1e9,
                "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }


def _seconds_per_epoch(work: Work, size: int, epochs: int, data: Any) -> float:
    """Seconds of an epoch of a stack, its making excluded."""
    config = work.config(3)
    trials = [Trial(3, "search", seed, seed, config) for seed in range(size)]
    ended: list[float] = []
    started = 0.0
    for trial, event in train(trials, data, lambda trial: len(ended) > epochs):
        if isinstance(event, Epoch) and trial.number == size - 1:
            ended.append(time.perf_counter())
            started = started or ended[0]
    return (ended[-1] - started) / (len(ended) - 1)


class Clock:
    """Seconds spent, by what they were spent on."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)

    def __call__(self, what: str, call: Callable[..., Result], *arguments: object) -> Result:
        """Make a call, and count its time."""
        started = time.perf_counter()
        result = call(*arguments)
        self.spent[what] += time.perf_counter() - started
        return result


def costs(device: torch.device) -> dict[str, float]:
    """What journal and tracking cost a trial, in milliseconds: the driver's part, and the tracking process's."""
    from harness import environment
    from harness.journal import Ledger
    from harness.tracking.tracker import Tracker

    study, clock = _costs_study(), Clock()
    facts = environment.describe([load("digits", device)], device)
    with Tracker() as tracker:
        ledger = Ledger(study, Path("journal.log"), facts)
        tracker.open(study, ledger.id, facts)
        tracker.drain()
        began = time.perf_counter()
        while trials := clock("ask", ledger.generation):
            for trial in trials:
                clock("tracking", tracker.begin, trial)
                outcome = _made_up(20)
                for epoch in outcome.history:
                    clock("journal", ledger.report, trial, epoch)
                    clock("journal", ledger.should_prune, trial)
                    clock("tracking", tracker.epoch, trial, epoch)
                clock("journal", ledger.record, trial, outcome)
                clock("tracking", tracker.end, trial, outcome)
            clock("journal", ledger.close_generation)
        tracker.drain()
        whole = time.perf_counter() - began
    return {
        "search_ms": 1000 * clock.spent["ask"] / RUNS,
        "journal_ms": 1000 * clock.spent["journal"] / RUNS,
        "tracking_in_the_driver_ms": 1000 * clock.spent["tracking"] / RUNS,
        "all_with_tracking_process_ms": 1000 * whole / RUNS,
    }


def _costs_study() -> Study:
    """Two depths with two choices to search, for made-up outcomes."""
    plain = WORKS["digits"].study()
    tuned = {"width": Choice(values=(32, 64)), "activation": Choice(values=("relu", "tanh"))}
    fixed = {key: value for key, value in plain.fixed.items() if key != "width"}
    budget = Budget(trials=RUNS // 2, seeds=2)
    return plain.model_copy(update={"levels": (1, 2), "tune": tuned, "fixed": fixed, "budget": budget})


def _made_up(epochs: int) -> Outcome:
    now = time.time()
    figures = {"train_loss": 0.1, "train_accuracy": 0.9, "val_loss": 0.1, "val_accuracy": 0.9}
    return Outcome(
        "finished",
        "made up",
        started=now,
        ended=now + 1,
        seconds=1.0,
        parameters=4096,
        best_epoch=epochs,
        figures=figures,
        history=tuple(Epoch(n, {**figures, "train_loss": 1 / n, "val_loss": 1 / n}, now) for n in range(1, epochs + 1)),
        weights={"0.weight": torch.zeros(64, 64)},
    )


def main() -> None:
    """The command that the docstring of this module shows."""
    device = torch.device(sys.argv[2])
    for line in throughput(device) if sys.argv[1] == "throughput" else [costs(device)]:
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
