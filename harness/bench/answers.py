"""How quickly the commands answer: whole processes, from the command line to the last word.

python -m harness.bench.answers cpu      # lines of JSON on standard output, as `harness bench` reads them
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROUNDS = 3
STUDY = """
question = "Does a second or a third layer help on the small digits?"
dataset = "digits"
[compare]
depth = [1, 2, 3]
[tune]
width = [16, 32]
activation = ["relu", "tanh"]
dropout = { low = 0.0, high = 0.3 }
lr = { low = 1e-3, high = 1e-1, log = true }
batch_size = [64, 128]
optimizer = ["sgd", "adam"]
momentum = { low = 0.0, high = 0.95, when = { optimizer = "sgd" } }
[fixed]
epochs = 6
patience = 3
[budget]
trials = 10
searches = 1
seeds = 3
"""
"""What studies/smoke asks, searched once: three depths, ten trials and three seeds each."""


def answers(device: str) -> Iterator[dict[str, Any]]:
    """Seconds of each command: of three rounds the median, the fewest and the most."""
    _write("asked", STUDY)
    _seconds("run", "studies/asked", "--quiet", "--device", device)  # makes the store, which is not what is timed
    commands = {
        "the report of a finished study of 39 runs": ("report", "studies/asked"),
        "a finished study once more": ("run", "studies/asked", "--quiet", "--device", device),
    }
    for what, command in commands.items():
        yield _summary(what, [_seconds(*command) for _ in range(ROUNDS)])
    yield _summary("a study of three trials and three seeds of one epoch", [_empty(n, device) for n in range(ROUNDS)])


def _empty(number: int, device: str) -> float:
    """A new study with the smallest budget there is."""
    _write(f"empty{number}", STUDY)
    smallest = ("--trials", "1", "--seeds", "1", "--epochs", "1")
    return _seconds("run", f"studies/empty{number}", *smallest, "--quiet", "--device", device)


def _write(name: str, text: str) -> None:
    folder = Path("studies") / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "study.toml").write_text(text)


def _seconds(*command: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "harness", *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _summary(what: str, seconds: list[float]) -> dict[str, Any]:
    return {"command": what, "seconds": median(seconds), "fewest": min(seconds), "most": max(seconds)}


def main() -> None:
    """The command that the docstring of this module shows."""
    for line in answers(sys.argv[1]):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
