"""Every part of the catalogue on a GPU that there is not: whole epochs on tensors that only claim to lie on one.

They have no values, so whoever asks for one is found out, and so is whoever mixes devices. What this cannot see:
capture itself, streams, kernels that are missing, and speed; `make gpu` does, where there is a GPU.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness import catalogue
from harness.catalogue import Knob, Value
from harness.parts.data import Data
from harness.parts.models import build
from harness.parts.structure import structure
from harness.training.cohort import EVALUATION_BATCH
from harness.training.lanes import LANES, Lane, Opaque
from harness.training.layers import ByAutograd, fast_form
from harness.training.loop import COMPACT, Trainer
from harness.training.step import CapturedStep, Step
from harness.trial import Trial

from .conftest import make_trial
from .test_tables import table

Made = Callable[[Mapping[str, Any], str], Trainer]
ROWS = [0, 2]  # that go on when the others are done


class TwoDevicesError(Exception):
    """An operation on tensors of two devices."""


class OneDevice(TorchDispatchMode):
    """Nothing crosses between devices: not what torch itself would copy for us either, as a single number. A captured
    graph would keep the number that it had when it was captured.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs, result)) if isinstance(one, Tensor)]
        if len({one.device.type for one in tensors}) > 1:
            raise TwoDevicesError(f"{func}: {', '.join(str(one.device) for one in tensors)}")
        return result


def one_device() -> AbstractContextManager[Any]:
    made: AbstractContextManager[Any] = OneDevice()  # type: ignore[no-untyped-call]
    return made


