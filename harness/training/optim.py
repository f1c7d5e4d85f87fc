"""torch.optim's rules with settings of its own for each model of a stack, which may change from step to step.

    optimizer = Adam(flat, {"lr": [1e-3, 3e-3], "weight_decay": [0.0, 0.0]})
    optimizer.step(gradient)                                 # moves flat (K, P) in place
    optimizer.set_column("lr", optimizer.columns["lr"] / 2)  # from the next step on, also in a captured CUDA graph
    optimizer = optimizer.only(flat[[1]], [1])               # goes on with the second model alone

Each rule follows the pseudocode of the torch.optim page of its name, in its order of operations; the tests hold it
against torch.optim step for step. What is no setting keeps torch's default (betas 0.9 and 0.999, alpha 0.99, eps 1e-8).

A rule of one's own is one class like those below: it names its settings and its state, and `update` says what a step
does. Nothing there may look at a value on a GPU: that would wait for it, and a captured graph never looks again.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from itertools import groupby
from typing import Self

import torch
from torch import Tensor

BETA1, BETA2, ALPHA, EPS = 0.9, 0.999, 0.99, 1e-8


class StackOptimizer:
    """What all rules share: the parameters (K, P), a value per model of each setting, and state with a row per model.

    In `update` a rule finds the settings of this step in `now`, (K, 1) each and as precise as the parameters; what
    serves only settings that are not `in_use` it may leave out. `steps` counts the steps, this one included. Raises
    ValueError if `settings` are not those that the rule names.
    """

    settings: tuple[str, ...] = ("lr",)
    state_names: tuple[str, ...] = ()  # (K, P) each, zero at first

    def __init__(self, flat: Tensor, settings: Mapping[str, Sequence[float]]) -> None:
        if set(settings) != set(self.settings):
            raise ValueError(f"{type(self).__name__} takes {sorted(self.settings)}, got {sorted(settings)}")
        values = [list(settings[name]) for name in self.settings]
        table = torch.tensor(values, dtype=torch.float64, device=flat.device)  # as precise as torch.optim's own
        self.flat = flat
        self.table = table.view(len(values), len(flat))  # (settings, K)
        self.state = {name: torch.zeros_like(flat) for name in self.state_names}
        self.steps = torch.zeros((), device=flat.device)  # a tensor: a captured CUDA graph has to count them too
        self.readable = flat.device.type == "cpu"  # whether the table can be read without waiting
        self.numbers: list[list[float]] | None = None  # the table when it was last read

    @property
    def columns(self) -> Mapping[str, Tensor]:
        """Each setting, (K, 1), float64, on the device. What is changed in place counts from the next step on."""
        return dict(zip(self.settings, self.table[..., None].unbind(), strict=True))

    def set_column(self, name: str, column: Tensor) -> None:
        """Change a setting from the next step on. `column` is (K, 1) or broadcasts to it."""
        self.table[self.settings.index(name), :, None].copy_(column)

    def only(self, flat: Tensor, rows: Sequence[int]) -> Self:
        """An optimizer that goes on with these rows, whose parameters are now `flat`. This one keeps what it has."""
        part, rows = copy(self), list(rows)
        part.flat, part.table, part.steps, part.numbers = flat, self.table[:, rows], self.steps.clone(), None
        part.state = {name: value[rows] for name, value in self.state.items()}
        return part

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """Move the parameters by one step against the gradient (K, P), which may be overwritten."""
        self.steps += 1
        self.look()
        self.update(gradient)

    def look(self) -> None:
        """Take note of settings that have changed. On a GPU that cannot be known, so all may have."""
        numbers = self.table.tolist() if self.readable else None
        if numbers is None or numbers != self.numbers:
            self.numbers = numbers
            self.prepare()

    def prepare(self) -> None:
        """Settings as `update` wants them. On a GPU zeros are in use too: a graph could not take them in later."""
        columns = self.table.to(self.flat.dtype)[..., None].unbind()
        self.now = dict(zip(self.settings, columns, strict=True))
        numbers = dict(zip(self.settings, self.numbers, strict=True)) if self.numbers else {}
        self.in_use = {name for name in self.settings if any(numbers.get(name, [1.0]))}

    def update(self, gradient: Tensor) -> None:
        """The rule itself."""
        raise NotImplementedError

    def decayed(self, gradient: Tensor) -> Tensor:
        """The gradient with the L2 penalty's added, as all but adamw have it."""
        return gradient.addcmul_(self.flat, self.now["weight_decay"]) if "weight_decay" in self.in_use else gradient


