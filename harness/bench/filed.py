"""A study file as a work of the benchmark: its values, with as many seeds, and nothing searched.

    harness bench --works studies/mine

What it tunes has the defaults, or what of the space lies nearest; nothing stops early, so that all do the same.
The bare loop has torch's own optimizer with its learning rate, momentum and weight decay, and the task's own loss.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from harness import catalogue
from harness.bench.work import WORKS, Work
from harness.config import Config
from harness.errors import UserError, listed
from harness.loading import load_study
from harness.parts.data import Data
from harness.study.file import read_study
from harness.study.study import Budget, Study

NETWORK = (
    *("depth", "width", "taper", "widths", "activation", "dropout", "input_dropout", "norm", "residual"),
    *("initialisation", "channels", "kernel", "pool", "convs_per_pool", "stride", "padding", "global_pool"),
)
BARE = {
    *("dataset", "task", "model", "metric", *NETWORK, "normalisation", "scaling", "stratify", "validation"),
    *("optimizer", "lr", "momentum", "weight_decay", "batch_size", "epochs", "patience"),
}
"""The hyperparameters that the bare loop has too."""

FILES = {"cnn": Path(__file__).parent / "cnn" / "study.toml"}
"""Works that are written as studies."""


@dataclass(frozen=True)
class FiledWork(Work):
    """A work whose study is in a file; `depths` are its values, whatever they are of."""

    def study(self) -> Study:
        """The study, settled for its data; nothing is searched and nothing stops early."""
        return settled(self.file, torch.device("cpu"))[0]

    def config(self, depth: object) -> Config:
        """What a value is trained with."""
        return self.study().config(depth, {})  # type: ignore[arg-type]

    def load(self, device: torch.device | str) -> Data:
        """The study's data."""
        return settled(self.file, torch.device(device))[1]


def work_of(name: str) -> Work:
    """The work of that name, or of a study file."""
    if name in FILES:
        return replace(work_of_file(str(FILES[name])), name=name, what="the published CNN on MNIST, one epoch, 2 seeds")
    return WORKS[name] if name in WORKS else work_of_file(name)


def work_of_file(file: str) -> FiledWork:
    """The work of a study file. Raises UserError where the bare loop cannot do what it asks for."""
    study, data = settled(file, torch.device("cpu"))
    configs = [study.config(level, {}) for level in study.levels]
    plain = {name: one.default for name, one in catalogue.knobs().items() if name not in BARE}
    for config in configs:
        if lacking := [name for name, default in plain.items() if config[name] != default]:
            raise UserError(f"--works {file}: the bare loop does not have {listed(lacking)}, so there is no comparison")
    first = configs[0]
    return FiledWork(
        name=str(Path(file)),
        what=f"{file}: {study.axis}, {study.budget.seeds} seeds of each value, on {data.name}",
        dataset=data.name,
        width=0,
        batch_size=int(first.batch_size),
        epochs=int(first.epochs),
        seeds=study.budget.seeds,
        depths=study.levels,
        contenders="aefgi",
        file=str(Path(file).resolve()),
    )


@cache
def settled(file: str, device: torch.device) -> tuple[Study, Data]:
    """The study in a file and its data; what is tuned is fixed."""
    path = Path(file)
    asked = read_study(path)
    study, data = load_study(asked, path.parent, device, lambda line: None)
    if len(data) > 1:
        raise UserError(f"--works {file}: is on {len(data)} data sets, and must be on one")
    points = [study.default_point(level) or {} for level in study.levels]
    if any(point != points[0] for point in points) or study.variants:
        raise UserError(f"--works {file}: its values have spaces of their own; a work has one recipe for all")
    config = study.config(study.levels[0], points[0])
    fixed = {**study.fixed, **points[0], "patience": int(config.epochs) + 1}
    budget = Budget(seeds=study.budget.seeds)
    return study.model_copy(update={"tune": {}, "fixed": fixed, "budget": budget}), next(iter(data.values()))
