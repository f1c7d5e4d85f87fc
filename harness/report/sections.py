"""What the page says, in order: sections of words, tables and pictures, the same for HTML and Markdown."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from harness.analysis import Findings
from harness.analysis.tables import left_after
from harness.analysis.units import test_images
from harness.catalogue import SHARE, Measure
from harness.errors import listed
from harness.figures import difference, text
from harness.plots import Picture
from harness.report.course import course_grid, course_texts
from harness.report.escape import code
from harness.report.grids import (
    cells_grid,
    classes_grid,
    compare_grid,
    effects_grid,
    gaps_grid,
    measures_grid,
    middles_grid,
    pairs_grid,
    published_grid,
    spread_grid,
    vote_grid,
    winners_grid,
)
from harness.report.methods import methods
from harness.report.mistakes import mistakes_grid, worst_rows
from harness.report.pictures import OF_NUMBERS, means_name
from harness.report.reach import reach_grid, reach_texts
from harness.report.worth import ABLATION, worth_grids, worth_texts
from harness.study.study import Study
from harness.tracking import at_port

WEB = re.compile(r"https?://[^\s()<>\"'`\\]+")  # a journal may come from anybody
PREDICTED = (
    "The prediction intervals hold what repetitions of the published runs would report if they were like those here: "
    "all of them together with 95 %."
)
POOLED = (
    "± is the standard deviation of single runs; where the published one is known, the intervals pool it with that of "
    "the runs here."
)
PAIRS = (
    "Second minus first, {by} that both have. Intervals and p (Holm) are those of all pairs together: an interval "
    "that reaches 0.00 on its near side leaves 0 out. “Better in”: how often a run of the second is better than a run "
    "of the first, ties counted half. “Detectable”: the smallest true difference that would have been found with 80 % "
    "power."
)
ON_NEW = " “On new {things}”: the 95 % interval for other test {things} of their kind, each pair by itself."
AGAINST_BEST = (
    " Of {all:,} pairs the {shown:,} with the best value are shown. Which value that is was seen in the same figures, "
    "so intervals, p (Holm) and “detectable” count all {all:,}."
)
WITHIN = " Pairs are those within a row or a column of the grid; cells that differ in both keys are not tested."
EFFECTS = (
    "A main effect is how far the mean over all cells of a value lies from the mean of all cells; an interaction is "
    "how far a cell lies from what the main effects of its {first} and its {second} add up to. Each is taken within "
    "the {units} that all cells share. All rows are one family (Holm); the two values of a key that has two are each "
    "other's opposite and count once."
)
NOT_ALONE = (
    "An interaction is seen: a main effect is then the mean of effects that differ from cell to cell, and may hold in "
    "none of them."
)
SPREAD = (
    "Standard deviations: of what another search's winner would have measured, of one more training of the same, and "
    "what other test {things} would add to the mean; then their parts of the variance of the mean that is reported."
)
SPREAD_OF_RUNS = (
    "Standard deviations: of what another search's winner would have measured, and of one more training of the same; "
    "then their parts of the variance of the mean that is reported. What other test {things} would change is not known."
)
VOTE = (
    "Every confirmation run of a value votes on the test {things}, one by one; the class with the most votes wins, and "
    "a tie counts as a draw does. The interval (Wilson) is for other test {things} of their kind and the vote of these "
    "very runs: what other runs would say it does not know."
)
OTHERS = (
    "Means of the same runs on the test {things}, with 95 % intervals. None of them took part in choosing a winner."
)
STORE = "The pages of a local store are served by the command harness ui."


@dataclass(frozen=True)
class Section:
    """A part of the page. `grids` are tables that can be sorted, `record` is a list of names and values; what is not
    `shown` is folded.
    """

    title: str
    texts: Sequence[str] = ()
    grids: Sequence[pd.DataFrame] = ()
    pictures: Sequence[tuple[str, str]] = ()  # file names and captions
    after: Sequence[str] = ()  # below the tables
    notes: Sequence[str] = ()  # what to know before believing the rest
    links: Mapping[str, str] = field(default_factory=dict)
    record: Mapping[str, str] = field(default_factory=dict)
    code: str = ""  # a program's text
    shown: bool = True

    @property
    def anchor(self) -> str:
        """What a link to it names."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Page:
    """What the page says: a title with a line below it, the answer, and sections; `label` is the window's title. With
    `running` it is of a study that still runs, says so in these words, and is loaded again every `refresh` seconds.
    """

    label: str
    title: str
    subtitle: str
    answer: str
    sections: Sequence[Section]
    when: str = ""  # on which day it ran, and for how long
    running: str = ""
    refresh: int = 20


Captions = Mapping[str, str]
"""What the pictures of the page show, by their file names."""


