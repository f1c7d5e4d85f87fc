"""The same compared values on several data sets: ranks, wins, and profiles, as Demsar (2006) and others advise.

    across = of_studies(several)        # None where they do not compare the same values on different data sets
    across = of_grid(findings)          # of one study that compares values and data sets; None of any other
    across.average_ranks, across.friedman.p, across.critical_difference

All of it follows from `Across`: figures of values by data sets, which pairs were told apart, and the runs. scipy has
Friedman's test and the studentized range in scipy.stats, which takes 0.4 s to import, where a report without news takes
one: tests hold the formulas here against it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import permutations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtrc, fdtrc, ndtr

from harness.analysis.findings import Findings
from harness.analysis.results import finished
from harness.analysis.samples import CONFIDENCE, EQUAL
from harness.catalogue import RATIO, SHARE, Measure, show

WAYS = 300_000  # to arrange ranks, up to which p is exact
THRESHOLDS = 200  # of a profile


@dataclass(frozen=True)
class Friedman:
    """Friedman's test that all values have the same rank: chi-square, and p by all arrangements (`is_exact`), or by
    Iman and Davenport's (1980) F, as Demsar (2006) advises.
    """

    statistic: float
    p: float
    is_exact: bool


@dataclass(frozen=True)
class Across:
    """What was measured of the same values on several data sets.

    `scores` has a row for each value, by its name, and a column for each data set: mean figures of the measure on test
    images, none missing. `told_apart` has a row for each pair of values and data set, `first` and `second`, `dataset`
    and `better`: the name of the better one, or "" where they cannot be told apart there. `runs` has a row for each
    confirmation run: `value`, `dataset` and `figure`. `times` is like `scores`: median epochs of each value's runs
    until the target of that data set (`[claim] reach`), infinite where most were never there; without columns where
    one of the data sets has no target.
    """

    axis: str
    measure: Measure
    scores: pd.DataFrame
    told_apart: pd.DataFrame
    runs: pd.DataFrame
    times: pd.DataFrame

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """Of the values on each data set: 1 is the best, equal ones share the mean of their ranks."""
        return (-self.measure.sign() * self.scores).round(9).rank(method="average")  # sums of equal terms are equal

    @property
    def average_ranks(self) -> pd.Series:
        """Of the values, in their order."""
        return self.ranks.mean(axis=1)

    @cached_property
    def friedman(self) -> Friedman:
        """Whether any value has another rank than the others."""
        return friedman(self.ranks.to_numpy(float))

    @property
    def critical_difference(self) -> float:
        """Average ranks that are closer cannot be told apart (Nemenyi, 1963)."""
        return critical_difference(*self.scores.shape)

    @property
    def groups(self) -> list[list[str]]:
        """The largest sets of values that cannot be told apart by their ranks, best first: Nemenyi's test is read only
        where Friedman's finds that there is any difference.
        """
        ranks = self.average_ranks.sort_values(kind="stable")
        found = self.friedman.p < 1 - CONFIDENCE
        return alike(ranks, self.critical_difference if found else np.inf)

    @cached_property
    def wins(self) -> pd.DataFrame:
        """Wins, ties and losses of each value, against all others on all data sets: a tie cannot be told apart."""
        table, rows = self.told_apart, []
        for value in self.scores.index:
            own = table[(table["first"] == value) | (table["second"] == value)]
            won, tied = int((own["better"] == value).sum()), int((own["better"] == "").sum())
            rows.append({"wins": won, "ties": tied, "losses": len(own) - won - tied})
        return pd.DataFrame(rows, index=self.scores.index)

    @cached_property
    def ratios(self) -> pd.DataFrame:
        """Of each value on each data set how many times the best one's cost: of a share that is to be high the errors,
        of R2 what it leaves, of a share or a loss that is to be low itself (Dolan and More, 2002).
        """
        high = self.measure.better == "higher"
        costs = 1 - self.scores if high and self.measure.unit in (SHARE, RATIO) else self.measure.sign() * -self.scores
        return _to_best(costs)

    @property
    def table(self) -> pd.DataFrame:
        """A row for each value: average rank, wins, ties, losses, and its figure on each data set."""
        head = pd.DataFrame({"value": self.scores.index, "average_rank": self.average_ranks.to_numpy()})
        rest = (self.wins, self.scores)
        return pd.concat([head, *(part.reset_index(drop=True) for part in rest)], axis=1)

    @property
    def profiles(self) -> pd.DataFrame:
        """All profiles as steps: `kind`, `value`, `at` and `share`.

        "ratio": on which share of data sets a value's cost is at most `at` times the best one's (Dolan and More, 2002).
        "runs": which share of its runs is better than `at`, the mean over data sets (Agarwal et al., 2021).
        "time": on which share of data sets its median epochs to the target are at most `at` times the least (Dahl et
        al., 2023); none without targets.
        """
        times = _ratio_rows("time", _to_best(self.times)) if len(self.times.columns) else []
        of_runs = _run_rows(self.runs, list(self.scores.index), self.measure.sign())
        rows = [*_ratio_rows("ratio", self.ratios), *of_runs, *times]
        return pd.DataFrame(rows, columns=["kind", "value", "at", "share"])


def of_studies(several: Sequence[Findings]) -> Across | None:
    """What studies of the same axis on different data sets have in common, if at least two values were measured."""
    axes, by_data = {findings.study.axis for findings in several}, {one.study.dataset: one for one in several}
    if len(several) < 2 or len(axes) > 1 or "dataset" in axes or len(by_data) < len(several):
        return None
    first = several[0].study
    scores = pd.DataFrame({name: _means(findings) for name, findings in by_data.items()})
    scores = scores.reindex(map(first.level_name, first.levels)).dropna()  # values that all of them have
    if len(scores) < 2:
        return None
    verdicts = [_verdicts(findings, name, list(scores.index)) for name, findings in by_data.items()]
    runs = pd.concat([_runs(findings, name) for name, findings in by_data.items()], ignore_index=True)
    table = pd.concat(verdicts, ignore_index=True)
    times = _times(by_data).reindex(scores.index)
    return Across(first.axis, first.measure, scores, table, runs[runs["value"].isin(scores.index)], times)


def of_grid(findings: Findings) -> Across | None:
    """What a study that compares data sets and another key knows, if at least two values were measured on all."""
    study = findings.study
    if not study.is_grid or "dataset" not in study.axes:
        return None
    [other] = [key for key in study.axes if key != "dataset"]
    cells = [study.values_of(level) for level in study.levels]
    datasets, values = [str(cell["dataset"]) for cell in cells], [f"{other}={show(cell[other])}" for cell in cells]
    places = pd.DataFrame({"value": values, "dataset": datasets})
    scores = _placed(places, findings.table[f"test_{study.metric}"]).dropna()
    if len(scores) < 2:
        return None
    times = scores[[]] if study.reach is None else _placed(places, _epochs(findings)).loc[scores.index]
    runs = finished(findings.results.runs)
    seen = places.loc[runs["level"]].assign(figure=runs[f"test_{study.metric}"].to_numpy(float))
    table = _verdicts_of_cells(findings, places, list(scores.index))
    runs = seen[seen["value"].isin(scores.index)].reset_index(drop=True)
    return Across(other, study.measure, scores, table, runs, times)


def _placed(places: pd.DataFrame, figures: pd.Series) -> pd.DataFrame:
    """A figure of each cell as a table of values by data sets, both in the study's order."""
    table = places.assign(figure=figures.to_numpy(float)).pivot(index="value", columns="dataset", values="figure")
    table = table.reindex(index=dict.fromkeys(places["value"]), columns=dict.fromkeys(places["dataset"]))
    return table.rename_axis(index=None, columns=None)


