"""Several finished studies, or one on several data sets, in one table and plot: `harness compare`."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from harness import analysis, plots
from harness.analysis.results import Results
from harness.analysis.samples import holm, mean_interval, paired_p, probability_of_improvement
from harness.catalogue import show
from harness.errors import UserError
from harness.plots.comparison import studies_figure
from harness.report import escape
from harness.report.grids import interval
from harness.report.page import render
from harness.report.sections import Section
from harness.report.write import results_of, write_latex
from harness.study.study import Study


def find_results(study: Study, folder: Path, dataset: str | None) -> list[Results]:
    """The results of a study: on the data set if one is named, else on every one that it ran on."""
    if dataset is not None:
        return [results_of(study, folder)]
    journals = sorted(p for p in folder.glob("journal*.log") if ".old" not in p.name)
    names = [journal.stem.removeprefix("journal").removeprefix("-") for journal in journals]
    if not names:
        return [results_of(study, folder)]  # tells that it never ran
    ran_on = [study.model_copy(update={"dataset": name or study.written_for}) for name in names]
    return [results_of(one, folder) for one in ran_on]


def compare(several: Sequence[Results], folder: Path) -> Path:
    """Write one table and plot of several studies into `folder`, which is returned."""
    labels = [results.study.label for results in several]
    if len(several) < 2 or len(set(labels)) < len(labels):
        raise UserError(f"compare: needs at least two different studies, got {', '.join(labels)}")
    tables = [analysis.compare_table(results) for results in several]
    if all(table["test_accuracy"].isna().all() for table in tables):
        raise UserError(f"compare: none of {', '.join(labels)} has a finished confirmation run")
    rows = pd.concat([_rows(results, table) for results, table in zip(several, tables, strict=True)], ignore_index=True)
    plain = rows.assign(study=rows["study"].map(escape.figure))
    picture = studies_figure(plain, "Test accuracy of " + " and ".join(map(escape.figure, labels)))
    caption = "Mean test accuracy of each compared value with its 95 % interval."
    pairs = differences(several)
    apart = (
        [] if len(pairs) else ["No value was measured on the same images in two of them: no differences are tested."]
    )
    sections = [Section("What was measured", grids=[_grid(rows)], after=apart, figures=[("studies", caption)])]
    if len(pairs):
        text = (
            "The same value on the same test images in two studies: second minus first, over the seeds that both have; "
            "p-values are exact Wilcoxon signed-rank, Holm-corrected for all rows."
        )
        sections.append(Section("Differences", [text], [_pairs_grid(pairs)]))
    questions = [f"{results.study.label}: {results.study.question}" for results in several if results.study.question]
    sections.append(Section("The studies", notes=[*questions, *_best(several, tables)]))
    try:
        plots.save(picture, folder / "plots" / "studies")
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        rows.to_csv(folder / "tables" / "studies.csv", index=False, float_format="%.6g")
        write_latex(_grid(rows), folder / "tables" / "studies.tex", "Means over seeds.")
        content = {"label": folder.name, "title": " and ".join(labels), "answer": "", "sections": sections}
        content["subtitle"] = "studies compared"
        for name in ("report.html", "report.md"):
            (folder / name).write_text(render(name, folder, content), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written: {error.strerror or error}") from error
    return folder


def _rows(results: Results, table: pd.DataFrame) -> pd.DataFrame:
    study = results.study
    columns = ["seeds", "val_accuracy", "test_accuracy", "test_accuracy_low", "test_accuracy_high", "train_accuracy"]
    kept = table[[*columns, "epochs", "seconds", "parameters"]]
    kept.insert(0, "value", [show(level) for level in study.levels])
    kept.insert(0, "axis", study.axis)
    kept.insert(0, "dataset", [study.config(level, {}).dataset for level in study.levels])
    kept.insert(0, "study", study.label)
    return kept


def differences(several: Sequence[Results]) -> pd.DataFrame:
    """Paired differences between two studies' runs of the same value and seed, where the test images are the same."""
    rows = []
    for one, two in combinations(several, 2):
        same = one.environment.get("data_sha256") == two.environment.get("data_sha256")
        if not same or one.study.axis != two.study.axis:
            continue
        for place, level in enumerate(one.study.levels):
            if level not in two.study.levels:
                continue
            runs = [_tests(one, place), _tests(two, two.study.levels.index(level))]
            gaps = (runs[1] - runs[0]).dropna().to_numpy(float)
            low, high = mean_interval(gaps)
            rows.append(
                {"value": one.study.level_name(level), "first": one.study.label, "second": two.study.label}
                | {"n": len(gaps), "difference": gaps.mean() if len(gaps) else np.nan, "low": low, "high": high}
                | {"improvement": probability_of_improvement(*(run.to_numpy(float) for run in runs))}
                | {"p": paired_p(gaps)}
            )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"].to_numpy(float))) if rows else table


def _tests(results: Results, place: int) -> pd.Series:
    runs = analysis.finished(results.runs)
    return runs[runs["level"] == place].set_index("seed")["test_accuracy"].astype(float)


def _best(several: Sequence[Results], tables: Sequence[pd.DataFrame]) -> list[str]:
    return [
        f"{results.study.label}: {analysis.answer(results, table, analysis.paired_table(results))}"
        for results, table in zip(several, tables, strict=True)
    ]


def _grid(rows: pd.DataFrame) -> pd.DataFrame:
    cells = [
        {
            "study": row["study"],
            "data": row["dataset"],
            "value": f"{row['axis']} = {row['value']}",
            "seeds": str(row["seeds"]),
            "test %": percent(row["test_accuracy"]),
            "95 % interval": interval(row["test_accuracy_low"], row["test_accuracy_high"], "accuracy"),
            "train %": percent(row["train_accuracy"]),
            "parameters": "–" if pd.isna(row["parameters"]) else f"{int(row['parameters']):,}",
        }
        for row in rows.to_dict("records")
    ]
    return pd.DataFrame(cells)


def _pairs_grid(pairs: pd.DataFrame) -> pd.DataFrame:
    cells = [
        {
            "value": row["value"],
            "pair": f"{row['second']} − {row['first']}",
            "n": str(row["n"]),
            "mean difference (points)": percent(row["difference"], "+"),
            "95 % interval": interval(row["low"], row["high"], "accuracy", "+"),
            "p (Holm)": "–" if np.isnan(row["p_holm"]) else f"{row['p_holm']:.3g}",
            "better in": f"{100 * row['improvement']:.0f} %",
        }
        for row in pairs.to_dict("records")
    ]
    return pd.DataFrame(cells)


def percent(share: float, sign: str = "") -> str:
    """A share in percent, or a dash."""
    return "–" if pd.isna(share) else f"{100 * share:{sign}.2f}"
