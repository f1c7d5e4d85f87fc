"""Every measure of the catalogue against scikit-learn's or a plain definition, for several models at once."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics

from harness import catalogue
from harness.config import Config
from harness.parts.data import Data
from harness.parts.tasks import Tally, task_of
from harness.training.loop import train
from harness.trial import Outcome

from .conftest import make_trial

CLASSES = 7
Floats = NDArray[np.float64]
CPU = torch.device("cpu")


def calibration_error(shares: Floats, labels: NDArray[np.int64]) -> float:
    """Guo et al. (2017), equations 2 to 4, bin by bin."""
    confidence, hits = shares.max(1), shares.argmax(1) == labels
    total = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(hits[inside].mean() - confidence[inside].mean())
    return total


def top5(shares: Floats, labels: NDArray[np.int64]) -> float:
    return float(metrics.top_k_accuracy_score(labels, shares, k=5, labels=range(CLASSES)))


PLAIN: dict[str, Callable[[Floats, Any], float]] = {
    "loss": lambda shares, labels: float(metrics.log_loss(labels, shares, labels=range(CLASSES))),
    "accuracy": lambda shares, labels: float(metrics.accuracy_score(labels, shares.argmax(1))),
    "macro_f1": lambda shares, labels: float(metrics.f1_score(labels, shares.argmax(1), average="macro")),
    "balanced_accuracy": lambda shares, labels: float(
        metrics.recall_score(labels, shares.argmax(1), average="macro", labels=range(CLASSES - 1))
    ),
    "top5": top5,
    "ece": calibration_error,
}


def test_every_measure_has_a_plain_form_here() -> None:
    assert set(PLAIN) == set(catalogue.names("measure"))


@pytest.mark.parametrize("name", catalogue.names("measure"))
def test_a_measure_is_what_its_definition_says(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, 500, CLASSES, generator=generator)
    labels = torch.randint(0, CLASSES - 1, (4, 500), generator=generator)  # the last class is never seen
    logits[:, :, 0] += 1.0
    logits[0, :, -1] = -99.0  # nor, by the first model, predicted
    tally = Tally(task_of(Config()), [name], 4, CLASSES, CPU)
    for part in range(0, 500, 64):
        tally.add(logits[:, part : part + 64], labels[:, part : part + 64])
    found = tally.figures()[name]
    shares = logits.double().softmax(2).numpy()
    for model in range(4):
        expected = PLAIN[name](shares[model], labels[model].numpy())
        assert found[model].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", catalogue.names("measure"))
def test_without_images_there_is_no_figure(name: str) -> None:
    tally = Tally(task_of(Config()), [name], 2, CLASSES, CPU)
    assert torch.isnan(tally.figures()[name]).all()


def test_a_run_has_the_figures_of_its_task_and_metric(digits: Data) -> None:
    trials = [make_trial(k, seed=k + 1, stage="confirm", metric="macro_f1") for k in range(2)]
    outcomes = [event for _, event in train(trials, digits) if isinstance(event, Outcome)]
    for outcome in outcomes:
        assert {f"test_{name}" for name in catalogue.task().measures} <= set(outcome.figures)
        assert {"val_macro_f1", "train_macro_f1", "untrained_macro_f1", "untrained_accuracy"} <= set(outcome.figures)
        assert all(math.isfinite(value) for value in outcome.figures.values())
        assert "val_macro_f1" in outcome.history[0].figures
        assert "test_macro_f1" not in outcome.history[0].figures
        assert outcome["val_macro_f1"] == outcome.history[outcome.best_epoch - 1]["val_macro_f1"]
        confusion = np.array(outcome.confusion)
        hits = np.diag(confusion)
        assert outcome["test_balanced_accuracy"] == pytest.approx((hits / confusion.sum(1)).mean(), abs=1e-6)
