"""One row of the GPU's benchmark: training epochs of K networks by one contender, in a process of its own.

python -m harness.bench.stacks '{"contender": "harness", "model": "mlp", "size": 8}' cuda     # a line of JSON

The images are made up, in MNIST's shape: nothing has to be downloaded, and nothing is learned. Everything that an epoch
costs is timed: shuffles, batches, steps, and that its losses are read once.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from harness import catalogue
from harness.config import Config
from harness.parts.data import Data, Split, data_of
from harness.parts.models import build
from harness.parts.preparing import prepare
from harness.training.cohort import Cohort
from harness.training.feed import Feed
from harness.training.loop import Trainer
from harness.training.step import Step
from harness.trial import Trial

MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"depth": 3, "width": 128, "batch_size": 256},
    "cnn": {"model": "cnn", "channels": (32, 64), "depth": 2, "width": 128, "batch_size": 64},
}
"""What is trained, by Adam."""


@dataclass(frozen=True)
class Case:
    """What is trained and how: `size` networks at once for at least `seconds`; an epoch has so many `steps`."""

    contender: str
    model: str = "mlp"
    size: int = 1
    precision: str = "fp32"
    seconds: float = 1.0
    steps: int = 50

    @property
    def config(self) -> Config:
        """Of every network."""
        return Config(
            **MODELS[self.model], dataset="mnist", precision=self.precision, validation=0.0, epochs=10_000, patience=1
        )

    def data(self, device: torch.device) -> Data:
        """Made-up images for an epoch, and a few for the test; uint8, as MNIST's."""
        count, generator = self.steps * int(self.config.batch_size), torch.Generator().manual_seed(0)
        images = torch.randint(256, (count + 10, 784), generator=generator, dtype=torch.uint8)
        classes = torch.randint(10, (count + 10,), generator=generator)
        parts = (Split(images[:count], classes[:count]), Split(images[count:], classes[count:]))
        return data_of("made up", *parts, (1, 28, 28), white=255.0, classes=range(10)).to(device)


Epochs = Callable[[], float]
"""Trains an epoch and returns the mean training loss, so that the device is done when it returns."""
Contender = Callable[[Case, torch.device], Epochs]


def stacked(case: Case, device: torch.device) -> Epochs:
    """harness as it comes: on a GPU the step is one captured graph."""
    return _trained(Trainer.of(_trials(case), case.data(device)))


def uncaptured(case: Case, device: torch.device) -> Epochs:
    """harness with its steps launched kernel by kernel."""
    cohort = Cohort.of(_trials(case), case.data(device))
    trainer = Trainer(cohort, cohort.optimizer())
    noise = [member.noise for member in cohort.members]
    trainer.step = Step(cohort.task, cohort.stack, trainer.optimizer, cohort.training, noise)
    return _trained(trainer)


def _trials(case: Case) -> list[Trial]:
    return [Trial(0, "search", seed, seed, case.config) for seed in range(case.size)]


def _trained(trainer: Trainer) -> Epochs:
    return lambda: float(trainer.epoch()[0][1]["train_loss"])


def bare(case: Case, device: torch.device) -> Epochs:
    """A plain torch loop with the data on the device, one network after the other."""
    data, config = case.data(device), case.config
    train = torch.arange(data.trainable, device=device)[None]
    x, y = (part[0] for part in Feed(prepare(data, config, train), train).cut(train))
    networks = [build(config, data.shape, data.outputs, seed).to(device) for seed in range(case.size)]
    optimizers = [torch.optim.Adam(network.parameters(), lr=float(config.lr)) for network in networks]
    half = torch.autocast(device.type, torch.bfloat16, enabled=case.precision == "bf16")

    def epoch() -> float:
        total = torch.zeros((), device=device)
        for network, optimizer in zip(networks, optimizers, strict=True):
            for batch in torch.randperm(len(y), device=device).split(int(config.batch_size)):
                optimizer.zero_grad()
                with half:
                    loss = F.cross_entropy(network(x[batch]), y[batch])
                loss.backward()
                optimizer.step()
                total += loss.detach()
        return total.item() / case.steps / case.size

    return epoch


CONTENDERS = {
    "bare loop": "harness.bench.stacks:bare",
    "JAX": "harness.bench.jax_stack:stacked",  # a `Contender` as those here; needs jax with CUDA
    "harness": "harness.bench.stacks:stacked",
    "harness, not captured": "harness.bench.stacks:uncaptured",
}
"""Where each is made, imported only when it is its turn."""


@contextmanager
def _products(precision: str) -> Iterator[None]:
    """Torch's setting for float32 products, as the trainer of harness sets it for itself."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def measure(case: Case, device: torch.device) -> dict[str, float]:
    """Seconds until the first epoch is done (with it what is compiled or captured), then milliseconds a step, steps of
    one network a second, and the most memory (MiB) that tensors took on the GPU and the process on the host.
    """
    made: Contender = catalogue.load(CONTENDERS[case.contender])
    began = time.perf_counter()
    with _products(case.precision):
        epoch = made(case, device)
        epoch()
        first = time.perf_counter() - began
        took: list[float] = []
        while len(took) < 2 or sum(took) < case.seconds:
            began = time.perf_counter()
            epoch()
            took.append(time.perf_counter() - began)
    step = sorted(took)[len(took) // 2] / case.steps
    return {
        "first_s": first,
        "ms_a_step": 1000 * step,
        "model_steps_per_second": case.size / step,
        **({} if case.contender == "JAX" else memory(device)),  # torch does not see what others take
    }


def memory(device: torch.device) -> dict[str, float]:
    """The most MiB that torch's tensors took on a GPU, and that this process and its largest child took on the host."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    host = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / unit
    on_gpu = {"peak_gpu_mib": round(torch.cuda.max_memory_allocated(device) / 2**20)} if device.type == "cuda" else {}
    return {"peak_mib": round(host), **on_gpu}


def main() -> None:
    """The command that the docstring of this module shows."""
    print(json.dumps(measure(Case(**json.loads(sys.argv[1])), torch.device(sys.argv[2]))))


if __name__ == "__main__":
    main()
