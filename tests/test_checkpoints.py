"""A training that goes on from its checkpoint ends as if it had never stopped, to the last bit."""

from collections.abc import Sequence
from typing import Any

import pytest

from harness.crews.local import train_group
from harness.crews.schedule import Saved, Unusable
from harness.parts.data import Data
from harness.training.loop import Reply
from harness.trial import Epoch, Outcome, Trial

from .conftest import make_trial

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
