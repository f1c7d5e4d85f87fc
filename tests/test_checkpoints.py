"""A training that goes on from its checkpoint ends as if it had never stopped, to the last bit."""

import hashlib
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.analysis.results import read_results
from harness.crews.checkpoints import Checkpoints
from harness.crews.local import Here, Threads, train_group
from harness.crews.schedule import Crew, Saved, Stopping, Unusable, train_all
from harness.parts.data import Data
from harness.training.loop import Reply, steps
from harness.training.state import State
from harness.trial import Begun, Epoch, Outcome, Trial

from .conftest import begun, harness, make_trial
from .test_kill import figures

Told = list[tuple[Trial, Epoch | Outcome]]
AUGMENTED: dict[str, Any] = {"augment_shift": 1, "augment_flip": True}
RICH: dict[str, Any] = {"schedule": "cosine", "warmup": 1, "ema": 0.9, "clip_norm": 1.0, **AUGMENTED}


def stopped_by(trial: Trial, epoch: Epoch) -> bool:
    """Who would be pruned."""
    return trial.number == 1 and epoch.number == 3


def trained(
    group: Sequence[Trial], data: Data, saved: bytes | None = None, until: int | None = None
) -> tuple[Told, Any]:
    """All that is told of a group, to its end or until its state after epoch `until`, which comes with it."""
    training, told, reply = train_group(group, data, saved), Told(), None
    while True:
        try:
            said = training.send(reply)
        except StopIteration:
            return told, None
        if isinstance(said, Saved):
            assert said.data is not None, said.why
            return told, said.data
        assert not isinstance(said, Unusable), said.why
        told += said
        epochs = [(trial, event) for trial, event in said if isinstance(event, Epoch)]
        stopped = [trial for trial, event in epochs if stopped_by(trial, event)]
        reply = Reply(stopped, save=any(event.number == until for _, event in epochs))


def without_times(told: Told) -> list[Any]:
    """All that is known, to the last bit, but for the times."""
    return [
        (
            trial.number,
            {**event.record(), "started": 0, "ended": 0, "seconds": 0, "history": [e.figures for e in event.history]},
        )
        if isinstance(event, Outcome)
        else (trial.number, event.number, event.figures)
        for trial, event in told
    ]


