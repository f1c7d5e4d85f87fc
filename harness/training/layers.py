"""The fast lane: K layers of torch.nn run as one, forward and backward, in memory that is used again.

    y = layer.forward(x, noise)      # x: (K or 1, B, ...) -> (K, B, ...)
    dx = layer.backward(dy)          # the gradients of its parameters are written where the stack keeps them

Autograd computes the same, but takes fresh memory for every result (see memory.py). `backward` may overwrite `dy`; it
belongs to the last `forward` of the layer.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import UserError
from harness.parts.models import Residual
from harness.parts.structure import is_dropout
from harness.training.memory import Memory

aten = torch.ops.aten


@dataclass(eq=False)
class Layer:
    """What all layers share."""

    like: nn.Module  # the layer that it stands for
    models: int  # K
    parameters: Mapping[str, Tensor]  # (K, *shape) each, by torch.nn's own names: views into the stack's
    gradients: Mapping[str, Tensor]  # the same
    buffers: Mapping[str, Tensor]  # (K, *shape) each: what a layer remembers beside them, as running means
    rates: Mapping[str, Sequence[float]]  # K dropout rates of each dropout layer within it; of itself by the name ""
    memory: Memory
    precision: str = "fp32"
    parts: Sequence["Layer"] = field(default=())  # of a composite, in order

    @classmethod
    def fits(cls, like: Any) -> bool:
        """Whether it computes what this very layer computes, with all its settings."""
        return True

    @property
    def trains(self) -> bool:
        """Whether it has parameters, or a part of it has."""
        return bool(self.parameters) or any(part.trains for part in self.parts)

    @property
    def is_capturable(self) -> bool:
        """Whether a CUDA graph can hold its passes: they ask the host for nothing, once they have been run."""
        return all(part.is_capturable for part in self.parts)

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        """`noise`, each network's generator, is given in training only."""
        raise NotImplementedError

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        """The gradient with regard to x from that with regard to y; None if it is not needed."""
        raise NotImplementedError


@dataclass(eq=False)
class Chain(Layer):
    """Layers one after the other: an nn.Sequential. `steps` do what its parts do."""

    def __post_init__(self) -> None:
        self.steps = self.parts

    @classmethod
    def fits(cls, like: Any) -> bool:
        """Where none of its layers is computed in place on what the one before needs again going back."""
        return type(like).forward is nn.Sequential.forward and len(like) > 0 and not _overwrites(_kinds(like))

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        for part in self.steps:
            x = part.forward(x, noise)
        return x

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        first = 0 if needs_dx else next((row for row, part in enumerate(self.steps) if part.trains), len(self.steps))
        for row in range(len(self.steps) - 1, first - 1, -1):
            dx = self.steps[row].backward(dy, needs_dx=needs_dx or row > first)
            if dx is None:
                return None
            dy = dx
        return dy if needs_dx else None


class SkipConnection(Chain):
    """Layers one after the other with an identity around them: x + f(x).

    Both ways what comes in is needed twice, and layers work in place: going back it is kept aside.
    """

    @classmethod
    def fits(cls, like: Any) -> bool:
        """Where its first layer leaves x as it is."""
        return len(like) > 0 and not _overwrites([nn.ReLU, *_kinds(like)])  # as if of a layer that needs it again

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        y = super().forward(x, noise)
        return torch.add(x, y, out=self.memory((self, "y"), *y.shape))

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        around = self.memory((self, "around"), *dy.shape).copy_(dy) if needs_dx else None
        dx = super().backward(dy, needs_dx)
        return None if dx is None or around is None else around.add_(dx)


class ByAutograd(Layer):
    """A layer of `EACH_IMAGE` that has no form of its own here, run by torch's autograd. x: (K, B, ...).

    It works on each image by itself, so the images of K networks are one long batch. It costs fresh memory.
    """

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        self.shape = x.shape
        with torch.enable_grad():
            self.x = x.flatten(0, 1).clone().requires_grad_()
            self.y: Tensor = self.like(self.x)
        y: Tensor = self.y.detach().view(*x.shape[:2], *self.y.shape[1:])
        return y

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        [dx] = torch.autograd.grad(self.y, self.x, dy.flatten(0, 1))
        return dx.view(self.shape)


