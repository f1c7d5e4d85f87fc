import json
import math
from typing import get_args

from harness.parts.data import DATASETS
from harness.parts.models import ACTIVATIONS, MODELS
from harness.training.optim import OPTIMIZERS
from harness.trial import Activation, Config, Dataset, Epoch, Model, Optimizer, Outcome


def test_names_in_study_files_are_those_that_exist() -> None:
    assert set(get_args(Dataset)) == set(DATASETS)
    assert set(get_args(Model)) == set(MODELS)
    assert set(get_args(Activation)) == set(ACTIVATIONS)
    assert set(get_args(Optimizer)) == set(OPTIMIZERS)


def test_hidden_widths() -> None:
    assert Config(depth=1).hidden == ()
    assert Config(depth=4, width=100).hidden == (100, 100, 100)
    assert Config(depth=5, width=512, taper="halving").hidden == (512, 256, 128, 64)
    assert Config(depth=4, width=2, taper="halving").hidden == (2, 1, 1)
    assert Config(widths=(500, 400)).hidden == (500, 400)


def test_shape_is_what_a_stack_has_in_common() -> None:
    base = Config(depth=3, width=64)
    assert base.shape == Config(depth=3, width=64, lr=0.5, dropout=0.3, momentum=0.9, epochs=7, patience=2).shape
    assert base.shape == Config(widths=(64, 64)).shape
    assert Config(depth=1, width=64).shape == Config(depth=1, width=128).shape  # no hidden layer, no width
    for other in (Config(depth=2, width=64), Config(depth=3, width=32), Config(depth=3, width=64, activation="tanh")):
        assert base.shape != other.shape
    assert base.shape != Config(depth=3, width=64, batch_size=7).shape


def test_outcome_survives_the_journal() -> None:
    history = (Epoch(1, 2.0, 0.1, 1.5, 0.2, 100.0), Epoch(2, math.inf, 0.1, math.nan, 0.2, 101.0))
    outcome = Outcome(
        "diverged", "at 2", 99.0, 101.0, 2.0, 650, 1, 1.5, 0.2, history=history, confusion=((1, 0), (2, 3))
    )
    again = Outcome.from_record(json.loads(json.dumps(outcome.record(), allow_nan=False)))
    assert again.confusion == outcome.confusion
    assert again.history[0] == history[0]
    assert math.isnan(again.history[1].val_loss)
    assert math.isnan(again.test_accuracy)
    assert (again.status, again.parameters, again.val_accuracy) == ("diverged", 650, 0.2)
