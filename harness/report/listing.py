"""All studies with their state, progress and best value: `harness list`."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from harness import analysis
from harness.analysis.results import Results
from harness.errors import UserError
from harness.journal.file import holder
from harness.report.write import results_of
from harness.study.file import read_study
from harness.study.study import Study

HEADINGS = ("study", "data", "compares", "state", "search", "seeds", "best", "test accuracy")


def list_studies(folder: Path) -> Iterator[tuple[str, ...]]:
    """A row of `HEADINGS` for each study in the folder, and for each data set that it ran on."""
    for file in sorted(folder.glob("*/study.toml")):
        try:
            study = read_study(file.parent)
        except UserError as error:
            yield (file.parent.name, "", "", str(error), "", "", "", "")
            continue
        journals = sorted(p for p in file.parent.glob("journal*.log") if ".old" not in p.name)
        if not journals:
            yield (study.name, ", ".join(study.datasets), study.axis, "never ran", "", "", "", "")
        for journal in journals:
            yield _row(study, journal)


def _row(study: Study, journal: Path) -> tuple[str, ...]:
    name = journal.stem.removeprefix("journal").removeprefix("-")
    study = study.model_copy(update={"dataset": name or study.written_for})
    running = holder(journal)
    try:
        results = results_of(study, journal.parent)
    except UserError as error:
        return (study.label, study.dataset, study.axis, f"{running} runs it" if running else str(error), "", "", "", "")
    study, table = results.study, analysis.compare_table(results)
    wanted = len(study.levels) * study.budget.trials if study.tune else 0
    done, seeds = int(table["trials"].sum()), int(table["seeds"].sum())
    all_seeds = len(study.levels) * study.budget.seeds
    ended = len(results.runs[(results.runs["stage"] == "confirm") & (results.runs["status"] != "waiting")])
    state = f"{running} runs it" if running else "finished" if (done, ended) >= (wanted, all_seeds) else "stopped"
    searched = f"{done}/{wanted}" if study.tune else "–"
    return (
        *(study.label, ", ".join(study.datasets), study.axis, state, searched, f"{seeds}/{all_seeds}"),
        *_best(results, table),
    )


def _best(results: Results, table: pd.DataFrame) -> tuple[str, str]:
    if table["test_accuracy"].isna().all():
        return "", ""
    best = int(table["test_accuracy"].idxmax())
    return results.study.level_name(results.study.levels[best]), f"{100 * table['test_accuracy'][best]:.2f} %"
