"""Builds the network that a Config describes: an nn.Sequential of torch's own layers, or a module that a user wrote.

    network = build(config, (1, 28, 28), classes=10, seed=1)

Every model has the same layers whatever its dropout rate and initialisation, so that models with and without dropout
can share a stack.
"""

import contextlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from functools import lru_cache
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor, nn

from harness import catalogue
from harness.catalogue import Value
from harness.config import Config
from harness.errors import UserError
from harness.parts import own
from harness.parts.initialisation import fill
from harness.parts.structure import structure

EPS = 1e-5
"""Added to variances, as torch does; but RMSNorm adds 1e-7, which makes slopes of thousands where all units are 0."""

Shape = tuple[int, ...]
"""Of an input: channels, height, width."""


def activation(config: Config) -> nn.Module:
    """The activation that a config names."""
    made: nn.Module = catalogue.built_by("activation", config.activation)()
    return made


class Residual(nn.Sequential):
    """Its layers, and an identity around them: x + f(x) (He et al., 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...), the same."""
        y: Tensor = x + super().forward(x)  # type: ignore[no-untyped-call]
        return y


def mlp(config: Config, inputs: Shape, outputs: int) -> nn.Sequential:
    """(B, D) -> (B, outputs), with normalisation, activation and dropout after every hidden layer.

    Raises UserError where the config contradicts itself.
    """
    config.check()
    network = _dense(config, math.prod(inputs), outputs)
    fill(network, config)
    return _with_input_dropout(network, config)


def cnn(config: Config, inputs: Shape, outputs: int) -> nn.Sequential:
    """(B, D) -> (B, outputs): for each of `channels` convolutions, max-pooling and activation; then an MLP.

    A convolution that changes neither channels nor sides is a block of its own where there are residuals, and is pooled
    after its activation. Raises UserError where a kernel or a pool is larger than what is left of the image, or
    where the config contradicts itself.
    """
    config.check()
    layers, (channels, *sides) = _convolutions(config, inputs)
    if config.global_pool:
        layers.append(nn.AdaptiveAvgPool2d(1))
        sides = [1, 1]
    network = nn.Sequential(*layers, nn.Flatten(), *_dense(config, channels * math.prod(sides), outputs))
    fill(network, config)
    return _with_input_dropout(network, config)


def _with_input_dropout(network: nn.Sequential, config: Config) -> nn.Sequential:
    """The network behind a dropout of its inputs, if there is one; its own layers keep their names."""
    if not config.input_dropout:
        return network
    return nn.Sequential(OrderedDict([("input_dropout", nn.Dropout(config.input_dropout)), *network.named_children()]))


def _convolutions(config: Config, inputs: Shape) -> tuple[list[nn.Module], Shape]:
    """The layers before the dense ones, and the shape of what comes of an image there."""
    layers: list[nn.Module] = [nn.Unflatten(1, inputs)]
    per_pool, sizes = int(config.convs_per_pool), list(image_sizes(config, inputs))
    for number, (before, left, _) in enumerate(sizes):
        stride = 1 if number % per_pool else int(config.stride)
        pooling = [nn.MaxPool2d(config.pool)] if number % per_pool == per_pool - 1 else []
        *block, last = *_convolution(config, before[0], left[0], stride), activation(config)
        is_residual = config.residual and number and left == before
        layers += [Residual(*block, last), *pooling] if is_residual else [*block, *pooling, last]
    return layers, sizes[-1][-1]


