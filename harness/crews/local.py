"""Where training happens on one machine, and what becomes of exceptions and of too little memory.

    workplace = Local({data.name: data}, How())
    for trial, event in train_all(groups, workplace.crew(groups, watched=False), stop): ...

On a CPU stacks of larger models run side by side, each on one thread, since torch lets go of Python's lock while it
computes: two products on two cores are faster than one after the other on both. A GPU gets one stack after the other.
"""

import atexit
import itertools
import os
import queue
import threading
import time
import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from harness.crews.grouping import is_small
from harness.crews.how import How
from harness.crews.schedule import Batch, Crew, Ended, Group, Said, Saved, Unusable
from harness.crews.unfinished import Unfinished
from harness.errors import INTERRUPTED
from harness.parts.data import Data
from harness.training.loop import Reply, steps
from harness.training.state import State
from harness.trial import Outcome

WORKERS = 8  # more threads would wait for Python's lock


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Torch's number of threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


Training = Generator[Batch | Saved | Unusable, Reply | None, None]
"""A group that trains, step by step."""


def train_group(trials: Group, data: Data, saved: bytes | None = None) -> Training:
    """What `loop.steps` yields; a group that is too large for the memory is halved, an exception fails its trials.

    Where the group was `saved` it goes on: what had been told of it is told again first.
    """
    work = Unfinished.of(trials)
    if saved is not None:
        try:
            work = Unfinished.taken_up(saved, trials, data)
        except Exception as error:  # whatever stands there instead
            yield Unusable(f"it cannot be taken up ({type(error).__name__}: {error})")
        else:
            yield from _told_again(work.told, saved)
    while work.parts:
        yield from _train_part(work, data)


def _told_again(told: Sequence[Batch], saved: bytes) -> Training:
    """What was told before; who stopped is known. Who wants to save has it already."""
    save = False
    for batch in told:
        reply = yield [*batch]
        save = save or (reply is not None and reply.save)
    if save:
        yield Saved(saved)


def _train_part(work: Unfinished, data: Data) -> Training:
    """Train the first part of what is unfinished: to its end, or until it is known that it has to be halved."""
    started = time.time()
    training, reply = None, None
    try:
        training = steps(work.parts[0], data, work.hand_over())
        while True:
            said = training.send(reply)
            reply = yield _saved(work, said) if isinstance(said, State) else work.note(said)
    except StopIteration:
        work.next_part()
        return
    except Exception as error:  # whatever a model or a device may raise
        left = work.left()
        too_large = _out_of_memory(error) and len(left) > 1
        reason = "".join(traceback.format_exception(error)).rstrip()
    if too_large:  # by now the exception is gone, and with it the tensors that its frames held
        training = None
        torch.cuda.empty_cache()
        half = len(left) // 2
        work.next_part([left[:half], left[half:]])
    else:
        yield work.note((trial, Outcome("failed", reason, started=started, ended=time.time())) for trial in left)
        work.next_part()


def _saved(work: Unfinished, state: State) -> Saved:
    try:
        return Saved(work.packed(state))
    except ValueError as error:
        return Saved(None, str(error))


class Local:
    """A workplace: this process, on one device."""

    group_size: int | None = None

    def __init__(self, data: Mapping[str, Data], how: How, gpus_per_stack: float = 1.0) -> None:
        self.data, self.alone = data, how.group_size == 1  # one at a time means that nothing runs side by side

    def describe(self) -> str | None:
        """Nothing that the device does not say."""
        return None

    def side_by_side(self, groups: Sequence[Group]) -> int:
        """How many of these groups train at once, each on one thread: several where models are large."""
        large = [group for group in groups if not self._on_gpu(group) and not is_small(group[0], self.data)]
        return min(len(groups), torch.get_num_threads(), WORKERS) if large and not self.alone else 1

    def crew(self, groups: Sequence[Group], watched: bool = False) -> Crew:
        """This thread; or one for each group at work, where larger models gain by it or a time limit asks for it."""
        side_by_side = self.side_by_side(groups)
        if side_by_side > 1 or watched:  # what is stuck in a thread of its own does not hold the caller up
            return Threads(side_by_side, self.data)
        return Here(self.data)  # small steps are mostly Python, and their other cores serve the tracking process better

    def close(self) -> None:
        """Nobody to let go."""

    def _on_gpu(self, group: Group) -> bool:
        return self.data[group[0].config.dataset].inputs.is_cuda


