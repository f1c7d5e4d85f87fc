import json
import math
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from harness import catalogue
from harness.crews.grouping import group_size, group_trials
from harness.crews.local import Here, Threads, train_group
from harness.crews.schedule import train_all
from harness.parts.data import Data
from harness.parts.models import build
from harness.parts.preparing import floats
from harness.training import convolutions
from harness.training.loop import steps, train
from harness.trial import Begun, Epoch, Outcome, Trial

from .conftest import make_trial
from .reference import train_alone

LOSS = 2e-4  # nats: float32 sums in another order, amplified over some hundred steps
ONE_IMAGE = 1.01 / 287  # of the smallest split: a logit on the border may fall to either side


def outcomes(trials: list[Trial], data: Data) -> dict[int, Outcome]:
    return {trial.number: event for trial, event in train(trials, data) if isinstance(event, Outcome)}


def told_of(trials: list[Trial], data: Data) -> list[tuple[Trial, Epoch | Outcome]]:
    """What is told of a group."""
    return [event for batch in train_group(trials, data) if isinstance(batch, list) for event in batch]


def varied(number: int, **config: Any) -> Trial:
    """Trials of one shape that differ in everything that may differ inside a stack."""
    # rmsprop with momentum 0.9 takes steps ten times its rate: at 1e-2 it jumps about, and rounding grows without bound
    scale = {"rmsprop": 0.1, "lion": 0.1, "adadelta": 10.0}.get(config.get("optimizer", ""), 1.0)
    settings = {"lr": scale * [1e-2, 3e-3, 1e-3][number % 3], "momentum": [0.9, 0.0, 0.5][number % 3]}
    settings["weight_decay"] = [0.0, 1e-3, 0.0][number % 3]
    return make_trial(number, seed=number // 2 + 1, stage="confirm", depth=3, **{**settings, **config})


@pytest.mark.parametrize(
    ("activation", "optimizer"),
    [
        *((activation, optimizer) for activation in catalogue.names("activation") for optimizer in ("sgd", "adam")),
        *(
            ("relu", optimizer)
            for optimizer in catalogue.names("optimizer")
            if optimizer not in ("sgd", "adam", "muon")
        ),
    ],
)
def test_a_stack_agrees_with_a_plain_torch_loop(activation: str, optimizer: str, digits: Data) -> None:
    trials = [varied(k, optimizer=optimizer, activation=activation, epochs=4, batch_size=100) for k in range(3)]
    together = outcomes(trials, digits)
    for trial in trials:
        *history, final = train_alone(trial, digits)
        outcome = together[trial.number]
        assert len(history) == outcome.epochs
        for epoch, expected in zip(outcome.history, history, strict=True):
            assert_close(epoch.figures, expected)
        assert_close(outcome.figures, final)


@pytest.mark.parametrize(
    "config",
    [
        {"validation": 0.0},
        {"split": "pooled"},
        {"split": "pooled", "validation": 0.0, "test_fraction": 0.3, "normalisation": "standard"},
        {"normalisation": "half"},
        {"normalisation": "standard"},
    ],
    ids=str,
)
def test_other_splits_and_pixels_agree_with_a_plain_torch_loop(config: dict[str, Any], digits: Data) -> None:
    trials = [varied(k, epochs=4, patience=2, batch_size=100, **config) for k in range(3)]
    together = outcomes(trials, digits)
    for trial in trials:
        *history, final = train_alone(trial, digits)
        outcome = together[trial.number]
        assert len(history) == outcome.epochs
        for epoch, expected in zip(outcome.history, history, strict=True):
            assert_close(epoch.figures, expected)
        assert_close(outcome.figures, final)


CNN: dict[str, Any] = {"model": "cnn", "channels": (4, 6), "kernel": 2, "width": 12}


@pytest.mark.parametrize("grouped", [False, True], ids=["one by one", "in groups"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_stacked_cnns_agree_with_a_plain_torch_loop(
    activation: str, grouped: bool, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    if grouped:
        monkeypatch.setattr(convolutions, "merged", list)
    trials = [varied(k, epochs=3, batch_size=100, activation=activation, optimizer="adam", **CNN) for k in range(3)]
    together = outcomes(trials, digits)
    for trial in trials:
        *history, final = train_alone(trial, digits)
        for epoch, expected in zip(together[trial.number].history, history, strict=True):
            assert_close(epoch.figures, expected)
        assert_close(together[trial.number].figures, final)


def test_images_change_alike_in_a_stack_and_alone_whoever_drops(data: Data) -> None:
    """Trials of one seed share images; those that drop nothing draw from a generator of their own."""
    trials = [make_trial(k, dropout=0.3 * k, augment_shift=1, augment_flip=True, epochs=2) for k in range(2)]
    together = outcomes(trials, data)
    for trial in trials:
        alone = outcomes([trial], data)[trial.number]
        assert together[trial.number]["val_loss"] == pytest.approx(alone["val_loss"], abs=LOSS)


def test_a_cnn_ends_alike_in_a_stack_and_alone(data: Data) -> None:
    trials = [varied(k, dropout=0.1 * k, epochs=4, **CNN) for k in range(3)]
    together = outcomes(trials, data)
    for trial in trials:
        alone = outcomes([trial], data)[trial.number]
        assert together[trial.number]["test_loss"] == pytest.approx(alone["test_loss"], abs=LOSS)


def test_a_cnn_learns_and_is_too_deep_for_small_images(data: Data) -> None:
    wide = {**CNN, "channels": (16,), "width": 32}
    outcome = outcomes([make_trial(stage="confirm", epochs=15, lr=3e-3, batch_size=32, **wide)], data)[0]
    assert outcome["test_accuracy"] > 0.93
    deep = make_trial(**{**CNN, "channels": (4, 4, 4, 4)})
    [(_, failed)] = told_of([deep], data)
    assert isinstance(failed, Outcome)
    assert "kernel: 2 is larger than the 1x1 pixels that 2 convolutions leave of 8x8" in failed.reason


def test_with_nothing_held_out_the_last_epoch_counts(data: Data) -> None:
    outcome = outcomes([make_trial(stage="confirm", validation=0.0, epochs=5, patience=1, lr=0.1)], data)[0]
    assert (outcome.status, outcome.reason, outcome.best_epoch) == ("finished", "epoch limit 5", 5)
    assert math.isnan(outcome["val_loss"])
    assert Outcome.from_record(outcome.record()).reason == outcome.reason


def assert_close(figures: Any, expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, abs=ONE_IMAGE if "accuracy" in name else LOSS), name


def test_a_model_ends_alike_in_a_stack_and_alone(data: Data) -> None:
    """Dropout, early stopping at different epochs, different seeds: the company changes nothing."""
    trials = [varied(k, dropout=0.1 * k, epochs=8 - k, patience=1 + k % 3) for k in range(6)]
    together = outcomes(trials, data)
    assert len({outcome.epochs for outcome in together.values()}) > 1
    for trial in trials:
        alone = outcomes([trial], data)[trial.number]
        stacked = together[trial.number]
        assert (stacked.epochs, stacked.best_epoch, stacked.reason) == (alone.epochs, alone.best_epoch, alone.reason)
        assert stacked["test_loss"] == pytest.approx(alone["test_loss"], abs=LOSS)
        assert stacked["test_accuracy"] == pytest.approx(alone["test_accuracy"], abs=ONE_IMAGE)
        assert alone.weights is not None
        assert stacked.weights is not None
        for name, weight in alone.weights.items():
            torch.testing.assert_close(stacked.weights[name], weight, atol=1e-3, rtol=1e-3)


def test_those_that_are_done_may_stay_in_the_stack(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU they do, until half of them are: nobody's figures change."""
    trials = [varied(k, dropout=0.1 * k, epochs=8 - k, patience=1 + k % 3) for k in range(6)]
    at_once = outcomes(trials, data)
    monkeypatch.setattr("harness.training.loop.COMPACT", {"cpu": 0.5, "cuda": 1.0})
    later = outcomes(trials, data)
    for number, outcome in at_once.items():
        assert later[number].epochs == outcome.epochs
        assert later[number].reason == outcome.reason
        assert later[number]["test_loss"] == pytest.approx(outcome["test_loss"], abs=LOSS)


def test_same_seed_same_figures(data: Data) -> None:
    trials = [varied(k, dropout=0.2) for k in range(3)]
    one, two = outcomes(trials, data), outcomes(trials, data)
    for number, outcome in one.items():
        figures = [[(e.number, e.figures) for e in o.history] for o in (outcome, two[number])]
        assert figures[0] == figures[1]
        assert outcome["test_loss"] == two[number]["test_loss"]


def test_dropout_trains_like_torchs_in_distribution(digits: Data) -> None:
    """Mean test accuracy over 20 seeds, with our dropout and with nn.Dropout: within three standard errors."""
    trials = [make_trial(k, seed=k, stage="confirm", dropout=0.4, width=32, epochs=6, lr=1e-2) for k in range(20)]
    ours = np.array([o["test_accuracy"] for o in outcomes(trials, digits).values()])
    theirs = []
    for trial in trials:
        torch.manual_seed(trial.seed)
        theirs.append(train_alone(trial, digits)[-1]["test_accuracy"])
    error = math.hypot(ours.std(ddof=1), np.std(theirs, ddof=1)) / math.sqrt(len(trials))
    assert abs(ours.mean() - np.mean(theirs)) < 3 * error


def test_training_learns(data: Data) -> None:
    outcome = outcomes([make_trial(stage="confirm", width=64, epochs=20, lr=3e-3)], data)[0]
    assert outcome["test_accuracy"] > 0.95
    assert outcome["train_loss"] < outcome.history[0]["train_loss"] / 5
    assert outcome.confusion is not None
    assert np.sum(outcome.confusion) == 359
    assert np.trace(outcome.confusion) / 359 == pytest.approx(outcome["test_accuracy"])


def test_early_stopping_restores_the_best_weights(digits: Data) -> None:
    trial = make_trial(stage="confirm", width=64, epochs=200, patience=3, lr=5e-2)
    outcome = outcomes([trial], digits)[0]
    losses = [epoch["val_loss"] for epoch in outcome.history]
    assert outcome.reason == "no lower validation loss for 3 epochs"
    assert outcome.best_epoch == int(np.argmin(losses)) + 1 == outcome.epochs - 3
    assert outcome["val_loss"] == min(losses)
    network = build(trial.config, (1, 8, 8), 10, seed=99)
    assert outcome.weights is not None
    network.load_state_dict(dict(outcome.weights))
    rows = digits.split(trial.seed, trial.config.validation)[1]
    logits = network.eval()(floats(digits, digits.train.inputs[rows]))
    loss = torch.nn.functional.cross_entropy(logits, digits.train.targets[rows])
    assert loss.item() == pytest.approx(outcome["val_loss"], abs=1e-5)


def test_the_first_seed_keeps_the_worst_mistakes(digits: Data) -> None:
    first, second = outcomes([make_trial(k, seed=k, stage="confirm", epochs=3) for k in range(2)], digits).values()
    assert second.examples == ()
    shown = first.examples
    assert shown[0].index == digits.trainable  # the first test image
    assert len(shown) > 5
    for example in shown:
        assert example.label == digits.targets[example.index]
        assert bytes.fromhex(example.pixels) == digits.inputs[example.index].numpy().tobytes()
        assert sum(example.probabilities) == pytest.approx(1, abs=1e-4)
    wrong, unsure = ([one for one in shown[1:] if bool(one.unsure) == kind] for kind in (False, True))
    assert all(example.predicted != example.label for example in wrong)
    share = [example.probabilities[example.label] for example in wrong]
    assert len(unsure) == 4
    sure = [max(example.probabilities) for example in unsure]
    assert sure == sorted(sure)
    assert share == sorted(share)  # the surer of the wrong class, the worse
    assert Outcome.from_record(json.loads(json.dumps(first.record()))).examples == shown


def test_search_trials_never_see_the_test_images(digits: Data) -> None:
    blind = replace(digits, targets=torch.cat([digits.train.targets, torch.full_like(digits.test.targets, 10**6)]))
    outcome = outcomes([make_trial(stage="search")], blind)[0]  # reading the labels would raise
    assert math.isnan(outcome["test_accuracy"])
    assert outcome.confusion is None
    with pytest.raises((RuntimeError, IndexError)):
        outcomes([make_trial(stage="confirm")], blind)


def test_divergence_is_an_outcome_and_leaves_the_others_alone(data: Data) -> None:
    wild = make_trial(0, optimizer="sgd", depth=3, lr=1e6, epochs=5)
    tame = make_trial(1, optimizer="sgd", depth=3, lr=1e-1, epochs=5)
    together = outcomes([wild, tame], data)
    assert together[0].status == "diverged"
    assert "diverged at epoch" in together[0].reason
    assert together[1].status == "finished"
    assert together[1]["val_loss"] == pytest.approx(outcomes([tame], data)[1]["val_loss"], abs=LOSS)


def test_stop_is_obeyed_before_the_next_epoch(digits: Data) -> None:
    trials = [make_trial(k, epochs=6) for k in range(3)]
    seen: list[tuple[int, int]] = []

    def stop(trial: Trial) -> bool:
        return trial.number == 1 and (1, 2) in seen

    ended = {}
    for trial, event in train(trials, digits, stop):
        if isinstance(event, Epoch):
            seen.append((trial.number, event.number))
        else:
            ended[trial.number] = event
    assert ended[1].status == "pruned"
    assert ended[1].epochs == 2
    assert ended[0].epochs == ended[2].epochs == 6


def test_equal_seeds_share_their_batches_and_nothing_else(digits: Data) -> None:
    trials = [make_trial(k, seed=0, lr=lr, patience=p) for k, (lr, p) in enumerate([(1e-2, 1), (1e-1, 1), (1e-3, 9)])]
    together = outcomes([replace(t, config=t.config.replace(epochs=10)) for t in trials], digits)
    for trial in trials:
        alone = outcomes([replace(trial, config=trial.config.replace(epochs=10))], digits)[trial.number]
        assert together[trial.number]["val_loss"] == pytest.approx(alone["val_loss"], abs=LOSS)


def test_trials_of_one_shape_make_a_stack(digits: Data) -> None:
    trials = [make_trial(k, width=[8, 16][k % 2], lr=0.1 / (k + 1)) for k in range(6)]
    assert [[t.number for t in stack] for stack in group_trials(trials, digits, size=16)] == [[0, 2, 4], [1, 3, 5]]
    assert [[t.number for t in stack] for stack in group_trials(trials, digits, size=2)] == [[0, 2], [4], [1, 3], [5]]


def test_a_stack_fits_the_cache(digits: Data) -> None:
    small, large = make_trial(batch_size=32), make_trial(batch_size=2048)
    assert group_size(small, digits) == 16
    assert group_size(large, digits) == 3
    assert [len(stack) for stack in group_trials([large] * 7, digits)] == [3, 2, 2]


def test_stacks_side_by_side_end_as_one_after_the_other(digits: Data) -> None:
    trials = [varied(k, width=[8, 16, 24][k % 3], dropout=0.1, epochs=3 + k % 2) for k in range(9)]
    made = group_trials(trials, digits, size=2)

    def ended(workers: int) -> dict[int, Outcome]:
        asked: list[int] = []

        def stop(trial: Trial) -> bool:
            assert threading.current_thread() is threading.main_thread()  # Optuna is not made for several
            asked.append(trial.number)
            return trial.number == 4 and asked.count(4) == 2

        crew = Here({"digits": digits}) if workers == 1 else Threads(workers, {"digits": digits})
        events = list(train_all(made, crew, stop))
        for trial in trials:
            mine = [event for other, event in events if other is trial]
            assert isinstance(mine[0], Begun)
            assert isinstance(mine[-1], Outcome)
            assert all(isinstance(event, Epoch) for event in mine[1:-1])
        return {trial.number: event for trial, event in events if isinstance(event, Outcome)}

    one, several = ended(1), ended(3)
    assert one[4].status == several[4].status == "pruned"
    for number, outcome in one.items():
        assert several[number].reason == outcome.reason
        assert several[number]["test_loss"] == outcome["test_loss"] or number == 4


def test_workers_end_when_nobody_listens_any_more(digits: Data) -> None:
    trials = [make_trial(k, width=8 + k, epochs=10**6, patience=10**6) for k in range(3)]
    events = train_all(group_trials(trials, digits), Threads(2, {"digits": digits}), lambda trial: False)
    for _ in range(5):
        next(events)
    events.close()
    assert not any(thread.name.startswith("training") for thread in threading.enumerate())


def test_a_mistake_of_ours_in_a_worker_reaches_the_caller(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.crews.local.steps", broken)
    with pytest.raises(KeyboardInterrupt):
        list(train_all([[make_trial(0)], [make_trial(1)]], Threads(2, {"digits": digits}), lambda trial: False))


def test_an_exception_fails_its_trials_with_the_traceback(digits: Data) -> None:
    broken = replace(digits, classes=("0", "1", "2"))  # labels above 2: the loss raises
    events = told_of([make_trial(0), make_trial(1)], broken)
    assert [(trial.number, event.status) for trial, event in events if isinstance(event, Outcome)] == [
        (0, "failed"),
        (1, "failed"),
    ]
    assert all("Traceback" in event.reason for _, event in events if isinstance(event, Outcome))


def test_out_of_memory_halves_the_stack(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def small_memory(trials: list[Trial], *arguments: Any) -> Any:
        sizes.append(len(trials))
        if len(trials) > 2:
            raise torch.OutOfMemoryError("out of memory, says this test")
        return steps(trials, *arguments)

    monkeypatch.setattr("harness.crews.local.steps", small_memory)
    events = told_of([make_trial(k) for k in range(5)], digits)
    ended = [trial.number for trial, event in events if isinstance(event, Outcome) and event.status == "finished"]
    assert ended == [0, 1, 2, 3, 4]
    assert sizes == [5, 2, 3, 1, 2]


def test_freed_memory_is_kept() -> None:
    """Pages are not asked for anew at every step; counted in processes of their own, which it changes for good."""
    script = """
import resource, sys, torch
from harness.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):
    torch.ones(16_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = [
        int(subprocess.run([sys.executable, "-c", script, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "give back")
    ]
    assert 2 * faults[0] < faults[1], faults


@pytest.mark.parametrize(("epochs", "whole"), [(2, False), (11, True)])
def test_training_figures_of_a_confirmation_are_those_of_its_weights(epochs: int, whole: bool, digits: Data) -> None:
    trial = make_trial(stage="confirm", dropout=0.3, epochs=epochs, patience=100)
    outcome = outcomes([trial], digits)[0]
    assert outcome.weights is not None
    network = build(trial.config, (1, 8, 8), digits.outputs, trial.seed)
    network.load_state_dict(dict(outcome.weights))
    train, _, test = digits.split(trial.seed, trial.config.validation)
    rows = train if whole else train[:: len(train) // len(test)]
    with torch.no_grad():
        right = network.eval()(floats(digits, digits.inputs[rows])).argmax(1) == digits.targets[rows]
    assert outcome["train_accuracy"] == pytest.approx(right.float().mean().item())


def test_a_stack_of_256_and_networks_of_fifty_layers(digits: Data) -> None:
    """Each as alone, to the last bit: dense layers add up in one order, whatever else is there."""
    made = [make_trial(k, seed=1 + k % 50, stage="confirm", lr=10 ** -(1.5 + k / 128), epochs=2) for k in range(256)]
    together = outcomes(made, digits)
    assert len(together) == 256
    for number in (0, 100, 255):
        alone = outcomes([made[number]], digits)[number]
        assert alone.history == tuple(
            replace(epoch, time=seen.time) for epoch, seen in zip(together[number].history, alone.history, strict=True)
        )
        assert alone.figures == together[number].figures
    deep = outcomes([make_trial(k, seed=k, stage="confirm", depth=50, epochs=2, lr=1e-3) for k in range(4)], digits)
    assert [outcome.status for outcome in deep.values()] == ["finished"] * 4
    learning = [make_trial(0, stage="confirm", depth=50, width=32, epochs=4, norm="layer", residual=True)]
    assert outcomes(learning, digits)[0]["test_accuracy"] > 0.25  # a tenth is chance
