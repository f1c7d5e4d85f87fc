"""What the page says, in order: sections of words, tables and pictures, the same for HTML and Markdown."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from harness import analysis
from harness.analysis.results import Results
from harness.report.figures import Picture
from harness.report.grids import (
    classes_grid,
    display_table,
    gaps_grid,
    pairs_grid,
    published_grid,
    seeds_table,
    winners_table,
)
from harness.report.methods import methods

WEB = re.compile(r"https?://[^\s()<>\"'`\\]+")  # a journal may come from anybody
ONE_RUN = (
    "Each published figure is one run, and one run has no spread: what lies outside the interval may still be luck."
)


@dataclass(frozen=True)
class Section:
    """A part of the page. `grids` are tables that can be sorted, `record` is a list of names and values."""

    title: str
    texts: Sequence[str] = ()
    grids: Sequence[pd.DataFrame] = ()
    figures: Sequence[tuple[str, str]] = ()  # file names and captions
    after: Sequence[str] = ()  # below the tables
    notes: Sequence[str] = ()  # what to know before believing the rest
    links: Mapping[str, str] = field(default_factory=dict)
    record: Mapping[str, str] = field(default_factory=dict)
    shown: bool = True


def make_sections(
    results: Results, table: pd.DataFrame, pairs: pd.DataFrame, figures: Mapping[str, Picture]
) -> list[Section]:
    """The sections that have something to say."""
    study = results.study

    def pictures(*names: str) -> list[tuple[str, str]]:
        return [(name, figures[name].caption) for name in names if name in figures]

    sections = [
        Section(
            "What was measured",
            grids=[display_table(table, study)],
            after=_floor(results, table),
            figures=pictures(f"accuracy_vs_{study.axis}"),
        )
    ]
    if study.published:
        texts = [f"Published: {study.published.source}.", *([ONE_RUN] if study.published.runs == 1 else [])]
        after = [f"Note: {study.note}"] if study.note else []
        sections.append(Section("Published and measured", texts, [published_grid(results)], after=after))
    elif study.note:
        sections.append(Section("Note", [study.note]))
    if flags := analysis.flags(results, table):
        sections.append(Section("Before you believe it", notes=flags))
    if len(pairs):
        texts = [
            "Second minus first, over the seeds that both have. “Better in”: how often a run of the second is better "
            "than a run of the first, ties counted half."
        ]
        sections.append(Section("Differences", texts, [pairs_grid(pairs, study)], pictures("differences")))
    sections.append(
        Section("Training against test", grids=[gaps_grid(results, table)], figures=pictures("learning_curves"))
    )
    if "confusion" in figures:
        shown = pictures("confusion", "mistakes", "probabilities")
        sections.append(Section("Class by class", grids=[classes_grid(results)], figures=shown))
    if "cost" in figures:
        sections.append(Section("What it costs", figures=pictures("cost")))
    if study.tune:
        grids, shown = [winners_table(table, study)], pictures("tuning", "slices", "importance")
        texts = ["What the search chose for each compared value."]
        sections.append(Section("The search", texts, grids, shown))
    seeds = Section("Other middles, and when it ran", grids=[seeds_table(table, study)], figures=pictures("timeline"))
    sections += [seeds, Section("How it was done", methods(study))]
    links = {name: address for name, address in results.links.items() if WEB.fullmatch(address)}
    if links:
        text = "The pages of a local store are served by the command harness ui."
        sections.append(Section("The runs in MLflow", [text], links=links))
    record = {name: str(value) for name, value in results.environment.items()}
    return [*sections, Section("Reproduction record", record=record, shown=False)]


def _floor(results: Results, table: pd.DataFrame) -> list[str]:
    """What the size of the test set alone leaves uncertain, at the best accuracy."""
    if table["noise_floor"].isna().all():
        return []
    best = int(table["test_accuracy"].idxmax())
    row, images = table.loc[best], analysis.test_images(results, best)
    return [
        f"Noise floor: measured on {images:,} test images, one accuracy of {100 * row['test_accuracy']:.1f} % has a "
        f"binomial standard error of {100 * row['noise_floor']:.2f} points, whatever the training."
    ]
