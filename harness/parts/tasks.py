"""How predictions become a loss with its slope, and how a pass over rows becomes figures.

task = task_of(configs, seen)               # of a stack: a config for each model, and what they see
sums, slope = task.loss(outputs, targets)   # of a step
tally = task.tally(names, outputs)
tally.add(outputs, targets)                 # of a pass, batch by batch
tally.figures()                             # {"accuracy": (K,), ...}
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from harness import catalogue
from harness.catalogue import Task
from harness.config import Config
from harness.kernels import present
from harness.parts.measures import Measuring, Totals
from harness.parts.preparing import Affine, Prepared


class Learning(ABC):
    """What training needs of a task. `running` names what `loss` sums up. `models` is how many are in the stack."""

    running: tuple[str, ...]

    def __init__(self, configs: Sequence[Config], seen: Prepared) -> None:
        self.models, self.device = len(configs), seen.targets.device

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[list[Tensor], Tensor]:
        """The figures of `running`, each summed over the batch (K,); and the slope of the mean loss, as outputs."""

    @abstractmethod
    def tally(self, names: Sequence[str], outputs: int, keep: bool = False) -> "Tally":
        """What adds up a pass, of networks with so many outputs, for the measures of those names."""

    def only(self, rows: Sequence[int]) -> Self:
        """The task of some of the models."""
        part = self.__class__.__new__(self.__class__)
        part.__dict__.update(self.__dict__, models=len(rows), **self._of(list(rows)))
        return part

    def _of(self, rows: list[int]) -> dict[str, Any]:
        """What is indexed by row, of some rows."""
        return {}


class Classification(Learning):
    """One of C classes by cross-entropy. outputs: (K, B, C) logits, targets: (K, B) classes.

    With `label_smoothing` and `class_weight` the loss that is trained is torch's with both; what is measured is always
    the plain one.
    """

    running = ("loss", "accuracy")

    def __init__(self, configs: Sequence[Config], seen: Prepared) -> None:
        super().__init__(configs, seen)
        smoothing = [float(config.label_smoothing) for config in configs]
        self.weights = seen.weights  # (R, C)
        self.smoothing = (
            torch.tensor(smoothing, device=self.device) if any(smoothing) or seen.weights is not None else None
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[list[Tensor], Tensor]:
        """Cross-entropies in nats and hits, summed over the batch, and the slope of the mean cross-entropy."""
        if self.smoothing is None:
            loss, hits, slope = cross_entropy(outputs, targets)
        else:
            loss, hits, slope = smoothed_cross_entropy(outputs, targets, self.smoothing, self.weights)
        return [loss, hits], slope

    def tally(self, names: Sequence[str], outputs: int, keep: bool = False) -> "ClassTally":
        """Confusion counts; with `keep` it remembers into which class each row was put, and whether that is its own."""
        return ClassTally(self, names, outputs, keep)

    def _of(self, rows: list[int]) -> dict[str, Any]:
        weights = self.weights if self.weights is None or len(self.weights) == 1 else self.weights[rows]
        return {"weights": weights, "smoothing": None if self.smoothing is None else self.smoothing[rows]}


class Regression(Learning):
    """T numbers, as standard scores. outputs, targets: (K, B, T). The loss is the mean over rows and numbers."""

    running = ("loss",)

    def __init__(self, configs: Sequence[Config], seen: Prepared) -> None:
        super().__init__(configs, seen)
        self.kind = configs[0].loss or "mse"
        self.delta = torch.tensor([float(config.huber_delta) for config in configs], device=self.device)[:, None, None]
        assert seen.unit is not None
        self.unit = seen.unit

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[list[Tensor], Tensor]:
        """Losses summed over the batch, and the slope of their mean."""
        gap = outputs - targets
        share = 1.0 / (targets.shape[1] * targets.shape[2])
        if self.kind == "mse":
            return [gap.square().mean(2).sum(1)], gap.mul_(2.0 * share)
        if self.kind == "mae":
            return [gap.abs().mean(2).sum(1)], gap.sign_().mul_(share)
        slope = gap.clamp(-self.delta, self.delta)  # Huber (1964): square within delta, straight beyond
        return [(slope * (gap - 0.5 * slope)).mean(2).sum(1)], slope.mul_(share)

    def tally(self, names: Sequence[str], outputs: int, keep: bool = False) -> "NumberTally":
        """Numbers in their own unit; with `keep` it remembers all predictions."""
        return NumberTally(self, names, outputs, self.unit, keep)

    def _of(self, rows: list[int]) -> dict[str, Any]:
        unit = self.unit if len(self.unit[0]) == 1 else (self.unit[0][rows], self.unit[1][rows])
        return {"delta": self.delta[rows], "unit": unit}


class Tally:
    """Sums over a pass, of K models, and the figures that they make: those of `names`, in their order."""

    confusion: Tensor | None = None
    """Counts (K, C, C) of a classification: rows true classes, columns predicted ones."""

    def __init__(self, task: Learning, names: Sequence[str], outputs: int) -> None:
        self.task, self.images = task, 0
        self.loss = torch.zeros(task.models, device=task.device)
        self.measures: dict[str, Measuring] = {
            name: catalogue.built_by("measure", name)(task.models, outputs, task.device) for name in names
        }

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """A batch: outputs (K, B, ...), targets (K, B, ...)."""
        self.images += targets.shape[1]

    def figures(self) -> dict[str, Tensor]:
        """Each measure of each model (K,), float32; NaN without rows."""
        totals = Totals(self.confusion, self.loss, self.images)
        return {name: measure.value(totals) for name, measure in self.measures.items()}


class ClassTally(Tally):
    """A pass of a classification."""

    def __init__(self, task: Learning, names: Sequence[str], classes: int, keep: bool) -> None:
        super().__init__(task, names, classes)
        self.classes, self._hits, self._guesses = classes, list[Tensor](), list[Tensor]()
        self._keeps = keep
        self.counts = torch.zeros(task.models, classes * classes, dtype=torch.int64, device=task.device)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """A batch: logits (K, B, C), classes (K, B)."""
        super().add(outputs, targets)
        self.loss += cross_entropy(outputs, targets)[0]
        guess = outputs.argmax(2)
        if self._keeps:
            self._hits.append(guess == targets)
            self._guesses.append(guess.to(torch.uint8 if self.classes <= 256 else torch.int16))
        cells = targets * self.classes + guess
        self.counts.scatter_add_(1, cells, torch.ones_like(cells))
        for measure in self.measures.values():
            measure.add(outputs, targets)

    @property
    def confusion(self) -> Tensor:  # type: ignore[override]
        """Counts (K, C, C): rows true classes, columns predicted ones."""
        return self.counts.view(-1, self.classes, self.classes)

    @property
    def hits(self) -> Tensor:
        """Which rows each model put into their class, in the order of the pass: (K, N) booleans."""
        return torch.cat(self._hits, dim=1)

    def misses(self, row: int) -> Tensor:
        """Into which classes (M,) a model put the rows that are of another, in the order of the pass."""
        guesses = torch.cat([batch[row] for batch in self._guesses])
        return guesses[~torch.cat([batch[row] for batch in self._hits])]


class NumberTally(Tally):
    """A pass of a regression; `unit` makes standard scores numbers again."""

    def __init__(self, task: Learning, names: Sequence[str], numbers: int, unit: Affine, keep: bool) -> None:
        super().__init__(task, names, numbers)
        self.unit, self._kept = unit, list[tuple[Tensor, Tensor]]() if keep else None

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """A batch of standard scores: outputs (K, B, T), targets (K, B, T)."""
        super().add(outputs, targets)
        self.loss += self.task.loss(outputs, targets)[0][0]
        factor, offset = self.unit
        guess, truth = outputs * factor + offset, targets * factor + offset
        if self._kept is not None:
            self._kept.append((truth, guess))
        for measure in self.measures.values():
            measure.add(guess, truth)

    @property
    def predictions(self) -> tuple[Tensor, Tensor]:
        """What was true and what each model said, in the order of the pass: (K, N, T) twice."""
        truths, guesses = zip(*(self._kept or []), strict=True)
        return torch.cat(truths, dim=1), torch.cat(guesses, dim=1)


def task_of(configs: Sequence[Config], seen: Prepared) -> Learning:
    """What a stack's models learn."""
    made: Learning = catalogue.load(described(configs[0]).build)(configs, seen)
    return made


