"""The networks of Nielsen's chapter 6, with the initialisation of his network3.py."""

from typing import Literal

from torch import nn

KERNEL, POOL = 5, 2


class Digits(nn.Sequential):
    """Convolutions without padding, each pooled and activated, then a hidden layer.

    Weights begin normal with deviation sqrt(1 / n), where n is a layer's units, or of a convolution its filters times
    25 / 4; biases with deviation 1; the output layer at 0. Pooling before the bias, as his, is the same.
    """

    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: int,
        *,
        filters: tuple[int, ...] = (),
        hidden: int = 100,
        activation: Literal["sigmoid", "relu"] = "sigmoid",
    ):
        bend = nn.Sigmoid if activation == "sigmoid" else nn.ReLU
        channels, side, _ = inputs
        layers: list[nn.Module] = []
        for wide in filters:
            layers += [
                _begun(nn.Conv2d(channels, wide, KERNEL), wide * KERNEL**2 / POOL**2),
                nn.MaxPool2d(POOL),
                bend(),
            ]
            channels, side = wide, (side - KERNEL + 1) // POOL
        layers += [nn.Flatten(), _begun(nn.Linear(channels * side**2, hidden), hidden), bend()]
        last = nn.Linear(hidden, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(*layers, last)


def _begun(layer, units):
    nn.init.normal_(layer.weight, 0.0, units**-0.5)
    nn.init.normal_(layer.bias)
    return layer
