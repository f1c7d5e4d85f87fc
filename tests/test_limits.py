"""What is done around a step: each setting against a plain torch loop, and that it changes what it should."""

from typing import Any

import pytest
import torch

from harness.config import Config
from harness.parts.data import Data
from harness.parts.models import build
from harness.training.cohort import Cohort
from harness.training.layers import Dropout
from harness.training.loop import train
from harness.training.stack import Stack
from harness.trial import Outcome, Trial

from .conftest import make_trial
from .reference import train_alone

CNN: dict[str, Any] = {"model": "cnn", "channels": (4,), "kernel": 2, "width": 12, "norm": "batch"}
EACH: list[dict[str, Any]] = [
    {"clip_norm": [0.3, 0.0, 1.0]},
    {"clip_value": [0.01, 0.05, 0.0]},
    {"max_norm": [0.5, 0.0, 0.8]},
    {"ema": [0.9, 0.0, 0.99]},
    {"ema": [0.9, 0.5, 0.0], **CNN},
    {"max_norm": [0.5, 0.0, 0.3], **CNN},
    {"drop_last": True},
    {"accumulate": 3},
    {"accumulate": 3, "drop_last": True, "clip_norm": [0.1, 0.2, 0.0], "clip_value": 0.02, "schedule": "cosine"},
    {"validation": 0.0, "ema": [0.9, 0.0, 0.99]},
    {"decay_biases": False, "weight_decay": [0.1, 1.0, 0.0]},
    {"decay_biases": False, "weight_decay": [0.1, 1.0, 0.0], "optimizer": "adamw", "norm": "layer"},
    {"optimizer": "sgd", "nesterov": True, "momentum": [0.9, 0.5, 0.3], "lr": 0.03},
    {"optimizer": "adam", "amsgrad": True, "beta1": [0.8, None, 0.95], "beta2": [None, 0.99, 0.9], "eps": 1e-4},
    {"optimizer": "lion", "lr": [1e-3, 3e-4, 1e-4], "beta1": [None, 0.95, 0.5]},
]


def trials_of(config: dict[str, Any], **more: Any) -> list[Trial]:
    return [
        make_trial(
            number,
            seed=number // 2 + 1,
            stage="confirm",
            **{
                "depth": 3,
                "lr": [1e-2, 3e-3, 1e-3][number],
                "epochs": 5 - number,
                "batch_size": 100,
                **{key: value[number] if isinstance(value, list) else value for key, value in config.items()},
                **more,
            },
        )
        for number in range(3)
    ]


def outcomes(trials: list[Trial], data: Data) -> dict[int, Outcome]:
    return {trial.number: event for trial, event in train(trials, data) if isinstance(event, Outcome)}


@pytest.mark.parametrize("config", EACH, ids=str)
def test_every_setting_agrees_with_a_plain_torch_loop(config: dict[str, Any], digits: Data) -> None:
    """In a stack whose models have settings of their own, and leave it one after the other."""
    trials = trials_of(config)
    together = outcomes(trials, digits)
    for trial in trials:
        *history, final = train_alone(trial, digits)
        outcome = together[trial.number]
        assert outcome.epochs == len(history)
        for epoch, expected in zip(outcome.history, history, strict=True):
            for name in expected:
                within = 1.01 / 287 if "accuracy" in name else 3e-4
                assert epoch[name] == pytest.approx(expected[name], abs=within), name
        assert outcome["test_loss"] == pytest.approx(final["test_loss"], abs=3e-4)


@pytest.mark.parametrize("config", EACH[:10], ids=str)
def test_every_setting_changes_the_figures(config: dict[str, Any], digits: Data) -> None:
    """Of the first model; the others have theirs partly at 0, which changes nothing, not a bit."""
    plain = {key: value for key, value in config.items() if key in (*CNN, "validation")}
    one, two = outcomes(trials_of(config), digits), outcomes(trials_of(plain), digits)
    assert one[0]["test_loss"] != pytest.approx(two[0]["test_loss"], abs=1e-4)
    [key, *others] = config
    if isinstance(config[key], list) and not others:
        number = config[key].index(0.0)
        assert one[number]["test_loss"] == two[number]["test_loss"]


def test_what_is_off_is_not_there(digits: Data) -> None:
    assert Cohort.of(trials_of({}), digits).optimizer().around == []


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_dropout_of_inputs(model: str) -> None:
    """Its own layers keep names and weights; each model drops its own share of inputs that all see."""
    config = Config(dataset="digits", model=model, channels=(4,), kernel=2, width=16, depth=1)
    plain, dropping = (build(config.replace(input_dropout=rate), (1, 8, 8), 10, 3) for rate in (0.0, 0.4))
    assert list(plain.state_dict()) == list(dropping.state_dict())
    assert all(torch.equal(one, two) for one, two in zip(plain.parameters(), dropping.parameters(), strict=True))
    x = torch.rand(5, 64)
    assert torch.equal(plain(x), dropping.eval()(x))
    stack = Stack.of([dropping, dropping])
    noise = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    torch.testing.assert_close(stack(x[None]), plain(x).expand(2, -1, -1))
    one, two = stack(x[None], noise).clone()
    assert not torch.isclose(one, two).all()
    dropout = stack.layers[0]
    assert isinstance(dropout, Dropout)
    assert dropout.mask is not None
    mask = dropout.mask[0]
    torch.testing.assert_close(one, plain(x * mask), rtol=1e-4, atol=1e-5)
    assert mask.unique().tolist() == [0.0, pytest.approx(1 / 0.6)]


def test_dropout_of_inputs_ends_alike_in_a_stack_and_alone(digits: Data) -> None:
    """Two have one seed, and only one of them drops anything else."""
    trials = trials_of({"input_dropout": 0.3, "dropout": [0.0, 0.2, 0.1], "accumulate": 2})
    together = outcomes(trials, digits)
    for trial in trials:
        alone = outcomes([trial], digits)[trial.number]
        assert together[trial.number]["test_loss"] == pytest.approx(alone["test_loss"], abs=3e-4)
    plain = outcomes(trials_of({"dropout": [0.0, 0.2, 0.1], "accumulate": 2}), digits)
    assert plain[0]["train_loss"] < together[0]["train_loss"]
