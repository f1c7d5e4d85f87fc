"""What a larger study would see: how many searches and seeds tell a difference apart, from the spread that was seen.

    outlook = look_out(results)
    outlook.power(0.002, Plan(5, 2))       # how often 0.2 points are found by 5 searches of 2 confirmations each
    outlook.cheapest(0.002)                # the plan that finds them in 80 % of studies at the least cost

The test is the report's own: paired t over the searches, at the level of Bonferroni's correction for the pairs, which
is where Holm's begins: where several pairs differ, Holm's finds a little more. The variance of a difference over G
searches of m confirmations each is (s_search^2 + s_seed^2 / m) / G.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from harness.analysis.results import Results, finished
from harness.analysis.samples import CONFIDENCE, EQUAL, POWER, critical, detectable, outlier_p, power
from harness.analysis.units import overlap
from harness.errors import UserError
from harness.journal.clock import busy
from harness.study.notes import FEWEST
from harness.study.study import Study

ODD = 0.01  # the chance of an outlier among normal values, below which one is told
MOST = 1000  # searches, or seeds where nothing is searched, that anybody would pay for
AT_ONCE = 20_000  # pairs
MOST_EACH = 10  # confirmations of a search: more hardly help
SHOWN, SHOWN_EACH = (3, 5, 7, 10, 15, 20, 30), (1, 2, 4)
SHOWN_SEEDS = (3, 5, 7, 10, 15, 20, 30, 50, 100)  # where nothing is searched


@dataclass(frozen=True)
class Plan:
    """So many searches of each compared value, each of whose winners is confirmed so often; without a search, so many
    seeds of one confirmation.
    """

    searches: int
    each: int = 1


@dataclass(frozen=True)
class Outlook:
    """What is known of a study for planning the next.

    `search` and `seed` are variances of the difference of two compared values, in the measure's own unit: between
    searches, and between confirmations of one, the mean over all pairs. `seed` is NaN where it cannot be told from the
    other. `units` searches (or seeds) were seen, `comparisons` pairs are tested together, `overlap` is that of pooled
    test images. `search_seconds` and `confirmation_seconds` are what one search and one confirmation of all compared
    values took on the machine that ran them. `odd` is a difference of one search (or seed) that lies far from all
    others of its pair, NaN if none does: then the spread, and all that follows from it, hangs on that one.
    """

    study: Study
    search: float
    seed: float
    units: int
    comparisons: int
    overlap: float
    search_seconds: float
    confirmation_seconds: float
    odd: float = np.nan

    def variance(self, plan: Plan) -> float:
        """Of the mean difference; NaN where the spread of a search's seeds is not known and would have to be."""
        share = self.seed if plan.each > 1 else np.nan_to_num(self.seed)
        return (self.search + share / plan.each) * (1 / plan.searches + self.overlap)

    def power(self, difference: float, plan: Plan) -> float:
        """How often a true difference is told apart."""
        border = critical(plan.searches - 1, (1 - CONFIDENCE) / self.comparisons)
        return power(difference / float(np.sqrt(self.variance(plan))), plan.searches, border)

    def detectable(self, plan: Plan) -> float:
        """The smallest difference that is told apart with 80 % power."""
        return detectable(float(np.sqrt(self.variance(plan))), plan.searches, self.comparisons)

    def minutes(self, plan: Plan) -> float:
        """What the whole study would take."""
        return plan.searches * (self.search_seconds + plan.each * self.confirmation_seconds) / 60

    def cheapest(self, difference: float) -> Plan | None:
        """The plan that finds a difference with 80 % power in the least time; None if none of up to 1,000 does."""
        known = [plan for each in self._each(range(1, MOST_EACH + 1)) if (plan := self._smallest(difference, each))]
        return min(known, key=lambda plan: (self.minutes(plan), plan.searches), default=None)

    def _smallest(self, difference: float, each: int) -> Plan | None:
        """With so many confirmations of a search: by halving, since more searches never see less."""
        low, high = FEWEST, MOST
        if self.power(difference, Plan(high, each)) < POWER:
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(difference, Plan(middle, each)) >= POWER else (middle + 1, high)
        return Plan(low, each)

    def plans(self) -> Iterator[Plan]:
        """Those that a table shows."""
        for searches in SHOWN if self.study.is_searched else SHOWN_SEEDS:
            yield from (Plan(searches, each) for each in self._each(SHOWN_EACH))

    def _each(self, counts: Iterable[int]) -> Iterable[int]:
        return counts if np.isfinite(self.seed) else (1,)

    @property
    def factor(self) -> tuple[float, float]:
        """How many times as large as seen the true standard deviation may be: 95 %, by the chi-square distribution.

        The differences of L values from their mean have (units - 1) (L - 1) degrees of freedom.
        """
        freedom = (self.units - 1) * (len(self.study.levels) - 1)
        low, high = (float(np.sqrt(freedom / chdtri(freedom, p))) for p in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
        return low, high


def look_out(results: Results) -> Outlook:
    """What a study that ran says of the next. Raises UserError, one line, where too little is known."""
    study, gaps = results.study, _gaps(results)
    if len(study.levels) < 2:
        raise UserError(f"power: {study.label} has one {study.axis} only, and no differences")
    if study.is_searched and study.searches == 1:
        raise UserError(
            f"power: each value of {study.label} was searched once, so how much searches differ is not known; "
            "run it with budget.searches = 5, or 3 at least"
        )
    units = int(gaps.units.min(initial=len(gaps.values))) if gaps.pairs else 0
    if units < FEWEST:
        what = "searches" if study.is_searched else "seeds"
        raise UserError(
            f"power: {units} {what} of {study.label} have finished runs of every {study.axis}; at least {FEWEST} are "
            "needed to see how they differ"
        )
    search, seed = pooled_components(gaps)
    if not search + np.nan_to_num(seed) > EQUAL**2:
        raise UserError(f"power: all runs of {study.label} differ alike, so nothing is known of their spread")
    seconds = _seconds(results)
    return Outlook(study, search, seed, units, gaps.pairs, overlap(study, 0), *seconds, odd_one(gaps))


@dataclass(frozen=True)
class Gaps:
    """Differences of compared values: `values` (members, pairs), NaN where one of the two is not known; `unit`
    (members,) says which search, or seed where nothing is searched, a member belongs to.

    All pairs of 1,000 values are half a million: they are taken together, some at a time.
    """

    values: NDArray[np.float64]
    unit: NDArray[np.int64]

    @property
    def pairs(self) -> int:
        """How many there are."""
        return int(self.values.shape[1])

    @property
    def _belongs(self) -> NDArray[np.float64]:
        """(groups, members): 1 where a member belongs to a group."""
        return np.asarray(np.unique(self.unit)[:, None] == self.unit, float)

    @property
    def units(self) -> NDArray[np.int64]:
        """How many groups each pair has a difference of (pairs,)."""
        return np.asarray((self._belongs @ ~np.isnan(self.values) > 0).sum(axis=0))

    def some(self) -> Iterator["Gaps"]:
        """A few pairs after the other."""
        for start in range(0, self.pairs, AT_ONCE):
            yield Gaps(self.values[:, start : start + AT_ONCE], self.unit)

    def means(self) -> NDArray[np.float64]:
        """Of each group and pair (groups, pairs); NaN where nothing is known."""
        known = ~np.isnan(self.values)
        with np.errstate(invalid="ignore"):
            return np.asarray(self._belongs @ np.where(known, self.values, 0) / (self._belongs @ known))

    def squares(self) -> NDArray[np.float64]:
        """Of one-way ANOVA, each summed over the pairs: squares within groups and their degrees of freedom, squares
        between groups, theirs, and the group size.
        """
        known, belongs, means = ~np.isnan(self.values), self._belongs, self.means()
        sizes, number = belongs @ known, known.sum(axis=0)
        total = np.where(known, self.values, 0).sum(axis=0) / number
        inner = np.nansum((self.values - belongs.T @ np.nan_to_num(means)) ** 2)
        outer = np.nansum(sizes * (means - total) ** 2)
        groups = (sizes > 0).sum(axis=0) - 1
        usual = (number - (sizes**2).sum(axis=0) / number) / groups
        return np.array([inner, (number - groups - 1).sum(), outer, groups.sum(), usual.sum()])


def _gaps(results: Results) -> Gaps:
    """Of each pair of compared values, search by search; without a search, seed by seed."""
    study, name = results.study, f"test_{results.study.metric}"
    runs = finished(results.runs).dropna(subset=name)
    wide = runs.pivot_table(name, ["search", "number"], "level", sort=True)
    if len(wide.columns) < len(study.levels):
        return Gaps(np.empty((0, 0)), np.empty(0, np.int64))
    unit = wide.index.get_level_values("search" if study.is_searched else "number").to_numpy(np.int64)
    values, (first, second) = wide.to_numpy(float), np.triu_indices(len(wide.columns), 1)
    return Gaps(values[:, second] - values[:, first], unit)


def odd_one(gaps: Gaps) -> float:
    """The difference that lies farthest from the others of its pair, if that is no accident (Grubbs; Bonferroni)."""
    p, odd = 1.0, np.nan
    for some in gaps.some():
        means = some.means()
        of_pairs = np.nan_to_num(outlier_p(means), nan=1.0)
        if of_pairs.min() < p:
            own = means[:, of_pairs.argmin()]
            p, odd = float(of_pairs.min()), float(own[np.nanargmax(np.abs(own - np.nanmean(own)))])
    return odd if p < ODD / gaps.pairs else np.nan


def pooled_components(gaps: Gaps) -> tuple[float, float]:
    """The variance between groups and within them, as `samples.variance_components` but the mean over several pairs'.

    Pairs are added up before a negative estimate becomes 0, since the mean of estimates that were cut off is too high.
    Where it does, within is the variance of all together, as restricted maximum likelihood has it. Within is NaN where
    every group has one member: between is then that of both.
    """
    inner, freedom, outer, groups, size = np.sum([some.squares() for some in gaps.some()], axis=0)
    within = inner / freedom if freedom else np.nan
    between = (outer / groups - np.nan_to_num(within)) / (size / gaps.pairs)
    if between < 0:
        return 0.0, float((inner + outer) / (freedom + groups))
    return float(between), float(within)


def _seconds(results: Results) -> tuple[float, float]:
    """What one search and one confirmation of all compared values took: their shares of the time when anything ran."""
    runs = results.runs[results.runs["stage"].isin(["search", "confirm"])].dropna(subset=["started", "ended"])
    side_by_side = busy(zip(runs["started"], runs["ended"], strict=True)) / max(float(runs["seconds"].sum()), EQUAL)
    means = {stage: own.groupby("level")["seconds"].mean().sum() for stage, own in runs.groupby("stage")}
    search = means.get("search", 0.0) * results.study.trials if results.study.is_searched else 0.0
    return side_by_side * search, side_by_side * float(means["confirm"])
