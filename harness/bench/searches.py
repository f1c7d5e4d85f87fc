"""What it costs to search five times instead of once: whole studies on the digits, without MLflow, in turn.

python -m harness.bench.searches cpu      # lines of JSON on standard output, as `harness bench` reads them
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from harness.console import Progress
from harness.crews.how import How
from harness.driver import Driver, choose_device, hire
from harness.journal import Ledger
from harness.parts.data import load
from harness.study.file import read_study
from harness.tracking import Tracker

ROUNDS = 3
SPACES = {
    "lr, dropout and weight decay": "",
    "also activation": 'activation = ["relu", "tanh"]\n',
    "also activation and optimizer": 'activation = ["relu", "tanh"]\noptimizer = ["sgd", "adam"]\n',
}
"""By what is tuned: choices of which a stack has one only make stacks smaller."""
STUDY = """
dataset = "digits"
[compare]
depth = [1, 2, 3, 4, 5]
[tune]
lr = {{ low = 3e-4, high = 1e-1, log = true }}
dropout = {{ low = 0.0, high = 0.5 }}
weight_decay = {{ low = 1e-6, high = 1e-2, log = true }}
{tuned}[fixed]
width = 64
epochs = 12
batch_size = 32
[budget]
trials = 16
seeds = 10
"""


def searches(device: str) -> Iterator[dict[str, Any]]:
    """For each space the seconds of a study with one search and with five, and their ratio: of three rounds medians."""
    for what, tuned in SPACES.items():
        rounds = [
            [_seconds(f"s{number}-{count}", tuned, count, device) for count in (1, 5)] for number in range(ROUNDS)
        ]
        one, five = (median(column) for column in zip(*rounds, strict=True))
        ratios = [more / less for less, more in rounds]
        known = {"one": one, "five": five, "ratio": median(ratios), "fewest": min(ratios), "most": max(ratios)}
        yield {"tuned": what, **known}


def _seconds(name: str, tuned: str, count: int, device: str) -> float:
    """How long the driver takes for a new study with so many searches of each value."""
    folder = Path("studies") / f"{name}-{len(tuned)}"
    folder.mkdir(parents=True)
    (folder / "study.toml").write_text(STUDY.format(tuned=tuned))
    study = read_study(folder, [f"budget.searches={count}"])
    data = {"digits": load("digits", choose_device(device))}
    with closing(hire(How(device=device), data)) as workplace, Progress(study, quiet=True) as progress:
        ledger = Ledger(study, folder / study.journal, {})
        started = time.perf_counter()
        Driver(ledger, Tracker(offline=True), progress, data, workplace, workplace.group_size).run()
        return time.perf_counter() - started


def main() -> None:
    """The command that the docstring of this module shows."""
    for line in searches(sys.argv[1]):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
