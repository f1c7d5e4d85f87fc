"""The bare torch loop, and the parts that the other contenders share with it."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.bench.work import Work
from harness.parts.data import Data
from harness.parts.models import build
from harness.parts.preparing import prepare
from harness.training.feed import Feed


def train_plainly(
    work: Work, depth: int, seed: int, data: Data, report: Callable[[dict[str, float]], None] = lambda figures: None
) -> tuple[float, float]:
    """The bare loop; losses are summed on the device and read once an epoch. Validation and test `evaluate`d."""
    train, val, test = parts_of(work, data, seed)
    network = network_of(work, depth, seed, data).to(train[0].device)
    optimizer = optimizer_of(work, network)
    torch.manual_seed(seed)
    accuracy = test_accuracy = 0.0
    for epoch in range(work.epochs):
        network.train()
        total = torch.zeros((), device=train[0].device)
        for batch in torch.randperm(len(train[1]), device=train[1].device).split(work.batch_size):
            optimizer.zero_grad()
            loss = loss_of(network(train[0][batch]), train[1][batch])
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


def parts_of(work: Work, data: Data, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Training, validation and test rows as floats, with their classes, or with numbers as standard scores."""
    parts = data.split(seed, 0.2, stratified=data.is_table)
    seen = prepare(data, work.config(work.depths[0]), parts.train[None])
    cuts = (Feed(seen, rows[None]).cut(rows[None]) for rows in parts)
    return [(x[0], y[0]) for x, y in cuts]


def loss_of(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy; of numbers the mean squared error."""
    return F.mse_loss(outputs, targets) if targets.is_floating_point() else F.cross_entropy(outputs, targets)


@torch.no_grad()
def evaluate(network: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy on rows that lie on the device; of numbers R2 in the place of accuracy."""
    network.eval()
    outputs = network(inputs)
    loss = loss_of(outputs, targets).item()
    if targets.is_floating_point():
        return loss, 1.0 - loss / targets.var(correction=0).item()
    return loss, (outputs.argmax(1) == targets).float().mean().item()


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
