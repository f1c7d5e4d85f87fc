from typing import Any

import pytest
import torch

from harness.training.optim import OPTIMIZERS

TORCH: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}
SETTINGS = [(1e-1, 0.0, 0.0), (1e-2, 0.9, 0.0), (3e-3, 0.5, 1e-1), (1e-3, 0.0, 1e-2)]  # lr, momentum, weight decay


def _alone(
    name: str, start: torch.Tensor, setting: tuple[float, float, float]
) -> tuple[torch.Tensor, torch.optim.Optimizer]:
    parameter = start.clone().requires_grad_()
    lr, momentum, weight_decay = setting
    keys: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
    if name in ("sgd", "rmsprop"):
        keys["momentum"] = momentum
    return parameter, TORCH[name]([parameter], **keys)


@pytest.mark.parametrize("settings", [SETTINGS, SETTINGS[:1]], ids=["mixed", "plain"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equals_torch_step_for_step(name: str, settings: list[tuple[float, float, float]]) -> None:
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(len(settings), 50, generator=generator)
    alone = [_alone(name, flat[k], setting) for k, setting in enumerate(settings)]
    lr, momentum, weight_decay = (list(column) for column in zip(*settings, strict=True))
    optimizer = OPTIMIZERS[name](flat, lr=lr, momentum=momentum, weight_decay=weight_decay)
    for _ in range(30):
        gradient = torch.randn(len(settings), 50, generator=generator)
        for k, (parameter, reference) in enumerate(alone):
            parameter.grad = gradient[k].clone()
            reference.step()
        optimizer.step(gradient)
        torch.testing.assert_close(flat, torch.stack([p.detach() for p, _ in alone]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_going_on_with_some_rows_changes_nothing_for_them(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(10, 3, 20, generator=generator)
    start = torch.randn(3, 20, generator=generator)
    keys = {"lr": [1e-2, 3e-2, 1e-1], "momentum": [0.0, 0.9, 0.5], "weight_decay": [0.0, 0.1, 0.0]}
    whole, part = start.clone(), start.clone()
    one, two = OPTIMIZERS[name](whole, **keys), OPTIMIZERS[name](part, **keys)
    for step, gradient in enumerate(gradients):
        one.step(gradient.clone())
        if step == 4:
            part = part[[0, 2]]
            two.keep(part, [0, 2])
        two.step(gradient.clone() if step < 4 else gradient[[0, 2]])
    torch.testing.assert_close(part, whole[[0, 2]])
