"""Checkpoints of the groups of a study, in files beside its journal; the driver alone reads and writes them.

    checkpoints = Checkpoints(folder, bound, every=600.0, say=print)
    checkpoints.keep(group, data, seconds); found = checkpoints.find(group); checkpoints.drop(group)

A file belongs to its very group: its first line is the sha256 of the rest, its second says which trainings it is of and
what else their figures depend on. One that does not fit is set aside, and told; its group is trained from its start.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.catalogue import show
from harness.crews.schedule import Found, Group
from harness.trial import Trial

FORMAT = "harness checkpoint 1"
ENDING = ".checkpoint"


@dataclass(frozen=True)
class Checkpoints:
    """Those in `folder`. `bound` is what all figures of the study depend on, in words by name, `data` is the sha256 of
    each data set. `every` is in seconds, infinite where none are wanted.
    """

    folder: Path
    bound: Mapping[str, str]
    data: Mapping[str, str]
    every: float
    say: Callable[[str], None]

    def find(self, group: Group) -> Found | None:
        """The checkpoint of a group, if there is one that fits."""
        path = self._path(group)
        if not path.exists():
            return None
        try:
            head, data = _read(path)
            used = float(head.pop("used"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.refuse(group, f"it is damaged ({error})")
            return None
        wanted = self._head(group)
        for name in dict.fromkeys([*wanted, *head]):
            if wanted.get(name) != head.get(name):
                self.refuse(group, f"it is of {_differently(name, head.get(name), wanted.get(name))}")
                return None
        self.say(f"{len(group)} trainings go on from their checkpoint ({used:.3g} s of training)")
        return Found(data, used)

    def keep(self, group: Group, data: bytes, used: float) -> None:
        """Write a group's checkpoint, in the place of the one before; the group has trained for `used` seconds."""
        path = self._path(group)
        head = json.dumps({**self._head(group), "used": used}).encode()
        rest = b"\n".join([head, data])
        beside = path.with_suffix(".new")
        try:
            self.folder.mkdir(exist_ok=True)
            with beside.open("wb") as file:
                file.write(hashlib.sha256(rest).hexdigest().encode() + b"\n")
                file.write(rest)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            self.say(f"warning: {path}: {error.strerror or error}; training goes on without this checkpoint")

    def refuse(self, group: Group, why: str) -> None:
        """Set a group's checkpoint aside, and tell why."""
        path, number = self._path(group), 1
        while (aside := path.with_suffix(f".aside{number}")).exists():
            number += 1
        with suppress(OSError):
            path.rename(aside)
        self.say(f"warning: {path}: {why}; it is now {aside.name}, and its {len(group)} trainings begin anew")

    def lacks(self, why: str) -> None:
        """Tell that a group's state cannot be kept."""
        self.say(f"warning: no checkpoint of a stack: {why}")

    def drop(self, group: Group) -> None:
        """Remove the checkpoint of a group that has come to its end."""
        with suppress(OSError):  # what is left `clear` finds, or the next start
            self._path(group).unlink()

    def clear(self) -> None:
        """Remove all checkpoints, and the folder unless something was set aside there."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.suffix in (ENDING, ".new"):
                    with suppress(OSError):
                        path.unlink()
            with suppress(OSError):
                self.folder.rmdir()

    def _path(self, group: Group) -> Path:
        places = json.dumps([_place(trial) for trial in group])
        return self.folder / f"{hashlib.sha256(places.encode()).hexdigest()[:16]}{ENDING}"

    def _head(self, group: Group) -> dict[str, Any]:
        trainings = [_identity(trial) for trial in group]
        names = sorted({str(trial.config.dataset) for trial in group})
        data = {f"data {name}": self.data[name] for name in names}
        head = {"format": FORMAT, **self.bound, **data, "trainings": trainings}
        return dict(json.loads(json.dumps(head)))


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """What a file's second line says, and what follows. Raises ValueError where its first line is no checksum of it."""
    told, _, rest = path.read_bytes().partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != told:
        raise ValueError("its checksum is not that of its contents")
    head, _, data = rest.partition(b"\n")
    return dict(json.loads(head)), data


def _differently(name: str, then: Any, now: Any) -> str:
    if name == "trainings":
        return "trainings with other seeds or hyperparameters"
    return f"another {name}: {str(then)[:40]} then, {str(now)[:40]} now"


def _place(trial: Trial) -> Sequence[Any]:
    """Where a training lies in its study: what does not change when its Config does."""
    return show(trial.level), trial.stage, trial.search, trial.number, trial.fold and trial.fold.number


def _identity(trial: Trial) -> Sequence[Any]:
    """All that tells a training from every other."""
    own, fold = trial.config.own, trial.fold
    code = (own.name, own.sha256) if own else None
    drawn = (trial.seed, trial.pool, fold and (fold.number, fold.of, fold.seed), trial.tested_each_epoch)
    return *_place(trial), *drawn, trial.config.record(), code
