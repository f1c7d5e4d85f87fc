"""Where training happens on one machine, and what becomes of exceptions and of too little memory.

    made = stacks(trials, data)
    for trial, event in train_all(made, local_crew(made, {data.name: data}), stop): ...

On a CPU stacks of larger models run side by side, each on one thread, since torch lets go of Python's lock while it
computes: two products on two cores are faster than one after the other on both. A GPU gets one stack after the other.
"""

import itertools
import queue
import threading
import time
import traceback
from collections.abc import Collection, Generator, Mapping, Sequence
from itertools import pairwise

import torch

from harness.crews.schedule import Batch, Crew, Lost, Stack
from harness.parts.data import Data
from harness.training.loop import steps
from harness.trial import Outcome, Trial

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


def train_stack(trials: Stack, data: Data) -> Generator[Batch, Collection[Trial] | None, None]:
    """What `train.steps` yields; a stack that is too large for the memory is halved, an exception fails its trials."""
    started, left = time.time(), list(trials)
    training, stopped = None, None
    try:
        training = steps(trials, data)
        while True:
            batch = training.send(stopped)
            for trial, event in batch:
                if isinstance(event, Outcome):
                    left.remove(trial)
            stopped = yield [*batch]
    except StopIteration:
        return
    except Exception as error:  # whatever a model or a device may raise
        too_large = _out_of_memory(error) and len(left) > 1
        reason = "".join(traceback.format_exception(error)).rstrip()
    if too_large:  # by now the exception is gone, and with it the tensors that its frames held
        training = None
        torch.cuda.empty_cache()
        half = len(left) // 2
        for part in (left[:half], left[half:]):
            yield from train_stack(part, data)
    else:
        yield [(trial, Outcome("failed", reason, started=started, ended=time.time())) for trial in left]


def local_crew(stacks: Sequence[Stack], data: Mapping[str, Data], alone: bool = False, watched: bool = False) -> Crew:
    """Who trains these stacks on this machine; `alone` is one at a time, `watched` means that there is a time limit."""
    large = [s for s in stacks if not data[s[0].config.dataset].images.is_cuda and not _is_small(s[0], data)]
    side_by_side = min(len(stacks), torch.get_num_threads(), WORKERS) if large and not alone else 1
    if side_by_side > 1 or watched:  # what is stuck in a thread of its own does not hold the caller up
        return Threads(side_by_side, data)
    return Here(data)  # small steps are mostly Python, and their other cores serve the tracking process better


class Here:
    """A crew of one: this thread."""

    def __init__(self, data: Mapping[str, Data]) -> None:
        self.data = data
        self._threads = torch.get_num_threads()
        self._training: Generator[Batch, Collection[Trial] | None, None] | None = None
        self._stopped: Collection[Trial] | None = None

    def free(self) -> bool:
        """Whether nothing trains."""
        return self._training is None

    def start(self, stack: Stack) -> int:
        """Get a stack ready."""
        torch.set_num_threads(1 if _is_small(stack[0], self.data) else self._threads)
        self._training, self._stopped = train_stack(stack, self.data[stack[0].config.dataset]), None
        return 0

    def wait(self, seconds: float) -> list[tuple[int, Batch | Lost | None]]:
        """Train an epoch."""
        try:
            return [(0, self._training.send(self._stopped))] if self._training else []
        except StopIteration:
            self._training = None
            return [(0, None)]

    def go_on(self, worker: int, stopped: Collection[Trial]) -> None:
        """Remember who stops."""
        self._stopped = stopped

    def abandon(self, worker: int) -> None:
        """Forget the stack."""
        self._training = None

    def dismiss(self) -> None:
        """Leave torch as it was."""
        self._training = None
        torch.set_num_threads(self._threads)


class Threads:
    """A thread for each stack at work. `size` are those at a time."""

    def __init__(self, size: int, data: Mapping[str, Data]) -> None:
        self.size, self.data = size, data
        self._cores = torch.get_num_threads()
        self._numbers = itertools.count()
        self._threads: dict[int, threading.Thread] = {}
        self._abandoned: list[threading.Thread] = []
        self._answers: dict[int, queue.SimpleQueue[Collection[Trial] | None]] = {}
        self._said: queue.SimpleQueue[tuple[int, Batch | BaseException | None]] = queue.SimpleQueue()

    def free(self) -> bool:
        """Whether fewer than `size` stacks train."""
        return len(self._threads) < self.size

    def start(self, stack: Stack) -> int:
        """Begin a thread."""
        number = next(self._numbers)
        answers = self._answers[number] = queue.SimpleQueue()
        thread = threading.Thread(
            target=self._work, args=(number, stack, answers), name=f"training {number}", daemon=True
        )
        self._threads[number] = thread
        thread.start()
        return number

    def wait(self, seconds: float) -> list[tuple[int, Batch | Lost | None]]:
        """What one of the threads says. Raises what is no trial's fault but a mistake of ours."""
        try:
            number, said = self._said.get(timeout=seconds)
        except queue.Empty:
            return []
        if isinstance(said, BaseException):
            raise said
        if number not in self._threads:  # abandoned
            return []
        if said is None:
            del self._threads[number], self._answers[number]
        return [(number, said)]

    def go_on(self, worker: int, stopped: Collection[Trial]) -> None:
        """Send the thread into its next epoch."""
        self._answers[worker].put(stopped)

    def abandon(self, worker: int) -> None:
        """Let the thread end after its epoch, if that ever ends: a thread cannot be killed."""
        self._answers.pop(worker).put(None)
        self._abandoned.append(self._threads.pop(worker))

    def dismiss(self) -> None:
        """Let the epochs in hand end: a thread that is inside torch must not outlive the interpreter."""
        for answers in self._answers.values():
            answers.put(None)
        for thread in self._threads.values():
            thread.join(timeout=60)
        for thread in self._abandoned:
            thread.join(timeout=1)

    def _work(self, number: int, stack: Stack, answers: "queue.SimpleQueue[Collection[Trial] | None]") -> None:
        torch.set_num_threads(self._cores if self.size == 1 and not _is_small(stack[0], self.data) else 1)
        training, stopped = train_stack(stack, self.data[stack[0].config.dataset]), None
        try:
            while True:
                self._said.put((number, training.send(stopped)))
                stopped = answers.get()
                if stopped is None:
                    return
        except StopIteration:
            self._said.put((number, None))
        except BaseException as error:  # not a trial's: the caller must hear of it
            self._said.put((number, error))


def _is_small(trial: Trial, data: Mapping[str, Data]) -> bool:
    """Whether a step is too small to gain from several threads."""
    if trial.config.model != "mlp":
        return False
    mine = data[trial.config.dataset]
    sizes = [mine.images.shape[1], *trial.config.hidden, mine.classes]
    weights = sum(one * two for one, two in pairwise(sizes))
    return 2 * trial.config.batch_size * weights < SMALL


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
