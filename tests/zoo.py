"""Models as users write them, each about one thing, for test_lanes.py. It is read as a file beside a study is, so that
each class is `zoo.py:Name`; of the docstrings the table in docs/own-models.md is made.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Plain(nn.Module):
    """nn.Linear"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)))


class Layers(nn.Sequential):
    """nn.Sequential as base"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16, p: float = 0.0) -> None:
        super().__init__(nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(p), nn.Linear(hidden, outputs))


class MixedLayers(nn.Sequential):
    """nn.LayerNorm in an nn.Sequential"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16, p: float = 0.0) -> None:
        super().__init__(
            nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(p), nn.Linear(hidden, outputs)
        )


class Inside(nn.Module):
    """nn.Sequential inside"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16, p: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Dropout(p))
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Convolved(nn.Module):
    """nn.Conv2d"""

    def __init__(self, inputs: tuple[int, ...], outputs: int, *, channels: int = 4) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs[0], channels, 3, padding=1)
        self.head = nn.Linear(channels * 16, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.max_pool2d(F.relu(self.convolution(x)), 2).flatten(1))


class Signal(nn.Module):
    """nn.Conv1d"""

    def __init__(self, inputs: tuple[int, ...], outputs: int, *, channels: int = 8) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(inputs[1], channels, 3)
        self.head = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.convolution(x.squeeze(1))).mean(2))


class BatchNormed(nn.Module):
    """nn.BatchNorm1d"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.norm(self.first(x))))


class PatchNormed(nn.Module):
    """nn.BatchNorm2d"""

    def __init__(self, inputs: tuple[int, ...], outputs: int, *, hidden: int = 8) -> None:
        super().__init__()
        self.mix = nn.Linear(inputs[2], hidden, bias=False)
        self.norm = nn.BatchNorm2d(inputs[0])
        self.head = nn.Linear(inputs[1] * hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm(self.mix(x))).flatten(1))


class ConvolvedNormed(nn.Module):
    """nn.Conv2d and nn.BatchNorm2d"""

    def __init__(self, inputs: tuple[int, ...], outputs: int, *, channels: int = 4) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs[0], channels, 3, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm(self.convolution(x))).mean((2, 3)))


class LayerNormed(nn.Module):
    """nn.LayerNorm"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.norm(self.first(x))))


class GroupNormed(nn.Module):
    """nn.GroupNorm"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16, groups: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.norm = nn.GroupNorm(groups, hidden)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.norm(self.first(x))))


class RootNormed(nn.Module):
    """nn.RMSNorm"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.norm = nn.RMSNorm(hidden)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.norm(self.first(x))))


class Embedded(nn.Module):
    """nn.Embedding"""

    def __init__(self, inputs: int, outputs: int, *, shades: int = 4, hidden: int = 4) -> None:
        super().__init__()
        self.shades = shades
        self.look = nn.Embedding(shades, hidden)
        self.head = nn.Linear(inputs * hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        shade = (x * (self.shades - 1)).round().long()
        return self.head(self.look(shade).flatten(1))


class Attending(nn.Module):
    """nn.MultiheadAttention"""

    def __init__(self, inputs: tuple[int, ...], outputs: int, *, heads: int = 2, p: float = 0.0) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(inputs[2], heads, dropout=p, bias=False, batch_first=True)
        self.head = nn.Linear(inputs[1] * inputs[2], outputs)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.squeeze(1)
        seen, _ = self.attention(rows, rows, rows, need_weights=False)
        return self.head((rows + seen).flatten(1))


class Scaled(nn.Module):
    """F.scaled_dot_product_attention"""

    def __init__(self, inputs: tuple[int, ...], outputs: int, *, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.three = nn.Linear(inputs[2], 3 * inputs[2], bias=False)
        self.head = nn.Linear(inputs[1] * inputs[2], outputs)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.squeeze(1)
        parts = [part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.three(rows).chunk(3, dim=2)]
        seen = F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        return self.head((rows + seen).flatten(1))


class Encoder(nn.Module):
    """nn.TransformerEncoderLayer with dropout"""

    def __init__(self, inputs: tuple[int, ...], outputs: int, *, heads: int = 2, p: float = 0.1) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(inputs[2], heads, 16, dropout=p, batch_first=True, bias=False)
        self.head = nn.Linear(inputs[2], outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x.squeeze(1)).mean(1))


class Gated(nn.Module):
    """nn.GRU"""

    def __init__(self, inputs: tuple[int, ...], outputs: int, *, hidden: int = 12) -> None:
        super().__init__()
        self.recurrent = nn.GRU(inputs[2], hidden, batch_first=True)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        _, last = self.recurrent(x.squeeze(1))
        return self.head(last[-1])


class LongShort(nn.Module):
    """nn.LSTM"""

    def __init__(self, inputs: tuple[int, ...], outputs: int, *, hidden: int = 12) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(inputs[2], hidden, batch_first=True)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        every, _ = self.recurrent(x.squeeze(1))
        return self.head(every[:, -1])


class Residual(nn.Module):
    """residual blocks in an nn.ModuleList"""

    def __init__(self, inputs: int, outputs: int, *, blocks: int = 3, hidden: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.blocks = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(blocks))
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return self.last(x)


class Tied(nn.Module):
    """a weight shared by two layers"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.one = nn.Linear(hidden, hidden)
        self.two = nn.Linear(hidden, hidden)
        self.two.weight = self.one.weight
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.two(torch.tanh(self.one(torch.tanh(self.first(x)))))))