class WatchedStep(Step):
    """What a graph would hold: from the second step on (the first ones are never captured) watched on its way."""

    def run(self, batch: Tensor) -> None:
        with one_device() if getattr(self, "ran", False) else nullcontext():
            super().run(batch)
        self.ran = True


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What was read as a list or an array: zeros, since nothing has a value."""
    seen: list[Tensor] = []
    tolist, numpy = Tensor.tolist, Tensor.numpy

    def listed(tensor: Tensor) -> Any:
        if not is_without_values(tensor):
            return tolist(tensor)
        seen.append(tensor)
        return np.zeros(tensor.shape).tolist()

    def array(tensor: Tensor, **how: bool) -> Any:
        if not is_without_values(tensor):
            return numpy(tensor, **how)
        return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))

    for kind in (Tensor, FakeTensor):
        monkeypatch.setattr(kind, "tolist", listed)
    monkeypatch.setattr(Tensor, "numpy", array)
    return seen


def is_without_values(tensor: Tensor) -> bool:
    return isinstance(tensor, FakeTensor) or tensor.is_meta


def built(*arguments: Any) -> nn.Module:
    """A network, as ever on the CPU and with values."""
    with unset_fake_temporarily():
        return build(*arguments)


@pytest.fixture(scope="module")
def known(digits: Data) -> Mapping[str, Data]:
    """Images, and a table for each task, on the CPU."""
    return {"images": digits, **{task: table(task) for task in catalogue.names("task")}}


@pytest.fixture
def without_values(reads: list[Tensor], known: Mapping[str, Data], monkeypatch: pytest.MonkeyPatch) -> Made:
    """Trainers of three models whose tensors lie on a device where they have no values."""
    randperm, uniform = torch.randperm, Tensor.uniform_
    monkeypatch.setattr("harness.training.cohort.generator", lambda *seed: object())  # torch makes none without a GPU
    monkeypatch.setattr(torch, "randperm", lambda n, generator=None, device=None: randperm(n, device=device))
    monkeypatch.setattr(Tensor, "uniform_", lambda tensor, *ends, generator=None: uniform(tensor, *ends))
    monkeypatch.setattr("harness.training.feed.bool", lambda shifted: True, raising=False)  # read before the first step
    monkeypatch.setattr("harness.training.loop.make_step", WatchedStep)
    monkeypatch.setattr("harness.training.cohort.build", built)
    monkeypatch.setitem(EVALUATION_BATCH, "meta", EVALUATION_BATCH["cuda"])
    monkeypatch.setitem(COMPACT, "meta", COMPACT["cuda"])

    def make(config: Mapping[str, Any], device: str) -> Trainer:
        like = data_for(config, known)
        inputs, targets = (torch.empty_like(part, device=device) for part in (like.inputs, like.targets))
        trials = trials_for(config, len(like.train) // 2, "search")
        return Trainer.of(trials, replace(like, inputs=inputs, targets=targets))

    return make


def data_for(config: Mapping[str, Any], known: Mapping[str, Data]) -> Data:
    return known[str(config.get("task", "classification")) if {"task", "scaling"} & {*config} else "images"]


def trials_for(config: Mapping[str, Any], batch_size: int, stage: str = "confirm") -> list[Trial]:
    """Three that share a stack: the first has the defaults of what may differ there."""
    config = {"batch_size": batch_size, "metric": catalogue.task(config.get("task", "classification")).metric, **config}
    first = {name: value for name, value in config.items() if catalogue.knob(name).in_stack != "free"}
    return [make_trial(k, seed=k, stage=stage, **(config if k else first)) for k in range(3)]


def claiming(device: str) -> AbstractContextManager[Any]:
    """Tensors may claim to lie on a GPU."""
    return FakeTensorMode(allow_non_fake_inputs=True) if device == "cuda" else nullcontext()


def train_on(trainer: Trainer, reads: list[Tensor]) -> None:
    """An epoch, which is read once, and a step of some of its models."""
    place = trainer.cohort.stack.flat.device.type
    reads.clear()
    assert len(trainer.epoch()) == len(trainer.cohort)
    assert [tensor.device.type for tensor in reads] == [place]
    part = trainer.only(ROWS)
    part.step(next(part.cohort.batches()))
    assert part.step.figures().device.type == place


COMPANY: dict[str, dict[str, Value]] = {
    "residual": {"depth": 3},
    "test_fraction": {"split": "pooled"},
    "huber_delta": {"loss": "huber", "task": "regression"},
    "decay_biases": {"weight_decay": 0.1},
    "schedule_every": {"schedule": "cosine"},
    "nesterov": {"momentum": 0.9},
    "dampening": {"momentum": 0.9},
}
"""What some knobs mean nothing without."""
SIZES = {"mlp": {}, "cnn": {"channels": (4,)}}  # of models, so that a step is soon done
REFUSED = ({"model": "cnn", "norm": "rms"},)


def values(knob: Knob) -> Sequence[Value]:
    """Every word that a knob takes; of numbers one that is not its default."""
    if knob.words:
        return knob.words
    if knob.type is bool:
        return [not knob.default]
    if knob.type is tuple:
        return [(2,) * max(1, knob.shortest)]
    default: Any = knob.default
    if knob.type is int:
        return [2 * default if default > 1 else 2]
    return [0.25 if default == 0.5 else 0.5]


def of_catalogue() -> Iterator[dict[str, Any]]:
    """Every value of every knob, with each of the parts that it belongs to."""
    for name in catalogue.hyperparameters():
        knob = catalogue.knob(name)
        owners = [{kind: one} for kind in ("optimizer", "schedule") for one in catalogue.owners(name, kind)]
        owners += [{"model": one} for one in catalogue.owners(name, "model")]
        for place, owner in enumerate(owners or [{}]):
            for value in values(knob)[: 2 if place else None]:  # every word once, and two with each other owner
                yield {**SIZES.get(owner.get("model", ""), {}), **COMPANY.get(name, {}), **owner, **_task(name, value)}


def _task(name: str, value: Value) -> dict[str, Value]:
    """The value; of a loss with the task that has it."""
    tasks = [task for task in catalogue.names("task") if name == "loss" and value in catalogue.task(task).losses]
    return {**({"task": tasks[0]} if tasks else {}), name: value}


TOGETHER: list[dict[str, Any]] = [
    {"optimizer": "muon", "schedule": "cosine", "decay_biases": False},
    {"clip_norm": 0.1, "clip_value": 0.1, "max_norm": 1.0, "ema": 0.9},
    {"accumulate": 3, "drop_last": True, "ema": 0.9},
    {"optimizer": "sgd", "momentum": 0.9, "dampening": 0.5, "decay_biases": False},
    *({"optimizer": name, "amsgrad": True, "beta1": 0.8, "beta2": 0.9, "eps": 1e-6} for name in ("adam", "adamw")),
    {"schedule": "onecycle", "warmup": 0.5},
    *(
        {"model": "cnn", "channels": (4, 4), "padding": "same", "convs_per_pool": 2, "residual": True, "norm": norm}
        for norm in ("batch", "layer")
    ),
    {"model": "cnn", "channels": (4,), "precision": "bf16", "augment_shift": 1, "dropout": 0.2},
    {"augment_shift": 1, "augment_flip": True, "augment_crop": 0.2, "normalisation": "standard"},
    {"scaling": "standard", "class_weight": "balanced", "label_smoothing": 0.1},
    {"task": "regression", "precision": "bf16", "dropout": 0.2, "norm": "rms"},
]
"""Some that get in one another's way."""
CONFIGS = [one for one in (*of_catalogue(), *TOGETHER) if not any(no.items() <= one.items() for no in REFUSED)]


