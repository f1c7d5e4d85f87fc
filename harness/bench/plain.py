"""The bare torch loop, and the parts that the other contenders share with it."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.bench.work import Work
from harness.parts.data import Data
from harness.parts.models import build
from harness.parts.preparing import floats


def train_plainly(
    work: Work, depth: int, seed: int, data: Data, report: Callable[[dict[str, float]], None] = lambda figures: None
) -> tuple[float, float]:
    """The bare loop; losses are summed on the device and read once an epoch. Validation and test accuracy."""
    train, val, test = parts_of(data, seed)
    network = network_of(work, depth, seed, data).to(train[0].device)
    optimizer = optimizer_of(work, network)
    torch.manual_seed(seed)
    accuracy = test_accuracy = 0.0
    for epoch in range(work.epochs):
        network.train()
        total = torch.zeros((), device=train[0].device)
        for batch in torch.randperm(len(train[1]), device=train[1].device).split(work.batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(train[0][batch]), train[1][batch])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
        val_loss, accuracy = evaluate(network, *val)
        if epoch == work.epochs - 1:
            test_accuracy = evaluate(network, *test)[1]
        report(
            {
                "train_loss": total.item() / len(train[1]),
                "val_loss": val_loss,
                "val_accuracy": accuracy,
                "test_accuracy": test_accuracy,
            }
        )
    return accuracy, test_accuracy


def network_of(work: Work, depth: int, seed: int, data: Data) -> nn.Module:
    """The network that every contender trains."""
    return build(work.config(depth), data.shape, data.outputs, seed)


def optimizer_of(work: Work, network: nn.Module) -> torch.optim.Optimizer:
    """Its optimizer, torch's own."""
    kind: Any = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[work.optimizer]
    made: torch.optim.Optimizer = kind(network.parameters(), lr=work.lr)
    return made


def parts_of(data: Data, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Training, validation and test images as floats, with their labels."""
    train, val, _ = data.split(seed, 0.2)
    images, labels = floats(data, data.train.inputs), data.train.targets
    return [
        (images[train], labels[train]),
        (images[val], labels[val]),
        (floats(data, data.test.inputs), data.test.targets),
    ]


@torch.no_grad()
def evaluate(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy on images that lie on the device."""
    network.eval()
    logits = network(images)
    return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


@torch.no_grad()
def evaluate_loader(network: nn.Module, loader: Any, device: torch.device) -> tuple[float, float]:
    """The same from a DataLoader."""
    network.eval()
    loss, hits, images = 0.0, 0, 0
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        logits = network(x)
        loss += F.cross_entropy(logits, y, reduction="sum").item()
        hits += int((logits.argmax(1) == y).sum())
        images += len(y)
    return loss / images, hits / images