class Linear(Layer):
    """x @ weight.T + bias, if any. x: (K or 1, B, ..., D), weight: (K, O, D), bias: (K, O) -> (K, B, ..., O)."""

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        y = self.product(as_rows(x))
        return y if x.dim() == 3 else y.view(len(y), *x.shape[1:-1], -1)

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        dx = self.slopes(as_rows(dy), needs_dx)
        return dx if dx is None or dy.dim() == 3 else dx.view(*dy.shape[:-1], -1)

    def product(self, x: Tensor) -> Tensor:
        """(K or 1, N, D) -> (K, N, O)."""
        weight, bias = self.parameters["weight"], self.parameters.get("bias")
        models, outputs, _ = weight.shape
        self.x = x.expand(models, -1, -1)
        y = self.memory((self, "y"), models, x.shape[1], outputs)
        if bias is None:
            return torch.bmm(self.x, weight.mT, out=y)
        return torch.baddbmm(bias[:, None], self.x, weight.mT, out=y)

    def slopes(self, dy: Tensor, needs_dx: bool) -> Tensor | None:
        """The gradients, and (K, N, O) -> (K, N, D)."""
        torch.bmm(dy.mT, self.x, out=self.gradients["weight"])
        if "bias" in self.gradients:
            torch.sum(dy, 1, out=self.gradients["bias"])
        if not needs_dx:
            return None
        return torch.bmm(dy, self.parameters["weight"], out=self.memory((self, "dx"), *self.x.shape))


class HalfLinear(Linear):
    """Products in bfloat16, everything else in float32: what torch's autocast does with a linear layer."""

    def product(self, x: Tensor) -> Tensor:
        weight, bias = self.parameters["weight"], self.parameters.get("bias")
        self.x = x.bfloat16().expand(len(weight), -1, -1)
        y = torch.bmm(self.x, weight.bfloat16().mT).float()
        return y if bias is None else y.add_(bias[:, None])

    def slopes(self, dy: Tensor, needs_dx: bool) -> Tensor | None:
        half = dy.bfloat16()
        self.gradients["weight"].copy_(torch.bmm(half.mT, self.x))
        if "bias" in self.gradients:
            torch.sum(dy, 1, out=self.gradients["bias"])
        return torch.bmm(half, self.parameters["weight"].bfloat16()).float() if needs_dx else None


class ReLU(Layer):
    """Computed in place, as all activations are whose slope their output tells."""

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        self.y = x.relu_()
        return self.y

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        result: Tensor = aten.threshold_backward.grad_input(dy, self.y, 0, grad_input=dy)
        return result


class LeakyReLU(Layer):
    """The slope below zero is that of the layer that it stands for."""

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        self.y = nn.functional.leaky_relu_(x, _slope(self.like))
        return self.y

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        result: Tensor = aten.leaky_relu_backward.grad_input(dy, self.y, _slope(self.like), True, grad_input=dy)
        return result


class Tanh(Layer):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        self.y = x.tanh_()
        return self.y

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        result: Tensor = aten.tanh_backward.grad_input(dy, self.y, grad_input=dy)
        return result


class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        self.y = x.sigmoid_()
        return self.y

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        result: Tensor = aten.sigmoid_backward.grad_input(dy, self.y, grad_input=dy)
        return result


class ELU(Layer):
    """scale * x, below zero scale * alpha * (exp(x) - 1)."""

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        y: Tensor = aten.elu_(x, *self._scales())
        self.y = y
        return y

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        result: Tensor = aten.elu_backward.grad_input(dy, *self._scales(), 1.0, True, self.y, grad_input=dy)
        return result

    def _scales(self) -> tuple[float, float]:
        """Alpha and scale."""
        assert isinstance(self.like, nn.ELU)
        return self.like.alpha, 1.0


