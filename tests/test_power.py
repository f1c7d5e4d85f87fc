"""`harness power`: what it promises comes true in simulated studies, and it says so where too little is known."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from harness.analysis import find
from harness.analysis.power import Gaps, Outlook, Plan, look_out, odd_one, pooled_components
from harness.analysis.results import Results, read_results
from harness.analysis.samples import CONFIDENCE, holm_family, outlier_p, standard_error, variance_components
from harness.errors import UserError
from harness.report.power import PowerTable
from harness.study.file import read_study
from harness.study.study import Study

from .conftest import SMALL, Done
from .test_search import drive

Write = Callable[..., Path]
SEARCH, SEED = 0.004, 0.006  # standard deviations of one value: half of a difference's variance
TIMES = 1000


def gaps_of(pairs: list[list[NDArray[np.float64]]]) -> Gaps:
    """Of pairs whose groups have as many members in each."""
    unit = [number for number, group in enumerate(pairs[0]) for _ in group]
    return Gaps(np.column_stack([np.concatenate(groups) for groups in pairs]), np.array(unit))


def outlook(study: Study, comparisons: int = 1) -> Outlook:
    return Outlook(study, 2 * SEARCH**2, 2 * SEED**2, 5, comparisons, 0.0, 60.0, 6.0)


def figures(generator: np.random.Generator, shifts: list[float], plan: Plan) -> NDArray[np.float64]:
    """Each search's mean of each value (levels, searches), of a study with that plan."""
    size = (len(shifts), plan.searches)
    of_seeds = generator.normal(0, SEED, (*size, plan.each)).mean(axis=2)
    return np.asarray(np.array(shifts)[:, None] + generator.normal(0, SEARCH, size) + of_seeds)


def found(shifts: list[float], plan: Plan) -> float:
    """How often the report's own test tells the last value from the first."""
    generator, times = np.random.default_rng(1), 0
    for _ in range(TIMES):
        means = figures(generator, shifts, plan)
        gaps = [means[second] - means[first] for first, second in combinations(range(len(shifts)), 2)]
        mean, error = (np.array([of(gap) for gap in gaps]) for of in (np.mean, standard_error))
        family = holm_family(mean, error, np.full(len(gaps), plan.searches))
        times += bool(family.p_holm[len(shifts) - 2] < 1 - CONFIDENCE)  # the pair of the first and the last value
    return times / TIMES


@pytest.mark.parametrize(
    ("difference", "plan"), [(0.01, Plan(5, 2)), (0.008, Plan(10, 1)), (0.006, Plan(20, 4)), (0.004, Plan(7, 2))]
)
def test_the_power_of_two_values_is_as_predicted(difference: float, plan: Plan, small: Study) -> None:
    predicted = outlook(small).power(difference, plan)
    assert found([0.0, difference], plan) == pytest.approx(predicted, abs=3 * (0.25 / TIMES) ** 0.5)


def test_of_several_values_at_least_as_much_is_found(small: Study) -> None:
    """Holm's first step is Bonferroni's, which is what is promised; the later ones find a little more."""
    plan, shifts = Plan(8, 2), [0.0, 0.0, 0.0, 0.0118]
    predicted = outlook(small, comparisons=6).power(shifts[-1], plan)
    error = 3 * (0.25 / TIMES) ** 0.5
    assert 0.6 < predicted < 0.9
    assert predicted - error < found(shifts, plan) < predicted + 0.1 + error


def test_the_cheapest_plan_is_the_first_that_finds_it(small: Study) -> None:
    known = outlook(small, comparisons=3)
    plan = known.cheapest(0.005)
    assert plan is not None
    assert known.power(0.005, plan) >= 0.8 > known.power(0.005, replace(plan, searches=plan.searches - 1))
    others = [Plan(searches, each) for searches in range(3, 200) for each in range(1, 11)]
    enough = [other for other in others if known.power(0.005, other) >= 0.8]
    assert known.minutes(plan) == min(map(known.minutes, enough))
    assert known.power(known.detectable(plan), plan) == pytest.approx(0.8, abs=1e-6)
    assert known.cheapest(1e-6) is None


