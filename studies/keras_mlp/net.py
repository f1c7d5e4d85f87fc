"""The perceptron of Keras's example mnist_mlp.py, with Keras's own initialisation."""

from torch import nn


class Perceptron(nn.Sequential):
    """Two hidden layers, each with ReLU and dropout. Weights begin as Keras's glorot_uniform, biases at 0."""

    def __init__(self, inputs: int, outputs: int, *, width: int = 512, dropout: float = 0.2):
        super().__init__(
            nn.Linear(inputs, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, outputs),
        )
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
