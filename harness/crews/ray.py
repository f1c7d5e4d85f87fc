"""More than one GPU, or more than one machine: our window on Ray.

    cluster = Cluster(data, How(workers=4), gpus_per_stack=1.0)
    for trial, event in train_all(groups, cluster.crew(groups), stop): ...
    cluster.close()

Each worker is an actor that holds the data and trains one group at a time. It gives the epochs of the whole group at
once and waits to be told who stops, so the driver decides everything and stays the only writer. Checkpoints travel as
bytes in the same way: nothing needs a folder that all machines see. A node keeps one copy
of the data, in Ray's object store, which its workers read without copying (on GPUs each has its own).
"""

import itertools
import logging
import os
import re
import secrets
import socket
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.crews.grouping import MOST
from harness.crews.how import How
from harness.crews.local import Training, train_group
from harness.crews.schedule import Crew, Ended, Group, Lost, Said
from harness.errors import StudyStoppedError, UserError
from harness.parts.data import Data
from harness.training.loop import Reply
from harness.training.memory import keep_freed_memory
from harness.trial import Outcome

DEAD_ON_ARRIVAL = 3  # workers in a row that could not even begin, before the study is told


class Cluster:
    """A crew of Ray actors: `workers` of them, or as many as the cluster has room for.

    Without an `address` Ray runs on this machine alone and ends with the study. Raises UserError when Ray is not
    installed or the address does not answer.
    """

    def __init__(self, data: Mapping[str, Data], how: How, gpus_per_stack: float = 1.0) -> None:
        self._ray = _start_ray(how.workers, how.ray)
        resources = self._ray.cluster_resources()
        gpus = resources.get("GPU", 0)
        if how.device == "cuda" and not gpus:
            raise UserError("--device cuda: Ray sees no GPU on any node; use --device auto or cpu")
        self.cuda = how.device != "cpu" and gpus > 0
        self.workers = how.workers or int(gpus / gpus_per_stack if self.cuda else resources.get("CPU", 0))
        if not self.workers:
            raise UserError("--ray: the cluster has no room for a worker now; say how many to wait for with --workers")
        options = {"num_cpus": 1, "num_gpus": gpus_per_stack if self.cuda else 0}
        self._actor = self._ray.remote(**options)(Worker)
        self._data = self._ray.put({name: _packed(one) for name, one in data.items()})
        self._numbers = itertools.count()
        self._idle: list[Any] = []
        self._at_work: dict[int, Any] = {}
        self._answers: dict[Any, int] = {}  # by Ray's reference to it, the number of the worker who owes it
        self._coming: dict[Any, Any] = {}  # by the reference to its first words, a worker that is being started
        self._names: dict[Any, str] = {}  # of workers: process and machine
        self._dead_on_arrival = 0
        for _ in range(self.workers):
            self._hire()

    @property
    def group_size(self) -> int | None:
        """The most trainings in a group, where that is not this machine's to say."""
        return MOST["cuda"] if self.cuda else None

    def describe(self) -> str | None:
        """What trains, in words."""
        return f"{self.workers} Ray workers on {'GPUs' if self.cuda else 'CPUs'}, one thread each"

    def side_by_side(self, groups: Sequence[Group]) -> int:
        """One for each worker."""
        return min(len(groups), self.workers)

    def crew(self, groups: Sequence[Group], watched: bool = False) -> Crew:
        """All workers."""
        return self

    def close(self) -> None:
        """End them, and Ray if it was started here."""
        self._ray.shutdown()

    def free(self) -> bool:
        """Whether a worker has nothing to do."""
        return bool(self._idle)

    def start(self, group: Group, saved: bytes | None) -> int:
        """Give an idle worker a group."""
        number, actor = next(self._numbers), self._idle.pop(0)
        self._at_work[number] = actor
        self._answers[actor.start.remote(list(group), saved)] = number
        return number

    def wait(self, seconds: float) -> list[tuple[int, Said]]:
        """What workers answer within so many seconds; a new one takes the place of one that died."""
        owed = [*self._answers, *self._coming]
        if not self._ray.wait(owed, timeout=seconds)[0]:
            return []
        said: list[tuple[int, Said]] = []
        for answer in self._ray.wait(owed, num_returns=len(owed), timeout=0)[0]:
            if answer in self._coming:
                self._welcome(answer)
                continue
            number = self._answers.pop(answer)
            batch = self._heard(answer)
            if isinstance(batch, Lost):
                lost = self._names.pop(self._at_work.pop(number))
                batch = Lost(f"{lost} was lost: {batch.reason}")
                self._hire()
            elif isinstance(batch, Ended):
                self._idle.append(self._at_work.pop(number))
            said.append((number, batch))
        return said

    def go_on(self, worker: int, reply: Reply) -> None:
        """Send the worker into its next epoch."""
        self._answers[self._at_work[worker].go_on.remote(reply)] = worker

    def abandon(self, worker: int) -> None:
        """Kill the worker, and start another."""
        actor = self._at_work.pop(worker)
        del self._names[actor]
        self._ray.kill(actor)
        self._answers = {answer: number for answer, number in self._answers.items() if number != worker}
        self._hire()

    def dismiss(self, patience: float) -> None:
        """Kill those at work; the idle wait for the next stacks."""
        for worker in list(self._at_work):
            self.abandon(worker)

    def _hire(self) -> None:
        actor = self._actor.remote(self._data, self.cuda)
        self._coming[actor.ready.remote()] = actor

    def _welcome(self, first_words: Any) -> None:
        actor = self._coming.pop(first_words)
        try:
            self._names[actor] = self._ray.get(first_words)
        except self._ray.exceptions.RayError as error:
            self._dead_on_arrival += 1
            if self._dead_on_arrival >= DEAD_ON_ARRIVAL:
                words = str(error).strip().splitlines()
                raise StudyStoppedError(f"Ray workers do not start: {words[-1] if words else error!r}") from None
            self._hire()
        else:
            self._dead_on_arrival = 0
            self._idle.append(actor)

    def _heard(self, answer: Any) -> Said:
        try:
            said: Said = self._ray.get(answer)
        except self._ray.exceptions.RayTaskError:
            raise  # no trial's fault, but a mistake of ours
        except self._ray.exceptions.RayError as error:  # the process, its node or its memory is gone
            return Lost(" ".join(str(error).split()))
        return said


