"""All that a training is at the end of an epoch, so that another process goes on with it as if nothing had happened.

    data = trainer.state(trials).packed()                              # bytes that nobody has to trust: nothing in
    trainer = Trainer.resumed(State.unpacked(data), trials, ...)       # them is executed

What a seed and a Config say anew (splits, preparation, settings) is not in it. What is: tensors with a row for each
network, the states of random generators, and numbers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Self

import safetensors.torch
import torch
from torch import Tensor

from harness.kernels import present

FACTS = "facts"  # what JSON has is a tensor of bytes among the others


@dataclass(frozen=True)
class State:
    """Tensors by name, and facts of JSON's types."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    def packed(self) -> bytes:
        """As a safetensors file. Raises ValueError for a tensor of a kind that such files do not know."""
        text = torch.frombuffer(bytearray(json.dumps(self.facts).encode()), dtype=torch.uint8)
        own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self.tensors.items()}
        try:
            return safetensors.torch.save({**own, FACTS: text})
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"a tensor cannot be kept: {error}") from error

    @classmethod
    def unpacked(cls, data: bytes) -> Self:
        """What `packed` made bytes of; of other bytes it raises an exception of whatever kind."""
        tensors = safetensors.torch.load(data)
        return cls(tensors, json.loads(tensors.pop(FACTS).numpy().tobytes()))


@torch.no_grad()
def put_back(views: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
    """Give tensors the values that were kept. Raises ValueError if those are not all and only tensors of their kind."""
    wanted, found = ({name: (one.shape, one.dtype) for name, one in each.items()} for each in (views, kept))
    if wanted != found:
        names = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        raise ValueError(f"it holds other tensors than such a training has: {', '.join(names)}")
    for name, view in views.items():
        view.copy_(kept[name])


def place(device: torch.device) -> str:
    """Where a training's figures come from, as far as their last bits depend on it."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    compiler = f", numba {version('numba')}" if device.type == "cpu" and present() else ""
    return f"{kind}, torch {torch.__version__}{compiler}"
