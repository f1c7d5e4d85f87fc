"""A plain torch loop, one model at a time, to hold the stacked loop against. No part of the package."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from harness import catalogue
from harness.config import Config
from harness.parts.data import Data
from harness.parts.models import build, input_shape
from harness.parts.preparing import floats
from harness.training.cohort import ORDER, generator
from harness.trial import Trial


class LionOfThePaper(torch.optim.Optimizer):
    """Algorithm 2 of Chen et al. (2023), which torch has not."""

    def __init__(
        self, parameters: Any, lr: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.99)
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for x in group["params"]:
                m = self.state[x].setdefault("m", torch.zeros_like(x))
                one, two = group["betas"]
                x -= group["lr"] * ((one * m + (1 - one) * x.grad).sign() + group["weight_decay"] * x)
                self.state[x]["m"] = two * m + (1 - two) * x.grad


class MuonAndAdamW:
    """Torch's Muon of the matrices, its AdamW of all else."""

    def __init__(self, parameters: Any, lr: float, weight_decay: float, adamw_lr: float, **more: Any) -> None:
        matrices, others = ([one for one in parameters if (one.dim() > 1) == is_matrix] for is_matrix in (True, False))
        momentum = {"momentum": more.pop("muon_momentum")} if "muon_momentum" in more else {}
        self.matrices = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, **momentum)
        self.others = torch.optim.AdamW(others, lr=adamw_lr, weight_decay=weight_decay, **more)

    def set(self, key: str, value: float) -> None:
        if key != "adamw_lr":
            self.matrices.param_groups[0][key] = value
        if key != "lr":
            self.others.param_groups[0]["lr" if key == "adamw_lr" else key] = value

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [*self.matrices.param_groups, *self.others.param_groups]

    def zero_grad(self) -> None:
        self.matrices.zero_grad()
        self.others.zero_grad()

    def step(self) -> None:
        self.matrices.step()
        self.others.step()


TORCH: dict[str, Any] = {
    **{
        name: catalogue.load(catalogue.part("optimizer", name).like)
        for name in catalogue.names("optimizer")
        if name not in ("lion", "muon")
    },
    "lion": LionOfThePaper,
    "muon": MuonAndAdamW,
}


def make_optimizer(network: nn.Module, config: Config) -> Any:
    """Torch's own, with all that the config says of it."""
    given: dict[str, Any] = {name: config[name] for name in ("lr", "weight_decay")}
    names = {knob.name for knob in catalogue.part("optimizer", config.optimizer).knobs}
    given |= {name: config[name] for name in names - {"beta1", "beta2"} if config[name] is not None}
    if "beta1" in names:
        defaults = (0.9, 0.99 if config.optimizer == "lion" else 0.999)
        given["betas"] = tuple(config[f"beta{i + 1}"] or defaults[i] for i in range(2))
    kind = TORCH[config.optimizer]
    if config.decay_biases:
        return kind(network.parameters(), **given)
    groups = [[p for p in network.parameters() if (p.dim() > 1) == is_weight] for is_weight in (True, False)]
    return kind([{"params": groups[0]}, {"params": groups[1], "weight_decay": 0.0}], **given)


def scheduler(optimizer: torch.optim.Optimizer, config: Config, steps: int, total: int = 0) -> lr_scheduler.LRScheduler:
    """Torch's own, whose counts are steps or epochs; `steps` an epoch has, and `total` all of it without warm-up."""
    epoch = steps if config.schedule_every == "step" else 1
    lr, warm = config.lr, round(config.warmup * epoch)
    total = total or config.epochs * epoch - warm
    makers: dict[str, Any] = {
        "constant": lambda: lr_scheduler.LambdaLR(optimizer, lambda n: 1.0),
        "step": lambda: lr_scheduler.StepLR(optimizer, config.step_every * epoch, config.lr_decay),
        "multistep": lambda: lr_scheduler.MultiStepLR(
            optimizer, [m * epoch for m in config.milestones], config.lr_decay
        ),
        "exponential": lambda: lr_scheduler.ExponentialLR(optimizer, config.lr_decay ** (1 / epoch)),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, total, lr * config.final_lr_share),
        "cosine_restarts": lambda: lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, config.restart_every * epoch, config.restart_growth, lr * config.final_lr_share
        ),
        "linear": lambda: lr_scheduler.LinearLR(optimizer, 1.0, config.final_lr_share, total),
        "onecycle": lambda: lr_scheduler.OneCycleLR(
            optimizer,
            lr,
            total,
            pct_start=config.peak_at,
            cycle_momentum=False,
            div_factor=1 / config.initial_lr_share,
            final_div_factor=config.initial_lr_share / config.final_lr_share,
        ),
        "inverse_sqrt": lambda: lr_scheduler.LambdaLR(
            optimizer, lambda n: 1 / math.sqrt(1 + n / (config.timescale * epoch))
        ),
        "inverse_scaling": lambda: lr_scheduler.LambdaLR(optimizer, lambda n: (n + 1) ** -config.lr_power),
    }
    if not warm:
        return makers[config.schedule]()  # type: ignore[no-any-return]
    if config.schedule == "onecycle":  # which takes the learning rate over as soon as it is made
        after = _shares(config.replace(warmup=0.0), total, steps)
        return lr_scheduler.LambdaLR(optimizer, lambda n: (n + 1) / (warm + 1) if n < warm else after(n - warm))
    rising = lr_scheduler.LinearLR(optimizer, 1 / (warm + 1), 1.0, warm)
    return lr_scheduler.SequentialLR(optimizer, [rising, makers[config.schedule]()], [warm])