class Here:
    """A crew of one: this thread."""

    def __init__(self, data: Mapping[str, Data]) -> None:
        self.data = data
        self._threads = torch.get_num_threads()
        self._training: Training | None = None
        self._reply: Reply | None = None

    def free(self) -> bool:
        """Whether nothing trains."""
        return self._training is None

    def start(self, group: Group, saved: bytes | None) -> int:
        """Get a group ready."""
        torch.set_num_threads(1 if is_small(group[0], self.data) else self._threads)
        self._training, self._reply = train_group(group, self.data[group[0].config.dataset], saved), None
        return 0

    def wait(self, seconds: float) -> list[tuple[int, Said]]:
        """Train an epoch."""
        try:
            return [(0, self._training.send(self._reply))] if self._training else []
        except StopIteration:
            self._training = None
            return [(0, Ended())]

    def go_on(self, worker: int, reply: Reply) -> None:
        """Remember who stops."""
        self._reply = reply

    def abandon(self, worker: int) -> None:
        """Forget the group."""
        self._training = None

    def dismiss(self, patience: float) -> None:
        """Leave torch as it was."""
        self._training = None
        torch.set_num_threads(self._threads)


Answers = queue.SimpleQueue[Reply | None]
"""What a thread is to do; None lets a thread end."""


class Threads:
    """A thread for each group at work. `size` are those at a time."""

    def __init__(self, size: int, data: Mapping[str, Data]) -> None:
        self.size, self.data = size, data
        self._cores = torch.get_num_threads()
        self._numbers = itertools.count()
        self._threads: dict[int, threading.Thread] = {}
        self._abandoned: list[threading.Thread] = []
        self._answers: dict[int, Answers] = {}
        self._said: queue.SimpleQueue[tuple[int, Said | BaseException]] = queue.SimpleQueue()

    def free(self) -> bool:
        """Whether fewer than `size` groups train."""
        return len(self._threads) < self.size

    def start(self, group: Group, saved: bytes | None) -> int:
        """Begin a thread."""
        number = next(self._numbers)
        answers = self._answers[number] = queue.SimpleQueue()
        thread = threading.Thread(
            target=self._work, args=(number, group, saved, answers), name=f"training {number}", daemon=True
        )
        self._threads[number] = thread
        thread.start()
        return number

    def wait(self, seconds: float) -> list[tuple[int, Said]]:
        """What one of the threads says. Raises what is no trial's fault but a mistake of ours."""
        try:
            number, said = self._said.get(timeout=seconds)
        except queue.Empty:
            return []
        if isinstance(said, BaseException):
            raise said
        if number not in self._threads:  # abandoned
            return []
        if isinstance(said, Ended):
            del self._threads[number], self._answers[number]
        return [(number, said)]

    def go_on(self, worker: int, reply: Reply) -> None:
        """Send the thread into its next epoch."""
        self._answers[worker].put(reply)

    def abandon(self, worker: int) -> None:
        """Let the thread end after its epoch, if that ever ends: a thread cannot be killed."""
        self._answers.pop(worker).put(None)
        self._abandoned.append(self._threads.pop(worker))

    def dismiss(self, patience: float) -> None:
        """Let the epochs in hand end: a thread that is inside torch must not outlive the interpreter."""
        for answers in self._answers.values():
            answers.put(None)
        for thread in self._threads.values():
            thread.join(timeout=patience)
        for thread in self._abandoned:
            thread.join(timeout=min(patience, 1))
        if patience == 0 and any(thread.is_alive() for thread in self._threads.values()):
            atexit.register(os._exit, INTERRUPTED)  # which then ends at once

    def _work(self, number: int, group: Group, saved: bytes | None, answers: Answers) -> None:
        torch.set_num_threads(self._cores if self.size == 1 and not is_small(group[0], self.data) else 1)
        training, reply = train_group(group, self.data[group[0].config.dataset], saved), None
        try:
            while True:
                self._said.put((number, training.send(reply)))
                reply = answers.get()
                if reply is None:
                    return
        except StopIteration:
            self._said.put((number, Ended()))
        except BaseException as error:  # not a trial's: the caller must hear of it
            self._said.put((number, error))


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
