import json
import math
import pickle

import pytest

from harness import catalogue
from harness.config import Config
from harness.errors import UserError
from harness.trial import Epoch, Outcome

from .conftest import ROOT


def test_every_part_can_be_built() -> None:
    for kind in catalogue.KINDS:
        for name in catalogue.names(kind):
            assert callable(catalogue.built_by(kind, name)), (kind, name)


def test_every_part_that_a_knob_names_is_there() -> None:
    for knob in catalogue.knobs().values():
        if knob.words:
            assert knob.default in (None, *knob.words)
        assert knob.kind in ("", *catalogue.KINDS)
        assert knob.doc
    for name in catalogue.task().measures:
        assert catalogue.measure(name).name == name


def test_a_name_that_is_not_there_is_told_with_the_nearest() -> None:
    for call, told in (
        (lambda: catalogue.part("optimizer", "adm"), "got 'adm'; did you mean adam?"),
        (lambda: catalogue.knob("batchsize"), "did you mean batch_size?"),
        (lambda: catalogue.figure("test_acuracy"), "did you mean test_accuracy?"),
        (lambda: catalogue.names("optimiser"), "did you mean optimizer?"),
        (lambda: Config(learning_rate=1), "learning_rate: unknown hyperparameter"),
    ):
        with pytest.raises(UserError, match=told.replace("?", r"\?")):
            call()


def test_a_figure_has_a_unit() -> None:
    assert catalogue.figure("test_accuracy").unit.gap == "points"
    assert catalogue.figure("running_train_loss").unit.symbol == "nats"
    assert catalogue.figure("val_macro_f1").words == "val macro-F1"


def test_hidden_widths() -> None:
    assert Config(depth=1).hidden == ()
    assert Config(depth=4, width=100).hidden == (100, 100, 100)
    assert Config(depth=5, width=512, taper="halving").hidden == (512, 256, 128, 64)
    assert Config(depth=4, width=2, taper="halving").hidden == (2, 1, 1)
    assert Config(widths=(500, 400)).hidden == (500, 400)


def test_a_config_is_a_frozen_record() -> None:
    config = Config(lr=0.5, channels=(2, 3))
    assert config == Config(lr=0.5, channels=(2, 3)) != Config(lr=0.5)
    assert len({config, Config(lr=0.5, channels=(2, 3))}) == 1
    assert Config.from_record(json.loads(json.dumps(config.record()))) == config
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(AttributeError, match="frozen"):
        config.lr = 1.0
    with pytest.raises(AttributeError, match="has no learning_rate"):
        _ = config.learning_rate


def test_shape_is_what_a_stack_has_in_common() -> None:
    base = Config(depth=3, width=64)
    assert base.shape == Config(depth=3, width=64, lr=0.5, dropout=0.3, momentum=0.9, epochs=7, patience=2).shape
    assert base.shape == Config(widths=(64, 64)).shape
    assert Config(depth=1, width=64).shape == Config(depth=1, width=128).shape  # no hidden layer, no width
    for other in (Config(depth=2, width=64), Config(depth=3, width=32), Config(depth=3, width=64, activation="tanh")):
        assert base.shape != other.shape
    assert base.shape != Config(depth=3, width=64, batch_size=7).shape


def figures(*values: float) -> dict[str, float]:
    return dict(zip(("train_loss", "train_accuracy", "val_loss", "val_accuracy"), values, strict=True))


def test_outcome_survives_the_journal() -> None:
    history = (
        Epoch(1, figures(2.0, 0.1, 1.5, 0.2), 100.0),
        Epoch(2, figures(math.inf, 0.1, math.nan, 0.2), 101.0),
    )
    best = {"val_loss": 1.5, "val_accuracy": 0.2, "test_macro_f1": math.nan}
    outcome = Outcome("diverged", "at 2", 99.0, 101.0, 2.0, 650, 1, best, history=history, confusion=((1, 0), (2, 3)))
    again = Outcome.from_record(json.loads(json.dumps(outcome.record(), allow_nan=False)))
    assert again.confusion == outcome.confusion
    assert again.history[0] == history[0]
    assert again.history[1].number == 2
    assert again.history[1].time == 101.0
    assert math.isnan(again.history[1]["val_loss"])
    assert math.isnan(again["test_accuracy"])
    assert math.isnan(again["test_macro_f1"])
    assert (again.status, again.parameters, again["val_accuracy"]) == ("diverged", 650, 0.2)
    empty = Outcome("failed", "it broke", 1.0, 2.0)
    assert Outcome.from_record(json.loads(json.dumps(empty.record()))) == empty


def test_an_outcome_of_format_1_is_read() -> None:
    """As journals held it before figures had names: an epoch was a bare list."""
    record = {
        "status": "finished",
        "reason": "epoch limit 2",
        "started": 1.0,
        "ended": 2.0,
        "seconds": 0.5,
        "parameters": 650,
        "best_epoch": 2,
        "val_loss": 1.5,
        "val_accuracy": 0.2,
        "train_loss": 1.0,
        "train_accuracy": 0.3,
        "test_loss": None,
        "test_accuracy": None,
        "untrained_accuracy": 0.1,
        "confusion": [[1, 0], [2, 3]],
        "examples": [],
        "retries": 0,
        "history": [[1, 2.0, 0.1, 1.5, 0.2, 100.0], [2, 1.0, 0.3, None, 0.25, 101.0]],
    }
    outcome = Outcome.from_record(record)
    assert outcome.history[0] == Epoch(1, figures(2.0, 0.1, 1.5, 0.2), 100.0)
    assert math.isnan(outcome.history[1]["val_loss"])
    assert outcome.history[1]["val_accuracy"] == 0.25
    assert (outcome["val_accuracy"], outcome["untrained_accuracy"], outcome.epochs) == (0.2, 0.1, 2)
    assert math.isnan(outcome["test_loss"])
    assert outcome.confusion == ((1, 0), (2, 3))


def test_recipes_have_the_catalogues_tables() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text()
    assert f"-->\n{catalogue.hyperparameter_table()}\n<!-- end -->" in text
    for name in catalogue.names("measure"):
        assert f"| `{name}` | {catalogue.measure(name).doc} | {catalogue.measure(name).better} |" in text
