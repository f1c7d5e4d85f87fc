"""The general lane, and one network after the other: K of any torch module, of which nothing is known here.

    layer = Opaque(like, parameters, gradients, buffers, rates, memory)     # as any Layer

In the general lane one forward pass runs all networks at once (torch.func.functional_call under torch.vmap over the
rows of parameters and buffers), keeps its graph, and autograd goes back through it. What vmap cannot do (control flow
that depends on data, random numbers, operations without a batching rule) is done in the *each* lane: by K modules whose
parameters are the rows. Which of them a module takes is tried, once for each structure: two networks, two steps,
stacked against each alone. What does not agree is trained one after the other.

Random numbers come from the networks' own generators in both lanes, so that what a network draws depends on nothing
else in the stack: dropout layers multiply by masks that are drawn for them, anything else is seeded before each pass.
"""

import copy
import random
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness.errors import UserError
from harness.parts.models import BUILDING
from harness.parts.structure import Structure, changed, structure
from harness.training.layers import Layer, Masks
from harness.training.memory import Memory

SHARED = {nn.Dropout: 0, nn.Dropout1d: 1, nn.Dropout2d: 2, nn.Dropout3d: 3}
"""How many of the last dimensions share a number of a dropout layer's."""
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
TOLERANCE = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 5e-2}  # of the largest number in a tensor, between a stacked network
FLOOR = 1e-5  # and the same alone; or this, of slopes of about 1
TRIED = 64  # images, of the batch that comes first
STEPS, RATE = 2, 0.01

Noise = Sequence[torch.Generator] | None
Kind = TypeVar("Kind", bound=Layer)


@dataclass(frozen=True)
class Lane:
    """Which lane a module takes, "general" or "each", and why. `draws` says whether it draws random numbers beside its
    dropout layers.
    """

    name: str
    reason: str = ""
    draws: bool = False


@dataclass(eq=False)
class Opaque(Layer):
    """A module in the lane that was found for it; a single one in that of one after the other, which is faster then."""

    def __post_init__(self) -> None:
        self.form: Layer | None = None

    @property
    def is_capturable(self) -> bool:
        """Where vmap could follow it: nothing there depends on values, and no numbers are drawn but our own."""
        return self.form is not None and self.lane.name == "general"

    def forward(self, x: Tensor, noise: Noise) -> Tensor:
        if self.form is None:
            self.lane = lane_of(self, x)
            self.form = _as(General, self) if self.lane.name == "general" and self.models > 1 else _as(Each, self)
            if isinstance(self.form, Each):
                self.form.draws = self.lane.draws
        return self.form.forward(x, noise)

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        assert self.form is not None
        return self.form.backward(dy, needs_dx)


@dataclass(eq=False)
class General(Layer):
    """All networks in one pass under torch.vmap. x: (K or 1, B, ...) -> (K, B, ...)."""

    def __post_init__(self) -> None:
        self.module, self.fed = _fed(copy.deepcopy(self.like), self.rates, self.memory)

    def forward(self, x: Tensor, noise: Noise) -> Tensor:
        self.x = x
        self.y: Tensor | None = None
        return self._run(self.parameters, x, None) if noise is None else self._with_graph(noise).detach().clone()

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        y = self._with_graph(None) if self.y is None else self.y
        return _slopes(
            y, dy, list(self.leaves.values()), list(self.gradients.values()), self.input if needs_dx else None
        )

    def _with_graph(self, noise: Noise) -> Tensor:
        self.leaves = {name: view.detach().requires_grad_() for name, view in self.parameters.items()}
        self.input = self.x.detach().requires_grad_()
        with torch.enable_grad():
            self.y = y = self._run(self.leaves, self.input, noise)
        return y

    def _run(self, parameters: Mapping[str, Tensor], x: Tensor, noise: Noise) -> Tensor:
        _set_mode(self.module, self.fed, noise)

        def one(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor) -> Tensor:
            return _output(functional_call(self.module, {**parameters, **buffers}, (x,)))

        if self.fed or not (parameters or self.buffers):  # masks are rows: so must be what they are multiplied with
            x = x.expand(self.models, *x.shape[1:])
        shared = len(x) == 1
        run = torch.vmap(one, in_dims=(0, 0, None if shared else 0), randomness="error")
        with _halved(self, x):
            y: Tensor = run(dict(parameters), dict(self.buffers), x[0] if shared else x)
        return y.float()


