"""One round of one contender, in a process and a folder of its own: `python -m harness.bench.one digits f cpu`."""

import json
import sys
import time
import warnings

import torch

from harness.bench.contenders import CONTENDERS
from harness.bench.stacks import memory
from harness.bench.work import WORKS


def main() -> None:
    """Prepare, then time; a line of JSON on standard output. Peak memory is this process's and its largest child's."""
    warnings.simplefilter("ignore")
    work, device = WORKS[sys.argv[1]], torch.device(sys.argv[3])
    run = CONTENDERS[sys.argv[2]](work, device)
    started = time.perf_counter()
    accuracies = run()
    seconds = time.perf_counter() - started
    figures = {"seconds": seconds, "test_accuracy": sum(accuracies) / len(accuracies), "models": len(accuracies)}
    print(json.dumps({**figures, **memory(device)}))


if __name__ == "__main__":
    main()
