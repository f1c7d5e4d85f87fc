"""The only training loop: a stack of trials in; an Epoch after every epoch and an Outcome for every trial out.

    for trial, event in train(trials, load("mnist", "cpu"), stop=lambda trial: trial in pruned):
        ...                          # an Epoch, or at the end its Outcome

`steps` is the loop itself, for those who are not in the same thread, or not on the same machine: it gives the epochs of
the whole stack at once and is sent the trials that are to stop.

All trials of a stack have the same `Config.shape`. They never see each other: a trial's split, initialisation, order
of images and dropout come from its own seed, so it ends with the same figures in any stack or alone (to float32
rounding). A trial that is done leaves the stack at once, and the rest go on without it.
"""

import math
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.parts.data import Data
from harness.parts.models import build
from harness.training.feed import Feed
from harness.training.optim import OPTIMIZERS, StackOptimizer
from harness.training.stack import Stack
from harness.training.step import cross_entropy, make_step
from harness.trial import Config, Epoch, Example, Outcome, Status, Trial

EVALUATION_BATCH = {"cpu": 1000, "cuda": 4000}  # images per model; more fall out of a CPU's cache
COMPACT = {"cpu": 1.0, "cuda": 0.5}  # the share of a stack still training at which the rest goes on without the others:
# on a GPU those that are done cost little, and a smaller stack wants a graph of its own
MISTAKES = 15  # that an outcome keeps
ORDER, NOISE = 1, 2  # the streams of random numbers that a seed feeds (0 is the split)


@dataclass
class Member:
    """What the loop remembers of one trial while it trains."""

    trial: Trial
    noise: torch.Generator
    best_weights: Tensor  # (P,), those of the best epoch
    best: Epoch | None = None
    untrained_accuracy: float = math.nan
    history: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0
    done: bool = False

    def add(self, epoch: Epoch, weights: Tensor) -> None:
        """Remember an epoch, and its weights (P,) if its validation loss is the lowest so far, or nothing held out."""
        self.history.append(epoch)
        held_out = self.trial.config.validation > 0
        if not held_out or epoch.val_loss < (self.best.val_loss if self.best else math.inf):
            self.best = epoch
            self.best_weights.copy_(weights)

    def verdict(self, stopped: bool) -> tuple[Status, str] | None:
        """Whether the trial is done after its last epoch, and why."""
        last, config = self.history[-1], self.trial.config
        for loss in (last.train_loss, last.val_loss) if config.validation else (last.train_loss,):
            if not math.isfinite(loss):
                return "diverged", f"diverged at epoch {last.number}, loss {loss}"
        if stopped:
            return "pruned", f"pruned at epoch {last.number}"
        if self.best and last.number - self.best.number >= config.patience:
            return "finished", f"no lower validation loss for {config.patience} epochs"
        if last.number >= config.epochs:
            return "finished", f"epoch limit {config.epochs}"
        return None


def train(
    trials: Sequence[Trial], data: Data, stop: Callable[[Trial], bool] = lambda trial: False
) -> Iterator[tuple[Trial, Epoch | Outcome]]:
    """Train the trials together, where `data` lies. `stop` is asked about every trial after each of its epochs."""
    training = steps(trials, data)
    batch = next(training)
    while True:
        yield from batch
        try:
            batch = training.send([trial for trial, event in batch if isinstance(event, Epoch) and stop(trial)])
        except StopIteration:
            return