@dataclass(eq=False)
class Each(Layer):
    """One network after the other. x: (K or 1, B, ...) -> (K, B, ...)."""

    def __post_init__(self) -> None:
        self.draws = False
        self.networks = [self._network(row) for row in range(self.models)]

    def forward(self, x: Tensor, noise: Noise) -> Tensor:
        self.x, self.y = x, list[Tensor]()
        if noise is not None:
            return torch.stack([y.detach() for y in self._with_graphs(noise)])
        return torch.stack([self._run(row, x[row % len(x)], None) for row in range(len(self.networks))])

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        found = []
        for row, y in enumerate(self.y or self._with_graphs(None)):
            module, _ = self.networks[row]
            leaves = [module.get_parameter(name) for name in self.parameters]
            gradients = [gradient[row] for gradient in self.gradients.values()]
            found.append(_slopes(y, dy[row], leaves, gradients, self.inputs[row] if needs_dx else None))
        return torch.stack([dx for dx in found if dx is not None]) if needs_dx else None

    def _network(self, row: int) -> tuple[nn.Module, list["Fed"]]:
        """A module whose parameters and buffers are those of a row, and its dropout layers. By `data`, because what one
        module changes in its forward pass must not count as changed for the others.
        """
        rows: dict[int, Any] = {}
        for name, parameter in self.like.named_parameters():
            source = self.parameters if name in self.parameters else self.buffers
            rows[id(parameter)] = nn.Parameter(source[name][row].data, requires_grad=parameter.requires_grad)
        rows |= {id(buffer): self.buffers[name][row].data for name, buffer in self.like.named_buffers()}
        return _fed(copy.deepcopy(self.like, rows), {name: [r[row]] for name, r in self.rates.items()}, self.memory)

    def _with_graphs(self, noise: Noise) -> list[Tensor]:
        rows = range(len(self.networks))
        self.inputs = [self.x[row % len(self.x)].detach().requires_grad_() for row in rows]
        drawing = [self.draws or any(rates[row] > 0 for rates in self.rates.values()) for row in rows]
        turns = zip(self.inputs, _in_turn(noise or [None] * len(rows), drawing), strict=True)
        with torch.enable_grad():
            self.y = [self._run(row, x, own) for row, (x, own) in enumerate(turns)]
        return self.y

    def _run(self, row: int, x: Tensor, own: torch.Generator | None) -> Tensor:
        module, fed = self.networks[row]
        _set_mode(module, fed, None if own is None else [own])
        with _halved(self, x), nullcontext() if own is None or not self.draws else _seeded(own):
            y = _output(module(x)).float()
        for name, buffer in self.buffers.items():
            holder, _, key = name.rpartition(".")
            part = module.get_submodule(holder)
            if (now := getattr(part, key)).data_ptr() != buffer[row].data_ptr():  # it put another one in its place
                if now.shape != buffer[row].shape:
                    was, what = tuple(buffer.shape[1:]), type(module).__name__
                    raise UserError(f"{what} gives its buffer {name} another shape: {was}, then {tuple(now.shape)}")
                setattr(part, key, buffer[row].copy_(now).data)
        return y


class Fed(nn.Module):
    """Stands in the place of a dropout layer, and multiplies by masks that the networks' own generators draw."""

    def __init__(self, like: nn.Module, rates: Sequence[float], memory: Memory) -> None:
        super().__init__()
        self.masks = Masks(rates, memory)
        self.shared = next(SHARED[kind] for kind in SHARED if isinstance(like, kind))
        self.inplace = bool(like.inplace)
        self.noise: Noise = None

    def forward(self, x: Tensor) -> Tensor:
        if self.noise is None or not any(self.masks.rates):
            return x
        y: Tensor = self.masked(x[None])[0] if len(self.noise) == 1 else _OfAll.apply(x, self)
        return x.copy_(y) if self.inplace else y

    def masked(self, x: Tensor) -> Tensor:
        """x: (K, B, ...)."""
        assert self.noise is not None
        own = x.dim() - self.shared
        mask = self.masks.draw(self.noise, (*x.shape[:own], *(1,) * self.shared))
        return x if mask is None else x * mask.clone()  # its memory is used again where a layer is called twice