class SELU(ELU):
    """ELU with the two constants of torch's own."""

    def _scales(self) -> tuple[float, float]:
        return 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


class Identity(Layer):
    """x itself."""

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        return x

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        return dy


class FromInput(Layer):
    """An activation whose slope its input tells, so that it is not computed in place."""

    compute: Callable[..., Tensor]
    slope: Callable[..., Tensor]

    def settings(self) -> tuple[float, ...]:
        """What both take beside x."""
        return ()

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        self.x = x
        return self.compute(x, *self.settings(), out=self.memory((self, "y"), *x.shape))

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        return self.slope(dy, self.x, *self.settings(), grad_input=dy)


class GELU(FromInput):
    """The exact form, with the error function."""

    compute, slope = aten.gelu.out, aten.gelu_backward.grad_input

    @classmethod
    def fits(cls, like: Any) -> bool:
        return bool(like.approximate == "none")


class SiLU(FromInput):
    """x * sigmoid(x)."""

    compute, slope = aten.silu.out, aten.silu_backward.grad_input


class Softplus(FromInput):
    """log(1 + exp(beta * x)) / beta; x itself where beta * x is above the threshold."""

    compute, slope = aten.softplus.out, aten.softplus_backward.grad_input

    def settings(self) -> tuple[float, ...]:
        assert isinstance(self.like, nn.Softplus)
        return self.like.beta, self.like.threshold


class Mish(FromInput):
    """x * tanh(softplus(x)). Its slope has no form in memory that is there."""

    compute = aten.mish.out

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        result: Tensor = aten.mish_backward(dy, self.x)
        return result


class Hardswish(FromInput):
    """x * min(max(x + 3, 0), 6) / 6. Its slope has no form in memory that is there."""

    compute = aten.hardswish.out

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        result: Tensor = aten.hardswish_backward(dy, self.x)
        return result


class Softsign(Layer):
    """x / (1 + |x|), whose slope is (1 - |y|) ** 2."""

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        below = torch.abs(x, out=self.memory((self, "below"), *x.shape)).add_(1.0)
        self.y = x.div_(below)
        return self.y

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        root = torch.abs(self.y, out=self.memory((self, "below"), *dy.shape)).neg_().add_(1.0)
        return dy.mul_(root).mul_(root)