def described(config: Config) -> Task:
    """The catalogue's entry of a config's task."""
    return catalogue.task(config.task)


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy in nats, summed over the rows (K,); hits (K,); and the slope of the mean, (K, B, C).

    logits: (K, B, C), labels: (K, B). The slope is softmax minus one at the label, over B. One maximum serves the
    hits and the softmax; torch's own log_softmax is three times slower than these parts where C is small.
    """
    if logits.device.type == "cpu" and present():
        from harness.kernels import entropy

        if entropy.fits(logits):
            return entropy.cross_entropy(logits, labels)
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


def smoothed_cross_entropy(
    logits: Tensor, labels: Tensor, smoothing: Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The same, as torch.nn.functional.cross_entropy with label_smoothing (K,) and class weights (R, C), if any.

    What is summed is the mean loss times B: of weighted rows that mean divides by the sum of their weights. 0 where no
    row of the batch has a weight.
    """
    rows, classes = labels.shape[1], logits.shape[2]
    spread = smoothing[:, None, None]
    at = labels[..., None]
    of_class = torch.ones(1, classes, device=logits.device) if weights is None else weights
    of_class = of_class[:, None].expand(len(logits), rows, classes)
    own = of_class.gather(2, at)  # (K, B, 1)
    wanted = (of_class * (spread / classes)).scatter_add(2, at, own * (1.0 - spread))
    log_shares = logits.log_softmax(2)
    total = own.sum(1, keepdim=True).clamp(min=torch.finfo(own.dtype).tiny)
    loss = -(wanted * log_shares).sum((1, 2)) * (rows / total.squeeze((1, 2)))
    hits = (logits.argmax(2, keepdim=True) == at).sum((1, 2))
    slope = (log_shares.exp() * wanted.sum(2, keepdim=True) - wanted) / total
    return loss, hits, slope
