"""One optimisation step of a stack: cut the batch, forward, loss, backward, optimizer. On a GPU, one captured graph.

step = make_step(task, stack, optimizer, feed, noise)
for batch in feed.batches(256):
    step(batch)                  # nothing here waits for the device
step.figures()                   # the task's running figures of each model since the last call
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.catalogue import MOST
from harness.parts.tasks import Classification, Learning
from harness.training.feed import Feed
from harness.training.layers import Chain
from harness.training.optim import StackOptimizer
from harness.training.stack import Stack

if TYPE_CHECKING:
    from harness.training.dense import DenseRun


def whole(stack: Stack, task: Learning) -> "DenseRun | None":
    """All layers, where they are one run of compiled code and cross-entropy is what they learn by."""
    plain = type(task) is Classification and task.smoothing is None and len(stack.shape or (1,)) == 1
    layers = stack.root.steps if type(stack.root) is Chain else []
    if not plain or not stack.compiled or len(layers) != 1:
        return None
    from harness.training.dense import DenseRun

    [only] = layers
    return only if isinstance(only, DenseRun) and only.learns else None


class Step:
    """The step as it is: on a CPU, and where a graph cannot be captured."""

    def __init__(
        self,
        task: Learning,
        stack: Stack,
        optimizer: StackOptimizer,
        feed: Feed,
        noise: Sequence[torch.Generator],
    ) -> None:
        self.task, self.stack, self.optimizer, self.feed, self.noise = task, stack, optimizer, feed, noise
        self.sums = torch.zeros(len(task.running), len(stack), device=stack.flat.device)  # of losses, hits, ...
        self.whole = whole(stack, task)
        self.images = 0
        self.most = MOST  # rows of a model in one pass; a step's gradient is the mean over its passes
        self.mean: Tensor | None = None

    def __call__(self, batch: Tensor) -> None:
        """Train on the images of a batch of indices (R, B)."""
        self.images += batch.shape[1]
        self.run(batch)

    @torch.no_grad()
    def run(self, batch: Tensor) -> None:
        """The work of a step, all of it on the device."""
        if batch.shape[1] <= self.most:
            self.optimizer.step(self.gradient(batch))
            return
        if self.mean is None:
            self.mean = torch.zeros_like(self.stack.gradient)
        self.mean.zero_()
        for part in batch.split(self.most, dim=1):
            self.mean.add_(self.gradient(part), alpha=part.shape[1] / batch.shape[1])
        self.optimizer.step(self.mean)

    def gradient(self, batch: Tensor) -> Tensor:
        """The gradient (K, P) of the mean loss; the running figures are taken note of."""
        x, y = self.feed.cut(batch, self.noise)
        y = y.expand(len(self.stack), *y.shape[1:])
        if self.whole is not None:
            self.whole.learn(x, y, self.noise, self.sums)
            return self.stack.gradient
        sums, slope = self.task.loss(self.stack(x, self.noise), y)
        gradient = self.stack.backward(slope)
        for row, one in zip(self.sums, sums, strict=True):
            row += one
        return gradient

    def figures(self) -> Tensor:
        """The task's running figures (R, K): the means over all steps since the last call."""
        means = self.sums / self.images
        self.sums.zero_()
        self.images = 0
        return means


class CapturedStep(Step):
    """The step as one CUDA graph: a launch for hundreds of small kernels, whose launches would cost more than they.

    The first steps run as they are, on a stream of their own, as capturing wants it; batches of another size than
    the first (the last of an epoch) always do, and so do all where a layer may ask the host.
    """

    WARM_UP = 3

    def __init__(
        self,
        task: Learning,
        stack: Stack,
        optimizer: StackOptimizer,
        feed: Feed,
        noise: Sequence[torch.Generator],
    ) -> None:
        super().__init__(task, stack, optimizer, feed, noise)
        self.stream = torch.cuda.Stream(stack.flat.device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.batch: Tensor | None = None  # where the graph finds its indices
        self.done = 0

    def __call__(self, batch: Tensor) -> None:
        if self.batch is None:
            self.batch = torch.empty_like(batch)
        if batch.shape != self.batch.shape or self.done < 0:
            super().__call__(batch)
            return
        if self.done < self.WARM_UP:
            self.done += 1
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                super().__call__(batch)
            torch.cuda.current_stream().wait_stream(self.stream)
            return
        self.batch.copy_(batch)
        if self.graph is None and not self.capture():
            super().__call__(batch)
            return
        assert self.graph is not None
        self.images += batch.shape[1]
        self.graph.replay()

    def capture(self) -> bool:
        """Record the step, without running it; whether that was possible."""
        assert self.batch is not None
        if not self.stack.root.is_capturable:  # not tried: what fails halfway leaves traces
            self.done = -1
            return False
        graph, states = torch.cuda.CUDAGraph(), {one: one.get_state() for one in self.noise}
        try:
            for generator in states:
                graph.register_generator_state(generator)
            with torch.cuda.graph(graph):
                self.run(self.batch)
        except RuntimeError as error:
            warnings.warn(f"no CUDA graph, training goes on more slowly: {error}", stacklevel=2)
            for generator, state in states.items():
                renew(generator, state)
            self.done = -1
            return False
        self.graph = graph
        return True


def renew(generator: torch.Generator, state: Tensor) -> None:
    """Give a generator a state again: one that a failed capture has registered takes itself to be in its middle, and
    whatever draws from it then fails.
    """
    if generator.device.type == "cuda":
        fresh = torch.Generator(generator.device)
        fresh.set_state(state)
        generator.graphsafe_set_state(fresh.graphsafe_get_state())
    else:
        generator.set_state(state)


def make_step(
    task: Learning, stack: Stack, optimizer: StackOptimizer, feed: Feed, noise: Sequence[torch.Generator]
) -> Step:
    """The step for the device that the stack lies on."""
    kind = CapturedStep if stack.flat.is_cuda else Step
    return kind(task, stack, optimizer, feed, noise)
