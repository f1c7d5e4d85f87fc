"""Trials, epochs and outcomes in MLflow's terms: keys, metrics, artifacts."""

import csv
import io
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import Metric
from safetensors.numpy import save

from harness.study.study import Study
from harness.trial import Epoch, Outcome, Trial

if TYPE_CHECKING:
    from harness.plots.runs import RunPictures


def run_name(study: Study, trial: Trial) -> str:
    """A trial as people read it: "depth=3 trial 12" or "depth=3 seed 4"."""
    return study.run_name(trial)


def milliseconds(seconds: float) -> int:
    """MLflow's time."""
    return round(1000 * seconds)


def epoch_metrics(epoch: Epoch) -> list[Metric]:
    """The figures of one epoch; steps are epochs."""
    now = milliseconds(epoch.time)
    names: tuple[str, ...] = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    if epoch.val_accuracy != epoch.val_accuracy:  # NaN: nothing was held out
        names = names[:2]
    return [Metric(name, getattr(epoch, name), now, epoch.number) for name in names]


def outcome_metrics(outcome: Outcome) -> list[Metric]:
    """Figures of the best epoch, under names of their own: MLflow's table shows a metric's last value."""
    figures = {
        "best/val_accuracy": outcome.val_accuracy,
        "best/val_loss": outcome.val_loss,
        "best/train_accuracy": outcome.train_accuracy,
        "best/epoch": float(outcome.best_epoch),
        "test/accuracy": outcome.test_accuracy,
        "test/loss": outcome.test_loss,
        "test/untrained_accuracy": outcome.untrained_accuracy,
        "seconds": outcome.seconds,
        "parameters": float(outcome.parameters),
    }
    now = milliseconds(outcome.ended)
    return [Metric(name, value, now, 0) for name, value in figures.items() if value == value]  # NaN: not measured


def write_artifacts(folder: Path, study: Study, trial: Trial, outcome: Outcome) -> None:
    """The files that belong to a trial's run; pictures for confirmation runs only."""
    (folder / "study.json").write_text(resolved(study))
    if outcome.history:
        (folder / "history.csv").write_text(_history_csv(outcome))
    if outcome.weights is not None:
        (folder / "weights.safetensors").write_bytes(save(dict(outcome.weights)))
    if outcome.confusion is not None:
        draw = pictures()
        title = f"{study.level_name(trial.level)}, seed {trial.seed}"
        history = [asdict(epoch) for epoch in outcome.history]
        (folder / "loss_curve.png").write_bytes(draw.loss(history, outcome.best_epoch, title))
        (folder / "confusion_matrix.png").write_bytes(draw.confusion(outcome.confusion, title))


@cache
def pictures() -> "RunPictures":
    """What draws the pictures of confirmation runs."""
    from harness.plots.runs import RunPictures

    return RunPictures()


def resolved(study: Study) -> str:
    """The study as it was run, overrides and defaults included, as JSON."""
    return json.dumps(study.model_dump(mode="json"), indent=2) + "\n"


def _history_csv(outcome: Outcome) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(asdict(outcome.history[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in outcome.history)
    return text.getvalue()
