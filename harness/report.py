"""Writes `reports/<name>/` from a journal: tables, figures, one page. Knows neither torch nor MLflow.

python -m harness.report studies/depth
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from harness import plots, stats
from harness.search.results import Results, read_results
from harness.study import Choice, Range, Study, show
from harness.trial import Config, UserError

PERCENT = ("search_val_accuracy", "val_accuracy", "test_accuracy", "train_accuracy", "published_test_accuracy")
HEADINGS = {
    "trials": "trials",
    "pruned": "pruned",
    "failed": "failed",
    "seeds": "seeds",
    "val_accuracy": "validation %",
    "test_accuracy": "test %",
    "interval": "95 % interval",
    "train_accuracy": "train %",
    "published_test_accuracy": "published test %",
    "epochs": "epochs",
    "seconds": "seconds",
    "parameters": "parameters",
}


def write(results: Results, folder: Path) -> Path:
    """Write the report into `folder`, which is returned."""
    study = results.study
    table = stats.compare_table(results)
    figures = {
        f"accuracy_vs_{study.axis}": plots.accuracy_figure(
            table, stats.finished(results.runs)[["level", "test_accuracy"]], study.axis, f"{study.label}: accuracy"
        ),
        "learning_curves": plots.learning_figure(
            stats.learning_table(results),
            [study.level_name(level) for level in study.levels],
            f"{study.label}: loss of the confirmation runs",
        ),
    }
    try:
        for name, figure in figures.items():
            plots.save(figure, folder / "plots" / name)
        _write_tables(table, results, folder / "tables")
        content = _content(results, table, list(figures))
        for name in ("report.html", "report.md"):
            (folder / name).write_text(_render(name, folder, content), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written: {error.strerror or error}") from error
    return folder


def report_study(study: Study, folder: Path) -> Path:
    """Read the journal of the study in `folder` and write its report, which goes to `reports/<label>`.

    Words and published figures are the study file's present ones; what was run is what the journal says.
    """
    journal = folder / study.journal
    others = [p for p in folder.glob("journal-*.log") if ".old" not in p.name]
    if not journal.exists() and len(others) == 1:
        [journal] = others  # the study ran on another data set only
    results = read_results(journal)
    if study.levels == results.study.levels:
        words = {"question": study.question, "note": study.note, "published": study.published}
        results = replace(results, study=results.study.model_copy(update=words))
    return write(results, Path("reports") / results.study.label)


def headline(results: Results) -> dict[str, dict[str, float]]:
    """The mean figures of each level, by its name, under the names that its runs use; only what was measured."""
    names = {
        "best/val_accuracy": "val_accuracy",
        "test/accuracy": "test_accuracy",
        "test/accuracy_low": "test_accuracy_low",
        "test/accuracy_high": "test_accuracy_high",
        "parameters": "parameters",
    }
    rows = stats.compare_table(results).to_dict("records")
    return {
        results.study.level_name(level): {new: float(row[old]) for new, old in names.items() if pd.notna(row[old])}
        for level, row in zip(results.study.levels, rows, strict=True)
    }


def _write_tables(table: pd.DataFrame, results: Results, folder: Path) -> None:
    study = results.study
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "compare.csv", index=False, float_format="%.6g")
    stats.paired_table(results).to_csv(folder / "pairs.csv", index=False, float_format="%.6g")
    _write_latex(display_table(table, study), folder / "compare.tex", f"{study.label}: means over seeds.")
    if study.published:
        stats.published_table(results).to_csv(folder / "published.csv", index=False, float_format="%.6g")
    if study.tune:
        _write_latex(winners_table(table, study), folder / "winners.tex", f"{study.label}: what the search chose.")


def _write_latex(table: pd.DataFrame, path: Path, caption: str) -> None:
    """A booktabs table; whatever came from the study file is escaped."""
    style = table.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis="columns")
    label = f"tab:{path.parent.parent.name}-{path.stem}"
    path.write_text(style.to_latex(hrules=True, caption=caption.replace("_", r"\_"), label=label), encoding="utf-8")


def display_table(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The compare table as people read it: percentages, an interval in one cell, a dash where nothing was measured."""
    rows = []
    for row in table.to_dict("records"):
        cells = {study.axis: str(row[study.axis])}
        for key, heading in HEADINGS.items():
            if key in ("published_test_accuracy", "val_accuracy") and table[key].isna().all():
                continue
            if key in ("trials", "pruned", "failed") and not study.tune:
                continue
            cells[heading] = _cell(key, row)
        rows.append(cells)
    return pd.DataFrame(rows)


