"""Where training happens: in this process. Whatever goes wrong there comes back as outcomes, never as an exception."""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence

import torch

from harness.datasets import Data
from harness.train import train
from harness.trial import Epoch, Outcome, Trial

STACK = {"cpu": 16, "cuda": 64}  # trials; on a CPU more save little, and a kill costs what its stack has done


def stacks(trials: Sequence[Trial], size: int) -> list[list[Trial]]:
    """Trials grouped by what can be trained together, in the order in which they came."""
    groups: dict[object, list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.stage, trial.config.shape), []).append(trial)
    return [group[start : start + size] for group in groups.values() for start in range(0, len(group), size)]


def train_stack(
    trials: Sequence[Trial], data: Data, stop: Callable[[Trial], bool]
) -> Iterator[tuple[Trial, Epoch | Outcome]]:
    """What `train` yields; a stack that is too large for the memory is halved, and an exception fails its trials."""
    started, left = time.time(), list(trials)
    try:
        for trial, event in train(trials, data, stop):
            if isinstance(event, Outcome):
                left.remove(trial)
            yield trial, event
        return
    except Exception as error:  # whatever a model or a device may raise
        too_large = _out_of_memory(error) and len(left) > 1
        reason = "".join(traceback.format_exception(error)).rstrip()
    if too_large:  # by now the exception is gone, and with it the tensors that its frames held
        torch.cuda.empty_cache()
        half = len(left) // 2
        yield from train_stack(left[:half], data, stop)
        yield from train_stack(left[half:], data, stop)
    else:
        for trial in left:
            yield trial, Outcome("failed", reason, started=started, ended=time.time())


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