class Conv2d(Layer):
    """A convolution. x: (K or 1, B, C, H, W), weight: (K, O, C, k, k) -> (K, B, O, H', W').

    As one convolution in K groups, for which channels of all networks have to stand side by side: what a GPU is best
    at. On a CPU runs of convolutions take its place (convolutions.py).
    """

    @classmethod
    def fits(cls, like: Any) -> bool:
        padded = isinstance(like.padding, tuple) and like.padding_mode == "zeros"
        return padded and (like.dilation, like.groups) == ((1, 1), 1)

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        weight, bias = self.parameters["weight"], self.parameters.get("bias")
        self.x = _side_by_side(x.expand(len(weight), *x.shape[1:]))
        together = None if bias is None else bias.flatten()
        y = torch.conv2d(self.x, weight.flatten(0, 1), together, *self.steps, groups=len(weight))
        return _apart(y, len(weight))

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        weight = self.parameters["weight"]
        dx, *found = self.slopes(_side_by_side(dy), self.x, weight.flatten(0, 1), len(weight), needs_dx)
        for gradient, one in zip(self.gradients.values(), found, strict=False):
            gradient.copy_(one.view_as(gradient))
        return _apart(dx, len(weight)) if needs_dx else None

    def slopes(self, dy: Tensor, x: Tensor, weight: Tensor, groups: int, needs_dx: bool) -> tuple[Tensor, ...]:
        """Those with regard to x, weight and bias; what is not needed is undefined."""
        bias, (stride, padding) = "bias" in self.parameters, self.steps
        outputs = [len(weight)] if bias else None
        wanted = [needs_dx, True, bias]
        found: tuple[Tensor, ...] = aten.convolution_backward(
            dy, x, weight, outputs, stride, padding, [1, 1], False, [0, 0], groups, wanted
        )
        return found

    @property
    def steps(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Stride and padding, both of height and width."""
        assert isinstance(self.like, nn.Conv2d)
        assert not isinstance(self.like.padding, str)
        return self.like.stride, self.like.padding


class MaxPool2d(Layer):
    """Max-pooling over squares that do not overlap. x: (K, B, C, H, W)."""

    @classmethod
    def fits(cls, like: Any) -> bool:
        square = isinstance(like.kernel_size, int) and like.stride == like.kernel_size
        return square and (like.padding, like.dilation, like.ceil_mode, like.return_indices) == (0, 1, False, False)

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        self.x = x
        y, self.places = nn.functional.max_pool2d(x.flatten(0, 1), self.side, return_indices=True)
        return y.view(*x.shape[:2], *y.shape[1:])

    @property
    def side(self) -> int:
        """Of a square."""
        size = self.like.kernel_size
        assert isinstance(size, int)
        return size

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        shape = [self.side, self.side]
        dx: Tensor = aten.max_pool2d_with_indices_backward(
            dy.flatten(0, 1), self.x.flatten(0, 1), shape, shape, [0, 0], [1, 1], False, self.places
        )
        return dx.view_as(self.x)


@dataclass(eq=False)
class LayerNorm(Layer):
    """Each image's last dimensions to mean 0 and variance 1, then times weight plus bias.

    x: (K or 1, B, ..., *D), weight and bias: (K, *D) -> (K, B, ..., *D).
    """

    @classmethod
    def fits(cls, like: Any) -> bool:
        return like.weight is not None and like.bias is not None

    def __post_init__(self) -> None:
        self.prepared: tuple[int, int] | None = None

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        self.x = self._rows(x)
        if (x.dim(), self.x.shape[-1]) != self.prepared:
            self._prepare(x)
        found = aten.native_layer_norm(self.x, self.x.shape[-1:], *self.neutral, self.like.eps)
        self.standard, self.known = found[0].view(x.shape), found[1:]  # mean and inverse deviation
        y = self.memory((self, "y"), len(self.weight), *x.shape[1:])
        return torch.addcmul(self.bias, self.standard, self.weight, out=y)

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        product = torch.mul(dy, self.standard, out=self.memory((self, "product"), *dy.shape))
        torch.sum(product, self.shared, out=self.gradients["weight"])
        torch.sum(dy, self.shared, out=self.gradients["bias"])
        if not needs_dx:
            return None
        slope, rows = self._rows(dy.mul_(self.weight)), self.x.shape[-1:]
        found = aten.native_layer_norm_backward(slope, self.x, rows, *self.known, None, None, [True, False, False])
        dx: Tensor = found[0].view_as(dy)
        return dx

    def _rows(self, x: Tensor) -> Tensor:
        """(K, B, ..., N), N the numbers that are normalised together."""
        return x.flatten(1 - self.parameters["weight"].dim())

    def _prepare(self, x: Tensor) -> None:
        """Weight and bias as they go with x, and the dimensions of x over which they are the same."""
        self.prepared = x.dim(), self.x.shape[-1]
        self.shared = [dim for dim in range(1, x.dim()) if dim not in self._own(x)]
        shape = [1 if dim in self.shared else size for dim, size in enumerate(x.shape)]
        self.weight, self.bias = (self.parameters[name].view(-1, *shape[1:]) for name in ("weight", "bias"))
        size = self.x.shape[-1:]
        self.neutral = self.x.new_ones(size), self.x.new_zeros(size)  # without them a CPU takes twice as long

    def _own(self, x: Tensor) -> range:
        """The dimensions of x that weight and bias have."""
        return range(x.dim() - self.parameters["weight"].dim() + 1, x.dim())


class GroupNorm(LayerNorm):
    """Groups of channels, with all their pixels, to mean 0 and variance 1. x: (K or 1, B, C, ...), weight: (K, C)."""

    def _rows(self, x: Tensor) -> Tensor:
        assert isinstance(self.like, nn.GroupNorm)
        return x.reshape(*x.shape[:2], self.like.num_groups, -1)

    def _own(self, x: Tensor) -> range:
        return range(2, 3)


class RMSNorm(Layer):
    """Each image's last dimension to root mean square 1, times weight. x: (K or 1, B, ..., D), weight: (K, D)."""

    @classmethod
    def fits(cls, like: Any) -> bool:
        return like.weight is not None and like.eps is not None and len(like.normalized_shape) == 1

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        assert isinstance(self.like, nn.RMSNorm)
        assert self.like.eps is not None
        weight = self._beside(x)
        square = torch.mul(x, x, out=self.memory((self, "square"), *x.shape))
        self.rate = square.mean(-1, keepdim=True).add_(self.like.eps).rsqrt_()
        self.standard = torch.mul(x, self.rate, out=self.memory((self, "standard"), *x.shape))
        return torch.mul(self.standard, weight, out=self.memory((self, "y"), len(weight), *x.shape[1:]))

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        product = torch.mul(dy, self.standard, out=self.memory((self, "product"), *dy.shape))
        torch.sum(product, list(range(1, dy.dim() - 1)), out=self.gradients["weight"])
        if not needs_dx:
            return None
        weight = self._beside(dy)
        along = product.mul_(weight).mean(-1, keepdim=True)
        return dy.mul_(weight).sub_(torch.mul(self.standard, along, out=product)).mul_(self.rate)

    def _beside(self, x: Tensor) -> Tensor:
        weight = self.parameters["weight"]
        return weight.view(len(weight), *(1,) * (x.dim() - 2), -1)


class BatchNorm(Layer):
    """Each channel to mean 0 and variance 1 over a batch and its pixels, then times weight plus bias.

    x: (K or 1, B, C, ...) -> (K, B, C, ...). Channels of all networks stand side by side. In training a running mean
    and variance go along, in the layer's buffers, by which images are judged afterwards.
    """

    @classmethod
    def fits(cls, like: Any) -> bool:
        return bool(like.affine and like.track_running_stats and like.momentum is not None)

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        weight, bias = self.parameters["weight"], self.parameters["bias"]
        self.training = noise is not None
        self.x = _side_by_side(x.expand(len(weight), *x.shape[1:]))
        if self.training and self.x.numel() == self.x.shape[1]:
            raise UserError(
                "norm: batch normalisation learns nothing from a batch of one image, and an epoch's last one has one; "
                "choose another batch_size"
            )
        self.running = [self.buffers[name].view(-1) for name in ("running_mean", "running_var")]
        y, *self.known = aten.native_batch_norm(
            self.x, weight.flatten(), bias.flatten(), *self.running, self.training, self.like.momentum, self.like.eps
        )
        if self.training:
            self.buffers["num_batches_tracked"].add_(1)
        return _apart(y, len(weight))

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        weight, mask = self.parameters["weight"], [needs_dx, True, True]
        dx, *found = aten.native_batch_norm_backward(
            _side_by_side(dy),
            self.x,
            weight.flatten(),
            *self.running,
            *self.known,
            self.training,
            self.like.eps,
            mask,
        )
        for name, one in zip(("weight", "bias"), found, strict=True):
            self.gradients[name].copy_(one.view_as(weight))
        return _apart(dx, len(weight)) if needs_dx else None


class GlobalPool(Layer):
    """The mean of each channel's pixels. x: (K, B, C, H, W) -> (K, B, C, 1, 1)."""

    @classmethod
    def fits(cls, like: Any) -> bool:
        return like.output_size in (1, (1, 1))

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        self.shape = x.shape
        return x.mean((3, 4), keepdim=True)

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        shares = dy.div_(self.shape[3] * self.shape[4]).expand(self.shape)
        return self.memory((self, "dx"), *self.shape).copy_(shares)


class Unflatten(Layer):
    """(K or 1, B, D) -> (K or 1, B, *shape)."""

    @classmethod
    def fits(cls, like: Any) -> bool:
        return bool(like.dim == 1)

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        assert isinstance(self.like, nn.Unflatten)
        return x.view(*x.shape[:2], *(int(size) for size in self.like.unflattened_size))

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        return dy.flatten(2)


class Flatten(Layer):
    """(K, B, *shape) -> (K, B, D)."""

    @classmethod
    def fits(cls, like: Any) -> bool:
        return (like.start_dim, like.end_dim) == (1, -1)

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        self.shape = x.shape
        return x.flatten(2)

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        return dy.view(self.shape)


class Masks:
    """What inverted dropout multiplies by, with a rate of its own for each network.

    Each network draws from a generator of its own, so that what it drops depends on nothing else in the stack. Those of
    one seed have one generator, whose numbers are drawn once for all of them.
    """

    def __init__(self, rates: Sequence[float], memory: Memory) -> None:
        self.rates, self.memory = list(rates), memory
        self.keep = 1.0 - torch.tensor(self.rates, device=memory.device)  # here: a step must not wait for the host
        self.noise: Sequence[torch.Generator] | None = None

    def draw(self, noise: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor | None:
        """A mask (K, ...) of that shape, valid until the next one; None where nothing is dropped."""
        if not any(self.rates):
            return None
        keep = self.keep.view(-1, *(1,) * (len(shape) - 1))  # (K, 1, ...)
        return torch.lt(self._numbers(noise, shape), keep, out=self.memory((self, "kept"), *shape)).div_(keep)

    def _numbers(self, noise: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
        """In [0, 1), (K or 1, ...): those of a rate of 0, whose generator is left alone, are anybody's."""
        if noise is not self.noise:
            self.noise = noise
            drawing = (generator for generator, rate in zip(noise, self.rates, strict=True) if rate > 0.0)
            self.generators = list(dict.fromkeys(drawing))
            places = [self.generators.index(one) if one in self.generators else 0 for one in noise]
            self.places = torch.tensor(places, device=self.memory.device)
        drawn = self.memory((self, "drawn"), len(self.generators), *shape[1:])
        for row, generator in zip(drawn.unbind(), self.generators, strict=True):
            row.uniform_(generator=generator)
        if len(drawn) in (1, len(self.places)):
            return drawn
        return torch.index_select(drawn, 0, self.places, out=self.memory((self, "each"), *shape))


@dataclass(eq=False)
class Dropout(Layer):
    """Inverted dropout; x: (K or 1, B, ...)."""

    def __post_init__(self) -> None:
        self.masks = Masks(self.rates[""], self.memory)

    def forward(self, x: Tensor, noise: Sequence[torch.Generator] | None) -> Tensor:
        shape = (self.models, *x.shape[1:])  # of inputs that all models share each drops others
        self.mask = None if noise is None else self.masks.draw(noise, shape)
        return x if self.mask is None else torch.mul(x, self.mask, out=self.memory((self, "y"), *shape))

    def backward(self, dy: Tensor, needs_dx: bool = True) -> Tensor | None:
        return dy if self.mask is None else dy.mul_(self.mask)


def _side_by_side(x: Tensor) -> Tensor:
    """(K, B, C, ...) -> (B, K * C, ...)."""
    return x.transpose(0, 1).flatten(1, 2)


def _apart(x: Tensor, models: int) -> Tensor:
    """(B, K * C, ...) -> (K, B, C, ...)."""
    return x.view(len(x), models, -1, *x.shape[2:]).transpose(0, 1).contiguous()


def _is_plain(like: nn.Module, form: type[Layer]) -> bool:
    """Whether a layer is as torch.nn makes it: not hooked, nothing of it frozen; no parameter, buffer or dropout shared
    by two of its parts.
    """
    times = Counter(part for _, part in like.named_modules(remove_duplicate=False))
    shared = [part for part, number in times.items() if number > 1]
    if like._forward_hooks or like._forward_pre_hooks or any([*part.buffers()] or is_dropout(part) for part in shared):
        return False
    every = [parameter for _, parameter in like.named_parameters(remove_duplicate=False)]
    return len(set(every)) == len(every) and (issubclass(form, Chain) or all(one.requires_grad for one in every))


def as_rows(x: Tensor) -> Tensor:
    """(K, B, ..., D) -> (K, N, D)."""
    return x.flatten(1, -2) if x.dim() > 3 else x


def _slope(like: nn.Module) -> float:
    assert isinstance(like, nn.LeakyReLU)
    return like.negative_slope


def _overwrites(kinds: Iterable[type[nn.Module]]) -> bool:
    """Whether one of these layers is computed in place on the output of another that needs it again."""
    return any(one in IN_PLACE and two in IN_PLACE for one, two in pairwise(kinds))


def _kinds(like: nn.Sequential) -> Iterator[type[nn.Module]]:
    """The types of its layers, and of those within them, in order, but for those whose output may be their input."""
    for part in like:
        if isinstance(part, nn.Sequential) and not isinstance(part, Residual):
            yield from _kinds(part)
        elif type(part) not in (nn.Identity, nn.Dropout, nn.Flatten, nn.Unflatten):
            yield type(part)


IN_PLACE = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.SELU, nn.Softsign)
"""What is computed in place, and needs its output going back."""

EACH_IMAGE = (
    *(nn.CELU, nn.LogSigmoid, nn.ReLU6, nn.Hardtanh, nn.Hardsigmoid, nn.GELU, nn.MaxPool1d, nn.MaxPool2d),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d),
)
"""Layers of torch.nn without parameters that do to an image what they do whatever else is in the batch: without a form
of their own here, or with settings that it does not fit.
"""

LAYERS: dict[type[nn.Module], type[Layer]] = {
    nn.Sequential: Chain,
    nn.Linear: Linear,
    nn.Conv2d: Conv2d,
    nn.MaxPool2d: MaxPool2d,
    nn.Unflatten: Unflatten,
    nn.Flatten: Flatten,
    nn.ReLU: ReLU,
    nn.LeakyReLU: LeakyReLU,
    nn.Tanh: Tanh,
    nn.GELU: GELU,
    nn.SiLU: SiLU,
    nn.Sigmoid: Sigmoid,
    nn.ELU: ELU,
    nn.SELU: SELU,
    nn.Softplus: Softplus,
    nn.Softsign: Softsign,
    nn.Mish: Mish,
    nn.Hardswish: Hardswish,
    nn.Identity: Identity,
    nn.AdaptiveAvgPool2d: GlobalPool,
    nn.RMSNorm: RMSNorm,
    nn.LayerNorm: LayerNorm,
    nn.GroupNorm: GroupNorm,
    nn.BatchNorm1d: BatchNorm,
    nn.BatchNorm2d: BatchNorm,
    Residual: SkipConnection,
    nn.Dropout: Dropout,
}
"""What runs in the place of a layer of torch.nn."""

HALF: dict[type[nn.Module], type[Layer]] = {nn.Linear: HalfLinear}
"""What runs there instead with precision "bf16"."""


def fast_form(like: nn.Module, precision: str) -> type[Layer] | None:
    """What runs K of a layer at once by hand; None where that is no layer of this lane. A subclass of nn.Sequential
    with another constructor, but no other forward pass, is a chain of its layers too.
    """
    forms = {**LAYERS, **HALF} if precision == "bf16" else LAYERS
    kind: type[nn.Module] = nn.Sequential if type(like) not in forms and isinstance(like, nn.Sequential) else type(like)
    form = forms.get(kind)
    if form is None or not form.fits(like):
        form = ByAutograd if kind in EACH_IMAGE else None
    return form if form is not None and _is_plain(like, form) else None
