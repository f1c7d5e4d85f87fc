"""Every measure of the catalogue against scikit-learn's or a plain definition, for several models at once."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn import metrics

from harness import catalogue
from harness.config import Config
from harness.parts.data import Data
from harness.parts.preparing import Prepared
from harness.parts.tasks import Learning, NumberTally, task_of
from harness.training.loop import train
from harness.trial import Outcome

from .conftest import make_trial

CLASSES = 7
Floats = NDArray[np.float64]
NUMBERS = 3


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
    "auc": lambda shares, labels: float(
        np.mean([metrics.roc_auc_score(labels == own, shares[:, own]) for own in range(CLASSES - 1)])
    ),
}
OF_NUMBERS: dict[str, Callable[[Floats, Floats], float]] = {
    "rmse": lambda guess, truth: float(metrics.root_mean_squared_error(truth, guess)),
    "mae": lambda guess, truth: float(metrics.mean_absolute_error(truth, guess)),
    "median_absolute_error": lambda guess, truth: float(metrics.median_absolute_error(truth, guess)),
    "r2": lambda guess, truth: float(metrics.r2_score(truth, guess)),
}


def learning(models: int, task: str) -> Learning:
    unit = (torch.tensor([[[2.0, 30.0, 0.5]]]), torch.tensor([[[1000.0, -5.0, 0.0]]]))
    seen = Prepared(torch.zeros(1, 1), torch.zeros(1), unit=unit if task == "regression" else None)
    return task_of([Config(task=task)] * models, seen)


def test_every_measure_has_a_plain_form_here() -> None:
    assert {*PLAIN, *OF_NUMBERS} == set(catalogue.names("measure"))


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_a_measure_of_numbers_is_what_its_definition_says(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(4, 501, NUMBERS, generator=generator)
    guess = truth + 0.3 * torch.randn(truth.shape, generator=generator)
    task = learning(4, "regression")
    tally = task.tally([name], NUMBERS)
    for part in range(0, 501, 64):
        tally.add(guess[:, part : part + 64], truth[:, part : part + 64])
    assert isinstance(tally, NumberTally)
    unit = tally.unit  # standard scores come, and figures are in the target's own unit
    for model in range(4):
        expected = OF_NUMBERS[name](
            *((one[model] * unit[0][0] + unit[1][0]).double().numpy() for one in (guess, truth))
        )
        assert tally.figures()[name][model].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_a_loss_of_numbers_and_its_slope_are_torchs(loss: str) -> None:
    functions: dict[str, Any] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": partial(F.huber_loss, delta=0.7)}
    outputs, targets = torch.randn(2, 3, 50, NUMBERS, generator=torch.Generator().manual_seed(1))
    outputs.requires_grad_()
    configs = [Config(task="regression", loss=loss, huber_delta=0.7)] * 3
    task = task_of(configs, Prepared(targets, targets, unit=(torch.ones(1, 1, 3), torch.zeros(1, 1, 3))))
    with torch.no_grad():
        [sums], slope = task.loss(outputs, targets)
    expected = torch.stack([functions[loss](one, two) for one, two in zip(outputs, targets, strict=True)])
    torch.testing.assert_close(sums / 50, expected)
    torch.testing.assert_close(slope, torch.autograd.grad(expected.sum(), outputs)[0])


@pytest.mark.parametrize("weighted", [False, True])
def test_smoothing_and_class_weights_are_torchs(weighted: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(3, 40, 4, generator=generator).requires_grad_()
    labels = torch.randint(0, 4, (3, 40), generator=generator)
    weights = torch.rand(3, 4, generator=generator) if weighted else None
    smoothing = [0.0, 0.1, 0.3]
    task = task_of([Config(label_smoothing=one) for one in smoothing], Prepared(logits, labels, weights=weights))
    with torch.no_grad():
        (sums, hits), slope = task.loss(logits, labels)
    expected = torch.stack(
        [
            F.cross_entropy(logits[k], labels[k], None if weights is None else weights[k], label_smoothing=smoothing[k])
            for k in range(3)
        ]
    )
    torch.testing.assert_close(sums / 40, expected)
    torch.testing.assert_close(slope, torch.autograd.grad(expected.sum(), logits)[0])
    assert torch.equal(hits, (logits.argmax(2) == labels).sum(1))
    part = task.only([2])
    with torch.no_grad():
        torch.testing.assert_close(part.loss(logits[2:], labels[2:])[0][0] / 40, expected[2:])


@pytest.mark.parametrize("name", PLAIN)
def test_a_measure_is_what_its_definition_says(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, 500, CLASSES, generator=generator)
    labels = torch.randint(0, CLASSES - 1, (4, 500), generator=generator)  # the last class is never seen
    logits[:, :, 0] += 1.0
    logits[0, :, -1] = -99.0  # nor, by the first model, predicted
    tally = learning(4, "classification").tally([name], CLASSES)
    for part in range(0, 500, 64):
        tally.add(logits[:, part : part + 64], labels[:, part : part + 64])
    found = tally.figures()[name]
    shares = logits.double().softmax(2).numpy()
    for model in range(4):
        expected = PLAIN[name](shares[model], labels[model].numpy())
        assert found[model].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", catalogue.names("measure"))
def test_without_images_there_is_no_figure(name: str) -> None:
    task = catalogue.measure(name).tasks[0]
    tally = learning(2, task).tally([name], CLASSES if task == "classification" else NUMBERS)
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
