"""How predictions become a loss with its slope, and how a pass over images becomes figures.

task = task_of(config)
sums, slope = task.loss(logits, labels)     # of a step
tally = Tally(task, names, models, classes, device)
tally.add(logits, labels)                   # of a pass, batch by batch
tally.figures()                             # {"accuracy": (K,), ...}
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from harness import catalogue
from harness.catalogue import Task
from harness.config import Config
from harness.parts.measures import Measuring, Totals


class Learning(Protocol):
    """What training needs of a task. `running` names what `loss` sums up."""

    running: tuple[str, ...]

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[list[Tensor], Tensor]:
        """The figures of `running`, each summed over the batch (K,); and the slope of the mean loss, as outputs."""


class Classification:
    """One of C classes by cross-entropy. outputs: (K, B, C) logits, targets: (K, B) classes."""

    running = ("loss", "accuracy")

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[list[Tensor], Tensor]:
        """Cross-entropies in nats and hits, summed over the batch, and the slope of the mean cross-entropy."""
        loss, hits, slope = cross_entropy(outputs, targets)
        return [loss, hits], slope


class Tally:
    """Sums over a pass, of K models, and the figures that they make: those of `names`, in their order.

    With `keep_hits` it remembers of each image whether it was put into its class.
    """

    def __init__(
        self,
        task: Learning,
        names: Sequence[str],
        models: int,
        classes: int,
        device: torch.device,
        keep_hits: bool = False,
    ) -> None:
        self.task, self.images = task, 0
        self.loss = torch.zeros(models, device=device)
        self.counts = torch.zeros(models, classes * classes, dtype=torch.int64, device=device)
        self.classes, self._hits = classes, list[Tensor]() if keep_hits else None
        self.measures: dict[str, Measuring] = {
            name: catalogue.built_by("measure", name)(models, classes, device) for name in names
        }

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """A batch: logits (K, B, C), labels (K, B)."""
        self.images += labels.shape[1]
        self.loss += self.task.loss(logits, labels)[0][0]
        guess = logits.argmax(2)
        if self._hits is not None:
            self._hits.append(guess == labels)
        cells = labels * self.classes + guess
        self.counts.scatter_add_(1, cells, torch.ones_like(cells))
        for measure in self.measures.values():
            measure.add(logits, labels)

    @property
    def confusion(self) -> Tensor:
        """Counts (K, C, C): rows true classes, columns predicted ones."""
        return self.counts.view(-1, self.classes, self.classes)

    @property
    def hits(self) -> Tensor:
        """Which images each model put into their class, in the order of the pass: (K, N) booleans."""
        return torch.cat(self._hits or [], dim=1)

    def figures(self) -> dict[str, Tensor]:
        """Each measure of each model (K,), float32; NaN without images."""
        totals = Totals(self.confusion, self.loss, self.images)
        return {name: measure.value(totals) for name, measure in self.measures.items()}


def task_of(config: Config) -> Learning:
    """What a config's models learn."""
    make: Callable[[], Learning] = catalogue.load(described(config).build)
    return make()


def described(config: Config) -> Task:
    """The catalogue's entry of a config's task: there is one so far."""
    return catalogue.task()


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy in nats, summed over the images (K,); hits (K,); and the slope of the mean, (K, B, C).

    logits: (K, B, C), labels: (K, B). The slope is softmax minus one at the label, over B. One maximum serves the
    hits and the softmax; torch's own log_softmax is three times slower than these parts where C is small.
    """
    peak, guess = logits.max(2, keepdim=True)
    shifted = logits - peak
    slope = shifted.exp()
    total = slope.sum(2, keepdim=True)
    at = labels[..., None]
    loss = (total.log() - shifted.gather(2, at)).sum((1, 2))
    hits = (guess == at).sum((1, 2))
    slope = slope.div_(total)
    slope.scatter_add_(2, at, torch.full_like(at, -1, dtype=slope.dtype)).div_(labels.shape[1])
    return loss, hits, slope
