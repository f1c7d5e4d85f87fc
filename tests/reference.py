"""A plain torch loop, one model at a time, to hold the stacked loop against. No part of the package."""

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from harness.config import Config
from harness.parts.data import Data
from harness.parts.models import build, input_shape
from harness.parts.preparing import floats
from harness.training.cohort import ORDER, generator
from harness.trial import Trial

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p, c: torch.optim.SGD(p, lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay),
    "adam": lambda p, c: torch.optim.Adam(p, lr=c.lr, weight_decay=c.weight_decay),
    "adamw": lambda p, c: torch.optim.AdamW(p, lr=c.lr, weight_decay=c.weight_decay),
    "rmsprop": lambda p, c: torch.optim.RMSprop(p, lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay),
}


def train_alone(trial: Trial, data: Data) -> list[dict[str, float]]:
    """A dict of the four figures for each epoch, and one of the restored model's test figures at the end."""
    config = trial.config
    history: list[dict[str, float]] = []
    network = build(config, data.shape, data.outputs, trial.seed)
    optimizer = OPTIMIZERS[config.optimizer](network.parameters(), config)
    pooled = config.test_fraction if config.split == "pooled" else 0.0
    train_rows, val_rows, test_rows = data.split(trial.seed, config.validation, pooled)
    order = generator(trial.seed, ORDER, torch.device("cpu"))
    images, labels = _normalised(floats(data, data.inputs), train_rows, config), data.targets
    images = images.view(-1, *input_shape(config, data.shape))
    untrained = _evaluate(network, images[test_rows], labels[test_rows])[1]
    best, lowest, waited = network.state_dict(), math.inf, 0
    while len(history) < config.epochs and (waited < config.patience or not config.validation):
        loss, accuracy = _epoch(network, optimizer, images, labels, train_rows, order, config)
        history.append({"train_loss": loss, "train_accuracy": accuracy})
        if not config.validation:
            best = copy.deepcopy(network.state_dict())
            continue
        val_loss, val_accuracy = _evaluate(network, images[val_rows], labels[val_rows])
        history[-1] |= {"val_loss": val_loss, "val_accuracy": val_accuracy}
        waited += 1
        if val_loss < lowest:
            best, lowest, waited = copy.deepcopy(network.state_dict()), val_loss, 0
    network.load_state_dict(best)
    test_loss, test_accuracy = _evaluate(network, images[test_rows], labels[test_rows])
    return [*history, {"test_loss": test_loss, "test_accuracy": test_accuracy, "untrained_accuracy": untrained}]


def _normalised(images: torch.Tensor, train_rows: torch.Tensor, config: Config) -> torch.Tensor:
    if config.normalisation == "half":
        return (images - 0.5) / 0.5
    if config.normalisation == "standard":
        mine = images[train_rows].double()
        return ((images - mine.mean()) / mine.std(correction=0)).float()
    return images


def _epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
    rows: torch.Tensor,
    order: torch.Generator,
    config: Config,
) -> tuple[float, float]:
    network.train()
    total, hits = 0.0, 0
    for batch in rows[torch.randperm(len(rows), generator=order)].split(config.batch_size):
        logits = network(images[batch])
        loss = F.cross_entropy(logits, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
        hits += int((logits.argmax(1) == labels[batch]).sum())
    return total / len(rows), hits / len(rows)


@torch.no_grad()
def _evaluate(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    network.eval()
    logits = network(images)
    return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()