def by_autograd(config: Mapping[str, Any]) -> bool:
    kind = catalogue.built_by("activation", config.get("activation", "relu"))
    return fast_form(kind(), "fp32") is ByAutograd


def test_every_part_is_tried() -> None:
    for kind in ("model", "activation", "initialisation", "optimizer", "schedule", "task"):
        default = catalogue.knob(kind).default
        assert {one.get(kind, default) for one in CONFIGS} == {*catalogue.names(kind)}, kind
    tried = {name for one in CONFIGS for name in one}
    assert {*catalogue.hyperparameters()} <= tried


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_an_epoch_on_a_gpu_neither_waits_for_the_host_nor_mixes_devices(
    config: dict[str, Any], without_values: Made, reads: list[Tensor]
) -> None:
    """On the meta device where a part of it goes by autograd: that wants a real GPU even for tensors that only claim to
    lie on one.
    """
    device = "meta" if by_autograd(config) else "cuda"
    with claiming(device):
        train_on(without_values(config, device), reads)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine")
@pytest.mark.parametrize("config", CONFIGS if torch.cuda.is_available() else CONFIGS[:1], ids=str)
def test_on_a_gpu_a_captured_epoch_is_that_of_plain_steps(
    config: dict[str, Any], known: Mapping[str, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    alike_however_it_steps(config, known, "cuda", CapturedStep, monkeypatch)


def test_what_a_gpu_is_asked_for_can_be_asked_of_a_cpu(
    known: Mapping[str, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That test's body, where there is no graph: its figures are the same, and learning rates differ in the stack."""
    alike_however_it_steps({"lr": 0.5, "dropout": 0.5}, known, "cpu", Step, monkeypatch)


def alike_however_it_steps(
    config: Mapping[str, Any],
    known: Mapping[str, Data],
    device: str,
    kind: type[Step],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two epochs by steps of that kind and by plain ones, with all three models and then with two of them."""
    data, seen = data_for(config, known).to(device), []
    for made in (kind, Step):
        monkeypatch.setattr("harness.training.loop.make_step", made)
        trainer = Trainer.of(trials_for(config, len(data.train) // 8), data)
        figures = [epoch.figures for epochs in (trainer.epoch(), trainer.epoch()) for _, epoch in epochs]
        figures += [epoch.figures for _, epoch in trainer.only(ROWS).epoch()]
        seen.append([[*each.values()] for each in figures])
    torch.testing.assert_close(torch.tensor(seen[0]), torch.tensor(seen[1]), rtol=1e-2, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize("task", catalogue.names("task"))
def test_all_measures_are_taken_on_the_device(task: str, without_values: Made) -> None:
    with claiming("cuda"):
        cohort = without_values({"task": task}, "cuda").cohort
        cohort.measure_untrained()
        cohort = cohort.only(ROWS)
        with one_device():
            figures = cohort.measure(cohort.tests, catalogue.task(task).measures, keep=True).figures()
    assert {figure.device.type for figure in figures.values()} == {"cuda"}
    assert {len(figure) for figure in figures.values()} == {len(ROWS)}


class Normed(nn.Module):
    """Dropout, a running mean, and a module within the module."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.body(x))
        return y


@pytest.mark.parametrize("lane", ["general", "each"])
def test_the_lanes_of_own_models_neither_wait_nor_mix_devices(
    lane: str, without_values: Made, reads: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which lane is right is tried on values, which nothing has here: so it is known before."""
    monkeypatch.setattr("harness.training.cohort.build", lambda *arguments: Normed())
    monkeypatch.setitem(LANES, (structure(Normed()), "meta", "fp32"), Lane(lane))
    trainer = without_values({}, "meta")
    train_on(trainer, reads)
    [layer] = trainer.cohort.stack.layers
    assert isinstance(layer, Opaque)
    assert type(layer.form).__name__.lower() == lane
    assert all(buffer.is_meta for buffer in trainer.cohort.stack.buffers.values())


def test_a_layer_by_autograd_neither_waits_nor_mixes_devices(
    without_values: Made, reads: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = nn.Sequential(nn.Linear(64, 8), nn.CELU(), nn.Linear(8, 10))
    monkeypatch.setattr("harness.training.cohort.build", lambda *arguments: network)
    trainer = without_values({}, "meta")
    assert isinstance(trainer.cohort.stack.layers[1], ByAutograd)
    train_on(trainer, reads)


@pytest.mark.parametrize(("batch_size", "measured"), [(32, 256), (512, 4000)])
def test_measuring_takes_little_more_memory_than_a_step(
    batch_size: int, measured: int, without_values: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a CNN 4,000 images each would not fit where its steps do."""
    with claiming("cuda"):
        cohort = without_values({"batch_size": batch_size}, "cuda").cohort
        sizes = [batch.shape[1] for batch in cohort.tests.batches(cohort.evaluation_batch)]
    assert cohort.evaluation_batch == measured
    assert max(sizes) == min(measured, len(cohort.tests))


def waits(slope: Tensor) -> Tensor:
    return slope * slope.sum().item()


def asks(slope: Tensor) -> Tensor:
    return slope if slope.sum() > 0 else -slope


def copies_to_the_host(slope: Tensor) -> Tensor:
    return slope * slope.sum().cpu().to(slope.device)


def brings_a_number(slope: Tensor) -> Tensor:
    return slope * torch.ones(())


def brings_numbers(slope: Tensor) -> Tensor:
    return slope * torch.ones(slope.shape[-1])


PLANTED: dict[Callable[[Tensor], Tensor], str] = {
    waits: r"local_scalar_dense|Tensor.item\(\)",
    asks: r"local_scalar_dense|Tensor.item\(\)",
    copies_to_the_host: r"aten._to_copy.default: cuda:0, cpu|Cannot copy out of meta",
    brings_a_number: "aten.mul.Tensor: (cuda:0|meta), cpu",
    brings_numbers: "at least two devices|not on the expected device",
}


@pytest.mark.parametrize("device", ["cuda", "meta"])
@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.__name__)
def test_what_waits_or_mixes_devices_is_found_out(
    planted: Callable[[Tensor], Tensor], device: str, without_values: Made
) -> None:
    with claiming(device):
        trainer = without_values({}, device)
        plain = trainer.cohort.task.loss

        def loss(outputs: Tensor, targets: Tensor) -> Any:
            sums, slope = plain(outputs, targets)
            return sums, planted(slope)

        trainer.cohort.task.loss = loss  # type: ignore[method-assign]
        with pytest.raises(Exception, match=PLANTED[planted]):
            trainer.epoch()


def test_images_lie_on_the_device_as_bytes(without_values: Made) -> None:
    """They become floats a batch at a time: a quarter of the memory, and of what a step reads."""
    with claiming("cuda"):
        trainer = without_values({"normalisation": "standard", "augment_shift": 1}, "cuda")
        trainer.epoch()
    for feed in (trainer.cohort.training, trainer.cohort.held_out, trainer.cohort.tests):
        assert feed.seen.inputs.dtype == torch.uint8
        images, floats = len(feed.seen.inputs), [one for one in feed.memory._held.values() if one.is_floating_point()]
        assert all(one.shape[1] < images for one in floats)