class Repeated(nn.Module):
    """a layer called twice"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.again = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        return self.last(torch.tanh(self.again(torch.tanh(self.again(x)))))


class Gain(nn.Module):
    """an nn.Parameter of its own"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16, start: float = 0.5) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.gain = nn.Parameter(torch.full((hidden,), start))
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)) * self.gain)


class Frozen(nn.Module):
    """frozen parameters"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 32) -> None:
        super().__init__()
        self.features = nn.Linear(inputs, hidden).requires_grad_(False)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.features(x)))


class Centred(nn.Module):
    """a running mean as a buffer, and a counter"""

    mean: Tensor
    steps: Tensor

    def __init__(self, inputs: int, outputs: int, *, share: float = 0.1) -> None:
        super().__init__()
        self.share = share
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("steps", torch.tensor(0))
        self.head = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean.lerp_(x.mean(0).detach(), self.share)
            self.steps.add_(1)
        return self.head(x - self.mean)


class Replaced(nn.Module):
    """a buffer that each pass replaces"""

    mean: Tensor

    def __init__(self, inputs: int, outputs: int, *, share: float = 0.1) -> None:
        super().__init__()
        self.share = share
        self.register_buffer("mean", torch.zeros(inputs))
        self.head = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = torch.lerp(self.mean, x.mean(0).detach(), self.share)
        return self.head(x - self.mean)


class Dropped(nn.Module):
    """nn.Dropout called twice"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16, p: float = 0.2) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.drop = nn.Dropout(p)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(torch.tanh(self.first(self.drop(x)))))


class DroppedChannels(nn.Module):
    """nn.Dropout2d called twice"""

    def __init__(self, inputs: tuple[int, ...], outputs: int, *, channels: int = 6, p: float = 0.2) -> None:
        super().__init__()
        self.expand = nn.Linear(inputs[2], channels * inputs[2])
        self.drop = nn.Dropout2d(p)
        self.head = nn.Linear(channels * inputs[1] * inputs[2], outputs)
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        wide = self.expand(x.squeeze(1)).unflatten(2, (self.channels, -1)).transpose(1, 2)
        return self.head(self.drop(torch.tanh(self.drop(wide))).flatten(1))


class Functional(nn.Module):
    """F.dropout"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16, rate: float = 0.2) -> None:
        super().__init__()
        self.rate = rate
        self.first = nn.Linear(inputs, hidden)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.dropout(torch.tanh(self.first(x)), self.rate, self.training))


class Noisy(nn.Module):
    """torch.randn_like in training"""

    def __init__(self, inputs: int, outputs: int, *, noise: float = 0.1) -> None:
        super().__init__()
        self.noise = noise
        self.head = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.noise * torch.randn_like(x) if self.training else x)


class Branching(nn.Module):
    """control flow that depends on data"""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if x.mean() > 0.0:
            x = 2.0 * x
        return self.last(torch.tanh(x))


class Single(nn.Module):
    """a parameter that is one number"""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(inputs, outputs)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.head(x)


class Clamped(nn.Module):
    """weights that the forward pass keeps small, and control flow that depends on data"""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.head.weight.abs().max() > 0.1:
            self.head.weight.data.clamp_(-0.1, 0.1)
        return self.head(x)


class Normed(nn.Module):
    """torch.nn.utils.parametrizations.weight_norm"""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


class Spectral(nn.Module):
    """torch.nn.utils.parametrizations.spectral_norm"""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.head = nn.utils.parametrizations.spectral_norm(nn.Linear(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


class Shifting(nn.Dropout):
    """A dropout layer with a forward pass of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1.0


class Shifted(nn.Module):
    """a subclass of nn.Dropout with another forward pass"""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.drop = Shifting(0.2)
        self.head = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(x))


class Hooked(nn.Module):
    """a forward hook"""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(inputs, outputs)
        self.head.register_forward_hook(lambda module, given, y: 2.0 * y)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)
