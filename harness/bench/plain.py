"""The bare torch loop, and the parts that the other contenders share with it."""

import math
from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import catalogue
from harness.bench.work import Work
from harness.config import Config
from harness.errors import UserError
from harness.parts.data import Data
from harness.parts.models import build
from harness.parts.preparing import prepare
from harness.training.feed import Feed


def train_plainly(
    work: Work, depth: int, seed: int, data: Data, report: Callable[[dict[str, float]], None] = lambda figures: None
) -> tuple[float, float]:
    """The bare loop; losses are summed on the device and read once an epoch. Validation and test `evaluate`d."""
    train, val, test = parts_of(work, data, seed)
    config = work.config(depth)
    size, epochs = int(config.batch_size), int(config.epochs)
    network = network_of(work, depth, seed, data).to(train[0].device)
    optimizer = optimizer_of(config, network)
    torch.manual_seed(seed)
    for epoch in range(epochs):
        total = _epoch(network, optimizer, *train, size)
        val_loss, accuracy = evaluate(network, *val) if len(val[1]) else (math.nan, math.nan)
        test_accuracy = evaluate(network, *test)[1] if epoch == epochs - 1 else 0.0
        report(
            {
                "train_loss": total / len(train[1]),
                "val_loss": val_loss,
                "val_accuracy": accuracy,
                "test_accuracy": test_accuracy,
            }
        )
    return accuracy, test_accuracy


def _epoch(network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, size: int) -> float:
    """Train for an epoch; the sum of the losses."""
    network.train()
    total = torch.zeros((), device=x.device)
    for batch in torch.randperm(len(y), device=y.device).split(size):
        optimizer.zero_grad()
        loss = loss_of(network(x[batch]), y[batch])
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(batch)
    return total.item()


def network_of(work: Work, depth: int, seed: int, data: Data) -> nn.Module:
    """The network that every contender trains."""
    return build(work.config(depth), data.shape, data.outputs, seed)


def optimizer_of(config: Config, network: nn.Module) -> torch.optim.Optimizer:
    """Its optimizer, torch's own."""
    part = catalogue.part("optimizer", config.optimizer)
    if not part.like:
        raise UserError(f"optimizer: torch has no {config.optimizer}, so the bare loop cannot train with it")
    kind: Any = catalogue.load(part.like)
    names = [name for name in ("lr", "momentum", "weight_decay") if name in signature(kind).parameters]
    made: torch.optim.Optimizer = kind(network.parameters(), **{name: float(config[name]) for name in names})
    return made


def parts_of(work: Work, data: Data, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Training, validation and test rows as floats, with their classes, or with numbers as standard scores."""
    config = work.config(work.depths[0])
    stratified = data.is_table if config.stratify is None else bool(config.stratify)
    parts = data.split(seed, float(config.validation), stratified=stratified)
    seen = prepare(data, config, parts.train[None])
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