class Worker:
    """What runs in each of Ray's processes."""

    def __init__(self, data: Mapping[str, Mapping[str, Any]], cuda: bool) -> None:
        keep_freed_memory()
        torch.set_num_threads(1)
        device = torch.device("cuda" if cuda else "cpu")
        self.data = {name: _unpacked(one, device) for name, one in data.items()}
        self._training: Training | None = None

    def ready(self) -> str:
        """Who it is, once the data is there."""
        return f"worker process {os.getpid()} on {socket.gethostname()}"

    def start(self, group: Group, saved: bytes | None) -> Said:
        """Begin with a group: its first epochs, or those of a group that was saved, which goes on."""
        self._training = train_group(group, self.data[group[0].config.dataset], saved)
        return self._next(None)

    def go_on(self, reply: Reply) -> Said:
        """The group's state where that is wanted, its next epochs, the outcomes of those that are done, or its end."""
        return self._next(reply)

    def _next(self, reply: Reply | None) -> Said:
        try:
            said = self._training.send(reply) if self._training else []
        except StopIteration:
            return Ended()
        if not isinstance(said, list):
            return said
        return [(trial, _light(event) if isinstance(event, Outcome) else event) for trial, event in said]


def _light(outcome: Outcome) -> Outcome:
    """With weights as arrays: a tensor that is a part of another would travel with the whole."""
    if outcome.weights is None:
        return outcome
    return replace(outcome, weights={name: value.numpy().copy() for name, value in outcome.weights.items()})


def _packed(data: Data) -> dict[str, Any]:
    """Arrays, which Ray's processes share without copying."""
    splits = [rows.numpy() for rows in data.test_splits]
    return {**vars(data), "inputs": data.inputs.numpy(), "targets": data.targets.numpy(), "test_splits": splits}


def _unpacked(packed: Mapping[str, Any], device: torch.device) -> Data:
    with warnings.catch_warnings(action="ignore"):  # that the arrays cannot be written to: nobody does
        tensors = {name: torch.from_numpy(packed[name]) for name in ("inputs", "targets")}
        splits = tuple(torch.from_numpy(rows) for rows in packed["test_splits"])
    return Data(**{**packed, **tensors, "test_splits": splits}).to(device)


def _start_ray(workers: int | None, address: str | None) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a study sends nothing anywhere unless its user asks for it
    if address is None and "RAY_AUTH_MODE" not in os.environ:
        # Some of Ray's ports are open to the network whatever it is told: then only to who knows a secret.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
    except ImportError:
        raise UserError("--workers and --ray need Ray: pip install 'harness-studies[ray]'") from None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        cores = max(workers or 0, os.cpu_count() or 1)  # more workers than cores is the user's choice
        local = {"address": "local", "num_cpus": cores, "include_dashboard": False}
        ray.init(**options, **local)
        return ray
    package = str(Path(__file__).parents[1])  # so that every node runs this very code
    try:
        if plain := re.fullmatch(r"([\w.-]+):(\d+)", address):  # Ray itself would try for minutes
            socket.create_connection((plain[1], int(plain[2])), timeout=10).close()
        ray.init(address=address, runtime_env={"py_modules": [package]}, **options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        words = " ".join(str(error).split())
        raise UserError(f"--ray {address}: no Ray cluster answers there ({words})") from None
    return ray
