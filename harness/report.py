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
from harness.methods import methods
from harness.plots import Figure
from harness.plots.classes import confusion_figure, mistakes_figure, probabilities_figure
from harness.search.results import Results, read_results
from harness.study import Study, show
from harness.trial import UserError

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
    table = stats.compare_table(results)
    figures = _figures(results, table)
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


def _figures(results: Results, table: pd.DataFrame) -> dict[str, Figure]:
    """The pictures of the page, by their file names."""
    study, label = results.study, results.study.label
    names = [study.level_name(level) for level in study.levels]
    seeds = stats.finished(results.runs)[["level", "test_accuracy"]]
    figures = {
        f"accuracy_vs_{study.axis}": plots.accuracy_figure(table, seeds, study.axis, f"{label}: accuracy"),
        "learning_curves": plots.learning_figure(
            stats.learning_table(results), names, f"{label}: loss of the confirmation runs"
        ),
    }
    classes = stats.class_table(results)
    if not classes.empty:
        figures["confusion"] = confusion_figure(
            classes, names, f"{label}: test images of all seeds; counts, and on the diagonal the share that is right"
        )
    if results.examples:
        best = table["test_accuracy"].where(table.index.isin(results.examples)).idxmax()
        examples = results.examples[best]
        figures["mistakes"] = mistakes_figure(examples, f"{label}: the worst mistakes of {names[best]}, first seed")
        figures["probabilities"] = probabilities_figure(examples[0], f"{label}: {names[best]}, first seed")
    return figures


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
    stats.class_table(results).to_csv(folder / "confusion.csv", index=False, float_format="%.6g")
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
        "methods": methods(study),
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
