"""Builds the network that a Config describes: an nn.Sequential of torch's own layers with torch's own initialisation.

Every model has the same layers whatever its dropout rate, so that models with and without dropout can share a stack.
"""

import math
import threading
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

from harness.errors import UserError
from harness.trial import Config

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,  # slope 0.01
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def mlp(config: Config, features: int, classes: int) -> nn.Sequential:
    """(B, features) -> (B, classes), with activation and dropout after every hidden layer."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((features, *config.hidden)):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[config.activation](), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers, nn.Linear((features, *config.hidden)[-1], classes))


def cnn(config: Config, features: int, classes: int) -> nn.Sequential:
    """(B, features), square grey images, -> (B, classes): convolution, max-pooling, activation; then an MLP.

    Raises UserError where nothing is left of the image behind the convolutions.
    """
    channels, side = 1, math.isqrt(features)
    layers: list[nn.Module] = [nn.Unflatten(1, (1, side, side))]
    for outputs in config.channels:
        side = (side - config.kernel + 1) // config.pool
        if side < 1:
            raise UserError(f"channels: {len(config.channels)} convolutions leave nothing of {features} pixels")
        layers += [nn.Conv2d(channels, outputs, config.kernel), nn.MaxPool2d(config.pool)]
        layers += [ACTIVATIONS[config.activation]()]
        channels = outputs
    return nn.Sequential(*layers, nn.Flatten(), *mlp(config, channels * side**2, classes))


BUILDING = threading.Lock()
MODELS: dict[str, Callable[[Config, int, int], nn.Sequential]] = {"mlp": mlp, "cnn": cnn}


def build(config: Config, features: int, classes: int, seed: int) -> nn.Sequential:
    """The network of a config on the CPU, initialised from the seed alone: the same on every device."""
    with BUILDING, torch.random.fork_rng(devices=[]):  # torch's own generator belongs to the process, not to a thread
        torch.manual_seed(seed)
        return MODELS[config.model](config, features, classes)