def steps(
    trials: Sequence[Trial], data: Data
) -> Generator[list[tuple[Trial, Epoch | Outcome]], Collection[Trial] | None, None]:
    """The same, a step at a time: the epochs of all that train, or the outcomes of those that are done.

    After epochs it is sent those of their trials that are to stop.
    """
    started = time.time()
    config, device = trials[0].config, data.train.images.device
    networks = [build(trial.config, data.train.images.shape[1], data.classes, trial.seed) for trial in trials]
    stack = Stack.of(networks, device, config.precision)
    members = [
        Member(trial, _generator(trial.seed, NOISE, device), stack.flat[row].clone())
        for row, trial in enumerate(trials)
    ]
    optimizer = _optimizer(trials, stack)
    feed, held_out, tests = _feeds(trials, data)
    if trials[0].stage == "confirm":
        for member, accuracy in zip(members, evaluate(stack, tests)[1].tolist(), strict=True):
            member.untrained_accuracy = accuracy
    step = make_step(stack, optimizer, feed, [member.noise for member in members])
    while True:
        clock = time.perf_counter()
        with _precision(config, device):
            for batch in feed.batches(config.batch_size):
                step(batch)
            figures = torch.stack([*step.figures(), *evaluate(stack, held_out)[:2]])  # (4, K)
            columns = figures.T.tolist()  # the one time in an epoch that the loop waits for the device
        going = [row for row, member in enumerate(members) if not member.done]
        share = (time.perf_counter() - clock) / len(going)
        told: list[tuple[Trial, Epoch | Outcome]] = []
        for member, column, weights in ((members[row], columns[row], stack.flat[row]) for row in going):
            member.seconds += share
            now, number = time.time(), len(member.history) + 1
            train_loss, train_accuracy, val_loss, val_accuracy = column
            member.add(Epoch(number, train_loss, train_accuracy, val_loss, val_accuracy, now), weights)
            told.append((member.trial, member.history[-1]))
        stopped = (yield told) or ()
        verdicts = {row: members[row].verdict(members[row].trial in stopped) for row in going}
        if ended := {row: verdict for row, verdict in verdicts.items() if verdict}:
            rows = list(ended)
            yield list(
                _outcomes(
                    stack[rows],
                    feed.only(rows),
                    tests.only(rows),
                    [members[row] for row in rows],
                    list(ended.values()),
                    started,
                )
            )
            for row in rows:
                members[row].done = True
            left = [row for row in going if row not in ended]
            if not left:
                return
            if len(left) <= COMPACT[device.type] * len(members):
                members, stack = [members[row] for row in left], stack[left]
                feed, held_out, tests = feed.only(left), held_out.only(left), tests.only(left)
                optimizer.keep(stack.flat, left)
                step = make_step(stack, optimizer, feed, [member.noise for member in members])


@torch.no_grad()
def evaluate(stack: Stack, feed: Feed) -> tuple[Tensor, Tensor, Tensor]:
    """Mean cross-entropy (K,), accuracy (K,) and confusion counts (K, C, C: rows true, columns predicted).

    Without images the first two are NaN.
    """
    models, classes = len(stack), feed.data.classes
    loss = torch.zeros(models, device=stack.flat.device)
    counts = torch.zeros(models, classes * classes, dtype=torch.int64, device=stack.flat.device)
    for batch in feed.batches(EVALUATION_BATCH[stack.flat.device.type]) if len(feed) else ():
        x, y = feed.cut(batch)
        logits, labels = stack(x), y.expand(models, -1)
        loss += cross_entropy(logits, labels)[0]
        cells = labels * classes + logits.argmax(2)
        counts.scatter_add_(1, cells, torch.ones_like(cells))
    confusion = counts.unflatten(1, (classes, classes))
    return loss / len(feed), confusion.diagonal(dim1=1, dim2=2).sum(1) / len(feed), confusion


@torch.no_grad()
def examples(stack: Stack, feed: Feed) -> tuple[Example, ...]:
    """Of a stack of one: the first image, then the mistakes with the highest loss, worst first."""
    batches = feed.batches(EVALUATION_BATCH[stack.flat.device.type])
    logits = torch.cat([stack(feed.cut(batch)[0])[0].clone() for batch in batches])  # (N, C)
    data, rows = feed.data, feed.rows[0]
    loss = F.cross_entropy(logits, data.labels[rows], reduction="none")
    loss[logits.argmax(1) == data.labels[rows]] = -1.0
    worst = loss.topk(min(MISTAKES, len(rows)))
    shown = [0, *worst.indices[worst.values >= 0].tolist()]
    probabilities = logits[shown].softmax(1).tolist()
    return tuple(
        Example(
            index=int(row),
            label=int(data.labels[row]),
            probabilities=tuple(round(share, 6) for share in shares),
            pixels=data.images[row].cpu().numpy().tobytes().hex(),
            white=data.white,
        )
        for row, shares in zip(rows[shown].tolist(), probabilities, strict=True)
    )


