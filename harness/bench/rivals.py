"""What people use today, written as their own documentation shows it, with what costs nothing done well.

Tensors are made once, nothing draws progress bars. Each prepares (imports, stores, data) and returns what is timed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.bench.plain import evaluate_loader, network_of, optimizer_of, parts_of, train_plainly
from harness.bench.work import Work
from harness.parts.data import Data, load

Timed = Callable[[], list[float]]
STORE = "sqlite:///mlflow.db"


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
        parts = [TensorDataset(*part) for part in parts_of(work, data, seed)]
        torch.manual_seed(seed)
        train, val, test = (DataLoader(part, work.batch_size, shuffle=k == 0) for k, part in enumerate(parts))
        network = network_of(work, depth, seed, data).to(device)
        optimizer = optimizer_of(work.config(depth), network)
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
                val_loss, val_accuracy = evaluate_loader(network, val, device)
                mlflow.log_metric("train_loss", total / len(parts[0]), step=epoch)
                mlflow.log_metric("val_loss", val_loss, step=epoch)
                mlflow.log_metric("val_accuracy", val_accuracy, step=epoch)
            found.append(evaluate_loader(network, test, device)[1])
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
            return optimizer_of(work.config(work.depths[0]), self)

    def objective(trial: optuna.Trial) -> float:
        depth = trial.suggest_categorical("depth", grid["depth"])
        seed = trial.suggest_categorical("seed", grid["seed"])
        pl.seed_everything(seed, verbose=False)
        parts = [TensorDataset(*part) for part in parts_of(work, data, seed)]
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
        module = Module(network_of(work, depth, seed, data))
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


def _train_for_ray(
    work: Work, depth: int, seed: int, data: Data, device: torch.device, report: Callable[[dict[str, float]], None]
) -> None:
    torch.set_num_threads(1)  # Ray runs a trial on each core
    on_device = data.to(device)
    train_plainly(work, depth, seed, on_device, report)


def scikit_learn(work: Work, device: torch.device) -> Timed:
    """scikit-learn's MLPClassifier and MLPRegressor, for as many epochs, on the rows that the others see."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    data = load(work.dataset, "cpu")
    kind = MLPClassifier if data.classes else MLPRegressor
    fixed: dict[str, Any] = {
        "solver": work.optimizer,
        "learning_rate_init": work.lr,
        "batch_size": work.batch_size,
        "max_iter": work.epochs,
        "alpha": 0.0,
        "tol": 0.0,
        "n_iter_no_change": work.epochs + 1,
    }

    def run() -> list[float]:
        found = []
        for depth in work.depths:
            for seed in range(work.seeds):
                (x, y), _, (test_x, test_y) = ([part.numpy() for part in one] for one in parts_of(work, data, seed))
                model = kind(hidden_layer_sizes=(work.width,) * (depth - 1), random_state=seed, **fixed)
                found.append(float(model.fit(x, y.squeeze()).score(test_x, test_y)))  # accuracy, or R2
        return found

    return run
