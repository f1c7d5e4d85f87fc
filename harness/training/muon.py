"""Muon: momentum whose matrices are made orthogonal before they are a step; all other parameters by AdamW.

It follows torch.optim.Muon (Jordan et al., 2024) with Nesterov's momentum and "original" scaling of the learning rate;
a convolution's kernels are a matrix with a row for each, as its authors have it.
"""

import math
from collections.abc import Iterator
from itertools import accumulate, chain, pairwise
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from harness.training.optim import Shape, StackOptimizer, root

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration
ITERATIONS, SMALLEST = 5, 1e-7


class Muon(StackOptimizer):
    """`lr` and `muon_momentum` are of matrices and kernels, `adamw_lr`, betas and eps of all else."""

    settings = ("lr", "adamw_lr", "weight_decay")
    constants = MappingProxyType({"muon_momentum": 0.95, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8})
    rates = ("lr", "adamw_lr")
    state_names = ("velocity",)

    def __init__(self, flat: Tensor, *settings: Any) -> None:
        super().__init__(flat, *settings)
        places = [range(*pair) for pair, shape in self.cuts() if len(shape) < 2]
        self.others = torch.tensor([*chain(*places)], dtype=torch.int64, device=flat.device)  # (R,), places in a row
        for name in ("mean", "square"):
            self.state[name] = torch.zeros(len(flat), len(self.others), device=flat.device)

    def update(self, gradient: Tensor) -> None:
        decay = self.now["weight_decay"]
        self.step_of_others(gradient[:, self.others])
        self.state["velocity"].lerp_(gradient, self.rest["muon_momentum"])
        step = gradient.lerp_(self.state["velocity"], self.fixed["muon_momentum"])
        for start, stop, rows in self.matrices():
            part = self.flat[:, start:stop]
            shape = (len(part), rows, (stop - start) // rows)
            part.sub_(part * (_cut(decay, start, stop) * self.now["lr"]))
            straight = orthogonal(step[:, start:stop].reshape(shape)).flatten(1)
            part.sub_(straight * (self.now["lr"] * math.sqrt(max(1.0, rows / shape[2]))))

    def matrices(self) -> Iterator[tuple[int, int, int]]:
        """Where each matrix lies in a row of parameters, and how many rows it has itself."""
        for (start, stop), shape in self.cuts():
            if len(shape) > 1:
                yield start, stop, shape[0]

    def cuts(self) -> Iterator[tuple[tuple[int, int], Shape]]:
        """Where each parameter begins and ends in a row, and its shape."""
        ends = accumulate((math.prod(shape) for shape in self.shapes), initial=0)
        return zip(pairwise(ends), self.shapes, strict=True)

    def step_of_others(self, gradient: Tensor) -> None:
        """AdamW, on (K, R)."""
        lr, decay = self.now["adamw_lr"], self.now["weight_decay"]
        mean = self.average("mean", gradient, "beta1")
        square = self.average_square("square", gradient, "beta2")
        below = root(square / self.correction("beta2")).add_(self.fixed["eps"])
        step = mean.div(below).div_(self.correction("beta1"))
        kept = self.flat[:, self.others]
        decayed = kept * (decay if decay.shape[1] == 1 else decay[:, self.others])
        self.flat.index_copy_(1, self.others, kept.sub_(step.add_(decayed).mul_(lr)))


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (K, R, C) with singular values of about 1: five Newton-Schulz iterations, in bfloat16 as torch's."""
    a, b, c = COEFFICIENTS
    x = matrices.to(torch.bfloat16)
    is_tall = x.shape[1] > x.shape[2]
    x = x.mT if is_tall else x
    x = x / x.flatten(1).norm(dim=1).clamp(min=SMALLEST)[:, None, None]
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)


def _cut(column: Tensor, start: int, stop: int) -> Tensor:
    return column if column.shape[1] == 1 else column[:, start:stop]
