"""Builds the network that a Config describes: an nn.Sequential of torch's own layers with torch's own initialisation.

    network = build(config, (1, 28, 28), classes=10, seed=1)

Every model has the same layers whatever its dropout rate, so that models with and without dropout can share a stack.
"""

import math
import threading
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import torch
from torch import nn

from harness import catalogue
from harness.config import Config
from harness.errors import UserError

Shape = tuple[int, ...]
"""Of an input: channels, height, width."""


def activation(config: Config) -> nn.Module:
    """The activation that a config names."""
    made: nn.Module = catalogue.built_by("activation", config.activation)()
    return made


def mlp(config: Config, inputs: Shape, outputs: int) -> nn.Sequential:
    """(B, D) -> (B, outputs), with activation and dropout after every hidden layer."""
    return _dense(config, math.prod(inputs), outputs)


def cnn(config: Config, inputs: Shape, outputs: int) -> nn.Sequential:
    """(B, D) -> (B, outputs): for each of `channels` convolution, max-pooling and activation; then an MLP.

    Raises UserError where nothing is left of the image behind the convolutions.
    """
    channels, *sides = inputs
    layers: list[nn.Module] = [nn.Unflatten(1, inputs)]
    for wide in config.channels:
        sides = [(side - config.kernel + 1) // config.pool for side in sides]
        if min(sides) < 1:
            pixels = math.prod(inputs)
            raise UserError(f"channels: {len(config.channels)} convolutions leave nothing of {pixels} pixels")
        layers += [nn.Conv2d(channels, wide, config.kernel), nn.MaxPool2d(config.pool), activation(config)]
        channels = wide
    return nn.Sequential(*layers, nn.Flatten(), *_dense(config, channels * math.prod(sides), outputs))


def _dense(config: Config, features: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for one, two in pairwise((features, *config.hidden)):
        layers += [nn.Linear(one, two), activation(config), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers, nn.Linear((features, *config.hidden)[-1], outputs))


BUILDING = threading.Lock()


@lru_cache(10_000)
def count_weights(shape: Config, inputs: Shape, outputs: int) -> int:
    """How many weights and biases the networks of a `Config.shape` have. Raises UserError as building one does."""
    make: Callable[[Config, Shape, int], nn.Sequential] = catalogue.built_by("model", shape.model)
    with BUILDING, torch.random.fork_rng(devices=[]), torch.device("meta"):  # nothing is filled in
        return sum(parameter.numel() for parameter in make(shape, inputs, outputs).parameters())


def build(config: Config, inputs: Shape, outputs: int, seed: int) -> nn.Sequential:
    """The network of a config on the CPU, initialised from the seed alone: the same on every device."""
    make: Callable[[Config, Shape, int], nn.Sequential] = catalogue.built_by("model", config.model)
    with BUILDING, torch.random.fork_rng(devices=[]):  # torch's own generator belongs to the process, not to a thread
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 3 ms for devices of other kinds
        return make(config, inputs, outputs)
