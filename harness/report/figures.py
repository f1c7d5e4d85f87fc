"""Which pictures a report has, with their captions; each is left out where there is nothing to see."""

from dataclasses import dataclass

import pandas as pd

from harness import analysis, plots
from harness.analysis.results import Results
from harness.catalogue import Value
from harness.plots.classes import confusion_figure, mistakes_figure, probabilities_figure
from harness.plots.comparison import Figure
from harness.plots.search import importance_figure, slice_figure, timeline_figure, tuning_figure
from harness.report.escape import figure
from harness.study.space import Choice, Range


@dataclass(frozen=True)
class Picture:
    """A figure, and what it shows in words: its caption, and what a reader is told who cannot see it."""

    picture: Figure
    caption: str


def make_figures(results: Results, table: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, Picture]:
    """The pictures of the page, by their file names. `table` and `pairs` are the compare table and the paired table."""
    study, label = results.study, figure(results.study.label)
    names = [study.level_name(level) for level in study.levels]
    seeds = analysis.finished(results.runs)[["level", "test_accuracy"]]
    axis = study.axis.replace("_", " ")
    figures = {
        f"accuracy_vs_{study.axis}": Picture(
            plots.accuracy_figure(table, seeds, study.axis, f"{label}: accuracy"),
            f"Mean accuracy against {axis}; the band is the 95 % interval of the test mean, each dot one seed.",
        ),
        "learning_curves": Picture(
            plots.learning_figure(analysis.learning_table(results), names, f"{label}: loss of the confirmation runs"),
            "Loss per epoch of the confirmation runs, mean and range over seeds, log axis.",
        ),
    }
    if len(pairs) and pairs["n"].max() > 0:
        figures["differences"] = Picture(
            plots.difference_figure(pairs, names, f"{label}: test accuracy, row minus column (points)"),
            "Mean paired differences in test accuracy, row minus column, with 95 % intervals; bold: Holm's p < 0.05.",
        )
    if table["test_accuracy"].notna().any() and len(table) > 1:
        fronts = {cost: analysis.front(table, cost) for cost in ("seconds", "parameters")}
        figures["cost"] = Picture(
            plots.cost_figure(table, fronts, names, f"{label}: what accuracy costs"),
            "Mean test accuracy against training time and number of parameters; dotted: the Pareto front.",
        )
    return figures | _of_classes(results, table, names) | _of_search(results, names)


def _of_classes(results: Results, table: pd.DataFrame, names: list[str]) -> dict[str, Picture]:
    label, figures = figure(results.study.label), {}
    classes = analysis.class_table(results)
    if not classes.empty:
        title = f"{label}: test images of all seeds, by class"
        figures["confusion"] = Picture(
            confusion_figure(classes, names, title),
            "Confusion counts of all seeds: rows true classes, columns predicted; the diagonal shows accuracies.",
        )
    if results.examples:
        best = int(table["test_accuracy"].where(table.index.isin(results.examples)).idxmax())
        shown, name = results.examples[best], names[best]
        figures["mistakes"] = Picture(
            mistakes_figure(shown, f"{label}: the worst mistakes of {name}, first seed"),
            f"The test images that {name} got most wrong in its first seed, worst first.",
        )
        figures["probabilities"] = Picture(
            probabilities_figure(shown[0], f"{label}: {name}, first seed"),
            f"The first test image, of class {shown[0].label}, and the class probabilities that {name} gives it.",
        )
    return figures


def _of_search(results: Results, names: list[str]) -> dict[str, Picture]:
    study, label, figures = results.study, figure(results.study.label), {}
    runs = analysis.searched(results)
    if len(runs):
        figures["tuning"] = Picture(
            tuning_figure(analysis.tuning_table(results), names, f"{label}: what the search found"),
            "Best validation accuracy after k search trials.",
        )
    done = runs[runs["status"] == "finished"]
    if len(done):
        scales = {key: _scale(domain) for key, domain in study.tune.items()}
        done = done.copy()
        for key, domain in study.tune.items():  # where a condition does not hold the value means nothing
            for other, wanted in domain.when.items():
                done[key] = done[key].where(done[other] == wanted)
        figures["slices"] = Picture(
            slice_figure(done, scales, names, f"{label}: finished search trials"),
            "Validation accuracy of each finished search trial by its hyperparameters; the worst tenth lies below.",
        )
    importances = analysis.importance_table(results)
    if len(importances):
        figures["importance"] = Picture(
            importance_figure(importances, names, f"{label}: importance of the hyperparameters"),
            "Importance of each hyperparameter within its range (Optuna's PED-ANOVA on the finished trials).",
        )
    timeline = analysis.timeline_table(results)
    if len(timeline):
        figures["timeline"] = Picture(
            timeline_figure(timeline, names, f"{label}: when each trial ran"),
            "Every trial from its start to its end, coloured by what came of it.",
        )
    return figures


def _scale(domain: Choice | Range) -> str | tuple[Value, ...]:
    if isinstance(domain, Choice):
        return domain.values
    return "log" if domain.log else "linear"
