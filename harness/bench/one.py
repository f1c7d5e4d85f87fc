"""One round of one contender, in a process of its own: `python -m harness.bench.one digits f cpu [folder]`."""

import json
import os
import sys
import time
import warnings

import torch

from harness.bench.contenders import CONTENDERS
from harness.bench.filed import work_of
from harness.bench.stacks import memory


def main() -> None:
    """Prepare, then time; a line of JSON on standard output. Peak memory is this process's and its largest child's."""
    warnings.simplefilter("ignore")
    work, device = work_of(sys.argv[1]), torch.device(sys.argv[3])
    if work.file:
        work.load(device)  # here: a study stays below the folder that it is read in
    os.chdir(sys.argv[4] if len(sys.argv) > 4 else ".")
    run = CONTENDERS[sys.argv[2]](work, device)
    started = time.perf_counter()
    accuracies = run()
    seconds = time.perf_counter() - started
    figures = {"seconds": seconds, "test_accuracy": sum(accuracies) / len(accuracies), "models": len(accuracies)}
    print(json.dumps({**figures, **memory(device)}))


if __name__ == "__main__":
    main()