class _OfAll(torch.autograd.Function):
    """The masks of all networks, seen from inside torch.vmap as those of one."""

    generate_vmap_rule = False

    @staticmethod
    def forward(x: Tensor, fed: Fed) -> Tensor:
        raise AssertionError("only ever called under torch.vmap")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, fed: Fed) -> tuple[Tensor, int]:
        every = x.expand(info.batch_size, *x.shape) if in_dims[0] is None else x.movedim(in_dims[0], 0)
        return fed.masked(every), 0


warnings.filterwarnings("ignore", "There is a performance drop because we have not yet implemented the batching rule")

LANES: dict[tuple[Structure, str, str], Lane] = {}
"""What was found, by structure, device and precision."""
_TRYING = threading.RLock()


def lane_of(layer: Layer, x: Tensor) -> Lane:
    """The lane of a module, tried on the first images of x (K or 1, B, ...) if its structure is not known yet.

    Raises UserError for a module that keeps what a pass changes where no row of a stack can hold it, and what the
    module itself raises.
    """
    key = (structure(layer.like), x.device.type, layer.precision)
    with _TRYING:
        if key not in LANES:
            LANES[key] = _tried(layer, x)
    return LANES[key]


def _tried(layer: Layer, x: Tensor) -> Lane:
    x = (torch.cat([x, x.flip(1)]) if len(x) == 1 else x[[0, -1]])[:, :TRIED].clone()
    alone, drew = _alone(_pair(Each, layer), x)
    if x.device.type == "cpu" and any(isinstance(part, CONVOLUTIONS) for part in layer.like.modules()):
        return Lane("each", "convolutions are faster one after the other on a CPU", drew)
    if drew:
        return Lane("each", "it draws random numbers of its own", draws=True)
    try:
        stacked = _steps(_pair(General, layer), x)
    except Exception as error:  # whatever vmap, or the module under it, may raise
        return Lane("each", _in_short(error))
    if all(_agree(one, other, TOLERANCE[layer.precision]) for one, other in zip(alone, stacked, strict=True)):
        return Lane("general")
    return Lane("each", "under torch.vmap its figures are others than alone")


def _agree(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Whether two tensors are the same to rounding; never where there is a NaN."""
    return one.shape == other.shape and bool((one - other).abs().max() <= tolerance * one.abs().max() + FLOOR)


def _alone(each: Each, x: Tensor) -> tuple[list[Tensor], bool]:
    """What two networks alone come to, and whether they draw random numbers of their own."""
    module, _ = each.networks[0]
    before, elsewhere = structure(module, but=(Fed,)), _other_generators()
    with BUILDING, torch.random.fork_rng():  # nobody else draws meanwhile
        untouched = _torchs_generators()
        seen = _steps(each, x)
        drew = untouched != _torchs_generators()
    if name := changed(before, structure(module, but=(Fed,))):
        raise UserError(
            f"{type(each.like).__name__} changes {name} in its forward pass; what changes must be a buffer "
            "(self.register_buffer), so that it can be kept and set back"
        )
    if elsewhere != _other_generators() and _draws_elsewhere(each, x):
        raise UserError(
            f"{type(each.like).__name__} draws random numbers from Python or NumPy in its forward pass, which no "
            "seed of a training reaches; draw them by torch"
        )
    return seen, drew


def _draws_elsewhere(each: Each, x: Tensor) -> bool:
    """Whether it draws from Python's or NumPy's generator; asked again where it seems so, since another thread may."""
    before = _other_generators()
    _steps(each, x)
    return before != _other_generators()


def _torchs_generators() -> list[bytes]:
    """What torch's own generators are at."""
    return [state.numpy().tobytes() for state in (torch.get_rng_state(), *torch.cuda.get_rng_state_all())]


def _other_generators() -> tuple[object, ...]:
    """What the generators of Python and NumPy are at."""
    state = np.random.get_state(legacy=False)
    return random.getstate(), state["state"]["pos"], state["state"]["key"].tobytes()


def _steps(layer: Layer, x: Tensor) -> list[Tensor]:
    """All that two steps and an evaluation of two networks come to; in the first step both see the same images."""
    seen = []
    for step in range(STEPS):
        shared = step == 0
        noise = [torch.Generator(x.device).manual_seed(2 * step + row) for row in range(2)]
        y = layer.forward(x[:1] if shared else x, noise)
        slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(step)).to(y.device)
        dx = layer.backward(slope, needs_dx=not shared)
        seen += [one.clone() for one in (y, *layer.gradients.values(), dx) if one is not None]
        for view, gradient in zip(layer.parameters.values(), layer.gradients.values(), strict=True):
            view.sub_(gradient, alpha=RATE / max(1.0, float(gradient.abs().max())))
    seen += [*(buffer.clone() for buffer in layer.buffers.values()), layer.forward(x, None)]
    return [one.double() for one in seen]


