"""The network of DeepOBS's test problem fmnist_2c2d, with its initialisation."""

from torch import nn

DEVIATION, BIAS = 0.05, 0.05


class TwoConvolutions(nn.Sequential):
    """Two 5x5 convolutions that keep the image's sides, each pooled to half of them, and two dense layers.

    Weights begin normal with deviation 0.05, drawn anew beyond twice that, as TensorFlow does; every bias at 0.05.
    Pooling before ReLU gives the same as behind it.
    """

    def __init__(
        self, inputs: tuple[int, ...], outputs: int, *, filters: tuple[int, ...] = (32, 64), hidden: int = 1024
    ):
        channels, height, width = inputs
        layers: list[nn.Module] = []
        for wide in filters:
            layers += [nn.Conv2d(channels, wide, 5, padding=2), nn.MaxPool2d(2), nn.ReLU()]
            channels, height, width = wide, height // 2, width // 2
        super().__init__(
            *layers,
            nn.Flatten(),
            nn.Linear(channels * height * width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, outputs),
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.trunc_normal_(parameter, 0.0, DEVIATION, -2 * DEVIATION, 2 * DEVIATION)
            else:
                nn.init.constant_(parameter, BIAS)