def test_one_pairs_components_are_anovas() -> None:
    generator = np.random.default_rng(0)
    groups = [generator.normal(generator.normal(0, 3), 1, size) for size in (2, 3, 2, 4)]
    assert pooled_components(gaps_of([groups])) == pytest.approx(variance_components(groups))


def test_where_searches_do_not_differ_the_spread_is_that_of_all_runs() -> None:
    """An estimate below 0 is 0; then the runs are one sample."""
    groups = [np.array([1.0, -1.0]), np.array([0.9, -1.1]), np.array([1.1, -0.9])]
    search, seed = pooled_components(gaps_of([groups]))
    assert search == 0
    assert seed == pytest.approx(np.concatenate(groups).var(ddof=1))


def test_components_of_several_pairs_are_right_in_the_mean() -> None:
    """Also where the searches differ little, and a pair's own estimate is often below 0."""
    generator, estimates = np.random.default_rng(0), []
    for _ in range(200):
        means = generator.normal(0, 1, (4, 5, 1)) * SEARCH + generator.normal(0, SEED, (4, 5, 2))
        pairs = [list(means[b] - means[a]) for a, b in combinations(range(4), 2)]
        estimates.append(pooled_components(gaps_of(pairs)))
    search, seed = np.mean(estimates, axis=0)
    assert seed == pytest.approx(2 * SEED**2, rel=0.05)
    assert search == pytest.approx(2 * SEARCH**2, rel=0.15)


def simulated(write_study: Write, searches: int, each: int) -> Results:
    """A study whose confirmations have simulated figures: value 2 is as good as value 1."""
    folder = write_study(SMALL)
    drive(read_study(folder), folder / "journal.log")
    results = read_results(folder / "journal.log")
    confirm = results.runs[results.runs["stage"] == "confirm"].iloc[0].to_dict()
    generator = np.random.default_rng(0)
    luck = generator.normal(0, SEARCH, (2, searches, 1)) + generator.normal(0, SEED, (2, searches, each))
    rows = [
        {**confirm, "level": level, "search": search, "number": number, "test_accuracy": 0.9 + value}
        for (level, search, number), value in np.ndenumerate(luck)
    ]
    runs = pd.concat([results.runs[results.runs["stage"] == "search"], pd.DataFrame(rows)], ignore_index=True)
    budget = results.study.budget.model_copy(update={"searches": searches, "seeds": searches * each})
    study = results.study.model_copy(update={"budget": budget, "seeding": "sequence"})
    return replace(results, study=study, runs=runs)


def test_the_spread_is_that_of_the_runs(write_study: Write) -> None:
    known = look_out(simulated(write_study, 400, 2))
    assert known.search == pytest.approx(2 * SEARCH**2, rel=0.25)
    assert known.seed == pytest.approx(2 * SEED**2, rel=0.2)
    assert (known.units, known.comparisons) == (400, 1)
    low, high = known.factor
    assert 0.9 < low < 1 < high < 1.1


def test_what_is_seen_is_what_the_report_says(write_study: Write) -> None:
    """The plan that the study itself was is given the `detectable` of its own table of differences."""
    results = simulated(write_study, 6, 2)
    known = look_out(results)
    assert known.detectable(Plan(6, 2)) == pytest.approx(find(results).pairs["detectable"][0], rel=1e-6)


def test_one_seed_of_each_search_cannot_be_divided(write_study: Write) -> None:
    known = look_out(simulated(write_study, 6, 1))
    assert np.isnan(known.seed)
    assert {plan.each for plan in known.plans()} == {1}
    table = PowerTable(find(simulated(write_study, 6, 1)))
    assert len(table.rows) == len({row[0] for row in table.rows})
    json.dumps(table.as_json(), allow_nan=False)


def test_without_a_search_seeds_are_counted(write_study: Write) -> None:
    results = simulated(write_study, 1, 12)
    study = results.study.model_copy(update={"tune": {}})
    table = PowerTable(find(replace(results, study=study)), [0.7])
    assert table.headings == ("seeds", "sees (points)", "at 0.7", "minutes")
    assert table.outlook.units == 12
    assert table.said[0].startswith("0.7 points: budget.seeds = ")