def winners_table(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """What the search chose for each compared value; a dash where a `when` says that it does not matter."""
    rows = [{key: str(row[key]) or "–" for key in (study.axis, *study.tune)} for row in table.to_dict("records")]
    return pd.DataFrame(rows, columns=[study.axis, *study.tune])


def _cell(key: str, row: Mapping[str, Any]) -> str:
    if key == "interval":
        low, high = row["test_accuracy_low"], row["test_accuracy_high"]
        return "–" if math.isnan(low) else f"{100 * low:.2f} to {100 * high:.2f}"
    value = row[key]
    if pd.isna(value):
        return "–"
    if key in PERCENT:
        return f"{100 * value:.2f}"
    if key == "seconds":
        return f"{value:.1f}" if value >= 1 else f"{value:.2f}"
    return f"{value:.1f}" if key == "epochs" else f"{int(value):,}"


def _content(results: Results, table: pd.DataFrame, figures: list[str]) -> dict[str, Any]:
    study = results.study
    pairs = stats.paired_table(results)
    return {
        "study": study,
        "answer": stats.answer(results),
        "caveats": stats.caveats(results),
        "compare": _grid(display_table(table, study)),
        "winners": _grid(winners_table(table, study)) if study.tune else None,
        "pairs": _grid(pd.DataFrame([_pair(study, row) for row in pairs.to_dict("records")])) if len(pairs) else None,
        "published": _grid(published_grid(results)) if study.published else None,
        "figures": [(name, f"{study.label}: {name.replace('_', ' ')}") for name in figures],
        "methods": methods(study, table),
        "environment": results.environment,
    }


def published_grid(results: Results) -> pd.DataFrame:
    """Published and measured figures as people read them."""
    study, rows = results.study, []
    for row in stats.published_table(results).to_dict("records"):
        name = row["figure"]
        interval = "–" if math.isnan(row["low"]) else f"{_figure(name, row['low'])} to {_figure(name, row['high'])}"
        rows.append(
            {
                study.axis: show(study.levels[row["level"]]),
                "figure": name.replace("_", " ") + (" %" if name.endswith("accuracy") else ""),
                "published": _figure(name, row["published"]),
                "measured mean": "–" if math.isnan(row["mean"]) else _figure(name, row["mean"]),
                "95 % interval": interval,
                "n": str(row["n"]),
                "measured is": row["verdict"],
            }
        )
    return pd.DataFrame(rows)


def _figure(name: str, value: float) -> str:
    if name.endswith("accuracy"):
        return f"{100 * value:.2f}"
    return f"{value:.4f}" if name.endswith("loss") else f"{value:.1f}"


def _grid(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and rows, as the templates want them."""
    return list(table.columns), table.to_numpy().tolist()


def _pair(study: Study, row: Mapping[str, Any]) -> dict[str, str]:
    first, second = (show(study.levels[int(row[side])]) for side in ("first", "second"))
    interval = "–" if math.isnan(row["low"]) else f"{100 * row['low']:+.2f} to {100 * row['high']:+.2f}"
    return {
        study.axis: f"{second} − {first}",
        "n": str(row["n"]),
        "mean difference (points)": f"{100 * row['difference']:+.2f}",
        "95 % interval": interval,
        "p (Holm)": f"{row['p_holm']:.3g}",
    }


def methods(study: Study, table: pd.DataFrame) -> list[str]:
    """How it was done, in sentences made from the study file."""
    axis, budget = study.axis.replace("_", " "), study.budget
    config = study.config(study.levels[0], {})
    fixed = ", ".join(f"{key} = {show(value)}" for key, value in study.fixed.items()) or "nothing beyond the defaults"
    texts = [f"The data set is {study.dataset}, the model {study.model}; fixed: {fixed}. {_images(config)}"]
    if study.tune:
        texts.append(
            f"For each {axis} a search of its own: {budget.trials} trials by Optuna's {study.search.sampler} sampler "
            f"(seed {study.search.seed}, the same for all) with the {study.search.pruner} pruner, over "
            + "; ".join(f"{key} {describe(domain)}" for key, domain in study.tune.items())
            + ". Search trials see training and validation images only."
        )
        texts.append("The winner is the finished trial with the highest validation accuracy (ties: the lower loss).")
    texts.append(_stopping(config))
    texts.append(
        f"Each {axis} is then trained with {budget.seeds} fresh seeds, the same for all; split, initialisation, order "
        "and dropout vary with the seed. Only these runs read the test images, before and after training. All figures "
        "above are their means."
    )
    texts.append(
        "Intervals are 95 % BCa bootstrap intervals of the mean over seeds. Differences are taken seed by seed; "
        "p-values are exact Wilcoxon signed-rank, Holm-corrected for all pairs."
    )
    return texts


def _images(config: Config) -> str:
    """Which images are trained on, held out and tested on, and what becomes of their pixels."""
    texts = []
    if config.split == "pooled":
        texts.append(f"Each seed draws {100 * config.test_fraction:.3g} % of all images anew as its test images.")
    if config.validation:
        texts.append(f"{100 * config.validation:.3g} % of the training images are held out for validation.")
    else:
        texts.append("All training images are trained on; nothing is held out for validation.")
    pixels = {
        "scale": "are scaled to [0, 1]",
        "half": "are scaled to [0, 1], less 0.5, over 0.5",
        "standard": "are normalised to mean 0 and deviation 1 over the training images",
    }
    return " ".join([*texts, f"Pixels {pixels[config.normalisation]}."])


def _stopping(config: Config) -> str:
    if not config.validation:
        return f"Every training takes {config.epochs} epochs; the weights of the last one are measured."
    return (
        f"Training stops after {config.patience} epochs without a lower validation loss, at epoch {config.epochs} at "
        "the latest; the weights of the lowest validation loss are kept and measured."
    )


def describe(domain: Choice | Range) -> str:
    """A tuned hyperparameter's domain in words."""
    when = " and ".join(f"{key} is {show(value)}" for key, value in domain.when.items())
    if isinstance(domain, Choice):
        text = "one of " + ", ".join(show(value) for value in domain.values)
    else:
        step = f" in steps of {show(domain.step)}" if domain.step is not None else ""
        text = f"from {show(domain.low)} to {show(domain.high)}{step}{' (log scale)' if domain.log else ''}"
    return f"{text} if {when}" if when else text


def _render(name: str, folder: Path, content: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("harness"),
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    pictures = {figure: _data_uri(folder / "plots" / f"{figure}.png") for figure, _ in content["figures"]}
    return environment.get_template(f"{name}.j2").render(**content, pictures=pictures)


def _data_uri(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()


if __name__ == "__main__":
    import sys

    from harness.__main__ import one_line, report_app

    sys.exit(one_line(report_app, sys.argv[1:]))
