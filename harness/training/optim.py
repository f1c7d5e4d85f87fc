"""torch.optim's rules with settings of its own for each model of a stack, which may change from step to step.

    optimizer = Adam(flat, {"lr": [1e-3, 3e-3], "weight_decay": [0.0, 0.0]})
    optimizer.step(gradient)                                 # moves flat (K, P) in place
    optimizer.set_column("lr", optimizer.columns["lr"] / 2)  # from the next step on, also in a captured CUDA graph
    optimizer = optimizer.only(flat[[1]], [1])               # goes on with the second model alone

Each rule follows the pseudocode of the torch.optim page of its name, in its order of operations; the tests hold it
against torch.optim step for step. What is not given keeps torch's default. rules.py has the newer ones, muon.py Muon.

A rule of one's own is one class like those below: it names its settings and its state, and `update` says what a step
does. Nothing there may look at a value on a GPU: that would wait for it, and a captured graph never looks again.
"""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from itertools import groupby
from types import MappingProxyType
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from harness.training.schedule import Schedule

Shape = tuple[int, ...]


class Around(Protocol):
    """What is done around a rule's step, as clipping: with settings of its own for each model."""

    def before(self, gradient: Tensor) -> None:
        """Change the gradient (K, P) in place."""

    def after(self, flat: Tensor) -> None:
        """Change the parameters (K, P), which have moved, in place, or take note of them."""

    def only(self, rows: Sequence[int]) -> "Around":
        """That of some of the models, in memory of its own."""

    def kept(self, flat: Tensor) -> Mapping[str, Tensor]:
        """What it has taken note of, as views."""