def _verdicts_of_cells(findings: Findings, places: pd.DataFrame, values: Sequence[str]) -> pd.DataFrame:
    """Which values a grid told apart on each data set, by its own test of all its pairs."""
    rows = []
    for pair in findings.all_pairs.to_dict("records"):
        first, second = (places.loc[int(pair[side])] for side in ("first", "second"))
        if first["dataset"] == second["dataset"] and {first["value"], second["value"]} <= set(values):
            ahead = second if findings.study.measure.sign() * pair["difference"] > 0 else first
            better = ahead["value"] if pair["p_holm"] < 1 - CONFIDENCE else ""
            rows.append({**first, "first": first["value"], "second": second["value"], "better": better})
    return pd.DataFrame(rows, columns=["dataset", "first", "second", "better"])


def _means(findings: Findings) -> pd.Series:
    study = findings.study
    names = [study.level_name(level) for level in study.levels]
    return pd.Series(findings.table[f"test_{study.metric}"].to_numpy(float), names)


def _times(by_data: Mapping[str, Findings]) -> pd.DataFrame:
    """Of each value and data set the median epochs to the target; no columns where a data set has no target."""
    if any(findings.study.reach is None for findings in by_data.values()):
        return pd.DataFrame()
    return pd.DataFrame({name: _epochs(findings) for name, findings in by_data.items()})


def _epochs(findings: Findings) -> pd.Series:
    """Median epochs to the target, infinite where most runs were never there."""
    study = findings.study
    names = [study.level_name(level) for level in study.levels]
    return pd.Series(findings.reach["epoch"].fillna(np.inf).to_numpy(float), names)


def _runs(findings: Findings, name: str) -> pd.DataFrame:
    study, runs = findings.study, finished(findings.results.runs)
    values = [study.level_name(study.levels[level]) for level in runs["level"]]
    return pd.DataFrame({"dataset": name, "value": values, "figure": runs[f"test_{study.metric}"].to_numpy(float)})


def _verdicts(findings: Findings, name: str, values: Sequence[str]) -> pd.DataFrame:
    """Which values a study told apart by its own test of all its pairs."""
    study, rows = findings.study, []
    for pair in findings.all_pairs.to_dict("records"):
        first, second = (study.level_name(study.levels[int(pair[side])]) for side in ("first", "second"))
        if first in values and second in values:
            better = second if study.measure.sign() * pair["difference"] > 0 else first
            is_clear = pair["p_holm"] < 1 - CONFIDENCE
            rows.append({"dataset": name, "first": first, "second": second, "better": better if is_clear else ""})
    return pd.DataFrame(rows, columns=["dataset", "first", "second", "better"])


