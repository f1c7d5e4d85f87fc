"""How many trainings train at once on a GPU: by measurements of a device that stands in for one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.crews.how import How
from harness.crews.local import Local
from harness.crews.sizing import best_size
from harness.driver import group_size_of, how_record, scale
from harness.journal import Ledger, Records
from harness.parts.data import Data
from harness.study.file import read_study

Write = Callable[[str], Path]


class Device:
    """Trains `parallel` networks in the time of one; each takes a byte of `room`, and what is not there fails."""

    def __init__(self, parallel: int, room: int = 10**9, bears: int = 10**9) -> None:
        self.parallel, self.room, self.bears = parallel, room, bears
        self.tried: list[int] = []

    def begin(self) -> None: ...

    def peak(self) -> int:
        return self.tried[-1]

    def free(self) -> int:
        return self.room

    def seconds(self, size: int) -> float | None:
        self.tried.append(size)
        return None if size > self.bears else float(max(1, size / self.parallel))


@pytest.mark.parametrize(
    ("device", "most", "size", "tried"),
    [
        (Device(parallel=64), 500, 64, [16, 32, 64, 128]),  # twice as many take twice as long
        (Device(parallel=1000), 100, 100, [16, 32, 64, 100]),
        (Device(parallel=1), 500, 16, [16, 32]),
        (Device(parallel=1000, room=75), 500, 32, [16, 32]),  # 64 would leave less than a fifth
        (Device(parallel=1000, bears=50), 500, 32, [16, 32, 64]),
        (Device(parallel=1000, bears=5), 500, 4, [16, 8, 4]),
        (Device(parallel=1000, bears=0), 500, 1, [16, 8, 4, 2, 1]),
        (Device(parallel=1000), 5, 5, [5]),
    ],
)
def test_sizes_are_doubled_as_long_as_it_pays(device: Device, most: int, size: int, tried: list[int]) -> None:
    assert best_size(most, device.seconds, device) == size
    assert device.tried == tried


STUDY = """
dataset = "digits"
[compare]
depth = [1, 2]
[fixed]
width = 8
epochs = 2
[budget]
searches = 1
seeds = {seeds}
"""


def test_what_was_measured_is_kept(write_study: Write, digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that goes on, or is replayed, has the groups that it began with."""
    study = read_study(write_study(STUDY.format(seeds=20)))
    data, said = {"digits": digits}, list[str]()
    journal = Path("studies/mine/journal.log")

    def opened() -> Ledger:
        return Ledger(study, journal, {}, how_record(How(), None), scale(data))

    def size_of(ledger: Ledger, room: Device | None) -> int | None:
        if room is not None:
            room.tried.append(1)  # what `peak` says
        return group_size_of(ledger, data, Local(data, How()), said.append, room)

    assert size_of(opened(), None) is None  # on a CPU the cache decides
    monkeypatch.setattr("harness.plan._group_seconds", lambda group, data: float(len(group)) ** 0.5)
    size = size_of(opened(), Device(parallel=1))
    assert size == 20
    assert said == ["at most 20 trainings at once: measured on this GPU, and kept (--stack says otherwise)"]
    monkeypatch.setattr("harness.plan._group_seconds", None)  # nothing is timed again
    assert size_of(opened(), Device(parallel=1)) == 20
    assert len(said) == 1
    records = Records(journal)
    assert next(iter(records._then.values())).group_size == 20


def test_of_small_groups_nothing_is_measured(write_study: Write, digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    study, data = read_study(write_study(STUDY.format(seeds=16))), {"digits": digits}
    ledger = Ledger(study, Path("studies/mine/journal.log"), {}, how_record(How(), None), scale(data))
    monkeypatch.setattr("harness.plan._group_seconds", None)
    assert group_size_of(ledger, data, Local(data, How()), print, Device(parallel=1)) is None
    assert ledger.measured_group_size is None
