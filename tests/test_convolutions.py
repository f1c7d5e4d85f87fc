"""Convolutions that go through together on a CPU give what each layer of torch gives, however few images at a time."""

import copy

import pytest
import torch
from torch import Tensor, nn

from harness.parts.models import Residual
from harness.training import convolutions
from harness.training.layers import Chain
from harness.training.stack import Stack

IMAGES = 7
CHAINS: dict[str, tuple[str, list[nn.Module]]] = {
    "published": (
        "ConvRun",
        [nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.MaxPool2d(2), nn.ReLU()],
    ),
    "ReLU before pooling": ("ConvRun", [nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3)]),
    "ReLU on both sides": ("ConvRun ReLU", [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU()]),
    "another before pooling": ("ConvRun MaxPool2d", [nn.Conv2d(1, 4, 3), nn.Tanh(), nn.MaxPool2d(2)]),
    "pooled twice": ("ConvRun MaxPool2d", [nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.MaxPool2d(2)]),
    "strides": ("ConvRun", [nn.Conv2d(1, 4, (3, 2), (2, 1), (0, 1), bias=False), nn.Conv2d(4, 1, 2), nn.ReLU()]),
    "of one channel": ("ConvRun", [nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3), nn.MaxPool2d(2), nn.Sigmoid()]),
    "its slopes go on": ("BatchNorm ConvRun", [nn.BatchNorm2d(1), nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), nn.ELU()]),
    "normalised": (
        "ConvRun GroupNorm ReLU ConvRun BatchNorm ReLU",
        [nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.ReLU()],
    ),
    "residual": (
        "ConvRun SkipConnection MaxPool2d ConvRun",
        [
            *(nn.Conv2d(1, 3, 3), nn.SELU(), Residual(nn.Conv2d(3, 3, 3, padding=1), nn.Softsign())),
            *(nn.MaxPool2d(2), nn.Conv2d(3, 2, 2), nn.LeakyReLU(0.2)),
        ],
    ),
    "otherwise active": ("ConvRun GELU ConvRun", [nn.Conv2d(1, 3, 3), nn.GELU(), nn.Conv2d(3, 2, 3)]),
}


def stack_of(layers: list[nn.Module], models: int) -> Stack:
    """Of networks with those layers on images of 10 x 10 pixels."""
    torch.manual_seed(0)
    body = copy.deepcopy(nn.Sequential(*layers))
    features = body(torch.zeros(2, 1, 10, 10)).flatten(1).shape[1]
    networks = []
    for _ in range(models):
        for parameter in body.parameters():
            nn.init.normal_(parameter, 0.1, 0.5)
        head = [nn.Flatten(), nn.Linear(features, 3)]
        networks.append(copy.deepcopy(nn.Sequential(nn.Unflatten(1, (1, 10, 10)), *body, *head)))
    return Stack.of(networks)


def images(models: int) -> Tensor:
    """Half of every image is of one colour: there are ties in the windows of pooling."""
    x = torch.randn(models, IMAGES, 10, 10, generator=torch.Generator().manual_seed(0))
    x[..., 5:] = 0.0
    return x.flatten(2)


def passed(stack: Stack, x: Tensor, training: bool = True) -> tuple[Tensor, Tensor]:
    """Outputs and gradient."""
    noise = [torch.Generator()] * len(stack) if training else None
    y = stack(x, noise).clone()
    return y, stack.backward(torch.sin(y)).clone()


@pytest.mark.parametrize("name", CHAINS)
def test_a_run_does_what_its_layers_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training and in evaluation, forward and back, with images of each network's own and with shared ones."""
    expected, layers = CHAINS[name]
    monkeypatch.setattr(convolutions, "PIXELS", 1)
    for size in (1, 10_000, 10**9):  # bytes: one image at a time, some, all of them
        monkeypatch.setattr(convolutions, "BYTES", size)
        with monkeypatch.context() as patched:
            patched.setattr(convolutions, "merged", list)
            plain = stack_of(layers, 3)
        stack = stack_of(layers, 3)
        assert isinstance(stack.root, Chain)
        assert [type(one).__name__ for one in stack.root.steps[1:-2]] == expected.split()
        for shared in (False, True):
            for training in (True, False):
                x = images(1 if shared else 3)
                for one, two in zip(passed(stack, x, training), passed(plain, x, training), strict=True):
                    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
        for buffer, other in zip(stack.buffers.values(), plain.buffers.values(), strict=True):
            torch.testing.assert_close(buffer, other)


def test_a_network_has_the_same_bits_in_any_stack() -> None:
    layers = CHAINS["published"][1]
    stack, x = stack_of(layers, 3), images(1)
    outputs, gradient = passed(stack, x)
    alone, its = passed(stack[[1]], x)
    assert torch.equal(alone[0], outputs[1])
    assert torch.equal(its[0], gradient[1])


def test_what_is_between_a_convolution_and_its_pooling_is_held_for_some_images_only() -> None:
    """Of 64 channels it would be the most of all that a network holds."""
    stack = stack_of([nn.Conv2d(1, 64, 3), nn.MaxPool2d(2), nn.ReLU()], 2)
    passed(stack, torch.zeros(1, 1024, 100))
    assert max(tensor.nbytes for tensor in stack.memory._held.values()) < 2 * 1024 * 64 * 8 * 8 * 4