class Momentum(StackOptimizer):
    """A rule with momentum. Where that was zero a step before it begins anew, whatever the other rows did meanwhile."""

    settings = ("lr", "momentum", "weight_decay")
    state_names: tuple[str, ...] = ("velocity",)

    def __init__(self, flat: Tensor, settings: Mapping[str, Sequence[float]]) -> None:
        super().__init__(flat, settings)
        self.state["before"] = torch.zeros(len(flat), 1, device=flat.device)  # the last step's momentum

    def descend(self, step: Tensor) -> None:
        """Move the parameters against a step (K, P), and on by what momentum keeps of earlier ones."""
        momentum, before = self.now["momentum"], self.state["before"]
        if "momentum" in self.in_use:
            step = self.state["velocity"].mul_(before.sign_().mul_(momentum)).add_(step)
        before.copy_(momentum)
        self.flat.addcmul_(step, self.now["lr"], value=-1)


class SGD(Momentum):
    """Stochastic gradient descent with momentum (dampening 0)."""

    def update(self, gradient: Tensor) -> None:
        self.descend(self.decayed(gradient))


class Adam(StackOptimizer):
    """Adam (Kingma and Ba, 2015), by the fused kernel of torch.optim.Adam: one pass over memory instead of ten.

    The kernel takes its settings as numbers, one of each a call. Where they can be read, it is called once for each run
    of rows with equal settings: once for ten seeds of one configuration. On a GPU it is called once for all rows with a
    learning rate of 1 and no decay, for the change of parameters that another pass scales by the learning rates.
    """

    settings = ("lr", "weight_decay")
    state_names = ("mean", "square")
    kernel = staticmethod(torch._fused_adam_)

    def __init__(self, flat: Tensor, settings: Mapping[str, Sequence[float]]) -> None:
        super().__init__(flat, settings)
        self.sizes: list[int] = []  # rows in each run

    def only(self, flat: Tensor, rows: Sequence[int]) -> Self:
        part = super().only(flat, rows)
        part.sizes = []  # its runs lie in other memory
        return part

    def prepare(self) -> None:
        if self.numbers is None:
            super().prepare()
            return
        runs = [(key, len(list(rows))) for key, rows in groupby(zip(*self.numbers, strict=True))]
        self.keys, sizes = [key for key, _ in runs], [size for _, size in runs]
        if sizes != self.sizes:
            self.sizes = sizes
            self.parts = list(zip(*(tensor.split(sizes) for tensor in self.tensors(self.flat)), strict=True))

    def tensors(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the kernel moves: parameters and both moments."""
        return flat, self.state["mean"], self.state["square"]

    def update(self, gradient: Tensor) -> None:
        if self.numbers is None:
            change = self.decay(gradient)
            self.move(self.tensors(change), gradient, lr=1.0, weight_decay=0.0)
            self.flat.addcmul_(change, self.now["lr"])
            return
        slopes = gradient.split(self.sizes)
        for (lr, weight_decay), rows, slope in zip(self.keys, self.parts, slopes, strict=True):
            self.move(rows, slope, lr, weight_decay)

    def decay(self, gradient: Tensor) -> Tensor:
        """What the change of the parameters (K, P) starts from, for a learning rate of 1."""
        self.decayed(gradient)  # in place
        return torch.zeros_like(self.flat)

    def move(self, rows: tuple[Tensor, ...], gradient: Tensor, lr: float, weight_decay: float) -> None:
        """One call of the kernel."""
        parameters, mean, square = rows
        self.kernel(
            [parameters],
            [gradient],
            [mean],
            [square],
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

    def decay(self, gradient: Tensor) -> Tensor:
        return self.flat * -self.now["weight_decay"]


class RMSprop(Momentum):
    """RMSprop (Tieleman and Hinton, 2012), not centred, with momentum."""

    state_names = ("square", "velocity")

    def update(self, gradient: Tensor) -> None:
        gradient = self.decayed(gradient)
        square = self.state["square"].mul_(ALPHA).addcmul_(gradient, gradient, value=1 - ALPHA)
        root = square.rsqrt().reciprocal_()  # sqrt itself is five times slower on a CPU where the square is zero
        self.descend(gradient.div_(root.add_(EPS)))
