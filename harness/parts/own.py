"""Models that users wrote, and the one place where code of a user is executed.

    network = make(own, {"blocks": 2}, (1, 8, 8), 10)         # own: catalogue.OwnModel

What runs is the text that was recorded, not whatever the file holds by now. Whatever it raises is told with file and
line.
"""

import copy
import hashlib
import linecache
import math
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from harness.catalogue import OwnModel, Value, show
from harness.errors import UserError
from harness.parts.structure import loose_tensors

Shape = tuple[int, ...]
BATCH = 4  # images, on which a model is tried before the first trial


class RaisedError(UserError):
    """What a user's own code raised, with file and line."""


@cache
def load_class(own: OwnModel) -> type[nn.Module]:
    """The class itself: executes the file. Raises UserError for what it raises, or if that is no module of torch."""
    found = getattr(executed(own.source, own.file, own.class_name), own.class_name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UserError(f"{own.file}: {own.class_name} is no torch.nn.Module")
    return found


def executed(source: str, file: str, name: str) -> ModuleType:
    """The module that a file's text makes, for what is called `name` in it. Raises RaisedError for what it raises."""
    module = ModuleType(f"harness_own_{hashlib.sha256(source.encode()).hexdigest()[:16]}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # dataclasses and pickle look there
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    with told(file, name):
        exec(compile(source, file, "exec"), module.__dict__)
    return module


def make(own: OwnModel, values: Mapping[str, Value], shape: Shape, outputs: int) -> nn.Module:
    """A network for images of that shape (channels, height, width), with the values of the model's own knobs."""
    inputs = shape if own.shaped else math.prod(shape)
    kind = load_class(own)
    with told(own.file, described(own, values)):
        network = kind(inputs, outputs, **values)
    lazy = [key for key, tensor in (*network.named_parameters(), *network.named_buffers()) if is_lazy(tensor)]
    if lazy:
        raise UserError(
            f"{own.file}: {described(own, values)} has {lazy[0]} without a size: lazy layers cannot be used"
        )
    return network


def check_passes(own: OwnModel, name: str, network: nn.Module, x: Tensor, outputs: int) -> None:
    """One pass in training and one in evaluation: each must give a row of outputs for each image. Raises UserError, or
    RaisedError where the module itself raises something.
    """
    for training in (True, False):
        with told(own.file, name):
            y = network.train(training)(x)
        if not isinstance(y, Tensor):
            raise UserError(f"{own.file}: {name} gives a {type(y).__name__}, expected a tensor ({len(x)}, {outputs})")
        if tuple(y.shape) != (len(x), outputs):
            raise UserError(f"{own.file}: {name} gives {tuple(y.shape)}, expected {(len(x), outputs)}")
        if training and not y.requires_grad:
            raise UserError(f"{own.file}: {name} gives outputs that depend on none of its parameters")


def check_keeps(own: OwnModel, name: str, network: nn.Module) -> None:
    """All that it keeps must be rows of a stack: parameters, floats of 32 bits, and buffers. Raises UserError."""
    if loose := loose_tensors(network):
        first = loose[0].rpartition(".")[2]
        raise UserError(
            f"{own.file}: {name} keeps a tensor in {loose[0]} that is neither parameter nor buffer; write "
            f'self.register_buffer("{first}", ...), or nn.ModuleList for a list of layers, so that it moves to the '
            "device and is kept with the weights"
        )
    try:
        copy.deepcopy(network)
    except Exception as error:
        raise UserError(f"{own.file}: {name} cannot be copied, as a stack must: {_said(error)}") from None
    for key, parameter in network.named_parameters():
        if parameter.dtype != torch.float32:
            raise UserError(f"{own.file}: {name} has {key} of type {parameter.dtype}, expected torch.float32")


def check_evaluation(own: OwnModel, name: str, network: nn.Module, x: Tensor) -> None:
    """In evaluation nothing may be left to chance, or figures would differ from look to look; images are used again,
    and must stay as they are. Raises UserError.
    """
    network.eval()
    with torch.no_grad(), told(own.file, name):
        one, two = network(x), network(x)
    if x._version:
        raise UserError(
            f"{own.file}: {name} changes its input in place, which others see; write x = 2 * x, not x.mul_(2)"
        )
    if not torch.equal(one, two):
        raise UserError(
            f"{own.file}: {name} gives other outputs for the same images in evaluation; what is random, or goes "
            "on from pass to pass, must depend on self.training"
        )


def described(own: OwnModel, values: Mapping[str, Value]) -> str:
    """A network as its maker writes it: "Wide(blocks=4, hidden=64)"."""
    return f"{own.class_name}({', '.join(f'{key}={show(value)}' for key, value in values.items())})"


@contextmanager
def told(file: str, name: str) -> Iterator[None]:
    """Whatever is raised within comes as a RaisedError that says where in the file: "net.py, line 12: Wide(): ..."."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise RaisedError(f"{file}{_line(file, error)}: {name}: {_said(error)}") from error


def _line(file: str, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename == file:
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f", line {lines[-1]}" if lines else ""


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
