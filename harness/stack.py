"""K networks of one architecture held as one, so that one pass runs them all.

    stack = Stack.of([build(config, ...) for seed in seeds])
    logits = stack(x)                # x: (K, B, D), or (1, B, D) when all see the same; logits: (K, B, C)
    stack[[0, 3]]                    # the first and the fourth network, as a stack of two

All parameters of a network lie in one row of `flat` (K, P), so an optimizer step is a handful of operations for
the whole stack, and leaving a network out is leaving out a row. What a layer computes for one network is what
torch.nn computes for it alone (to float32 rounding: a batched matrix product may add in another order).
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn


class Stack:
    """K networks: their layers (those of the first network, as a template), parameters and dropout rates."""

    def __init__(self, layers: nn.Sequential, flat: Tensor, rates: Sequence[float]) -> None:
        self.layers = layers
        self.flat = flat  # (K, P)
        self.rates = list(rates)  # K, one rate for all dropout layers of a network
        self.views = self._cut(flat)
        for view in self.views.values():
            view.requires_grad_()
        self._gradient = torch.empty_like(flat)  # used again in every step: fresh memory would cost a page fault a page
        self._gradient_views = self._cut(self._gradient)
        self._keep = 1.0 - torch.tensor(self.rates, device=flat.device)[:, None, None]  # (K, 1, 1)

    @classmethod
    def of(cls, networks: Sequence[nn.Sequential], device: torch.device | str = "cpu") -> Self:
        """The stack of networks that differ in their parameters and dropout rates only."""
        rows = [torch.cat([p.detach().flatten() for p in network.parameters()]) for network in networks]
        rates = [next((m.p for m in network if isinstance(m, nn.Dropout)), 0.0) for network in networks]
        return cls(networks[0], torch.stack(rows).to(device), rates)

    def __len__(self) -> int:
        return len(self.flat)

    def __getitem__(self, rows: Sequence[int]) -> "Stack":
        return Stack(self.layers, self.flat[list(rows)], [self.rates[row] for row in rows])

    def __call__(self, x: Tensor, noise: Sequence[torch.Generator] | None = None) -> Tensor:
        """Logits (K, B, C) of x (K or 1, B, D). `noise`, a generator per network, turns dropout on."""
        for name, layer in self.layers.named_children():
            if isinstance(layer, nn.Linear):
                x = linear(x, self.views[f"{name}.weight"], self.views[f"{name}.bias"])
            elif not isinstance(layer, nn.Dropout):
                x = layer(x)
            elif noise is not None and any(self.rates):
                drawn = [g if rate > 0.0 else None for g, rate in zip(noise, self.rates, strict=True)]
                x = dropout(x, self._keep, drawn)
        return x

    def gradient(self, loss: Tensor) -> Tensor:
        """The gradient of a scalar with regard to `flat`, (K, P); valid until the next call."""
        gradients = torch.autograd.grad(loss, list(self.views.values()))
        for place, gradient in zip(self._gradient_views.values(), gradients, strict=True):
            place.copy_(gradient)
        return self._gradient

    def state_dict(self, row: int) -> dict[str, Tensor]:
        """The parameters of one network, named as the network itself names them, on the CPU."""
        return {name: view.detach()[row].cpu().clone() for name, view in self.views.items()}

    def _cut(self, flat: Tensor) -> dict[str, Tensor]:
        """Each parameter as a view (K, *shape) into `flat`; layers use them, so a step on `flat` moves them all."""
        sizes = [p.numel() for p in self.layers.parameters()]
        named = zip(self.layers.named_parameters(), flat.split(sizes, dim=1), strict=True)
        return {name: part.detach().unflatten(1, p.shape) for (name, p), part in named}


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ weight.T + bias for each network. x: (K or 1, B, D), weight: (K, O, D), bias: (K, O) -> (K, B, O)."""
    return torch.baddbmm(bias[:, None], x.expand(len(weight), -1, -1), weight.mT)


def dropout(x: Tensor, keep: Tensor, noise: Sequence[torch.Generator | None]) -> Tensor:
    """Inverted dropout. x: (K, B, D), keep: (K, 1, 1), the share that each network keeps; 1 where `noise` is None.

    Each network draws from a generator of its own, so that what it drops depends on nothing else in the stack.
    """
    drawn = torch.zeros_like(x, requires_grad=False)
    for row, generator in zip(drawn.unbind(), noise, strict=True):
        if generator is not None:
            row.uniform_(generator=generator)
    return x * (drawn < keep).to(x.dtype).div_(keep)
