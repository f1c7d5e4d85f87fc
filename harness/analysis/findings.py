"""All that is found out about a study: every table once, the answer, and what to know before believing it.

    findings = find(read_results(journal))
    findings.answer                     # "depth=3 had the highest mean test accuracy, 97.86 % ..."
    findings.table                      # a row per compared value

Report, screen, `harness compare` and `harness list` are views of it. A table is computed when it is first asked for.
"""

from collections.abc import Container
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from harness import catalogue
from harness.analysis import arrival, caveats, course, effects, luck, runs, search, tables, vote, words, worth
from harness.analysis.results import Results
from harness.catalogue import Measure
from harness.study.study import Study


@dataclass(frozen=True)
class Findings:
    """What came of a study; each table is described where it is made."""

    results: Results = field(repr=False)

    @property
    def study(self) -> Study:
        """What was asked."""
        return self.results.study

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per compared value: counts, mean figures, the winner's hyperparameters (`tables.compare_table`)."""
        return tables.compare_table(self.results)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """A row per pair of compared values, of many with the best: their difference (`tables.paired_table`)."""
        return tables.paired_table(self.results)

    @cached_property
    def tested_pairs(self) -> int:
        """How many pairs there are, shown or not: what tests and intervals of `pairs` count."""
        return len(tables.tested_pairs(self.results))

    @cached_property
    def all_pairs(self) -> pd.DataFrame:
        """`pairs` with a row for each pair, however many there are."""
        shown = len(self.pairs) == self.tested_pairs
        return self.pairs if shown else tables.paired_table(self.results, is_whole=True)

    @cached_property
    def effects(self) -> pd.DataFrame:
        """Main effects and interactions, where two keys are compared (`effects.effects_table`)."""
        return effects.effects_table(self.results)

    @cached_property
    def left_out(self) -> list[str]:
        """The values without effects, because a cell of theirs was not measured."""
        return effects.left_out(self.results)

    @cached_property
    def classes(self) -> pd.DataFrame:
        """Confusion counts over all seeds (`tables.class_table`)."""
        return tables.class_table(self.results)

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """How far the test is behind the training (`tables.gap_table`)."""
        return tables.gap_table(self.results)

    @cached_property
    def published(self) -> pd.DataFrame:
        """Published figures with what was measured (`tables.published_table`)."""
        return tables.published_table(self.results)

    @cached_property
    def learning(self) -> pd.DataFrame:
        """Loss by epoch of the confirmation runs (`tables.learning_table`)."""
        return tables.learning_table(self.results)

    @cached_property
    def arrivals(self) -> pd.DataFrame:
        """When each confirmation run had what the study wants (`arrival.arrivals_table`)."""
        return arrival.arrivals_table(self.results)

    @cached_property
    def reach(self) -> pd.DataFrame:
        """When the runs of each compared value did (`arrival.reach_table`)."""
        return arrival.reach_table(self.results, self.arrivals)

    @cached_property
    def share_there(self) -> pd.DataFrame:
        """The share of each value's runs that had reached it, by epoch (`arrival.share_table`)."""
        return arrival.share_table(self.arrivals)

    @cached_property
    def course(self) -> pd.DataFrame:
        """Training and test figures by epoch, where tests were measured after each (`course.course_table`)."""
        return course.course_table(self.results)

    @cached_property
    def measures(self) -> pd.DataFrame:
        """Every measure that was taken on test images, with intervals (`tables.measures_table`)."""
        return tables.measures_table(self.results)

    @property
    def other_measures(self) -> pd.DataFrame:
        """Of `measures` those that no other table is about; empty where nothing else was measured."""
        return self.measures[~self.measures["measure"].isin([self.study.metric, "loss"])]

    @cached_property
    def tuning(self) -> pd.DataFrame:
        """The best after k search trials (`search.tuning_table`)."""
        return search.tuning_table(self.results)

    @cached_property
    def importance(self) -> pd.DataFrame:
        """What each tuned hyperparameter was worth (`search.importance_table`)."""
        return search.importance_table(self.results)

    @cached_property
    def relevance(self) -> pd.DataFrame:
        """Whether a tuned hyperparameter made any difference (`search.relevance_table`)."""
        return search.relevance_table(self.results)

    @cached_property
    def spread(self) -> pd.DataFrame:
        """How the spread divides among search, seed and test images (`tables.spread_table`)."""
        return tables.spread_table(self.results)

    @cached_property
    def vote(self) -> pd.DataFrame:
        """What the runs of each value say together (`vote.vote_table`)."""
        return vote.vote_table(self.results)

    @cached_property
    def luck(self) -> dict[int, luck.Close]:
        """How often the second best trial could as well have won, by level (`luck.noise_of_validation`)."""
        return luck.noise_of_validation(self.results)

    @cached_property
    def worth(self) -> pd.DataFrame:
        """What tuning was worth: the defaults against the winners (`worth.worth_table`)."""
        return worth.worth_table(self.results)

    @cached_property
    def ablation(self) -> pd.DataFrame:
        """What each hyperparameter brought between them (`worth.ablation_table`)."""
        return worth.ablation_table(self.results)

    @cached_property
    def timeline(self) -> pd.DataFrame:
        """When each run was trained (`search.timeline_table`)."""
        return search.timeline_table(self.results)

    @cached_property
    def seeds(self) -> pd.DataFrame:
        """A row per confirmation run (`runs.seeds_table`)."""
        return runs.seeds_table(self.results, self.arrivals)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row per search trial (`runs.trials_table`)."""
        return runs.trials_table(self.results)

    @cached_property
    def best(self) -> int | None:
        """The row of the compared value that did best on the test images; None before anything was measured."""
        return tables.best_row(self.study, self.table)

    def best_among(self, rows: Container[int]) -> int | None:
        """The same of some rows only."""
        return tables.best_row(self.study, self.table[[row in rows for row in self.table.index]])

    @cached_property
    def measure(self) -> Measure:
        """What the study selects by, in a unit with the digits that all its figures have (`tables.with_digits`)."""
        return tables.with_digits(self.study, self.table)

    @property
    def is_usual(self) -> bool:
        """Whether the study leads with its task's own measure, which readers expect and headings need not name."""
        return self.study.metric == catalogue.task(self.study.task).metric

    @property
    def has_noise_floor(self) -> bool:
        """Whether the size of the test set alone says how uncertain the study's measure is."""
        return self.study.measure.binomial

    @cached_property
    def answer(self) -> str:
        """In a few sentences: which compared value did best, how surely, from which others it can be told apart, and of
        two keys whether they act on each other.
        """
        return " ".join(
            [
                words.answer(self.study, self.table, self.pairs),
                *words.interaction(self.study, self.effects, self.measure.unit),
            ]
        )

    @property
    def unit(self) -> str:
        """What intervals and tests count: "searches" or "seeds"."""
        return words.units(self.study)

    @cached_property
    def flags(self) -> list[str]:
        """What to know before believing the tables, in words."""
        seen = caveats.Seen(self.results, self.table, self.pairs, self.tuning, self.relevance, self.gaps)
        return caveats.flags(seen)

    def front(self, cost: str) -> pd.DataFrame:
        """The rows of `table` that none beats in both `cost` (one of its columns) and the test images."""
        return tables.front(self.study, self.table, cost)

    @property
    def headline(self) -> dict[str, dict[str, float]]:
        """The mean figures of each level, by its name and theirs; only what was measured."""
        m = self.study.metric
        names = (f"val_{m}", f"test_{m}", f"test_{m}_low", f"test_{m}_high", "parameters")
        return {
            self.study.level_name(level): {name: float(cells[name]) for name in names if pd.notna(cells[name])}
            for level, cells in zip(self.study.levels, self.table.to_dict("records"), strict=True)
        }


def find(results: Results) -> Findings:
    """What came of a study."""
    return Findings(results)