def image_sizes(config: Config, inputs: Shape) -> Iterator[tuple[Shape, Shape, Shape]]:
    """Of each convolution the shape that it gets, that it leaves, and that is left when it has been pooled where it is.
    Raises UserError where a kernel or a pool is larger than what it gets.
    """
    shape, per_pool = inputs, int(config.convs_per_pool)
    for number, (wide, place) in enumerate(product(config.channels, range(per_pool))):
        stride, padded = 1 if place else int(config.stride), config.padding == "same"
        if not padded:
            _check_fits("kernel", config, shape, inputs, number)
        lost = 0 if padded else int(config.kernel) - 1
        left = (wide, *((side - lost - 1) // stride + 1 for side in shape[1:]))
        pooled = left
        if place == per_pool - 1:
            _check_fits("pool", config, left, inputs, number + 1)
            pooled = (wide, *(side // int(config.pool) for side in left[1:]))
        yield shape, left, pooled
        shape = pooled


def _check_fits(key: str, config: Config, shape: Shape, inputs: Shape, behind: int) -> None:
    """A window of that key's side must fit into a shape that so many convolutions have left of the inputs."""
    if config[key] <= min(shape[1:]):
        return
    left, whole = ("x".join(map(str, sides[1:])) for sides in (shape, inputs))
    who = (
        "the images have" if not behind else "one convolution leaves" if behind == 1 else f"{behind} convolutions leave"
    )
    raise UserError(f"{key}: {config[key]} is larger than the {left} pixels that {who}{f' of {whole}' * bool(behind)}")


def _convolution(config: Config, channels: int, wide: int, stride: int) -> list[nn.Module]:
    """(B, channels, H, W) -> (B, wide, H', W'), normalised."""
    edge = config.kernel // 2 if config.padding == "same" else 0
    layer = nn.Conv2d(channels, wide, config.kernel, stride, edge, bias=config.norm != "batch")
    if config.norm == "none":
        return [layer]
    return [layer, nn.BatchNorm2d(wide, eps=EPS) if config.norm == "batch" else nn.GroupNorm(1, wide, eps=EPS)]


def _dense(config: Config, features: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for one, two in pairwise((features, *config.hidden)):
        block = [*_linear(config, one, two), activation(config), nn.Dropout(config.dropout)]
        layers += [Residual(*block)] if config.residual and layers else block
    return nn.Sequential(*layers, nn.Linear((features, *config.hidden)[-1], outputs))


def _linear(config: Config, features: int, wide: int) -> list[nn.Module]:
    """(B, features) -> (B, wide), normalised. Batch normalisation takes away whatever a bias adds: there is none."""
    layer = nn.Linear(features, wide, bias=config.norm != "batch")
    norms = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "rms": nn.RMSNorm}
    return [layer, norms[config.norm](wide, eps=EPS)] if config.norm in norms else [layer]


BUILDING = threading.Lock()


@lru_cache(10_000)
def count_weights(shape: Config, inputs: Shape, outputs: int) -> int:
    """How many weights and biases the networks of a `Config.shape` have. Raises UserError as building one does."""
    return sum(parameter.numel() for parameter in _on_meta(shape, inputs, outputs).parameters())


@lru_cache(10_000)
def likeness(shape: Config, inputs: Shape, outputs: int) -> Hashable:
    """What the networks of a stack have in common: two configs of the same `Config.shape` are trained together, and of
    an own model two whose networks have the same structure.
    """
    if shape.own is None:
        return shape
    plain = {one.name: one.default for one in shape.own.knobs}
    try:
        return shape.replace(**plain), structure(_on_meta(shape, inputs, outputs))
    except UserError:  # its trial will say why
        return shape


@lru_cache(10_000)
def operations(shape: Config, inputs: Shape, outputs: int) -> int:
    """About how many floating-point operations a forward pass of one image has: two for each use of a weight.

    Convolutions of a built-in model are taken to see a quarter of the pixels; a user's model is watched in a pass. 0
    where no network can be built, whose trial will say why.
    """
    try:
        if shape.own is not None:
            network = build(shape, inputs, outputs, 0).eval()
            times = _uses(network, torch.zeros(1, *input_shape(shape, inputs)))
        else:
            network = _on_meta(shape, inputs, outputs)
            seen = math.prod(inputs[1:]) // 4
            times = {layer: seen for layer in network.modules() if isinstance(layer, nn.Conv2d)}
    except UserError:
        return 0
    return 2 * sum(
        parameter.numel() * times.get(layer, 1)
        for layer in network.modules()
        for parameter in layer.parameters(recurse=False)
        if parameter.dim() > 1
    )


def _uses(network: nn.Module, x: Tensor) -> dict[nn.Module, int]:
    """How often a pass uses the weights of each linear layer and convolution that it calls."""
    times: dict[nn.Module, int] = {}

    def watch(layer: Any, args: Any, y: Tensor) -> None:
        wide = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        times[layer] = times.get(layer, 0) + y.numel() // wide

    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            layer.register_forward_hook(watch)
    with torch.no_grad(), contextlib.suppress(Exception):  # what a user's module raises its trial will say
        network(x)
    return times


def input_shape(config: Config, inputs: Shape) -> Shape:
    """Of what the network of a config takes: a row of numbers, or an image where an own model wants one."""
    return inputs if config.own is not None and config.own.shaped else (math.prod(inputs),)


def build(config: Config, inputs: Shape, outputs: int, seed: int) -> nn.Module:
    """The network of a config on the CPU, initialised from the seed alone: the same on every device."""
    with BUILDING, torch.random.fork_rng(devices=[]):  # torch's own generator belongs to the process, not to a thread
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 3 ms for devices of other kinds
        return _made(config, inputs, outputs)


def check_passes(config: Config, inputs: Shape, outputs: int, device: torch.device) -> None:
    """Whether an own model's network gives what it should, in training and in evaluation. Raises UserError.

    Torch's meta device is enough for a module whose control flow depends on no data; else the device itself tries it.
    """
    assert config.own is not None
    x = torch.zeros(own.BATCH, *input_shape(config, inputs))
    name = own.described(config.own, _own_values(config))
    try:
        own.check_passes(config.own, name, _on_meta(config, inputs, outputs), x.to("meta"), outputs)
    except own.RaisedError:
        own.check_passes(config.own, name, build(config, inputs, outputs, 0).to(device), x.to(device), outputs)


def check_behaviour(config: Config, inputs: Shape, outputs: int, device: torch.device) -> None:
    """Whether all that an own model's network keeps can be kept, and evaluation leaves nothing to chance."""
    assert config.own is not None
    network = build(config, inputs, outputs, 0).to(device)
    name = own.described(config.own, _own_values(config))
    own.check_keeps(config.own, name, network)
    own.check_evaluation(config.own, name, network, torch.rand(own.BATCH, *input_shape(config, inputs), device=device))


def _on_meta(config: Config, inputs: Shape, outputs: int) -> nn.Module:
    """The network without its weights: nothing is filled in."""
    with BUILDING, torch.random.fork_rng(devices=[]), torch.device("meta"):
        return _made(config, inputs, outputs)


def _made(config: Config, inputs: Shape, outputs: int) -> nn.Module:
    if config.own is not None:
        return own.make(config.own, _own_values(config), inputs, outputs)
    make: Callable[[Config, Shape, int], nn.Sequential] = catalogue.built_by("model", config.model)
    return make(config, inputs, outputs)


def _own_values(config: Config) -> dict[str, Value]:
    assert config.own is not None
    return {one.name: config[one.name] for one in config.own.knobs}
