"""K networks of one architecture held as one, so that one pass runs them all.

    stack = Stack.of([build(config, ...) for seed in seeds])
    logits = stack(x)                # x: (K, B, D), or (1, B, D) when all see the same; logits: (K, B, C)
    stack.backward(slope)            # of the loss with regard to the logits; the result is stack.gradient
    stack[[0, 3]]                    # the first and the fourth network, as a stack of two

All parameters of a network lie in one row of `flat` (K, P), so an optimizer step is a handful of operations for
the whole stack, and leaving a network out is leaving out a row. What a layer computes for one network is what
torch.nn computes for it alone (to float32 rounding: a batched matrix product may add in another order).

What runs in the place of a layer is found layer by layer: the fast lane (layers.py) where there is a form by hand, else
the general lane or one network after the other (lanes.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from harness.kernels import present
from harness.parts.structure import is_dropout
from harness.training import convolutions
from harness.training.lanes import Opaque
from harness.training.layers import Chain, Layer, fast_form
from harness.training.memory import Memory

Shape = tuple[int, ...]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Weights:
    """All that a network has learned: its parameters (P,), and what it remembers beside them, by name."""

    flat: Tensor
    buffers: Mapping[str, Tensor]

    def clone(self) -> "Weights":
        """The same in memory of its own."""
        return Weights(self.flat.clone(), {name: buffer.clone() for name, buffer in self.buffers.items()})

    def copy_(self, other: "Weights") -> None:
        """Take over another network's."""
        self.flat.copy_(other.flat)
        for name, buffer in self.buffers.items():
            buffer.copy_(other.buffers[name])


