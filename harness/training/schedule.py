"""How learning rates change during a training: a factor of each model's own, for every step.

    schedule = Schedule(configs, steps=36, device=flat.device)   # 36 steps an epoch
    schedule.begin(0); schedule.next()                           # factors (K, 1) of the first epoch's first step, ...

A schedule is a closed form of the number of steps (or epochs) since the warm-up, so an epoch's factors are known before
it begins: the host writes them into a table, and each step on the device reads the next row, also within a captured
CUDA graph. Durations are in epochs whatever `schedule_every` says; the tests hold each against torch's own class.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness import catalogue
from harness.config import Config

AHEAD = 4096  # steps whose factors are computed at once

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Span:
    """How long a schedule runs: `total` counts in all, after the warm-up; `epoch` of them in an epoch."""

    total: int
    epoch: int


Form = Callable[[Numbers, Span, Config], Numbers]
"""Factors of the learning rate at some counts, from 0, of a span."""


def constant(count: Numbers, span: Span, config: Config) -> Numbers:
    """1."""
    return np.ones_like(count)


def step(count: Numbers, span: Span, config: Config) -> Numbers:
    """As StepLR."""
    decayed: Numbers = float(config.lr_decay) ** (count // (int(config.step_every) * span.epoch))
    return decayed


def multistep(count: Numbers, span: Span, config: Config) -> Numbers:
    """As MultiStepLR."""
    reached = np.searchsorted(np.sort(np.array(config.milestones, dtype=float)) * span.epoch, count, side="right")
    decayed: Numbers = float(config.lr_decay) ** reached.astype(float)
    return decayed


def exponential(count: Numbers, span: Span, config: Config) -> Numbers:
    """As ExponentialLR, with `lr_decay` an epoch."""
    decayed: Numbers = float(config.lr_decay) ** (count / span.epoch)
    return decayed


def cosine(count: Numbers, span: Span, config: Config) -> Numbers:
    """As CosineAnnealingLR (Loshchilov and Hutter, 2017)."""
    return _eased(1.0, float(config.final_lr_share), count / span.total)


def cosine_restarts(count: Numbers, span: Span, config: Config) -> Numbers:
    """As CosineAnnealingWarmRestarts (the same)."""
    first, growth = int(config.restart_every) * span.epoch, int(config.restart_growth)
    if growth == 1:
        return _eased(1.0, float(config.final_lr_share), count % first / first)
    ends = [0]
    while ends[-1] <= count.max():
        ends.append(ends[-1] + first * growth ** (len(ends) - 1))
    which = np.searchsorted(ends, count, side="right") - 1
    share = (count - np.array(ends)[which]) / (first * float(growth) ** which)
    return _eased(1.0, float(config.final_lr_share), share)


def linear(count: Numbers, span: Span, config: Config) -> Numbers:
    """As LinearLR from 1."""
    return 1.0 + (float(config.final_lr_share) - 1.0) * np.minimum(count / span.total, 1.0)


def onecycle(count: Numbers, span: Span, config: Config) -> Numbers:
    """As OneCycleLR without its cycle of momentum (Smith and Topin, 2018); the learning rate is the highest."""
    peak, end = float(config.peak_at) * span.total - 1, max(span.total - 1, 1)
    rising = _eased(float(config.initial_lr_share), 1.0, count / peak) if peak > 0 else np.ones_like(count)
    falling = _eased(1.0, float(config.final_lr_share), (count - peak) / (end - peak))
    return np.where(count <= peak, rising, falling)


def inverse_sqrt(count: Numbers, span: Span, config: Config) -> Numbers:
    """1 / sqrt(1 + t / timescale), t in epochs (Vaswani et al., 2017, where `timescale` is `warmup`)."""
    factors: Numbers = 1.0 / np.sqrt(1.0 + count / (float(config.timescale) * span.epoch))
    return factors


def inverse_scaling(count: Numbers, span: Span, config: Config) -> Numbers:
    """1 / t ** lr_power with t = 1, 2, ...: scikit-learn's "invscaling"."""
    factors: Numbers = 1.0 / (count + 1.0) ** float(config.lr_power)
    return factors


def _eased(start: float, end: float, share: Numbers) -> Numbers:
    """Half a cosine from one factor to another."""
    eased: Numbers = end + (start - end) * (1.0 + np.cos(math.pi * share)) / 2.0
    return eased


def is_constant(config: Config) -> bool:
    """Whether the learning rate never changes."""
    return config.schedule == "constant" and not config.warmup


def factors(config: Config, steps: int, first: int, count: int) -> Numbers:
    """Factors of `count` steps from the number `first` on, from 0; an epoch has `steps` steps.

    The warm-up rises in a straight line, as LinearLR from 1 / (w + 1) over w counts; behind it the schedule begins.
    """
    epoch = steps if config.schedule_every == "step" else 1
    number = np.arange(first, first + count) // (steps // epoch)
    warm = round(float(config.warmup) * epoch)
    form: Form = catalogue.built_by("schedule", config.schedule)
    span = Span(max(int(config.epochs) * epoch - warm, 1), epoch)
    rest = form(np.maximum(number - warm, 0).astype(float), span, config)
    return np.where(number < warm, (number + 1) / (warm + 1), rest)


class Schedule:
    """The factors of K models, an epoch of `steps` steps at a time."""

    def __init__(self, configs: Sequence[Config], steps: int, device: torch.device) -> None:
        self.configs, self.steps = list(configs), steps
        self.table = torch.ones(steps, len(configs), dtype=torch.float64, device=device)
        self.row = torch.zeros(1, dtype=torch.int64, device=device)
        self.ahead, self.first = np.empty((0, len(configs))), 0  # some epochs' factors on the host, from `first` on
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Write down the factors of an epoch, from 0, where steps and graphs find them."""
        place = (epoch - self.first) * self.steps
        if not 0 <= place < len(self.ahead):
            self.ahead, self.first, place = self._ahead(epoch), epoch, 0
        rows = self.ahead[place : place + self.steps]
        self.ends: list[float] = rows[-1].tolist()
        self.table.copy_(torch.from_numpy(rows))
        self.row.zero_()
        self.done = 0

    def _ahead(self, epoch: int) -> Numbers:
        """The factors (steps, K) of this epoch and of some that follow: for small epochs each by itself costs more."""
        count = self.steps * max(1, AHEAD // self.steps)
        made = {config: factors(config, self.steps, epoch * self.steps, count) for config in set(self.configs)}
        return np.stack([made[config] for config in self.configs], axis=1)

    def rates(self) -> list[float | None]:
        """The learning rate of each model at the epoch's last step; None of those where it never changes."""
        pairs = zip(self.configs, self.ends, strict=True)
        return [None if is_constant(config) else float(config.lr) * end for config, end in pairs]

    def next(self, readable: bool = False) -> Tensor:
        """The factors (K, 1), float64, of the next step. Behind the last comes the first: nobody waits to see it.

        Where the host may read the device it counts itself, which is less work.
        """
        if readable:
            self.done += 1
            return self.table[(self.done - 1) % self.steps, :, None]
        factors = self.table.index_select(0, self.row)
        self.row.add_(1).remainder_(self.steps)
        return factors.T

    def only(self, rows: Sequence[int]) -> Self:
        """That of some of the models, in memory of its own."""
        part = self.__class__.__new__(self.__class__)
        part.configs, part.steps, part.done = [self.configs[row] for row in rows], self.steps, self.done
        part.table, part.row = self.table[:, list(rows)], self.row.clone()
        part.ahead, part.first = self.ahead[:, list(rows)], self.first
        part.ends = [self.ends[row] for row in rows]
        return part