CASES: dict[str, list[dict[str, Any]]] = {
    "sgd": [{"optimizer": "sgd", "momentum": 0.9, "dropout": 0.3, "lr": 0.1 / (k + 1)} for k in range(4)],
    **{
        name: [{"optimizer": name, "lr": 0.01 / (k + 1), "dropout": 0.1 * k, **RICH} for k in range(4)]
        for name in ("adam", "adamw", "rmsprop", "muon", "nadam", "radam", "adagrad", "adadelta", "adamax", "lion")
    },
    "batch norm": [{"norm": "batch", "lr": 0.01 / (k + 1), "dropout": 0.2} for k in range(4)],
    "cnn": [{"model": "cnn", "channels": (4,), "lr": 0.01 / (k + 1), "dropout": 0.2, **AUGMENTED} for k in range(3)],
    "restarts": [{"schedule": "cosine_restarts", "restart_every": 2, "lr": 0.01 / (k + 1)} for k in range(3)],
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("stage", ["search", "confirm"])
def test_it_goes_on_to_the_last_bit(name: str, stage: str, digits: Data) -> None:
    seeds = [1, 1, 2, 3] if stage == "confirm" else [1] * 4
    group = [
        make_trial(k, seed=seeds[k], stage=stage, **{"width": 8, "epochs": 8, "patience": 4, **each})
        for k, each in enumerate(CASES[name])
    ]
    whole, _ = trained(group, digits)
    for until in (1, 4):
        before, saved = trained(group, digits, until=until)
        assert saved
        again, _ = trained(group, digits, saved)
        assert without_times(before) == without_times(whole[: len(before)])
        assert without_times(again) == without_times(whole)
        known = [(trial, event.record() if isinstance(event, Outcome) else repr(event)) for trial, event in again]
        assert known[: len(before)] == [(t, e.record() if isinstance(e, Outcome) else repr(e)) for t, e in before]


def test_weights_that_were_best_before_it_are_tested(digits: Data) -> None:
    group = [make_trial(0, stage="confirm", lr=0.05, epochs=60, patience=3)]
    whole, _ = trained(group, digits)
    outcome = whole[-1][1]
    assert isinstance(outcome, Outcome)
    assert outcome.reason == "no lower validation loss for 3 epochs"
    _, saved = trained(group, digits, until=outcome.best_epoch + 1)
    assert saved
    assert without_times(trained(group, digits, saved)[0]) == without_times(whole)


def test_a_stack_that_was_halved_goes_on_in_its_parts(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def small_memory(trials: list[Trial], *arguments: Any) -> Any:
        if len(trials) > 2:
            raise torch.OutOfMemoryError("out of memory, says this test")
        return steps(trials, *arguments)

    monkeypatch.setattr("harness.crews.local.steps", small_memory)
    group = [make_trial(k, epochs=5, dropout=0.1 * k, lr=0.1 / (k + 1)) for k in range(5)]
    whole, _ = trained(group, digits)
    for count in (2, 3, 5, 6, 8):  # in the first part, behind it, ...
        training, reply, told = train_group(group, digits), None, Told()
        batches = 0
        while not isinstance(said := training.send(reply), Saved):
            assert isinstance(said, list)
            told, batches = told + said, batches + 1
            stopped = [trial for trial, event in said if isinstance(event, Epoch) and stopped_by(trial, event)]
            reply = Reply(stopped, save=batches >= count)
        again, _ = trained(group, digits, said.data)
        assert without_times(again) == without_times(whole)


# What is kept of a study


def kept_in(folder: Path, said: list[str], data: Data, every: float = 0.0, torch_is: str = "1.0") -> Checkpoints:
    return Checkpoints(folder / "checkpoints", {"torch": torch_is}, {"digits": data.fingerprint}, every, said.append)


def driven(groups: Sequence[Sequence[Trial]], crew: Crew, keeping: Checkpoints, events: int | None = None) -> Told:
    """What is told of groups, to the end or until so many epochs came; without those that were told to be stopped."""
    told, stopping = Told(), Stopping()
    for trial, event in train_all(groups, crew, lambda trial: False, keeping=keeping, stopping=stopping):
        if not isinstance(event, Begun):
            told.append((trial, event))
        if len(told) == events:
            stopping.asked = True
    return told


@pytest.mark.parametrize("side_by_side", [1, 2])
def test_all_groups_at_work_are_kept_when_told_to_stop(side_by_side: int, digits: Data, tmp_path: Path) -> None:
    groups = [[make_trial(2 * k + n, width=8 + 8 * k, epochs=6, dropout=0.2) for n in range(2)] for k in range(3)]
    known = {"digits": digits}

    def crew() -> Crew:
        return Here(known) if side_by_side == 1 else Threads(2, known)

    whole = {t.number: e for t, e in driven(groups, crew(), kept_in(tmp_path, [], digits)) if isinstance(e, Outcome)}
    said: list[str] = []
    keeping = kept_in(tmp_path, said, digits, every=1e9)
    cut = driven(groups, crew(), keeping, events=9)
    assert len(cut) < 36 - 4
    assert len(list(tmp_path.glob("checkpoints/*.checkpoint"))) == side_by_side
    rest = driven(groups, crew(), keeping)
    assert [line.partition(" (")[0] for line in said] == ["2 trainings go on from their checkpoint"] * side_by_side
    ended = {t.number: e for t, e in cut + rest if isinstance(e, Outcome)}
    assert {number: e.figures for number, e in ended.items()} == {number: e.figures for number, e in whole.items()}
    assert not list(tmp_path.glob("checkpoints/*"))


def test_a_group_that_is_short_has_none(digits: Data, tmp_path: Path) -> None:
    driven([[make_trial(0)]], Here({"digits": digits}), kept_in(tmp_path, [], digits, every=600.0))
    assert not (tmp_path / "checkpoints").exists()


def test_a_clock_that_is_set_back_costs_no_checkpoint(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping, stopping = kept_in(tmp_path, [], digits, every=1e-6), Stopping()
    group, clock = [make_trial(0, epochs=6)], time.time
    for _, event in train_all([group], Here({"digits": digits}), lambda _: False, keeping=keeping, stopping=stopping):
        if isinstance(event, Begun):
            monkeypatch.setattr(time, "time", lambda: clock() - 3600)
        if isinstance(event, Epoch) and event.number == 2:
            break  # as a kill does, which asks nobody to stop
    found = keeping.find(group)
    assert found is not None
    assert 0 < found.used < 60


def without_one_byte(text: bytes) -> bytes:
    return text[:-1]


def with_another(text: bytes) -> bytes:
    place = len(text) // 2
    return text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]


def forged(text: bytes) -> bytes:
    """A whole file with a right checksum whose tensors are of another training."""
    head = text.split(b"\n")[1]
    rest = head + b"\n" + State({"cohort.flat": torch.zeros(1, 3)}, {"told": [], "parts": [[0]]}).packed()
    return hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_one_byte, "it is damaged (its checksum is not that of its contents)"),
        (with_another, "it is damaged (its checksum is not that of its contents)"),
        (lambda text: b"", "it is damaged"),
        (forged, "it cannot be taken up"),
    ],
)
def test_a_damaged_one_is_told_and_trained_anew(change: Any, told: str, digits: Data, tmp_path: Path) -> None:
    groups, crew = [[make_trial(0, epochs=6)]], Here({"digits": digits})
    whole = driven(groups, crew, kept_in(tmp_path, [], digits))
    said: list[str] = []
    keeping = kept_in(tmp_path, said, digits)
    driven(groups, crew, keeping, events=3)
    [path] = tmp_path.glob("checkpoints/*.checkpoint")
    path.write_bytes(change(path.read_bytes()))
    assert without_times(driven(groups, crew, keeping)) == without_times(whole)
    warning = said[-1]
    assert told in warning
    assert f"; it is now {path.stem}.aside1, and its 1 trainings begin anew" in warning
    assert "\n" not in warning
    assert path.with_suffix(".aside1").exists()
    keeping.clear()
    assert [one.name for one in path.parent.iterdir()] == [f"{path.stem}.aside1"]