def test_a_spread_that_hangs_on_one_search_is_told(write_study: Write) -> None:
    """Found in real digits studies: one winner that collapsed made up most of the spread."""
    results = simulated(write_study, 12, 2)
    assert np.isnan(look_out(results).odd)
    odd = (results.runs["stage"] == "confirm") & (results.runs["level"] == 1) & (results.runs["search"] == 3)
    runs = results.runs.assign(test_accuracy=results.runs["test_accuracy"] - 0.2 * odd)
    table = PowerTable(find(replace(results, runs=runs)))
    assert table.outlook.odd == pytest.approx(-0.2, abs=0.03)
    assert any("One search had a difference of -" in line for line in table.said)
    assert table.as_json()["seen"]["odd"] == pytest.approx(-20, abs=3)


def test_false_alarms_of_that_are_few() -> None:
    generator = np.random.default_rng(0)
    told = 0
    for _ in range(500):
        means = generator.normal(size=(4, 10, 1))
        told += not np.isnan(odd_one(gaps_of([list(means[b] - means[a]) for a, b in combinations(range(4), 2)])))
    assert told < 15


def test_trainings_side_by_side_take_their_time_once(write_study: Write) -> None:
    results = simulated(write_study, 3, 1)
    runs = results.runs.assign(started=1000.0, ended=1010.0, seconds=1.0)  # 10 s in all
    known = look_out(replace(results, runs=runs))
    confirmed = int((runs["stage"] == "confirm").sum())
    searched = len(runs) - confirmed
    whole = (searched * known.search_seconds / (2 * results.study.budget.trials)) + confirmed * (
        known.confirmation_seconds / 2
    )
    assert whole == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["budget.searches=1"], "each value of mine was searched once, so how much searches differ is not known"),
        (["budget.searches=2"], "2 searches of mine have finished runs of every depth; at least 3 are needed"),
        (["compare.depth=[2]"], "mine has one depth only, and no differences"),
    ],
)
def test_too_little_is_told_in_a_line(change: list[str], told: str, write_study: Write) -> None:
    folder = write_study(SMALL)
    drive(read_study(folder, change), folder / "journal.log")
    with pytest.raises(UserError, match=told):
        look_out(read_results(folder / "journal.log"))


def test_the_command(smoke: Path, command: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    done = command("power", "studies/smoke")
    assert done.returncode == 0, done.stderr
    assert "budget.searches = " in done.stdout
    assert "searches" in done.stdout
    done = command("power", "studies/smoke", "--difference", "2", "--json")
    told = json.loads(done.stdout)
    assert told["unit"] == "points"
    assert list(told["cheapest"]) == ["2"]
    assert told["seen"]["pairs"] == 3
    assert all(0 <= plan["power"]["2"] <= 1 for plan in told["plans"])


def test_pairs_are_taken_together_as_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where runs are missing; and half a million of them take seconds."""
    generator = np.random.default_rng(2)
    values, unit = generator.normal(size=(12, 50)), np.repeat(np.arange(6), 2)
    values[generator.random(values.shape) < 0.1] = np.nan
    values[0, 7] = 90.0
    every = [[own[~np.isnan(own)] for own in np.split(column, 6)] for column in values.T]
    monkeypatch.setattr("harness.analysis.power.AT_ONCE", 7)
    gaps = Gaps(values, unit)
    freedom = [sum(map(len, groups)) - sum(len(one) > 0 for one in groups) for groups in every]
    within = [sum(((one - one.mean()) ** 2).sum() for one in groups if len(one)) for groups in every]
    assert np.sum([some.squares() for some in gaps.some()], axis=0)[:2] == pytest.approx([sum(within), sum(freedom)])
    assert odd_one(gaps) == pytest.approx(np.nanmean(values[:2, 7]))
    alone = [outlier_p(column[~np.isnan(column)]) for column in values.T]
    np.testing.assert_allclose(outlier_p(values), alone)
    monkeypatch.undo()
    began = time.monotonic()
    many = Gaps(generator.normal(size=(15, 500_000)), np.repeat(np.arange(5), 3))
    assert pooled_components(many) == pytest.approx((0.0, 1.0), abs=0.01)
    assert np.isnan(odd_one(many))
    assert time.monotonic() - began < 60  # 2 s; one after the other some minutes
