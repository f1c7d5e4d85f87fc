"""Trials that train together, and all that is indexed by row: it goes on together, or not at all.

    cohort = Cohort.of(trials, data)
    cohort.add(epochs); verdicts = cohort.verdicts(stopped)
    cohort.only([0, 3])                         # the first and the fourth, with all that is theirs

A trial's split, initialisation, order of images and dropout come from its own seed, so that it does not depend on its
company.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harness import catalogue
from harness.config import Config
from harness.parts.data import Data, Parts
from harness.parts.folds import held_out
from harness.parts.models import build, input_shape
from harness.parts.preparing import prepare
from harness.parts.tasks import ClassTally, Learning, NumberTally, Tally, described, task_of
from harness.training.augment import augment_of
from harness.training.feed import Feed
from harness.training.limits import around_of
from harness.training.optim import StackOptimizer
from harness.training.schedule import Schedule, is_constant
from harness.training.stack import Stack, Weights
from harness.trial import MOST_PREDICTIONS, Epoch, Example, Outcome, Status, Trial, pack, pack_classes

EVALUATION_BATCH = {"cpu": 1000, "cuda": 4000}  # images per model; more fall out of a CPU's cache
STEPS_MEASURED = 8  # times the images of a step: without a backward pass that takes about three times its memory
MISTAKES = 15  # that an outcome keeps
UNSURE = 4  # test images that it keeps beside them
ORDER, NOISE = 1, 2  # the streams of random numbers that a seed feeds (0 is the split)

Verdict = tuple[Status, str]
"""How a training ended, and why."""


@dataclass
class Member:
    """What the loop remembers of one trial while it trains."""

    trial: Trial
    noise: torch.Generator
    best_weights: Weights  # those of the best epoch
    best: Epoch | None = None
    untrained: Mapping[str, float] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0
    done: bool = False

    def add(self, epoch: Epoch, weights: Weights) -> None:
        """Remember an epoch, and its weights if its validation loss is the lowest so far, or nothing held out."""
        self.history.append(epoch)
        held_out = self.trial.config.validation > 0
        if not held_out or epoch["val_loss"] < (self.best["val_loss"] if self.best else math.inf):
            self.best = epoch
            self.best_weights.copy_(weights)

    def verdict(self, stopped: bool) -> Verdict | None:
        """Whether the trial is done after its last epoch, and why."""
        last, config = self.history[-1], self.trial.config
        for name in ("train_loss", "val_loss") if config.validation else ("train_loss",):
            if not math.isfinite(last[name]):
                return "diverged", f"diverged at epoch {last.number}, loss {last[name]}"
        if stopped:
            return "pruned", f"pruned at epoch {last.number}"
        if self.best and last.number - self.best.number >= config.patience:
            return "finished", f"no lower validation loss for {config.patience} epochs"
        if last.number >= config.epochs:
            return "finished", f"epoch limit {config.epochs}"
        return None

    def outcome(self, verdict: Verdict, started: float, weights: Mapping[str, Tensor]) -> Outcome:
        """What is known of it without a look at the test images."""
        best, (status, reason) = self.best or self.history[-1], verdict
        return Outcome(
            status=status,
            reason=reason,
            started=started,
            ended=self.history[-1].time,
            seconds=self.seconds,
            parameters=len(self.best_weights.flat),
            best_epoch=best.number,
            figures={name: value for name, value in best.figures.items() if not name.startswith("test_")},
            history=tuple(self.history),
            weights=weights,
        )


@dataclass
class Cohort:
    """Members, their networks and their rows of `data`: training (shuffled each epoch), held out, test; a row each."""

    data: Data
    task: Learning
    members: list[Member]
    stack: Stack
    training: Feed
    held_out: Feed
    tests: Feed

    @classmethod
    def of(cls, trials: Sequence[Trial], data: Data) -> "Cohort":
        """The trials at their beginning, where `data` lies. All have the same `Config.shape`."""
        config, device = trials[0].config, data.inputs.device
        networks = [build(trial.config, data.shape, data.outputs, trial.seed) for trial in trials]
        stack = Stack.of(networks, device, config.precision, input_shape(config, data.shape))
        feeds = _feeds(trials, data)
        task = task_of([trial.config for trial in trials], feeds[0].seen)
        # one generator for trials of one seed, if they draw alike: whoever drops more would move it for the others
        keys = [(trial.seed, *(each[row] > 0 for each in stack.rates.values())) for row, trial in enumerate(trials)]
        noise = {key: generator(key[0], NOISE, device) for key in dict.fromkeys(keys)}
        members = [
            Member(trial, noise[key], stack.weights(row).clone())
            for row, (trial, key) in enumerate(zip(trials, keys, strict=True))
        ]
        return cls(data, task, members, stack, *feeds)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def config(self) -> Config:
        """That of the first member; what all share may be read from it."""
        return self.members[0].trial.config

    @property
    def going(self) -> list[int]:
        """The rows that still train."""
        return [row for row, member in enumerate(self.members) if not member.done]

    @property
    def generators(self) -> list[torch.Generator]:
        """All that it draws from, each once: for dropout and random changes, then for the orders of images."""
        return [*dict.fromkeys([*(member.noise for member in self.members), *self.training.orders])]

    def kept(self) -> dict[str, Tensor]:
        """The tensors of its own that change from step to step, as views."""
        known = {"flat": self.stack.flat, **{f"buffer.{name}": one for name, one in self.stack.buffers.items()}}
        for row, best in enumerate(member.best_weights for member in self.members):
            known |= {f"best.{row}": best.flat, **{f"best.{row}.{name}": one for name, one in best.buffers.items()}}
        return known

    @property
    def watched(self) -> tuple[str, ...]:
        """The measures of each epoch: what costs nothing, and what the study selects by."""
        return tuple(dict.fromkeys([*self.task.running, self.config.metric]))

    def only(self, rows: Sequence[int]) -> "Cohort":
        """Some of the rows, which go on where these stopped."""
        feeds = (feed.only(rows) for feed in (self.training, self.held_out, self.tests))
        return Cohort(self.data, self.task.only(rows), [self.members[row] for row in rows], self.stack[rows], *feeds)

    def optimizer(self) -> StackOptimizer:
        """The rule that moves its networks, at its beginning, with a setting of its own for each."""
        rule: type[StackOptimizer] = catalogue.built_by("optimizer", self.config.optimizer)
        configs = [member.trial.config for member in self.members]
        return rule(
            self.stack.flat,
            {name: [config[name] for config in configs] for name in (*rule.settings, *rule.constants)},
            {name: self.config[name] for name in (*rule.options, "decay_biases")},
            self.stack.shapes,
            None if all(map(is_constant, configs)) else Schedule(configs, self.steps, self.stack.flat.device),
            around_of(configs, self.stack),
        )

    @property
    def steps(self) -> int:
        """How many steps an epoch has."""
        whole, left = divmod(len(self.training), self.step_size)
        return whole + (left > 0 and not (whole and self.config.drop_last))

    @property
    def step_size(self) -> int:
        """How many rows a model sees in a step."""
        return int(self.config.batch_size) * int(self.config.accumulate)

    def batches(self) -> Iterator[Tensor]:
        """Indices of the rows of an epoch's steps, shuffled anew."""
        return islice(self.training.batches(self.step_size), self.steps)

    @property
    def evaluation_batch(self) -> int:
        """How many images of a model are measured at once. Elsewhere than on a CPU no more than a few times those of a
        step: 4,000 images of many CNNs would take more memory than all of their training.
        """
        place = self.stack.flat.device.type
        most = EVALUATION_BATCH[place]
        return most if place == "cpu" else min(most, STEPS_MEASURED * int(self.config.batch_size))

    def measure(self, feed: Feed, names: Sequence[str], keep: bool = False) -> Tally:
        """The measures of those names of every network, over all rows of a feed; `keep` as `Learning.tally` has it."""
        tally = self.task.tally(names, self.data.outputs, keep)
        with torch.no_grad():
            for batch in feed.batches(self.evaluation_batch) if len(feed) else ():
                x, y = feed.cut(batch)
                tally.add(self.stack(x), y.expand(len(self.stack), *y.shape[1:]))
        return tally

    def measure_untrained(self) -> None:
        """Remember what the initial weights make of the test images; only in a confirmation."""
        names = tuple(dict.fromkeys([described(self.config).metric, self.config.metric]))
        for member, figures in zip(self.members, _rows(self.measure(self.tests, names), "untrained"), strict=True):
            member.untrained = figures

    def end(self, verdicts: Mapping[int, Verdict], started: float) -> list[tuple[Trial, Outcome]]:
        """The outcomes of the rows that are done, by the weights of their best epochs."""
        part = self.only(list(verdicts))
        for row, member in enumerate(part.members):
            part.stack.weights(row).copy_(member.best_weights)
        outcomes = [
            member.outcome(verdict, started, part.stack.state_dict(row))
            for row, (member, verdict) in enumerate(zip(part.members, verdicts.values(), strict=True))
        ]
        tested = [row for row, member in enumerate(part.members) if _is_tested(member, outcomes[row])]
        if tested:
            for row, seen in zip(tested, part.only(tested).test(), strict=True):
                outcomes[row] = seen.added_to(outcomes[row])
        for row in verdicts:
            self.members[row].done = True
        return [(member.trial, outcome) for member, outcome in zip(part.members, outcomes, strict=True)]

    def test(self) -> Iterator["Tested"]:
        """What a confirmation adds: training figures with dropout off, and the look at the test images.

        Training figures are those of all training images after more than ten epochs; after fewer, when that would cost
        much beside the training, of an even sample of them, but at least as many as there are test images.
        """
        epochs = len(self.members[0].history)  # the same for all that end together
        sample = self.training.sample(max(len(self.tests), epochs * len(self.training) // 20))
        trained = self.measure(sample, self.watched)
        tested = self.measure(self.tests, described(self.config).measures, keep=True)
        for row, (one, two) in enumerate(zip(_rows(trained, "train"), _rows(tested, "test"), strict=True)):
            member = self.members[row]
            trial = member.trial
            is_first = trial.stage == "confirm" and trial.number == trial.search == 0
            seen = of_numbers if isinstance(tested, NumberTally) else of_classes
            yield Tested({**one, **two, **member.untrained}, seen(self, tested, row, is_first))


@dataclass(frozen=True)
class Tested:
    """What a look at the test rows adds to an outcome: figures, and other fields by name."""

    figures: Mapping[str, float]
    seen: Mapping[str, Any]

    def added_to(self, outcome: Outcome) -> Outcome:
        """The outcome with it."""
        return replace(outcome, figures={**outcome.figures, **self.figures}, **self.seen)


def of_classes(cohort: Cohort, tally: Tally, row: int, is_first: bool) -> dict[str, Any]:
    """Counts and hits of a row; of a value's first seed the first test row and the worst mistakes too."""
    assert isinstance(tally, ClassTally)
    counts = tuple(tuple(line) for line in tally.confusion[row].tolist())
    shown = mistakes(cohort.only([row])) if is_first else ()
    hits, misses = pack(tally.hits[row].cpu().numpy()), pack_classes(tally.misses(row).cpu().numpy())
    return {"confusion": counts, "hits": hits, "misses": misses, "examples": shown}


def of_numbers(cohort: Cohort, tally: Tally, row: int, is_first: bool) -> dict[str, Any]:
    """Of a value's first seed: some predictions, and the first test row and those with the largest errors."""
    assert isinstance(tally, NumberTally)
    if not is_first:
        return {}
    truths, guesses = (numbers[row].cpu() for numbers in tally.predictions)  # (N, T)
    step = -(-len(truths) // MOST_PREDICTIONS)
    pairs = zip(truths[::step].T.tolist(), guesses[::step].T.tolist(), strict=True)
    errors = ((guesses - truths) / tally.unit[0][row if len(tally.unit[0]) > 1 else 0].cpu()).square().mean(1)
    worst = errors.topk(min(MISTAKES, len(errors))).indices.tolist()
    rows = cohort.tests.rows[row if len(cohort.tests.rows) > 1 else 0].tolist()
    return {
        "predictions": tuple((_short(truth), _short(guess)) for truth, guess in pairs),
        "examples": tuple(
            replace(
                _shown(cohort.data, rows[place]),
                truth=_short(truths[place].tolist()),
                guess=_short(guesses[place].tolist()),
            )
            for place in [0, *worst]
        ),
    }


@torch.no_grad()
def mistakes(cohort: Cohort) -> tuple[Example, ...]:
    """Of a cohort of one: the first test row, then the mistakes with the highest loss, worst first; of images those too
    whose most probable class is the least probable.
    """
    stack, feed, data = cohort.stack, cohort.tests, cohort.data
    batches = feed.batches(cohort.evaluation_batch)
    logits = torch.cat([stack(feed.cut(batch)[0])[0].clone() for batch in batches])  # (N, C)
    rows = feed.rows[0]
    loss = F.cross_entropy(logits, data.targets[rows], reduction="none")
    loss[logits.argmax(1) == data.targets[rows]] = -1.0
    worst = loss.topk(min(MISTAKES, len(rows)))
    unsure = [] if data.is_table else _least_sure(logits)
    shown = [0, *worst.indices[worst.values >= 0].tolist(), *unsure]
    probabilities = logits[shown].softmax(1).tolist()
    return tuple(
        replace(
            _shown(data, row),
            label=int(data.targets[row]),
            probabilities=tuple(round(share, 6) for share in shares),
            unsure="yes" if place >= len(shown) - len(unsure) else "",
        )
        for place, (row, shares) in enumerate(zip(rows[shown].tolist(), probabilities, strict=True))
    )


def _least_sure(logits: torch.Tensor) -> list[int]:
    """Which rows of (N, C) have the least probable most probable class."""
    return logits.softmax(1).amax(1).topk(min(UNSURE, len(logits)), largest=False).indices.tolist()


def _shown(data: Data, row: int) -> Example:
    """A row of the data set as people can look at it."""
    if data.is_table:
        return Example(index=row if data.numbers is None else int(data.numbers[row]), row=data.shown(row))
    return Example(index=row, pixels=data.pixels(row), white=data.byte_white, shape=data.shape)


def _short(numbers: Sequence[float]) -> tuple[float, ...]:
    """Six digits: as many as float32 has."""
    return tuple(float(f"{number:.6g}") for number in numbers)


def verdicts(cohort: Cohort, stopped: Collection[Trial]) -> dict[int, Verdict]:
    """Which rows are done after the last epoch, and why."""
    found = {row: cohort.members[row].verdict(cohort.members[row].trial in stopped) for row in cohort.going}
    return {row: verdict for row, verdict in found.items() if verdict}


def generator(seed: int, stream: int, device: torch.device) -> torch.Generator:
    """A generator of its own for each use that a seed is put to."""
    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state))


def _is_tested(member: Member, outcome: Outcome) -> bool:
    return member.trial.is_tested and outcome.status == "finished"


def _rows(tally: Tally, images: str) -> list[dict[str, float]]:
    """A tally's figures model by model, named after the images that they were measured on."""
    figures = tally.figures()
    columns = torch.stack(list(figures.values())).T.tolist()
    return [{f"{images}_{name}": value for name, value in zip(figures, column, strict=True)} for column in columns]


def _feeds(trials: Sequence[Trial], data: Data) -> tuple[Feed, Feed, Feed]:
    """Training (shuffled each epoch), validation and test images of each trial; one order if all seeds are equal."""
    config, drawn = trials[0].config, {(trial.seed, trial.pool, trial.fold): trial for trial in trials}
    parts = {key: split_of(trial, data) for key, trial in drawn.items()}
    keys = list(drawn) if len(drawn) == 1 else [(trial.seed, trial.pool, trial.fold) for trial in trials]
    train, val, test = (torch.stack(rows) for rows in zip(*(parts[key] for key in keys), strict=True))
    seen = prepare(data, config, train)
    orders = [generator(seed, ORDER, train.device) for seed, _, _ in keys]
    return Feed(seen, train, orders, augment_of(config, data)), Feed(seen, val), Feed(seen, test)


def split_of(trial: Trial, data: Data) -> Parts:
    """The rows that a trial trains on, holds out and is tested on."""
    if trial.fold is None:
        return data.split(trial.seed, trial.config.validation, _pooled(trial), trial.pool, is_stratified(trial, data))
    whole = data.split(trial.seed, 0.0, _pooled(trial), trial.pool, is_stratified(trial, data))
    classes = data.targets if described(trial.config).stratified else None
    return Parts(*held_out(whole.train, classes, trial.fold), whole.test)


def searchable(trial: Trial, data: Data) -> Tensor:
    """The images (N,), indices, that a trial may train on or hold out: all but its test images."""
    return data.split(trial.seed, 0.0, _pooled(trial), trial.pool, is_stratified(trial, data)).train


def is_stratified(trial: Trial, data: Data) -> bool:
    """Whether classes are shared out: as the study says, else of tables."""
    said = trial.config.stratify
    return data.is_table if said is None else bool(said)


def _pooled(trial: Trial) -> float:
    return float(trial.config.test_fraction) if trial.config.split == "pooled" else 0.0
