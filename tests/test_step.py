"""The step of a stack, as it is and as a CUDA graph would run it."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from harness import catalogue
from harness.parts.data import Data, load
from harness.parts.structure import structure
from harness.training.cohort import Cohort
from harness.training.lanes import LANES, Lane, Opaque
from harness.training.layers import ByAutograd, fast_form
from harness.training.loop import train
from harness.training.step import CapturedStep, Step
from harness.trial import Outcome, Trial

from .conftest import make_trial
from .test_tables import table


class FakeStream:
    def __init__(self, *arguments: Any) -> None: ...

    def wait_stream(self, other: Any) -> None: ...


class FakeGraph:
    """Replays by running the step again on the indices that the graph would find in its memory."""

    replays = 0

    def __init__(self, step: CapturedStep) -> None:
        self.step = step

    def replay(self) -> None:
        FakeGraph.replays += 1
        assert self.step.batch is not None
        self.step.run(self.step.batch)


def outcomes(trials: list[Trial], data: Data) -> list[Outcome]:
    return [event for _, event in train(trials, data) if isinstance(event, Outcome)]


def test_a_captured_step_trains_as_the_plain_one(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is needed to see that every batch is trained on once, whichever of the three ways it takes."""
    trials = [make_trial(k, seed=k, dropout=0.2, epochs=3, batch_size=100) for k in range(2)]
    plain = outcomes(trials, digits)

    def capture(step: CapturedStep) -> bool:
        step.graph = FakeGraph(step)  # type: ignore[assignment]
        return True

    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(CapturedStep, "capture", capture)
    monkeypatch.setattr("harness.training.loop.make_step", CapturedStep)
    captured = outcomes(trials, digits)
    assert FakeGraph.replays == 3 * 11 - CapturedStep.WARM_UP  # 1,150 images: eleven whole batches and a short one
    for one, two in zip(plain, captured, strict=True):
        assert [(e.number, e.figures) for e in one.history] == [(e.number, e.figures) for e in two.history]


def test_a_step_that_cannot_be_captured_is_told_and_trains_on(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise RuntimeError("this test captures nothing")

    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", type("Graph", (), {"register_generator_state": refuse}))
    trials = [make_trial(epochs=3)]
    plain = outcomes(trials, digits)
    monkeypatch.setattr("harness.training.loop.make_step", CapturedStep)
    with pytest.warns(UserWarning, match="no CUDA graph, training goes on more slowly: this test"):
        [outcome] = outcomes(trials, digits)
    assert outcome["val_loss"] == plain[0]["val_loss"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine")
def test_on_a_gpu_the_step_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("digits", "cuda")
    made: list[CapturedStep] = []

    def make(*arguments: Any) -> CapturedStep:
        made.append(CapturedStep(*arguments))
        return made[-1]

    monkeypatch.setattr("harness.training.loop.make_step", make)
    trials = [make_trial(k, seed=k, dropout=0.2, epochs=3, batch_size=100) for k in range(2)]
    captured = outcomes(trials, data)
    assert made[0].graph is not None
    monkeypatch.setattr("harness.training.loop.make_step", Step)
    for one, two in zip(captured, outcomes(trials, data), strict=True):
        assert one["val_loss"] == pytest.approx(two["val_loss"], abs=1e-4)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_lower_precision_learns_as_well(precision: Any, data: Data) -> None:
    exact, lower = (
        outcomes([make_trial(stage="confirm", width=64, epochs=10, lr=3e-3, batch_size=32, precision=p)], data)[0]
        for p in ("fp32", precision)
    )
    assert lower["test_accuracy"] == pytest.approx(exact["test_accuracy"], abs=0.02)
    assert lower["test_accuracy"] > 0.93
    if precision == "bf16":
        assert lower["test_loss"] != exact["test_loss"]


@pytest.fixture
def without_values(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any], str], Cohort]:
    """Cohorts whose tensors lie on a device where they have no values."""
    randperm, uniform = torch.randperm, torch.Tensor.uniform_
    monkeypatch.setattr("harness.training.cohort.generator", lambda *seed: object())  # torch makes none without a GPU
    monkeypatch.setattr(torch, "randperm", lambda n, generator=None, device=None: randperm(n, device=device))
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda tensor, *ends, generator=None: uniform(tensor, *ends))
    monkeypatch.setattr("harness.training.feed.bool", lambda shifted: True, raising=False)  # read before the first step
    monkeypatch.setattr("harness.parts.preparing.scaled", lambda data, scaling, rows: data.inputs)  # by scikit-learn
    digits, tables = load("digits", "cpu"), {task: table(task) for task in catalogue.names("task")}

    def make(config: dict[str, Any], device: str) -> Cohort:
        task = config.get("task", "classification")
        like = tables[task] if "scaling" in config else digits
        inputs, targets = (torch.empty_like(part, device=device) for part in (like.inputs, like.targets))
        data = replace(like, inputs=inputs, targets=targets)
        return Cohort.of([make_trial(k, seed=k, stage="confirm", **config) for k in range(3)], data)

    return make


