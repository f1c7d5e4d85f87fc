"""Trials, epochs and outcomes in MLflow's terms: metrics, params, artifacts."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import Metric
from safetensors.numpy import save

from harness import catalogue
from harness.catalogue import show
from harness.study.labels import class_names, target_names
from harness.study.study import Study
from harness.tracking.mlflow.views import metric_name
from harness.trial import Epoch, Figures, Level, Outcome, Trial

if TYPE_CHECKING:
    from harness.plots.runs import RunPictures


def milliseconds(seconds: float) -> int:
    """MLflow's time."""
    return round(1000 * seconds)


def epoch_metrics(epoch: Epoch) -> list[Metric]:
    """The figures of one epoch, by their own names; NaN too, where a training diverged. Steps are epochs."""
    now, figures = milliseconds(epoch.time), epoch.figures
    held_out = any(name.startswith("val_") for name in measured(figures))
    known = {name: value for name, value in figures.items() if held_out or not name.startswith("val_")}
    return [Metric(name, value, now, epoch.number) for name, value in known.items()]


def outcome_metrics(outcome: Outcome) -> list[Metric]:
    """Figures of the best epoch, under names of their own: MLflow's table shows a metric's last value.

    Of a trial with folds these are means; those of the first fold are `fold0/val_loss` and so on.
    """
    figures = {name: value for name, value in outcome.figures.items() if name != "train_loss"}  # the epochs' tells more
    known = {**figures, "best_epoch": outcome.best_epoch, "seconds": outcome.seconds, "parameters": outcome.parameters}
    now = milliseconds(outcome.ended)
    named = {metric_name(name): value for name, value in measured(known).items()}
    for number, fold in enumerate(outcome.folds):
        own = {"best_epoch": fold.best_epoch, "seconds": fold.seconds}
        own |= {name: value for name, value in fold.figures.items() if name.startswith("val_")}
        named |= {f"fold{number}/{name}": value for name, value in measured(own).items()}
    return [Metric(name, float(value), now, 0) for name, value in named.items()]


def arrival_metrics(study: Study, trial: Trial, outcome: Outcome) -> list[Metric]:
    """When a confirmation was where the study wants it, if it was: `reached_epoch`."""
    known = (epoch.number for epoch in outcome.history if study.is_there(epoch[f"val_{study.metric}"]))
    first = next(known, None) if trial.stage == "confirm" else None
    return [] if first is None else [Metric("reached_epoch", float(first), milliseconds(outcome.ended), 0)]


def measured(figures: Figures) -> dict[str, float]:
    """Without what was not measured."""
    return {name: value for name, value in figures.items() if value == value}  # NaN is not


def params(trial: Trial) -> dict[str, str]:
    """The trial's hyperparameters and seed; what selects the winner only where that is not the usual one."""
    known = {name: value for name, value in trial.config if value is not None}
    if known.get("metric") == catalogue.task(str(known["task"])).metric:
        del known["metric"]
    return {name: in_full(value) for name, value in {**known, "seed": trial.seed}.items()}


def level_params(study: Study, level: Level) -> dict[str, str]:
    """What all trainings of a compared value have in common: its name, and every setting that it does not search."""
    named = {key: value for key, value in study.values_of(level).items() if key in study.naming}
    space = study.space(level)
    common = {name: value for name, value in study.config(level, {}) if name not in space and value is not None}
    return {name: in_full(value) for name, value in {**named, **common}.items()}


def in_full(value: object) -> str:
    """A setting with all its digits, with which a training can be repeated."""
    return repr(value) if isinstance(value, float) else show(value)


def write_artifacts(folder: Path, study: Study, trial: Trial, outcome: Outcome) -> None:
    """The files that belong to a trial's run; pictures for confirmation runs only."""
    (folder / "study.json").write_text(resolved(study))
    if outcome.history:
        (folder / "history.csv").write_text(_history_csv(outcome.history))
    if outcome.weights is not None:
        (folder / "weights.safetensors").write_bytes(save(dict(outcome.weights)))
    if trial.is_tested and outcome.status == "finished":
        _draw(folder, study, trial, outcome)


def _draw(folder: Path, study: Study, trial: Trial, outcome: Outcome) -> None:
    """Losses, and what the model makes of classes or numbers."""
    draw, title = pictures(), f"{study.level_name(trial.level)}, seed {trial.seed}"
    unit = study.figure("test_loss").unit.symbol
    (folder / "loss_curve.png").write_bytes(draw.loss(_losses(outcome.history), outcome.best_epoch, title, unit))
    if outcome.confusion is not None:
        classes = class_names(study, trial.level, len(outcome.confusion))
        (folder / "confusion_matrix.png").write_bytes(draw.confusion(outcome.confusion, title, classes))
    targets = target_names(study, trial.level, len(outcome.predictions))
    for number, (target, known) in enumerate(zip(targets, outcome.predictions, strict=True), start=1):
        name = "predicted.png" if len(targets) == 1 else f"predicted_{number}.png"
        (folder / name).write_bytes(draw.predicted(known, target, title))


@cache
def pictures() -> "RunPictures":
    """What draws the pictures of confirmation runs; the first time it imports matplotlib, which takes a second."""
    from harness.plots.runs import RunPictures

    return RunPictures()


def resolved(study: Study) -> str:
    """The study as it was run, overrides and defaults included, as JSON."""
    return json.dumps(study.model_dump(mode="json"), indent=2) + "\n"


def digest(folder: Path) -> str:
    """What changes with the name or the bytes of any file in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(folder)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _losses(history: Sequence[Epoch]) -> list[dict[str, float]]:
    return [{"number": epoch.number, **{name: epoch[name] for name in ("train_loss", "val_loss")}} for epoch in history]


def _history_csv(history: Sequence[Epoch]) -> str:
    text = io.StringIO()
    names = tuple(history[0].figures)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", *names, "time"])
    writer.writerows([epoch.number, *(epoch[name] for name in names), epoch.time] for epoch in history)
    return text.getvalue()
