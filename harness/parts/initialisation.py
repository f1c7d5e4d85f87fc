"""How weights begin: torch.nn.init's rules by their names in the catalogue.

    fill(network, config)                       # its weights anew, from torch's generator

Each rule is given a weight and the gain of the activation behind it. "Fan in" is how many products an output is a sum
of, "fan out" how many outputs an input goes into.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from harness import catalogue
from harness.catalogue import Activation
from harness.config import Config

Rule = Callable[[Tensor, float], object]


def default(weight: Tensor, gain: float) -> None:
    """What torch.nn has filled in itself stays, biases too."""


def xavier_uniform(weight: Tensor, gain: float) -> None:
    """Uniform, with deviation gain * sqrt(2 / (fan in + fan out)) (Glorot and Bengio, 2010)."""
    nn.init.xavier_uniform_(weight, gain)


def xavier_normal(weight: Tensor, gain: float) -> None:
    """Normal, with the same deviation."""
    nn.init.xavier_normal_(weight, gain)


def kaiming_uniform(weight: Tensor, gain: float) -> None:
    """Uniform, with deviation gain / sqrt(fan in) (He et al., 2015)."""
    bound = math.sqrt(3.0) * _deviation(weight, gain)
    nn.init.uniform_(weight, -bound, bound)


def kaiming_normal(weight: Tensor, gain: float) -> None:
    """Normal, with the same deviation."""
    nn.init.normal_(weight, 0.0, _deviation(weight, gain))


def lecun_normal(weight: Tensor, gain: float) -> None:
    """Normal, with deviation 1 / sqrt(fan in), whatever the gain (LeCun et al., 1998)."""
    nn.init.normal_(weight, 0.0, _deviation(weight, 1.0))


def orthogonal(weight: Tensor, gain: float) -> None:
    """Gain times a random matrix with orthonormal rows or columns (Saxe et al., 2014)."""
    nn.init.orthogonal_(weight, gain)


def truncated_normal(weight: Tensor, gain: float) -> None:
    """Normal, with deviation 0.02 before it is cut at twice that, whatever the gain (Devlin et al., 2019)."""
    nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04)


def fill(network: nn.Module, config: Config) -> None:
    """Fill the weights of linear layers and convolutions by the rule that a config names; their biases become 0.

    The gain is that which `torch.nn.init.calculate_gain` knows of the activation behind the layer; 1 behind the last.
    """
    rule: Rule = catalogue.built_by("initialisation", config.initialisation)
    if rule is default:
        return
    behind = catalogue.part("activation", config.activation)
    assert isinstance(behind, Activation)
    *hidden, last = (one for one in network.modules() if isinstance(one, nn.Linear | nn.Conv2d))
    for layer in (*hidden, last):
        rule(layer.weight, 1.0 if layer is last else nn.init.calculate_gain(behind.gain))  # type: ignore[arg-type]
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _deviation(weight: Tensor, gain: float) -> float:
    return gain / math.sqrt(torch.numel(weight[0]))