def _pair(kind: type[Kind], layer: Layer) -> Kind:
    """The first and the last network of a layer in memory of their own; of a single one it and one a tenth larger."""
    parameters = {name: view[[0, -1]].clone() for name, view in layer.parameters.items()}
    if layer.models == 1:
        for view in parameters.values():
            view[1] *= 1.1
    return kind(
        layer.like,
        2,
        parameters,
        {name: torch.zeros_like(view) for name, view in parameters.items()},
        {name: buffer[[0, -1]].clone() for name, buffer in layer.buffers.items()},
        {name: [rates[0], rates[-1]] for name, rates in layer.rates.items()},
        Memory(layer.memory.device),
        layer.precision,
    )


def _as(kind: type[Kind], layer: Layer) -> Kind:
    return kind(
        layer.like,
        layer.models,
        layer.parameters,
        layer.gradients,
        layer.buffers,
        layer.rates,
        layer.memory,
        layer.precision,
    )


def _fed(module: nn.Module, rates: Mapping[str, Sequence[float]], memory: Memory) -> tuple[nn.Module, list[Fed]]:
    """The module with its dropout layers replaced, and what replaced them."""
    fed = []
    for name, own in rates.items():
        holder, _, key = name.rpartition(".")
        fed.append(Fed(module.get_submodule(name), own, memory))
        setattr(module.get_submodule(holder), key, fed[-1])
    return module, fed


def _set_mode(module: nn.Module, fed: Sequence[Fed], noise: Noise) -> None:
    if module.training != (noise is not None):
        module.train(noise is not None)
    for one in fed:
        one.noise = noise


def _slopes(
    y: Tensor, dy: Tensor, leaves: Sequence[Tensor], gradients: Sequence[Tensor], x: Tensor | None
) -> Tensor | None:
    """Write down the gradients of the leaves; that of x, if it is given. What had no part in y has a slope of zero."""
    wanted = [*leaves] if x is None else [*leaves, x]
    slopes: Sequence[Tensor | None] = [None] * len(wanted)
    if wanted and y.requires_grad:
        slopes = torch.autograd.grad(y, wanted, dy, allow_unused=True)
    for gradient, slope in zip(gradients, slopes, strict=False):
        gradient.zero_() if slope is None else gradient.copy_(slope)
    if x is None or slopes[-1] is not None:
        return None if x is None else slopes[-1]
    return torch.zeros_like(x)


def _output(y: Any) -> Tensor:
    if not isinstance(y, Tensor):
        raise TypeError(f"a forward pass must give a tensor, got {type(y).__name__}")
    return y


def _halved(layer: Layer, x: Tensor) -> AbstractContextManager[Any]:
    return torch.autocast(x.device.type, torch.bfloat16) if layer.precision == "bf16" else nullcontext()


@contextmanager
def _seeded(own: torch.Generator) -> Iterator[None]:
    """Torch's own generator, seeded by one of ours, and as it was afterwards."""
    seed = int(torch.randint(2**62, (), generator=own, device=own.device))
    with BUILDING, torch.random.fork_rng(devices=[own.device] if own.device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _in_turn(noise: Sequence[torch.Generator | None], drawing: Sequence[bool]) -> Iterator[torch.Generator | None]:
    """Each network's generator when it is its turn. Those that share one draw the same numbers, as in a stack."""
    shared = {one: one.get_state() for one in set(noise) if one is not None and noise.count(one) > 1}
    after = dict(shared)
    for own, draws in zip(noise, drawing, strict=True):
        if own in shared:
            own.set_state(shared[own])
        yield own
        if own in shared and draws:
            after[own] = own.get_state()
    for one, state in after.items():
        one.set_state(state)


def _in_short(error: Exception) -> str:
    """The first sentence of what an error says."""
    text = " ".join(str(error).split()).split(". ")[0].rstrip(".")
    return f"torch.vmap: {text[:200]}" if text else type(error).__name__
