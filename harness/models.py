"""Builds the network that a Config describes: an nn.Sequential of torch's own layers with torch's own initialisation.

Every model has the same layers whatever its dropout rate, so that models with and without dropout can share a stack.
"""

import threading
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

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


BUILDING = threading.Lock()
MODELS: dict[str, Callable[[Config, int, int], nn.Sequential]] = {"mlp": mlp}


def build(config: Config, features: int, classes: int, seed: int) -> nn.Sequential:
    """The network of a config on the CPU, initialised from the seed alone: the same on every device."""
    with BUILDING, torch.random.fork_rng(devices=[]):  # torch's own generator belongs to the process, not to a thread
        torch.manual_seed(seed)
        return MODELS[config.model](config, features, classes)
