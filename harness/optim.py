"""torch.optim's rules with one learning rate (momentum, weight decay) for each model of a stack.

    optimizer = OPTIMIZERS["adam"](flat, lr=[1e-3, 3e-3], momentum=[0, 0], weight_decay=[0, 0])
    optimizer.step(gradient)         # moves flat (K, P) in place

Each rule follows the pseudocode of the torch.optim page of its name, in its order of operations; the tests hold it
against torch.optim step for step. Settings that are not named keep torch's defaults (betas 0.9 and 0.999, alpha
0.99, eps 1e-8; weight decay 0 unless given, also for adamw).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

BETA1, BETA2, ALPHA, EPS = 0.9, 0.999, 0.99, 1e-8


class StackOptimizer:
    """What all rules share: the parameters (K, P), a setting per model (K, 1), and state with a row per model."""

    state_names: tuple[str, ...] = ()

    def __init__(
        self, flat: Tensor, *, lr: Sequence[float], momentum: Sequence[float], weight_decay: Sequence[float]
    ) -> None:
        self.flat = flat
        self.lr, self.momentum, self.weight_decay = (
            torch.tensor(setting, dtype=flat.dtype, device=flat.device)[:, None]
            for setting in (lr, momentum, weight_decay)
        )
        self.decays, self.has_momentum = (
            any(weight_decay),
            any(momentum),
        )  # known here, so a step need not ask the device
        self.state = {name: torch.zeros_like(flat) for name in self.state_names}
        self.steps = 0

    def keep(self, flat: Tensor, rows: Sequence[int]) -> None:
        """Go on with these rows only, whose parameters are now `flat`."""
        rows = list(rows)
        self.flat = flat
        self.lr, self.momentum, self.weight_decay = self.lr[rows], self.momentum[rows], self.weight_decay[rows]
        self.state = {name: value[rows] for name, value in self.state.items()}

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """Move the parameters by one step against the gradient (K, P), which may be overwritten."""
        self.steps += 1
        self.update(gradient)

    def update(self, gradient: Tensor) -> None:
        """The rule itself."""
        raise NotImplementedError

    def decayed(self, gradient: Tensor) -> Tensor:
        """The gradient with the L2 penalty's added, as sgd, adam and rmsprop have it."""
        return gradient.addcmul_(self.flat, self.weight_decay) if self.decays else gradient


class SGD(StackOptimizer):
    """Stochastic gradient descent with momentum (dampening 0)."""

    state_names = ("velocity",)

    def update(self, gradient: Tensor) -> None:  # noqa: D102
        gradient = self.decayed(gradient)
        if self.has_momentum:
            gradient = self.state["velocity"].mul_(self.momentum).add_(gradient)
        self.flat.addcmul_(gradient, self.lr, value=-1)


class Adam(StackOptimizer):
    """Adam (Kingma and Ba, 2015)."""

    state_names = ("mean", "square")

    def update(self, gradient: Tensor) -> None:  # noqa: D102
        self.adapt(self.decayed(gradient))

    def adapt(self, gradient: Tensor) -> None:
        """Adam's own step, after whatever weight decay there is."""
        mean = self.state["mean"].lerp_(gradient, 1 - BETA1)
        square = self.state["square"].mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        denominator = torch.sqrt(square, out=gradient).div_((1 - BETA2**self.steps) ** 0.5).add_(EPS)
        self.flat.addcmul_(torch.div(mean, denominator, out=gradient), self.lr / (BETA1**self.steps - 1))


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    def update(self, gradient: Tensor) -> None:  # noqa: D102
        if self.decays:
            self.flat.mul_(1 - self.lr * self.weight_decay)
        self.adapt(gradient)


class RMSprop(StackOptimizer):
    """RMSprop (Tieleman and Hinton, 2012), not centred, with momentum."""

    state_names = ("square", "velocity")

    def update(self, gradient: Tensor) -> None:  # noqa: D102
        gradient = self.decayed(gradient)
        square = self.state["square"].mul_(ALPHA).addcmul_(gradient, gradient, value=1 - ALPHA)
        step = gradient.div_(square.sqrt().add_(EPS))
        if self.has_momentum:
            step = self.state["velocity"].mul_(self.momentum).add_(step)
        self.flat.addcmul_(step, self.lr, value=-1)


OPTIMIZERS: dict[str, type[StackOptimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}