def make_sections(findings: Findings, pictures: Mapping[str, Picture]) -> list[Section]:
    """The sections that have something to say."""
    captions = {name: picture.caption for name, picture in pictures.items()}
    return [
        _measured(findings, captions),
        *_published(findings),
        *_believe(findings),
        *_effects(findings, captions),
        *_cell_by_cell(findings),
        *_differences(findings, captions),
        *_spread(findings),
        *_vote(findings),
        Section("Training against test", grids=[gaps_grid(findings)], pictures=_of(captions, "learning_curves")),
        *_course(findings, captions),
        *_reach(findings, captions),
        *_other_measures(findings),
        *_classes(findings, captions),
        *_numbers(findings, captions),
        *_costs(captions),
        *_search(findings, captions),
        *_worth(findings, captions),
        Section(
            "Other middles, and when it ran",
            grids=[middles_grid(findings)],
            pictures=_of(captions, "timeline"),
            shown=False,
        ),
        Section("How it was done", methods(findings.study, findings.results.environment)),
        *_own_model(findings.study),
        *_runs(findings),
        Section("Reproduction record", record=_record(findings), shown=False),
    ]


def _of(captions: Captions, *names: str) -> list[tuple[str, str]]:
    return [(name, captions[name]) for name in names if name in captions]


def _measured(findings: Findings, captions: Captions) -> Section:
    study = findings.study
    return Section(
        "What was measured",
        [] if findings.is_usual and study.task == "classification" else [explained(findings.measure, study.things)],
        [cells_grid(findings) if study.is_grid else compare_grid(findings)],
        _of(captions, "cells", means_name(study)),
        _noise_floor(findings),
    )


def explained(measure: Measure, things: str) -> str:
    """What the figures are where a reader may not expect it."""
    doc = measure.doc.replace("images", things)
    return f"Figures are of the {measure.words}, of which {measure.better} is better: {doc}."


def _noise_floor(findings: Findings) -> list[str]:
    """What the size of the test set alone leaves uncertain, at the best figure."""
    best, measure = findings.best, findings.measure
    if best is None or pd.isna(findings.table["noise_floor"][best]):
        return []
    cells, images = findings.table.loc[best], test_images(findings.results, best)
    mean = text(cells[f"test_{findings.study.metric}"], measure.unit, digits=1)
    return [
        f"Noise floor: measured on {images:,} test {findings.study.things}, one {measure.words} of {mean} has a "
        f"binomial standard error of {difference(cells['noise_floor'], measure.unit)}, whatever the training."
    ]


def _published(findings: Findings) -> Iterator[Section]:
    study = findings.study
    if study.published:
        runs = study.published.runs
        how_many = "one run" if runs == 1 else f"the mean of {runs} runs"
        texts = [f"Published: {study.published.source}. Each figure is {how_many}. {PREDICTED}"]
        texts += [POOLED] if findings.published["deviation"].notna().any() else []
        if left := left_after(study.published, findings.published):
            texts.append(f"What was published after {listed(left)} epochs is left out: no training here takes so many.")
        after = [f"Note: {study.note}"] if study.note else []
        grids = [published_grid(findings)] if len(findings.published) else []
        yield Section("Published and measured", texts, grids, after=after)
    elif study.note:
        yield Section("Note", [study.note])


def _believe(findings: Findings) -> Iterator[Section]:
    if findings.flags:
        yield Section("Before you believe it", notes=findings.flags)


def _differences(findings: Findings, captions: Captions) -> Iterator[Section]:
    if len(findings.pairs):
        said = PAIRS.format(by="search by search, over those" if findings.study.searches > 1 else "over the seeds")
        said += WITHIN if findings.study.is_grid else ""
        if len(findings.pairs) < findings.tested_pairs:
            said += AGAINST_BEST.format(shown=len(findings.pairs), all=findings.tested_pairs)
        new = ON_NEW.format(things=findings.study.things) if findings.pairs["new_low"].notna().any() else ""
        yield Section("Differences", [said + new], [pairs_grid(findings)], _of(captions, "differences"))


def _effects(findings: Findings, captions: Captions) -> Iterator[Section]:
    """What each of two keys does, and whether they act on each other."""
    study = findings.study
    if not study.is_grid:
        return
    missing = [f"Not every cell was measured: without {listed(findings.left_out)}."] if findings.left_out else []
    if findings.effects.empty:
        missing = [f"No effects can be told: too few cells were measured in the same {findings.unit}."]
    seen = findings.effects.loc[findings.effects["effect"] == "interaction", "p_holm"].min() < 0.05
    said = EFFECTS.format(first=study.axes[0], second=study.axes[1], units=findings.unit)
    texts = [said, *([NOT_ALONE] if seen else []), *missing]
    grids = [effects_grid(findings)] if len(findings.effects) else []
    yield Section("Effects and interaction", texts, grids, _of(captions, "effects"))


def _cell_by_cell(findings: Findings) -> Iterator[Section]:
    """All that was measured of each cell of a grid, where the first table has the means alone."""
    if findings.study.is_grid:
        yield Section("Cell by cell", grids=[compare_grid(findings)])


