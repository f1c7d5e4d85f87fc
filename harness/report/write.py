"""Writes `reports/<name>/` from a journal: tables, figures, one page. Knows neither torch nor MLflow.

python -m harness.report.write studies/depth
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from harness import analysis, plots
from harness.analysis.results import Results, read_results
from harness.errors import UserError
from harness.journal.file import find_journal
from harness.report.escape import latex, latex_label
from harness.report.figures import make_figures
from harness.report.grids import display_table, winners_table
from harness.report.page import render
from harness.report.sections import make_sections
from harness.study.places import report_folder
from harness.study.study import Study

WIDE = ["trials", "pruned", "failed", "validation %", "epochs", "seconds"]  # columns that would not fit a printed page

SMALL_TABLE = "\\centering\n\\footnotesize\n\\setlength{\\tabcolsep}{4pt}"


def write(results: Results, folder: Path) -> Path:
    """Write the report into `folder`, which is returned. The same results make the same bytes."""
    table, pairs = analysis.compare_table(results), analysis.paired_table(results)
    figures = make_figures(results, table, pairs)
    study = results.study
    written_for = "" if study.dataset == study.written_for else f" (the study was written for {study.written_for})"
    content = {
        "label": study.label,
        "title": study.question or study.label,
        "subtitle": f"{study.label}, on {' and '.join(study.datasets)}{written_for}, model {study.model}",
        "answer": analysis.answer(results, table, pairs),
        "sections": make_sections(results, table, pairs, figures),
    }
    try:
        for name, figure in figures.items():
            plots.save(figure.picture, folder / "plots" / name)
        _write_tables(results, table, pairs, folder / "tables")
        for name in ("report.html", "report.md"):
            page = render(name, folder, content)
            (folder / name).write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written: {error.strerror or error}") from error
    return folder


def report_study(study: Study, folder: Path) -> Path:
    """Read the journal of the study in `folder` and write its report, which goes to `reports/<label>`."""
    results = results_of(study, folder)
    return write(results, report_folder(results.study.label))


def results_of(study: Study, folder: Path) -> Results:
    """What the journal of the study in `folder` holds.

    Words and published figures are the study file's present ones; what was run is what the journal says.
    """
    results = read_results(find_journal(study, folder))
    if study.levels != results.study.levels:
        return results
    words = {"question": study.question, "note": study.note, "published": study.published}
    return replace(results, study=results.study.model_copy(update=words))


def headline(results: Results) -> dict[str, dict[str, float]]:
    """The mean figures of each level, by its name, under the names that its runs use; only what was measured."""
    names = {
        "best/val_accuracy": "val_accuracy",
        "test/accuracy": "test_accuracy",
        "test/accuracy_low": "test_accuracy_low",
        "test/accuracy_high": "test_accuracy_high",
        "parameters": "parameters",
    }
    rows = analysis.compare_table(results).to_dict("records")
    return {
        results.study.level_name(level): {new: float(row[old]) for new, old in names.items() if pd.notna(row[old])}
        for level, row in zip(results.study.levels, rows, strict=True)
    }


def _write_tables(results: Results, table: pd.DataFrame, pairs: pd.DataFrame, folder: Path) -> None:
    study = results.study
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"compare": table, "pairs": pairs, "confusion": analysis.class_table(results)}
    tables["gaps"] = analysis.gap_table(results)
    if study.published:
        tables["published"] = analysis.published_table(results)
    if study.tune:
        tables |= {"tuning": analysis.tuning_table(results), "importance": analysis.importance_table(results)}
    for name, one in tables.items():
        one.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    narrow = display_table(table, study).drop(columns=WIDE, errors="ignore")
    write_latex(narrow, folder / "compare.tex", f"{study.label}: means over seeds.")
    if study.tune:
        write_latex(winners_table(table, study), folder / "winners.tex", f"{study.label}: what the search chose.")


def write_latex(table: pd.DataFrame, path: Path, caption: str) -> None:
    """A booktabs table; whatever came from the study file is escaped."""
    style = table.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis="columns")
    tex = style.to_latex(
        hrules=True,
        caption=latex(caption),
        label="tab:" + latex_label(f"{path.parent.parent.name}-{path.stem}"),
        position_float="centering",
        column_format="l" + "r" * (table.shape[1] - 1),
    )
    path.write_text(tex.replace(r"\centering", SMALL_TABLE, 1), encoding="utf-8")