class StackOptimizer:
    """What all rules share: the parameters (K, P), a value per model of each setting, and state with a row per model.

    In `update` a rule finds the settings of this step in `now`, (K, 1) each and as precise as the parameters; what
    serves only settings that are not `in_use` it may leave out. `steps` counts the steps, this one included. `settings`
    may change from step to step; `constants`, with torch's own defaults, and `options`, which all models share, do not:
    a rule finds them in `fixed`, a number where all models agree, else (K, 1), and by `is_on`.

    `shapes` are those of the parameters that lie one after the other in a row; without `decay_biases` weight decay acts
    on matrices and kernels alone. A `schedule` multiplies the `rates` of each step. Raises ValueError if settings or
    options are not those that the rule names.
    """

    settings: tuple[str, ...] = ("lr",)
    constants: Mapping[str, float] = {}
    options: tuple[str, ...] = ()
    rates: tuple[str, ...] = ("lr",)
    state_names: tuple[str, ...] = ()  # (K, P) each, zero at first

    def __init__(
        self,
        flat: Tensor,
        settings: Mapping[str, Sequence[float | None]],
        options: Mapping[str, bool] = MappingProxyType({}),
        shapes: Sequence[Shape] = (),
        schedule: Schedule | None = None,
        around: Sequence[Around] = (),
    ) -> None:
        self._check(settings, options)
        values = [list(settings[name]) for name in self.settings]
        table = torch.tensor(values, dtype=torch.float64, device=flat.device)  # as precise as torch.optim's own
        self.flat, self.shapes = flat, list(shapes)
        self.table = table.view(len(values), len(flat))  # (settings, K)
        self.given = {name: self._given(name, settings.get(name)) for name in self.constants}
        self.chosen = dict(options)
        self.state = {name: torch.zeros_like(flat) for name in self.state_names}
        self.steps = torch.zeros((), device=flat.device)  # a tensor: a captured CUDA graph has to count them too
        self.readable = flat.device.type == "cpu"  # whether the table can be read without waiting
        self.numbers: list[list[float]] | None = None  # the table when it was last read
        self.schedule, self.around = schedule, list(around)
        self.decaying = None if options.get("decay_biases", True) else self.is_weight()
        self.keep()

    def _check(self, settings: Mapping[str, Sequence[float | None]], options: Mapping[str, bool]) -> None:
        unknown = {*settings, *options} - {*self.settings, *self.constants, *self.options, "decay_biases"}
        if unknown or not set(self.settings) <= set(settings):
            raise ValueError(
                f"{type(self).__name__} takes {sorted(self.settings)}, got {sorted({*settings, *options})}"
            )

    def _given(self, name: str, values: Sequence[float | None] | None) -> list[float]:
        default = self.constants[name]
        return [default if value is None else value for value in values or [None] * len(self.flat)]

    @property
    def columns(self) -> Mapping[str, Tensor]:
        """Each setting, (K, 1), float64, on the device. What is changed in place counts from the next step on."""
        return dict(zip(self.settings, self.table[..., None].unbind(), strict=True))

    def set_column(self, name: str, column: Tensor) -> None:
        """Change a setting from the next step on. `column` is (K, 1) or broadcasts to it."""
        self.table[self.settings.index(name), :, None].copy_(column)

    def is_on(self, option: str) -> bool:
        """Whether an option is chosen."""
        return bool(self.chosen.get(option, False))

    def is_weight(self) -> Tensor:
        """1 for each parameter (P,) of a matrix or kernel, 0 for biases and scales."""
        parts = [torch.full((math.prod(shape),), float(len(shape) > 1)) for shape in self.shapes]
        return torch.cat(parts).to(self.flat)

    def keep(self) -> None:
        """Constants as `update` wants them: a number where all models agree; `exact` in float64, `rest` 1 less them."""
        self.exact = {name: self._column(values) for name, values in self.given.items()}
        self.fixed = {name: _as(value, self.flat) for name, value in self.exact.items()}
        self.rest = {name: _as(1.0 - value, self.flat) for name, value in self.exact.items()}

    def _column(self, values: Sequence[float]) -> float | Tensor:
        if len(set(values)) == 1:
            return values[0]
        return torch.tensor(values, dtype=torch.float64, device=self.flat.device)[:, None]

    def only(self, flat: Tensor, rows: Sequence[int]) -> Self:
        """An optimizer that goes on with these rows, whose parameters are now `flat`. This one keeps what it has."""
        part, rows = copy(self), list(rows)
        part.flat, part.table, part.steps, part.numbers = flat, self.table[:, rows], self.steps.clone(), None
        part.state = {name: value[rows] for name, value in self.state.items()}
        part.given = {name: [values[row] for row in rows] for name, values in self.given.items()}
        part.schedule = self.schedule and self.schedule.only(rows)
        part.around = [one.only(rows) for one in self.around]
        part.keep()
        return part

    def kept(self) -> dict[str, Tensor]:
        """All that changes from step to step, but for the parameters, as views."""
        around = [(place, one.kept(self.flat)) for place, one in enumerate(self.around)]
        return {
            "table": self.table,
            "steps": self.steps,
            **{f"state.{name}": value for name, value in self.state.items()},
            **{f"around.{place}.{name}": value for place, own in around for name, value in own.items()},
        }

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """Move the parameters by one step against the gradient (K, P), which may be overwritten."""
        self.steps += 1
        self.look()
        if self.schedule is not None:
            self.factor = self.schedule.next(self.readable)
            for name in self.rates if self.needs_columns() else ():
                self.now[name] = _as(self.table[self.settings.index(name), :, None] * self.factor, self.flat)
        for one in self.around:
            one.before(gradient)
        self.update(gradient)
        for one in self.around:
            one.after(self.flat)

    def needs_columns(self) -> bool:
        """Whether `update` reads the learning rates of this step in `now`."""
        return True

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
        if self.decaying is not None:
            self.now["weight_decay"] = self.now["weight_decay"] * self.decaying  # (K, P)
        numbers = dict(zip(self.settings, self.numbers, strict=True)) if self.numbers else {}
        self.in_use = {name for name in self.settings if any(numbers.get(name, [1.0]))}

    def update(self, gradient: Tensor) -> None:
        """The rule itself."""
        raise NotImplementedError

    def decayed(self, gradient: Tensor) -> Tensor:
        """The gradient with the L2 penalty's added, as all rules have it whose decay is not decoupled."""
        return gradient.addcmul_(self.flat, self.now["weight_decay"]) if "weight_decay" in self.in_use else gradient

    def decay(self) -> None:
        """Decoupled weight decay: the parameters themselves shrink, by the learning rate's share."""
        if "weight_decay" in self.in_use:
            self.flat.sub_(self.flat * (self.now["weight_decay"] * self.now["lr"]))

    def average(self, name: str, new: Tensor, constant: str) -> Tensor:
        """The state of that name, an exponential moving average by a constant, with what is new."""
        return self.state[name].lerp_(new, self.rest[constant])

    def average_square(self, name: str, new: Tensor, constant: str) -> Tensor:
        """The same of squares."""
        average, rest = self.state[name].mul_(self.fixed[constant]), self.rest[constant]
        return average.add_(new * new * rest) if isinstance(rest, Tensor) else average.addcmul_(new, new, value=rest)

    def correction(self, constant: str) -> Tensor:
        """1 - constant ** steps, what a moving average that began at zero lacks; exact, then as the parameters."""
        return (1.0 - torch.pow(self.exact[constant], self.steps.double())).to(self.flat.dtype)