def _spread(findings: Findings) -> Iterator[Section]:
    """Where the spread comes from, where anything is known of it."""
    known = findings.spread[["search", "seed", "images"]].notna().any()
    if known.any():
        said = (SPREAD if known["images"] else SPREAD_OF_RUNS).format(things=findings.study.things)
        yield Section("Where the spread comes from", [said], [spread_grid(findings)])


def _vote(findings: Findings) -> Iterator[Section]:
    """What a value's runs say together, where their guesses were kept."""
    table, best = findings.vote, findings.best
    if len(table):
        own = table[table["level"] == best]
        said = [
            f"{findings.study.level_name(findings.study.levels[int(cells.level)])}: vote of {cells.runs} runs: "
            f"{text(cells.vote, SHARE)}; single runs: {text(cells.mean, SHARE)} in the mean."
            for cells in own.itertuples()
        ]
        yield Section("All runs together", [*said, VOTE.format(things=findings.study.things)], [vote_grid(findings)])


def _course(findings: Findings, captions: Captions) -> Iterator[Section]:
    """Figures epoch by epoch, where that was asked for."""
    if len(findings.course):
        yield Section("Epoch by epoch", course_texts(findings), [course_grid(findings)], _of(captions, "course"))


def _reach(findings: Findings, captions: Captions) -> Iterator[Section]:
    """How soon the runs were where the study wants them."""
    if findings.study.reach is not None:
        yield Section("Time to target", reach_texts(findings), [reach_grid(findings)], _of(captions, "reach"))


def _other_measures(findings: Findings) -> Iterator[Section]:
    grid = measures_grid(findings)
    if len(grid):
        yield Section("Other measures", [OTHERS.format(things=findings.study.things)], [grid])


def _classes(findings: Findings, captions: Captions) -> Iterator[Section]:
    if "confusion" in captions:
        shown = _of(captions, "confusion", "mistakes", "probabilities")
        yield Section("Class by class", grids=[classes_grid(findings)], pictures=shown)
        yield from _worst(findings)


def _numbers(findings: Findings, captions: Captions) -> Iterator[Section]:
    """What a regression's models said."""
    shown = [one for name in captions if name.startswith(OF_NUMBERS) for one in _of(captions, name)]
    if shown:
        yield Section("Predicted and true", pictures=[*shown, *_of(captions, "mistakes")])
        yield from _worst(findings)


def _worst(findings: Findings) -> Iterator[Section]:
    """The worst mistakes of the best value's first seed, where they are rows."""
    if worst := worst_rows(findings):
        grid = mistakes_grid(worst)
        yield Section("The worst mistakes", [worst.words], [grid] if len(grid) else [])


def _costs(captions: Captions) -> Iterator[Section]:
    if "cost" in captions:
        yield Section("What it costs", pictures=_of(captions, "cost"))


def _search(findings: Findings, captions: Captions) -> Iterator[Section]:
    if findings.study.is_searched:
        shown = _of(captions, "tuning", "slices", "importance")
        yield Section("The search", [_chose(findings)], [winners_grid(findings)], shown, after=_luck(findings))


def _chose(findings: Findings) -> str:
    if findings.study.searches == 1:
        return "What the search chose for each compared value."
    return (
        "What the searches chose for each compared value: a number's range over the winners, or each choice and how "
        "often it was made."
    )


def _luck(findings: Findings) -> list[str]:
    """How often a search could as well have found another winner, and whether its hyperparameters mattered."""
    said, noise, held_out = [], findings.luck, f"on the validation {findings.study.things}"
    if noise:
        close, all_ = (sum(getattr(one, name) for one in noise.values()) for name in ("within", "searches"))
        said.append(
            f"In {close} of {all_} searches the second best trial lay within one standard error of the winner, "
            f"{'fold by fold' if findings.study.search.folds > 1 else held_out}: which of them won "
            "was luck."
        )
    study, relevant = findings.study, findings.relevance[findings.relevance["matters"]]
    idle = [key for key in study.tuned if key not in set(relevant["hyperparameter"])]
    if idle and len(findings.relevance):
        said.append(f"No effect of {listed(idle)} was seen (Kruskal-Wallis, Bonferroni-corrected).")
    return said


def _worth(findings: Findings, captions: Captions) -> Iterator[Section]:
    if texts := worth_texts(findings):
        after = [ABLATION.format(things=findings.study.things)] if "ablation" in captions else []
        yield Section("What tuning was worth", texts, worth_grids(findings), _of(captions, "ablation"), after)


def _runs(findings: Findings) -> Iterator[Section]:
    links = {name: at_port(link) for name, link in findings.results.links.items() if WEB.fullmatch(link)}
    if links:
        yield Section("The runs in MLflow", [STORE], links=links)


def _own_model(study: Study) -> Iterator[Section]:
    """What was trained, where a user wrote it."""
    if own := study.own:
        said = f"The text of {own.file}, sha256 {own.sha256}, of which {own.class_name} was trained."
        yield Section(f"The model {own.class_name}", [said], code=code(own.source), shown=False)


def _record(findings: Findings) -> dict[str, str]:
    return {name: str(value) for name, value in findings.results.environment.items()}
