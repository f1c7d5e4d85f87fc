"""K networks of one architecture held as one, so that one pass runs them all.

    stack = Stack.of([build(config, ...) for seed in seeds])
    logits = stack(x)                # x: (K, B, D), or (1, B, D) when all see the same; logits: (K, B, C)
    stack.backward(slope)            # of the loss with regard to the logits; the result is stack.gradient
    stack[[0, 3]]                    # the first and the fourth network, as a stack of two

All parameters of a network lie in one row of `flat` (K, P), so an optimizer step is a handful of operations for
the whole stack, and leaving a network out is leaving out a row. What a layer computes for one network is what
torch.nn computes for it alone (to float32 rounding: a batched matrix product may add in another order).
"""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from harness.training.layers import form_of
from harness.training.memory import Memory


class Stack:
    """K networks: their layers (after those of the first network, a template), parameters and dropout rates.

    What a call returns lies in memory that the next call uses again.
    """

    def __init__(self, template: nn.Sequential, flat: Tensor, rates: Sequence[float], precision: str = "fp32") -> None:
        self.template, self.precision = template, precision
        self.flat = flat  # (K, P)
        self.gradient = torch.zeros_like(flat)  # (K, P), what `backward` found
        self.rates = list(rates)  # K, one rate for all dropout layers of a network
        self.memory = Memory(flat.device)
        self._views = self._cut(flat)
        gradients = self._cut(self.gradient)
        self.layers = [
            form_of(like, precision)(like, _of(name, self._views), _of(name, gradients), self.rates, self.memory)
            for name, like in template.named_children()
        ]

    @classmethod
    def of(cls, networks: Sequence[nn.Sequential], device: torch.device | str = "cpu", precision: str = "fp32") -> Self:
        """The stack of networks that differ in their parameters and dropout rates only."""
        rows = [torch.cat([p.detach().flatten() for p in network.parameters()]) for network in networks]
        rates = [next((m.p for m in network if isinstance(m, nn.Dropout)), 0.0) for network in networks]
        return cls(networks[0], torch.stack(rows).to(device), rates, precision)

    def __len__(self) -> int:
        return len(self.flat)

    def __getitem__(self, rows: Sequence[int]) -> "Stack":
        return Stack(self.template, self.flat[list(rows)], [self.rates[row] for row in rows], self.precision)

    @torch.no_grad()
    def __call__(self, x: Tensor, noise: Sequence[torch.Generator] | None = None) -> Tensor:
        """Logits (K, B, C) of x (K or 1, B, D). `noise`, a generator per network, turns dropout on."""
        for layer in self.layers:
            x = layer.forward(x, noise)
        return x

    @torch.no_grad()
    def backward(self, slope: Tensor) -> Tensor:
        """The gradient (K, P) from that with regard to the logits of the last call (K, B, C), which is overwritten."""
        first = next(index for index, layer in enumerate(self.layers) if layer.parameters)
        for index in range(len(self.layers) - 1, first - 1, -1):
            dx = self.layers[index].backward(slope, needs_dx=index > first)
            if dx is not None:
                slope = dx
        return self.gradient

    def state_dict(self, row: int) -> dict[str, Tensor]:
        """The parameters of one network, named as the network itself names them, on the CPU."""
        return {name: view[row].cpu().clone() for name, view in self._views.items()}

    def _cut(self, flat: Tensor) -> dict[str, Tensor]:
        """Each parameter as a view (K, *shape) into `flat`; layers use them, so a step on `flat` moves them all."""
        sizes = [p.numel() for p in self.template.parameters()]
        named = zip(self.template.named_parameters(), flat.split(sizes, dim=1), strict=True)
        return {name: part.unflatten(1, p.shape) for (name, p), part in named}


def _of(layer: str, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A layer's own tensors, by the names that the layer gives them."""
    return {name.removeprefix(f"{layer}."): view for name, view in views.items() if name.startswith(f"{layer}.")}