def _shares(config: Config, total: int, steps: int) -> Callable[[int], float]:
    """A schedule as factors, count by count."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    following, shares = scheduler(optimizer, config.replace(lr=1.0), steps, total), []
    for number in range(total):
        shares.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if number < total - 1:
            following.step()
    return lambda n: shares[min(n, total - 1)]


def train_alone(trial: Trial, data: Data) -> list[dict[str, float]]:
    """A dict of the four figures for each epoch, and one of the restored model's test figures at the end."""
    config = trial.config
    history: list[dict[str, float]] = []
    network = build(config, data.shape, data.outputs, trial.seed)
    optimizer = make_optimizer(network, config)
    pooled = config.test_fraction if config.split == "pooled" else 0.0
    train_rows, val_rows, test_rows = data.split(trial.seed, config.validation, pooled)
    judged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema)) if config.ema else network
    following = scheduler(optimizer, config, len(_batches(train_rows, config)))
    order = generator(trial.seed, ORDER, torch.device("cpu"))
    images, labels = _normalised(floats(data, data.inputs), train_rows, config), data.targets
    images = images.view(-1, *input_shape(config, data.shape))
    untrained = _evaluate(network, images[test_rows], labels[test_rows])[1]
    best, lowest, waited = network.state_dict(), math.inf, 0
    while len(history) < config.epochs and (waited < config.patience or not config.validation):
        shuffled = train_rows[torch.randperm(len(train_rows), generator=order)]
        history.append(_epoch(network, judged, optimizer, following, images, labels, shuffled, config))
        state = (judged.module if isinstance(judged, AveragedModel) else network).state_dict()
        if not config.validation:
            best = copy.deepcopy(state)
            continue
        val_loss, val_accuracy = _evaluate(judged, images[val_rows], labels[val_rows])
        history[-1] |= {"val_loss": val_loss, "val_accuracy": val_accuracy}
        waited += 1
        if val_loss < lowest:
            best, lowest, waited = copy.deepcopy(state), val_loss, 0
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


def _batches(rows: torch.Tensor, config: Config) -> list[torch.Tensor]:
    """The rows of each step."""
    size = config.batch_size * config.accumulate
    return [step for step in rows.split(size) if len(step) == size or not config.drop_last]


def _epoch(
    network: nn.Module,
    judged: nn.Module,
    optimizer: torch.optim.Optimizer,
    following: lr_scheduler.LRScheduler,
    images: torch.Tensor,
    labels: torch.Tensor,
    rows: torch.Tensor,
    config: Config,
) -> dict[str, float]:
    network.train()
    total, hits, rate, seen = 0.0, 0, 0.0, 0
    for step in _batches(rows, config):
        optimizer.zero_grad()
        for batch in step.split(config.batch_size):
            logits = network(images[batch])
            loss = F.cross_entropy(logits, labels[batch])
            (loss * len(batch) / len(step)).backward()
            total += loss.item() * len(batch)
            hits += int((logits.argmax(1) == labels[batch]).sum())
            seen += len(batch)
        _limited_step(network, optimizer, config)
        if isinstance(judged, AveragedModel):
            judged.update_parameters(network)
        rate = float(optimizer.param_groups[0]["lr"])
        if config.schedule_every == "step":
            following.step()
    if config.schedule_every == "epoch":
        following.step()
    moving = {} if config.schedule == "constant" and not config.warmup else {"learning_rate": rate}
    return {"train_loss": total / seen, "train_accuracy": hits / seen, **moving}


def _limited_step(network: nn.Module, optimizer: torch.optim.Optimizer, config: Config) -> None:
    if config.clip_norm:
        nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
    if config.clip_value:
        nn.utils.clip_grad_value_(network.parameters(), config.clip_value)
    optimizer.step()
    with torch.no_grad():
        for weight in network.parameters() if config.max_norm else ():
            if weight.dim() > 1:
                weight.copy_(torch.renorm(weight, 2, 0, config.max_norm))


@torch.no_grad()
def _evaluate(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    network.eval()
    logits = network(images)
    return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()
