"""Rows of an image that attend to one another."""

import torch
from torch import Tensor, nn


class Rows(nn.Module):
    """Attention between the rows of an image, `blocks` times, beside what each row says itself."""

    def __init__(self, inputs: tuple[int, ...], outputs: int, *, heads: int = 2, blocks: int = 1, width: int = 32):
        super().__init__()
        _, rows, columns = inputs
        self.place = nn.Parameter(0.1 * torch.randn(rows, width))
        self.embed = nn.Linear(columns, width)
        self.attend = nn.ModuleList(nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(blocks))
        self.head = nn.Linear(rows * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.squeeze(1)) + self.place
        for attend in self.attend:
            x = x + attend(x, x, x, need_weights=False)[0]
        return self.head(torch.relu(x).flatten(1))