def _as(value: float | Tensor, like: Tensor) -> Any:
    return value.to(like.dtype) if isinstance(value, Tensor) else value


def root(square: Tensor) -> Tensor:
    """The square root in place: `sqrt` itself is five times slower on a CPU where the square is zero."""
    return square.rsqrt_().reciprocal_()


class Momentum(StackOptimizer):
    """A rule with momentum. Where that was zero a step before it begins anew, whatever the other rows did meanwhile."""

    settings = ("lr", "momentum", "weight_decay")
    state_names: tuple[str, ...] = ("velocity",)

    def __init__(self, flat: Tensor, *settings: Any) -> None:
        super().__init__(flat, *settings)
        self.state["before"] = torch.zeros(len(flat), 1, device=flat.device)  # the last step's momentum

    def descend(self, step: Tensor) -> None:
        """Move the parameters against a step (K, P), and on by what momentum keeps of earlier ones."""
        momentum, before = self.now["momentum"], self.state["before"]
        if "momentum" in self.in_use:
            step = self.carried(step, momentum, before.sign_())
        before.copy_(momentum)
        self.flat.addcmul_(step, self.now["lr"], value=-1)

    def carried(self, step: Tensor, momentum: Tensor, going: Tensor) -> Tensor:
        """The step with what is kept of earlier ones; `going` is 1 where there are some, else 0, and is overwritten."""
        return self.state["velocity"].mul_(going.mul_(momentum)).add_(step)


class SGD(Momentum):
    """Stochastic gradient descent with momentum, dampened (but for its first step) or Nesterov's."""

    constants = MappingProxyType({"dampening": 0.0})
    options = ("nesterov",)

    def carried(self, step: Tensor, momentum: Tensor, going: Tensor) -> Tensor:
        dampening = self.fixed["dampening"]
        is_plain = not isinstance(dampening, Tensor) and dampening == 0
        new = step if is_plain else step * (1.0 - going * dampening)
        velocity = super().carried(new, momentum, going)
        return step.addcmul(velocity, momentum) if self.is_on("nesterov") else velocity

    def update(self, gradient: Tensor) -> None:
        self.descend(self.decayed(gradient))