def friedman(ranks: NDArray[np.float64]) -> Friedman:
    """Friedman's (1937) test of ranks (values, data sets), corrected for ties; p is 1 where all are tied."""
    values, datasets = ranks.shape
    away = ranks - (values + 1) / 2
    spread = float((away**2).sum())
    if not spread:
        return Friedman(0.0, 1.0, True)
    statistic = float((values - 1) * (away.sum(axis=1) ** 2).sum() / spread)
    exact = _arranged(np.rint(2 * away.T).astype(np.int64))
    if exact is not None:
        return Friedman(statistic, exact, True)
    rest = datasets * (values - 1) - statistic
    if rest < EQUAL:  # all data sets have one order
        return Friedman(statistic, float(chdtrc(values - 1, statistic)), False)
    f = (datasets - 1) * statistic / rest
    return Friedman(statistic, float(fdtrc(values - 1, (values - 1) * (datasets - 1), f)), False)


def _arranged(rows: NDArray[np.int64]) -> float | None:
    """How often sums of columns are at least as far from 0 as those of `rows` (data sets, values), over all orders of
    each row; None where these are too many. Sums in another order are as far away, so each set of sums is kept once.
    """
    datasets, values = rows.shape
    base = 2 * int(np.abs(rows).max()) * datasets + 1
    if float(base) ** values > 2**62 or values > 8:  # 8: 40,320 orders of a row
        return None
    sums, chances = np.sort(rows[:1], axis=1), np.ones(1, dtype=float)
    places = base ** np.arange(values, dtype=np.int64)
    for row in rows[1:]:
        orders = np.array(sorted(set(permutations(row.tolist()))))
        if len(sums) * len(orders) > WAYS:
            return None
        reached = np.sort((sums[:, None] + orders).reshape(-1, values), axis=1)
        _, first, where = np.unique(reached @ places, return_index=True, return_inverse=True)
        weights = np.repeat(chances / len(orders), len(orders))
        sums, chances = reached[first], np.asarray(np.bincount(where, weights), float)
    is_as_far = (sums**2).sum(axis=1) >= (rows.sum(axis=0) ** 2).sum()
    return min(1.0, float(chances[is_as_far].sum()))


def critical_difference(values: int, datasets: int) -> float:
    """Nemenyi's (1963) for average ranks of so many values, at 5 %: q sqrt(k (k + 1) / (6 N)) (Demsar, 2006)."""
    return studentized_range(values) / math.sqrt(2) * math.sqrt(values * (values + 1) / (6 * datasets))


@cache
def studentized_range(count: int) -> float:
    """What the range of so many standard normal values exceeds in 5 %.

    P(range <= q) = k * integral of phi(z) (Phi(z) - Phi(z - q))^(k - 1) dz, by the trapezoidal rule.
    """
    z = np.linspace(-9.0, 9.0, 3001)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        share = count * np.trapezoid(density * (ndtr(z) - ndtr(z - middle)) ** (count - 1), z)
        low, high = (middle, high) if share < CONFIDENCE else (low, middle)
    return high


def alike(ranks: pd.Series, apart: float) -> list[list[str]]:
    """Of sorted ranks the largest runs of values that differ by less than `apart`, those of one value left out."""
    ends = [int((ranks - rank < apart).sum()) for rank in ranks]  # how many are not too far behind, or before it
    runs = [(start, end) for start, end in enumerate(ends) if end - start > 1]
    whole = [run for run in runs if not any(s <= run[0] and run[1] <= e for s, e in runs if (s, e) != run)]
    return [list(ranks.index[start:end]) for start, end in whole]


def _to_best(costs: pd.DataFrame) -> pd.DataFrame:
    """How many times the least of its column each cost is; infinite ones stay so, also where all are."""
    best = costs.min()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: pd.DataFrame = (costs / best).where(costs > best + EQUAL, 1.0)
    return ratios.where(costs < np.inf, np.inf)


def _ratio_rows(kind: str, ratios: pd.DataFrame) -> list[tuple[str, str, float, float]]:
    rows = []
    for value, own in ratios.iterrows():
        known = np.sort(own.to_numpy(float))
        steps = [(at, float((known <= at).mean())) for at in dict.fromkeys([1.0, *known[np.isfinite(known)]])]
        rows += [(kind, str(value), float(at), share) for at, share in steps]
    return rows


def _run_rows(runs: pd.DataFrame, values: Sequence[str], sign: int) -> list[tuple[str, str, float, float]]:
    if runs.empty:
        return []
    thresholds = np.linspace(runs["figure"].min(), runs["figure"].max(), THRESHOLDS)
    rows = []
    for value in values:
        of_data = [own.to_numpy(float) for _, own in runs[runs["value"] == value].groupby("dataset")["figure"]]
        better = [(sign * own > sign * thresholds[:, None]).mean(axis=1) for own in of_data]
        shares = np.mean(better, axis=0)
        rows += [("runs", value, float(at), float(share)) for at, share in zip(thresholds, shares, strict=True)]
    return rows