@pytest.mark.parametrize(
    ("changes", "now_is", "told"),
    [
        ({}, "2.0", "it is of another torch: 1.0 then, 2.0 now"),
        ({"lr": 0.5}, "1.0", "it is of trainings with other seeds or hyperparameters"),
        ({"seed": 2}, "1.0", "it is of trainings with other seeds or hyperparameters"),
    ],
)
def test_a_foreign_one_is_told_and_trained_anew(
    changes: dict[str, Any], now_is: str, told: str, digits: Data, tmp_path: Path
) -> None:
    crew, said = Here({"digits": digits}), list[str]()
    driven([[make_trial(0, epochs=6)]], crew, kept_in(tmp_path, said, digits), events=3)
    now = [[make_trial(0, epochs=6, **changes)]]
    again = driven(now, crew, kept_in(tmp_path, said, digits, torch_is=now_is))
    assert len(said) == 1
    assert told in said[0]
    assert without_times(again) == without_times(driven(now, crew, kept_in(tmp_path, [], digits)))
    other = replace(digits, fingerprint="f" * 64)
    driven(now, crew, kept_in(tmp_path, said, digits, torch_is=now_is), events=3)
    driven(now, crew, kept_in(tmp_path, said, other, torch_is=now_is))
    assert "it is of another data digits: " in said[-1]


