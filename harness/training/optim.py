"""torch.optim's rules with one learning rate (momentum, weight decay) for each model of a stack.

    optimizer = OPTIMIZERS["adam"](flat, lr=[1e-3, 3e-3], momentum=[0, 0], weight_decay=[0, 0])
    optimizer.step(gradient)         # moves flat (K, P) in place

Each rule follows the pseudocode of the torch.optim page of its name, in its order of operations; the tests hold it
against torch.optim step for step. Settings that are not named keep torch's defaults (betas 0.9 and 0.999, alpha
0.99, eps 1e-8; weight decay 0 unless given, also for adamw).
"""

from collections.abc import Sequence
from itertools import groupby

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
        self.settings = list(zip(lr, momentum, weight_decay, strict=True))  # K
        self.state = {name: torch.zeros_like(flat) for name in self.state_names}
        self.steps = torch.zeros((), device=flat.device)  # a tensor: a captured CUDA graph has to count them too
        self.prepare()

    def keep(self, flat: Tensor, rows: Sequence[int]) -> None:
        """Go on with these rows only, whose parameters are now `flat`."""
        rows = list(rows)
        self.flat, self.settings = flat, [self.settings[row] for row in rows]
        self.state = {name: value[rows] for name, value in self.state.items()}
        self.prepare()

    def prepare(self) -> None:
        """Settings as a step wants them: it must not wait for the host."""
        columns = torch.tensor(self.settings, dtype=self.flat.dtype, device=self.flat.device)
        self.lr, self.momentum, self.weight_decay = (column[:, None] for column in columns.unbind(1))
        self.has_momentum = any(momentum for _, momentum, _ in self.settings)
        self.decays = any(weight_decay for _, _, weight_decay in self.settings)

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """Move the parameters by one step against the gradient (K, P), which may be overwritten."""
        self.update(gradient)

    def update(self, gradient: Tensor) -> None:
        """The rule itself."""
        raise NotImplementedError

    def decayed(self, gradient: Tensor) -> Tensor:
        """The gradient with the L2 penalty's added, as sgd and rmsprop have it."""
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
    """Adam (Kingma and Ba, 2015), by the fused kernel of torch.optim.Adam: one pass over memory instead of ten.

    The kernel knows one setting a call, so it is called once for each run of rows with equal settings: once for ten
    seeds of one configuration.
    """

    state_names = ("mean", "square")
    kernel = staticmethod(torch._fused_adam_)

    def prepare(self) -> None:  # noqa: D102
        super().prepare()
        runs = [list(rows) for _, rows in groupby(range(len(self.settings)), key=self.settings.__getitem__)]
        self.runs = [(slice(rows[0], rows[-1] + 1), *self.settings[rows[0]]) for rows in runs]

    def update(self, gradient: Tensor) -> None:  # noqa: D102
        self.steps += 1
        for rows, lr, _, weight_decay in self.runs:
            self.kernel(
                [self.flat[rows]],
                [gradient[rows]],
                [self.state["mean"][rows]],
                [self.state["square"][rows]],
                [],
                [self.steps],
                lr=lr,  # type: ignore[arg-type]  # one of its two overloads
                beta1=BETA1,
                beta2=BETA2,
                weight_decay=weight_decay,
                eps=EPS,
                amsgrad=False,
                maximize=False,
            )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    kernel = staticmethod(torch._fused_adamw_)


class RMSprop(StackOptimizer):
    """RMSprop (Tieleman and Hinton, 2012), not centred, with momentum."""

    state_names = ("square", "velocity")

    def update(self, gradient: Tensor) -> None:  # noqa: D102
        gradient = self.decayed(gradient)
        square = self.state["square"].mul_(ALPHA).addcmul_(gradient, gradient, value=1 - ALPHA)
        root = square.rsqrt().reciprocal_()  # sqrt itself is five times slower on a CPU where the square is zero
        step = gradient.div_(root.add_(EPS))
        if self.has_momentum:
            step = self.state["velocity"].mul_(self.momentum).add_(step)
        self.flat.addcmul_(step, self.lr, value=-1)


OPTIMIZERS: dict[str, type[StackOptimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}
