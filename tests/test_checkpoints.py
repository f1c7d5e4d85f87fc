"""A training that goes on from its checkpoint ends as if it had never stopped, to the last bit."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.results import read_results
from harness.crews.local import train_group
from harness.crews.schedule import Saved, Unusable
from harness.parts.data import Data
from harness.training.loop import Reply
from harness.trial import Epoch, Outcome, Trial

from .conftest import clean_environment, harness, make_trial
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
epochs = 40
patience = 8
[budget]
trials = 3
searches = 1
seeds = 2
checkpoint_minutes = 0.003
[search]
generation = 3
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
    """A study whose driver is sent signals, one after the other, each some epochs after it began to train."""

    folder: Path
    chance: random.Random
    resumed: int = 0  # groups that went on from a checkpoint
    codes: list[int] = field(default_factory=list)

    def epochs(self) -> int:
        """How many are in the journal, of searches; of confirmations their outcomes count."""
        journal = self.folder / "studies" / "mine" / "journal.log"
        text = journal.read_text() if journal.exists() else ""
        return text.count('"intermediate_value"') + 20 * text.count('"seed_number"')

    def run(self, number: signal.Signals | None) -> None:
        """One driver's life, which `number` ends unless it ends by itself."""
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", "run", "studies/mine", "--offline", "--quiet"],
            cwd=self.folder,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun, goal = None, self.epochs() + self.chance.randint(5, 60)
        while number is not None and process.poll() is None:
            folder = self.folder / "studies" / "mine" / "checkpoints"
            begun = begun or (time.monotonic() if folder.exists() and any(folder.iterdir()) else None)
            if self.epochs() >= goal or (begun and time.monotonic() - begun > 8):
                process.send_signal(number)
                break
            time.sleep(0.01)
        out, error = process.communicate(timeout=120)
        self.resumed += out.count("go on from their checkpoint")
        self.codes.append(process.returncode)
        assert "Traceback" not in error, error
        assert "warning: studies" not in out, out


def test_signals_and_kills_change_no_figure(tmp_path: Path) -> None:
    whole = prepared(tmp_path / "whole")
    done = harness("run", "studies/mine", "--offline", "--quiet", cwd=whole)
    assert done.returncode == 0, done.stderr
    study = Interrupted(prepared(tmp_path / "cut"), random.Random(1))
    for _ in range(4):
        for number in (signal.SIGTERM, signal.SIGKILL):
            study.run(number)
    study.run(None)
    assert study.codes[-1] == 0
    assert set(study.codes[:-1]) <= {130, -signal.SIGKILL, 0}
    journals = [folder / "studies" / "mine" / "journal.log" for folder in (study.folder, whole)]
    one, other = (read_results(journal) for journal in journals)
    assert figures(one).equals(figures(other))  # to the last bit
    assert one.epochs.drop(columns="time", errors="ignore").equals(other.epochs.drop(columns="time", errors="ignore"))
    assert study.resumed >= 3
    assert not (study.folder / "studies" / "mine" / "checkpoints").exists()