class Stack:
    """K networks: their layers (after those of the first network, a template), parameters, buffers and dropout rates.

    `buffers` are rows like parameters: (K, *shape) each; parameters that are frozen (`requires_grad` False) are among
    them. `rates` are K for each dropout layer, by its name. `shape` is that of an input, where the networks want more
    than a row of numbers. What a call returns lies in memory that the next call uses again.
    """

    def __init__(
        self,
        template: nn.Module,
        flat: Tensor,
        buffers: Mapping[str, Tensor],
        rates: Mapping[str, Sequence[float]],
        precision: str = "fp32",
        shape: Shape | None = None,
    ) -> None:
        self.template, self.precision, self.shape = template, precision, shape
        self.flat = flat  # (K, P)
        self.gradient = torch.zeros_like(flat)  # (K, P), what `backward` found
        self.buffers, self.rates = dict(buffers), {name: list(each) for name, each in rates.items()}
        self.memory = Memory(flat.device)
        self._views, self._slopes = self._cut(flat), self._cut(self.gradient)
        self.compiled = flat.device.type == "cpu" and flat.dtype == torch.float32 and present()
        self.root = self._layer("", template)

    @classmethod
    def of(
        cls,
        networks: Sequence[nn.Module],
        device: torch.device | str = "cpu",
        precision: str = "fp32",
        shape: Shape | None = None,
    ) -> Self:
        """The stack of networks that differ in their parameters, buffers and dropout rates only."""
        rows = [torch.cat([p.detach().flatten() for p in _trained(network).values()]) for network in networks]
        kept = [_remembered(network) for network in networks]
        buffers = {name: torch.stack([each[name] for each in kept]).to(device) for name in kept[0]}
        rates = {
            name: [float(network.get_submodule(name).p) for network in networks]  # type: ignore[arg-type]
            for name, module in networks[0].named_modules()
            if is_dropout(module)
        }
        return cls(networks[0], torch.stack(rows).to(device), buffers, rates, precision, shape)

    def __len__(self) -> int:
        return len(self.flat)

    def __getitem__(self, rows: Sequence[int]) -> "Stack":
        rows = list(rows)
        buffers = {name: buffer[rows] for name, buffer in self.buffers.items()}
        rates = {name: [each[row] for row in rows] for name, each in self.rates.items()}
        return Stack(self.template, self.flat[rows], buffers, rates, self.precision, self.shape)

    @property
    def layers(self) -> Sequence[Layer]:
        """In order; one where the networks are no sequence of layers."""
        return self.root.parts if isinstance(self.root, Chain) else [self.root]

    @torch.no_grad()
    def __call__(self, x: Tensor, noise: Sequence[torch.Generator] | None = None) -> Tensor:
        """Logits (K, B, C) of x (K or 1, B, D). `noise`, a generator per network, is given in training only: it turns
        dropout on, and lets running means run.
        """
        return self.root.forward(x if self.shape is None else x.view(*x.shape[:2], *self.shape), noise)

    @torch.no_grad()
    def backward(self, slope: Tensor) -> Tensor:
        """The gradient (K, P) from that with regard to the logits of the last call (K, B, C), which is overwritten."""
        self.root.backward(slope, needs_dx=False)
        return self.gradient

    @property
    def shapes(self) -> list[Shape]:
        """Those of the parameters that lie one after the other in a row."""
        return [tuple(parameter.shape) for parameter in _trained(self.template).values()]

    def weights(self, row: int) -> Weights:
        """What one network has learned, as views."""
        return Weights(self.flat[row], {name: buffer[row] for name, buffer in self.buffers.items()})

    def state_dict(self, row: int) -> dict[str, Tensor]:
        """All that one network has learned, named as the network itself names it, on the CPU: what two layers share is
        there by both names.
        """
        views = {**self._views, **self.buffers}
        every: list[tuple[str, Tensor]] = [*self.template.named_parameters(remove_duplicate=False)]
        every += self.template.named_buffers(remove_duplicate=False)
        first = {id(kept): views[name] for name, kept in every if name in views}
        known = {name: first[id(kept)] for name, kept in every}
        return {name: known[name][row].cpu().clone() for name in self.template.state_dict() if name in known}

    def _cut(self, flat: Tensor) -> dict[str, Tensor]:
        """Each parameter as a view (K, *shape) into `flat`; layers use them, so a step on `flat` moves them all."""
        parameters = _trained(self.template)
        cuts = flat.split([p.numel() for p in parameters.values()], dim=1)
        return {name: cut.view(len(flat), *p.shape) for (name, p), cut in zip(parameters.items(), cuts, strict=True)}

    def _layer(self, name: str, like: nn.Module) -> Layer:
        """What runs in the place of a layer of that name, and of what it consists of."""
        form = fast_form(like, self.precision) or Opaque
        within = [] if form is Opaque else like._modules.items()  # also what stands in two places
        parts = [self._layer(_joined(name, one), part) for one, part in within if part is not None]
        rows = [{} if parts else _of(name, each) for each in (self._views, self._slopes, self.buffers)]
        rates = {} if parts else _of(name, self.rates)
        made = form(like, len(self), rows[0], rows[1], rows[2], rates, self.memory, self.precision, parts)
        if isinstance(made, Chain) and self.flat.device.type == "cpu":
            made.steps = convolutions.merged(parts)
        if isinstance(made, Chain) and self.compiled:
            from harness.training import dense  # numba takes half a second, which a GPU does not need

            made.steps = dense.merged(made.steps)
        return made


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that a step moves, each once, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def _remembered(network: nn.Module) -> dict[str, Tensor]:
    """All else that a network keeps."""
    frozen = {name: p.detach() for name, p in network.named_parameters() if not p.requires_grad}
    return {**frozen, **dict(network.named_buffers())}


def _joined(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part


def _of(layer: str, views: Mapping[str, T]) -> dict[str, T]:
    """A layer's own, by the names that the layer gives them."""
    if not layer:
        return dict(views)
    mine = {name: view for name, view in views.items() if name == layer or name.startswith(f"{layer}.")}
    return {name.removeprefix(layer).removeprefix("."): view for name, view in mine.items()}