@contextmanager
def _precision(config: Config, device: torch.device) -> Iterator[None]:
    """Torch's global setting for float32 products; as it was afterwards."""
    if config.precision != "tf32" or device.type == "cpu":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _outcomes(
    stack: Stack,
    feed: Feed,
    tests: Feed,
    members: Sequence[Member],
    verdicts: Sequence[tuple[Status, str]],
    started: float,
) -> Iterator[tuple[Trial, Outcome]]:
    """The outcomes of members that are done; `stack` and the feeds are theirs alone."""
    stack.flat.copy_(torch.stack([member.best_weights for member in members]))
    outcomes = [
        _outcome(member, *verdict, started, stack.state_dict(row))
        for row, (member, verdict) in enumerate(zip(members, verdicts, strict=True))
    ]
    rows = [r for r, m in enumerate(members) if m.trial.stage == "confirm" and outcomes[r].status == "finished"]
    if rows:
        epochs = len(members[rows[0]].history)  # the same for all that end together
        measured = _final_figures(stack[rows], feed.only(rows), tests.only(rows), epochs)
        for row, figures in zip(rows, measured, strict=True):
            shown = examples(stack[[row]], tests.only([row])) if members[row].trial.number == 0 else ()
            figures |= {"untrained_accuracy": members[row].untrained_accuracy, "examples": shown}
            outcomes[row] = replace(outcomes[row], **figures)
    yield from zip((member.trial for member in members), outcomes, strict=True)


def _outcome(member: Member, status: Status, reason: str, started: float, weights: Mapping[str, Tensor]) -> Outcome:
    best = member.best or member.history[-1]
    return Outcome(
        status=status,
        reason=reason,
        started=started,
        ended=member.history[-1].time,
        seconds=member.seconds,
        parameters=len(member.best_weights),
        best_epoch=best.number,
        val_loss=best.val_loss,
        val_accuracy=best.val_accuracy,
        train_loss=best.train_loss,
        train_accuracy=best.train_accuracy,
        history=tuple(member.history),
        weights=weights,
    )


def _final_figures(stack: Stack, feed: Feed, tests: Feed, epochs: int) -> Iterator[dict[str, Any]]:
    """What a confirmation adds: training figures with dropout off, and the look at the test images.

    Training figures are those of all training images after more than ten epochs; after fewer, when that would cost much
    beside the training, of an even sample of them, but at least as many as there are test images.
    """
    train_loss, train_accuracy, _ = evaluate(stack, feed.sample(max(len(tests), epochs * len(feed) // 20)))
    test_loss, test_accuracy, confusion = evaluate(stack, tests)
    figures = torch.stack([train_loss, train_accuracy, test_loss, test_accuracy]).T.tolist()
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    for row, counts in zip(figures, confusion.tolist(), strict=True):
        yield {**dict(zip(names, row, strict=True)), "confusion": tuple(tuple(line) for line in counts)}


def _feeds(trials: Sequence[Trial], data: Data) -> tuple[Feed, Feed, Feed]:
    """Training (shuffled each epoch), validation and test images of each trial; one order if all seeds are equal."""
    config, seeds = trials[0].config, [trial.seed for trial in trials]
    seeds = seeds[:1] if len(set(seeds)) == 1 else seeds
    pooled = config.test_fraction if config.split == "pooled" else 0.0
    parts = [data.split(seed, config.validation, pooled) for seed in seeds]
    train, val, test = (torch.stack(rows) for rows in zip(*parts, strict=True))
    affine = data.affine(config.normalisation, train)
    orders = [_generator(seed, ORDER, train.device) for seed in seeds]
    return Feed(data, train, affine, orders), Feed(data, val, affine), Feed(data, test, affine)


def _optimizer(trials: Sequence[Trial], stack: Stack) -> StackOptimizer:
    configs = [trial.config for trial in trials]
    return OPTIMIZERS[configs[0].optimizer](
        stack.flat,
        lr=[config.lr for config in configs],
        momentum=[config.momentum for config in configs],
        weight_decay=[config.weight_decay for config in configs],
    )


def _generator(seed: int, stream: int, device: torch.device) -> torch.Generator:
    """A generator of its own for each use that a seed is put to."""
    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state))
