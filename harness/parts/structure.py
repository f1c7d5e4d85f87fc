"""What a torch module is, whatever its weights: which networks may share a stack, what a forward pass must not change.

    structure(one) == structure(other)          # they differ in weights, buffers and dropout rates only

Read off the built module, not declared: the types of all that it consists of, every attribute, shapes and types of
parameters and buffers.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType, MethodType

import torch
from torch import Tensor, nn

Structure = tuple[tuple[str, object], ...]
"""Facts by name, as ("blocks.0.scale", 2.0)."""

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""The layers whose rate may differ from network to network of a stack."""

LOOSE = "a tensor of its own"
PLAIN = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size, type)
DEEPEST = 6  # of attributes within attributes
_TORCHS = frozenset(vars(nn.Module()))  # attributes that every module has


def structure(module: nn.Module, but: tuple[type[nn.Module], ...] = ()) -> Structure:
    """All facts of a module, in order; of parts of the types `but` no attributes."""
    return tuple(_facts(module, but))


def is_dropout(module: nn.Module) -> bool:
    """Whether a layer is one of `DROPOUTS`, or a subclass that has the same forward pass, without hooks."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    return not hooked and any(isinstance(module, kind) and type(module).forward is kind.forward for kind in DROPOUTS)


def loose_tensors(module: nn.Module) -> list[str]:
    """The attributes, by their names in the module, that hold tensors which are neither parameters nor buffers, or
    layers that torch does not know to be parts of it.
    """
    return [name for name, fact in structure(module) if _holds_loose(fact)]


def changed(before: Structure, after: Structure) -> str | None:
    """The name of the first fact that is another one now, or was not there before; None if there is none."""
    known = dict(before)
    return next((name for name, fact in after if name not in known or known[name] != fact), None)


def _facts(module: nn.Module, but: tuple[type[nn.Module], ...]) -> Iterator[tuple[str, object]]:
    registered = {id(one) for one in (*module.parameters(), *module.buffers(), *module.modules())}
    for name, part in module.named_modules():
        yield name, f"{type(part).__module__}.{type(part).__qualname__}"
        for key, value in vars(part).items() if not isinstance(part, but) else ():
            if key not in _TORCHS and not (key == "p" and is_dropout(part)):
                yield f"{name}.{key}".removeprefix("."), _plain(value, registered, DEEPEST)
    for name, parameter in module.named_parameters():
        yield name, (tuple(parameter.shape), parameter.dtype, parameter.requires_grad)
    for name, buffer in module.named_buffers():
        yield name, (tuple(buffer.shape), buffer.dtype)


def _plain(value: object, registered: set[int], depth: int) -> object:
    """A value as something that can be compared and hashed; of functions their code and what they enclose."""
    if isinstance(value, Tensor):
        return "registered" if id(value) in registered else (LOOSE, tuple(value.shape))
    if isinstance(value, PLAIN):
        return type(value).__name__, value
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, nn.Module):
        return name if id(value) in registered or not [*value.parameters(), *value.buffers()] else (LOOSE, name)
    if isinstance(value, torch.Generator):
        return name, value.get_state().numpy().tobytes()
    if depth == 0:
        return name
    return name, *(_plain(part, registered, depth - 1) for part in _inside(value))


def _inside(value: object) -> Iterable[object]:
    """What a value consists of."""
    match value:
        case list() | tuple():
            return value
        case set() | frozenset():
            return sorted(value, key=repr)
        case FunctionType():
            enclosed = [cell.cell_contents for cell in value.__closure__ or ()]
            return value.__qualname__, value.__code__.co_code, value.__code__.co_consts, value.__defaults__, *enclosed
        case MethodType():
            return (value.__func__,)
    table = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    return [part for item in table.items() for part in item]


def _holds_loose(fact: object) -> bool:
    return isinstance(fact, tuple) and (fact[:1] == (LOOSE,) or any(map(_holds_loose, fact)))
