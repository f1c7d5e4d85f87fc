"""The contenders of the benchmark: the ways in which people train the same models today, and ours.

Each is a function that prepares everything (imports, stores, data) and returns what is timed; that returns the test
accuracy of every model, so that the table shows that all did the same work. They are written as their own
documentation shows them, with what costs nothing done well: tensors are made once, no progress bars.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.bench.work import Work
from harness.datasets import Data, load
from harness.models import build

Timed = Callable[[], list[float]]
STORE = "sqlite:///mlflow.db"


def bare(work: Work, device: torch.device) -> Timed:
    """A plain torch loop over tensors that lie on the device: no sweep, no tracking, nothing kept."""
    data = load(work.dataset, device)

    def run() -> list[float]:
        return [_train_plainly(work, depth, seed, data)[1] for depth in work.depths for seed in range(work.seeds)]

    return run


def tutorial(work: Work, device: torch.device) -> Timed:
    """Optuna's and MLflow's tutorials together: DataLoader, `mlflow.log_metric` every epoch, SQLite for both."""
    import mlflow
    import optuna
    from torch.utils.data import DataLoader, TensorDataset

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mlflow.set_tracking_uri(STORE)
    mlflow.set_experiment("tutorial")
    grid = {"depth": list(work.depths), "seed": list(range(work.seeds))}
    study = optuna.create_study(
        storage="sqlite:///optuna.db", direction="maximize", sampler=optuna.samplers.GridSampler(grid)
    )
    data = load(work.dataset, "cpu")
    found: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        depth = trial.suggest_categorical("depth", grid["depth"])
        seed = trial.suggest_categorical("seed", grid["seed"])
        parts = [TensorDataset(*part) for part in _parts(data, seed)]
        torch.manual_seed(seed)
        train, val, test = (DataLoader(part, work.batch_size, shuffle=k == 0) for k, part in enumerate(parts))
        network = _network(work, depth, seed, data).to(device)
        optimizer = _optimizer(work, network)
        with mlflow.start_run():
            mlflow.log_params({"depth": depth, "seed": seed, "width": work.width, "lr": work.lr})
            for epoch in range(work.epochs):
                network.train()
                total = 0.0
                for x, y in train:
                    x, y = x.to(device), y.to(device)
                    optimizer.zero_grad()
                    loss = F.cross_entropy(network(x), y)
                    loss.backward()
                    optimizer.step()
                    total += loss.item() * len(y)
                val_loss, val_accuracy = _evaluate_loader(network, val, device)
                mlflow.log_metric("train_loss", total / len(parts[0]), step=epoch)
                mlflow.log_metric("val_loss", val_loss, step=epoch)
                mlflow.log_metric("val_accuracy", val_accuracy, step=epoch)
            found.append(_evaluate_loader(network, test, device)[1])
            mlflow.log_metric("test_accuracy", found[-1])
            torch.save(network.state_dict(), "weights.pt")
            mlflow.log_artifact("weights.pt")
        return val_accuracy

    def run() -> list[float]:
        study.optimize(objective, n_trials=work.trainings)
        return found

    return run


def lightning(work: Work, device: torch.device) -> Timed:
    """Optuna with Lightning's Trainer, its MLFlowLogger and its checkpoint callback."""
    import logging

    import lightning as pl
    import optuna
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import MLFlowLogger
    from torch.utils.data import DataLoader, TensorDataset

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    grid = {"depth": list(work.depths), "seed": list(range(work.seeds))}
    study = optuna.create_study(
        storage="sqlite:///optuna.db", direction="maximize", sampler=optuna.samplers.GridSampler(grid)
    )
    MLFlowLogger("lightning", tracking_uri=STORE).experiment.search_experiments()
    data = load(work.dataset, "cpu")
    found: list[float] = []

    class Module(pl.LightningModule):  # type: ignore[misc]  # no types in lightning's package here
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: Any, index: int) -> Tensor:
            x, y = batch
            loss = F.cross_entropy(self.network(x), y)
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            x, y = batch
            logits = self.network(x)
            self.log("val_loss", F.cross_entropy(logits, y))
            self.log("val_accuracy", (logits.argmax(1) == y).float().mean())

        def test_step(self, batch: Any, index: int) -> None:
            x, y = batch
            self.log("test_accuracy", (self.network(x).argmax(1) == y).float().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return _optimizer(work, self)

    def objective(trial: optuna.Trial) -> float:
        depth = trial.suggest_categorical("depth", grid["depth"])
        seed = trial.suggest_categorical("seed", grid["seed"])
        pl.seed_everything(seed, verbose=False)
        parts = [TensorDataset(*part) for part in _parts(data, seed)]
        train, val, test = (DataLoader(part, work.batch_size, shuffle=k == 0) for k, part in enumerate(parts))
        trainer = pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            max_epochs=work.epochs,
            logger=MLFlowLogger("lightning", tracking_uri=STORE),
            callbacks=[ModelCheckpoint(dirpath=f"checkpoints/{trial.number}", monitor="val_loss")],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        module = Module(_network(work, depth, seed, data))
        trainer.fit(module, train, val)
        accuracy = float(trainer.callback_metrics["val_accuracy"])
        found.append(trainer.test(module, test, verbose=False)[0]["test_accuracy"])
        return accuracy

    def run() -> list[float]:
        study.optimize(objective, n_trials=work.trainings)
        return found

    return run


def ray_tune(work: Work, device: torch.device) -> Timed:
    """Ray Tune with its MLflow callback: as many trials at once as there are cores, or one GPU shared by four."""
    import os

    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    data = ray.put(load(work.dataset, "cpu"))
    uri = f"sqlite:///{Path.cwd()}/mlflow.db"
    callback = MLflowLoggerCallback(tracking_uri=uri, experiment_name="ray")
    callback.setup()

    def train(config: dict[str, Any]) -> None:
        _train_for_ray(work, config["depth"], config["seed"], ray.get(data), device, lambda f: tune.report(f))

    share = {"cpu": 1, "gpu": 0.25} if device.type == "cuda" else {"cpu": 1}
    tuner = tune.Tuner(
        tune.with_resources(train, share),
        param_space={
            "depth": tune.grid_search(list(work.depths)),
            "seed": tune.grid_search(list(range(work.seeds))),
        },
        run_config=tune.RunConfig(name="bench", storage_path=str(Path.cwd() / "ray"), callbacks=[callback], verbose=0),
    )

    def run() -> list[float]:
        results = tuner.fit()
        return [float((result.metrics or {})["test_accuracy"]) for result in results]

    return run


def harness_single(work: Work, device: torch.device) -> Timed:
    """harness, the whole thing: journal, MLflow, artifacts; one training at a time."""
    return _harness(work, device, size=1)


def harness_stacked(work: Work, device: torch.device) -> Timed:
    """harness with stacks."""
    from harness.workers import STACK

    return _harness(work, device, STACK)


def training_alone(work: Work, device: torch.device) -> Timed:
    """The training part of harness with stacks alone: no search, journal, MLflow or artifacts."""
    from harness.trial import Outcome
    from harness.workers import stacks, train_stack

    data, study = load(work.dataset, device), work.study()
    trials = [trial for level in study.levels for trial in study.confirmations(level, {})]

    def run() -> list[float]:
        events = (event for stack in stacks(trials) for _, event in train_stack(stack, data, lambda trial: False))
        return [event.test_accuracy for event in events if isinstance(event, Outcome)]

    return run


def _harness(work: Work, device: torch.device, size: int) -> Timed:
    from harness import environment
    from harness.console import Progress
    from harness.run import Driver
    from harness.search import Search
    from harness.tracking import Tracker

    tracker = Tracker()
    data, study = load(work.dataset, device), work.study()
    facts = environment.describe(data, device)
    search = Search(study, Path("journal.log"), facts)
    tracker.open(study, search.id, facts)
    tracker.drain()

    def run() -> list[float]:
        with tracker:
            Driver(search, tracker, Progress(study, quiet=True), data, size).run()
        assert tracker.failure is None, tracker.failure
        return [outcome.test_accuracy for _, outcome in search.recorded()]

    return run


CONTENDERS: dict[str, Callable[[Work, torch.device], Timed]] = {
    "a": bare,
    "b": tutorial,
    "c": lightning,
    "d": ray_tune,
    "e": harness_single,
    "f": harness_stacked,
    "g": training_alone,
}


def _train_plainly(
    work: Work, depth: int, seed: int, data: Data, report: Callable[[dict[str, float]], None] = lambda figures: None
) -> tuple[float, float]:
    """The bare loop; losses are summed on the device and read once an epoch. Validation and test accuracy."""
    train, val, test = _parts(data, seed)
    network = _network(work, depth, seed, data).to(train[0].device)
    optimizer = _optimizer(work, network)
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
        val_loss, accuracy = _evaluate(network, *val)
        if epoch == work.epochs - 1:
            test_accuracy = _evaluate(network, *test)[1]
        report(
            {
                "train_loss": total.item() / len(train[1]),
                "val_loss": val_loss,
                "val_accuracy": accuracy,
                "test_accuracy": test_accuracy,
            }
        )
    return accuracy, test_accuracy


def _train_for_ray(
    work: Work, depth: int, seed: int, data: Data, device: torch.device, report: Callable[[dict[str, float]], None]
) -> None:
    torch.set_num_threads(1)  # Ray runs a trial on each core
    train, test = data.train.to(device), data.test.to(device)
    on_device = Data(data.name, train, test, data.classes, data.white, data.fingerprint)
    _train_plainly(work, depth, seed, on_device, report)


def _network(work: Work, depth: int, seed: int, data: Data) -> nn.Sequential:
    return build(work.config(depth), data.train.images.shape[1], data.classes, seed)


def _optimizer(work: Work, network: nn.Module) -> torch.optim.Optimizer:
    kind: Any = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[work.optimizer]
    made: torch.optim.Optimizer = kind(network.parameters(), lr=work.lr)
    return made


def _parts(data: Data, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Training, validation and test images as floats, with their labels."""
    train, val = data.split(seed, 0.2)
    images, labels = data.floats(data.train.images), data.train.labels
    return [
        (images[train], labels[train]),
        (images[val], labels[val]),
        (data.floats(data.test.images), data.test.labels),
    ]


@torch.no_grad()
def _evaluate(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    network.eval()
    logits = network(images)
    return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


@torch.no_grad()
def _evaluate_loader(network: nn.Module, loader: Any, device: torch.device) -> tuple[float, float]:
    network.eval()
    loss, hits, images = 0.0, 0, 0
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        logits = network(x)
        loss += F.cross_entropy(logits, y, reduction="sum").item()
        hits += int((logits.argmax(1) == y).sum())
        images += len(y)
    return loss / images, hits / images