class Adam(StackOptimizer):
    """Adam (Kingma and Ba, 2015), by the fused kernel of torch.optim.Adam: one pass over memory instead of ten.

    The kernel takes its settings as numbers, one of each a call. Where they can be read, it is called once for each run
    of rows with equal settings: once for ten seeds of one configuration. On a GPU it is called once for all rows with a
    learning rate of 1 and no decay, for the change of parameters that another pass scales by the learning rates; there
    the formula is written out where models differ in constants.
    """

    settings = ("lr", "weight_decay")
    constants = MappingProxyType({"beta1": 0.9, "beta2": 0.999, "eps": 1e-8})
    options = ("amsgrad",)
    state_names = ("mean", "square")
    kernel = staticmethod(torch._fused_adam_)

    def __init__(self, flat: Tensor, *settings: Any) -> None:
        super().__init__(flat, *settings)
        self.sizes: list[int] = []  # rows in each run
        if self.is_on("amsgrad"):
            self.state["highest"] = torch.zeros_like(flat)

    def only(self, flat: Tensor, rows: Sequence[int]) -> Self:
        part = super().only(flat, rows)
        part.sizes = []  # its runs lie in other memory
        return part

    def prepare(self) -> None:
        super().prepare()
        if self.numbers is None:
            return
        constants = (self.given[name] for name in ("beta1", "beta2", "eps"))
        followed = self.schedule.configs if self.schedule else [None] * len(self.flat)
        runs = [(key, len(list(rows))) for key, rows in groupby(zip(*self.numbers, *constants, followed, strict=True))]
        self.keys, sizes = [key[:-1] for key, _ in runs], [size for _, size in runs]
        if sizes != self.sizes:
            self.sizes = sizes
            self.parts = list(zip(*(tensor.split(sizes) for tensor in self.tensors(self.flat)), strict=True))

    def needs_columns(self) -> bool:
        return self.numbers is None or self.decaying is not None

    def tensors(self, flat: Tensor) -> list[Tensor]:
        """What the kernel moves: parameters, both moments, and with amsgrad the highest second one."""
        names = ("mean", "square", "highest") if self.is_on("amsgrad") else ("mean", "square")
        return [flat, *(self.state[name] for name in names)]

    def update(self, gradient: Tensor) -> None:
        if self.numbers is None:
            self.update_at_once(gradient)
            return
        if self.decaying is not None:
            self.shrink(gradient)
        slopes, first, factors = gradient.split(self.sizes), 0, None
        if self.schedule is not None:
            factors = self.factor[:, 0].tolist()
        for (lr, weight_decay, *constants), rows, slope in zip(self.keys, self.parts, slopes, strict=True):
            now = lr if factors is None else lr * factors[first]
            self.move(rows, slope, now, weight_decay if self.decaying is None else 0.0, *constants)
            first += len(slope)

    def update_at_once(self, gradient: Tensor) -> None:
        """All rows with one call, whatever their settings."""
        self.shrink(gradient)
        constants = [self.exact[name] for name in ("beta1", "beta2", "eps")]
        if any(isinstance(one, Tensor) for one in constants):
            self.flat.sub_(self.direction(gradient).mul_(self.now["lr"]))
            return
        change = torch.zeros_like(self.flat)
        self.move(self.tensors(change), gradient, 1.0, 0.0, *constants)
        self.flat.addcmul_(change, self.now["lr"])

    def shrink(self, gradient: Tensor) -> None:
        """Weight decay where the kernel does not see to it."""
        self.decayed(gradient)  # in place

    def direction(self, gradient: Tensor) -> Tensor:
        """What a step of length 1 goes against, (K, P)."""
        mean = self.average("mean", gradient, "beta1")
        square = self.average_square("square", gradient, "beta2")
        if self.is_on("amsgrad"):
            square = torch.maximum(self.state["highest"], square, out=self.state["highest"])
        below = root(square / self.correction("beta2")).add_(self.fixed["eps"])
        return mean.div(below).div_(self.correction("beta1"))

    def move(
        self,
        rows: Sequence[Tensor],
        gradient: Tensor,
        lr: float,
        weight_decay: float,
        beta1: Any,
        beta2: Any,
        eps: Any,
    ) -> None:
        """One call of the kernel."""
        parameters, mean, square, *highest = rows
        self.kernel(
            [parameters],
            [gradient],
            [mean],
            [square],
            highest,
            [self.steps],
            lr=lr,  # type: ignore[arg-type]  # one of its two overloads
            beta1=beta1,
            beta2=beta2,
            weight_decay=weight_decay,
            eps=eps,
            amsgrad=bool(highest),
            maximize=False,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    kernel = staticmethod(torch._fused_adamw_)

    def shrink(self, gradient: Tensor) -> None:
        self.decay()


class RMSprop(Momentum):
    """RMSprop (Tieleman and Hinton, 2012), centred or not, with momentum."""

    constants = MappingProxyType({"alpha": 0.99, "eps": 1e-8})
    options = ("centered",)
    state_names = ("square", "velocity")

    def __init__(self, flat: Tensor, *settings: Any) -> None:
        super().__init__(flat, *settings)
        if self.is_on("centered"):
            self.state["mean"] = torch.zeros_like(flat)

    def update(self, gradient: Tensor) -> None:
        gradient = self.decayed(gradient)
        square = self.average_square("square", gradient, "alpha")
        if self.is_on("centered"):
            mean = self.average("mean", gradient, "alpha")
            square = square.addcmul(mean, mean, value=-1).clamp_(min=0)  # rounding may take it below
        below = square.rsqrt().reciprocal_()  # as `root`, in fresh memory
        self.descend(gradient.div_(below.add_(self.fixed["eps"])))
