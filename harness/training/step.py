"""One optimisation step of a stack: cut the batch, forward, loss, backward, optimizer. On a GPU, one captured graph.

step = make_step(stack, optimizer, feed, noise)
for batch in feed.batches(256):
    step(batch)                  # nothing here waits for the device
step.figures()                   # mean loss and accuracy of each model since the last call
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.training.feed import Feed
from harness.training.optim import StackOptimizer
from harness.training.stack import Stack


class Step:
    """The step as it is: on a CPU, and where a graph cannot be captured."""

    def __init__(self, stack: Stack, optimizer: StackOptimizer, feed: Feed, noise: Sequence[torch.Generator]) -> None:
        self.stack, self.optimizer, self.feed, self.noise = stack, optimizer, feed, noise
        self.sums = torch.zeros(2, len(stack), device=stack.flat.device)  # of losses and of hits
        self.images = 0

    def __call__(self, batch: Tensor) -> None:
        """Train on the images of a batch of indices (R, B)."""
        self.images += batch.shape[1]
        self.run(batch)

    @torch.no_grad()
    def run(self, batch: Tensor) -> None:
        """The work of a step, all of it on the device."""
        x, y = self.feed.cut(batch)
        loss, hits, slope = cross_entropy(self.stack(x, self.noise), y.expand(len(self.stack), -1))
        self.optimizer.step(self.stack.backward(slope))
        self.sums[0] += loss
        self.sums[1] += hits

    def figures(self) -> tuple[Tensor, Tensor]:
        """Mean loss (K,) and accuracy (K,) of all steps since the last call."""
        loss, accuracy = self.sums / self.images
        self.sums.zero_()
        self.images = 0
        return loss, accuracy


class CapturedStep(Step):
    """The step as one CUDA graph: a launch for hundreds of small kernels, whose launches would cost more than they.

    The first steps run as they are, on a stream of their own, as capturing wants it; batches of another size than
    the first (the last of an epoch) always do.
    """

    WARM_UP = 3

    def __init__(self, stack: Stack, optimizer: StackOptimizer, feed: Feed, noise: Sequence[torch.Generator]) -> None:
        super().__init__(stack, optimizer, feed, noise)
        self.stream = torch.cuda.Stream(stack.flat.device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.batch: Tensor | None = None  # where the graph finds its indices
        self.done = 0

    def __call__(self, batch: Tensor) -> None:  # noqa: D102
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
        graph = torch.cuda.CUDAGraph()
        try:
            for generator in self.noise:
                graph.register_generator_state(generator)
            with torch.cuda.graph(graph):
                self.run(self.batch)
        except RuntimeError as error:
            warnings.warn(f"no CUDA graph, training goes on more slowly: {error}", stacklevel=2)
            self.done = -1
            return False
        self.graph = graph
        return True


def make_step(stack: Stack, optimizer: StackOptimizer, feed: Feed, noise: Sequence[torch.Generator]) -> Step:
    """The step for the device that the stack lies on."""
    kind = CapturedStep if stack.flat.is_cuda else Step
    return kind(stack, optimizer, feed, noise)


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
