"""Models as users write them, for the benchmark: each is read as the text of this file, like any own model.

`Norms` is a sequence of layers, which are run layer by layer; `Closed` does the same work in a forward pass of its own,
so that nothing is known of it; `Asking` looks at the data on its way, which torch.vmap cannot follow.
"""

from itertools import pairwise

from torch import Tensor, nn


class Norms(nn.Sequential):
    """Linear layers with layer normalisation."""

    def __init__(self, inputs: int, outputs: int, *, depth: int = 5, width: int = 64) -> None:
        layers: list[nn.Module] = []
        for one, two in pairwise((inputs, *[width] * (depth - 1))):
            layers += [nn.Linear(one, two), nn.LayerNorm(two), nn.ReLU()]
        super().__init__(*layers, nn.Linear(width, outputs))


class Closed(nn.Module):
    """The same, as a class."""

    def __init__(self, inputs: int, outputs: int, *, depth: int = 5, width: int = 64) -> None:
        super().__init__()
        sizes = list(pairwise((inputs, *[width] * (depth - 1))))
        self.linear = nn.ModuleList(nn.Linear(one, two) for one, two in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(two) for _, two in sizes)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        for linear, norm in zip(self.linear, self.norms, strict=True):
            x = norm(linear(x)).relu()
        y: Tensor = self.head(x)
        return y


class Asking(Closed):
    """The same, with a question to the data."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        return super().forward(x if x.max() > 0 else x + 1.0)