@pytest.fixture
def fake_gpu(without_values: Callable[[dict[str, Any], str], Cohort]) -> Iterator[Callable[[dict[str, Any]], Cohort]]:
    """Cohorts whose tensors claim to lie on a GPU and have no values: who asks for one, or mixes devices, is found out.

    What it cannot see: capture itself, streams, kernels that are missing, and speed.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield lambda config: without_values(config, "cuda")


def one_step(cohort: Cohort) -> Step:
    noise = [member.noise for member in cohort.members]
    step = Step(cohort.task, cohort.stack, cohort.optimizer(), cohort.training, noise)
    step.most = 64 // int(cohort.config.accumulate)
    step(next(cohort.training.batches(64)))
    return step


CONFIGS: list[dict[str, Any]] = [
    *({knob: name} for knob in ("optimizer", "activation") for name in catalogue.names(knob)),
    *({"precision": precision} for precision in catalogue.knob("precision").choices),
    *({"normalisation": pixels} for pixels in catalogue.knob("normalisation").choices),
    *({"schedule": name, "warmup": 0.5} for name in catalogue.names("schedule")),
    {"optimizer": "muon", "schedule": "cosine", "decay_biases": False},
    {"clip_norm": 0.1, "clip_value": 0.1, "max_norm": 1.0, "ema": 0.9},
    {"accumulate": 3, "drop_last": True, "ema": 0.9},
    {"input_dropout": 0.2},
    {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    {"optimizer": "sgd", "momentum": 0.9, "dampening": 0.5, "decay_biases": False},
    *({"optimizer": name, "amsgrad": True, "beta1": 0.8, "beta2": 0.9, "eps": 1e-6} for name in ("adam", "adamw")),
    {"optimizer": "rmsprop", "centered": True, "alpha": 0.9},
    {"dropout": 0.2},
    {"split": "pooled"},
    {"model": "cnn", "channels": (4,), "kernel": 2},
    *({"norm": norm, "residual": True, "depth": 3} for norm in catalogue.knob("norm").choices),
    *(
        {"model": "cnn", "channels": (4, 4), "padding": "same", "convs_per_pool": 2, "residual": True, "norm": norm}
        for norm in ("batch", "layer")
    ),
    {"model": "cnn", "channels": (4,), "stride": 2, "global_pool": True},
    {"augment_shift": 1, "augment_flip": True, "augment_crop": 0.2},
    {"label_smoothing": 0.1},
    {"scaling": "standard", "class_weight": "balanced", "stratify": False},
    *({"scaling": "standard", "task": "regression", "loss": loss} for loss in catalogue.task("regression").losses),
]


def by_autograd(config: dict[str, Any]) -> bool:
    kind = catalogue.built_by("activation", config.get("activation", "relu"))
    return fast_form(kind(), "fp32") is ByAutograd


@pytest.mark.parametrize("config", [c for c in CONFIGS if not by_autograd(c)], ids=str)
def test_a_step_on_a_gpu_neither_waits_for_the_host_nor_mixes_devices(
    config: dict[str, Any], fake_gpu: Callable[[dict[str, Any]], Cohort]
) -> None:
    cohort = fake_gpu(config)
    assert one_step(cohort).figures().is_cuda
    for figure in cohort.measure(cohort.tests, catalogue.task(cohort.config.task).measures).figures().values():
        assert figure.is_cuda


class Normed(nn.Module):
    """Dropout, a running mean, and a module within the module."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.body(x))
        return y


@pytest.mark.parametrize("config", [c for c in CONFIGS if by_autograd(c)], ids=str)
def test_a_layer_by_autograd_neither_waits_nor_mixes_devices(
    config: dict[str, Any], without_values: Callable[[dict[str, Any], str], Cohort]
) -> None:
    """On the meta device: autograd wants a real GPU even for tensors that only claim to lie on one."""
    assert one_step(without_values(config, "meta")).figures().is_meta


@pytest.mark.parametrize("lane", ["general", "each"])
def test_the_lanes_of_own_models_neither_wait_nor_mix_devices(
    lane: str, without_values: Callable[[dict[str, Any], str], Cohort], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which lane is right is tried on values, which nothing has here: so it is known before."""
    monkeypatch.setattr("harness.training.cohort.build", lambda *arguments: Normed())
    monkeypatch.setattr("harness.training.cohort.EVALUATION_BATCH", {"meta": 1000})
    cohort = without_values({}, "meta")
    key = (structure(cohort.stack.template), "meta", "fp32")
    monkeypatch.setitem(LANES, key, Lane(lane))
    assert one_step(cohort).figures().is_meta
    [layer] = cohort.stack.layers
    assert isinstance(layer, Opaque)
    assert type(layer.form).__name__.lower() == lane
    assert all(buffer.is_meta for buffer in cohort.stack.buffers.values())
    part = cohort.only([0, 2])
    assert len(part.measure(part.tests, ["accuracy"]).figures()["accuracy"]) == 2


def test_a_step_that_waits_is_found_out(
    fake_gpu: Callable[[dict[str, Any]], Cohort], monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = fake_gpu({})
    plain = cohort.task.loss

    def curious(outputs: torch.Tensor, targets: torch.Tensor) -> Any:
        sums, slope = plain(outputs, targets)
        return [one * sums[0].sum().item() for one in sums], slope

    monkeypatch.setattr(cohort.task, "loss", curious)
    with pytest.raises(DataDependentOutputException):
        one_step(cohort)
