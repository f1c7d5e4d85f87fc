"""Where training happens: in threads of this process. What goes wrong there comes back as outcomes, not as exceptions.

    for trial, event in train_all(stacks(trials, data), data, stop):
        ...                          # None when it begins, then its Epochs, then its Outcome

On a CPU stacks of larger models run side by side, each on one thread, since torch lets go of Python's lock while it
computes: two products on two cores are faster than one after the other on both. A GPU gets one stack after the other.
"""

import queue
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import torch

from harness.datasets import Data
from harness.train import train
from harness.trial import Epoch, Outcome, Trial

Stop = Callable[[Trial], bool]
Event = Epoch | Outcome | None

STACK = {"cpu": 16, "cuda": 64}  # trials; on a CPU more save little, and a kill costs what its stack has done
CACHE = 1_700_000  # bytes that a stack's batch of inputs may take of a core's cache, on a CPU
WORKERS = 8  # more threads would wait for Python's lock
SMALL = 3e7  # operations of a step's forward pass, below which one thread is as fast as two


def stacks(trials: Sequence[Trial], data: Data, size: int | None = None) -> list[list[Trial]]:
    """Trials grouped by what can be trained together, in the order in which they came; at most `size` in a stack."""
    groups: dict[object, list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.stage, trial.config.shape), []).append(trial)
    made = []
    for group in groups.values():
        count = -(-len(group) // (size or stack_size(group[0], data)))
        most, larger = divmod(len(group), count)  # as even as can be: two workers then end at the same time
        ends = [number * most + min(number, larger) for number in range(count + 1)]
        made += [group[start:end] for start, end in pairwise(ends)]
    return made


def stack_size(trial: Trial, data: Data) -> int:
    """How many trainings of this shape are best trained together: as many as the processor's cache or the GPU bears."""
    most = STACK[data.images.device.type]
    if data.images.is_cuda:
        return most
    return max(1, min(most, CACHE // (4 * trial.config.batch_size * data.images.shape[1])))


def train_all(
    stacks: Sequence[Sequence[Trial]], data: Data, stop: Stop, workers: int | None = None
) -> Generator[tuple[Trial, Event], None, None]:
    """Train the stacks, `workers` at a time; what becomes of them, as it comes. `stop` is asked in this thread."""
    threads = torch.get_num_threads()
    if workers is None:  # small steps are mostly Python, and their other cores serve the tracking process better
        together = not data.images.is_cuda and any(not _is_small(stack[0], data) for stack in stacks)
        workers = min(threads, WORKERS) if together else 1
    workers = min(len(stacks), workers)
    if workers < 2:
        for stack in stacks:
            with _threads(1 if _is_small(stack[0], data) else threads):
                yield from train_stack(stack, data, stop)
        return
    with _threads(1):
        pool = _Pool(sorted(stacks, key=_cost, reverse=True), data)
        try:
            yield from pool.run(workers, stop)
        finally:
            pool.end()  # the caller may have gone: an interrupt, an error


def train_stack(trials: Sequence[Trial], data: Data, stop: Stop) -> Iterator[tuple[Trial, Event]]:
    """What `train` yields; a stack that is too large for the memory is halved, and an exception fails its trials."""
    started, left = time.time(), list(trials)
    for trial in trials:
        yield trial, None
    try:
        for trial, event in train(trials, data, stop):
            if isinstance(event, Outcome):
                left.remove(trial)
            yield trial, event
        return
    except Exception as error:  # whatever a model or a device may raise
        if isinstance(error, _CallerGoneError):
            raise
        too_large = _out_of_memory(error) and len(left) > 1
        reason = "".join(traceback.format_exception(error)).rstrip()
    if too_large:  # by now the exception is gone, and with it the tensors that its frames held
        torch.cuda.empty_cache()
        half = len(left) // 2
        for part in (left[:half], left[half:]):
            yield from (pair for pair in train_stack(part, data, stop) if pair[1] is not None)
    else:
        for trial in left:
            yield trial, Outcome("failed", reason, started=started, ended=time.time())


class _CallerGoneError(Exception):
    """Nobody waits for the outcomes any more."""


@dataclass(frozen=True)
class _Question:
    """A worker's question whether to stop a trial; the caller's thread answers it, after the epochs before it."""

    trial: Trial
    answer: "queue.SimpleQueue[bool]" = field(default_factory=queue.SimpleQueue)


class _Pool:
    """Threads that train stacks and send what becomes of them to the caller's thread."""

    def __init__(self, stacks: Sequence[Sequence[Trial]], data: Data) -> None:
        self.data = data
        self.ended = threading.Event()
        self.threads: list[threading.Thread] = []
        self.waiting: queue.SimpleQueue[Sequence[Trial]] = queue.SimpleQueue()
        for stack in stacks:
            self.waiting.put(stack)
        self.events: queue.SimpleQueue[tuple[Trial, Event] | _Question | BaseException | None] = queue.SimpleQueue()

    def run(self, workers: int, stop: Stop) -> Iterator[tuple[Trial, Event]]:
        """Events until every worker has nothing more to do."""
        self.threads = [
            threading.Thread(target=self._work, name=f"training {number}", daemon=True) for number in range(workers)
        ]
        for thread in self.threads:
            thread.start()
        while workers:
            event = self.events.get()
            if event is None:
                workers -= 1
            elif isinstance(event, _Question):
                event.answer.put(stop(event.trial))
            elif isinstance(event, BaseException):
                raise event
            else:
                yield event

    def end(self) -> None:
        """Let the workers finish the epoch in hand: a thread that is inside torch must not outlive the interpreter."""
        self.ended.set()
        for thread in self.threads:
            thread.join(timeout=60)

    def _work(self) -> None:
        try:
            while not self.ended.is_set():
                try:
                    stack = self.waiting.get_nowait()
                except queue.Empty:
                    break
                for event in train_stack(stack, self.data, self._ask):
                    self.events.put(event)
                    if self.ended.is_set():
                        return
            self.events.put(None)
        except _CallerGoneError:
            pass
        except BaseException as error:  # not a trial's: a mistake of ours, which the caller must hear of
            self.events.put(error)

    def _ask(self, trial: Trial) -> bool:
        question = _Question(trial)
        self.events.put(question)
        while True:
            try:
                return question.answer.get(timeout=0.2)
            except queue.Empty:
                if self.ended.is_set():
                    raise _CallerGoneError from None


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_small(trial: Trial, data: Data) -> bool:
    """Whether a step is too small to gain from several threads."""
    if trial.config.model != "mlp":
        return False
    sizes = [data.images.shape[1], *trial.config.hidden, data.classes]
    weights = sum(one * two for one, two in pairwise(sizes))
    return 2 * trial.config.batch_size * weights < SMALL


def _cost(stack: Sequence[Trial]) -> float:
    """A measure of a stack's work: the longest begin first, so that none is left alone at the end."""
    config = stack[0].config
    return len(stack) * config.epochs * (1 + sum(config.hidden))


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