def test_a_disk_that_is_full_costs_the_checkpoint_only(digits: Data, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    said: list[str] = []
    told = driven([[make_trial(0)]], Here({"digits": digits}), kept_in(tmp_path, said, digits))
    assert isinstance(told[-1][1], Outcome)
    assert told[-1][1].status == "finished"
    assert "training goes on without this checkpoint" in said[0]


# Studies that are killed and go on

OWN = '''
from torch import Tensor, nn


class Wide(nn.Module):
    """A hidden layer with batch norm and dropout, which no form by hand trains."""

    def __init__(self, inputs: int, outputs: int, hidden: int = 8, rate: float = 0.0) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden)
        self.drop, self.last = nn.Dropout(rate), nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(self.norm(self.first(x)).relu()))
'''
LONG = """
dataset = "digits"
model = "net.py:Wide"
[compare]
hidden = [8, 12]
[tune]
lr = { low = 1e-3, high = 3e-2, log = true }
rate = { values = [0.0, 0.3] }
[fixed]
schedule = "cosine"
ema = 0.8
augment_shift = 1
batch_size = 32
epochs = 25
patience = 8
[budget]
trials = 2
searches = 1
seeds = 2
checkpoint_minutes = 0.003
[search]
generation = 2
"""


def prepared(folder: Path) -> Path:
    """A folder with the study."""
    study = folder / "studies" / "mine"
    study.mkdir(parents=True)
    (study / "study.toml").write_text(LONG)
    (study / "net.py").write_text(OWN)
    return folder


@dataclass
class Interrupted:
    """A study whose driver is sent signals, one after the other, each some moments after it has trained again."""

    folder: Path
    chance: random.Random
    resumed: int = 0  # groups that went on from a checkpoint
    codes: list[int] = field(default_factory=list)

    @property
    def study(self) -> Path:
        return self.folder / "studies" / "mine"

    def trained(self) -> tuple[int, ...]:
        """Another one after each epoch that was trained: how long the journal is, and when checkpoints were written."""
        journal = self.study / "journal.log"
        text = journal.read_text() if journal.exists() else ""
        checkpoints = [path.stat().st_mtime_ns for path in self.study.glob("checkpoints/*.checkpoint")]
        return text.count('"intermediate_value"'), *sorted(checkpoints)

    def run(self, number: signal.Signals | None) -> None:
        """One driver's life, which `number` ends unless it ends by itself."""
        process = begun("run", "studies/mine", "--offline", cwd=self.folder)
        before = self.trained()
        while number is not None and process.poll() is None:
            with suppress(FileNotFoundError):  # a checkpoint comes and goes
                if self.trained() != before:
                    time.sleep(self.chance.uniform(0.0, 0.8))
                    process.send_signal(number)
                    break
            time.sleep(0.01)
        out, error = process.communicate(timeout=120)
        self.resumed += out.count("go on from their checkpoint")
        self.codes.append(process.returncode)
        assert "Traceback" not in error, error
        assert "warning: studies" not in out, out


def interrupted(folder: Path, times: int) -> None:
    """A study that is told to stop, and killed, so many times, beside one that is not."""
    whole = prepared(folder / "whole")
    done = harness("run", "studies/mine", "--offline", "--quiet", cwd=whole)
    assert done.returncode == 0, done.stderr
    cut = Interrupted(prepared(folder / "cut"), random.Random(1))
    for _ in range(times):
        for number in (signal.SIGTERM, signal.SIGKILL):
            cut.run(number)
    cut.run(None)
    assert cut.codes[-1] == 0
    assert set(cut.codes[:-1]) <= {130, -signal.SIGKILL, 0}
    one, other = (read_results(where / "studies" / "mine" / "journal.log") for where in (cut.folder, whole))
    assert figures(one).equals(figures(other))  # to the last bit
    assert one.epochs.drop(columns="time").equals(other.epochs.drop(columns="time"))
    assert cut.resumed >= times
    assert not (cut.study / "checkpoints").exists()


def test_signals_and_kills_change_no_figure(tmp_path: Path) -> None:
    interrupted(tmp_path, times=1)


def test_a_deadline_ends_an_epoch_that_is_too_long(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    wait = "time.sleep(0.3 if Path('slow').exists() else 0)"
    slow = OWN.replace("from torch import", "import time\nfrom pathlib import Path\n\nfrom torch import", 1)
    (folder / "studies" / "mine" / "net.py").write_text(slow.replace("return", f"{wait}\n        return"))
    process = begun("run", "studies/mine", "--offline", "--grace", "2", cwd=folder, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    while "  searching " not in process.stderr.readline():
        pass
    (folder / "slow").touch()  # an epoch takes ten seconds from now on
    time.sleep(1.0)
    process.terminate()
    began = time.monotonic()
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert 1.5 < time.monotonic() - began < 15
    assert "harness: stopped after 2 s; the same command goes on from the last checkpoints" in error


@pytest.mark.soak
def test_many_signals_and_kills_change_no_figure(tmp_path: Path) -> None:
    interrupted(tmp_path, times=4)
